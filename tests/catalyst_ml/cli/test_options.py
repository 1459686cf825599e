from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from catalyst_ml.cli.options import moment_to_check

NOW = datetime(2016, 6, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("asked", "moment"),
    [
        (None, NOW),
        (datetime.fromisoformat("2016-05-27"), datetime(2016, 5, 27, tzinfo=UTC)),
        (datetime(2016, 5, 27, 1, tzinfo=timezone(timedelta(hours=2))), datetime(2016, 5, 26, 23, tzinfo=UTC)),
    ],
)
def test_a_moment_to_check_is_in_utc_and_now_unless_asked(asked: datetime | None, moment: datetime) -> None:
    found = moment_to_check(asked, NOW)

    assert found == moment
    assert found.utcoffset() == timedelta(0)
