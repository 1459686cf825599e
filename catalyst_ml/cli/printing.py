"""How commands print sentences: as they are. Text from files, databases and errors is never read as markup."""

from __future__ import annotations

from rich.console import Console


def say(console: Console, message: str, *, style: str | None = None) -> None:
    """Print one message, neither wrapped nor coloured but by ``style``."""
    console.print(message, style=style, highlight=False, markup=False, soft_wrap=True)
