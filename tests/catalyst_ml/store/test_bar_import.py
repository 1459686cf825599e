from __future__ import annotations

import hashlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Engine, create_engine, text

from catalyst_ml.errors import ConfigurationError, DataContractError
from catalyst_ml.frames import BARS
from catalyst_ml.refused_rows import RefusedRow
from catalyst_ml.store.bar_import import import_bars, write_bars
from catalyst_ml.store.bar_lines import set_priority
from catalyst_ml.store.bar_source import BarFileReport
from catalyst_ml.store.bars import (
    bar_coverage,
    bars_fingerprint,
    extract_bars,
    extract_instruments,
    extract_news,
    write_instruments,
    write_news,
)
from tests.reference.bar_history_oracle import BarHistory

pytestmark = pytest.mark.server

NOW = datetime(2015, 3, 10, 12, tzinfo=UTC)
LATER = datetime(2015, 3, 11, 12, tzinfo=UTC)
LINE = {"dataset": "t", "timeframe": "1d"}


def make_bars(symbols: tuple[str, ...] = ("AAPL", "IBM"), n_sessions: int = 3, close: float = 10.0) -> pd.DataFrame:
    ts = pd.date_range("2015-03-02 21:00", periods=n_sessions, freq="D", tz="UTC", unit="us")
    frame = pd.DataFrame(
        {
            "symbol": pd.Series(np.repeat(symbols, n_sessions), dtype="str"),
            "ts": pd.DatetimeIndex(np.tile(ts, len(symbols))),
            "open": 10.0,
            "high": 12.0,
            "low": 9.0,
            "close": close,
            "volume": 1_000.0,
            "split_factor": 1.0,
        }
    )
    return frame[BARS.column_names]


@dataclass(frozen=True)
class FakeBatch:
    bars: pd.DataFrame
    refused: tuple = ()
    n_skipped: int = 0
    fraction_done: float = 1.0
    off_cent: np.ndarray | None = None

    @property
    def n_read(self) -> int:
        return len(self.bars) + len(self.refused)


@dataclass(frozen=True)
class FakeFile:
    """Batches from memory; ``fails`` breaks off like a file that turns out to be no table."""

    frames: list[pd.DataFrame]
    source: str = "fake"
    refused: tuple[RefusedRow, ...] = ()
    off_cent: bool = False
    name: str = "fake.csv"
    stamp: str = "end"
    notes: tuple[str, ...] = ()
    fails: bool = False

    @property
    def sha256(self) -> str:
        return hashlib.sha256("".join(frame.to_csv() for frame in self.frames).encode()).hexdigest()

    @property
    def options(self) -> dict[str, str]:
        return {"source": self.source}

    def batches(self):
        row = 2
        for frame in self.frames:
            rows = np.arange(row, row + len(frame))
            off_cent = np.full(len(frame), self.off_cent)
            yield FakeBatch(frame.assign(source=self.source, row=rows), self.refused, off_cent=off_cent)
            row += len(frame)
        if self.fails:
            raise DataContractError("fake.csv: the table is broken")


def store(
    engine: Engine, *frames: pd.DataFrame, now: datetime = NOW, said: dict | None = None, **options
) -> BarFileReport:
    """Import frames as the batches of one file; ``said`` is what the user says of it."""
    return import_bars(engine, [FakeFile(list(frames), **options)], now=now, **LINE, **(said or {})).files[0]


def counts(report: BarFileReport) -> dict[str, int]:
    names = ("new", "unchanged", "corrected", "repeated", "refused")
    assert report.read == sum(getattr(report, name) for name in names)
    return {name: getattr(report, name) for name in names if getattr(report, name)}


def test_extracting_returns_exactly_what_was_imported(database: Engine) -> None:
    bars = make_bars()
    bars["close"] = [10.1, 0.1 + 0.2, 11.0, 1e-7, 9.999999999, 12.0]

    report = store(database, bars)

    assert (report.read, report.new, report.unchanged, report.corrected) == (6, 6, 0, 0)
    pd.testing.assert_frame_equal(extract_bars(database, as_of=NOW, **LINE), bars)


