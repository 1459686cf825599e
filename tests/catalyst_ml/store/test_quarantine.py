"""The quarantine forgets nothing: found again, released, changed since, corrected and undone."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from catalyst_ml.errors import ConfigurationError, DataContractError
from catalyst_ml.quality.bar_suite import check_bars
from catalyst_ml.store import quarantine
from catalyst_ml.store.bar_import import write_bars
from catalyst_ml.store.bars import bars_fingerprint, extract_bars, extract_instruments
from tests.catalyst_ml.quality.dirty_bars import CALENDAR, CLOSES, quiet_bars, with_price_scale, with_value

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
LINE = {"dataset": "real", "timeframe": "1d"}
BREAK = CLOSES[20]


def finding(symbol: str = "BBB", *, opened: float = 50.0, rule: str = "price_scale_holds_overnight") -> pd.DataFrame:
    values = {"open": opened, "close": 51.0, "previous_close": 100.0, "split_factor": 1.0}
    return pd.DataFrame(
        [
            {
                "rule": rule,
                "symbol": symbol,
                "ts": BREAK,
                "detail": f"opened at {opened}",
                "row_values": json.dumps(values),
            }
        ]
    )


def put(
    engine: Engine, findings: pd.DataFrame, *, as_of: datetime = NOW, now: datetime = NOW, subject: str = "bar"
) -> quarantine.SetAside:
    return quarantine.set_aside(engine, findings, **LINE, subject=subject, as_of=as_of, now=now, by="test")


def free(engine: Engine, *ids: int, **options: object) -> list[quarantine.Quarantined]:
    return quarantine.release(engine, ids, **{"reason": "seen in the news", "by": "trader", "now": NOW, **options})


def only_row(engine: Engine) -> quarantine.Quarantined:
    (row,) = quarantine.list_quarantine(engine, released=True)
    return row


def store_broken_bars(engine: Engine, source: str = "vendor") -> pd.DataFrame:
    bars = with_price_scale(quiet_bars(60), "BBB", 20, 2.0)
    write_bars(engine, bars, **LINE, source=source, name="file", now=NOW)
    return bars


def check_stored(engine: Engine, *, as_of: datetime = NOW) -> quarantine.SetAside:
    bars = extract_bars(engine, **LINE, as_of=as_of)
    found = check_bars(bars, extract_instruments(engine, dataset="real"), CALENDAR, only=[])
    return put(engine, found.breaks, as_of=as_of)


def test_a_finding_is_written_once_and_holds_until_it_is_released(database):
    first, again = put(database, finding()), put(database, finding(), now=NOW + timedelta(days=7))

    assert (first.n_new, again.n_new, again.n_known) == (1, 0, 1)
    pd.testing.assert_frame_equal(again.held, finding())
    row = only_row(database)
    assert (row.found_at, row.last_found_at, row.released_at) == (NOW, NOW + timedelta(days=7), None)


def test_released_as_real_it_stays_released_while_it_holds_what_it_held(database):
    put(database, finding())
    free(database, only_row(database).id)

    again = put(database, finding())

    assert (len(again.held), again.n_released, again.n_reopened) == (0, 1, 0)
    assert quarantine.list_quarantine(database) == []
    released = quarantine.released_bars(database, **LINE)
    assert released.to_numpy().tolist() == [["BBB", BREAK]]


def test_with_other_values_a_released_row_is_opened_again_and_the_trace_keeps_every_step(database):
    put(database, finding())
    free(database, only_row(database).id)

    again = put(database, finding(opened=47.0), now=NOW + timedelta(days=1))

    assert (len(again.held), again.n_reopened) == (1, 1)
    row = only_row(database)
    assert (row.released_at, row.release_reason, row.row_values["open"]) == (None, None, 47.0)
    assert [(step.action, step.by) for step in quarantine.history(database, row.id)] == [
        ("found", "test"),
        ("released", "trader"),
        ("reopened", "test"),
    ]


def test_events_of_both_directions_and_other_rules_are_rows_of_their_own(database):
    both = pd.concat([finding().assign(direction=side) for side in (-1, 1)], ignore_index=True)

    assert put(database, both, subject="event").n_new == 2
    assert put(database, finding()).n_new == 1
    assert put(database, finding(rule="recorded_split_shows_in_the_price")).n_new == 1
    assert put(database, both.head(0), subject="event").held.empty


def test_the_same_place_twice_in_one_check_is_refused(database):
    with pytest.raises(DataContractError, match="twice"):
        put(database, pd.concat([finding(), finding()], ignore_index=True))


def test_many_who_find_the_same_at_once_write_one_row(database):
    made: list[int] = []
    threads = [threading.Thread(target=lambda: made.append(put(database, finding()).n_new)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(made) == [0, 0, 0, 1]
    assert len(quarantine.history(database, only_row(database).id)) == 1


def test_released_as_a_split_the_bar_carries_the_factor_from_its_own_close_on(database):
    store_broken_bars(database)
    before = bars_fingerprint(database, **LINE, as_of=NOW)
    check_stored(database)

    free(database, only_row(database).id, split_factor=2.0)

    stored = extract_bars(database, **LINE, as_of=BREAK + timedelta(seconds=1))
    assert stored.loc[stored["split_factor"] != 1.0, ["symbol", "ts", "split_factor"]].to_numpy().tolist() == [
        ["BBB", BREAK, 2.0]
    ]
    assert check_stored(database).held.empty
    assert bars_fingerprint(database, **LINE, as_of=NOW) != before
    assert quarantine.released_bars(database, **LINE).empty


def test_at_its_own_close_where_the_correction_is_not_known_yet_the_split_still_holds_and_is_not_reopened(database):
    store_broken_bars(database)
    check_stored(database)
    free(database, only_row(database).id, split_factor=2.0)

    then = check_stored(database, as_of=BREAK.to_pydatetime())

    assert (len(then.held), then.n_reopened) == (1, 0)
    assert only_row(database).split_factor == 2.0


def test_a_correction_undone_by_importing_the_file_again_opens_the_row_again(database):
    bars = store_broken_bars(database)
    check_stored(database)
    free(database, only_row(database).id, split_factor=2.0)
    write_bars(database, with_value(bars, "AAA", 3, volume=5.0), **LINE, source="vendor", name="file", now=NOW)

    again = check_stored(database, as_of=NOW + timedelta(days=1))

    assert (len(again.held), again.n_reopened) == (1, 1)
    assert only_row(database).split_factor is None
    steps = quarantine.history(database, only_row(database).id)
    assert steps[-1].reason.startswith("the correction is gone")


def test_releasing_twice_writes_nothing_twice_and_keeps_the_first_reason(database):
    store_broken_bars(database)
    check_stored(database)
    number = only_row(database).id

    free(database, number, split_factor=2.0)
    (row,) = free(database, number, split_factor=3.0, reason="another thought")

    assert (row.split_factor, row.release_reason) == (2.0, "seen in the news")
    assert [step.action for step in quarantine.history(database, number)] == ["found", "released"]
    with database.connect() as connection:
        n_rows = connection.execute(
            text("SELECT count(*) FROM catalyst_ml.named_bars WHERE symbol = 'BBB' AND ts = :ts"), {"ts": BREAK}
        ).scalar()
    assert n_rows == 2


def test_every_source_that_holds_the_bar_as_found_is_corrected_and_no_other(database):
    bars = store_broken_bars(database, "one")
    write_bars(database, bars, **LINE, source="two", name="file", now=NOW)
    other = with_value(bars, "BBB", 20, open=99.0, high=100.0, low=40.0)
    write_bars(database, other, **LINE, source="whole", name="file", now=NOW)
    put(database, check_bars(bars, extract_instruments(database, dataset="real"), CALENDAR, only=[]).breaks)

    free(database, only_row(database).id, split_factor=2.0)

    with database.connect() as connection:
        corrected = connection.execute(
            text("SELECT source FROM catalyst_ml.named_bars WHERE split_factor = 2 ORDER BY source")
        ).scalars()
        assert list(corrected) == ["one", "two"]


def test_a_bar_that_changed_since_is_not_given_a_factor(database):
    bars = store_broken_bars(database)
    check_stored(database)
    whole = with_value(bars, "BBB", 20, open=99.0, high=100.0)
    write_bars(database, whole, **LINE, source="vendor", name="file", now=NOW)

    with pytest.raises(DataContractError, match="vendor opens at 99"):
        free(database, only_row(database).id, split_factor=2.0)
    assert only_row(database).released_at is None


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"reason": "  "}, "reason and name"),
        ({"by": ""}, "reason and name"),
        ({"split_factor": 0.0}, "split factor 0.0"),
        ({"split_factor": float("nan")}, "split factor nan"),
        ({"split_factor": 1e9}, "between 0.001 and 1000"),
    ],
)
def test_a_release_that_says_nothing_or_makes_no_sense_is_refused(database, options, says):
    put(database, finding())

    with pytest.raises(ConfigurationError, match=says):
        free(database, only_row(database).id, **options)
    assert only_row(database).released_at is None


def test_unknown_ids_release_nothing_and_events_have_no_factor(database):
    put(database, finding())
    put(database, finding().assign(direction=1), subject="event")
    rows = {row.subject: row.id for row in quarantine.list_quarantine(database)}

    with pytest.raises(ConfigurationError, match="no row has the id 999"):
        free(database, rows["bar"], 999)
    with pytest.raises(ConfigurationError, match="only a bar has a split factor"):
        free(database, rows["event"], split_factor=2.0)
    assert len(quarantine.list_quarantine(database)) == 2


def test_the_trace_can_neither_be_changed_nor_deleted(database):
    put(database, finding())

    for statement in ("DELETE FROM", "UPDATE"):
        tail = " SET by = 'nobody'" if statement == "UPDATE" else ""
        with pytest.raises(DBAPIError, match="append-only"), database.begin() as connection:
            connection.execute(text(f"{statement} catalyst_ml.quarantine_history{tail}"))


def test_a_look_says_what_setting_aside_would_say_and_writes_nothing(database):
    def both(findings: pd.DataFrame, *, as_of: datetime = NOW) -> None:
        before = quarantine.list_quarantine(database, released=True)
        looked = quarantine.look_up(database, findings, **LINE, subject="bar", as_of=as_of)
        assert quarantine.list_quarantine(database, released=True) == before
        put_aside = put(database, findings, as_of=as_of)
        pd.testing.assert_frame_equal(looked.held, put_aside.held)
        counts = ("n_new", "n_known", "n_reopened", "n_released")
        assert [getattr(looked, name) for name in counts] == [getattr(put_aside, name) for name in counts]

    both(finding().iloc[:0])
    both(finding())  # new
    both(finding())  # known
    free(database, only_row(database).id)
    both(finding())  # released
    both(finding(opened=40.0))  # opened again, with other values
    both(pd.concat([finding(opened=40.0), finding("AAA")], ignore_index=True))  # one known, one new


def test_the_fingerprint_of_releases_changes_with_a_release_and_with_nothing_else(database):
    def fingerprint() -> str:
        return quarantine.releases_fingerprint(database, **LINE)

    empty = fingerprint()
    put(database, finding())
    assert fingerprint() == empty
    free(database, only_row(database).id)
    released = fingerprint()
    put(database, finding())
    assert released != empty
    assert fingerprint() == released
    assert quarantine.releases_fingerprint(database, dataset="other", timeframe="1d") == empty
