"""Collection of patterns: which moments to look at, and the features of new events as they are known then."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
from prefect import task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.runtime import flow_run

from catalyst_ml.features.catalogue import FEATURE_NAMES, feature_set_version
from catalyst_ml.features.engine import compute_features
from catalyst_ml.features.panel import MarketPanel
from catalyst_ml.market import collection, corporate_actions, detector
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.store import bars as bar_store
from catalyst_ml.store.detections import EventLine
from catalyst_ml.store.event_features import EventFeatureLine
from tasks.connections import engine
from tasks.retrying import RETRY_TEMPORARY


@task(name="plan-collection", timeout_seconds=300, **RETRY_TEMPORARY)
def plan_collection(parameters: dict[str, Any]) -> dict[str, Any]:
    """Fix the closes to collect at: the last one before the scheduled start, or those of a back-fill."""
    line = {name: parameters[name] for name in ("dataset", "timeframe")}
    newest = pd.Timestamp(bar_store.newest_bar(engine(), **line)).tz_convert("UTC")
    start = pd.Timestamp(flow_run.scheduled_start_time or pd.Timestamp.now("UTC")).tz_convert("UTC")
    closes = collection.closes_to_collect(
        TradingCalendar(),
        newest=min(newest, start),
        since=parameters["since"],
        until=parameters["until"],
        every=parameters["every"],
    )
    return line | {"as_of": closes[-1].isoformat(), "closes": [close.isoformat() for close in closes]}


def scopes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the scope of each close in order, and keep a progress bar in the Prefect UI."""
    progress = create_progress_artifact(progress=0.0, key="collection", description="Closes collected")
    for number, close in enumerate(plan["closes"]):
        yield {"dataset": plan["dataset"], "timeframe": plan["timeframe"], "as_of": close}
        update_progress_artifact(progress, progress=100.0 * (number + 1) / len(plan["closes"]))


@task(name="keep-features", task_run_name="features {scope[as_of]}", timeout_seconds=1800, **RETRY_TEMPORARY)
def keep_features(scope: dict[str, Any]) -> dict[str, Any]:
    """Compute the catalogue at the events that have none kept, from what was known then, and keep it for good."""
    as_of, line = pd.Timestamp(scope["as_of"]), {name: scope[name] for name in ("dataset", "timeframe")}
    events = EventLine(engine(), **line, detector_version=detector.detector_version(TradingCalendar()))
    keeper = EventFeatureLine(events, feature_set_version(), FEATURE_NAMES)
    new = keeper.without(as_of)
    if new.empty:
        return {"features_kept": 0}
    raw = bar_store.extract_bars(engine(), **line, as_of=as_of)
    panel = MarketPanel(
        bars=corporate_actions.adjust_for_splits(raw, as_of=as_of),
        instruments=bar_store.extract_instruments(engine(), dataset=scope["dataset"]),
        news=bar_store.extract_news(engine(), dataset=scope["dataset"], as_of=as_of),
    )
    rows = collection.on_bars(new, panel.bars)
    features = compute_features(panel, rows[["symbol", "ts"]]).assign(detection_id=rows["detection_id"].to_numpy())
    return {"features_kept": keeper.write(features, as_of=as_of)}


def summarise(
    plan: dict[str, Any], collected: list[dict[str, Any]], brought: dict[str, Any] | None, *, duration_s: float
) -> dict[str, Any]:
    """Add up what each close brought; what is stored and pending is as of the last one.

    ``brought`` is what the pull before it did, None if none was asked for.
    """
    last = collected[-1]
    return {
        "dataset": plan["dataset"],
        "timeframe": plan["timeframe"],
        "closes": len(collected),
        "first": plan["closes"][0],
        "last": plan["closes"][-1],
        **{name: sum(of[name] for of in collected) for name in ("new", "settled", "corrected", "features_kept")},
        "source": brought,
        "stored": last["stored"],
        "pending": last["pending"],
        "duration_s": duration_s,
    }
