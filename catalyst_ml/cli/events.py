"""``catalyst-ml events``: detect and remember events, settle their labels, show how they turned out."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from catalyst_ml.cli.options import MOMENT_FORMATS, Dataset, Timeframe, moment_asked

if TYPE_CHECKING:
    import pandas as pd

    from catalyst_ml.market.calendar import TradingCalendar
    from catalyst_ml.market.label_specs import AnyLabelSpec
    from catalyst_ml.market.settlement import Collected
    from catalyst_ml.store.detections import EventLine

app = typer.Typer(help="Detect events, settle their labels, see how they turned out.", no_args_is_help=True)


class LabelOption(StrEnum):
    """Label versions, see docs/decisions/0011."""

    SYMMETRIC = "symmetric"
    TWO_TO_ONE = "two_to_one"
    MARKET_NEUTRAL = "market_neutral"


Label = Annotated[LabelOption, typer.Option(help="What counts as success.")]
CostBps = Annotated[float, typer.Option(min=0.0, max=1_000.0, help="Costs of one side of a trade, basis points.")]
AsOf = Annotated[
    datetime | None,
    typer.Option(
        formats=MOMENT_FORMATS,
        help="What was known then, e.g. 2016-05-27T20:00:00+0000; a bare date means the end of that day in New "
        "York. Default: the newest session that most stocks have.",
    ),
]
Calendar = Annotated[str, typer.Option(help="Exchange whose sessions count: XNYS, or 24/7 for crypto.")]


@app.command()
def collect(
    dataset: Dataset,
    timeframe: Timeframe = "1d",
    label: Label = LabelOption.SYMMETRIC,
    cost_bps: CostBps = 5.0,
    as_of: AsOf = None,
    calendar: Calendar = "XNYS",
) -> None:
    """Detect events in the stored bars, remember the new ones and settle what is over. Repeating it changes nothing."""
    import pandas as pd

    from catalyst_ml.market.corporate_actions import adjust_for_splits
    from catalyst_ml.market.settlement import collect_events
    from catalyst_ml.store import bars as bar_store

    asked = _asked(dataset, timeframe, label, cost_bps, calendar)
    engine, length = asked.line.engine, asked.line.timeframe
    newest = bar_store.newest_bar(engine, dataset=dataset, timeframe=length)
    moment = min(newest, pd.Timestamp(moment_asked(as_of, datetime.now(UTC)))) if as_of else newest
    raw = bar_store.extract_bars(engine, dataset=dataset, timeframe=length, as_of=moment)
    collected = collect_events(
        asked.line,
        adjust_for_splits(raw, as_of=moment),
        bar_store.extract_instruments(engine, dataset=dataset),
        asked.spec,
        timeframe=length,
        calendar=asked.calendar,
        as_of=moment,
    )
    typer.echo(f"{dataset} {length}: {len(raw):,} bars known at {moment:%Y-%m-%d %H:%M} UTC")
    typer.echo(f"detector {asked.line.detector_version}, label {asked.spec.version}")
    _print_collected(collected)


@app.command("list")
def list_() -> None:
    """List what is remembered, by dataset, timeframe, detector and label version."""
    from catalyst_ml.settings import Settings
    from catalyst_ml.store.detections import count_events
    from catalyst_ml.store.engine import open_engine

    counts = count_events(open_engine(Settings()))
    if not counts:
        typer.echo("No events yet. Look for some: catalyst-ml events collect --dataset NAME")
        return
    heading = None
    for count in counts:
        line = (count.dataset, count.timeframe, count.detector_version)
        if line != heading:
            heading = line
            first, last = (f"{moment.astimezone(UTC):%Y-%m-%d}" for moment in (count.first, count.last))
            typer.echo(f"{line[0]} {line[1]}, detector {line[2]}: {count.n_detections:,} events, {first} to {last}")
        if count.label_version:
            corrected = f", {count.n_corrections:,} corrected" if count.n_corrections else ""
            typer.echo(f"  {count.label_version}: {count.n_labelled:,} settled{corrected}")


@app.command()
def show(
    dataset: Dataset,
    timeframe: Timeframe = "1d",
    label: Label = LabelOption.SYMMETRIC,
    cost_bps: CostBps = 5.0,
    as_of: AsOf = None,
    calendar: Calendar = "XNYS",
) -> None:
    """Show how often each pattern came and succeeded. An event with two patterns counts for both."""
    from catalyst_ml.errors import InsufficientHistory
    from catalyst_ml.frames import EVENT_KEY, PATTERNS, pattern_column

    asked = _asked(dataset, timeframe, label, cost_bps, calendar)
    line, length, version = asked.line, asked.line.timeframe, asked.spec.version
    moment = moment_asked(as_of, datetime.now(UTC))
    events = line.read(moment)
    if events.empty:
        raise InsufficientHistory(
            f"dataset {dataset!r}, timeframe {length}: no event of detector {line.detector_version} was known at "
            f"{moment:%Y-%m-%d %H:%M} UTC. Look for some: catalyst-ml events collect --dataset {dataset}"
        )
    labels = line.labels(version, moment)[[*EVENT_KEY, "y"]]
    rows = events.merge(labels, on=list(EVENT_KEY), how="left", validate="one_to_one")
    typer.echo(f"{dataset} {length}, label {version}, as known at {moment:%Y-%m-%d %H:%M} UTC")
    typer.echo(f"{len(events):,} events, {len(labels):,} of them settled")
    table = Table(box=SIMPLE, padding=(0, 0, 0, 1))
    table.add_column("pattern", no_wrap=True)
    for name in ("side", "settled", "sessions", "worth", "success", "90 % interval"):
        table.add_column(name, justify="right", no_wrap=True)
    sides = {"up": rows["direction"] == 1, "down": rows["direction"] == -1}
    for pattern in PATTERNS:
        for side, is_side in sides.items():
            chosen = rows[rows[pattern_column(pattern)] & is_side]
            if len(chosen):
                table.add_row(pattern, side, *_figures(chosen))
    for side, is_side in sides.items():
        table.add_row("any", side, *_figures(rows[is_side]))
    table.add_row("any", "both", *_figures(rows), style="bold")
    Console().print(table)
    typer.echo("worth: independent events that tell as much; those of one day move together.")


class _Asked(NamedTuple):
    """What the options name: the events of a line, a label version for them, the sessions they belong to."""

    line: EventLine
    spec: AnyLabelSpec
    calendar: TradingCalendar


def _asked(dataset: str, timeframe: str, label: LabelOption, cost_bps: float, calendar: str) -> _Asked:
    from catalyst_ml.market.calendar import TradingCalendar
    from catalyst_ml.market.detector import detector_version
    from catalyst_ml.market.label_specs import default_spec
    from catalyst_ml.market.timeframes import parse_timeframe
    from catalyst_ml.settings import Settings
    from catalyst_ml.store.detections import EventLine
    from catalyst_ml.store.engine import open_engine

    length = parse_timeframe(timeframe).name
    sessions = TradingCalendar(calendar)
    spec = default_spec(length, label.value, cost_bps_per_side=cost_bps)
    line = EventLine(open_engine(Settings()), dataset, length, detector_version(sessions))
    return _Asked(line, spec, sessions)


def _figures(rows: pd.DataFrame) -> tuple[str, ...]:
    """Settled events, sessions, effective rows, base rate and its interval, as text."""
    from catalyst_ml.evaluation.significance import wilson_interval
    from catalyst_ml.evaluation.weights import effective_sample_size
    from catalyst_ml.market.event_statistics import EXCHANGE_ZONE

    settled = rows[rows["y"].notna()]
    if settled.empty:
        return "0", "0", "0", "", ""
    day = settled["ts"].dt.tz_convert(EXCHANGE_ZONE).dt.normalize()
    y = settled["y"].to_numpy(dtype="float64")
    n_eff = effective_sample_size(y, day)
    interval = wilson_interval(y.mean() * n_eff, n_eff, 0.90)
    counts = f"{len(settled):,}", f"{day.nunique():,}", f"{n_eff:,.0f}"
    return *counts, f"{y.mean():.1%}", f"{interval.low:.1%}-{interval.high:.1%}"


def _print_collected(collected: Collected) -> None:
    lines = {
        "events seen": collected.n_events,
        "  new": collected.n_new,
        "  known": collected.n_known,
        "labels settled": collected.settled.new,
        "  settled before": collected.settled.unchanged,
        "  corrected": collected.settled.corrected,
        "pending": collected.n_pending,
        "unlabelled": sum(collected.unlabelled.values()),
        **{f"  {reason}": n for reason, n in sorted(collected.unlabelled.items())},
    }
    if collected.n_seen_before_only:
        lines["seen before, not on today's bars"] = collected.n_seen_before_only
    if collected.n_known_later:
        lines["vouched for at a later moment only"] = collected.n_known_later
    if collected.n_without_bar:
        lines["left out: their bar is gone"] = collected.n_without_bar
    width = max(map(len, lines))
    for name, n in lines.items():
        typer.echo(f"{name:<{width}}  {n:>9,}")