def test_the_same_file_is_recognised_and_not_read_again(database: Engine) -> None:
    first = store(database, make_bars(), make_bars(("A",), 1), make_bars(("A",), 1))
    before = bars_fingerprint(database, as_of=LATER, **LINE)
    file = FakeFile([make_bars(), make_bars(("A",), 1), make_bars(("A",), 1)], fails=True)

    again = import_bars(database, [file], now=LATER, **LINE).files[0]

    assert (counts(first), first.recognised) == ({"new": 7, "repeated": 1}, False)
    assert (counts(again), again.recognised) == ({"unchanged": 7, "repeated": 1}, True)
    assert again.notes[-1].startswith("recognised: the same file was imported")
    assert bars_fingerprint(database, as_of=LATER, **LINE) == before
    with pytest.raises(DataContractError, match="broken"):
        import_bars(database, [file], now=LATER, reread=True, **LINE)


def test_a_file_is_read_again_once_that_could_change_something(database: Engine) -> None:
    future = RefusedRow("fake.csv", 9, "IBM", "2015-03-20", "bar_is_not_in_the_future", "")
    other_dataset = {"dataset": "u", "timeframe": "1d"}
    import_bars(database, [FakeFile([make_bars()], refused=(future,))], now=NOW, **other_dataset)
    again = import_bars(database, [FakeFile([make_bars()], refused=(future,))], now=LATER, **other_dataset).files[0]
    assert not again.recognised  # by now the refused bar may have closed

    store(database, make_bars())
    assert not store(database, make_bars(), now=LATER, name="renamed.csv").recognised
    assert not store(database, make_bars(), now=LATER, said={"kind": "index"}).recognised
    assert store(database, make_bars(), now=LATER).recognised
    store(database, make_bars(close=11.0), now=LATER)
    assert counts(store(database, make_bars(), now=LATER)) == {"corrected": 6}


def test_reading_the_same_bars_again_under_another_name_writes_nothing(database: Engine) -> None:
    store(database, make_bars())
    before = bars_fingerprint(database, as_of=LATER, **LINE)

    report = store(database, make_bars(), now=LATER, name="copy.csv")

    assert counts(report) == {"unchanged": 6}
    assert bars_fingerprint(database, as_of=LATER, **LINE) == before


def test_a_correction_is_seen_from_the_moment_it_was_known_and_not_before(database: Engine) -> None:
    store(database, make_bars())
    report = store(database, make_bars(close=11.0), now=LATER)

    assert report.corrected == 6
    assert set(extract_bars(database, as_of=NOW, **LINE)["close"]) == {10.0}
    assert set(extract_bars(database, as_of=LATER, **LINE)["close"]) == {11.0}


def test_a_correction_taken_back_at_the_same_instant_still_wins(database: Engine) -> None:
    store(database, make_bars())
    store(database, make_bars(close=11.0), now=LATER)
    report = store(database, make_bars(close=10.0), now=LATER)

    assert report.corrected == 6
    after = pd.Timestamp(LATER) + pd.Timedelta(seconds=1)
    assert set(extract_bars(database, as_of=after, **LINE)["close"]) == {10.0}


def test_bars_closed_after_as_of_or_before_start_are_not_seen(database: Engine) -> None:
    store(database, make_bars())
    seen = extract_bars(
        database,
        start=datetime(2015, 3, 3, tzinfo=UTC),
        as_of=datetime(2015, 3, 3, 21, tzinfo=UTC),
        **LINE,
    )
    assert seen["ts"].unique().tolist() == [pd.Timestamp("2015-03-03 21:00", tz="UTC")]


