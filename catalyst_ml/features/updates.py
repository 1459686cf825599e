"""Carries features on: only the bars since a moment are computed, on the panel cut to what they look back to.

No state is kept: the cut panel goes through the same code as a full pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from catalyst_ml.errors import DataContractError
from catalyst_ml.features.catalogue import CATALOGUE, FeatureSpec
from catalyst_ml.features.cross_section import INPUT_LOOKBACK_BARS
from catalyst_ml.features.engine import Storage, compute_features, declared_for, needed_inputs
from catalyst_ml.features.extended_inputs import EXTENDED_LOOKBACK_BARS
from catalyst_ml.features.intraday_inputs import INTRADAY_INPUTS, SESSIONS_BACK
from catalyst_ml.features.panel import MarketPanel
from catalyst_ml.features.session_clock import session_clock
from catalyst_ml.indicators.segments import symbol_slices

_INPUT_LOOKBACK_BARS: dict[str, int] = INPUT_LOOKBACK_BARS | EXTENDED_LOOKBACK_BARS


def update_features(
    panel: MarketPanel,
    previous: pd.DataFrame,
    since: pd.Timestamp,
    *,
    catalogue: tuple[FeatureSpec, ...] = CATALOGUE,
    n_threads: int | None = None,
) -> pd.DataFrame:
    """Carry features of all stocks on: compute the bars after ``since``, keep what was computed before.

    Parameters
    ----------
    panel : MarketPanel
        History with the new bars. Only bars after ``since`` and their lookback are computed.
    previous : DataFrame
        Result of ``compute_features`` or of this function with the same catalogue, one row per bar. Its rows
        after ``since`` are computed anew.
    since : Timestamp
        Aware. Bars and news at or before it are those that ``previous`` was computed from: after a
        correction hand in a moment before the oldest corrected bar.

    Returns
    -------
    DataFrame
        As ``compute_features`` returns it, stored as ``previous`` is: the kept rows in their order, then every
        later bar of a stock, by symbol and ts. Windows give the bits of a full pass; recursive
        indicators start ``lookback_bars`` before each new bar's first and agree within 1e-9 of max(|a|, scale).

    Raises
    ------
    DataContractError
        If ``since`` has no time zone, ``previous`` lacks a feature, or its rows up to ``since`` are not the panel's
        bars of stocks up to then: the result would have a hole.
    """
    if since.tzinfo is None:
        raise DataContractError(f"update of features: since={since} has no time zone; expected an aware moment in UTC.")
    names = [spec.name for spec in catalogue]
    missing = [name for name in ("symbol", "ts", *names) if name not in previous.columns]
    if missing:
        raise DataContractError(
            f"update of features: the previous ones lack {missing}. Compute them with this catalogue from the start."
        )
    kept = previous.loc[previous["ts"] <= since, ["symbol", "ts", *names]].reset_index(drop=True)
    is_stock = panel.bars["symbol"].isin(panel.stocks)
    is_new = is_stock & (panel.bars["ts"] > since)
    old = panel.bars.loc[is_stock & ~is_new, ["symbol", "ts"]]
    if len(old) != len(kept) or _fingerprint(old) != _fingerprint(kept):
        raise DataContractError(
            f"update of features: the panel holds {len(old)} bars of stocks up to {since}, the previous features "
            f"{len(kept)} rows, not the same; expected one row per bar. Compute the features from the start."
        )
    new = panel.bars.loc[is_new, ["symbol", "ts"]]
    if new.empty:
        return kept
    dtype: Storage = "float32" if names and str(previous[names[0]].dtype) == "float32" else "float64"
    recent = _recent(panel, since, catalogue)
    added = compute_features(recent, new, catalogue=catalogue, dtype=dtype, n_threads=n_threads)
    return pd.concat([kept, added], ignore_index=True)


def _recent(panel: MarketPanel, since: pd.Timestamp, catalogue: Sequence[FeatureSpec]) -> MarketPanel:
    """Return the panel without the bars that no feature of a stock's bars after ``since`` looks back to."""
    back = max((spec.lookback_bars for spec in catalogue), default=1) - 1
    needed = needed_inputs(declared_for(panel, tuple(catalogue)))
    before = max((_INPUT_LOOKBACK_BARS.get(name, 0) for name in needed), default=0)
    stocks = panel.stocks
    ts = panel.bars["ts"].array.asi8
    slices = symbol_slices(panel.bars["symbol"])
    start = since_us = since.value // 1_000
    for symbol, rows in slices:
        first_new = int(np.searchsorted(ts[rows], since_us, side="right"))
        if symbol in stocks and first_new < rows.stop - rows.start:
            start = min(start, ts[rows][max(first_new - back, 0)])
    keeps = np.zeros(len(ts), dtype=bool)
    in_sessions = panel.calendar is not None and not needed.isdisjoint(INTRADAY_INPUTS)
    session = session_clock(panel.bars, panel.calendar).session if in_sessions and panel.calendar else None
    for symbol, rows in slices:
        # Every stock from that moment on, and by its own bars what its moves at that moment look back to;
        # indices and volatility whole, they are few.
        first = int(np.searchsorted(ts[rows], start)) if symbol in stocks else 0
        first = max(first - before, 0)
        if session is not None:
            first = min(first, _sessions_before(session[rows], first, SESSIONS_BACK))
        keeps[rows.start + first : rows.stop] = True
    return replace(panel, bars=panel.bars[keeps])


def _sessions_before(session: np.ndarray, at: int, n: int) -> int:
    """Return the first of a symbol's bars in its ``n``-th session before the one of bar ``at``."""
    own = np.unique(session[: at + 1])
    return int(np.searchsorted(session, own[max(len(own) - 1 - n, 0)])) if len(own) else 0


def _fingerprint(rows: pd.DataFrame) -> int:
    """Return a number that hardly any other set of symbols and moments has, in whichever order they stand."""
    return int(pd.util.hash_pandas_object(rows[["symbol", "ts"]], index=False).sum())
