"""What was ever tried on a line, so that the best of it is not taken for skill: read for the gate, kept after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from prefect import task

from catalyst_ml.evaluation.deflation import Trial
from catalyst_ml.evaluation.trading import summarise_trades, trades_at_coverage
from catalyst_ml.store.attempts import AttemptLine, Kind, NewAttempt
from tasks.connections import engine, load_frame, store_frame
from tasks.retrying import RETRY_TEMPORARY

GAIN_OVER_BASE_RATE = "log_loss_gain_over_base_rate"
COVERAGE = 0.2
NONE_TRIED: dict[str, Any] = {"others": [], "daily": None, "searched": 0}
"""For a replayed week: what was tried since is not held against it, and its result may not depend on when it runs."""


def line_of_attempts(scope: dict[str, Any], plan: dict[str, Any]) -> AttemptLine:
    """The ledger of this run's line."""
    return AttemptLine(engine(), scope["dataset"], scope["timeframe"], plan["label_version"])


@task(name="read-trials", timeout_seconds=300, **RETRY_TEMPORARY)
def read_trials(scope: dict[str, Any], plan: dict[str, Any]) -> dict[str, Any]:
    """Read every other procedure and idea whose trades were ever looked at on this line.

    The run's own procedure is left out, so that repeating a run, or the next week's, finds what the first one found.
    """
    line = line_of_attempts(scope, plan)
    others = [trial for trial in line.trials() if trial.subject != plan["procedure_id"]]
    daily = [
        pd.DataFrame({"name": trial.subject, "session": list(kept), "profit": list(kept.values())})
        for trial in others
        if (kept := trial.daily_profit)
    ]
    return {
        "others": [{"name": trial.subject, "sharpe": trial.sharpe} for trial in others],
        "daily": store_frame("trials", pd.concat(daily, ignore_index=True)) if daily else None,
        "searched": line.counts().get("search", 0),
    }


def as_trials(read: dict[str, Any]) -> list[Trial]:
    """Return the trials behind the result of `read_trials`."""
    daily: dict[str, pd.Series] = {}
    if read["daily"] is not None:
        for name, rows in load_frame(read["daily"]).groupby("name", sort=False):
            daily[str(name)] = pd.Series(rows["profit"].to_numpy(), pd.DatetimeIndex(rows["session"]).as_unit("us"))
    return [Trial(one["name"], one["sharpe"], daily.get(one["name"])) for one in read["others"]]


@task(name="remember-record", timeout_seconds=300, **RETRY_TEMPORARY)
def remember_record(scope: dict[str, Any], plan: dict[str, Any], judged: dict[str, Any], run_id: str) -> None:
    """Write the judged record into the ledger: the procedure, its gain over the base rate, its Sharpe ratio."""
    facts = facts_of_record(judged)
    if facts is not None:
        attempt = _attempt("record", plan, scope["fingerprint"], facts)
        line_of_attempts(scope, plan).write([attempt], run_id=run_id)


@task(name="remember-weeks", timeout_seconds=600, **RETRY_TEMPORARY)
def remember_weeks(scope: dict[str, Any], weeks: Sequence[dict[str, Any]], run_id: str) -> int:
    """Write the records that a back-test's gate judged into the ledger, each once; return how many were new."""
    added = 0
    for week in weeks:
        tried = week["attempt"]
        if tried is not None and tried["facts"] is not None:
            attempt = _attempt("backtest", tried["plan"], tried["fingerprint"], tried["facts"])
            added += line_of_attempts(scope, tried["plan"]).write([attempt], run_id=run_id)
    return added


def facts_of_record(judged: dict[str, Any]) -> dict[str, Any] | None:
    """What the ledger keeps of a judged record, as JSON; None of an empty one."""
    record, scores = load_frame(judged["record"]), judged["scores"]
    if record.empty:
        return None
    trades = trades_at_coverage(record, "p_challenger", coverage=COVERAGE)
    daily = trades.judged_profit()
    return {
        "first_tested": record["ts"].min().isoformat(),
        "ended": record["label_end"].max().isoformat(),
        "value": scores["base_rate"]["log_loss"] - scores["challenger"]["log_loss"],
        "sharpe": summarise_trades(trades).daily_sharpe,
        "daily_profit": {f"{day:%Y-%m-%d}": float(profit) for day, profit in daily.items()},
        "n_rows": len(record),
        "n_sessions": int(record["session"].nunique()),
        "is_adopted": judged["decision"]["verdict"] == "promote",
    }


def _attempt(kind: Kind, plan: dict[str, Any], fingerprint: str, facts: dict[str, Any]) -> NewAttempt:
    return NewAttempt(
        kind=kind,
        subject=plan["procedure_id"],
        configuration=plan["procedure"],
        data_fingerprint=fingerprint,
        first_tested=pd.Timestamp(facts["first_tested"]).to_pydatetime(),
        ended=pd.Timestamp(facts["ended"]).to_pydatetime(),
        metric=GAIN_OVER_BASE_RATE,
        value=facts["value"],
        n_rows=facts["n_rows"],
        n_sessions=facts["n_sessions"],
        sharpe=facts["sharpe"],
        is_adopted=facts["is_adopted"],
        daily_profit=facts["daily_profit"],
    )
