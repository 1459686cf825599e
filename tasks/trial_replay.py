"""A trial as if it had been run over replayed weeks: signals, marks, verdicts of the replay, the same statistics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from prefect import task
from prefect.artifacts import create_markdown_artifact

from catalyst_ml.evaluation.live_record import P_SHADOW
from catalyst_ml.frames import EVENT_KEY
from catalyst_ml.market import labels
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.registry.artifact_store import FolderStore
from catalyst_ml.trial import performance, run
from catalyst_ml.trial.document import trial_document
from catalyst_ml.trial.kinds import parts_of_signals
from catalyst_ml.trial.marks import mark_trades
from catalyst_ml.trial.signals import signals_of_live_record
from tasks import replay
from tasks.caching import cached
from tasks.connections import load_frame, settings, store_frame
from tasks.delivery import code_commit

ROOMS = (*replay.ROOMS, "catalyst_ml.trial", "tasks.replay")
HOW = (
    "Each week stood at its close and knew what was known then; its fit spoke for ML on the events of the week after.",
    "The stages moved by the code of the real trial; its ledger, channels and stages were left alone.",
    "Trades: the surest fifth of events of each arm, at thresholds frozen before each week, entered at the next open.",
    "The e-value bets on the difference of both books, marked to market each session, so nothing waits for settlement.",
)


@task(name="run-trial", timeout_seconds=3600, **cached(*ROOMS, packages=replay.PACKAGES))
def run_trial(
    scope: dict[str, Any], procedure: dict[str, Any], settled: dict[str, Any], verdicts: Sequence[dict[str, str]]
) -> dict[str, Any]:
    """Tell the trial of the replayed signals up to the moment the replay was settled at, and compare the arms."""
    signals = _signals(load_frame(settled["rows"]))
    spec = labels.default_spec(scope["timeframe"], procedure["label"], cost_bps_per_side=procedure["cost_bps_per_side"])
    with replay.scratch(scope, procedure, "trial"):
        known = replay.prepare(scope, procedure)
        bars, instruments, news = (load_frame(known["market"][name]) for name in ("bars", "instruments", "news"))
        outcomes, events = load_frame(known["labelled"]["labels"]), load_frame(known["events"])
    own = outcomes.merge(signals[list(EVENT_KEY)], on=list(EVENT_KEY), how="inner", validate="one_to_one")
    as_of = pd.Timestamp(scope["as_of"])
    marks = mark_trades(
        own.sort_values(list(EVENT_KEY), ignore_index=True)[outcomes.columns],
        own.iloc[:0][list(EVENT_KEY)],
        bars,
        calendar=TradingCalendar(),
        as_of=as_of,
        cost_bps_per_side=procedure["cost_bps_per_side"],
    )
    policy = run.TrialPolicy(label_sessions=spec.horizon_sessions)
    told = run.run_trial(
        signals_of_live_record(load_frame(settled["rows"])),
        marks,
        _verdicts(verdicts),
        _health(signals),
        policy,
        as_of=as_of,
    )
    rows = performance.comparable(signals)
    weeks = performance.weekly_difference(rows)
    weeks["first_session"] = weeks["first_session"].dt.strftime("%Y-%m-%d")
    parts = parts_of_signals(rows, events, bars, instruments, news)
    return {
        "trial": trial_document(told, policy),
        "arms": [
            performance.arm_performance(rows, column).to_dict() for column in (performance.P_ML, performance.P_RULES)
        ],
        "weeks": weeks.to_dict("records"),
        "kinds": [part.to_dict() for part in performance.by_kind(rows, parts)],
        "label_version": spec.version,
        "days": store_frame("trial_days", told.days),
        "n": len(signals),
        "span": [f"{signals['session'].min():%Y-%m-%d}", f"{signals['session'].max():%Y-%m-%d}"],
    }


def verdicts_of(weeks: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """What the gate said at each replayed close; a week whose data was refused said nothing."""
    return [{"as_of": week["as_of"], "verdict": week["decision"]["verdict"]} for week in weeks if week["decision"]]


@task(name="show-trial")
def show_trial(plan: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """Write the page where a person finds it; return what the command line prints and the run keeps."""
    from catalyst_ml.report import trial_page

    trial = found["trial"]
    page = {
        **{name: plan[name] for name in ("dataset", "timeframe")},
        "as_of": plan["settled_at"],
        "since": found["span"][0],
        "until": found["span"][1],
        "kind": "replay",
        "label_version": found["label_version"],
        "code_commit": code_commit(),
        "n_signals": found["n"],
        "n_settled": found["n"],
        "reason": "",
        "recommendation": trial["recommendation"],
        "trial": trial,
        **{name: found[name] for name in ("arms", "weeks", "kinds")},
        "kpis": [],
        "how": list(HOW),
    }
    create_markdown_artifact(trial_page.markdown(page), key="trial", description="The trial, replayed")
    name = f"trial-{plan['dataset']}-{plan['timeframe']}-{found['span'][0]}-{found['span'][1]}.html"
    folder = settings().home.path("reports")
    FolderStore(folder).put_bytes(name, trial_page.render(page).encode())
    return {
        **{name: page[name] for name in ("dataset", "timeframe", "as_of", "n_signals", "n_settled", "recommendation")},
        "stage": trial["stage"],
        "better_since": trial["better_since"],
        "tables": {"arms": trial_page.arm_rows(page), "stages": trial_page.move_rows(page)},
        "markdown": trial_page.markdown(page),
        "reason": "",
        "report_path": str(folder / name),
    }


def _signals(settled: pd.DataFrame) -> pd.DataFrame:
    """Replayed forecasts in the form of the ledger: the freshest fit speaks for ML."""
    return settled.rename(columns={P_SHADOW: performance.P_ML})


def _health(signals: pd.DataFrame) -> pd.DataFrame:
    """Age of the fit that spoke, per session; novelty is not measured in a replay."""
    age = signals["session"] - pd.to_datetime(signals["fold"])
    by_session = age.dt.days.groupby(signals["session"].to_numpy()).min()
    return pd.DataFrame(
        {
            "session": by_session.index,
            "n_novel": float("nan"),
            "n_novel_of": float("nan"),
            "model_age_days": by_session.to_numpy(dtype="float64"),
        }
    )


def _verdicts(verdicts: Sequence[dict[str, str]]) -> pd.DataFrame:
    as_of = pd.to_datetime([verdict["as_of"] for verdict in verdicts], utc=True).as_unit("us")
    return pd.DataFrame({"as_of": as_of, "verdict": pd.Series([v["verdict"] for v in verdicts], dtype="str")})
