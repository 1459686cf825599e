"""``catalyst-ml reference``: earnings, sectors, index members and other names of symbols from files."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from catalyst_ml.cli.import_reports import import_files
from catalyst_ml.cli.options import Dataset, DateFormat
from catalyst_ml.cli.printing import say

app = typer.Typer(
    help="Bring in what is known of symbols beside bars and news: earnings, sectors, members, names.",
    no_args_is_help=True,
)

_Files = Annotated[list[Path], typer.Argument(help="CSV or Parquet files.")]


@app.command("import-earnings")
def import_earnings_(files: _Files, dataset: Dataset, date_format: DateFormat = None) -> None:
    """Import results: symbol, report date, pre or post, EPS, estimate. Corrections keep what was known before."""
    import pandas as pd

    from catalyst_ml.market.calendar import TradingCalendar
    from catalyst_ml.market.reference_files import read_earnings
    from catalyst_ml.settings import Settings
    from catalyst_ml.store.engine import open_engine
    from catalyst_ml.store.reference import import_earnings

    now, calendar, engine = pd.Timestamp.now("UTC"), TradingCalendar(), open_engine(Settings())
    import_files(
        files,
        lambda path: import_earnings(
            engine, read_earnings(path, now=now, calendar=calendar, date_format=date_format), dataset=dataset, now=now
        ),
    )


@app.command("import-sectors")
def import_sectors_(
    files: _Files,
    dataset: Dataset,
    taxonomy: Annotated[str | None, typer.Option(help="Whose sector names, if the file does not say.")] = None,
    as_of: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Day the map describes, if the file does not say.")
    ] = None,
    use: Annotated[
        str | None, typer.Option(help="Afterwards take this taxonomy for the dataset, as use-sectors does.")
    ] = None,
    date_format: DateFormat = None,
) -> None:
    """Import maps from symbols to sectors; choose one taxonomy with --use or use-sectors."""
    import pandas as pd

    from catalyst_ml.market.reference_files import read_sectors
    from catalyst_ml.settings import Settings
    from catalyst_ml.store.engine import open_engine
    from catalyst_ml.store.reference import import_sectors

    now, engine = pd.Timestamp.now("UTC"), open_engine(Settings())
    day = pd.Timestamp(as_of) if as_of else None
    import_files(
        files,
        lambda path: import_sectors(
            engine,
            read_sectors(path, now=now, taxonomy=taxonomy, as_of=day, date_format=date_format),
            dataset=dataset,
            now=now,
        ),
    )
    if use:
        use_sectors_(use, dataset)


@app.command("use-sectors")
def use_sectors_(
    taxonomy: Annotated[str, typer.Argument(help="E.g. GICS; reference list shows what there is.")], dataset: Dataset
) -> None:
    """Give every stock of the dataset its sector by one taxonomy; do it again after importing further symbols."""
    from rich.console import Console

    from catalyst_ml.settings import Settings
    from catalyst_ml.store.engine import open_engine
    from catalyst_ml.store.reference import use_sectors

    choice = use_sectors(open_engine(Settings()), dataset=dataset, taxonomy=taxonomy)
    lines = [
        f"{choice.n_with_sector:,} stocks of {dataset} have a sector by {taxonomy} as of {choice.as_of:%Y-%m-%d}; "
        f"{choice.n_changed:,} changed"
    ]
    if choice.without_sector:
        shown = ", ".join(choice.without_sector[:10]) + (" ..." if len(choice.without_sector) > 10 else "")
        lines.append(f"{len(choice.without_sector):,} stocks have none: {shown}")
    if choice.looks_ahead:
        lines.append(
            f"Look-ahead: bars begin {choice.first_bar:%Y-%m-%d}, the map describes {choice.as_of:%Y-%m-%d}. Companies "
            "that changed their sector in between stand in the later one from the start."
        )
    for line in lines:
        say(Console(), line)


@app.command("import-members")
def import_members_(
    files: _Files,
    dataset: Dataset,
    index: Annotated[str, typer.Option(help="Name of the index, e.g. sp500.")],
    date_format: DateFormat = None,
) -> None:
    """Import spells of index membership: symbol, first day inside, first day outside (empty: still a member)."""
    import pandas as pd

    from catalyst_ml.market.reference_files import read_members
    from catalyst_ml.settings import Settings
    from catalyst_ml.store.engine import open_engine
    from catalyst_ml.store.reference import import_members

    now, engine = pd.Timestamp.now("UTC"), open_engine(Settings())
    import_files(
        files,
        lambda path: import_members(
            engine, read_members(path, date_format=date_format), dataset=dataset, index_name=index, now=now
        ),
    )


@app.command("import-names")
def import_names_(files: _Files, dataset: Dataset) -> None:
    """Import other names of symbols (CSV alias,symbol); they hold for all that is stored already, too."""
    import pandas as pd

    from catalyst_ml.market.reference_files import read_names
    from catalyst_ml.settings import Settings
    from catalyst_ml.store.engine import open_engine
    from catalyst_ml.store.reference import import_names

    now, engine = pd.Timestamp.now("UTC"), open_engine(Settings())
    import_files(files, lambda path: import_names(engine, read_names(path), dataset=dataset, now=now))


@app.command("list")
def list_(dataset: Dataset) -> None:
    """List what is stored of earnings, sectors, members and names."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from catalyst_ml.settings import Settings
    from catalyst_ml.store.engine import open_engine
    from catalyst_ml.store.reference import reference_holdings

    holdings = reference_holdings(open_engine(Settings()), dataset=dataset)
    if not holdings:
        typer.echo(f"No reference data in dataset {dataset}. See catalyst-ml reference --help for what can come in.")
        return
    table = Table("what", "of", box=SIMPLE)
    for name in ("rows", "symbols"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("first", "last"):
        table.add_column(name, no_wrap=True)
    for line in holdings:
        days = ("" if day is None else f"{day:%Y-%m-%d}" for day in (line.first, line.last))
        table.add_row(line.subject, Text(line.name), f"{line.n_rows:,}", f"{line.n_symbols:,}", *days)
    Console().print(table)
