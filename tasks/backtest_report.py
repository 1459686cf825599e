"""What a back-test found, told: figures of weeks and arms, ageing curve, spread over histories; JSON and a page."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from catalyst_ml.errors import InsufficientHistory
from catalyst_ml.models.procedure import Procedure
from catalyst_ml.registry.artifact_store import FolderStore
from tasks import backtest, replay, training, trials
from tasks.caching import cached
from tasks.connections import load_frame, settings, store_frame
from tasks.delivery import code_commit
from tasks.retrying import RETRY_TEMPORARY

N_GROUPS, N_TESTED = 6, 2
"""Histories are cut in six and two parts tested at a time: 15 fits, five paths."""


@task(
    name="cut-history",
    timeout_seconds=1800,
    **RETRY_TEMPORARY,
    **cached(*backtest.ROOMS, packages=replay.PACKAGES),
)
def cut_history(scope: dict[str, Any], procedure: dict[str, Any]) -> dict[str, Any]:
    """Prepare all labelled rows known at the last week and cut their sessions into groups."""
    from catalyst_ml.evaluation.cpcv import combinatorial_splits

    with replay.scratch(scope, procedure, "cpcv"):
        known = replay.prepare(scope, procedure)
        plan, training_set = replay.plan_folds(known, scope, procedure), load_frame(known["rows"]["training"])
    splits = combinatorial_splits(training_set["session"], n_groups=N_GROUPS, n_test=N_TESTED)
    return {
        "training": store_frame("training", training_set),
        "splits": [split.to_dict() for split in splits],
        "label_version": plan["label_version"],
        "inputs": list(Procedure.from_dict(plan["procedure"]).shared_inputs),
        "feature_set_version": plan["procedure"]["feature_set_version"],
    }


def splits(cut: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the splits to fit, in order."""
    return list(cut["splits"])


@task(
    name="fit-split",
    task_run_name="fit {split[name]}",
    **cached(*training.ROOMS, packages=training.TRAINERS, ignore=("threads",)),
)
def fit_split(split: dict[str, Any], cut: dict[str, Any], threads: int | None) -> dict[str, Any]:
    """Fit the procedure's members with small budgets on one side of a split and forecast the other."""
    from catalyst_ml.evaluation.cpcv import CpcvSplit
    from catalyst_ml.models.cpcv_fit import fit_cpcv_split
    from catalyst_ml.models.procedure import default_procedure

    cheap = default_procedure(
        tuple(cut["inputs"]),
        feature_set_version=cut["feature_set_version"],
        label_version=cut["label_version"],
        profile="fast",
    )
    rows = fit_cpcv_split(
        load_frame(cut["training"]), CpcvSplit.from_dict(split), cheap, n_threads=threads or os.cpu_count() or 1
    )
    return {"split": split["name"], "rows": store_frame("cpcv", rows)}


@task(name="measure-spread", timeout_seconds=600, **cached("catalyst_ml.evaluation"))
def measure_spread(fits: Sequence[dict[str, Any]], cut: dict[str, Any]) -> dict[str, Any]:
    """Score every path against the base rate and the pattern base rate."""
    from catalyst_ml.evaluation.cpcv import CpcvSplit, Spread, path_scores
    from catalyst_ml.evaluation.record import P_BASE_RATE, P_CHALLENGER, P_PATTERN_BASE_RATE

    rows = {fit["split"]: load_frame(fit["rows"]) for fit in fits}
    parts = [CpcvSplit.from_dict(split) for split in cut["splits"]]
    scored = {
        opponent.removeprefix("p_"): path_scores(rows, parts, arm=P_CHALLENGER, opponent=opponent)
        for opponent in (P_BASE_RATE, P_PATTERN_BASE_RATE)
    }
    of_base = scored["base_rate"]
    spreads = {f"gain over {name}": Spread.of([path.gain.value for path in of]) for name, of in scored.items()}
    spreads["auc_within"] = Spread.of([path.auc_within.value for path in of_base])
    return {
        "n_groups": N_GROUPS,
        "n_tested": N_TESTED,
        "n_rows": cut["training"]["rows"],
        "paths": {name: [path.to_dict() for path in of] for name, of in scored.items()},
        "spread": {name: asdict(spread) for name, spread in spreads.items()},
    }


