"""What became of each event: symmetric triple-barrier labels, net of costs, known at a stated moment.

Decided at the close of the event's bar, entered at the symbol's next open, left at the first touch of a
barrier or at the horizon's end. The horizon is counted in exchange sessions of the calendar, never in rows.
Why symmetric: ``docs/decisions/0004-symmetric-labels.md``.

References
----------
Lopez de Prado, M. (2018), Advances in Financial Machine Learning, ch. 3 (triple barrier).
Wilder, J. W. (1978), New Concepts in Technical Trading Systems (average true range).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numba import njit

from catalyst_ml.errors import ConfigurationError, DataContractError
from catalyst_ml.frames import EVENT_KEY, LABELS
from catalyst_ml.indicators import kernels
from catalyst_ml.indicators.segments import symbol_slices
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.event_rows import microseconds, rows_of_events

FloatArray = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
IntArray = np.ndarray[tuple[int, ...], np.dtype[np.int64]]

SHORT_HISTORY = "short_history"
NO_RANGE = "no_range"
NO_ENTRY = "no_bar_within_horizon"

_TARGET, _STOP, _TIMEOUT, _NO_ENTRY = 0, 1, 2, 3
_OUTCOMES = np.array(["target", "stop", "timeout"], dtype=object)


@dataclass(frozen=True)
class LabelSpec:
    """Everything a label depends on besides the bars; two specs with the same ``version`` label alike.

    ``both_touched`` says what a bar means that reaches both barriers, whose order a daily bar does not tell:
    only the cautious reading, ``"loss"``, is offered.
    """

    name: str = "symmetric"
    barrier_atr: float = 1.0
    target_atr: float = 1.0
    horizon_sessions: int = 5
    cost_bps_per_side: float = 5.0
    atr_period: int = 14
    both_touched: Literal["loss"] = "loss"

    def __post_init__(self) -> None:
        is_sound = (
            min(self.barrier_atr, self.target_atr) > 0.0
            and min(self.horizon_sessions, self.atr_period) >= 1
            and self.cost_bps_per_side >= 0.0
            and self.both_touched == "loss"
        )
        if not is_sound:
            raise ConfigurationError(
                f"label spec {self}: expected barriers above 0, at least 1 session and 1 bar of ATR, "
                "costs of 0 or more and both_touched='loss'. Mend the label parameters."
            )

    @property
    def version(self) -> str:
        """Readable name with a hash of every field, e.g. ``symmetric-1.0atr-5s-5bp.b4d9e8``."""
        fields = json.dumps(dataclasses.asdict(self), sort_keys=True)
        digest = hashlib.sha256(fields.encode()).hexdigest()[:6]
        return f"{self.name}-{self.target_atr}atr-{self.horizon_sessions}s-{self.cost_bps_per_side:g}bp.{digest}"


@dataclass(frozen=True)
class LabelledEvents:
    """Every event, once, in one of three frames, each sorted by the event key.

    ``labels`` (LABELS) holds what was settled at ``as_of``; ``pending`` (event key) what time will tell;
    ``unlabelled`` (event key and ``reason``) what no time will tell.
    """

    labels: pd.DataFrame
    pending: pd.DataFrame
    unlabelled: pd.DataFrame

    @property
    def n_pending(self) -> int:
        return len(self.pending)

    @property
    def unlabelled_counts(self) -> dict[str, int]:
        """Events without a label by reason."""
        counts = self.unlabelled["reason"].value_counts()
        return {str(reason): int(n) for reason, n in counts.items()}


def label_events(
    events: pd.DataFrame,
    bars: pd.DataFrame,
    spec: LabelSpec,
    *,
    calendar: TradingCalendar,
    as_of: pd.Timestamp,
) -> LabelledEvents:
    """Label the events whose outcome was known at ``as_of``.

    Parameters
    ----------
    events : EVENTS
        Any columns beyond the key are ignored.
    bars : BARS
        Split-adjusted (``adjust_for_splits``), sorted by symbol and ts. Bars after ``as_of`` are not read.
    spec : LabelSpec
    calendar : TradingCalendar
        Must reach ``horizon_sessions`` beyond the newest event.
    as_of : Timestamp, UTC

    Returns
    -------
    LabelledEvents
        A label is settled if its ``label_end`` is not after ``as_of``; no later bar had a say in it.

    Raises
    ------
    DataContractError
        If the bars are not split-adjusted, or an event up to ``as_of`` has no bar.

    Notes
    -----
    - Entry: open of the symbol's next bar, if that bar closes within the horizon (a skipped session does not
      matter); otherwise unlabelled, ``no_bar_within_horizon``.
    - Barriers: entry +/- the ATR of the decision bar. A bar that opens beyond a barrier exits at its open.
      Both barriers touched within one bar: the stop.
    - Horizon: close of the fifth session after the decision's session. Without a touch the trade ends at the
      close of the symbol's last bar within it, and ``label_end`` is the horizon's end.
    - Returns are fractions of the entry price in the event's direction; costs are paid on entry and exit.
    - An ATR that is unknown (``short_history``) or zero (``no_range``) leaves the event unlabelled.
    """
    if (bars["split_factor"] != 1.0).any():
        raise DataContractError(
            f"labels: {int((bars['split_factor'] != 1.0).sum())} bars still carry a split factor; expected "
            "bars on one share scale. Call market.corporate_actions.adjust_for_splits first."
        )
    known_bars = bars[bars["ts"] <= as_of].reset_index(drop=True)
    is_known = (events["ts"] <= as_of).to_numpy()
    decided = events.loc[is_known, list(EVENT_KEY)].reset_index(drop=True)
    trades = _follow(decided, known_bars, spec, calendar)
    return _sort_out(events, is_known, decided, trades, spec, as_of)


class _Trades(NamedTuple):
    """One trade per decided event: how it ended, when, at what prices. Times are int64 microseconds."""

    status: np.ndarray
    reason: np.ndarray
    entry_price: np.ndarray
    exit_price: np.ndarray
    entry_ts: np.ndarray
    label_end: np.ndarray


def _follow(events: pd.DataFrame, bars: pd.DataFrame, spec: LabelSpec, calendar: TradingCalendar) -> _Trades:
    """Follow each event's trade through the bars to its end or theirs."""
    ts = microseconds(bars["ts"])
    open_, high, low, close = (np.array(bars[c], dtype=np.float64) for c in ("open", "high", "low", "close"))
    atr = np.empty(len(bars))
    last_row = np.empty(len(bars), dtype=np.int64)
    for _, rows in symbol_slices(bars["symbol"]):
        atr[rows] = kernels.atr(high[rows], low[rows], close[rows], spec.atr_period)
        last_row[rows] = rows.stop - 1
    row = rows_of_events(events, bars)
    horizon_end = _horizon_ends(events["ts"], spec, calendar)
    status, entry_row, exit_row, exit_price = _walk(
        row, last_row[row], events["direction"].to_numpy(), atr[row], horizon_end,
        open_, high, low, close, ts, spec.barrier_atr, spec.target_atr,
    )  # fmt: skip
    reason = np.full(len(events), "", dtype=object)
    reason[status == _NO_ENTRY] = NO_ENTRY
    reason[atr[row] <= 0.0] = NO_RANGE
    reason[np.isnan(atr[row])] = SHORT_HISTORY
    label_end = np.where(status <= _STOP, ts[exit_row], horizon_end)
    return _Trades(status, reason, open_[entry_row], exit_price, ts[entry_row], label_end)


