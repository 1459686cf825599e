"""Which outcome to learn: symmetric, 2:1 and market-neutral labels on the same events, inputs and folds.

Only events that all three label versions settle are judged and learned from. For each version our procedure walks
forward in folds of eight weeks; it is compared with the base rates of that version, and its surest fifth is traded at a
threshold frozen before each fold. Intervals: 95 %, days as blocks (HAR). No goal: the table is the evidence behind the
default label (docs/decisions/0026).

Reads the folder named by CATALYST_MARKET_DATA; without it a simulated market stands in, whose edge is planted in the
symmetric label and which says nothing about markets.

    python benchmarks/label_study.py                         # the newest 520 sessions judged
    python benchmarks/label_study.py --until 2012-04-30      # 520 earlier ones
    python benchmarks/label_study.py --quick                 # 60 stocks, 80 sessions
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import pandas as pd

from benchmarks.support.model_markets import FOLD_SESSIONS, prepare_real_daily, procedure_of
from benchmarks.support.model_walk import walk_ours
from benchmarks.support.score_cells import interval
from benchmarks.support.table import Row, finish, machine
from benchmarks.support.weekly_procedure import PreparedEvents, prepare_events
from catalyst_ml.evaluation.intervals import ScoreInterval, auc_within_interval, mean_interval
from catalyst_ml.evaluation.record import P_BASE_RATE, P_CHALLENGER, P_PATTERN_BASE_RATE, log_losses
from catalyst_ml.evaluation.splits import walk_forward_folds
from catalyst_ml.evaluation.trading import trades_at_coverage
from catalyst_ml.evaluation.weights import design_effect
from catalyst_ml.frames import EVENT_KEY
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.label_specs import LABEL_KINDS, default_spec
from catalyst_ml.market.simulator import simulate_market

SESSIONS, QUICK_SESSIONS, QUICK_STOCKS = 520, 80, 60
LEVEL, COVERAGE = 0.95, 0.2


class Job(NamedTuple):
    """One label version of one market."""

    kind: str
    folder: str | None
    n_stocks: int | None
    sessions: int
    until: pd.Timestamp | None = None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="60 stocks and 80 sessions, about a minute")
    parser.add_argument("--json", metavar="FILE", help="also write the results as JSON")
    parser.add_argument("--sessions", type=int, help=f"sessions to judge, the newest ones; {SESSIONS} by default")
    parser.add_argument("--until", metavar="DATE", type=date.fromisoformat, help="last day of the sessions to judge")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    folder = os.environ.get("CATALYST_MARKET_DATA")
    sessions = arguments.sessions or (QUICK_SESSIONS if arguments.quick else SESSIONS)
    n_stocks = QUICK_STOCKS if arguments.quick else None
    until = pd.Timestamp(arguments.until, tz="UTC") if arguments.until else None
    jobs = [Job(kind, folder, n_stocks, sessions, until) for kind in LABEL_KINDS]
    os.environ["OMP_NUM_THREADS"] = "1"
    # Spawned, not forked: OpenMP does not survive a fork.
    with multiprocessing.get_context("spawn").Pool(min(arguments.processes, len(jobs))) as workers:
        results = workers.map(judge, jobs, chunksize=1)
    what = "real daily bars" if folder else "a simulated market"
    first = results[0]
    title = (
        f"Label study on {what} ({first['n_events']:,} events of {first['n_sessions']} sessions, {first['first']} to "
        f"{first['last']}; {LEVEL:.0%} intervals; {machine()})"
    )
    return finish(title, [_row(result) for result in results], results=results, json_file=arguments.json)


def judge(job: Job) -> dict[str, Any]:
    """Walk forward on one label version; every process prepares the same events."""
    prepared = _prepare(job)
    spec = default_spec("1d", job.kind)
    rows = settled_by_all(prepared)[job.kind]
    procedure = procedure_of(spec)
    folds = walk_forward_folds(
        as_of=prepared.as_of if job.until is None else min(job.until, prepared.as_of),
        calendar=TradingCalendar(),
        record_sessions=job.sessions,
        record_fold_sessions=FOLD_SESSIONS,
        burn_in_fold_sessions=FOLD_SESSIONS,
        history_start=rows["ts"].min(),
    )
    combined, _ = walk_ours(rows, folds, procedure)
    print(f"  {spec.version}: {len(combined.record):,} events judged", file=sys.stderr)
    return {"version": spec.version} | _measure(combined.record)


def settled_by_all(prepared: PreparedEvents) -> dict[str, pd.DataFrame]:
    """Training rows of each label version, cut to the events that have an outcome in all of them."""
    key = list(EVENT_KEY)
    labelled = {kind: prepared.labelled(default_spec("1d", kind)) for kind in LABEL_KINDS}
    common = labelled[LABEL_KINDS[0]][key]
    for rows in labelled.values():
        common = common.merge(rows[key], on=key, validate="one_to_one")
    # An inner join keeps the order of the left frame, which is that of time.
    return {kind: common.merge(rows, on=key, validate="one_to_one")[rows.columns] for kind, rows in labelled.items()}


def _prepare(job: Job) -> PreparedEvents:
    if job.folder:
        return prepare_real_daily(Path(job.folder), n_stocks=job.n_stocks)
    market = simulate_market("middle", seed=7_900, n_symbols=job.n_stocks or 120)
    return prepare_events(market.bars, market.instruments, market.news)


def _measure(record: pd.DataFrame) -> dict[str, Any]:
    y, session, p = record["y"].to_numpy(), record["session"], record[P_CHALLENGER].to_numpy()
    mine = log_losses(y, p)
    gains = {
        name: log_losses(y, record[column]) - mine
        for name, column in (("base_rate", P_BASE_RATE), ("pattern_base_rate", P_PATTERN_BASE_RATE))
    }
    # The first fold has no calibrated predictions before it to take a threshold from, and is not traded.
    trades = trades_at_coverage(record, P_CHALLENGER, coverage=COVERAGE)
    traded = trades.rows[trades.judged]
    effect = design_effect(y, session)
    return {
        "n_events": len(record),
        "n_sessions": int(session.nunique()),
        "first": f"{session.min():%Y-%m-%d}",
        "last": f"{session.max():%Y-%m-%d}",
        "base_rate": float(y.mean()),
        "gain": {name: mean_interval(gain, session, level=LEVEL) for name, gain in gains.items()},
        "auc_within": auc_within_interval(y, p, session, record["direction"], level=LEVEL),
        "net_bp": mean_interval(
            1e4 * traded["net_return"].to_numpy(), traded["session"], weight=traded["size"].to_numpy(), level=LEVEL
        ),
        "net_all_bp": mean_interval(1e4 * traded["net_return"].to_numpy(), traded["session"], level=LEVEL),
        "traded_sessions": int(traded["session"].nunique()),
        "coverage": float(traded["size"].mean()),
        "n_eff": effect.n_eff,
        "n_eff_gain": design_effect(gains["base_rate"], session).n_eff,
        "trade_sd_bp": float(1e4 * record["net_return"].std()),
    }


def _row(result: dict[str, Any]) -> Row:
    gain: dict[str, ScoreInterval] = result["gain"]
    return Row(
        {
            "label": result["version"],
            "base rate": f"{result['base_rate']:.3f}",
            "log-loss gained on the base rate": interval(gain["base_rate"], "+.5f"),
            "on the pattern base rate": interval(gain["pattern_base_rate"], "+.5f"),
            "AUC within day and direction": interval(result["auc_within"], ".4f"),
            "net a trade, surest 20 %": interval(result["net_bp"], "+.1f") + " bp",
            "net, all events": interval(result["net_all_bp"], "+.1f") + " bp",
            "coverage": f"{result['coverage']:.0%}",
            "sd of a trade": f"{result['trade_sd_bp']:.0f} bp",
            "effective rows": f"{result['n_eff']:,.0f}",
            "of the log-loss gain": f"{result['n_eff_gain']:,.0f}",
        }
    )


if __name__ == "__main__":
    sys.exit(main())
