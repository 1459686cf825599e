"""The A/B trial: both arms on every event, what became of them, what may be said, and how far ML may go."""
