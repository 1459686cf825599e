from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalyst_ml.market.source_files import BarFiles, sector_file, story_file

TODAY = date(2025, 6, 2)
BAR_FIELDS = {
    "symbol": "ticker", "ts": "at", "open": "o", "high": "o", "low": "o", "close": "o", "volume": "v",
}  # fmt: skip


def parquet(path: Path, columns: dict[str, Any]) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def bars(path: Path, times: list[str], *, tz: str | None = "UTC", **more: Any) -> Path:
    at = pa.array(pd.DatetimeIndex(times, tz=tz).as_unit("us"))
    n = len(times)
    return parquet(path, {"ticker": ["AAPL"] * n, "at": at, "o": [float(i) for i in range(n)], "v": [1] * n} | more)


def files_of(folder: Path, parts: dict[str, Path], *, fields: dict[str, str] | None = None) -> dict[str, pa.Table]:
    """Every file that comes of the parts of a table, by name."""
    out = folder / "out"
    out.mkdir()
    files = BarFiles(out, fields or BAR_FIELDS, "t", "1d", lambda text: text or None, "America/New_York")
    found = [bar for month, path in parts.items() for bar in files.add(month, path)] + list(files.rest())
    assert all(bar.path.name.endswith(f".{bar.timeframe}.parquet") for bar in found)
    return {bar.path.name: pq.read_table(bar.path) for bar in found}


def test_daily_bars_of_one_session_stand_in_one_file_wherever_they_were_stamped(tmp_path: Path) -> None:
    found = files_of(
        tmp_path,
        {
            "2025-03": bars(tmp_path / "a", ["2025-03-31 20:30"]),
            "2025-04": bars(tmp_path / "b", ["2025-04-01 01:00", "2025-04-01 20:30"]),
            "2025-04.2": bars(tmp_path / "c", ["2025-04-02 00:00"]),
        },
    )

    assert {name: len(table) for name, table in found.items()} == {
        "t.2025-03.1d.parquet": 2, "t.2025-04.1d.parquet": 2,
    }  # fmt: skip


def test_a_midnight_and_a_clock_without_a_zone_are_the_date_that_is_written(tmp_path: Path) -> None:
    aware = files_of(tmp_path, {"2025-04": bars(tmp_path / "a", ["2025-04-01 00:00"])})
    (tmp_path / "naive").mkdir()
    naive = files_of(tmp_path / "naive", {"2025-04": bars(tmp_path / "b", ["2025-04-01 01:00"], tz=None)})

    assert [*aware, *naive] == ["t.2025-04.1d.parquet"] * 2


def test_daily_files_are_the_same_bytes_however_the_snapshot_was_cut(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
    days = ["2025-03-03 21:00", "2025-03-04 21:00", "2025-03-05 21:00"]
    one = files_of(whole, {"2025-03": bars(whole / "a", days)})
    rows = pq.read_table(whole / "a")
    pq.write_table(rows.slice(2), cut / "b")
    pq.write_table(rows.slice(0, 2).take([1, 0]), cut / "a")

    two = files_of(cut, {"2025-03": cut / "b", "2025-03.2": cut / "a"})

    assert one.keys() == two.keys()
    (name,) = one
    assert (whole / "out" / name).read_bytes() == (cut / "out" / name).read_bytes()


def test_intraday_bars_come_file_by_file_and_by_their_timeframe(tmp_path: Path) -> None:
    path = bars(tmp_path / "a", ["2025-03-03 15:00"] * 4, length=["5m", "1h", None, ""])

    found = files_of(tmp_path, {"2025-03.2": path}, fields=BAR_FIELDS | {"timeframe": "length"})

    assert {name: len(table) for name, table in found.items()} == {
        "t.2025-03.2.5m.parquet": 1, "t.2025-03.2.1h.parquet": 1, "t.2025-03.1d.parquet": 2,
    }  # fmt: skip


@pytest.mark.parametrize("neighbour", ["2025-03-05 00:00", "2025-03-05 13:30"])
def test_whether_a_story_has_a_moment_or_a_day_does_not_depend_on_its_neighbours(
    tmp_path: Path, neighbour: str
) -> None:
    times = pa.array(pd.DatetimeIndex(["2025-03-05 00:00", neighbour], tz="UTC").as_unit("us"))
    path = parquet(tmp_path / "news", {"at": times, "title": ["first", "second"], "who": ["AAPL", "AAPL"]})

    stories = story_file(
        path, tmp_path, {"ts": "at", "headline": "title", "symbol": "who"}, name="n", publisher="public.news",
        known_symbols=set(),
    )  # fmt: skip

    assert stories.path is not None
    first, second = pq.read_table(stories.path).to_pylist()
    assert (first["ts"], first["date"]) == (None, date(2025, 3, 5))
    assert (second["ts"] is None) == neighbour.endswith("00:00")


@pytest.mark.parametrize("given", [None, "", "  "])
def test_a_story_without_a_source_is_named_after_its_table_and_not_after_its_file(
    tmp_path: Path, given: str | None
) -> None:
    columns = {
        "at": [datetime(2025, 3, 5, 13, tzinfo=UTC)],
        "title": ["x y"],
        "who": ["AAPL"],
        "by": pa.array([given], pa.string()),
    }
    path = parquet(tmp_path / "news", columns)
    fields = {"ts": "at", "headline": "title", "symbol": "who", "source": "by"}

    stories = story_file(
        path, tmp_path, fields, name="public.news.2025-03.2", publisher="public.news", known_symbols=set()
    )

    assert stories.path is not None
    assert pq.read_table(stories.path)["source"].to_pylist() == ["public.news"]


def test_dates_of_publication_are_days(tmp_path: Path) -> None:
    path = parquet(tmp_path / "news", {"at": [date(2025, 3, 5)], "title": ["x y"], "who": ["AAPL"]})

    stories = story_file(
        path, tmp_path, {"ts": "at", "headline": "title", "symbol": "who"}, name="n", publisher="p", known_symbols=set()
    )

    assert stories.path is not None
    assert pq.read_table(stories.path).to_pylist()[0]["date"] == date(2025, 3, 5)


def test_a_sector_of_the_future_neither_wins_nor_dates_the_map(tmp_path: Path) -> None:
    columns = {
        "who": ["AAPL", "AAPL", " aapl ", "MSFT"],
        "at": [
            datetime(2150, 1, 1, tzinfo=UTC),
            datetime(2025, 3, 5, tzinfo=UTC),
            datetime(2025, 3, 4, tzinfo=UTC),
            datetime(2150, 1, 1, tzinfo=UTC),
        ],
        "sector": ["Later", "Tech", "Before", "Software"],
    }
    path = parquet(tmp_path / "scan", columns)

    written = sector_file(
        [path], tmp_path, {"symbol": "who", "ts": "at", "sector": "sector"}, name="scan_map", today=TODAY
    )

    assert written is not None
    rows = pq.read_table(written).to_pylist()
    assert [(row["symbol"], row["sector"]) for row in rows] == [("AAPL", "Tech"), ("MSFT", "Software")]
    assert {row["as_of"] for row in rows} == {date(2025, 3, 5)}


def test_a_map_of_the_future_alone_describes_today(tmp_path: Path) -> None:
    path = parquet(tmp_path / "scan", {"who": ["AAPL"], "at": [datetime(2150, 1, 1, tzinfo=UTC)], "sector": ["Tech"]})

    written = sector_file([path], tmp_path, {"symbol": "who", "ts": "at", "sector": "sector"}, name="m", today=TODAY)

    assert written is not None
    assert pq.read_table(written)["as_of"].to_pylist() == [TODAY]
