"""The trial told from the kept ledger at a session's close: what the statistics ask for, and what follows from them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from catalyst_ml.evaluation.trading import MIN_THRESHOLD_ROWS
from catalyst_ml.frames import EVENT_KEY, LABELS
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.labels import AnyLabelSpec, LabelSpec, label_events
from catalyst_ml.quality.novelty import NOVEL_BELOW
from catalyst_ml.trial.marks import mark_trades
from catalyst_ml.trial.run import DAY_COLUMNS, TrialPolicy, TrialRun, run_trial
from catalyst_ml.trial.stage_history import Trial
from catalyst_ml.trial.stages import SHARES, StagePolicy, StageState

NOT_BEGUN = "no version of this line has spoken yet"
NO_THRESHOLD = (
    f"no session yet in which both arms had a threshold; it takes {MIN_THRESHOLD_ROWS} signals of both in earlier weeks"
)
NO_MARKS = "market-neutral outcomes have no daily marks, so this label is recorded and not tried"


@dataclass(frozen=True)
class DueMove:
    """A change of the stage that this close asks for."""

    from_share: float
    to_share: float
    reason: str
    evidence: dict[str, float]


def tell_trial(
    ledger: pd.DataFrame,
    bars: pd.DataFrame,
    verdicts: pd.DataFrame,
    made: dict[str, pd.Timestamp],
    trial: Trial,
    spec: AnyLabelSpec,
    *,
    calendar: TradingCalendar,
    as_of: pd.Timestamp,
    with_interval: bool,
) -> TrialRun | None:
    """Tell the trial from its first session to ``as_of``; None where the label has no marks.

    Parameters
    ----------
    ledger : LEDGER
        As known at ``as_of``.
    bars : BARS
        Split-adjusted, as known at ``as_of``, from before the trial began.
    verdicts
        Of ``speaker.verdicts_of``.
    made
        ``as_of`` of each version named in the ledger.
    trial : Trial
    spec
        What an outcome is.
    with_interval
        See ``run.run_trial``.
    """
    if not isinstance(spec, LabelSpec):
        return None
    own = ledger[
        (ledger["session"] >= pd.Timestamp(trial.began)).to_numpy() & (ledger["rule_arm"] == trial.rule_arm).to_numpy()
    ].reset_index(drop=True)
    if own["p_ml"].isna().all():
        return TrialRun(pd.DataFrame(columns=list(DAY_COLUMNS)), (), (), StageState())
    on_bars = pd.MultiIndex.from_frame(own[["symbol", "ts"]]).isin(pd.MultiIndex.from_frame(bars[["symbol", "ts"]]))
    keys = own.loc[on_bars, list(EVENT_KEY)].sort_values(list(LABELS.key), ignore_index=True)
    labelled = label_events(keys, bars, spec, calendar=calendar, as_of=as_of)
    marks = mark_trades(
        labelled.labels, labelled.pending, bars, calendar=calendar, as_of=as_of,
        cost_bps_per_side=spec.cost_bps_per_side,
    )  # fmt: skip
    policy = TrialPolicy(label_sessions=spec.horizon_sessions, stages=StagePolicy(process=trial.number))
    return run_trial(own, marks, verdicts, daily_health(own, made), policy, as_of=as_of, with_interval=with_interval)


def daily_health(ledger: pd.DataFrame, made: dict[str, pd.Timestamp]) -> pd.DataFrame:
    """Per session: events judged novel, of how many, and the age of the version that spoke, in days."""
    age = (ledger["ts"] - ledger["version_id"].map(made).astype(ledger["ts"].dtype)) / pd.Timedelta(days=1)
    rows = pd.DataFrame(
        {
            "session": ledger["session"],
            "n_novel": (ledger["novelty_p"] < NOVEL_BELOW).astype("float64"),
            "n_novel_of": ledger["novelty_p"].notna().astype("float64"),
            "model_age_days": age.to_numpy(dtype="float64"),
        }
    )
    by_session = rows.groupby("session", as_index=False)
    return by_session.agg({"n_novel": "sum", "n_novel_of": "sum", "model_age_days": "min"})


def due_move(run: TrialRun, held_share: float, session: pd.Timestamp) -> DueMove | None:
    """Return the move from the share that is kept to the one that the trial stands at after ``session``.

    The trial is told anew at every close. Where corrected outcomes change an earlier step of it, the kept stage follows
    from this close on, and the reason says so; what was kept before stays.
    """
    told = run.state.share
    if told == held_share:
        return None
    if run.moves and run.moves[-1].session == session:
        return DueMove(held_share, told, run.moves[-1].reason, dict(run.moves[-1].evidence))
    last = f"{run.moves[-1].reason} ({run.moves[-1].session:%Y-%m-%d})" if run.moves else "it has not left the shadow"
    reason = f"outcomes or bars were corrected since; told again, the trial stands at {told:.0%}: {last}"
    return DueMove(held_share, told, reason, dict(run.moves[-1].evidence) if run.moves else {})


def not_begun() -> dict[str, Any]:
    """Return what `summary_of` would say of a trial that has not begun."""
    return {"number": None, "share": 0.0, "stage": "shadow", "sessions": 0, "not_judged": NOT_BEGUN, "moved": None}


def summary_of(run: TrialRun | None, trial: Trial, share: float) -> dict[str, Any]:
    """Return where the trial stands as JSON: stage, evidence with its interval, guardrails."""
    told: dict[str, Any] = {
        "number": trial.number,
        "rule_arm": trial.rule_arm,
        "alpha": trial.alpha,
        "began": f"{trial.began:%Y-%m-%d}",
        "is_replay": trial.is_replay,
        "share": share,
    }
    if run is None:
        return told | {"stage": "shadow", "sessions": 0, "not_judged": NO_MARKS}
    stage = next(name for name, held in SHARES.items() if held == share)
    if run.days.empty:
        return told | {"stage": stage, "sessions": 0, "not_judged": NO_THRESHOLD}
    last, policy = run.days.iloc[-1], TrialPolicy(stages=StagePolicy(process=trial.number))
    better = run.better_since(policy)
    return told | {
        "stage": stage,
        "sessions": len(run.days),
        "first_session": f"{run.days['session'].iloc[0]:%Y-%m-%d}",
        "last_session": f"{last['session']:%Y-%m-%d}",
        "not_judged": None,
        "e_better": _e(last["log_e_up"]),
        "e_worse": _e(last["log_e_loss"]),
        "needed": list(policy.stages.needed),
        "better_since": None if better is None else f"{better:%Y-%m-%d}",
        "difference_bps": 1e4 * float(run.days["difference"].mean()),
        "low_bps": _finite(last["low_bps"]),
        "high_bps": _finite(last["high_bps"]),
        "profit_ml": float(run.days["profit_ml"].sum()),
        "profit_rules": float(run.days["profit_rules"].sum()),
        "has_verdict": run.state.has_verdict,
        "waited": run.state.waited,
        "quiet": run.state.quiet,
        "guardrails": [asdict(check) for check in run.checks],
    }


def _e(log_e: float) -> float:
    return math.exp(min(float(log_e), 690.0))


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
