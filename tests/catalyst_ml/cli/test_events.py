from __future__ import annotations

from functools import partial

import pytest
from sqlalchemy import Engine

from catalyst_ml.errors import ConfigurationError, InsufficientHistory
from catalyst_ml.store.bar_import import write_bars
from tests.catalyst_ml.cli.command_line import printed
from tests.catalyst_ml.market.bar_frames import CLOSES, QUIET, make_bars

pytestmark = pytest.mark.server
events = partial(printed, "events")
HAMMER = (100.4, 100.65, 99.0, 100.6, 1_000.0)


@pytest.fixture
def stored(database: Engine, environment: None, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Fifty bars of one stock with hammers on the sessions 25, 35 and 48."""
    candles = [HAMMER if i in (25, 35, 48) else QUIET for i in range(50)]
    write_bars(database, make_bars(candles), dataset="t", timeframe="1d", source="s", name="f", now=CLOSES[60])
    monkeypatch.setenv("COLUMNS", "80")
    return database


def counts(output: str) -> dict[str, int]:
    """The lines of ``collect`` that end with a number."""
    pairs = (line.rpartition(" ") for line in output.splitlines()[2:])
    return {name.strip(): int(number) for name, _, number in pairs}


@pytest.mark.usefixtures("stored")
def test_collecting_twice_stores_and_settles_once() -> None:
    assert events("list").startswith("No events yet")

    first, second = (counts(events("collect", "--dataset", "t")) for _ in range(2))

    assert first | {"settled before": 0} == first
    assert (first["new"], first["known"], first["labels settled"], first["pending"]) == (3, 0, 2, 1)
    assert (second["new"], second["known"], second["labels settled"], second["settled before"]) == (0, 3, 0, 2)
    listed = events("list").splitlines()
    assert listed[0] == "t 1d, detector candles-2: 3 events, 2014-02-07 to 2014-03-13"
    assert listed[1].strip() == "symmetric-1.0atr-5s-5bp.b4d9e8: 2 settled"


@pytest.mark.usefixtures("stored")
def test_a_replay_stores_what_was_seen_then_and_show_fits_a_terminal_of_eighty_columns() -> None:
    day = f"{CLOSES[30]:%Y-%m-%d}"

    early = counts(events("collect", "--dataset", "t", "--as-of", day))
    later = counts(events("collect", "--dataset", "t"))
    shown = events("show", "--dataset", "t", "--as-of", day)

    assert (early["new"], early["labels settled"]) == (1, 1)
    assert (later["new"], later["labels settled"], later["settled before"]) == (2, 1, 1)
    assert "1 events, 1 of them settled" in shown
    (row,) = [line for line in shown.splitlines() if "hammer" in line]
    assert row.split()[:4] == ["hammer", "up", "1", "1"]
    assert max(map(len, shown.splitlines()[2:])) <= 80
    assert "3 events, 2 of them settled" in events("show", "--dataset", "t")


@pytest.mark.usefixtures("stored")
def test_every_label_version_is_settled_on_its_own_and_unlabelled_events_have_their_reason() -> None:
    events("collect", "--dataset", "t")

    neutral = counts(events("collect", "--dataset", "t", "--label", "market_neutral"))

    assert (neutral["new"], neutral["labels settled"], neutral["unlabelled"]) == (0, 0, 2)
    assert neutral["small_universe"] == 2
    assert "0 of them settled" in events("show", "--dataset", "t", "--label", "market_neutral")


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("collect", "--dataset", "nothing"), InsufficientHistory, "holds no 1d bars"),
        (("collect", "--dataset", "t", "--as-of", "1999-01-01"), InsufficientHistory, "no bar was known"),
        (("collect", "--dataset", "t", "--timeframe", "3x"), ConfigurationError, "timeframe '3x'"),
        (("show", "--dataset", "t"), InsufficientHistory, "catalyst-ml events collect --dataset t"),
    ],
)
def test_what_cannot_be_is_said_with_what_to_do(arguments: tuple[str, ...], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        events(*arguments)


@pytest.mark.usefixtures("stored")
def test_another_calendar_is_another_line_and_spoils_nothing() -> None:
    events("collect", "--dataset", "t")
    events("collect", "--dataset", "t", "--calendar", "24/7")

    assert "t 1d, detector candles-2: 3 events" in events("list")
    assert "t 1d, detector candles-2@24/7" in events("list")
