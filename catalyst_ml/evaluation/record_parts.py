"""Ways of cutting a record that need more than the record: regimes, sector, novelty. All as known at each event."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from catalyst_ml.evaluation.regimes import market_trend, volatility_terciles
from catalyst_ml.features.cross_section import MARKET_SYMBOL
from catalyst_ml.frames import EVENT_KEY
from catalyst_ml.quality.novelty import MIN_ROWS, NOVEL_BELOW, fit_novelty, score_novelty

MAX_NOVELTY_ROWS = 20_000
"""Newest rows before the record that say what is usual: two years of a hundred stocks, and enough for 1 %."""


def parts_of_record(
    record: pd.DataFrame,
    training_set: pd.DataFrame,
    bars: pd.DataFrame,
    instruments: pd.DataFrame,
    inputs: Sequence[str],
) -> pd.DataFrame:
    """Name the part each record row belongs to.

    Parameters
    ----------
    record
        Record rows: event key and session.
    training_set
        The training set frame that the record's rows come from, with ``vix_level`` and ``inputs``.
    bars, instruments
        Split-adjusted BARS with those of SPY, and INSTRUMENTS.

    Returns
    -------
    DataFrame
        Rows as in ``record``, index 0..n-1, columns of str: ``volatility`` and ``trend`` (`regimes`), ``sector``, and
        ``novelty``: ``novel`` if fewer than 1 % of the events before the record were as unlike them, else ``usual``.
        A name is missing where its source is.
    """
    key = list(EVENT_KEY)
    numbers = training_set[key].assign(row=np.arange(len(training_set)))
    row = record[key].merge(numbers, on=key, how="left", validate="one_to_one")["row"].to_numpy()
    volatility = volatility_terciles(training_set["session"], training_set["vix_level"]).to_numpy()[row]
    sector = record["symbol"].map(instruments.set_index("symbol")["sector"]).reset_index(drop=True)
    spy = bars[(bars["symbol"] == MARKET_SYMBOL).to_numpy()]
    return pd.DataFrame(
        {
            "volatility": pd.Series(volatility, dtype="str"),
            "trend": market_trend(record["ts"], spy).reset_index(drop=True),
            "sector": sector.astype("str").where(sector.notna()),
            "novelty": _novelty(training_set, training_set.iloc[row], inputs),
        }
    )


def _novelty(training_set: pd.DataFrame, rows: pd.DataFrame, inputs: Sequence[str]) -> pd.Series:
    before = training_set[(training_set["ts"] < rows["ts"].min()).to_numpy()].tail(MAX_NOVELTY_ROWS)
    if len(before) < MIN_ROWS or rows.empty:
        return pd.Series([None] * len(rows), dtype="str")
    p = score_novelty(fit_novelty(before, inputs), rows)["novelty_p"].to_numpy()
    return pd.Series(np.where(p < NOVEL_BELOW, "novel", "usual"), dtype="str")
