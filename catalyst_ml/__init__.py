"""Gated, explained machine learning for the Catalyst Trading System.

The library: it knows bars, events, labels, folds, models and evidence, and works where Prefect is
not installed. Import the room you need (``catalyst_ml.market.labels``); this module opens nothing.
"""

__version__ = "0.1.0"