@task(name="read-trials-beside", timeout_seconds=300, **RETRY_TEMPORARY)
def read_trials_beside(plan: dict[str, Any], weeks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Read what else was tried on the line of the replayed procedure; nothing if no week was judged."""
    judged = [week["attempt"]["plan"] for week in weeks if week["attempt"] is not None]
    found: dict[str, Any] = trials.read_trials.fn(plan, judged[-1]) if judged else trials.NONE_TRIED
    return found


@task(name="assemble-backtest", timeout_seconds=600)
def assemble(
    plan: dict[str, Any],
    procedure: dict[str, Any],
    weeks: Sequence[dict[str, Any]],
    settled: dict[str, Any],
    spread: dict[str, Any] | None,
    leaks: Sequence[dict[str, Any]],
    tried: dict[str, Any],
) -> dict[str, Any]:
    """Put all figures together, as JSON; the page and the table are made of nothing else."""
    from catalyst_ml.evaluation import live_record
    from catalyst_ml.evaluation.ageing import ageing_curve, read_curve
    from catalyst_ml.evaluation.deflation import deflate

    rows = load_frame(settled["rows"])
    figures = {week["fold"]: week for week in live_record.weekly_figures(rows)}
    try:
        curve = ageing_curve(rows)
        ageing: dict[str, Any] = {"points": [point.to_dict() for point in curve], "reading": read_curve(curve)}
    except InsufficientHistory as too_short:
        ageing = {"points": [], "reading": f"Not measured: {too_short}"}
    return {
        **{name: plan[name] for name in ("dataset", "timeframe", "every", "settled_at")},
        "since": plan["weeks"][0],
        "until": plan["weeks"][-1],
        "procedure": procedure,
        "code_commit": code_commit(),
        "weeks": [_week(week, figures.get(week["week"])) for week in weeks],
        "arms": [live_record.arm_figures(rows, column).to_dict() for column in live_record.LIVE_ARMS],
        "deflation": deflate(live_record.shadow_profit(rows), trials.as_trials(tried)).to_dict()
        | {"searched": tried["searched"]},
        "evidence": live_record.running_gain(rows),
        "tenures": [tenure.to_dict() for tenure in live_record.tenures(rows)],
        "ageing": ageing,
        "cpcv": spread,
        "events": {"n": len(rows), "without_outcome": settled["n_without_outcome"], "pending": settled["pending"]},
        "leak_checks": {"weeks": len(leaks), "comparisons": sum(_compared(checked) for checked in leaks)},
    }


def _compared(checked: dict[str, Any]) -> int:
    from catalyst_ml.features.leak_report import LeakReport

    return LeakReport.from_dict(checked["report"]).n_comparisons


def _week(week: dict[str, Any], figures: dict[str, Any] | None) -> dict[str, Any]:
    decision = week["decision"]
    stood = {"week": week["week"], "in_charge": week["production"]["holder"], "figures": figures}
    if decision is None:
        return stood | {"verdict": "failed", "headline": "The run refused its data", "reason": week["refused"], "t": {}}
    against = [check["name"] for check in decision["checks"] if check["decisive"] and not check["passed"]]
    tests = {c["opponent"].removeprefix("p_"): c["t"] for c in decision["comparisons"] if c["measure"] == "log_loss"}
    return stood | {
        "verdict": decision["verdict"],
        "headline": decision["headline"],
        "reason": decision["summary"],
        "failed_checks": against,
        "t": tests,
        "sessions": decision["sessions"],
        "events": decision["events"],
        "folds": week["folds"],
    }


@task(name="show-backtest")
def show_backtest(page: dict[str, Any], plan: dict[str, Any]) -> dict[str, str]:
    """Write JSON and page where a person finds them, the table into the Prefect UI; return the paths."""
    from catalyst_ml.report import backtest_page

    table = backtest_page.week_rows(page)
    create_table_artifact(table, key="backtest-weeks", description="What each week decided, and what followed")
    create_markdown_artifact(backtest_page.markdown(page), key="backtest", description="Key figures of the back-test")
    stem = f"backtest-{page['dataset']}-{page['timeframe']}-{page['since'][:10]}-{page['until'][:10]}"
    folder = settings().home.path("reports")
    files = {
        "html": backtest_page.render(page).encode(),
        "json": json.dumps(page, indent=1, allow_nan=False).encode(),
    }
    for kind, content in files.items():
        FolderStore(folder).put_bytes(f"{stem}.{kind}", content)
    return {kind: str(folder / f"{stem}.{kind}") for kind in files}


def summarise(
    page: dict[str, Any], paths: dict[str, str], plan: dict[str, Any], *, duration_s: float
) -> dict[str, Any]:
    """What the command line prints and the run keeps."""
    from catalyst_ml.report import backtest_page

    return {
        **{name: page[name] for name in ("dataset", "timeframe", "since", "until", "every", "events")},
        "as_of": plan["settled_at"],
        "headline": backtest_page.headline(page),
        "reading": page["ageing"]["reading"],
        "tables": {
            "week by week": backtest_page.week_rows(page),
            "all live weeks": backtest_page.arm_rows(page),
            "is weekly right?": backtest_page.age_rows(page),
            "spread over histories": backtest_page.spread_rows(page),
        },
        "report_path": paths["html"],
        "json_path": paths["json"],
        "duration_s": duration_s,
    }