def _sort_out(
    events: pd.DataFrame,
    is_known: np.ndarray,
    decided: pd.DataFrame,
    trades: _Trades,
    spec: LabelSpec,
    as_of: pd.Timestamp,
) -> LabelledEvents:
    """Part the events into settled, pending and unlabelled ones."""
    is_unmeasured = (trades.reason == SHORT_HISTORY) | (trades.reason == NO_RANGE)
    is_over = trades.label_end <= microseconds(pd.DatetimeIndex([as_of]))[0]
    is_unlabelled = is_unmeasured | ((trades.reason == NO_ENTRY) & is_over)
    is_settled = is_over & (trades.reason == "")
    pending = pd.concat([decided[~is_settled & ~is_unlabelled], events.loc[~is_known, list(EVENT_KEY)]]).sort_values(
        list(EVENT_KEY), ignore_index=True
    )
    unlabelled = decided[is_unlabelled].assign(
        reason=pd.Series(trades.reason[is_unlabelled], dtype="str", index=decided.index[is_unlabelled])
    )
    labels = _label_frame(decided, trades, spec)[is_settled].reset_index(drop=True)
    return LabelledEvents(labels, pending, unlabelled.reset_index(drop=True))


def _label_frame(decided: pd.DataFrame, trades: _Trades, spec: LabelSpec) -> pd.DataFrame:
    """Return LABELS of all decided events; rows not settled mean nothing and are dropped next."""
    gross = decided["direction"].to_numpy() * (trades.exit_price - trades.entry_price) / trades.entry_price
    net = gross - 2.0 * spec.cost_bps_per_side / 10_000.0
    frame = decided.assign(
        y=(net > 0.0).astype(np.int8),
        net_return=net,
        gross_return=gross,
        outcome=pd.Series(_OUTCOMES[np.minimum(trades.status, _TIMEOUT)], dtype="str"),
        entry_ts=_moments(trades.entry_ts),
        label_end=_moments(trades.label_end),
    )
    return frame[LABELS.column_names]


