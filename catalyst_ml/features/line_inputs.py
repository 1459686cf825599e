"""What the models of a line read: on intraday bars the time of the session and the stock's range too.

A trade that must be flat by the close has less time and pays the same costs the later it begins, and costs weigh more
where the stock hardly moves: of real five-minute events in the last half hour 36 in 100 succeed, of those at the open
51. Who does not know clock and range learns them badly from volumes and shapes, and takes them for knowledge of the
pattern.
"""

from __future__ import annotations

import hashlib

import pandas as pd

from catalyst_ml.features.catalogue import CATALOGUE, FeatureSpec, feature_set_version
from catalyst_ml.features.events import EVENT_COLUMNS, MODEL_INPUTS, event_inputs, model_input_version
from catalyst_ml.features.extended import EXTENDED
from catalyst_ml.features.intraday import TIME_OF_SESSION, as_intraday
from catalyst_ml.market.timeframes import DAILY

TIME = TIME_OF_SESSION.name
RANGE = "atr_ratio"
"""ATR over the price: barriers are multiples of it, costs are not."""
INTRADAY_INPUTS: tuple[str, ...] = (TIME, RANGE)
"""Of the bar, as they are; missing without history."""


_RANGE = next(spec for spec in EXTENDED if spec.name == RANGE)


def line_catalogue(timeframe: str) -> tuple[FeatureSpec, ...]:
    """Return the features to compute for bars of a length."""
    return CATALOGUE if timeframe == DAILY else (*CATALOGUE, TIME_OF_SESSION, _RANGE)


def model_inputs(timeframe: str) -> tuple[str, ...]:
    """Return the columns of the model matrix, in order."""
    return MODEL_INPUTS if timeframe == DAILY else (*MODEL_INPUTS, *INTRADAY_INPUTS)


def event_columns(timeframe: str) -> tuple[str, ...]:
    """Return the columns of `line_event_inputs` beside the key, in order."""
    return EVENT_COLUMNS if timeframe == DAILY else (*EVENT_COLUMNS, *INTRADAY_INPUTS)


def line_event_inputs(events: pd.DataFrame, features: pd.DataFrame, rule_scores: pd.DataFrame) -> pd.DataFrame:
    """Return ``events.event_inputs``, with `INTRADAY_INPUTS` where ``features`` hold them.

    Raises
    ------
    DataContractError
        As ``events.event_inputs``.
    """
    inputs = event_inputs(events, features, rule_scores)
    if TIME not in features.columns:
        return inputs
    of_bar = features.drop_duplicates(["symbol", "ts"])[["symbol", "ts", *INTRADAY_INPUTS]]
    return inputs.merge(of_bar, on=["symbol", "ts"], how="left", validate="many_to_one")


def input_version(timeframe: str) -> str:
    """Return 16 hexadecimal digits that change when what a line's models read is declared or computed another way.

    For daily bars they are ``model_input_version()``.
    """
    if timeframe == DAILY:
        return model_input_version()
    parts = (model_input_version(), feature_set_version(as_intraday(line_catalogue(timeframe))))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
