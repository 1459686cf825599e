"""Does the catalyst predictor earn its place? The ensemble with it against the ensemble without it, on the same rows.

Three kinds of simulated markets, 120 stocks over 1,250 sessions: without an edge, with that of preset ``middle``, and
with an edge that grows with news; and the real bars and news of the year to May 2016. Each is walked forward once; the
others' predictions do not change by a bit when the catalyst predictor is a member, so both ensembles are combined from
the same folds. Goals: where it does not help it does not hurt (the interval over markets does not lie below zero), it
helps where news carries an edge, and it costs less than 10 % of the time of the fits (judged with all five members
only: of three cheap ones any other is a tenth).

    python benchmarks/catalyst_member.py            # 20 seeds each
    python benchmarks/catalyst_member.py --quick    # 1 seed each, fewer stocks, no intervals
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import special

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.support.table import Row, finish, machine
from catalyst_ml.market.simulated_walk import RELATIONS
from catalyst_ml.models.procedure import MEMBERS as ALL_MEMBERS

SEEDS, N_SYMBOLS = range(7_000, 7_020), 120
QUICK_SEEDS, QUICK_SYMBOLS = range(7_000, 7_001), 60
MEMBERS = ("base_rate", "logistic", "xgboost")
"""The steady members walked forward here: forest and net take two thirds of the time and say nearly the same."""
SESSIONS_PER_FOLD = 20
"""The weekly run fits every week; here every four, a third of the time."""
MAX_TIME_SHARE = 0.10
NEWS_EDGE = (
    RELATIONS[0]._replace(body_with_news=1.5, news=1.0),
    RELATIONS[1]._replace(body_with_news=1.5, news=1.0),
)
"""A pattern with news is believed: one more unit of merit, and three times the weight on its body."""
REAL, REAL_START = "real", "2010-06-01"
MARKETS = {"none": ("none", RELATIONS), "middle": ("middle", RELATIONS), "news": ("middle", NEWS_EDGE)}


def run_one(job: tuple[str, int, int, tuple[str, ...]]) -> dict[str, Any]:
    """Walk one market forward in a process of its own and combine its folds with and without the member."""
    from catalyst_ml.evaluation.splits import walk_forward_folds
    from catalyst_ml.features.events import CATALYST_INPUTS, MODEL_INPUTS, model_input_version
    from catalyst_ml.market.calendar import TradingCalendar
    from catalyst_ml.market.labels import LabelSpec
    from catalyst_ml.models.procedure import CATALYST, default_procedure
    from catalyst_ml.models.walk_forward import combine_folds, fit_fold

    kind, seed, n_symbols, members = job
    started = time.perf_counter()
    rows, as_of = _real_rows() if kind == REAL else _simulated_rows(kind, seed, n_symbols)
    procedure = default_procedure(
        MODEL_INPUTS,
        catalyst_inputs=CATALYST_INPUTS,
        feature_set_version=model_input_version(),
        label_version=LabelSpec().version,
        profile="fast",
    )
    procedure = replace(procedure, members=(*members, CATALYST))
    folds = walk_forward_folds(as_of=as_of, calendar=TradingCalendar(), record_fold_sessions=SESSIONS_PER_FOLD)
    fitted = [fit_fold(rows, fold, procedure, n_threads=1) for fold in folds]
    with_it = combine_folds(fitted, procedure)
    steady = replace(procedure, members=members, inputs=procedure.shared_inputs, catalyst_inputs=())
    without = combine_folds(fitted, steady)
    seconds = {name: sum(fold.fit_seconds[name] for fold in fitted) for name in procedure.members}
    return {
        "kind": kind,
        "seed": seed,
        "seconds": time.perf_counter() - started,
        "time_share": seconds[CATALYST] / sum(seconds.values()),
        "say": float(np.mean([bool(step.weights.with_news) for step in with_it.steps])),
        **_gains(with_it.record, without.record),
    }


def _simulated_rows(kind: str, seed: int, n_symbols: int) -> tuple[Any, Any]:
    from benchmarks.support.weekly_procedure import training_rows
    from catalyst_ml.market.simulator import simulate_market

    preset, relations = MARKETS[kind]
    market = simulate_market(preset, seed=seed, n_symbols=n_symbols, relations=relations)
    return training_rows(market.bars, market.instruments, market.news)


def _real_rows() -> tuple[Any, Any]:
    """Training rows of the stocks from 2011 on: what the first fold's indicators and window need, and what follows."""
    from benchmarks.support.market_measures import real_market
    from benchmarks.support.news_rows import stories_of
    from benchmarks.support.weekly_procedure import training_rows
    from catalyst_ml.market.calendar import TradingCalendar

    folder, calendar = Path(os.environ["CATALYST_MARKET_DATA"]), TradingCalendar()
    bars, instruments = real_market(folder, calendar=calendar)
    bars = bars[bars["ts"] >= REAL_START].reset_index(drop=True)
    instruments = instruments[instruments["symbol"].isin(bars["symbol"])].reset_index(drop=True)
    stories = stories_of(folder / "news.parquet", bars, calendar=calendar)
    return training_rows(bars, instruments, stories)


