"""Joins events, labels, rule scores and inputs into the frame that everything is trained and judged on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd

from catalyst_ml.errors import DataContractError
from catalyst_ml.features.catalogue import CATALOGUE, RECURSIVE_LOOKBACK_BARS
from catalyst_ml.features.events import EVENT_COLUMNS
from catalyst_ml.frames import EVENT_KEY, EVENTS, LABELS, RULE_SCORES

logger = logging.getLogger(__name__)

TRAINING_SORT: tuple[str, ...] = ("ts", "symbol", "direction")
"""Time first: whoever cuts the frame by row, cuts it by time."""

LABEL_COLUMNS: tuple[str, ...] = tuple(name for name in LABELS.column_names if name not in EVENT_KEY)

_LONG_MEMORY: tuple[str, ...] = tuple(s.name for s in CATALOGUE if s.lookback_bars >= RECURSIVE_LOOKBACK_BARS)


class SessionCalendar(Protocol):
    """Knows the exchange session of a moment; ``market.calendar.TradingCalendar`` is one."""

    def session_of(self, ts: pd.DatetimeIndex | pd.Series) -> pd.DatetimeIndex:
        """Return naive midnight dates in the order given; NaT where the moment belongs to no session."""
        ...


@dataclass(frozen=True)
class TrainingSet:
    """Labelled rows, newest events without a label, and what was left out.

    Parameters
    ----------
    rows : DataFrame
        Columns of EVENTS and LABELS, ``rule_action``, ``EVENT_COLUMNS`` (``rule_score`` among them) and
        ``session`` (exchange date, naive midnight); sorted by ts, symbol, direction; index 0..n-1.
    unlabelled : DataFrame
        The same without the label columns: events whose outcome is pending, or could not be labelled.
    dropped : DataFrame
        ``symbol``, ``ts``, ``direction`` and ``reason`` of each event left out.
    steps : DataFrame
        ``step``, ``n_before``, ``n_after``: rows before and after each join or filter, in order.
    """

    rows: pd.DataFrame
    unlabelled: pd.DataFrame
    dropped: pd.DataFrame
    steps: pd.DataFrame


def build_training_set(
    events: pd.DataFrame,
    labels: pd.DataFrame,
    rule_scores: pd.DataFrame,
    features: pd.DataFrame,
    *,
    calendar: SessionCalendar,
    columns: Sequence[str] = EVENT_COLUMNS,
) -> TrainingSet:
    """Join the parts of the training set; nothing is lost without a reason.

    Parameters
    ----------
    events, labels, rule_scores : DataFrame
        Schemas ``EVENTS``, ``LABELS`` (settled outcomes only) and ``RULE_SCORES``.
    features : DataFrame
        Result of ``event_inputs``: the event key and ``columns``.
    calendar : SessionCalendar
        Gives the session of each event.
    columns : sequence of str
        What an event of the line carries, see ``line_inputs.event_columns``.

    Returns
    -------
    TrainingSet
        Reasons in ``dropped``, the first that applies: ``no_features``, ``no_rule_score``,
        ``insufficient_history`` (no indicator has its full lookback at the event, which holds for the first 500
        bars of every symbol), ``no_session``.

    Raises
    ------
    DataContractError
        If a frame breaks its schema, or labels or rule scores belong to events that do not exist.
    """
    EVENTS.validate(events)
    _require_inputs(features, columns)
    _require_known_events(LABELS.validate(labels), events, "labels")
    _require_known_events(RULE_SCORES.validate(rule_scores), events, "rule scores")
    known = events[EVENTS.column_names].assign(session=_sessions(events, calendar))
    known = _left_join(known, rule_scores[[*EVENT_KEY, "rule_action"]], "_has_rules")
    known = _left_join(known, features[[*EVENT_KEY, *columns]], "_has_features")
    kept, dropped, steps = _filter(known)
    rows = _left_join(kept, labels[LABELS.column_names], "_has_label")
    has_label = rows.pop("_has_label").to_numpy()
    labelled = rows[has_label].astype({"y": "int8", "net_return": "float64"})
    steps.append(("labelled", len(kept), len(labelled)))
    for step, n_before, n_after in steps:
        logger.info("training set, %s: %d -> %d rows", step, n_before, n_after)
    inputs = ["rule_action", *columns, "session"]
    return TrainingSet(
        rows=_time_first(labelled[[*EVENTS.column_names, *LABEL_COLUMNS, *inputs]]),
        unlabelled=_time_first(rows.loc[~has_label, [*EVENTS.column_names, *inputs]]),
        dropped=_time_first(dropped),
        steps=pd.DataFrame(steps, columns=["step", "n_before", "n_after"]),
    )


def has_long_memory(inputs: pd.DataFrame) -> np.ndarray:
    """Return where any indicator of the catalogue has its full lookback (n_rows,); other rows are not trained on."""
    return inputs[list(_LONG_MEMORY)].notna().any(axis=1).to_numpy(dtype=bool)


def _filter(known: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, list[tuple[str, int, int]]]:
    """Split into kept rows and dropped keys with their reason; count each step."""
    # Event by event: a rule over the symbol's whole history would let later bars choose earlier rows.
    has_memory = has_long_memory(known)
    keeps = {
        "no_features": known.pop("_has_features").to_numpy(),
        "no_rule_score": known.pop("_has_rules").to_numpy(),
        "insufficient_history": has_memory,
        "no_session": known["session"].notna().to_numpy(),
    }
    reason = np.full(len(known), "", dtype=object)
    steps = []
    for name, is_kept in keeps.items():
        n_before = int((reason == "").sum())
        reason[(reason == "") & ~is_kept] = name
        steps.append((name, n_before, int((reason == "").sum())))
    dropped = known[list(EVENT_KEY)].assign(reason=pd.Series(reason, index=known.index, dtype="str"))
    kept = known[reason == ""].astype({"rule_action": "int8"})
    return kept, dropped[reason != ""], steps


def _sessions(events: pd.DataFrame, calendar: SessionCalendar) -> pd.Series:
    moments = pd.DatetimeIndex(events["ts"].unique())
    by_moment = pd.Series(calendar.session_of(moments), index=moments)
    return events["ts"].map(by_moment).astype("datetime64[us]")


def _left_join(rows: pd.DataFrame, values: pd.DataFrame, flag: str) -> pd.DataFrame:
    """Return ``rows`` with the columns of ``values`` and a boolean column ``flag``: had a partner."""
    joined = rows.merge(values, on=list(EVENT_KEY), how="left", validate="one_to_one", indicator=flag)
    return joined.assign(**{flag: joined[flag] == "both"})


def _time_first(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.sort_values(list(TRAINING_SORT), ignore_index=True)


def _require_inputs(features: pd.DataFrame, columns: Sequence[str]) -> None:
    missing = [name for name in (*EVENT_KEY, *columns) if name not in features.columns]
    if missing:
        raise DataContractError(
            f"training set: the inputs lack {missing}. Hand on the result of features.events.event_inputs."
        )
    if features.duplicated(list(EVENT_KEY)).any():
        raise DataContractError(
            f"training set: the inputs hold {int(features.duplicated(list(EVENT_KEY)).sum())} events twice; "
            "expected one row per event. Compute them from one event frame."
        )


def _require_known_events(frame: pd.DataFrame, events: pd.DataFrame, what: str) -> None:
    partners = frame[list(EVENT_KEY)].merge(events[list(EVENT_KEY)], how="left", indicator=True)
    strangers = partners[partners["_merge"] != "both"]
    if len(strangers):
        first = strangers.iloc[0]
        raise DataContractError(
            f"training set: {len(strangers)} of {len(frame)} {what} belong to no event, "
            f"first {first['symbol']} at {first['ts']}, direction {first['direction']}. "
            f"Make {what} from the same events."
        )
