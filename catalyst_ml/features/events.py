"""What the models see of one event: features of its bar, seen along its direction, patterns and rule score.

An event is bullish or bearish; the same overbought RSI speaks for one and against the other. Features with a
side therefore come twice: as they are, and turned so that positive speaks for the event. Features of a stock are
seen relative to the day's universe, so that models learn what sets a stock apart and not which day it is.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Sequence

import numpy as np
import pandas as pd

from catalyst_ml.errors import DataContractError
from catalyst_ml.features import catalysts, universe
from catalyst_ml.features.catalogue import FEATURE_NAMES, feature_set_version
from catalyst_ml.features.catalysts import CATALYST_FEATURES, NEWS_COVERED
from catalyst_ml.features.universe import MARKET_WIDE, RELATIVE_FEATURES, UNIVERSE_PREFIX
from catalyst_ml.frames import EVENT_KEY, PATTERNS, pattern_column

SIDED_FEATURES: tuple[str, ...] = (
    "rsi_14",
    "bb_position",
    "macd_histogram",
    "premarket_gap",
    "sector_momentum",
    "market_breadth",
)
"""Features with a side. ``aligned_x`` is direction times (x - the universe's mean); market breadth has none."""

MODEL_INPUTS: tuple[str, ...] = (
    *(f"relative_{name}" for name in RELATIVE_FEATURES),
    *MARKET_WIDE,
    *(f"aligned_{name}" for name in SIDED_FEATURES),
    "aligned_shadow_balance",
    "event_direction",
    "event_direction_inferred",
    *(f"pattern_{name}" for name in PATTERNS),
    "n_patterns",
    "rule_score",
    "rule_agreement",
)
"""Columns of the model matrix and inputs of the ONNX graph, in this order; all float64, NaN = missing."""

CATALYST_INPUTS: tuple[str, ...] = (*CATALYST_FEATURES, "aligned_catalyst_sentiment")
"""What the catalyst predictor reads beside ``MODEL_INPUTS``, and nobody else; missing without news."""

EVENT_COLUMNS: tuple[str, ...] = tuple(dict.fromkeys((*FEATURE_NAMES, *MODEL_INPUTS, *CATALYST_INPUTS, NEWS_COVERED)))
"""What an event carries: the catalogue as it is, for validation and reading, the models' inputs, and the news."""


def model_input_version() -> str:
    """Return 16 hexadecimal digits that change with the catalogue, the universe's means, the news or what is made."""
    made_by = (universe, catalysts, *catalysts.CODE_BEHIND, sys.modules[__name__])
    parts = [feature_set_version(), *(inspect.getsource(module) for module in made_by)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def event_inputs(events: pd.DataFrame, features: pd.DataFrame, rule_scores: pd.DataFrame) -> pd.DataFrame:
    """Join events, features of their bars and rule scores into the models' inputs.

    Parameters
    ----------
    events : DataFrame
        Schema ``EVENTS``.
    features : DataFrame
        Result of ``add_universe_means`` and ``add_catalysts``: ``symbol``, ``ts``, the 16 features, the universe's
        means and the news. A bar may stand in it twice (it may carry a bullish and a bearish event).
    rule_scores : DataFrame
        Schema ``RULE_SCORES``.

    Returns
    -------
    DataFrame
        ``symbol``, ``ts``, ``direction`` (the key, as in ``events``) and ``EVENT_COLUMNS``, all float64; one
        row per event in the order of ``events``, index 0..n-1. An event without features or without a rule
        score has them missing; a universe too small leaves the relative ones missing.

    Raises
    ------
    DataContractError
        If a feature column is missing, or a bar or rule score stands in its frame with two different values.
    """
    means = [f"{UNIVERSE_PREFIX}{name}" for name in RELATIVE_FEATURES]
    of_bar = ["symbol", "ts", *FEATURE_NAMES, *means, *CATALYST_FEATURES, NEWS_COVERED]
    _require_columns(features, of_bar)
    keys = events[list(EVENT_KEY)].reset_index(drop=True)
    bar_features = features[of_bar].drop_duplicates(["symbol", "ts"])
    at_bar = _join(keys, bar_features, on=["symbol", "ts"])
    of_rules = _join(keys, rule_scores[[*EVENT_KEY, "rule_score", "rule_action"]], on=list(EVENT_KEY))
    direction = keys["direction"].to_numpy(dtype=np.float64)
    columns = {name: at_bar[name].to_numpy() for name in FEATURE_NAMES}
    relative = {name: columns[name] - at_bar[f"{UNIVERSE_PREFIX}{name}"].to_numpy() for name in RELATIVE_FEATURES}
    columns |= {f"relative_{name}": values for name, values in relative.items()}
    columns |= _aligned(columns | relative, direction)
    columns["event_direction"] = direction
    columns["event_direction_inferred"] = events["direction_inferred"].to_numpy(dtype=np.float64)
    patterns = {name: events[pattern_column(name)].to_numpy(dtype=np.float64) for name in PATTERNS}
    columns |= {f"pattern_{name}": seen for name, seen in patterns.items()}
    columns["n_patterns"] = np.sum(list(patterns.values()), axis=0)
    columns |= {name: at_bar[name].to_numpy() for name in (*CATALYST_FEATURES, NEWS_COVERED)}
    columns["aligned_catalyst_sentiment"] = direction * columns["catalyst_sentiment"]
    columns["rule_score"] = of_rules["rule_score"].to_numpy()
    # +1: the rules would take the event's side; -1: the other one; 0: they would hold.
    columns["rule_agreement"] = direction * of_rules["rule_action"].to_numpy(dtype=np.float64)
    return pd.concat([keys, pd.DataFrame(columns)[list(EVENT_COLUMNS)].astype(np.float64)], axis=1)


def _aligned(values: dict[str, np.ndarray], direction: np.ndarray) -> dict[str, np.ndarray]:
    aligned = {f"aligned_{name}": direction * values[name] for name in SIDED_FEATURES}
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


def _require_columns(features: pd.DataFrame, columns: Sequence[str]) -> None:
    missing = [name for name in columns if name not in features.columns]
    if missing:
        raise DataContractError(
            f"event inputs: the feature frame lacks {missing}; got {list(features.columns)}. "
            "Compute it with the whole catalogue."
        )
