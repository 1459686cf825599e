from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import DBAPIError

from catalyst_ml.errors import DataContractError
from catalyst_ml.store.attempts import AttemptLine, NewAttempt, read_attempts

pytestmark = pytest.mark.server
ENDED = datetime(2024, 7, 1, tzinfo=UTC)
TRIED = NewAttempt(
    kind="search",
    subject="logistic",
    configuration={"l2": 300.0},
    data_fingerprint="abc",
    first_tested=ENDED - timedelta(days=200),
    ended=ENDED,
    metric="log_loss",
    value=0.69,
    n_rows=1_000,
    n_sessions=130,
)


@pytest.fixture
def line(database: Engine) -> AttemptLine:
    return AttemptLine(database, "t", "1d", "symmetric")


def test_the_same_attempt_is_kept_once_and_another_configuration_window_or_data_is_a_further_one(
    line: AttemptLine,
) -> None:
    others = [
        replace(TRIED, configuration={"l2": 301.0}),
        replace(TRIED, ended=ENDED + timedelta(days=1)),
        replace(TRIED, data_fingerprint="def"),
    ]
    assert line.write([TRIED], run_id="week 1") == 1
    assert line.write([TRIED, TRIED], run_id="week 1, again") == 0
    assert line.write([TRIED, *others], run_id="week 2") == 3

    kept = line.read()
    assert [attempt.run_id for attempt in kept] == ["week 2"] * 3 + ["week 1"]
    assert (kept[-1].configuration, kept[-1].value, kept[-1].ended) == ({"l2": 300.0}, 0.69, ENDED)


def test_lines_do_not_see_each_other(line: AttemptLine, database: Engine) -> None:
    line.write([TRIED], run_id="r")
    other = replace(line, label_version="two_to_one")
    assert other.read() == []
    assert other.adopted_before(ENDED + timedelta(days=1)) == {}
    assert other.write([TRIED], run_id="r") == 1
    assert len(read_attempts(database, dataset="t")) == 2
    assert read_attempts(database, dataset="t", kind="idea") == []
    assert len(read_attempts(database, limit=1)) == 1


def test_the_adopted_configuration_is_that_of_the_latest_search_before_the_moment(line: AttemptLine) -> None:
    for quarter, l2 in enumerate((1.0, 2.0, 3.0)):
        ended = ENDED + timedelta(days=91 * quarter)
        rejected = replace(TRIED, configuration={"l2": l2 * 10}, ended=ended)
        adopted = replace(TRIED, configuration={"l2": l2}, ended=ended, is_adopted=True)
        line.write([rejected, *([adopted] if quarter < 2 else [])], run_id=f"quarter {quarter}")

    assert line.adopted_before(ENDED) == {}
    assert line.adopted_before(ENDED + timedelta(days=1)) == {"logistic": {"l2": 1.0}}
    assert line.adopted_before(ENDED + timedelta(days=400)) == {"logistic": {"l2": 2.0}}


@pytest.mark.parametrize("changes", [{"value": float("nan")}, {"sharpe": float("inf")}, {"ended": ENDED.min}])
def test_a_bad_attempt_refuses_the_whole_lot(line: AttemptLine, changes: dict[str, object]) -> None:
    changes = {
        name: value.replace(tzinfo=UTC) if isinstance(value, datetime) else value for name, value in changes.items()
    }
    with pytest.raises(DataContractError, match="Nothing was written"):
        line.write([TRIED, replace(TRIED, **changes)], run_id="r")  # type: ignore[arg-type]
    assert line.read() == []


def test_the_ledger_survives_a_restart_and_cannot_be_rewritten(line: AttemptLine, database_url: str) -> None:
    line.write([TRIED], run_id="r")
    line.engine.dispose()

    engine = create_engine(database_url)
    assert len(read_attempts(engine)) == 1
    for statement in ("DELETE FROM catalyst_ml.attempts", "UPDATE catalyst_ml.attempts SET value = 0"):
        with pytest.raises(DBAPIError), engine.begin() as connection:
            connection.execute(text(statement))
    engine.dispose()
