"""Computes declared features: one pass per symbol over columnar arrays, cross-sections joined once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from catalyst_ml.errors import ConfigurationError, DataContractError
from catalyst_ml.features.catalogue import (
    CATALOGUE,
    INPUTS,
    INTERMEDIATES,
    RECURSIVE_LOOKBACK_BARS,
    FeatureSpec,
    Intermediate,
)
from catalyst_ml.features.cross_section import cross_sectional_inputs
from catalyst_ml.features.panel import MarketPanel
from catalyst_ml.indicators.kernels import FloatArray
from catalyst_ml.indicators.segments import symbol_slices

_BAR_COLUMNS = ("open", "high", "low", "close", "volume")
_INTERMEDIATES: dict[str, Intermediate] = {i.name: i for i in INTERMEDIATES}


def compute_features(
    panel: MarketPanel, rows: pd.DataFrame, *, catalogue: tuple[FeatureSpec, ...] = CATALOGUE
) -> pd.DataFrame:
    """Compute every feature of ``catalogue`` at the wanted bars.

    Parameters
    ----------
    panel : MarketPanel
        Bars, instruments and news; nothing after a row's ``ts`` enters its values.
    rows : DataFrame
        Columns ``symbol`` and ``ts`` (UTC, close of the bar), in any order; repeats are allowed.
    catalogue : tuple of FeatureSpec
        The declarations to compute.

    Returns
    -------
    DataFrame
        ``symbol``, ``ts`` and one float64 column per feature, in the order of ``rows``, index 0..n-1. NaN
        means missing: source absent, or fewer bars of history than the feature declares.

    Raises
    ------
    DataContractError
        If a wanted row is no bar of the panel.
    ConfigurationError
        If a declaration names an input that does not exist.
    """
    _require_known_inputs(catalogue)
    slices = dict(symbol_slices(panel.bars["symbol"]))
    positions = _positions_of(rows, panel.bars["ts"].array.asi8, slices)
    columns = _input_columns(panel)
    values = np.full((len(rows), len(catalogue)), np.nan, order="F")
    for symbol, (wanted, own_bars) in positions.items():
        inputs = _SymbolInputs(columns, slices[symbol])
        for j, spec in enumerate(catalogue):
            values[wanted, j] = _compute_one(spec, inputs, symbol)[own_bars]
    keys = rows[["symbol", "ts"]].reset_index(drop=True)
    features = pd.DataFrame(values, columns=[spec.name for spec in catalogue], copy=False)
    return pd.concat([keys, features], axis=1)


def insufficient_history(panel: MarketPanel, minimum: int = RECURSIVE_LOOKBACK_BARS) -> pd.DataFrame:
    """Return the stocks with fewer than ``minimum`` bars: ``symbol`` and ``n_bars``, sorted by symbol.

    Their indicators never come free of their start, so they are reported and their events dropped.
    """
    stocks = panel.stocks
    counts = [(s, rows.stop - rows.start) for s, rows in symbol_slices(panel.bars["symbol"]) if s in stocks]
    short = [(symbol, n_bars) for symbol, n_bars in counts if n_bars < minimum]
    return pd.DataFrame(
        {
            "symbol": pd.Series([symbol for symbol, _ in short], dtype="str"),
            "n_bars": pd.Series([n_bars for _, n_bars in short], dtype="int64"),
        }
    )


class _SymbolInputs:
    """Arrays of one symbol by name; intermediates are computed at first use and kept for other features."""

    def __init__(self, columns: Mapping[str, FloatArray | None], rows: slice) -> None:
        self._columns = columns
        self._rows = rows
        self._computed: dict[str, Any] = {}

    @property
    def n_bars(self) -> int:
        return self._rows.stop - self._rows.start

    def get(self, name: str) -> Any:
        """Return the named array(s) of shape (n_bars,), or None if the source is absent."""
        if name not in self._computed:
            self._computed[name] = self._resolve(name)
        return self._computed[name]

    def _resolve(self, name: str) -> Any:
        if name in _INTERMEDIATES:
            intermediate = _INTERMEDIATES[name]
            return intermediate.compute(*(self.get(needed) for needed in intermediate.inputs))
        column = self._columns[name]
        return None if column is None else column[self._rows]


def _compute_one(spec: FeatureSpec, inputs: _SymbolInputs, symbol: str) -> FloatArray:
    arguments = [inputs.get(name) for name in spec.inputs]
    if any(argument is None for argument in arguments):
        return np.full(inputs.n_bars, np.nan)
    values = np.array(spec.compute(*arguments), dtype=np.float64)
    if values.shape != (inputs.n_bars,):
        raise ConfigurationError(
            f"feature {spec.name!r} gave shape {values.shape} for the {inputs.n_bars} bars of {symbol}; "
            "expected one value per bar. Mend its compute function."
        )
    values[: spec.lookback_bars - 1] = np.nan
    return values


def _input_columns(panel: MarketPanel) -> dict[str, FloatArray | None]:
    """Return every declared input, laid out like the bars; None where no source exists."""
    # Copies on purpose: pandas hands out read-only views, which numba would compile all kernels anew for.
    columns: dict[str, FloatArray | None] = dict.fromkeys(INPUTS)
    columns.update({name: panel.bars[name].to_numpy(dtype=np.float64, copy=True) for name in _BAR_COLUMNS})
    columns.update(cross_sectional_inputs(panel))
    return columns


def _positions_of(
    rows: pd.DataFrame, bar_ts: np.ndarray, slices: Mapping[str, slice]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return per symbol the wanted rows and the positions of their bars among the symbol's bars."""
    codes, names = pd.factorize(rows["symbol"])
    order = np.argsort(codes, kind="stable")
    bounds = np.searchsorted(codes[order], np.arange(len(names) + 1))
    wanted_ts = rows["ts"].array.asi8
    positions = {}
    for code, name in enumerate(names):
        wanted = order[bounds[code] : bounds[code + 1]]
        own_ts = bar_ts[slices[name]] if name in slices else bar_ts[:0]
        found = np.searchsorted(own_ts, wanted_ts[wanted])
        is_bar = (found < len(own_ts)) & (np.append(own_ts, 0)[found] == wanted_ts[wanted])
        if not is_bar.all():
            first = rows["ts"].iloc[int(wanted[np.argmin(is_bar)])]
            raise DataContractError(
                f"features wanted for {int((~is_bar).sum())} rows of {name} that are no bars of the panel "
                f"({len(own_ts)} bars), first at {first}. Compute events and features from the same bars."
            )
        positions[str(name)] = (wanted, found)
    return positions


def _require_known_inputs(catalogue: tuple[FeatureSpec, ...]) -> None:
    for spec in catalogue:
        unknown = [name for name in spec.inputs if name not in INPUTS and name not in _INTERMEDIATES]
        if unknown:
            raise ConfigurationError(
                f"feature {spec.name!r} asks for inputs {unknown}; known are {[*INPUTS, *_INTERMEDIATES]}. "
                "Correct the name, or declare the input in features/catalogue.py."
            )
