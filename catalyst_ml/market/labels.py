"""What became of each event: one label per event, net of costs, known at a stated moment.

Decided at the close of the event's bar, entered at the symbol's next open, left as the label version says
(``label_specs``): at the first touch of a barrier, or at the horizon's end. The horizon is counted in exchange
sessions of the calendar, or in minutes up to the session's close, never in rows.

References
----------
Lopez de Prado, M. (2018), Advances in Financial Machine Learning, ch. 3 (triple barrier).
Wilder, J. W. (1978), New Concepts in Technical Trading Systems (average true range).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from catalyst_ml.errors import ConfigurationError, DataContractError
from catalyst_ml.frames import EVENT_KEY, LABELS
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.event_rows import microseconds
from catalyst_ml.market.label_specs import (
    LABEL_KINDS,
    AnyLabelSpec,
    LabelKind,
    LabelSpec,
    MarketNeutralSpec,
    default_spec,
    horizon_ends,
)
from catalyst_ml.market.trades import FINAL_AT_DECISION, TIMEOUT, Trades, follow_barriers, follow_universe

__all__ = [
    "LABEL_KINDS",
    "AnyLabelSpec",
    "LabelKind",
    "LabelSpec",
    "LabelledEvents",
    "MarketNeutralSpec",
    "default_spec",
    "label_events",
]

_OUTCOMES = np.array(["target", "stop", "timeout"], dtype=object)


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
    spec: AnyLabelSpec,
    *,
    calendar: TradingCalendar,
    as_of: pd.Timestamp,
    instruments: pd.DataFrame | None = None,
) -> LabelledEvents:
    """Label the events whose outcome was known at ``as_of``.

    Parameters
    ----------
    events : EVENTS
        Any columns beyond the key are ignored.
    bars : BARS
        Split-adjusted (``adjust_for_splits``), of regular sessions, sorted by symbol and ts. Bars after ``as_of`` are
        not read.
    spec : LabelSpec or MarketNeutralSpec
    calendar : TradingCalendar
        Must reach the horizon beyond the newest event.
    as_of : Timestamp, UTC
    instruments : INSTRUMENTS
        Needed for market-neutral labels only: its stocks are the universe.

    Returns
    -------
    LabelledEvents
        A label is settled if its ``label_end`` is not after ``as_of``; no later bar had a say in it.

    Raises
    ------
    DataContractError
        If the bars are not split-adjusted, or an event up to ``as_of`` has no bar.
    ConfigurationError
        If a market-neutral label is asked for without instruments.

    Notes
    -----
    - Entry: open of the symbol's next bar, if that bar closes within the horizon (a skipped session does not
      matter); otherwise unlabelled, ``no_bar_within_horizon``. Intraday the horizon ends with the session, so the
      entry lies in the same one.
    - Barriers: entry minus and plus multiples of the ATR of the decision bar. A bar that opens beyond a barrier exits
      at its open. Both barriers touched within one bar: the stop.
    - Horizon: close of the fifth session after the decision's session (intraday: the time of 24 bars, at most to the
      session's close). Without a touch the trade ends at the close of the symbol's last bar within it, and
      ``label_end`` is the horizon's end.
    - Market-neutral: the return to the close of the symbol's last bar within the horizon, minus the mean return of
      all stocks from the open of the entry's bar to the close of the exit's; ``outcome`` is always ``timeout``. Fewer
      stocks than the spec asks for: unlabelled, ``small_universe``.
    - Returns are fractions of the entry price in the event's direction; costs are paid on entry and exit of the
      event's stock.
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
    horizon_end = microseconds(horizon_ends(decided["ts"], spec, calendar))
    if isinstance(spec, MarketNeutralSpec):
        trades = follow_universe(decided, known_bars, _stocks(instruments), spec, horizon_end)
    else:
        trades = follow_barriers(decided, known_bars, spec, horizon_end)
    return _sort_out(events, is_known, decided, trades, spec, as_of)


def _stocks(instruments: pd.DataFrame | None) -> pd.Series:
    """Return the symbols of the universe."""
    if instruments is None:
        raise ConfigurationError(
            "market-neutral labels need to know which symbols are stocks; got no instruments. Pass instruments=."
        )
    return instruments.loc[instruments["kind"] == "stock", "symbol"]


def _sort_out(
    events: pd.DataFrame,
    is_known: np.ndarray,
    decided: pd.DataFrame,
    trades: Trades,
    spec: AnyLabelSpec,
    as_of: pd.Timestamp,
) -> LabelledEvents:
    """Part the events into settled, pending and unlabelled ones."""
    has_reason = trades.reason != ""
    is_over = trades.label_end <= microseconds(pd.DatetimeIndex([as_of]))[0]
    is_unlabelled = has_reason & (is_over | np.isin(trades.reason.astype(str), FINAL_AT_DECISION))
    is_settled = is_over & ~has_reason
    pending = pd.concat([decided[~is_settled & ~is_unlabelled], events.loc[~is_known, list(EVENT_KEY)]]).sort_values(
        list(EVENT_KEY), ignore_index=True
    )
    unlabelled = decided[is_unlabelled].assign(
        reason=pd.Series(trades.reason[is_unlabelled], dtype="str", index=decided.index[is_unlabelled])
    )
    labels = _label_frame(decided, trades, spec)[is_settled].reset_index(drop=True)
    return LabelledEvents(labels, pending, unlabelled.reset_index(drop=True))


def _label_frame(decided: pd.DataFrame, trades: Trades, spec: AnyLabelSpec) -> pd.DataFrame:
    """Return LABELS of all decided events; rows not settled mean nothing and are dropped next."""
    net = trades.gross_return - 2.0 * spec.cost_bps_per_side / 10_000.0
    frame = decided.assign(
        y=(net > 0.0).astype(np.int8),
        net_return=net,
        gross_return=trades.gross_return,
        outcome=pd.Series(_OUTCOMES[np.minimum(trades.outcome, TIMEOUT)], dtype="str"),
        entry_ts=_moments(trades.entry_ts),
        label_end=_moments(trades.label_end),
    )
    return frame[LABELS.column_names]


def _moments(values: np.ndarray) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(values.astype("datetime64[us]")).tz_localize("UTC")
