"""What the models see of one event: features of its bar, seen along its direction, patterns and rule score.

An event is bullish or bearish; the same overbought RSI speaks for one and against the other. Features with a
side therefore come twice: as they are, and turned so that positive speaks for the event.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from catalyst_ml.errors import DataContractError
from catalyst_ml.features.catalogue import FEATURE_NAMES
from catalyst_ml.frames import EVENT_KEY, PATTERNS, pattern_column

ALIGNED_CENTRES: dict[str, float] = {
    "rsi_14": 50.0,
    "bb_position": 0.5,
    "macd_histogram": 0.0,
    "premarket_gap": 0.0,
    "sector_momentum": 0.0,
    "market_breadth": 0.0,
}
"""Features with a side, and their neutral value. ``aligned_x`` is direction times (x - neutral value)."""

MODEL_INPUTS: tuple[str, ...] = (
    *FEATURE_NAMES,
    *(f"aligned_{name}" for name in ALIGNED_CENTRES),
    "aligned_shadow_balance",
    "event_direction",
    "event_direction_inferred",
    *(f"pattern_{name}" for name in PATTERNS),
    "n_patterns",
    "rule_score",
    "rule_agreement",
)
"""Columns of the model matrix and inputs of the ONNX graph, in this order; all float64, NaN = missing."""


def event_inputs(events: pd.DataFrame, features: pd.DataFrame, rule_scores: pd.DataFrame) -> pd.DataFrame:
    """Join events, features of their bars and rule scores into the models' inputs.

    Parameters
    ----------
    events : DataFrame
        Schema ``EVENTS``.
    features : DataFrame
        Result of ``compute_features``: ``symbol``, ``ts`` and the 16 features. A bar may stand in it twice
        (it may carry a bullish and a bearish event).
    rule_scores : DataFrame
        Schema ``RULE_SCORES``.

    Returns
    -------
    DataFrame
        ``symbol``, ``ts``, ``direction`` (the key, as in ``events``) and ``MODEL_INPUTS``, all float64; one
        row per event in the order of ``events``, index 0..n-1. An event without features or without a rule
        score has them missing.

    Raises
    ------
    DataContractError
        If a feature column is missing, or a bar or rule score stands in its frame with two different values.
    """
    _require_columns(features, ("symbol", "ts", *FEATURE_NAMES))
    keys = events[list(EVENT_KEY)].reset_index(drop=True)
    bar_features = features[["symbol", "ts", *FEATURE_NAMES]].drop_duplicates(["symbol", "ts"])
    at_bar = _join(keys, bar_features, on=["symbol", "ts"])
    of_rules = _join(keys, rule_scores[[*EVENT_KEY, "rule_score", "rule_action"]], on=list(EVENT_KEY))
    direction = keys["direction"].to_numpy(dtype=np.float64)
    columns = {name: at_bar[name].to_numpy() for name in FEATURE_NAMES}
    columns |= _aligned(columns, direction)
    columns["event_direction"] = direction
    columns["event_direction_inferred"] = events["direction_inferred"].to_numpy(dtype=np.float64)
    patterns = {name: events[pattern_column(name)].to_numpy(dtype=np.float64) for name in PATTERNS}
    columns |= {f"pattern_{name}": seen for name, seen in patterns.items()}
    columns["n_patterns"] = np.sum(list(patterns.values()), axis=0)
    columns["rule_score"] = of_rules["rule_score"].to_numpy()
    # +1: the rules would take the event's side; -1: the other one; 0: they would hold.
    columns["rule_agreement"] = direction * of_rules["rule_action"].to_numpy(dtype=np.float64)
    return pd.concat([keys, pd.DataFrame(columns)[list(MODEL_INPUTS)].astype(np.float64)], axis=1)


def _aligned(values: dict[str, np.ndarray], direction: np.ndarray) -> dict[str, np.ndarray]:
    aligned = {f"aligned_{name}": direction * (values[name] - c) for name, c in ALIGNED_CENTRES.items()}
    # A long lower shadow shows buyers below the market, a long upper one sellers above it.
    balance = values["lower_shadow_ratio"] - values["upper_shadow_ratio"]
    return aligned | {"aligned_shadow_balance": direction * balance}


def _join(keys: pd.DataFrame, values: pd.DataFrame, *, on: list[str]) -> pd.DataFrame:
    """Return ``keys`` with the columns of ``values``, rows in the order of ``keys``; no partner gives NaN."""
    try:
        return keys.merge(values, on=on, how="left", validate="many_to_one")
    except pd.errors.MergeError as error:
        raise DataContractError(
            f"event inputs: {on} repeats in the frame to join ({len(values)} rows); expected it once. "
            "Compute it again from one set of bars."
        ) from error


def _require_columns(features: pd.DataFrame, columns: tuple[str, ...]) -> None:
    missing = [name for name in columns if name not in features.columns]
    if missing:
        raise DataContractError(
            f"event inputs: the feature frame lacks {missing}; got {list(features.columns)}. "
            "Compute it with the whole catalogue."
        )