def test_repeated_keys_are_kept_once_if_equal_and_all_refused_if_they_differ(database: Engine) -> None:
    bars = make_bars(("IBM",), 2)
    other = bars.iloc[[1]].assign(close=11.0)
    report = store(database, pd.concat([bars, bars.iloc[[0]], other], ignore_index=True))

    assert (report.read, report.new, report.repeated, report.refused) == (4, 1, 1, 2)
    assert report.refused_by_rule == {"key_is_unique": 2}
    assert [example.row for example in report.examples] == [3, 5]
    with database.connect() as connection:
        kept = connection.execute(text("SELECT row, symbol, rule FROM catalyst_ml.refused_rows ORDER BY row")).all()
    assert kept == [(3, "IBM", "key_is_unique"), (5, "IBM", "key_is_unique")]


def test_a_bar_told_twice_in_different_batches_is_judged_like_one_told_twice_in_one(database: Engine) -> None:
    bars = make_bars(("AAA", "IBM"), 3)
    equal, other = bars.iloc[[0]], bars.iloc[[4]].assign(close=11.0)

    report = store(database, bars, pd.concat([equal, other], ignore_index=True))

    assert counts(report) == {"new": 5, "repeated": 1, "refused": 2}
    assert [(row.row, row.symbol, row.rule) for row in report.examples] == [
        (6, "IBM", "key_is_unique"),
        (9, "IBM", "key_is_unique"),
    ]
    kept = extract_bars(database, as_of=NOW, **LINE)
    pd.testing.assert_frame_equal(kept, bars.drop(index=4).reset_index(drop=True))


def test_a_stored_bar_told_twice_with_two_values_stays_as_it_was(database: Engine) -> None:
    bars = make_bars(("AAA", "IBM"), 3)
    store(database, bars)
    report = store(database, bars, bars.iloc[[4]].assign(close=11.0), now=LATER)

    assert counts(report) == {"unchanged": 5, "refused": 2}
    assert [row.row for row in report.examples] == [6, 8]
    pd.testing.assert_frame_equal(extract_bars(database, as_of=LATER, **LINE), bars)


def test_rows_that_say_since_when_they_are_known_become_the_history_of_their_bar(database: Engine) -> None:
    bar = make_bars(("IBM",), 1)
    days = [bar["ts"] + pd.Timedelta(days=n) for n in range(4)]
    told = [
        bar.assign(known_at=days[0]),
        bar.assign(known_at=days[0]),  # an exact duplicate
        bar.assign(known_at=days[1]),  # said again
        bar.assign(known_at=days[2], volume=1_500.0),
        bar.assign(known_at=days[3], volume=1_500.0, close=11.0),
    ]
    report = store(database, pd.concat(told, ignore_index=True))

    assert counts(report) == {"new": 1, "corrected": 2, "repeated": 2}
    assert (report.exact_duplicates, report.restated) == (1, {"volume": 1, "close": 1})
    seen = [extract_bars(database, as_of=day[0], **LINE).iloc[0] for day in days]
    assert [(row["close"], row["volume"]) for row in seen] == [(10, 1000), (10, 1000), (10, 1500), (11, 1500)]
    assert counts(store(database, pd.concat(told, ignore_index=True), name="copy")) == {"unchanged": 4, "repeated": 1}


def test_an_older_archive_that_comes_late_fills_in_what_was_known_before(database: Engine) -> None:
    bar = make_bars(("IBM",), 1)
    close = bar["ts"]
    store(database, bar.assign(known_at=close + pd.Timedelta(days=2), close=11.0))
    report = store(database, bar.assign(known_at=close + pd.Timedelta(days=1)))

    assert counts(report) == {"corrected": 1}
    seen = [extract_bars(database, as_of=close[0] + pd.Timedelta(days=n), **LINE)["close"].item() for n in (1, 2)]
    assert seen == [10.0, 11.0]


