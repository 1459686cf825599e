"""The signal server: verified models in memory, answers to the trading system, the trial page."""
