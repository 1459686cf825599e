"""What the performance report is made of: signals, arms side by side, where the trial stands, key figures, the page."""

from __future__ import annotations

from typing import Any

import pandas as pd
from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from catalyst_ml.errors import InsufficientHistory
from catalyst_ml.market import labels
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.models import meta_labelling
from catalyst_ml.registry.artifact_store import FolderStore
from catalyst_ml.registry.versions import ModelLine, list_versions
from catalyst_ml.store import runs
from catalyst_ml.trial import kpis, performance, run, telling
from catalyst_ml.trial.document import trial_document
from catalyst_ml.trial.energy import EnergyMeter, nvml_counter
from catalyst_ml.trial.kinds import parts_of_signals
from catalyst_ml.trial.ledger import SignalLedger
from catalyst_ml.trial.speaker import verdicts_of
from catalyst_ml.trial.stage_history import StageHistory
from catalyst_ml.trial.stages import SHARES, StagePolicy
from tasks.connections import engine, load_frame, settings, store_frame
from tasks.delivery import code_commit
from tasks.retrying import RETRY_TEMPORARY
from tasks.trial import bars_of

TRAINING_FLOW = "weekly-training"
HOW = (
    "Both arms scored the same events before their outcome was known; ML is whatever the channel held then.",
    "Trades: the surest fifth of events of each arm, at thresholds frozen before each week, entered at the next open.",
    "Outcomes, costs and exits are the label's; a corrected bar settles its signals again, with a trace.",
    "The e-value bets on the difference of both books, marked to market each session, so nothing waits for settlement.",
)


def start_meter() -> EnergyMeter:
    """Begin to measure a run's electricity."""
    counter, why_not = nvml_counter()
    return EnergyMeter(rest_watts=settings().cost.pc_watts, counter=counter, why_not=why_not)


def line_of(scope: dict[str, Any], label: str, cost_bps_per_side: float, row_choice: str) -> ModelLine:
    """Line whose signals are meant."""
    spec = labels.default_spec(scope["timeframe"], label, cost_bps_per_side=cost_bps_per_side)
    label_version = meta_labelling.line_label_version(spec.version, row_choice)
    return ModelLine(scope["dataset"], scope["timeframe"], label_version)


@task(name="read-signals", timeout_seconds=600, **RETRY_TEMPORARY)
def read_signals(scope: dict[str, Any], label: str, cost_bps_per_side: float, row_choice: str) -> dict[str, Any]:
    """Read the ledger as it was known at ``as_of``."""
    line = line_of(scope, label, cost_bps_per_side, row_choice)
    ledger = SignalLedger(engine(), line).read(known_at=pd.Timestamp(scope["as_of"]).to_pydatetime())
    return {"ledger": store_frame("signals", ledger), "label_version": line.label_version}


@task(name="compare-arms", timeout_seconds=900)
def compare_arms(signals: dict[str, Any], events: dict[str, Any], market: dict[str, Any]) -> dict[str, Any]:
    """Put the arms side by side; ``reason`` says why there is nothing to compare yet."""
    ledger = load_frame(signals["ledger"])
    nothing: dict[str, Any] = {"reason": "", "arms": [], "weeks": [], "kinds": [], "comparable": None}
    try:
        rows = performance.comparable(ledger)
    except InsufficientHistory as too_early:
        return nothing | {"reason": str(too_early)}
    bars, instruments, news = (load_frame(market[name]) for name in ("bars", "instruments", "news"))
    parts = parts_of_signals(rows, load_frame(events), bars, instruments, news)
    weeks = performance.weekly_difference(rows)
    weeks["first_session"] = weeks["first_session"].dt.strftime("%Y-%m-%d")
    return {
        "reason": "",
        "arms": [performance.arm_performance(rows, column).to_dict() for column in performance.ARM_NAMES],
        "weeks": weeks.to_dict("records"),
        "kinds": [part.to_dict() for part in performance.by_kind(rows, parts)],
        "comparable": store_frame("comparable", rows),
    }


@task(name="where-the-trial-stands", timeout_seconds=900, **RETRY_TEMPORARY)
def where_the_trial_stands(
    scope: dict[str, Any],
    signals: dict[str, Any],
    market: dict[str, Any],
    label: str,
    cost_bps_per_side: float,
    row_choice: str,
) -> dict[str, Any] | None:
    """Tell the newest trial from the ledger; its stage and moves are those that were recorded. None without a trial."""
    line = line_of(scope, label, cost_bps_per_side, row_choice)
    history, as_of = StageHistory(engine(), line), pd.Timestamp(scope["as_of"])
    trials = history.trials()
    if not trials:
        return None
    trial = trials[-1]
    told = telling.tell_trial(
        load_frame(signals["ledger"]),
        bars_of(trial, scope, market),
        verdicts_of(engine(), line, is_replay=trial.is_replay),
        {version.version_id: pd.Timestamp(version.as_of) for version in list_versions(engine(), **line._asdict())},
        trial,
        labels.default_spec(scope["timeframe"], label, cost_bps_per_side=cost_bps_per_side),
        calendar=TradingCalendar(),
        as_of=as_of,
        with_interval=True,
    )
    if told is None:
        return None
    document = trial_document(told, run.TrialPolicy(stages=StagePolicy(process=trial.number)))
    moves = [move for move in history.moves(number=trial.number) if move.session <= as_of.date()]
    names = {share: stage for stage, share in SHARES.items()}
    share = moves[-1].to_share if moves else 0.0
    return document | {
        "stage": names[share],
        "share": share,
        "moves": [
            {
                "session": f"{move.session:%Y-%m-%d}",
                "from_stage": names[move.from_share],
                "to_stage": names[move.to_share],
                "reason": move.reason,
                "evidence": move.evidence,
            }
            for move in moves
        ],
    }


