from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from catalyst_ml.cli.options import moment_asked

NOW = datetime(2016, 6, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("asked", "moment"),
    [
        (None, NOW),
        (datetime.fromisoformat("2016-05-27"), datetime(2016, 5, 28, 3, 59, 59, 999_999, tzinfo=UTC)),
        (datetime.fromisoformat("2016-01-27"), datetime(2016, 1, 28, 4, 59, 59, 999_999, tzinfo=UTC)),
        (datetime.fromisoformat("2016-06-01"), NOW),
        (datetime(2016, 5, 27, 1, tzinfo=timezone(timedelta(hours=2))), datetime(2016, 5, 26, 23, tzinfo=UTC)),
        (datetime(2016, 7, 1, tzinfo=UTC), datetime(2016, 7, 1, tzinfo=UTC)),
    ],
)
def test_a_bare_date_is_the_end_of_that_day_in_new_york_and_nothing_is_now(
    asked: datetime | None, moment: datetime
) -> None:
    found = moment_asked(asked, NOW)

    assert found == moment
    assert found.utcoffset() == timedelta(0)
