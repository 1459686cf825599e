"""When the weekly run starts: read from prefect.yaml, computed by Prefect itself."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import yaml
from prefect.client.schemas.schedules import CronSchedule as DeclaredSchedule
from prefect.server.schemas.schedules import CronSchedule

NEW_YORK = ZoneInfo("America/New_York")
DEPLOYMENT: dict[str, Any] = yaml.safe_load((Path(__file__).parents[2] / "prefect.yaml").read_text())["deployments"][0]


def starts(after: datetime, n: int) -> list[datetime]:
    (declared,) = DEPLOYMENT["schedules"]
    assert declared["active"]
    schedule = DeclaredSchedule(cron=declared["cron"], timezone=declared["timezone"])
    return asyncio.run(CronSchedule(**schedule.model_dump()).get_dates(n, start=after))


def test_the_weekly_run_starts_on_sundays_at_two_in_new_york() -> None:
    dates = [date.astimezone(NEW_YORK) for date in starts(datetime(2026, 1, 1, tzinfo=UTC), 8)]

    assert {(f"{date:%A}", date.hour, date.minute) for date in dates} == {("Sunday", 2, 0)}
    assert dates[0].date().isoformat() == "2026-01-04"
    assert {(after - before).days for before, after in pairwise(dates)} == {7}


def test_on_both_daylight_saving_sundays_it_starts_once() -> None:
    # 2026-03-08: the hour from 02:00 does not exist. 2026-11-01: the hour from 01:00 comes twice.
    for sunday in ("2026-03-08", "2026-11-01"):
        saturday = datetime.fromisoformat(sunday).replace(tzinfo=NEW_YORK).astimezone(UTC)
        dates = [date.astimezone(NEW_YORK).date().isoformat() for date in starts(saturday, 4)]
        assert dates.count(sunday) == 1, dates


def test_one_training_at_a_time_and_the_others_wait() -> None:
    assert DEPLOYMENT["concurrency_limit"] == {"limit": 1, "collision_strategy": "ENQUEUE"}
