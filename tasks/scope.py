"""What a run is about: dataset, the moment it may know, and the fingerprint of the data it reads."""

from __future__ import annotations

from typing import Any

import pandas as pd
from prefect import task
from prefect.runtime import flow_run

from catalyst_ml.errors import ConfigurationError, InsufficientHistory
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.timeframes import DAILY
from catalyst_ml.store import bars as bar_store
from tasks.connections import engine
from tasks.retrying import RETRY_TEMPORARY

LOOKBACK_DAYS = 800
"""Calendar days before the first training row: the 500 bars that recursive indicators need, with slack."""
INTRADAY_LOOKBACK_DAYS = 130
"""The same for intraday bars: 500 of an hour are 72 sessions, and the longest window of days is shorter."""


@task(name="resolve-scope", timeout_seconds=300, **RETRY_TEMPORARY)
def resolve_scope(parameters: dict[str, Any]) -> dict[str, Any]:
    """Fix ``as_of`` and the window to read, so that the run caches, resumes and can be repeated.

    ``as_of`` empty means the last session close before the scheduled start; the flow run keeps that
    start through retries, so a retried run judges the same rows.
    """
    dataset, timeframe = parameters["dataset"], parameters["timeframe"]
    newest = pd.Timestamp(bar_store.newest_bar(engine(), dataset=dataset, timeframe=timeframe)).tz_convert("UTC")
    start = pd.Timestamp(flow_run.scheduled_start_time or pd.Timestamp.now("UTC")).tz_convert("UTC")
    calendar = TradingCalendar()
    last_close = calendar.last_close_at_or_before(start)
    as_of = pd.Timestamp(parameters["as_of"] or min(last_close, newest)).tz_convert("UTC")
    _refuse_unknown_future(as_of, newest, last_close, dataset=dataset)
    return scope_at(min(as_of, newest), parameters) | {
        "newest_bar": newest.isoformat(),
        "sessions_behind": len(calendar.sessions(newest.tz_localize(None), last_close.tz_localize(None))) - 1,
    }


def scope_at(as_of: pd.Timestamp, parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the scope at a moment that the data reaches: what to read, from when, and its fingerprint."""
    line = {name: parameters[name] for name in ("dataset", "timeframe")}
    extract_start = _extract_start(as_of, parameters)
    return line | {
        "as_of": as_of.isoformat(),
        "extract_start": extract_start.isoformat(),
        "fingerprint": bar_store.bars_fingerprint(engine(), **line, start=extract_start, as_of=as_of),
    }


def what_is_read(scope: dict[str, Any]) -> dict[str, Any]:
    """Return the part of the scope that decides what is read: on two days with the same data it is the same."""
    return {name: scope[name] for name in ("dataset", "timeframe", "as_of", "extract_start", "fingerprint")}


def _refuse_unknown_future(
    as_of: pd.Timestamp, newest: pd.Timestamp, last_close: pd.Timestamp, *, dataset: str
) -> None:
    """Refuse a moment the data does not reach: open trades would be settled at the last bar there is."""
    if as_of > max(newest, last_close):
        raise ConfigurationError(
            f"as_of {as_of.isoformat()} lies in the future: the last session closed {last_close.isoformat()}. "
            "Leave it empty, or choose an earlier moment."
        )
    next_session = newest + pd.Timedelta(days=5)  # over a long week-end the newest bar is still the newest there is
    if as_of > next_session:
        raise InsufficientHistory(
            f"dataset {dataset!r}: as_of {as_of.isoformat()}, but most stocks end at {newest.isoformat()}. "
            "Import newer bars, or choose an as_of that they reach."
        )


def _extract_start(as_of: pd.Timestamp, parameters: dict[str, Any]) -> pd.Timestamp:
    """First moment to read, on a yearly grid; intraday bars, of which a year is large, on a quarterly one.

    Indicators that never forget entirely (Wilder, EMA) depend on where history begins in their last bits;
    a start that moves every week would change every row a little and miss every cached fold.
    """
    sessions = parameters["record_sessions"] + parameters["burn_in_sessions"]
    is_daily = parameters["timeframe"] == DAILY
    lookback = LOOKBACK_DAYS if is_daily else INTRADAY_LOOKBACK_DAYS
    first = as_of - pd.Timedelta(days=parameters["training_days"] + lookback + int(sessions * 1.5) + 60)
    month = 1 if is_daily else first.month - (first.month - 1) % 3
    return pd.Timestamp(year=first.year, month=month, day=1, tz="UTC")