def test_what_was_known_at_a_moment_is_not_rewritten(database: Engine) -> None:
    bar = make_bars(("IBM",), 1)
    first, second = (bar["ts"] + pd.Timedelta(days=n) for n in (1, 2))
    store(database, pd.concat([bar.assign(known_at=first), bar.assign(known_at=second, close=11.0)], ignore_index=True))

    rewritten = [bar.assign(known_at=first, close=9.5), bar.assign(known_at=second, close=11.5)]
    report = store(database, pd.concat(rewritten, ignore_index=True))

    assert counts(report) == {"corrected": 1, "refused": 1}
    assert report.refused_by_rule == {"what_was_known_is_not_rewritten": 1}
    seen = [extract_bars(database, as_of=moment, **LINE)["close"].item() for moment in (first[0], second[0], NOW)]
    assert seen == [10.0, 11.0, 11.5]


@pytest.mark.parametrize("seed", range(4))
def test_imports_leave_what_plain_loops_leave(database: Engine, seed: int) -> None:
    rng = np.random.default_rng(seed)
    oracle = BarHistory()
    for n in range(6):
        now = NOW + timedelta(hours=n)
        size = int(rng.integers(1, 30))
        bars = make_bars(("A", "B", "C"), 5).sample(size, replace=True, random_state=rng).reset_index(drop=True)
        bars["close"] = rng.choice([10.0, 11.0], size, p=[0.8, 0.2])
        if rng.random() < 0.4:
            bars["known_at"] = bars["ts"] + pd.to_timedelta(rng.integers(0, 3, size), unit="D")
        elif rng.random() < 0.6:
            bars = bars.sort_values(["symbol", "ts"], ignore_index=True)
        known = bars["known_at"].dt.to_pydatetime() if "known_at" in bars else [None] * size
        rows = zip(range(2, size + 2), bars["symbol"], bars["ts"].dt.to_pydatetime(), known, bars["close"], strict=True)
        expected = oracle.take(list(rows), now)
        cuts = np.sort(rng.integers(0, size + 1, 2))

        report = store(database, bars[: cuts[0]], bars[cuts[0] : cuts[1]], bars[cuts[1] :], now=now, name=f"{n}.csv")

        found = Counter(counts(report))
        # A row that repeats one already stored may be counted as either.
        for each in (found, expected):
            each["said before"] = each.pop("unchanged", 0) + each.pop("repeated", 0)
        assert found == expected
        assert stored_history(database) == oracle.known


def stored_history(engine: Engine) -> dict[tuple[str, datetime], list[tuple[datetime, float]]]:
    known: dict[tuple[str, datetime], list[tuple[datetime, float]]] = {}
    query = "SELECT symbol, ts, known_at, close FROM catalyst_ml.named_bars ORDER BY known_at"
    with engine.connect() as connection:
        for symbol, ts, known_at, close in connection.execute(text(query)):
            known.setdefault((symbol, ts), []).append((known_at, close))
    return known


def test_a_whole_file_stored_before_is_compared_without_staging_and_its_new_end_appended(database: Engine) -> None:
    store(database, make_bars(n_sessions=5))
    longer = make_bars(n_sessions=6)
    longer.loc[2, "close"] = 11.0

    report = store(database, longer, now=LATER)

    assert counts(report) == {"new": 2, "unchanged": 9, "corrected": 1}
    pd.testing.assert_frame_equal(extract_bars(database, as_of=LATER, **LINE), longer)


def test_imports_at_the_same_time_wait_for_each_other_where_they_must(database: Engine) -> None:
    frames = [make_bars(tuple(f"S{i:03}" for i in order), 4) for order in (range(60), range(59, -1, -1))]

    def run(dataset: str, frame: pd.DataFrame) -> int:
        file = FakeFile([frame], name=f"{frame['symbol'][0]}.csv")
        return import_bars(database, [file], dataset=dataset, timeframe="1d", now=NOW).files[0].new

    with ThreadPoolExecutor(4) as pool:
        new = list(pool.map(run, ("a", "a", "b", "b"), (*frames, *frames)))
    assert (sum(new[:2]), sum(new[2:])) == (240, 240)


