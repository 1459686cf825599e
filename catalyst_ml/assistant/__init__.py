"""Claude reads the week's numbers; what it writes is checked before anybody sees it."""
