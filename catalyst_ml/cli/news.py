"""``catalyst-ml news``: import news and tweets, show in which months there are any."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from catalyst_ml.cli.import_reports import import_files
from catalyst_ml.cli.options import Dataset, DateFormat

if TYPE_CHECKING:
    from catalyst_ml.store.file_imports import FileReport

app = typer.Typer(help="Bring news and tweets in from CSV or Parquet.", no_args_is_help=True)


class NewsKindOption(StrEnum):
    """What the texts of a file are."""

    STORY = "story"
    TWEET = "tweet"


@app.command("import")
def import_(
    files: Annotated[list[Path], typer.Argument(help="CSV or Parquet files with symbol, time or date, and headline.")],
    dataset: Dataset,
    source: Annotated[
        str | None,
        typer.Option(
            help="Name of the source; if the file has a source column, only its rows of that name are read. "
            "Without either: the file's name."
        ),
    ] = None,
    kind: Annotated[
        NewsKindOption | None,
        typer.Option(help="What the texts are; by default tweets if their column is called text or tweet."),
    ] = None,
    names: Annotated[
        Path | None,
        typer.Option(help="CSV alias,symbol: other names of symbols, as reference import-names takes them."),
    ] = None,
    date_format: DateFormat = None,
    timezone: Annotated[str | None, typer.Option(help="Zone of times that name none, e.g. America/New_York.")] = None,
) -> None:
    """Import news; running it again changes nothing. A source that names only days counts from each day's end."""
    import pandas as pd

    from catalyst_ml.market.calendar import TradingCalendar
    from catalyst_ml.market.news_files import open_news_file
    from catalyst_ml.market.reference_files import read_names
    from catalyst_ml.settings import Settings
    from catalyst_ml.store.engine import open_engine
    from catalyst_ml.store.news import import_news
    from catalyst_ml.store.reference import import_names

    now = pd.Timestamp.now("UTC")
    calendar = TradingCalendar()
    engine = open_engine(Settings())

    def take_names(path: Path) -> FileReport:
        return import_names(engine, read_names(path), dataset=dataset, now=now)

    def take_news(path: Path) -> FileReport:
        file = open_news_file(
            path, now=now, calendar=calendar, kind=kind.value if kind else None, source=source,
            date_format=date_format, timezone=timezone,
        )  # fmt: skip
        return import_news(engine, file, dataset=dataset, now=now)

    if names is not None:
        import_files([names], take_names)
    import_files(files, take_news)


@app.command()
def coverage(dataset: Annotated[str, typer.Option(help="Name of the data lineage.")]) -> None:
    """Stories per source and month. A month that is not listed has none: absent headlines are no evidence there."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from catalyst_ml.settings import Settings
    from catalyst_ml.store.engine import open_engine
    from catalyst_ml.store.news import stored_coverage

    months = stored_coverage(open_engine(Settings()), dataset=dataset)
    if months.empty:
        typer.echo(f"No news in dataset {dataset}. Bring some in: catalyst-ml news import FILE --dataset {dataset}")
        return
    table = Table(box=SIMPLE)
    for name in ("source", "month"):
        table.add_column(name, no_wrap=True)
    for name in ("stories", "symbols"):
        table.add_column(name, justify="right", no_wrap=True)
    before: tuple[str, int] | None = None
    rows = zip(months["source"], months["month"], months["n_stories"], months["n_symbols"], strict=True)
    for source, month, n_stories, n_symbols in rows:
        number = month.year * 12 + month.month
        if before is not None and before[0] == source and number - before[1] > 1:
            table.add_row("", "...", "-", "-")
        table.add_row(Text(source), f"{month:%Y-%m}", f"{n_stories:,}", f"{n_symbols:,}")
        before = (source, number)
    Console().print(table)
