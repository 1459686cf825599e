"""The suite on events: which of them may be labelled, trained on and judged.

An event is held out for what can be known without its outcome: a break in its history or horizon, a decision bar
nobody traded, an entry that comes days late. Never for the outcome itself: an extreme label that volume and news do
not explain is counted by the training suite; holding it out would choose the labels.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from catalyst_ml.frames import EVENT_KEY, PATTERNS, TIME_DTYPE, pattern_column
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.event_rows import microseconds, rows_of_events
from catalyst_ml.quality.expectations import between, one_of, run_rules
from catalyst_ml.quality.exposure import HORIZON_SESSIONS, MEMORY_BARS, exposure_of
from catalyst_ml.quality.validation import Rule, ValidationResult

logger = logging.getLogger(__name__)

MAX_ENTRY_SESSIONS = 2
"""Sessions from decision to entry: one skipped session is thin trading, more is a halt nobody could have entered in."""

MAX_HELD_OUT_SHARE = 0.10
MIN_SYMBOLS_OF_A_FLOOD = 3
"""Below it many held events are the work of one or two breaks: a warning."""

SEES_BREAK = "event_sees_one_price_scale"
NO_VOLUME = "event_bar_was_traded"
LATE_ENTRY = "entry_follows_within_two_sessions"

EVENT_FINDING_COLUMNS = ("rule", "severity", "symbol", "ts", "direction", "detail", "row_values")

RULES: tuple[Rule, ...] = (
    Rule("event_key_is_unique", "critical", "ExpectCompoundColumnsToBeUnique", {"column_list": list(EVENT_KEY)}),
    one_of("direction_is_plus_or_minus_1", "direction", [-1, 1]),
    between("every_event_has_a_pattern", "n_patterns", 1, None),
    one_of(SEES_BREAK, "sees_break", [False], severity="quarantine"),
    one_of(NO_VOLUME, "no_volume", [False], severity="quarantine"),
    one_of(LATE_ENTRY, "late_entry", [False], severity="quarantine"),
    one_of("event_bar_has_a_range", "no_range", [False], severity="warning"),
    Rule(
        "few_events_are_held_out",
        "critical",
        "ExpectColumnMeanToBeBetween",
        {"column": "held_out", "max_value": MAX_HELD_OUT_SHARE},
    ),
)


@dataclass(frozen=True)
class EventCheck:
    """Results of the rules, and one finding per event and rule that holds it out (``EVENT_FINDING_COLUMNS``)."""

    result: ValidationResult
    findings: pd.DataFrame


def check_events(
    events: pd.DataFrame,
    bars: pd.DataFrame,
    breaks: pd.DataFrame,
    *,
    calendar: TradingCalendar,
    horizon_sessions: int = HORIZON_SESSIONS,
    memory_bars: int = MEMORY_BARS,
) -> EventCheck:
    """Check the events found in ``bars``.

    Parameters
    ----------
    events : EVENTS
    bars : BARS
        The bars they were detected on.
    breaks : DataFrame
        ``symbol`` and ``ts`` of the breaks that nobody has released.
    horizon_sessions : int
        How long a trade may live; 0 for intraday trades.

    Raises
    ------
    DataContractError
        If an event has no bar.
    """
    frame = events.reset_index(drop=True)
    exposure = exposure_of(
        frame, breaks, bars, calendar=calendar, memory_bars=memory_bars, horizon_sessions=horizon_sessions
    )
    row = rows_of_events(frame, bars)
    volume, high, low = (bars[name].to_numpy()[row] for name in ("volume", "high", "low"))
    late = _sessions_to_entry(bars, row, calendar)
    flags = frame[list(EVENT_KEY)].assign(
        n_patterns=frame[[pattern_column(name) for name in PATTERNS]].sum(axis=1).astype(np.int64),
        sees_break=(exposure["where"] != "").to_numpy(),
        no_volume=volume == 0.0,
        late_entry=late > MAX_ENTRY_SESSIONS,
        no_range=high == low,
    )
    flags = flags.assign(held_out=(flags["sees_break"] | flags["no_volume"] | flags["late_entry"]).astype(np.float64))
    findings = _findings(flags, exposure, late)
    is_flood = flags.loc[flags["held_out"] > 0.0, "symbol"].nunique() >= MIN_SYMBOLS_OF_A_FLOOD
    last = RULES[-1] if is_flood else replace(RULES[-1], severity="warning")
    rules = (*RULES[:-1], last) if len(frame) else RULES[:-1]  # the mean of nothing is no number
    outcome = ValidationResult.of("events", run_rules(flags, rules, key=EVENT_KEY, examples=_examples(findings)))
    logger.info("%d events: %s", len(frame), outcome.summary().splitlines()[0])
    return EventCheck(outcome, findings)


def hold_out(events: pd.DataFrame, findings: pd.DataFrame) -> pd.DataFrame:
    """Return the events without those that any of the findings names; order kept, index 0..n-1."""
    if findings.empty:
        return events.reset_index(drop=True)
    named = pd.MultiIndex.from_frame(findings[list(EVENT_KEY)])
    return events[~pd.MultiIndex.from_frame(events[list(EVENT_KEY)]).isin(named)].reset_index(drop=True)


def _sessions_to_entry(bars: pd.DataFrame, row: np.ndarray, calendar: TradingCalendar) -> np.ndarray:
    """Sessions from each event's bar to its symbol's next bar; 0 if there is no next bar yet."""
    symbol = pd.factorize(bars["symbol"])[0]
    following = np.minimum(row + 1, len(bars) - 1)
    has_next = (row + 1 < len(bars)) & (symbol[following] == symbol[row])
    sessions = np.zeros(len(row), dtype=np.int64)
    if not has_next.any():
        return sessions
    ts = bars["ts"]
    day = pd.Timedelta(days=1)
    closes = microseconds(calendar.closes(calendar.sessions(ts.min() - day, ts.max() + day)))
    moments = microseconds(ts)
    place = np.searchsorted(closes, moments)
    sessions[has_next] = place[following[has_next]] - place[row[has_next]]
    return sessions


def _findings(flags: pd.DataFrame, exposure: pd.DataFrame, late: np.ndarray) -> pd.DataFrame:
    parts = []
    for rule, column in ((SEES_BREAK, "sees_break"), (NO_VOLUME, "no_volume"), (LATE_ENTRY, "late_entry")):
        rows = np.flatnonzero(flags[column].to_numpy())
        details, values = _tell(rule, rows, exposure, late)
        parts.append(
            pd.DataFrame(
                {
                    "rule": pd.Series([rule] * len(rows), dtype="str"),
                    "severity": pd.Series(["quarantine"] * len(rows), dtype="str"),
                    **{name: flags[name].iloc[rows].to_numpy() for name in ("symbol", "direction")},
                    "ts": pd.DatetimeIndex(flags["ts"].iloc[rows]),
                    "detail": pd.Series(details, dtype="str"),
                    "row_values": pd.Series(values, dtype="str"),
                }
            )
        )
    found = pd.concat(parts, ignore_index=True).astype({"symbol": "str", "ts": TIME_DTYPE, "direction": "int8"})
    return found[list(EVENT_FINDING_COLUMNS)]


def _tell(rule: str, rows: np.ndarray, exposure: pd.DataFrame, late: np.ndarray) -> tuple[list[str], list[str]]:
    if rule == SEES_BREAK:
        seen = exposure.iloc[rows]
        told = [
            f"price break of {b:%Y-%m-%d} {where}" for b, where in zip(seen["break_ts"], seen["where"], strict=True)
        ]
        return told, [
            json.dumps({"break_ts": f"{b:%Y-%m-%d %H:%M}", "where": where})
            for b, where in zip(seen["break_ts"], seen["where"], strict=True)
        ]
    if rule == NO_VOLUME:
        return ["nothing was traded in the decision bar"] * len(rows), ["{}"] * len(rows)
    return (
        [f"the next bar comes {n} sessions later" for n in late[rows]],
        [json.dumps({"sessions_to_entry": int(n)}) for n in late[rows]],
    )


def _examples(findings: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    told: dict[str, tuple[str, ...]] = {}
    for row in findings.groupby("rule", sort=False).head(3).itertuples():
        told[str(row.rule)] = (*told.get(str(row.rule), ()), f"{row.symbol} {row.ts:%Y-%m-%d}: {row.detail}")
    return told
