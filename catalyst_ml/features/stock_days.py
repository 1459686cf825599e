"""Rows of all stocks on all days: what the companion models learn from, events or not.

One row per stock and close. Features of a stock are its *place among the day's stocks*; what is the same for every
stock of a day, and facts about news and reports, stay as they are; four measures of volatility come as logarithms too,
because the size of a move needs a level and not only an order.

Targets are market-neutral returns of a trade that a trader can make: decided at the close ``ts``, entered at the next
bar's open, left at the close of the next, or of the fifth, session (``market.labels``, ``MarketNeutralSpec``: against
the mean of all stocks over the same bars; a stock that stops trading is held to its last bar).
"""

from __future__ import annotations

import hashlib
import inspect
import logging
import sys
from dataclasses import dataclass

import numpy as np
import pandas as pd

from catalyst_ml.errors import DataContractError, InsufficientHistory
from catalyst_ml.features.catalogue import CATALOGUE, FeatureSpec, feature_set_version
from catalyst_ml.features.engine import compute_features
from catalyst_ml.features.extended import EXTENDED
from catalyst_ml.features.panel import MarketPanel
from catalyst_ml.features.universe import MIN_UNIVERSE
from catalyst_ml.frames import TIME_DTYPE
from catalyst_ml.indicators.ranks import group_bounds, places_within
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.event_rows import microseconds
from catalyst_ml.market.labels import MarketNeutralSpec, label_events

logger = logging.getLogger(__name__)

SAME_FOR_ALL: tuple[str, ...] = (
    "vix_level",
    "market_breadth",
    "market_trend_50",
    "vix_change_5",
    "return_dispersion",
)
"""Features that every stock of a close shares."""

AS_THEY_ARE: tuple[str, ...] = (
    "news_present",
    "unusual_volume",
    "options_activity",
    "days_since_earnings",
    "days_to_expected_earnings",
    "news_count_5d",
    "news_age_hours",
    "news_top_score_5d",
)
"""Facts whose value says more than their place: most stocks have no story today."""

_PLACES_ALREADY = ("rank_return_1_of_day", "rank_return_20_of_day", "rank_volume_of_day")
"""Of the second set; they would come twice."""

VOLATILITIES: tuple[str, ...] = (
    "atr_ratio",
    "volatility_realised_20",
    "volatility_parkinson_20",
    "volatility_garman_klass_20",
)
SMALLEST_VOLATILITY = 1e-5
"""A tenth of a basis point: the logarithm of a stock that does not move at all ends here."""

STOCK_DAY_CATALOGUE: tuple[FeatureSpec, ...] = tuple(
    spec for spec in (*CATALOGUE, *EXTENDED) if spec.name not in _PLACES_ALREADY
)
"""Both sets of features; those without a source at hand are missing."""

PLACED: tuple[str, ...] = tuple(
    spec.name for spec in STOCK_DAY_CATALOGUE if spec.name not in (*SAME_FOR_ALL, *AS_THEY_ARE)
)

STOCK_DAY_INPUTS: tuple[str, ...] = (
    *(f"placed_{name}" for name in PLACED),
    *SAME_FOR_ALL,
    *AS_THEY_ARE,
    *(f"log_{name}" for name in VOLATILITIES),
)
"""Columns of the companions' matrix and inputs of their ONNX graph, in this order; float32, NaN = missing."""

HORIZONS: tuple[int, ...] = (1, 5)
"""Sessions after the decision's at whose close a trade is left."""

HISTORY_FEATURE = "atr_ratio"
"""Known where 500 bars are: a stock-day without it is left out, like an event without history."""


def target_column(sessions: int) -> str:
    """Name of the market-neutral return over ``sessions`` sessions."""
    return f"neutral_return_{sessions}"


@dataclass(frozen=True)
class StockDays:
    """Rows of stocks and closes, and what was left out.

    Parameters
    ----------
    rows : DataFrame
        ``symbol``, ``ts`` (UTC), ``n_universe`` (stocks with a bar at that close), `STOCK_DAY_INPUTS`,
        ``neutral_return_1``, ``neutral_return_5`` (fractions before costs, NaN while open) and ``label_end`` (UTC,
        close of the fifth session after: when both are known; set for open ones too). Float32 but for the keys
        and targets; sorted by ts and symbol, index 0..n-1.
    dropped : dict
        Rows left out by reason, the first that applies: ``held_out``, ``small_universe``, ``insufficient_history``.
    n_open : int
        Rows whose five-session target was not known at ``as_of``; they can be predicted, not learned from.
    """

    rows: pd.DataFrame
    dropped: dict[str, int]
    n_open: int