def _horizon_ends(ts: pd.Series, spec: LabelSpec, calendar: TradingCalendar) -> np.ndarray:
    """Return the close of the last session of each event's horizon, int64 microseconds.  # (n_events,)"""
    which, moments = pd.factorize(ts)
    decided_on = calendar.session_of(pd.DatetimeIndex(moments))
    ends = calendar.closes(calendar.shift(decided_on, spec.horizon_sessions))
    return microseconds(ends)[which]


def _moments(values: np.ndarray) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(values.astype("datetime64[us]")).tz_localize("UTC")


@njit(cache=True, nogil=True)
def _walk(
    row: IntArray,
    last_row: IntArray,
    direction: IntArray,
    atr: FloatArray,
    horizon_end: IntArray,
    open_: FloatArray,
    high: FloatArray,
    low: FloatArray,
    close: FloatArray,
    ts: IntArray,
    stop_atr: float,
    target_atr: float,
) -> tuple[IntArray, IntArray, IntArray, FloatArray]:
    """Return status, entry row, exit row and exit price of each event's trade; (n_events,) each.

    Arrays up to ``horizon_end`` are per event, the ones after it per bar. Where a trade has not
    begun or the ATR is unknown, entry and exit row are the decision bar's and mean nothing.
    """
    n = row.size
    status = np.full(n, _NO_ENTRY, dtype=np.int64)
    entry_row, exit_row = row.copy(), row.copy()
    exit_price = np.full(n, np.nan)
    for i in range(n):
        first = row[i] + 1
        if not atr[i] > 0.0 or first > last_row[i] or ts[first] > horizon_end[i]:
            continue
        side = direction[i]
        # Signed prices: a short trade becomes a long one in -price, so that one rule serves both.
        entry = side * open_[first]
        stop, target = entry - stop_atr * atr[i], entry + target_atr * atr[i]
        status[i], entry_row[i] = _TIMEOUT, first
        for j in range(first, last_row[i] + 1):
            if ts[j] > horizon_end[i]:
                break
            opened = side * open_[j]
            worst, best = (low[j], high[j]) if side > 0 else (-high[j], -low[j])
            exit_row[i], exit_price[i] = j, close[j]
            if worst <= stop:
                status[i], exit_price[i] = _STOP, side * min(opened, stop)
                if opened >= target:
                    status[i], exit_price[i] = _TARGET, side * opened
                break
            if best >= target:
                status[i], exit_price[i] = _TARGET, side * max(opened, target)
                break
    return status, entry_row, exit_row, exit_price
