"""What each trade earned in each session it was open: the marks that sum up to its net return.

The trial compares books from session to session and not outcomes from event to event: outcomes of neighbouring days
overlap and are known only when a trade is over, fast barrier touches first. A mark is known at the close of its
session, belongs to that session alone, and concerns a position that was taken before.

References
----------
What the trade is (entry, barriers, costs): ``market.labels``. Why marks: docs/decisions/0031-trial.md.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from catalyst_ml.errors import DataContractError
from catalyst_ml.evaluation.record import SESSION_DTYPE
from catalyst_ml.frames import EVENT_KEY, TIME_DTYPE, Column, FrameSchema
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.event_rows import microseconds, rows_of_events
from catalyst_ml.market.label_specs import COST_BPS_PER_SIDE

MARKS = FrameSchema(
    "marks",
    1,
    (
        Column("symbol", "str"),
        Column("ts", TIME_DTYPE, "UTC, decision time: close of the event's bar"),
        Column("direction", "int8", "+1 bullish, -1 bearish"),
        Column("session", SESSION_DTYPE, "exchange date of the mark, naive midnight"),
        Column("mark_ts", TIME_DTYPE, "UTC, close of the bar at which the mark was known"),
        Column("gross", "float64", "fraction of the entry price earned in this session, before costs"),
        Column("cost", "float64", "fraction of the entry price; both sides are booked at the entry"),
        Column("net", "float64", "gross less cost"),
    ),
    key=("symbol", "ts", "direction", "session"),
)
_PRICE_TOLERANCE = 1e-6


def mark_trades(
    labels: pd.DataFrame,
    pending: pd.DataFrame,
    bars: pd.DataFrame,
    *,
    calendar: TradingCalendar,
    as_of: pd.Timestamp,
    cost_bps_per_side: float = COST_BPS_PER_SIDE,
) -> pd.DataFrame:
    """Mark every trade to the market at the close of each session it was open in.

    Parameters
    ----------
    labels : LABELS
        Settled events, with labels between barriers. Those that end after ``as_of`` count as open.
    pending : event key
        Events whose outcome time will tell (``LabelledEvents.pending``). Events that will never have a label must not
        be among them: they would be marked for a few sessions and then vanish.
    bars : BARS
        Split-adjusted as for the labels, sorted by symbol and ts. Bars after ``as_of`` are not read.
    calendar : TradingCalendar
    as_of : Timestamp, UTC
        A session's close.
    cost_bps_per_side : float
        Costs of trades that are not settled; a settled one carries its own.

    Returns
    -------
    MARKS
        The marks of a settled trade sum up to its net return. The last one is measured at the price of the exit, all
        others at the close of the symbol's last bar of the session. A trade that is not entered yet has none.

    Raises
    ------
    DataContractError
        If the bars carry split factors, an event has no bar, or a label was not made from these bars.
    """
    if (bars["split_factor"] != 1.0).any():
        raise DataContractError(
            f"marks: {int((bars['split_factor'] != 1.0).sum())} bars still carry a split factor; expected bars on one "
            "share scale. Call market.corporate_actions.adjust_for_splits first."
        )
    known = bars[(bars["ts"] <= as_of).to_numpy()].reset_index(drop=True)
    trades = _trades(labels, pending, as_of, cost_bps_per_side)
    first, last = _rows_held(trades, known, as_of)
    entered = last >= first
    trades, first, last = trades[entered].reset_index(drop=True), first[entered], last[entered]
    if trades.empty:
        return MARKS.empty()
    opened = known["open"].to_numpy()[first]
    _check_exits(trades, known, last, opened)

    held = last - first + 1
    trade = np.repeat(np.arange(len(trades)), held)  # (n_bars_held,)
    start = np.cumsum(held) - held
    bar = first[trade] + np.arange(len(trade)) - start[trade]
    value = trades["direction"].to_numpy()[trade] * (known["close"].to_numpy()[bar] / opened[trade] - 1.0)
    settled = trades["gross_return"].notna().to_numpy()
    value[(start + held - 1)[settled]] = trades["gross_return"].to_numpy()[settled]

    session = _sessions(known["ts"], calendar)[bar]
    closes_session = np.append((session[1:] != session[:-1]) | (trade[1:] != trade[:-1]), True)
    trade, bar, session, value = (x[closes_session] for x in (trade, bar, session, value))
    begins = np.append(True, trade[1:] != trade[:-1])
    gross = value - np.where(begins, 0.0, np.append(0.0, value[:-1]))
    cost = np.where(begins, trades["cost"].to_numpy()[trade], 0.0)
    marks = trades.loc[trade, list(EVENT_KEY)].reset_index(drop=True)
    marks = marks.assign(
        session=session, mark_ts=known["ts"].to_numpy()[bar], gross=gross, cost=cost, net=gross - cost
    ).astype({"session": SESSION_DTYPE, "mark_ts": TIME_DTYPE})
    return MARKS.validate(marks.sort_values(list(MARKS.key), ignore_index=True)[MARKS.column_names])


def _trades(labels: pd.DataFrame, pending: pd.DataFrame, as_of: pd.Timestamp, cost_bps: float) -> pd.DataFrame:
    """Event key, entry_ts, label_end, gross_return (missing while open) and cost of all trades decided by ``as_of``."""
    key = list(EVENT_KEY)
    is_over = (labels["label_end"] <= as_of).to_numpy()
    over = labels.loc[is_over, [*key, "entry_ts", "label_end", "gross_return", "net_return"]]
    over = over.assign(cost=over["gross_return"] - over["net_return"]).drop(columns="net_return")
    still = pd.concat([labels.loc[~is_over, key], pending[key]], ignore_index=True)
    still = still[(still["ts"] <= as_of).to_numpy()].assign(cost=2.0 * cost_bps / 10_000.0)
    trades = pd.concat([over, still], ignore_index=True) if len(still) else over.reset_index(drop=True)
    repeats = trades.duplicated(key)
    if repeats.any():
        first = trades.loc[repeats.to_numpy().argmax(), key].to_dict()
        raise DataContractError(
            f"marks: {int(repeats.sum())} events come twice, first {first}; expected each either settled or pending, "
            "once. Hand over the labels of one label version."
        )
    return trades


def _rows_held(trades: pd.DataFrame, bars: pd.DataFrame, as_of: pd.Timestamp) -> tuple[np.ndarray, np.ndarray]:
    """First and last bar of each trade, as rows of ``bars``; last < first where it is not entered."""
    if trades.empty:
        return np.zeros(len(trades), dtype=np.int64), np.full(len(trades), -1)
    decided = rows_of_events(trades, bars)
    symbol = pd.factorize(bars["symbol"])[0]
    ts = microseconds(bars["ts"])
    moments, moment = np.unique(ts, return_inverse=True)
    place = symbol * (len(moments) + 1) + moment  # rises along the bars
    until = microseconds(trades["label_end"].fillna(as_of))
    rank = np.searchsorted(moments, until, side="right")
    last = np.searchsorted(place, symbol[decided] * (len(moments) + 1) + rank) - 1
    entry = microseconds(trades["entry_ts"].fillna(as_of))
    first = decided + 1
    settled = trades["gross_return"].notna().to_numpy()
    wrong = settled & ((last < first) | (ts[np.minimum(first, len(ts) - 1)] != entry))
    _refuse(trades, wrong, "the entry bar is not the symbol's next bar")
    return first, last


def _check_exits(trades: pd.DataFrame, bars: pd.DataFrame, last: np.ndarray, opened: np.ndarray) -> None:
    """Refuse labels whose exit price the exit bar never saw: made from other bars, or not between barriers."""
    price = opened * (1.0 + trades["direction"].to_numpy() * trades["gross_return"].to_numpy())
    low, high = bars["low"].to_numpy()[last], bars["high"].to_numpy()[last]
    outside = (price < low * (1.0 - _PRICE_TOLERANCE)) | (price > high * (1.0 + _PRICE_TOLERANCE))
    _refuse(trades, outside, "the exit price lies outside the exit bar")


def _refuse(trades: pd.DataFrame, wrong: np.ndarray, problem: str) -> None:
    if wrong.any():
        first = trades.loc[int(wrong.argmax()), list(EVENT_KEY)].to_dict()
        raise DataContractError(
            f"marks: {problem} in {int(wrong.sum())} of {len(trades)} trades, first {first}; expected labels made from "
            "these very bars, between barriers. Settle the labels again on them (market-neutral labels have no marks)."
        )


def _sessions(ts: pd.Series, calendar: TradingCalendar) -> np.ndarray:
    """Session of each bar, datetime64[us]."""
    which, moments = pd.factorize(ts)
    sessions = calendar.session_of(pd.DatetimeIndex(moments))
    if sessions.isna().any():
        first = pd.DatetimeIndex(moments)[sessions.isna()][0]
        raise DataContractError(f"marks: a bar at {first} lies in no session. Keep regular sessions only.")
    return sessions.to_numpy()[which]