def _gains(record: Any, without: Any) -> dict[str, float]:
    """Log-loss gain per event of the ensemble with the member, on all rows and on those with news, and its own."""
    from catalyst_ml.evaluation.record import MEMBER_PREFIX, P_BASE_RATE, P_CHALLENGER, P_PATTERN_BASE_RATE, log_losses
    from catalyst_ml.models.procedure import CATALYST

    y, p = record["y"], record[MEMBER_PREFIX + CATALYST].to_numpy()
    gain = log_losses(y, without[P_CHALLENGER]) - log_losses(y, record[P_CHALLENGER])
    has_news = ~np.isnan(p)
    news = record[has_news]
    own = log_losses(news["y"], p[has_news])
    return {
        "n_news": int(has_news.sum()),
        "gain": float(gain.mean()),
        "gain_on_news": float(gain[has_news].mean()),
        "own_against_base_rate": float((log_losses(news["y"], news[P_BASE_RATE]) - own).mean()),
        "own_against_pattern_base_rate": float((log_losses(news["y"], news[P_PATTERN_BASE_RATE]) - own).mean()),
        "own_against_others": float((log_losses(news["y"], without.loc[has_news, P_CHALLENGER]) - own).mean()),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed each, fewer stocks")
    parser.add_argument("--json", metavar="FILE", help="also write the results as JSON")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--all-members", action="store_true", help="with forest and net as well")
    arguments = parser.parse_args()
    seeds, n_symbols = (QUICK_SEEDS, QUICK_SYMBOLS) if arguments.quick else (SEEDS, N_SYMBOLS)
    members = (*MEMBERS, "forest", "net") if arguments.all_members else MEMBERS
    jobs = [(kind, seed, n_symbols, members) for seed in seeds for kind in MARKETS]
    if os.environ.get("CATALYST_MARKET_DATA") and not arguments.quick:
        jobs.append((REAL, 0, 0, members))
    os.environ["OMP_NUM_THREADS"] = "1"
    results = []
    # Spawned, not forked: OpenMP does not survive a fork.
    with multiprocessing.get_context("spawn").Pool(arguments.processes) as pool:
        for result in pool.imap_unordered(run_one, jobs):
            results.append(result)
            print(f"  {len(results)}/{len(jobs)} {result}", file=sys.stderr, flush=True)
    kinds = dict.fromkeys(job[0] for job in jobs)
    max_share = MAX_TIME_SHARE if set(ALL_MEMBERS) <= set(members) else 1.0
    rows = [_row([r for r in results if r["kind"] == kind], max_share) for kind in kinds]
    title = f"With the catalyst predictor against without it ({n_symbols} stocks, {', '.join(members)}; {machine()})"
    return finish(title, rows, results=results, json_file=arguments.json)


def _row(results: list[dict[str, Any]], max_share: float) -> Row:
    kind = results[0]["kind"]
    gain = _interval([r["gain_on_news"] for r in results])
    time_share = float(np.mean([r["time_share"] for r in results]))
    helps = gain is not None and gain[1] > 0.0
    hurts = gain is not None and gain[2] < 0.0
    cells = {
        "edge": kind,
        "markets": len(results),
        "events with news": round(np.mean([r["n_news"] for r in results])),
        "folds with a say": f"{np.mean([r['say'] for r in results]):.0%}",
        "gain on news, nats": _shown(gain, [r["gain_on_news"] for r in results]),
        "gain on all": _shown(_interval([r["gain"] for r in results]), [r["gain"] for r in results]),
        **{
            f"alone, against {name.replace('_', ' ')}": _shown(
                _interval([r[f"own_against_{name}"] for r in results]), [r[f"own_against_{name}"] for r in results]
            )
            for name in ("base_rate", "pattern_base_rate", "others")
        },
        "share of fit time": f"{time_share:.1%}",
    }
    missed = hurts or time_share > max_share or (kind == "news" and gain is not None and not helps)
    return Row(cells, missed=missed)


def _interval(values: list[float]) -> tuple[float, float, float] | None:
    """Mean over markets with its 95 % interval; None for a single market."""
    if len(values) < 2:
        return None
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))
    half = float(special.stdtrit(len(values) - 1, 0.975)) * error
    return mean, mean - half, mean + half


def _shown(interval: tuple[float, float, float] | None, values: list[float]) -> str:
    if interval is None:
        return f"{values[0]:+.4f}"
    return "{:+.4f} ({:+.4f} to {:+.4f})".format(*interval)


if __name__ == "__main__":
    sys.exit(main())
