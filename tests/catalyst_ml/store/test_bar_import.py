from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Engine, text

from catalyst_ml.errors import DataContractError
from catalyst_ml.frames import BARS
from catalyst_ml.store.bar_import import import_bars, write_bars
from catalyst_ml.store.bars import (
    bar_coverage,
    bars_fingerprint,
    extract_bars,
    extract_instruments,
    extract_news,
    write_instruments,
    write_news,
)

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
    n_out_of_order: int = 0
    fraction_done: float = 1.0

    @property
    def n_read(self) -> int:
        return len(self.bars) + len(self.refused)


@dataclass(frozen=True)
class FakeFile:
    """Batches from memory; ``fails`` breaks off like a file that turns out to be no table."""

    frames: list[pd.DataFrame]
    source: str = "fake"
    name: str = "fake.csv"
    sha256: str = "0" * 64
    stamp: str = "end"
    notes: tuple[str, ...] = ()
    fails: bool = False

    def batches(self):
        row = 2
        for frame in self.frames:
            yield FakeBatch(frame.assign(source=self.source, row=np.arange(row, row + len(frame))))
            row += len(frame)
        if self.fails:
            raise DataContractError("fake.csv: the table is broken")


def store(engine: Engine, frame: pd.DataFrame, now: datetime = NOW, **options):
    return import_bars(engine, [FakeFile([frame], **options)], now=now, **LINE).files[0]


def test_extracting_returns_exactly_what_was_imported(database: Engine) -> None:
    bars = make_bars()
    bars["close"] = [10.1, 0.1 + 0.2, 11.0, 1e-7, 9.999999999, 12.0]

    report = store(database, bars)

    assert (report.read, report.new, report.unchanged, report.corrected) == (6, 6, 0, 0)
    pd.testing.assert_frame_equal(extract_bars(database, as_of=NOW, **LINE), bars)


def test_a_second_import_of_the_same_bars_writes_nothing(database: Engine) -> None:
    store(database, make_bars())
    before = bars_fingerprint(database, as_of=LATER, **LINE)

    report = store(database, make_bars(), now=LATER)

    assert (report.new, report.unchanged, report.corrected) == (0, 6, 0)
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


def test_a_file_that_breaks_off_leaves_nothing_behind(database: Engine) -> None:
    with pytest.raises(DataContractError, match="broken"):
        store(database, make_bars(), fails=True)

    with database.connect() as connection:
        for table in ("bars", "imports", "instruments"):
            assert connection.execute(text(f"SELECT count(*) FROM catalyst_ml.{table}")).scalar() == 0


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


def test_of_two_sources_one_bar_is_seen_and_coverage_lists_both(database: Engine) -> None:
    store(database, make_bars(), source="beta")
    store(database, make_bars(close=11.0), source="alpha")

    assert set(extract_bars(database, as_of=NOW, **LINE)["close"]) == {11.0}
    assert [(c.source, c.n_symbols, c.n_bars, c.n_corrections) for c in bar_coverage(database)] == [
        ("alpha", 2, 6, 0),
        ("beta", 2, 6, 0),
    ]


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