def test_a_refused_row_with_a_zero_byte_is_kept_readable(database: Engine) -> None:
    odd = RefusedRow("fake.csv", 2, "A\0B", "x\0", "symbol_is_readable", "got 'A\0B'")
    report = store(database, make_bars(), refused=(odd,))
    assert report.examples[0].symbol == "A\\0B"
    with database.connect() as connection:
        kept = connection.execute(text("SELECT symbol, ts_text FROM catalyst_ml.refused_rows")).one()
    assert tuple(kept) == ("A\\0B", "x\\0")


def test_a_file_that_breaks_off_leaves_nothing_behind(database: Engine) -> None:
    with pytest.raises(DataContractError, match="broken"):
        store(database, make_bars(), fails=True)

    with database.connect() as connection:
        for table in ("bars", "bar_lines", "imports", "instruments"):
            assert connection.execute(text(f"SELECT count(*) FROM catalyst_ml.{table}")).scalar() == 0
        leftover = "SELECT count(*) FROM pg_tables WHERE tablename LIKE 'bars_line%'"
        assert connection.execute(text(leftover)).scalar() == 0


def test_real_and_simulated_bars_never_share_a_dataset(database: Engine) -> None:
    store(database, make_bars())
    with pytest.raises(DataContractError, match="never share a dataset"):
        write_bars(database, make_bars(), source="simulated", name="simulated", now=NOW, **LINE)

    write_bars(database, make_bars(), dataset="demo", timeframe="1d", source="simulated", name="s", now=NOW)
    with pytest.raises(DataContractError, match="choose another --dataset"):
        import_bars(database, [FakeFile([make_bars()])], dataset="demo", timeframe="1d", now=NOW)


def test_bars_arriving_out_of_order_in_batches_come_out_sorted(database: Engine) -> None:
    bars = make_bars()
    shuffled = bars.sample(frac=1.0, random_state=3).reset_index(drop=True)
    import_bars(database, [FakeFile([shuffled[:2], shuffled[2:]])], now=NOW, **LINE)
    pd.testing.assert_frame_equal(extract_bars(database, as_of=NOW, **LINE), bars)


def test_of_two_sources_the_one_of_smaller_priority_is_seen(database: Engine) -> None:
    store(database, make_bars(), source="alpha")
    store(database, make_bars(close=11.0), source="beta")
    before = bars_fingerprint(database, as_of=NOW, **LINE)
    assert set(extract_bars(database, as_of=NOW, **LINE)["close"]) == {10.0}  # equal priority: first by name

    store(database, make_bars(close=11.0), source="beta", said={"priority": 50})  # recognised, and yet set

    assert set(extract_bars(database, as_of=NOW, **LINE)["close"]) == {11.0}
    assert bars_fingerprint(database, as_of=NOW, **LINE) != before
    listed = [(c.source, c.n_symbols, c.n_bars, c.n_corrections, c.priority) for c in bar_coverage(database)]
    assert listed == [("alpha", 2, 6, 0, 100), ("beta", 2, 6, 0, 50)]
    with database.begin() as connection, pytest.raises(ConfigurationError, match="there are: 1d alpha, 1d beta"):
        set_priority(connection, dataset="t", source="gamma", priority=1)


def test_a_correction_of_the_preferred_source_does_not_let_the_other_win(database: Engine) -> None:
    store(database, make_bars(), source="alpha", said={"priority": 1})
    store(database, make_bars(close=11.0), source="beta")
    store(database, make_bars(close=11.5), source="beta", now=LATER)
    assert set(extract_bars(database, as_of=LATER, **LINE)["close"]) == {10.0}


def test_raw_and_adjusted_prices_never_share_a_line(database: Engine) -> None:
    store(database, make_bars(), source="a", said={"prices": "adjusted"})
    assert [line.price_basis for line in bar_coverage(database)] == ["adjusted"]
    store(database, make_bars(close=11.0), source="a", now=LATER)  # nothing said: what the line holds
    with pytest.raises(DataContractError, match="holds adjusted prices; raw ones would be mixed in"):
        store(database, make_bars(n_sessions=4), source="a", said={"prices": "raw"})


