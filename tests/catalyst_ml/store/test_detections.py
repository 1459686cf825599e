"""Detections and labels in a real PostgreSQL: once, never changed, as they were known."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError
from typer.testing import CliRunner

from catalyst_ml.cli.main import build_app
from catalyst_ml.errors import DataContractError
from catalyst_ml.frames import EVENT_KEY, EVENTS, LABELS, PATTERNS, pattern_column
from catalyst_ml.market.corporate_actions import adjust_for_splits
from catalyst_ml.market.detector import detect_events
from catalyst_ml.market.labels import default_spec, label_events
from catalyst_ml.market.settlement import Collected, collect_events
from catalyst_ml.store.bar_import import write_bars
from catalyst_ml.store.bars import extract_bars, extract_instruments
from catalyst_ml.store.detections import EventLine, Settled, count_events
from tests.catalyst_ml.market.bar_frames import CALENDAR, CLOSES, QUIET, make_bars

pytestmark = pytest.mark.server
VERSION = "symmetric-test"
END = CLOSES[30]


def line(engine: Engine, *, dataset: str = "t", detector: str = "d-1") -> EventLine:
    return EventLine(engine, dataset, "1d", detector)


def make_events(n: int = 3) -> pd.DataFrame:
    """Events of AAA and BBB on the first sessions, each with other patterns, both sides of a bar."""
    rows = [(symbol, CLOSES[i], side) for symbol in ("AAA", "BBB") for i in range(n) for side in (-1, 1)]
    frame = pd.DataFrame(rows, columns=list(EVENT_KEY)).assign(
        direction_inferred=[i % 5 == 0 for i in range(len(rows))]
    )
    for k, pattern in enumerate(PATTERNS):
        frame[pattern_column(pattern)] = [i % len(PATTERNS) == k or i == 1 for i in range(len(rows))]
    dtypes = {column.name: column.dtype for column in EVENTS.columns}
    return EVENTS.validate(frame.astype(dtypes)[EVENTS.column_names])


def make_labels(events: pd.DataFrame, *, y: int = 1, net_return: float = 0.02) -> pd.DataFrame:
    frame = events[list(EVENT_KEY)].assign(
        y=np.int8(y),
        net_return=net_return,
        gross_return=net_return + 0.001,
        outcome=pd.Series("target", index=events.index, dtype="str"),
        entry_ts=END - pd.Timedelta(days=1),
        label_end=END,
    )
    return LABELS.validate(frame.astype({column.name: column.dtype for column in LABELS.columns}))


def n_rows(engine: Engine, table: str) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM catalyst_ml.{table}")).scalar_one())


def test_detections_come_back_as_they_were_and_are_stored_once(database: Engine) -> None:
    events = make_events()

    assert (line(database).write(events), line(database).write(events)) == (len(events), 0)

    pd.testing.assert_frame_equal(line(database).read(END)[EVENTS.column_names], events)
    assert line(database, detector="d-2").read(END).empty
    assert line(database, dataset="other").write(events.head(2)) == 2
    assert line(database).write(EVENTS.empty()) == 0


def test_a_detection_known_late_is_not_there_before(database: Engine) -> None:
    events = make_events()
    known_at = events["ts"].where(events["symbol"] == "AAA", CLOSES[20])
    line(database).write(events.assign(known_at=known_at))

    assert line(database).read(CLOSES[1])["symbol"].unique().tolist() == ["AAA"]
    assert len(line(database).read(CLOSES[1])) == 4
    assert len(line(database).read(CLOSES[20])) == len(events)


def test_a_bare_detection_is_refused(database: Engine) -> None:
    events = make_events()
    events.loc[0, [pattern_column(name) for name in PATTERNS]] = False

    with pytest.raises(DataContractError, match="1 of 12 detections carry no pattern, first AAA"):
        line(database).write(events)


def test_a_label_is_settled_once_and_seen_from_its_end_on(database: Engine) -> None:
    events = make_events()
    line(database).write(events)
    labels = make_labels(events.head(5))

    first = line(database).settle(labels, label_version=VERSION, as_of=END, settled_at=CLOSES[200])
    again = line(database).settle(labels, label_version=VERSION, as_of=CLOSES[40])

    assert (first, again) == (Settled(5, 0, 0), Settled(0, 0, 5))
    # Computed long after, but already known at its end.
    pd.testing.assert_frame_equal(line(database).labels(VERSION, END)[LABELS.column_names], labels)
    assert line(database).labels(VERSION, CLOSES[29]).empty
    assert line(database).labels("another version", END).empty
    assert len(line(database).pending(VERSION, END)) == len(events) - 5
    assert len(line(database).pending(VERSION, CLOSES[29])) == len(events)
    assert len(line(database).pending("another version", END)) == len(events)
    (counted,) = count_events(database)
    assert (counted.n_detections, counted.n_labelled, counted.n_corrections) == (len(events), 5, 0)


def test_a_corrected_outcome_is_a_further_row_and_the_old_one_stays_for_its_time(database: Engine) -> None:
    events = make_events()
    line(database).write(events)
    line(database).settle(make_labels(events), label_version=VERSION, as_of=END)
    other = make_labels(events)
    other.loc[0, ["y", "net_return"]] = [0, -0.01]
    known_late = other.assign(known_at=CLOSES[50])

    corrected = line(database).settle(known_late, label_version=VERSION, as_of=CLOSES[60])
    repeated = line(database).settle(known_late, label_version=VERSION, as_of=CLOSES[60])

    assert (corrected, repeated) == (Settled(0, 1, len(events) - 1), Settled(0, 0, len(events)))
    assert n_rows(database, "labels") == len(events) + 1
    assert line(database).labels(VERSION, CLOSES[49]).loc[0, "y"] == 1
    assert line(database).labels(VERSION, CLOSES[50]).loc[0, "y"] == 0
    # A replay of the past computes the old outcome again, and finds it there.
    replayed = line(database).settle(make_labels(events), label_version=VERSION, as_of=CLOSES[49])
    assert replayed == Settled(0, 0, len(events))


def test_an_outcome_that_changed_without_a_late_bar_holds_as_well(database: Engine) -> None:
    events = make_events(1)
    line(database).write(events)
    clock = CLOSES[200]  # both settled at one tick of the clock

    for y in (1, 0, 1, 1):
        line(database).settle(make_labels(events, y=y), label_version=VERSION, as_of=END, settled_at=clock)
        assert line(database).labels(VERSION, END)["y"].tolist() == [y] * len(events)

    assert n_rows(database, "labels") == 3 * len(events)


def test_what_holds_is_replaced_also_by_an_outcome_that_claims_to_be_known_earlier(database: Engine) -> None:
    events = make_events(1)
    line(database).write(events)
    late = make_labels(events).assign(known_at=CLOSES[50])
    line(database).settle(late, label_version=VERSION, as_of=CLOSES[60])
    other = make_labels(events, y=0)

    counts = [line(database).settle(other, label_version=VERSION, as_of=CLOSES[60]) for _ in range(2)]

    assert [count.corrected for count in counts] == [len(events), 0]
    assert line(database).labels(VERSION, CLOSES[60])["y"].tolist() == [0] * len(events)
    assert line(database).labels(VERSION, CLOSES[49]).empty


def test_the_last_bits_of_a_return_are_no_correction(database: Engine) -> None:
    events = make_events(1)
    line(database).write(events)
    line(database).settle(make_labels(events), label_version=VERSION, as_of=END)

    again = make_labels(events, net_return=0.02 + 1e-12)

    assert line(database).settle(again, label_version=VERSION, as_of=END).corrected == 0


def test_labels_that_cannot_be_are_refused_and_nothing_is_written(database: Engine) -> None:
    events = make_events()
    line(database).write(events.head(6))

    with pytest.raises(DataContractError, match="6 of 12 labels belong to no stored detection of 't' 1d d-1"):
        line(database).settle(make_labels(events), label_version=VERSION, as_of=END)
    with pytest.raises(DataContractError, match="12 of 12 labels end or were known after as_of"):
        line(database).settle(make_labels(events), label_version=VERSION, as_of=CLOSES[29])
    assert n_rows(database, "labels") == 0


@pytest.mark.parametrize("table", ["detections", "labels"])
def test_what_was_written_is_never_changed(database: Engine, table: str) -> None:
    events = make_events(1)
    line(database).write(events)
    line(database).settle(make_labels(events), label_version=VERSION, as_of=END)

    for statement in (f"UPDATE catalyst_ml.{table} SET known_at = now()", f"DELETE FROM catalyst_ml.{table}"):
        with pytest.raises(DBAPIError, match="append-only"), database.begin() as connection:
            connection.execute(text(statement))


SETTLE = """
import sys
import pandas as pd
from sqlalchemy import create_engine
from catalyst_ml.store.detections import EventLine
labels = pd.read_parquet(sys.argv[2])
line = EventLine(create_engine(sys.argv[1]), "t", "1d", "d-1")
print(line.settle(labels, label_version="symmetric-test", as_of=labels["label_end"].max()).new)
"""


def start_settling(url: str, labels: pd.DataFrame, folder: Path) -> subprocess.Popen[str]:
    labels.to_parquet(folder / "labels.parquet")
    arguments = [sys.executable, "-c", SETTLE, url, str(folder / "labels.parquet")]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3])


@contextmanager
def nobody_may_write(engine: Engine) -> Iterator[Connection]:
    with engine.begin() as connection:
        connection.execute(text("LOCK TABLE catalyst_ml.labels IN EXCLUSIVE MODE"))
        yield connection


def wait_until_waiting(connection: Connection, n: int) -> None:
    query = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    deadline = time.monotonic() + 60
    while connection.execute(query).scalar_one() < n:
        assert time.monotonic() < deadline, "the other processes never came to the lock"
        time.sleep(0.05)


def test_two_processes_that_settle_at_once_write_each_label_once(
    database: Engine, database_url: str, tmp_path: Path
) -> None:
    events = make_events(20)
    line(database).write(events)
    # One label first: the version's own row would make the second process wait by accident.
    line(database).settle(make_labels(events.head(1)), label_version=VERSION, as_of=END)

    with nobody_may_write(database) as connection:
        both = [start_settling(database_url, make_labels(events), tmp_path) for _ in range(2)]
        wait_until_waiting(connection, 2)

    assert sorted(int(process.communicate(timeout=60)[0]) for process in both) == [0, len(events) - 1]
    assert n_rows(database, "labels") == len(events)


def test_a_process_killed_while_it_writes_leaves_nothing_and_the_next_one_writes_all(
    database: Engine, database_url: str, tmp_path: Path
) -> None:
    events = make_events(20)
    line(database).write(events)
    with nobody_may_write(database) as connection:
        process = start_settling(database_url, make_labels(events), tmp_path)
        wait_until_waiting(connection, 1)
        process.kill()
        process.communicate()

    settled = line(database).settle(make_labels(events), label_version=VERSION, as_of=END)

    assert settled == Settled(new=len(events), corrected=0, unchanged=0)


def collect(engine: Engine, as_of: pd.Timestamp, kind: str = "symmetric") -> Collected:
    bars = adjust_for_splits(extract_bars(engine, dataset="t", timeframe="1d", as_of=as_of), as_of=as_of)
    instruments = extract_instruments(engine, dataset="t")
    spec = default_spec("1d", kind)
    return collect_events(line(engine), bars, instruments, spec, timeframe="1d", calendar=CALENDAR, as_of=as_of)


def store_bars(engine: Engine, bars: pd.DataFrame, now: pd.Timestamp) -> None:
    write_bars(engine, bars, dataset="t", timeframe="1d", source="s", name="f", now=now)


HAMMER = (100.4, 100.65, 99.0, 100.6, 1_000.0)
REACHES_TARGET = (100.7, 102.9, 100.5, 101.6, 1_000.0)
COMES_BACK = (101.4, 101.6, 100.2, 101.0, 1_000.0)


def test_a_bar_corrected_after_settlement_is_settled_anew_from_when_it_was_known(database: Engine) -> None:
    # A hammer on session 25, then a bar whose high reaches the target until it is corrected on session 35.
    bars = make_bars([QUIET] * 25 + [HAMMER, REACHES_TARGET, COMES_BACK] + [QUIET] * 20)
    store_bars(database, bars, now=CLOSES[30])
    before = collect(database, CLOSES[30])
    correction = bars.iloc[[26]].assign(high=101.7)
    store_bars(database, correction, now=CLOSES[35])

    after = collect(database, CLOSES[40])

    assert (before.n_new, before.n_known, before.settled.new) == (1, 0, 1)
    assert (after.n_new, after.n_known, after.n_seen_before_only) == (0, 1, 0)
    assert (after.settled.new, after.settled.corrected, after.settled.unchanged) == (0, 1, 0)
    version = default_spec().version
    at_the_time, later = (line(database).labels(version, as_of).iloc[0] for as_of in (CLOSES[34], CLOSES[35]))
    assert (at_the_time["outcome"], at_the_time["known_at"]) == ("target", CLOSES[26])
    assert (later["outcome"], later["known_at"], later["label_end"]) == ("timeout", CLOSES[35], CLOSES[30])


def test_a_detection_unseen_after_a_correction_stays_and_one_newly_seen_is_known_from_then_on(database: Engine) -> None:
    bars = make_bars([QUIET] * 25 + [HAMMER] + [QUIET] * 20)
    store_bars(database, bars, now=CLOSES[45])
    collect(database, CLOSES[45])
    no_hammer = bars.iloc[[25]].assign(low=100.35)
    new_hammer = bars.iloc[[30]].assign(**dict(zip(["open", "high", "low", "close"], HAMMER, strict=False)))
    swapped = pd.concat([no_hammer, new_hammer])
    store_bars(database, swapped, now=CLOSES[50])

    found = collect(database, CLOSES[50])

    assert (found.n_events, found.n_new, found.n_seen_before_only) == (1, 1, 1)
    assert line(database).read(CLOSES[49])["ts"].tolist() == [CLOSES[25]]
    assert line(database).read(CLOSES[50])["known_at"].tolist() == [CLOSES[25], CLOSES[50]]


def test_what_time_will_tell_is_pending_and_settled_by_a_later_pass(database: Engine) -> None:
    store_bars(database, make_bars([QUIET] * 25 + [HAMMER] + [QUIET] * 20), now=CLOSES[45])

    early, later = collect(database, CLOSES[29]), collect(database, CLOSES[30])

    assert (early.settled.new, early.n_pending) == (0, 1)
    assert (later.n_new, later.settled.new, later.n_pending) == (0, 1, 0)
    assert collect(database, CLOSES[30], "market_neutral").unlabelled == {"small_universe": 1}


def test_a_replay_before_a_correction_leaves_out_what_is_vouched_for_only_after_it(database: Engine) -> None:
    bars = make_bars([QUIET] * 25 + [HAMMER] + [QUIET] * 20)
    store_bars(database, bars, now=CLOSES[45])
    store_bars(database, bars.iloc[[25]].assign(volume=1_001.0), now=CLOSES[50])
    at_the_end = collect(database, CLOSES[50])

    replay = collect(database, CLOSES[45])

    assert (at_the_end.n_new, at_the_end.settled.new) == (1, 1)
    assert (replay.n_events, replay.n_new, replay.n_known_later, replay.settled.new) == (1, 0, 1, 0)


@pytest.mark.real_data
@pytest.mark.skipif("CATALYST_MARKET_DATA" not in os.environ, reason="CATALYST_MARKET_DATA is not set")
@pytest.mark.parametrize("kind", ["symmetric", "market_neutral"])
def test_what_the_store_says_of_the_past_is_what_the_real_feed_knew_then(
    database: Engine, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A feed whose rows are published day by day, some of them restated the next day; stored in one go at the end."""
    feed = pd.read_parquet(Path(os.environ["CATALYST_MARKET_DATA"]) / "bars_feed.parquet")
    restated = feed.groupby(["symbol", "date"])["close"].nunique().loc[lambda n: n > 1].index.get_level_values(0)
    feed[feed["symbol"].isin(restated.unique()[:25])].to_parquet(tmp_path / "bars_feed.parquet")
    monkeypatch.setenv("DATABASE_URL", database_url)
    arguments = ["bars", "import", str(tmp_path / "bars_feed.parquet"), "--dataset", "t"]
    assert CliRunner().invoke(build_app(), arguments).exit_code == 0
    end = CALENDAR.closes(pd.DatetimeIndex(["2016-05-31"]))[0]
    assert len(line(database).late_bars(end)) > 100
    collect(database, end, kind)
    version = default_spec("1d", kind).version

    for day in ("2015-06-30", "2015-09-30", "2016-01-29"):
        as_of = CALENDAR.closes(pd.DatetimeIndex([day]))[0]
        remembered = line(database).labels(version, as_of)
        bars = adjust_for_splits(extract_bars(database, dataset="t", timeframe="1d", as_of=as_of), as_of=as_of)
        instruments = extract_instruments(database, dataset="t")
        events = detect_events(bars, instruments)
        then = label_events(
            events, bars, default_spec("1d", kind), calendar=CALENDAR, as_of=as_of, instruments=instruments
        ).labels
        both = then.merge(remembered, on=list(EVENT_KEY), suffixes=("", "_remembered"))
        assert len(both) == len(remembered) > 0.98 * len(then) > 300
        pd.testing.assert_series_equal(both["y"], both["y_remembered"], check_names=False)
        pd.testing.assert_series_equal(both["label_end"], both["label_end_remembered"], check_names=False)
        np.testing.assert_allclose(both["net_return"], both["net_return_remembered"], atol=1e-9)
