"""Features of one event while a request waits: the last bars of one symbol in, one value per feature out.

The same declarations and kernels as in training, run on the window alone: bit for bit what ``compute_features``
gives on the same bars. Against the full history, recursive indicators differ by less than 1e-9 (they declare 500
bars), windows not at all.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from catalyst_ml.errors import DataContractError, InsufficientHistory
from catalyst_ml.features.catalogue import CATALOGUE, RECURSIVE_LOOKBACK_BARS, FeatureSpec
from catalyst_ml.features.engine import ALL_INPUTS, BAR_COLUMNS, declared_for, input_columns, last_values, needed_inputs
from catalyst_ml.features.panel import MarketPanel
from catalyst_ml.indicators.kernels import FloatArray
from catalyst_ml.indicators.segments import symbol_slices

WINDOW_BARS = RECURSIVE_LOOKBACK_BARS


def features_of_last_bar(
    window: Mapping[str, FloatArray],
    context: Mapping[str, FloatArray] | None = None,
    *,
    catalogue: tuple[FeatureSpec, ...] = CATALOGUE,
    symbol: str = "the window",
) -> dict[str, float]:
    """Compute the features of the last bar of a window.

    Parameters
    ----------
    window : mapping of str to (n_bars,) float64
        ``open``, ``high``, ``low``, ``close``, ``volume`` of one symbol in time order, adjusted for splits, at least
        ``WINDOW_BARS`` of them.
    context : mapping of str to (n_bars,) float64
        Inputs that join symbols, as known at the close of each bar of the window (``context_of`` takes them
        from a panel). One that is not given is an absent source: features on it are missing.
    catalogue : tuple of FeatureSpec
        The declarations to compute.
    symbol : str
        For messages only.

    Returns
    -------
    dict of str to float
        One value per feature, NaN where missing.

    Raises
    ------
    InsufficientHistory
        If the window holds fewer than ``WINDOW_BARS`` bars.
    DataContractError
        If an array is missing, has another length or is not one-dimensional, a context has no declared name, or a
        price is not finite and positive.
    """
    arrays = _checked(window, symbol)
    n_bars = len(arrays["close"])
    for name, values in (context or {}).items():
        if name not in ALL_INPUTS:
            raise DataContractError(
                f"features of {symbol}: context {name!r} is no input; known are {[*ALL_INPUTS]}. Correct the name."
            )
        given = np.asarray(values, dtype=np.float64)
        if given.shape != (n_bars,):
            raise DataContractError(
                f"features of {symbol}: context {name!r} has shape {given.shape} for {n_bars} bars; "
                "expected one value per bar of the window. Cut it to the same closes."
            )
        arrays[name] = given
    columns = {name: arrays.get(name) for name in needed_inputs(catalogue)}
    values = last_values(columns, catalogue, n_bars=n_bars, symbol=symbol)
    return dict(zip((spec.name for spec in catalogue), values.tolist(), strict=True))


def window_of(panel: MarketPanel, symbol: str, ts: pd.Timestamp, *, n_bars: int = WINDOW_BARS) -> dict[str, FloatArray]:
    """Return the last ``n_bars`` bars of ``symbol`` up to the one that closed at ``ts``, as arrays."""
    rows = _rows(panel, symbol, ts, n_bars)
    return {name: panel.bars[name].to_numpy(np.float64)[rows] for name in BAR_COLUMNS}


def context_of(
    panel: MarketPanel,
    symbol: str,
    ts: pd.Timestamp,
    *,
    catalogue: tuple[FeatureSpec, ...] = CATALOGUE,
    n_bars: int = WINDOW_BARS,
) -> dict[str, FloatArray]:
    """Return what the panel knows beyond the symbol's own bars, at the closes of ``window_of``.

    Raises
    ------
    DataContractError
        If no bar of ``symbol`` closed at ``ts``.
    """
    rows = _rows(panel, symbol, ts, n_bars)
    columns = input_columns(panel, needed_inputs(declared_for(panel, catalogue)) - set(BAR_COLUMNS))
    return {name: column[rows].copy() for name, column in columns.items() if column is not None}


def _rows(panel: MarketPanel, symbol: str, ts: pd.Timestamp, n_bars: int) -> slice:
    own = dict(symbol_slices(panel.bars["symbol"])).get(symbol, slice(0, 0))
    moments = panel.bars["ts"].iloc[own]
    last = int(moments.searchsorted(ts))
    if last == len(moments) or moments.iloc[last] != ts:
        raise DataContractError(
            f"{symbol} has no bar that closed at {ts} ({len(moments)} bars); expected the close of the event's bar."
        )
    return slice(own.start + max(last + 1 - n_bars, 0), own.start + last + 1)


def _checked(window: Mapping[str, FloatArray], symbol: str) -> dict[str, FloatArray]:
    missing = [name for name in BAR_COLUMNS if name not in window]
    if missing:
        raise DataContractError(f"features of {symbol}: the window lacks {missing}; expected {list(BAR_COLUMNS)}.")
    arrays = {name: np.asarray(window[name], dtype=np.float64) for name in BAR_COLUMNS}
    shapes = {name: values.shape for name, values in arrays.items()}
    n_bars = len(arrays["close"]) if arrays["close"].ndim == 1 else 0
    if any(shape != (n_bars,) for shape in shapes.values()):
        raise DataContractError(f"features of {symbol}: the window's arrays have shapes {shapes}; expected one length.")
    if n_bars < WINDOW_BARS:
        raise InsufficientHistory(
            f"features of {symbol}: the window holds {n_bars} bars; expected at least {WINDOW_BARS}, which recursive "
            "indicators need to forget their start. Send more bars, or leave the symbol to the rules."
        )
    prices = np.stack([arrays[name] for name in ("open", "high", "low", "close")])
    if not (np.isfinite(prices) & (prices > 0.0)).all() or not np.isfinite(arrays["volume"]).all():
        at = int(np.argmin((np.isfinite(prices) & (prices > 0.0)).all(axis=0) & np.isfinite(arrays["volume"])))
        raise DataContractError(
            f"features of {symbol}: bar {at} of {n_bars} has a price that is not positive and finite, or no volume. "
            "Mend or refetch the bar."
        )
    return arrays
