"""Splits, weights, metrics, trading metrics, significance and the gate: frames in, verdicts out."""
