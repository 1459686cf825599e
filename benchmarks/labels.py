"""What the three label versions say of the same events, how noisy they are, how fast events are labelled and stored.

Reads ``bars_daily.parquet`` in the folder named by CATALYST_MARKET_DATA; without it a simulated market without an edge
stands in, whose base rates say nothing about markets. Everything of the past is settled as of the last bar.

Goals: labelling 340,000 events takes at most 1 s of CPU time in every version, and storing as many detections at most
10 s in a fresh embedded PostgreSQL (judged at full size only). Base rates have no goal.

    python benchmarks/labels.py            # 300 stocks
    python benchmarks/labels.py --quick    # 60 stocks
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import pandas as pd
from sqlalchemy import create_engine

from benchmarks.support.market_measures import real_market
from benchmarks.support.table import Row, finish, machine
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.corporate_actions import adjust_for_splits
from catalyst_ml.market.detector import DETECTOR_VERSION, detect_events
from catalyst_ml.market.event_statistics import event_statistics
from catalyst_ml.market.label_specs import LABEL_KINDS, default_spec
from catalyst_ml.market.labels import LabelledEvents, label_events
from catalyst_ml.market.settlement import Collected, collect_events
from catalyst_ml.market.simulator import simulate_market
from catalyst_ml.store.detections import EventLine
from catalyst_ml.store.embedded import EmbeddedServer
from catalyst_ml.store.migrations import upgrade

MANY = 340_000
MAX_LABELLING_S, MAX_STORING_S = 1.0, 10.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="60 stocks, under a minute on two cores")
    parser.add_argument("--json", metavar="FILE", help="also write the results as JSON")
    arguments = parser.parse_args()
    calendar = TradingCalendar()
    folder = os.environ.get("CATALYST_MARKET_DATA")
    bars, instruments = _market(folder, 60 if arguments.quick else 300, calendar)
    events = detect_events(bars, instruments)
    n_stock_days = int(bars["symbol"].isin(instruments.loc[instruments["kind"] == "stock", "symbol"]).sum())
    versions = [_judge(kind, events, bars, instruments, calendar, n_stock_days) for kind in LABEL_KINDS]
    stored = _store(events, bars, instruments, calendar)
    _print_by_year(versions)
    _print_storage(stored, len(events))
    what = "real bars" if folder else "a simulated market without an edge"
    title = f"Label versions on {what} ({n_stock_days:,} stock-days, {len(events):,} events; {machine()})"
    rows = [_row(version, len(events)) for version in versions]
    rows[0] = dataclasses.replace(
        rows[0], missed=rows[0].missed or stored["write"] * MANY / len(events) > MAX_STORING_S
    )
    return finish(title, rows, results={"versions": versions, "storage": stored}, json_file=arguments.json)


def _market(folder: str | None, n_stocks: int, calendar: TradingCalendar) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split-adjusted bars and instruments of the first so many stocks."""
    if folder:
        bars, instruments = real_market(Path(folder), calendar=calendar)
    else:
        market = simulate_market("none", seed=1, n_symbols=n_stocks)
        bars, instruments = market.bars, market.instruments
    stocks = instruments[instruments["kind"] == "stock"].head(n_stocks).reset_index(drop=True)
    own = bars[bars["symbol"].isin(stocks["symbol"])].reset_index(drop=True)
    return adjust_for_splits(own, as_of=own["ts"].max()), stocks