@task(name="key-figures", timeout_seconds=300, **RETRY_TEMPORARY)
def key_figures(scope: dict[str, Any], compared: dict[str, Any]) -> list[dict[str, Any]]:
    """Measure the plan's key figures; those on signals are left out while no signal is settled by both arms."""
    trained = _training_runs(scope)
    cost = settings().cost
    of_runs = [
        kpis.training_time_kpi(trained),
        kpis.deployment_kpi(trained),
        kpis.cost_kpi(trained, tariff_per_kwh=cost.tariff_per_kwh, cloud_per_month=cost.cloud_per_month),
    ]
    if compared["comparable"] is None:
        return [kpi.to_dict() for kpi in of_runs]
    rows = load_frame(compared["comparable"])
    ml, rules = (performance.arm_performance(rows, column) for column in (performance.P_ML, performance.P_RULES))
    weeks = performance.weekly_difference(rows)
    of_signals = [
        kpis.accuracy_kpi(ml, weeks),
        kpis.losing_share_kpi(performance.losing_share_change(rows), ml, rules, weeks),
        kpis.profit_kpi(performance.net_difference(rows), ml, rules, weeks),
    ]
    return [kpi.to_dict() for kpi in (*of_signals, *of_runs)]


@task(name="assemble-performance")
def assemble(
    scope: dict[str, Any],
    signals: dict[str, Any],
    compared: dict[str, Any],
    trial: dict[str, Any] | None,
    figures: list[dict[str, Any]],
) -> dict[str, Any]:
    """Put all parts of the page together, as JSON."""
    ledger = load_frame(signals["ledger"])
    span = {"since": None, "until": None}
    if len(ledger):
        span = {"since": f"{ledger['session'].min():%Y-%m-%d}", "until": f"{ledger['session'].max():%Y-%m-%d}"}
    return {
        **{name: scope[name] for name in ("dataset", "timeframe", "as_of")},
        **span,
        "kind": "performance",
        "label_version": signals["label_version"],
        "code_commit": code_commit(),
        "n_signals": len(ledger),
        "n_settled": int(ledger["y"].notna().sum()),
        "reason": compared["reason"],
        "recommendation": trial["recommendation"] if trial else _WAIT,
        "trial": trial,
        **{name: compared[name] for name in ("arms", "weeks", "kinds")},
        "kpis": figures,
        "how": list(HOW),
    }


@task(name="show-performance")
def show_performance(page: dict[str, Any]) -> str:
    """Write the page where a person finds it, its tables into the Prefect UI; return the path."""
    from catalyst_ml.report import trial_page

    create_markdown_artifact(trial_page.markdown(page), key="performance", description="ML and rules, side by side")
    create_table_artifact(trial_page.kpi_rows(page), key="key-figures", description="Key figures of the plan")
    name = f"performance-{page['dataset']}-{page['timeframe']}-{page['as_of'][:10]}.html"
    folder = settings().home.path("reports")
    FolderStore(folder).put_bytes(name, trial_page.render(page).encode())
    return str(folder / name)


def summarise(page: dict[str, Any], report_path: str, *, duration_s: float) -> dict[str, Any]:
    """What the command line prints and the run keeps."""
    from catalyst_ml.report import trial_page

    return {
        **{name: page[name] for name in ("dataset", "timeframe", "as_of", "n_signals", "n_settled", "recommendation")},
        "tables": {"arms": trial_page.arm_rows(page), "key figures of the plan": trial_page.kpi_rows(page)},
        "reason": page["reason"],
        "report_path": report_path,
        "duration_s": duration_s,
    }


_WAIT = {
    "headline": "Wait: there is no signal in the ledger yet",
    "reasons": ["`catalyst-ml evaluate` writes them daily"],
}


def _training_runs(scope: dict[str, Any]) -> list[kpis.TrainingRun]:
    """Weekly runs of this dataset that ended, oldest first."""
    found = []
    for kept in reversed(runs.list_runs(engine(), dataset=scope["dataset"], limit=1_000)):
        if kept.flow != TRAINING_FLOW or kept.status == "running":
            continue
        summary = kept.summary or {}
        energy = summary.get("energy")
        found.append(
            kpis.TrainingRun(
                started_at=pd.Timestamp(kept.started_at),
                is_finished=kept.status == "finished",
                seconds=summary.get("duration_s"),
                kwh=energy["kwh"] if energy else None,
                energy_note=energy["note"] if energy else "",
            )
        )
    return found