def stock_day_version() -> str:
    """Return 16 hexadecimal digits that change with the features, or with the code that makes rows of them."""
    parts = [feature_set_version(STOCK_DAY_CATALOGUE), inspect.getsource(sys.modules[__name__])]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def build_stock_days(
    panel: MarketPanel,
    *,
    calendar: TradingCalendar,
    as_of: pd.Timestamp,
    held_out: pd.DataFrame | None = None,
    n_threads: int | None = None,
) -> StockDays:
    """Compute inputs and targets of every stock at every close up to ``as_of``.

    Parameters
    ----------
    panel : MarketPanel
        Bars adjusted for the splits known at ``as_of``.
    calendar : TradingCalendar
        Must reach five sessions beyond ``as_of``.
    as_of : Timestamp, UTC
        Bars after it are not read; targets that were open at it stay open.
    held_out : DataFrame, optional
        ``symbol`` and ``ts`` of bars that see a suspected price break (``quality.exposure``): no row, and no place
        among the day's stocks.
    n_threads : int, optional
        Of the feature engine; changes no value.

    Returns
    -------
    StockDays

    Raises
    ------
    InsufficientHistory
        If no row is left.
    DataContractError
        If a held-out row is no bar of a stock.
    """
    known = panel.known_at(as_of) if (panel.bars["ts"] > as_of).any() else panel
    keys = known.bars.loc[known.bars["symbol"].isin(known.stocks), ["symbol", "ts"]]
    keys = keys.sort_values(["ts", "symbol"], ignore_index=True)
    is_held_out = _is_in(keys, held_out)
    bounds = group_bounds(microseconds(keys["ts"]))
    universe = np.repeat(np.diff(bounds), np.diff(bounds))
    features = compute_features(known, keys, catalogue=STOCK_DAY_CATALOGUE, dtype="float32", n_threads=n_threads)
    has_history = features[HISTORY_FEATURE].notna().to_numpy()
    inputs = _inputs(features, bounds, is_held_out)
    del features
    rows = pd.concat([keys.assign(n_universe=universe.astype(np.int32)), inputs], axis=1)
    keep, dropped = _sort_out(
        {"held_out": is_held_out, "small_universe": universe < MIN_UNIVERSE, "insufficient_history": ~has_history}
    )
    targets = _targets(keys, known, calendar, as_of)
    rows = pd.concat([rows, targets], axis=1)[keep].reset_index(drop=True)
    n_open = int(rows[target_column(max(HORIZONS))].isna().sum())
    logger.info("stock-days: %d -> %d rows, %d open; left out: %s", len(keys), len(rows), n_open, dropped)
    if rows.empty:
        raise InsufficientHistory(
            f"stock-days: none of {len(keys)} rows is left ({dropped}). A stock needs 500 bars and {MIN_UNIVERSE} "
            "stocks at its close; import earlier bars or more symbols."
        )
    return StockDays(rows, dropped, n_open)


def inputs_of_close(panel: MarketPanel, close: pd.Timestamp, *, n_threads: int | None = None) -> pd.DataFrame:
    """Compute the inputs of one close alone, for what must answer at once: the rows `build_stock_days` has of it.

    Parameters
    ----------
    panel : MarketPanel
        At least 500 bars up to ``close`` of every stock that shall have a row; what is later is not read.
    close : Timestamp, UTC
    n_threads : int, optional
        Of the feature engine; changes no value.

    Returns
    -------
    DataFrame
        ``symbol``, ``ts`` and `STOCK_DAY_INPUTS` (float32) of every stock with a bar at the close and with history,
        sorted by symbol. Empty where fewer than `MIN_UNIVERSE` stocks closed, or none has history. No target is
        computed and nothing is held out.
    """
    known = panel.known_at(close) if (panel.bars["ts"] > close).any() else panel
    at_close = (known.bars["ts"] == close) & known.bars["symbol"].isin(known.stocks)
    keys = known.bars.loc[at_close, ["symbol", "ts"]].sort_values("symbol", ignore_index=True)
    if len(keys) < MIN_UNIVERSE:
        return keys.head(0).join(pd.DataFrame(columns=list(STOCK_DAY_INPUTS), dtype=np.float32))
    features = compute_features(known, keys, catalogue=STOCK_DAY_CATALOGUE, dtype="float32", n_threads=n_threads)
    inputs = _inputs(features, np.array([0, len(keys)], dtype=np.int64), np.zeros(len(keys), dtype=bool))
    has_history = features[HISTORY_FEATURE].notna().to_numpy()
    return pd.concat([keys, inputs], axis=1)[has_history].reset_index(drop=True)


