"""What the models lean on, where they fail, and who of them is worth its time. Nothing here decides anything."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from prefect import task
from prefect.artifacts import create_table_artifact

from catalyst_ml.evaluation import error_slices, mistakes, record_parts
from catalyst_ml.frames import EVENT_KEY
from catalyst_ml.market import labels
from catalyst_ml.models.ensemble import EnsembleWeights
from catalyst_ml.models.preprocessing import model_matrix
from catalyst_ml.models.procedure import Procedure
from catalyst_ml.report import explained_parts
from catalyst_ml.store.news import extract_stories
from tasks.caching import cached
from tasks.connections import engine, load_bytes, load_frame
from tasks.training import ROOMS, TRAINERS, fold_of

NEWEST_DAYS = 7
NEWS_WINDOW = pd.Timedelta(hours=24)
"""As the feature ``news_present`` has it."""
MAX_HEADLINES = 3


def seconds_of_fits(folds: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Median seconds that a member's fit took over the folds, wherever they came from."""
    return {name: float(np.median([fold["fit_seconds"][name] for fold in folds])) for name in folds[0]["fit_seconds"]}


@task(
    name="explain",
    timeout_seconds=1800,
    **cached(*ROOMS, packages=(*TRAINERS, "onnx"), ignore=("threads", "fit_seconds")),
)
def explain(
    rows: dict[str, Any],
    combined: dict[str, Any],
    weights: dict[str, Any],
    plan: dict[str, Any],
    fit_seconds: dict[str, float],
    threads: int | None,
) -> dict[str, Any]:
    """Fit some of the record's folds again and ask them: importance, drivers, leaderboard; and the leak contrast."""
    from catalyst_ml.features.input_groups import input_groups
    from catalyst_ml.models import drivers, importance, leaderboard, leak_contrast, record_fits, walk_forward

    training, procedure = load_frame(rows["training"]), Procedure.from_dict(plan["procedure"])
    n_threads = threads or os.cpu_count() or 1
    folds = [fold_of(fold) for fold in plan["folds"]]
    fits = record_fits.refit_record(training, folds, procedure, load_frame(combined["oof"]), n_threads=n_threads)
    share = walk_forward.share_threads(n_threads, n_rows=len(training))
    groups = {group.name: group.inputs for group in input_groups(procedure.inputs)}
    newest = fits[-1]
    board = leaderboard.build_leaderboard(
        load_frame(combined["record"]),
        EnsembleWeights.from_dict(weights),
        fit_seconds=fit_seconds,
        costs=leaderboard.measure_costs(newest.members, model_matrix(newest.rows, procedure.inputs)),
    )
    return {
        "importance": importance.permutation_importance(fits, groups, at_most=share.side_by_side).to_dict(),
        "drivers": drivers.summarise_drivers(fits, at_most=share.side_by_side).to_dict(),
        "leaderboard": board.to_dict(),
        "leak_contrast": leak_contrast.leak_contrast(training, procedure, n_threads=share.of_each).to_dict(),
    }


@task(name="explain-newest", timeout_seconds=600, **cached(*ROOMS, packages=("onnxruntime",)))
def explain_newest(rows: dict[str, Any], model: dict[str, Any], plan: dict[str, Any], as_of: str) -> dict[str, Any]:
    """Say what drives the newest week's surest events whose outcome nobody knows yet, asking the file to be served."""
    from catalyst_ml.models import drivers

    procedure = Procedure.from_dict(plan["procedure"])
    pending = load_frame(rows["pending"])
    since = pd.Timestamp(as_of) - pd.Timedelta(days=NEWEST_DAYS)
    return drivers.drivers_of_events(
        drivers.served_function(load_bytes(model["onnx"])),
        pending[(pending["ts"] > since).to_numpy()].reset_index(drop=True),
        load_frame(rows["training"]),
        procedure.inputs,
        seed=procedure.seed,
    )


@task(
    name="explain-mistakes",
    timeout_seconds=600,
    **cached(
        *("catalyst_ml.evaluation", "catalyst_ml.quality", "catalyst_ml.features", "catalyst_ml.market"),
        *("catalyst_ml.indicators", "catalyst_ml.frames"),
    ),
)
def explain_mistakes(
    judged: dict[str, Any],
    rows: dict[str, Any],
    market: dict[str, Any],
    plan: dict[str, Any],
    scope: dict[str, Any],
    label: str,
    cost_bps_per_side: float,
) -> dict[str, Any]:
    """Cut the record into parts, and look up the trades of its worst mistakes with the stories known then."""
    record, training = load_frame(judged["record"]), load_frame(rows["training"])
    bars, key = load_frame(market["bars"]), list(EVENT_KEY)
    parts = record_parts.parts_of_record(
        record, training, bars, load_frame(market["instruments"]), plan["procedure"]["inputs"]
    )
    missing = [name for name in mistakes.OUTCOME_COLUMNS if name not in record.columns]
    worst = mistakes.worst_rows(record).merge(training[[*key, *missing]], on=key, how="left", validate="one_to_one")
    spec = labels.default_spec(scope["timeframe"], label, cost_bps_per_side=cost_bps_per_side)
    told = mistakes.tell_mistakes(worst, bars, spec)
    return {
        "slices": error_slices.error_slices(record, parts).to_dict(),
        "mistakes": [
            {**mistake.to_dict(), "headlines": headlines_before(scope["dataset"], row["symbol"], row["ts"])}
            for mistake, row in zip(told, worst.to_dict("records"), strict=True)
        ],
    }


@task(name="show-leaderboard")
def show_leaderboard(explained: dict[str, Any]) -> None:
    """Write the leaderboard of the members as a table into the Prefect UI."""
    board = explained_parts.leaderboard_part(explained["leaderboard"])
    create_table_artifact(
        explained_parts.leaderboard_table(board),
        key="leaderboard",
        description=f"Members of the ensemble on {board.rows_judged:,} rows of {board.sessions} sessions, out of fold.",
    )


def headlines_before(dataset: str, symbol: str, ts: pd.Timestamp) -> list[dict[str, str]]:
    """The newest stories about ``symbol`` in the day up to ``ts``, nothing later; their kind where no headline is."""
    stories = extract_stories(engine(), dataset=dataset, as_of=ts, start=ts - NEWS_WINDOW)
    own = stories[(stories["symbol"] == symbol).to_numpy()].tail(MAX_HEADLINES)
    return [
        {
            "published_at": published.isoformat(),
            "text": headline
            if isinstance(headline, str) and headline
            else f"story without headline ({kind if isinstance(kind, str) else 'unclassified'})",
        }
        for published, headline, kind in own[["published_at", "headline", "catalyst_type"]].itertuples(index=False)
    ]
