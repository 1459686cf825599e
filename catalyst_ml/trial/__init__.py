"""The trial: both arms on the same live events, compared by evidence that may be looked at every day."""