def _judge(
    kind: str,
    events: pd.DataFrame,
    bars: pd.DataFrame,
    instruments: pd.DataFrame,
    calendar: TradingCalendar,
    n_stock_days: int,
) -> dict[str, Any]:
    """Label all events in one version and measure labels and time."""
    spec = default_spec("1d", kind)

    def run() -> LabelledEvents:
        return label_events(events, bars, spec, calendar=calendar, as_of=bars["ts"].max(), instruments=instruments)

    run()  # compiles
    started = time.process_time()
    labels = run().labels
    seconds = time.process_time() - started
    year = labels["ts"].dt.year
    by_year = labels.assign(year=year).pivot_table(index="year", columns="direction", values="y")
    return {
        "version": spec.version,
        "cpu_s": seconds,
        **dataclasses.asdict(event_statistics(labels, n_stock_days=n_stock_days)),
        "base_rate_long": float(labels.loc[labels["direction"] == 1, "y"].mean()),
        "base_rate_short": float(labels.loc[labels["direction"] == -1, "y"].mean()),
        "net_return_bp": float(labels["net_return"].mean() * 10_000),
        "by_year": {int(y): {"long": float(r[1]), "short": float(r[-1])} for y, r in by_year.iterrows()},
    }


def _store(
    events: pd.DataFrame, bars: pd.DataFrame, instruments: pd.DataFrame, calendar: TradingCalendar
) -> dict[str, float]:
    """Seconds of wall time in a fresh embedded PostgreSQL that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="catalyst-", ignore_cleanup_errors=True) as home:
        server = EmbeddedServer(Path(home))
        server.ensure_running()
        try:
            engine = create_engine(server.url())
            upgrade(engine)
            line = EventLine(engine, "benchmark", "1d", DETECTOR_VERSION)

            def collect() -> Collected:
                return collect_events(
                    line, bars, instruments, default_spec(), timeframe="1d", calendar=calendar, as_of=bars["ts"].max()
                )

            seconds = {
                "write": _timed(lambda: line.write(events)),
                "write_again": _timed(lambda: line.write(events)),
                "collect_and_settle": _timed(collect),
                "collect_again": _timed(collect),
                "read": _timed(lambda: line.read(bars["ts"].max())),
            }
            engine.dispose()
            return seconds
        finally:
            server.stop()


def _timed(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def _print_by_year(versions: list[dict[str, Any]]) -> None:
    names = [version["version"].partition("-")[0] for version in versions]
    print("\nShare of successes by year, bullish and bearish events\n")
    print("| year | " + " | ".join(f"{name}, long | short" for name in names) + " |")
    print("|---|" + "---:|---:|" * len(names))
    for year in versions[0]["by_year"]:
        rates = [version["by_year"].get(year, {"long": float("nan"), "short": float("nan")}) for version in versions]
        print(f"| {year} | " + " | ".join(f"{rate['long']:.3f} | {rate['short']:.3f}" for rate in rates) + " |")


def _print_storage(seconds: dict[str, float], n_events: int) -> None:
    print(f"\nSeconds for {n_events:,} events in a fresh embedded PostgreSQL\n")
    print("| " + " | ".join(name.replace("_", " ") for name in seconds) + " |")
    print("|" + "---:|" * len(seconds))
    print("| " + " | ".join(f"{value:.1f}" for value in seconds.values()) + " |")


def _row(version: dict[str, Any], n_events: int) -> Row:
    cells = {
        "label version": version["version"],
        "settled": f"{version['n_events']:,}",
        "days": f"{version['n_days']:,}",
        "base rate": f"{version['base_rate']:.3f}",
        "long": f"{version['base_rate_long']:.3f}",
        "short": f"{version['base_rate_short']:.3f}",
        "timeouts": f"{version['timeout_share']:.1%}",
        "daily sd": f"{version['daily_sd']:.3f}",
        "events a stock-day": f"{version['events_per_stock_day']:.3f}",
        "design effect": f"{version['design_effect']:.1f}",
        "of one side": f"{version['design_effect_one_side']:.1f}",
        "mean net": f"{version['net_return_bp']:+.1f} bp",
        "CPU s": f"{version['cpu_s']:.2f}",
    }
    return Row(cells, missed=version["cpu_s"] * MANY / n_events > MAX_LABELLING_S)


if __name__ == "__main__":
    sys.exit(main())
