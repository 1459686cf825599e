"""A trial as JSON, for reports, pages and the server: its days, moves, checks, and how fast to go on."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numpy as np

from catalyst_ml.trial.pace import recommend_pace
from catalyst_ml.trial.run import TrialPolicy, TrialRun
from catalyst_ml.trial.stages import STAGES, StageState


def trial_document(run: TrialRun, policy: TrialPolicy) -> dict[str, Any]:
    """Return everything about a trial that is shown somewhere.

    Returns
    -------
    dict
        ``stage`` and ``share`` in force from the next session on, ``days`` (session, profit_ml, profit_rules,
        log_e_up, log_e_down, stage during the session, alarms, and of the newest ``mean``, ``low``, ``high`` in basis
        points a session), ``moves``, ``checks``, ``better_since`` (ISO date or None), ``recommendation``.
    """
    better = run.better_since(policy)
    return {
        "stage": run.state.stage,
        "share": run.state.share,
        "days": [_day(day) for day in run.days.to_dict("records")],
        "difference": _difference(run),
        "moves": [
            {
                "session": f"{move.session:%Y-%m-%d}",
                "from_stage": move.from_stage,
                "to_stage": move.to_stage,
                "reason": move.reason,
                "evidence": {name: _finite(value) for name, value in move.evidence.items()},
            }
            for move in run.moves
        ],
        "checks": [_check(asdict(check)) for check in run.checks],
        "better_since": None if better is None else f"{better:%Y-%m-%d}",
        "needed": list(policy.stages.needed),
        "recommendation": _recommendation(run, policy).to_dict(),
    }


def _recommendation(run: TrialRun, policy: TrialPolicy) -> Any:
    place = STAGES.index(run.state.stage)
    above = STAGES[place + 1] if place + 1 < len(STAGES) else None
    return recommend_pace(
        stage=run.state.stage,
        log_e=run.days["log_e_up"].to_list(),
        log_e_against=run.days["log_e_down"].to_list(),
        next_stage=above,
        next_threshold=policy.stages.needed[place - 1] if 0 < place < len(STAGES) - 1 else None,
        failed_guardrails=[check.reason for check in run.checks if check.passed is False],
        waits_for=_waits_for(run.state, policy, has_moved=bool(run.moves)),
    )


def _waits_for(state: StageState, policy: TrialPolicy, *, has_moved: bool) -> str:
    """What the next stage asks for beside an e-value, in words; empty if nothing."""
    if state.stage == "shadow" and not state.has_verdict:
        return f"the gate has not promoted a version{' since the last step down' if has_moved else ' yet'}"
    needed = policy.stages.first_sessions if state.stage == "shadow" else policy.stages.step_sessions
    left = needed - min(state.waited, state.quiet)
    return f"{left} more sessions without an alarm" if left > 0 else ""


def _day(day: dict[str, Any]) -> dict[str, Any]:
    numbers = ("profit_ml", "profit_rules", "log_e_up", "log_e_down")
    return {
        "session": f"{day['session']:%Y-%m-%d}",
        **{name: float(day[name]) for name in numbers},
        "stage": day["stage"],
        "alarms": day["alarms"],
    }


def _difference(run: TrialRun) -> dict[str, Any] | None:
    if run.days.empty:
        return None
    newest = run.days.iloc[-1]
    return {
        "mean": 1e4 * float(run.days["difference"].mean()),
        "low": _finite(newest["low_bps"]),
        "high": _finite(newest["high_bps"]),
    }


def _check(check: dict[str, Any]) -> dict[str, Any]:
    return check | {name: _finite(check[name]) for name in ("value", "bound")}


def _finite(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)


def e_value(log_e: float) -> float:
    """The e-value as a number; beyond 1e300 it says no more."""
    return math.exp(min(log_e, 690.0))
