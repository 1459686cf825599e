"""Does the gate keep its promise? Promotions on markets without an edge, and on markets with one.

Goals: at most 9 promotions in 100 markets of preset ``none`` (a 5 % gate promotes 9 or fewer with probability
0.97), at least 18 of 20 of preset ``middle``. The whole procedure runs in each market, with the small
budgets of profile ``fast``: simulated bars, events, labels, features, 40 and more weekly re-fits, ensemble, gate.

    python benchmarks/null_market.py            # all seeds
    python benchmarks/null_market.py --only none
    python benchmarks/null_market.py --quick    # a few seeds; fails only if the interval excludes the goal
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.support.table import Row, finish, machine
from catalyst_ml.evaluation.significance import binomial_interval

NULL_SEEDS, MIDDLE_SEEDS = range(1_000, 1_100), range(4_100, 4_120)
QUICK_NULL, QUICK_MIDDLE = range(1_000, 1_002), range(4_100, 4_102)
PRESETS = ("none", "middle")
MAX_NULL_SHARE, MIN_MIDDLE_SHARE = 0.09, 0.90
NULL_SYMBOLS, MIDDLE_SYMBOLS = 24, 120


def run_one(job: tuple[str, int, int]) -> dict[str, object]:
    """Run one market in a process of its own, on one thread."""
    from benchmarks.support.weekly_procedure import run_on_simulator

    preset, seed, n_symbols = job
    started = time.perf_counter()
    run = run_on_simulator(preset, seed=seed, n_symbols=n_symbols)
    gains = {c.opponent: c for c in run.decision.comparisons if c.measure == "log_loss"}
    return {
        "preset": preset,
        "seed": seed,
        "verdict": run.decision.verdict,
        "t": {name: c.t for name, c in gains.items()},
        "gain": gains["p_base_rate"].gain if "p_base_rate" in gains else None,
        "seconds": time.perf_counter() - started,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few seeds, under a minute on two cores")
    parser.add_argument("--only", choices=PRESETS, help="markets of one preset")
    parser.add_argument("--json", metavar="FILE", help="also write the results as JSON")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    nulls, middles = (QUICK_NULL, QUICK_MIDDLE) if arguments.quick else (NULL_SEEDS, MIDDLE_SEEDS)
    symbols = (24, 30) if arguments.quick else (NULL_SYMBOLS, MIDDLE_SYMBOLS)
    jobs = [("middle", seed, symbols[1]) for seed in middles] + [("none", seed, symbols[0]) for seed in nulls]
    jobs = [job for job in jobs if arguments.only in (None, job[0])]
    os.environ["OMP_NUM_THREADS"] = "1"
    # Spawned, not forked: OpenMP does not survive a fork.
    with multiprocessing.get_context("spawn").Pool(arguments.processes) as pool:
        results = []
        for result in pool.imap_unordered(run_one, jobs):
            results.append(result)
            tests = ", ".join(f"{name.removeprefix('p_')} {t:.2f}" for name, t in result["t"].items())
            done = f"{len(results)}/{len(jobs)} {result['preset']} {result['seed']}: {result['verdict']}"
            print(f"  {done} (t against {tests})", file=sys.stderr)
    rows = [_row(results, name, quick=arguments.quick) for name in PRESETS if arguments.only in (None, name)]
    size = f"{symbols[0]} and {symbols[1]} symbols, 1,250 sessions"
    title = f"Promotions by the gate ({size}, fast profile; {machine()})"
    return finish(title, rows, results=results, json_file=arguments.json)


def _row(results: list[dict[str, object]], preset: str, *, quick: bool) -> Row:
    own = [result for result in results if result["preset"] == preset]
    promoted = sum(result["verdict"] == "promote" for result in own)
    interval = binomial_interval(promoted, len(own))
    seconds = sum(float(result["seconds"]) for result in own) / len(own)
    if preset == "none":
        missed = interval.low > MAX_NULL_SHARE if quick else promoted > MAX_NULL_SHARE * len(own)
        goal = f"at most {MAX_NULL_SHARE:.0%}"
    else:
        missed = interval.high < MIN_MIDDLE_SHARE if quick else promoted < MIN_MIDDLE_SHARE * len(own)
        goal = f"at least {MIN_MIDDLE_SHARE:.0%}"
    cells = {
        "preset": preset,
        "markets": len(own),
        "promoted": promoted,
        "95 % interval": f"{interval.low:.1%} to {interval.high:.1%}",
        "goal": goal,
        "seconds a market": f"{seconds:.0f}",
    }
    return Row(cells, missed=missed)


if __name__ == "__main__":
    sys.exit(main())
