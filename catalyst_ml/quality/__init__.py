"""Suites that refuse bad data before anything is trained on it."""
