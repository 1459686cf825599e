"""Telling the trading system's own table which version there is; off unless it is asked for, and never a failure."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

from prefect import task

from catalyst_ml.errors import CatalystError
from catalyst_ml.registry.versions import get_version
from catalyst_ml.store.source_engine import open_source
from catalyst_ml.store.source_performance import ModelPerformance, write_performance
from tasks.connections import engine, settings

log = logging.getLogger("catalyst_ml.trading_system")

ARM = "challenger"


@task(name="write-performance", timeout_seconds=120)
def write_row(
    version_id: str, moved: dict[str, Any], model: dict[str, Any], judged: dict[str, Any], plan: dict[str, Any]
) -> str:
    """Write the version's row into ``ml_model_performance``; return in words what was done, or why not.

    Empty if SOURCE_WRITE_PERFORMANCE is off. Whatever is wrong over there must not cost the week's result.
    """
    if not settings().source.write_performance:
        return ""
    record = get_version(engine(), version_id)
    scores = judged["scores"].get(ARM, {})
    performance = ModelPerformance(
        version_id=version_id,
        line=str(record.line),
        training_date=record.created_at,
        training_samples=model["n_train"],
        feature_count=len(plan["procedure"]["inputs"]),
        accuracy=scores.get("accuracy"),
        precision=scores.get("precision"),
        recall=scores.get("recall"),
        auc_roc=scores.get("auc"),
        in_production=None if moved["production"] == "rules" else moved["production"],
        more={
            **{name: scores.get(name) for name in ("base_rate", "n", "n_eff", "log_loss", "brier", "ece")},
            "verdict": judged["decision"]["verdict"],
            "trained_from": model["first_trained"],
            "trained_to": model["last_trained"],
            "manifest_sha256": record.manifest_sha256,
            "written_at": datetime.now(UTC).isoformat(),
        },
    )
    try:
        source = open_source(settings())
        try:
            return write_performance(source, performance)
        finally:
            source.dispose()
    except CatalystError as error:
        log.warning("the trading system's table was not written: %s", error)
        return f"ml_model_performance was not written: {error}"
