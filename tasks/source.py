"""What the trading system has that we have not: pulled before a day is looked at."""

from __future__ import annotations

from typing import Any

from prefect import get_run_logger, task
from prefect.artifacts import create_table_artifact

from catalyst_ml.intake import source
from tasks.connections import settings
from tasks.retrying import RETRY_TEMPORARY

NOT_SET = "SOURCE_DATABASE_URL is not set: bars, news and sectors come from files only"


@task(name="pull-source", timeout_seconds=4 * 3600, **RETRY_TEMPORARY)
def pull_source(dataset: str) -> dict[str, Any]:
    """Bring snapshots and dataset up to date with the trading system's database; says so if none is configured."""
    if settings().source.database_url is None:
        get_run_logger().warning(NOT_SET)
        return {"pulled": False, "why": NOT_SET}
    intake = source.pull_source(settings(), dataset)
    for sentence in (*intake.refused, *intake.notes):
        get_run_logger().warning(sentence)
    create_table_artifact(
        [
            {"subject": subject, "table": table.table, "rows": table.rows, "fetched": table.fetched}
            for subject, table in intake.pulled
        ],
        key="pull-source",
        description=f"Tables of {intake.database}; {len(intake.refused)} refused",
    )
    return {
        "pulled": True,
        "fetched": sum(table.fetched for _, table in intake.pulled),
        "new": sum(report.new for report in intake.imported),
        "corrected": sum(report.corrected for report in intake.imported),
        "rows_refused": sum(report.refused for report in intake.imported),
        "tables_refused": intake.refused,
        "notes": intake.notes,
    }
