"""What the bar suite judges: every bar, symbol and dataset measured, nothing decided.

Three frames: one row per bar with a boolean column per rule (``True`` = against the rule), one row per symbol,
one row for the whole dataset. Moves are compared with what the split factors explain.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.price_breaks import (
    BOGUS_FACTOR,
    MAX_DAYS_BETWEEN,
    MISSED_ACTION,
    sessions_of,
    suspected_breaks,
)

LARGE_MOVE = math.log(1.5)
"""A missed 3-for-2 split; real moves of this size exist, and every one of them deserves a look."""

EXTREME_RISE, EXTREME_FALL = 2.0, 0.4
"""As a ratio of closes."""

IN_BAR_BREAK = math.log(1.5)
"""Within one intraday bar: what opens on one scale and closes on another."""

DOLLARS = (0.01, 100_000.0)
TICK = 1e-4
"""The finest grid a US quote lies on (below a dollar); restated prices lie on none."""

ADJUSTED_GAP = 0.10
LATE_START_DAYS = 7
STOPPED_DAYS = 30
THIN_SESSION = 0.9
_PRICES = ("open", "high", "low", "close")


@dataclass(frozen=True)
class MeasuredBars:
    """The three frames of the suite, and the breaks with what was measured of each.

    ``bars`` has symbol, ts and the flags; ``symbols`` one row per symbol; ``dataset`` one row; ``holes`` one row per
    hole in a history (symbol, ts of the bar after it, n_missing); ``thin`` one row per thin intraday session.
    """

    bars: pd.DataFrame
    symbols: pd.DataFrame
    dataset: pd.DataFrame
    breaks: pd.DataFrame
    holes: pd.DataFrame
    thin: pd.DataFrame
    moves: pd.DataFrame


def measure_bars(
    bars: pd.DataFrame,
    instruments: pd.DataFrame,
    *,
    calendar: TradingCalendar,
    minutes: int | None,
    adjusted_close: pd.Series | None = None,
) -> MeasuredBars:
    """Measure BARS (sorted by symbol and ts) for the suite; ``minutes`` is None for daily bars.

    Breaks, volume and moves are judged for stocks only: a volatility index doubles overnight and has no volume.
    ``adjusted_close`` (index of ``bars``), where the vendor gives one, is a second witness of a missed action.
    """
    frame = bars.reset_index(drop=True)
    is_stock = frame["symbol"].isin(instruments.loc[instruments["kind"] == "stock", "symbol"]).to_numpy()
    regular = is_regular(frame["ts"], calendar, minutes)
    flags = _value_flags(frame, is_stock, regular)
    flags["follows_no_earlier_bar"] = _goes_back(frame)
    flags["not_of_a_session"] = _is_of_no_session(frame["ts"], calendar, minutes)
    moves = _moves(frame)
    flags["large_move"] = is_stock & (np.fmax(np.abs(moves["gap"]), np.abs(moves["move"])) >= LARGE_MOVE).to_numpy()
    # Of the closes themselves: a logarithm would count a fall of exactly 60 % now as below it, now as not.
    flags["extreme_move"] = is_stock & ((moves["ratio"] > EXTREME_RISE) | (moves["ratio"] < EXTREME_FALL)).to_numpy()
    daily = frame if minutes is None else sessions_of(frame, calendar=calendar)
    breaks = suspected_breaks(daily[daily["symbol"].isin(frame.loc[is_stock, "symbol"].unique())])
    flags["missed_action"] = _at(frame, breaks[breaks["kind"] == MISSED_ACTION])
    flags["bogus_factor"] = _at(frame, breaks[breaks["kind"] == BOGUS_FACTOR])
    flags["in_bar_break"] = _in_bar_break(frame, is_stock) if minutes else np.zeros(len(frame), dtype=bool)
    flags["adjusted_close_disagrees"] = _disagrees(frame, moves, adjusted_close)
    is_broken = flags["missed_action"] | flags["bogus_factor"]
    # A break is named once, by the rule that sets it aside.
    flags["large_move"] &= ~is_broken
    flags["extreme_move"] &= ~is_broken
    holes = _holes(frame, calendar) if minutes is None else _no_holes()
    thin = _no_thin() if minutes is None else _thin_sessions(frame[regular], calendar, minutes)
    return MeasuredBars(
        bars=pd.concat([frame[["symbol", "ts"]], pd.DataFrame(flags)], axis=1),
        symbols=_symbols(frame, holes, thin),
        dataset=_dataset(frame, is_stock, calendar),
        breaks=breaks,
        holes=holes,
        thin=thin,
        moves=moves,
    )


def _value_flags(frame: pd.DataFrame, is_stock: np.ndarray, regular: np.ndarray) -> dict[str, np.ndarray]:
    opened, high, low, close = (frame[name].to_numpy() for name in _PRICES)
    volume, factor = frame["volume"].to_numpy(), frame["split_factor"].to_numpy()
    lowest, highest = np.minimum.reduce([opened, high, low, close]), np.maximum.reduce([opened, high, low, close])
    values = np.stack([opened, high, low, close, volume])
    copies = np.zeros(len(frame), dtype=bool)
    copies[1:] = (values[:, 1:] == values[:, :-1]).all(axis=0) & _same_symbol(frame)[1:]
    return {
        "bad_number": ~(np.isfinite(values).all(axis=0) & np.isfinite(factor)),
        "not_positive": ~((lowest > 0.0) & (factor > 0.0)),
        "high_too_low": high < highest,
        "low_too_high": low > lowest,
        "negative_volume": volume < 0.0,
        "no_volume": is_stock & regular & (volume == 0.0),
        "no_volume_outside_hours": is_stock & ~regular & (volume == 0.0),
        "outside_hours": ~regular,
        "no_range": is_stock & regular & (high == low),
        "copy": copies & (volume > 0.0),
        "odd_dollars": is_stock & ((lowest < DOLLARS[0]) | (highest > DOLLARS[1])),
    }


def _moves(frame: pd.DataFrame) -> pd.DataFrame:
    """Moves that the split factor does not explain: overnight ``gap``, ``inside`` the bar and whole ``move`` as
    logarithms, ``ratio`` of the closes."""
    same = _same_symbol(frame)
    previous = np.where(same, frame["close"].shift(1).to_numpy(), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = np.log(frame["open"].to_numpy() * frame["split_factor"].to_numpy() / previous)
        inside = np.log(frame["close"].to_numpy() / frame["open"].to_numpy())
        ratio = frame["close"].to_numpy() * frame["split_factor"].to_numpy() / previous
    # Across a hole of weeks "overnight" means nothing; the hole is named by a rule of its own.
    is_far = frame["ts"].diff().dt.total_seconds().to_numpy() > 86_400.0 * MAX_DAYS_BETWEEN
    gap[is_far], ratio[is_far] = np.nan, np.nan
    return pd.DataFrame({"gap": gap, "inside": inside, "move": gap + inside, "ratio": ratio})


def _in_bar_break(frame: pd.DataFrame, is_stock: np.ndarray) -> np.ndarray:
    """Bars that open on one scale and close on another, where the next bar stays on the scale of the close."""
    with np.errstate(divide="ignore", invalid="ignore"):
        inside = np.abs(np.log(frame["close"].to_numpy() / frame["open"].to_numpy()))
        after = np.abs(np.log(frame["open"].shift(-1).to_numpy() / frame["close"].to_numpy()))
    same = np.append(_same_symbol(frame)[1:], False)
    return np.asarray(is_stock & (inside >= IN_BAR_BREAK) & same & (after < 0.25 * inside))


def _disagrees(frame: pd.DataFrame, moves: pd.DataFrame, adjusted_close: pd.Series | None) -> np.ndarray:
    """Days on which the vendor's adjusted close moves otherwise than price and split factor, beyond a dividend."""
    if adjusted_close is None:
        return np.zeros(len(frame), dtype=bool)
    adjusted = adjusted_close.to_numpy(dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        moved = np.log(adjusted[1:] / adjusted[:-1])
    apart = np.abs(np.append(np.nan, moved) - moves["move"].to_numpy())
    return np.asarray(_same_symbol(frame) & (apart > ADJUSTED_GAP))


def is_regular(ts: pd.Series, calendar: TradingCalendar, minutes: int | None) -> np.ndarray:
    """Bars that overlap the regular session of their exchange date; every daily bar is one."""
    if minutes is None:
        return np.ones(len(ts), dtype=bool)
    codes, moments = pd.factorize(ts)
    closes = pd.DatetimeIndex(moments)
    dates = closes.tz_convert(calendar.zone).tz_localize(None).normalize().as_unit("us")
    regular = calendar.is_session(dates)
    sessions = pd.DatetimeIndex(dates[regular])
    start = closes[regular] - pd.Timedelta(minutes=minutes)
    regular[regular] = (closes[regular] > calendar.opens(sessions)) & (start < calendar.closes(sessions))
    return np.asarray(regular[codes])


def _is_of_no_session(ts: pd.Series, calendar: TradingCalendar, minutes: int | None) -> np.ndarray:
    codes, moments = pd.factorize(ts)
    closes = pd.DatetimeIndex(moments)
    dates = closes.tz_convert(calendar.zone).tz_localize(None).normalize().as_unit("us")
    good = calendar.is_session(dates)
    if minutes is None:
        good[good] = calendar.closes(pd.DatetimeIndex(dates[good])) == closes[good]
    return np.asarray(~good[codes])


def _holes(frame: pd.DataFrame, calendar: TradingCalendar) -> pd.DataFrame:
    """Sessions missing inside the history of a symbol, one row per hole."""
    codes, moments = pd.factorize(frame["ts"])
    closes = pd.DatetimeIndex(moments)
    if closes.empty:
        return _no_holes()
    day = pd.Timedelta(days=1)
    sessions = calendar.closes(calendar.sessions(closes.min() - day, closes.max() + day))
    place = np.searchsorted(sessions.as_unit("us").asi8, closes.as_unit("us").asi8)[codes]
    missing = np.where(_same_symbol(frame), np.diff(place, prepend=place[:1]) - 1, 0)
    rows = np.flatnonzero(missing > 0)
    return frame.loc[rows, ["symbol", "ts"]].assign(n_missing=missing[rows]).reset_index(drop=True)


def _thin_sessions(regular: pd.DataFrame, calendar: TradingCalendar, minutes: int) -> pd.DataFrame:
    """Symbol and session with less than 90 % of the bars that the session, early closes included, has room for."""
    dates = pd.DatetimeIndex(regular["ts"]).tz_convert(calendar.zone).tz_localize(None).normalize().as_unit("us")
    counted = (
        regular.assign(session=dates)
        .groupby(["symbol", "session"], sort=True)
        .agg(n_bars=("ts", "size"), ts=("ts", "max"))
    )
    if counted.empty:
        return _no_thin()
    counted = counted.reset_index()
    sessions = pd.DatetimeIndex(counted["session"])
    length = (calendar.closes(sessions) - calendar.opens(sessions)).total_seconds().to_numpy()
    counted = counted.assign(n_expected=np.ceil(length / (60.0 * minutes)).astype(np.int64))
    return counted[counted["n_bars"] < THIN_SESSION * counted["n_expected"]].reset_index(drop=True)


def _symbols(frame: pd.DataFrame, holes: pd.DataFrame, thin: pd.DataFrame) -> pd.DataFrame:
    grid = frame["open"].to_numpy() / TICK
    off_tick = np.abs(grid - np.round(grid)) > 1e-3
    grouped = frame.assign(off_tick=off_tick).groupby("symbol", sort=True)
    symbols = grouped.agg(
        first=("ts", "min"), last=("ts", "max"), n_bars=("ts", "size"), share_off_tick=("off_tick", "mean")
    )
    began, ended = frame["ts"].min(), frame["ts"].max()
    return symbols.assign(
        starts_late=symbols["first"] > began + pd.Timedelta(days=LATE_START_DAYS),
        stopped=(symbols["last"] < ended - pd.Timedelta(days=STOPPED_DAYS)).astype(np.int64),
        n_missing=holes.groupby("symbol")["n_missing"].sum().reindex(symbols.index, fill_value=0).astype(np.int64),
        n_thin=thin.groupby("symbol").size().reindex(symbols.index, fill_value=0).astype(np.int64),
    ).reset_index()


def _dataset(frame: pd.DataFrame, is_stock: np.ndarray, calendar: TradingCalendar) -> pd.DataFrame:
    """One row: bars, stocks, and the share of the recently traded stocks that have a bar of the newest session."""
    stocks = frame[is_stock]
    newest_share = math.nan
    if not stocks.empty:
        dates = stocks["ts"].dt.tz_convert(calendar.zone).dt.normalize()
        recent = stocks.loc[dates > dates.max() - pd.Timedelta(days=STOPPED_DAYS), "symbol"].nunique()
        newest_share = stocks.loc[dates == dates.max(), "symbol"].nunique() / recent
    return pd.DataFrame({"n_bars": [len(frame)], "newest_share": [newest_share]})


def _goes_back(frame: pd.DataFrame) -> np.ndarray:
    same = _same_symbol(frame)
    earlier = frame["ts"].diff().dt.total_seconds().to_numpy() <= 0.0
    name = frame["symbol"].to_numpy(dtype=object)
    unsorted = np.zeros(len(frame), dtype=bool)
    unsorted[1:] = name[1:] < name[:-1]
    return np.asarray((same & earlier) | unsorted)


def _same_symbol(frame: pd.DataFrame) -> np.ndarray:
    """Whether each row belongs to the symbol of the row before."""
    codes = pd.factorize(frame["symbol"])[0]
    return np.append(False, codes[1:] == codes[:-1])[: len(frame)]


def _at(frame: pd.DataFrame, breaks: pd.DataFrame) -> np.ndarray:
    rows = pd.MultiIndex.from_frame(frame[["symbol", "ts"]]) if len(breaks) else None
    if rows is None:
        return np.zeros(len(frame), dtype=bool)
    return np.asarray(rows.isin(pd.MultiIndex.from_frame(breaks[["symbol", "ts"]])))


def _no_holes() -> pd.DataFrame:
    return pd.DataFrame({"symbol": pd.Series(dtype="str"), "ts": [], "n_missing": []})


def _no_thin() -> pd.DataFrame:
    return pd.DataFrame({"symbol": pd.Series(dtype="str"), "ts": [], "session": [], "n_bars": [], "n_expected": []})