def test_prices_off_the_cent_are_pointed_out_unless_declared_adjusted(database: Engine) -> None:
    bars = make_bars(n_sessions=25)
    loud = store(database, bars, off_cent=True)
    assert any(note.startswith("PRICES LOOK ADJUSTED: most closes of 2 of 2") for note in loud.notes)
    assert store(database, bars, off_cent=True, source="b", said={"prices": "adjusted"}).notes == ()
    assert store(database, bars, off_cent=False, source="c").notes == ()


def test_bars_outside_the_session_are_kept_and_left_out_of_what_is_extracted(database: Engine) -> None:
    bars = make_bars(("IBM",), 4)
    report = store(database, bars.assign(is_regular=[True, False, True, False]))

    assert report.irregular == 2
    assert extract_bars(database, as_of=NOW, **LINE)["ts"].tolist() == bars["ts"][[0, 2]].tolist()
    everything = extract_bars(database, as_of=NOW, regular_only=False, **LINE)
    pd.testing.assert_frame_equal(everything, bars)


def test_a_dataset_that_training_would_not_take_is_refused_at_import() -> None:
    engine = create_engine("postgresql+psycopg2://nobody@127.0.0.1:9/none")  # never reached
    for name in ("Real", "real daily", "-x", "", "x" * 42, "a/b", "a\n"):
        with pytest.raises(ConfigurationError, match="expected small letters"):
            import_bars(engine, [FakeFile([make_bars()])], dataset=name, timeframe="1d", now=NOW)


def test_an_index_import_makes_vix_a_volatility_and_a_plain_one_keeps_declared_kinds(database: Engine) -> None:
    import_bars(database, [FakeFile([make_bars(("SPY", "VIX"))])], now=NOW, kind="index", **LINE)
    import_bars(database, [FakeFile([make_bars(("IBM", "SPY"))])], now=NOW, **LINE)

    instruments = extract_instruments(database, dataset="t")
    assert dict(zip(instruments["symbol"], instruments["kind"], strict=True)) == {
        "IBM": "stock",
        "SPY": "index",
        "VIX": "volatility",
    }


def test_news_and_instruments_come_back_and_change_the_fingerprint(database: Engine) -> None:
    store(database, make_bars())
    before = bars_fingerprint(database, as_of=NOW, **LINE)
    instruments = pd.DataFrame({"symbol": ["IBM"], "kind": ["stock"], "sector": ["Tech"]}).astype("str")
    news = pd.DataFrame(
        {
            "symbol": pd.Series(["IBM", "IBM"], dtype="str"),
            "published_at": pd.DatetimeIndex(["2015-03-02 14:00:00.25", "2015-03-20"], tz="UTC").as_unit("us"),
            "news_id": pd.Series(["a", "b"], dtype="str"),
            "catalyst_type": pd.Series(["earnings", None], dtype="str"),
            "sentiment": pd.Series(["positive", "neutral"], dtype="str"),
            "score": [70.0, 0.0],
        }
    )

    assert write_instruments(database, instruments, dataset="t") == 1
    with_sector = bars_fingerprint(database, as_of=NOW, **LINE)
    assert write_news(database, news, dataset="t") == 2
    assert write_news(database, news, dataset="t") == 0

    assert len({before, with_sector, bars_fingerprint(database, as_of=NOW, **LINE)}) == 3
    pd.testing.assert_frame_equal(extract_news(database, dataset="t", as_of=NOW), news[:1])
    assert extract_news(database, dataset="other", as_of=NOW).empty
    assert extract_instruments(database, dataset="t")["sector"].tolist()[1] == "Tech"


def test_what_becomes_known_after_as_of_leaves_the_fingerprint_alone(database: Engine) -> None:
    store(database, make_bars())
    before = bars_fingerprint(database, as_of=NOW, **LINE)
    store(database, make_bars(close=11.0), now=LATER)

    assert bars_fingerprint(database, as_of=NOW, **LINE) == before
    assert bars_fingerprint(database, as_of=LATER, **LINE) != before
