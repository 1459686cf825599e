"""The leak check before training: features, rows and folds against what was known, once per content."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from prefect import task

from tasks.caching import cached
from tasks.connections import load_frame
from tasks.dataset import market_panel

ROOMS = (
    "catalyst_ml.features",
    "catalyst_ml.market",
    "catalyst_ml.indicators",
    "catalyst_ml.frames",
    "catalyst_ml.evaluation.splits",
    "catalyst_ml.quality.leak_suite",
    "catalyst_ml.quality.validation",
)


@task(name="check-leaks", timeout_seconds=1800, **cached(*ROOMS))
def check_leaks(
    market: dict[str, Any], rows: dict[str, Any], folds: Sequence[dict[str, Any]], as_of: str, rule_arm: str
) -> dict[str, Any]:
    """Replay features and training rows on data cut off at sampled moments, and count what folds may know.

    A leak is a result here; the next step refuses it.
    """
    from catalyst_ml.evaluation.splits import Fold, train_rows
    from catalyst_ml.features import event_replay, events, line_inputs, training_leaks
    from catalyst_ml.features.alterations import Sources
    from catalyst_ml.quality.leak_suite import leak_suite

    training = load_frame(rows["training"])
    walk = [Fold.from_dict({name: value for name, value in fold.items() if name != "content"}) for fold in folds]
    report = training_leaks.check_leaks(
        Sources(market_panel(market)),
        training,
        make_rows=lambda sources: event_replay.event_rows(sources, arm=rule_arm, timeframe=market["timeframe"]),
        columns=line_inputs.event_columns(market["timeframe"]),
        inputs=(*line_inputs.model_inputs(market["timeframe"]), *events.CATALYST_INPUTS),
        catalogue=line_inputs.line_catalogue(market["timeframe"]),
        windows=[training_leaks.TrainedWindow(fold.name, train_rows(training, fold), fold.test_start) for fold in walk],
        # Another sample every week, the same one when the week is run again.
        seed=pd.Timestamp(as_of).toordinal(),
    )
    return {"report": report.to_dict(), "suite": leak_suite(report).to_dict()}


@task(name="refuse-leaks")
def refuse_leaks(checked: dict[str, Any]) -> None:
    """Stop the run if a value depends on what was not known; a step of its own, so that the check is kept."""
    from catalyst_ml.features.leak_report import LeakReport, require_no_leak

    require_no_leak(LeakReport.from_dict(checked["report"]))


def add_to_borders(borders: dict[str, Any], checked: dict[str, Any]) -> dict[str, Any]:
    """Return what the borders found with the leak check among it, for the report."""
    return {**borders, "suites": [*borders["suites"], checked["suite"]]}
