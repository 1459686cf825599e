"""``catalyst-ml bars``: import bars from files, simulate a market, list what is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from catalyst_ml.cli.import_reports import print_reports, show_outcome, take_files
from catalyst_ml.cli.options import Dataset, DateFormat
from catalyst_ml.errors import ConfigurationError, SourceUnavailable

if TYPE_CHECKING:
    from rich.progress import TaskID

    from catalyst_ml.market.calendar import TradingCalendar
    from catalyst_ml.store.bar_source import BarFileReport

app = typer.Typer(help="Bring bars in from CSV or Parquet, or simulate them.", no_args_is_help=True)


class StampOption(StrEnum):
    """What the time of an intraday bar means."""

    START = "start"
    END = "end"


class KindOption(StrEnum):
    """What the symbols of a file are."""

    STOCK = "stock"
    INDEX = "index"
    VOLATILITY = "volatility"


class PricesOption(StrEnum):
    """What the prices of a file are."""

    RAW = "raw"
    ADJUSTED = "adjusted"


@app.command("import")
def import_(
    files: Annotated[list[Path], typer.Argument(help="CSV or Parquet files, long format or one symbol each.")],
    dataset: Dataset,
    timeframe: Annotated[str, typer.Option(help="Length of a bar: 1d, 1h, 15m, 5m ...")] = "1d",
    stamp: Annotated[
        StampOption | None, typer.Option(help="Intraday only: does a bar's time mean its start or its end?")
    ] = None,
    kind: Annotated[
        KindOption | None,
        typer.Option(
            help="What the symbols are; new ones are stocks by default. In an index import VIX, VXN and their like "
            "become volatility, and a missing volume is stored as 0."
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(help="Name of the source; if the file has a source column, only its rows of that name are read."),
    ] = None,
    date_format: DateFormat = None,
    timezone: Annotated[
        str | None, typer.Option(help="Zone of intraday times that name none, e.g. America/New_York.")
    ] = None,
    calendar: Annotated[
        str, typer.Option(help="Trading calendar: XNYS (New York), 24/7 (crypto), or another of exchange_calendars.")
    ] = "XNYS",
    prices: Annotated[
        PricesOption | None,
        typer.Option(help="Prices as paid, or restated for later splits; raw unless the source is known otherwise."),
    ] = None,
    priority: Annotated[
        int | None, typer.Option(help="Where several sources hold the same bar the smallest wins; 100 by default.")
    ] = None,
    reread: Annotated[
        bool, typer.Option("--reread", help="Read a file again although the same import has finished before.")
    ] = False,
) -> None:
    """Import bars; running it again changes nothing. A refused file makes the exit code 1, refused rows do not."""
    import pandas as pd

    from catalyst_ml.market.bar_files import file_sha256, open_bar_file, reading_options
    from catalyst_ml.market.timeframes import parse_timeframe
    from catalyst_ml.settings import Settings
    from catalyst_ml.store.bar_import import import_bars, recognise_import
    from catalyst_ml.store.engine import open_engine

    length = parse_timeframe(timeframe)
    now = pd.Timestamp.now("UTC")
    reading: dict[str, Any] = {
        "stamp": stamp.value if stamp else None,
        "date_format": date_format,
        "timezone": timezone,
        "source": source,
        "volume_optional": kind in (KindOption.INDEX, KindOption.VOLATILITY),
    }
    line: dict[str, Any] = {
        "dataset": dataset,
        "timeframe": length.name,
        "kind": kind.value if kind else None,
        "prices": prices.value if prices else None,
        "priority": priority,
    }
    engine = open_engine(Settings())

    @cache
    def sessions() -> TradingCalendar:  # half a second to open, and not needed for a file that is recognised
        return _calendar(calendar, now)

    with _progress_bar() as progress:

        def take(path: Path) -> BarFileReport:
            known = None
            if not reread:
                known = recognise_import(
                    engine, name=path.name, sha256=file_sha256(path),
                    reading=reading_options(**reading, calendar=calendar), **line,
                )  # fmt: skip
            if known is not None:
                return known
            file = open_bar_file(path, timeframe=length, calendar=sessions(), now=now, **reading)
            return import_bars(engine, [file], now=now, reread=True, progress=progress, **line).files[0]

        # The next file would meet the same options, too.
        outcome = take_files(files, take, fatal=(SourceUnavailable, ConfigurationError))
    show_outcome(outcome, remarks=_remarks, with_total=True)


@app.command()
def simulate(
    dataset: Annotated[str, typer.Option(help="Dataset to write; never one that holds real bars.")] = "demo",
    preset: Annotated[str, typer.Option(help="Size of the planted edge: none, weak, middle, strong.")] = "middle",
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same market.")] = 1,
    symbols: Annotated[int | None, typer.Option(min=8, help="Number of stocks.")] = None,
    sessions: Annotated[int | None, typer.Option(min=60, help="Number of sessions.")] = None,
    end: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Last session.")] = None,
    turns_at: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Day from which the edge turns round, to see a trial fail."),
    ] = None,
) -> None:
    """Simulate a market with known truth and store its bars, instruments and news."""
    import pandas as pd

    from catalyst_ml.market.simulator import simulate_market
    from catalyst_ml.settings import Settings
    from catalyst_ml.store.bar_import import SIMULATED_SOURCE, write_bars
    from catalyst_ml.store.bars import write_instruments, write_news
    from catalyst_ml.store.engine import open_engine

    sizes: dict[str, Any] = {
        "n_symbols": symbols,
        "n_sessions": sessions,
        "end": end.date() if end else None,
        "turns_at": turns_at.date() if turns_at else None,
    }
    engine = open_engine(Settings())
    market = simulate_market(preset, seed=seed, **{name: value for name, value in sizes.items() if value is not None})
    name = f"simulated preset={preset} seed={seed}{f' turns_at={turns_at:%Y-%m-%d}' if turns_at else ''}"
    report = write_bars(
        engine, market.bars, dataset=dataset, timeframe="1d", source=SIMULATED_SOURCE, name=name,
        now=pd.Timestamp.now("UTC"),
    )  # fmt: skip
    write_instruments(engine, market.instruments, dataset=dataset)
    n_news = write_news(engine, market.news, dataset=dataset)
    print_reports([report], remarks=_remarks)
    typer.echo(f"{len(market.instruments)} instruments, {n_news} new stories in dataset {dataset}")


@app.command()
def priority(
    dataset: Annotated[str, typer.Argument(help="Dataset, as in `bars list`.")],
    source: Annotated[str, typer.Argument(help="Source, as in `bars list`.")],
    number: Annotated[int, typer.Argument(help="The smallest number wins; 100 by default.")],
    timeframe: Annotated[str | None, typer.Option(help="Only bars of this length, e.g. 5m; all by default.")] = None,
) -> None:
    """Say which source wins where several hold the same bar."""
    from catalyst_ml.market.timeframes import parse_timeframe
    from catalyst_ml.settings import Settings
    from catalyst_ml.store.bar_lines import set_priority
    from catalyst_ml.store.engine import open_engine

    length = parse_timeframe(timeframe).name if timeframe else None
    with open_engine(Settings()).begin() as connection:
        n_lines = set_priority(connection, dataset=dataset, source=source, priority=number, timeframe=length)
    typer.echo(f"{source} in dataset {dataset}: priority {number} for {n_lines} timeframe{'s' if n_lines > 1 else ''}")


@app.command("list")
def list_() -> None:
    """List what is stored, by dataset, timeframe and source."""
    from catalyst_ml.settings import Settings
    from catalyst_ml.store.bars import bar_coverage
    from catalyst_ml.store.engine import open_engine

    coverage = bar_coverage(open_engine(Settings()))
    if not coverage:
        typer.echo("No bars yet. Bring some in: catalyst-ml bars import FILE --dataset NAME")
        return
    table = Table(box=SIMPLE)
    for name in ("dataset", "bars of", "source"):
        table.add_column(name, overflow="fold")
    for name in ("symbols", "bars", "corrected"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("first", "last", "prices"):
        table.add_column(name, no_wrap=True)
    table.add_column("priority", justify="right", no_wrap=True)
    for line in coverage:
        counts = (f"{n:,}" for n in (line.n_symbols, line.n_bars, line.n_corrections))
        times = (f"{moment:%Y-%m-%d}" for moment in (line.first, line.last))
        basis = (line.price_basis, str(line.priority))
        table.add_row(line.dataset, line.timeframe, Text(line.source), *counts, *times, *basis)
    Console().print(table)


def _calendar(name: str, now: datetime) -> TradingCalendar:
    from datetime import date

    from catalyst_ml.market.calendar import DEFAULT_END, TradingCalendar

    return TradingCalendar(name, end=max(DEFAULT_END, date(now.year + 2, 12, 31)))


@contextmanager
def _progress_bar() -> Iterator[Callable[[str, float], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        tasks: dict[str, TaskID] = {}

        def show(name: str, fraction: float) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(escape(name), total=1.0)
            label = name if fraction < 1.0 else f"{name}: storing"
            progress.update(tasks[name], completed=fraction, description=escape(label))

        yield show


def _remarks(report: BarFileReport) -> list[str]:
    remarks = list(report.notes)
    if report.out_of_order:
        remarks.append(f"{report.out_of_order:,} rows were not in time order and have been sorted")
    if report.irregular:
        remarks.append(f"{report.irregular:,} rows lie outside the regular session: stored and marked")
    if report.exact_duplicates:
        remarks.append(f"{report.exact_duplicates:,} of the repeated rows are exact duplicates")
    if report.restated:
        columns = ", ".join(f"{name} in {n:,}" for name, n in report.restated.items())
        remarks.append(f"corrections changed {columns}")
    return remarks