def _inputs(features: pd.DataFrame, bounds: np.ndarray, is_held_out: np.ndarray) -> pd.DataFrame:
    """Return `STOCK_DAY_INPUTS` of rows that stand together by day."""
    values = np.empty((len(features), len(STOCK_DAY_INPUTS)), dtype=np.float32, order="F")
    for j, name in enumerate(STOCK_DAY_INPUTS):
        source = name.removeprefix("placed_").removeprefix("log_")
        column = np.where(is_held_out, np.float32(np.nan), features[source].to_numpy())
        if name.startswith("placed_"):
            values[:, j] = places_within(column, bounds, MIN_UNIVERSE)
        elif name.startswith("log_"):
            values[:, j] = np.log(np.maximum(column, np.float32(SMALLEST_VOLATILITY)))
        else:
            values[:, j] = column
    return pd.DataFrame(values, columns=list(STOCK_DAY_INPUTS), copy=False)


def _targets(keys: pd.DataFrame, panel: MarketPanel, calendar: TradingCalendar, as_of: pd.Timestamp) -> pd.DataFrame:
    """Return the returns beyond the universe of a long trade decided at each row, and when both are known."""
    columns: dict[str, np.ndarray] = {}
    decisions = keys.assign(direction=np.int8(1)).sort_values(["symbol", "ts"])
    for sessions in HORIZONS:
        spec = MarketNeutralSpec(horizon_sessions=sessions, cost_bps_per_side=0.0, min_universe=MIN_UNIVERSE)
        labelled = label_events(
            decisions, panel.bars, spec, calendar=calendar, as_of=as_of, instruments=panel.instruments
        ).labels
        at = keys[["symbol", "ts"]].merge(labelled[["symbol", "ts", "gross_return"]], on=["symbol", "ts"], how="left")
        columns[target_column(sessions)] = at["gross_return"].to_numpy(dtype=np.float64)
    columns["label_end"] = _ends(keys["ts"], calendar)
    return pd.DataFrame(columns).astype({"label_end": TIME_DTYPE})


def _ends(ts: pd.Series, calendar: TradingCalendar) -> pd.DatetimeIndex:
    """Return the close of the last horizon's session after each decision."""
    which, unique = pd.factorize(pd.DatetimeIndex(ts))
    sessions = calendar.session_of(pd.DatetimeIndex(unique))
    return calendar.closes(calendar.shift(sessions, max(HORIZONS)))[which]


def _is_in(keys: pd.DataFrame, held_out: pd.DataFrame | None) -> np.ndarray:
    if held_out is None or held_out.empty:
        return np.zeros(len(keys), dtype=bool)
    asked = held_out[["symbol", "ts"]].drop_duplicates()
    found = keys.merge(asked, on=["symbol", "ts"], how="left", indicator=True)["_merge"].to_numpy() == "both"
    if found.sum() != len(asked):
        raise DataContractError(
            f"stock-days: {len(asked) - int(found.sum())} of {len(asked)} rows to hold out are no bars of a stock; "
            "expected symbol and ts of bars of the panel. Look for breaks on the same bars."
        )
    return found


def _sort_out(reasons: dict[str, np.ndarray]) -> tuple[np.ndarray, dict[str, int]]:
    """Return which rows stay, and how many left for which reason, the first that applies."""
    gone = np.zeros(len(next(iter(reasons.values()))), dtype=bool)
    dropped = {}
    for reason, is_out in reasons.items():
        dropped[reason] = int((is_out & ~gone).sum())
        gone |= is_out
    return ~gone, dropped
