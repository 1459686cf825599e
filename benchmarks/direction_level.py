"""What the level of the directions brings: the procedure with it against the same one without, and the base rates.

Both walk forward through simulated markets in folds of eight weeks. Gains of log-loss in 0.0001 an event: *expected* in
the mean over each event's known probability, *realised* with the outcomes as they fell, 95 % day-block intervals (HAR),
above zero ours is better. Goals: the expected gain of the level is not significantly below zero on any preset, and with
it neither base rate is significantly better as the outcomes fell (docs/decisions/0034).

    python benchmarks/direction_level.py                 # four presets, one thread per market
    python benchmarks/direction_level.py --only none
    python benchmarks/direction_level.py --quick         # one small market, under a minute
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pandas as pd

from benchmarks.support.model_markets import P_TRUE, simulated
from benchmarks.support.model_scores import expected_log_losses, pool
from benchmarks.support.score_cells import interval
from benchmarks.support.table import Row, finish, machine
from catalyst_ml.evaluation.intervals import ScoreInterval, mean_interval
from catalyst_ml.evaluation.record import P_BASE_RATE, P_CHALLENGER, P_PATTERN_BASE_RATE, log_losses
from catalyst_ml.evaluation.splits import test_rows
from catalyst_ml.models.walk_forward import combine_folds, fit_fold

SEEDS: dict[str, tuple[int, ...]] = {
    "none": (9_500, 9_501),
    "weak": (9_700, 9_701),
    "middle": (9_600, 9_601),
    "strong": (9_800, 9_801),
}
"""Not those that chose it: 9100 to 9107, 9200 to 9205, 9300 to 9302 and 9400 to 9402."""
QUICK = ("middle", 9_900)
WITHOUT = "p_without"
SCALE, LEVEL = 10_000.0, 0.95


class Job(NamedTuple):
    """One market."""

    preset: str
    seed: int
    is_quick: bool


def run(job: Job) -> tuple[Job, pd.DataFrame]:
    """Walk both procedures through one market; return the record with both answers and the known probability."""
    size = {"n_symbols": 40, "record_sessions": 65} if job.is_quick else {}
    market = simulated(job.preset, seed=job.seed, **size)
    records = []
    for level in (True, False):
        procedure = replace(market.procedure, direction_level=level)
        folds = [fit_fold(market.rows, fold, procedure, n_threads=1) for fold in market.folds]
        records.append(combine_folds(folds, procedure).record)
    judged = np.any([test_rows(market.rows, fold) for fold in market.folds if fold.kind == "record"], axis=0)
    known = market.rows.loc[judged, P_TRUE].to_numpy()
    return job, records[0].assign(**{WITHOUT: records[1][P_CHALLENGER].to_numpy(), P_TRUE: known})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one small market, under a minute")
    parser.add_argument("--only", action="append", choices=SEEDS, help="may be repeated")
    parser.add_argument("--json", metavar="FILE", help="also write the results as JSON")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    jobs = [Job(preset, seed, False) for preset in arguments.only or SEEDS for seed in SEEDS[preset]]
    jobs = [Job(*QUICK, True)] if arguments.quick else jobs
    os.environ["OMP_NUM_THREADS"] = "1"
    # Spawned, not forked: OpenMP does not survive a fork.
    with multiprocessing.get_context("spawn").Pool(min(arguments.processes, len(jobs))) as workers:
        done: dict[Job, pd.DataFrame] = {}
        for job, record in workers.imap_unordered(run, jobs):
            print(f"  {job.preset} {job.seed}: {len(record):,} events judged", file=sys.stderr)
            done[job] = record
    presets = list(dict.fromkeys(job.preset for job in jobs))
    rows = [_row(preset, [done[job] for job in jobs if job.preset == preset]) for preset in presets]
    title = f"Level of the directions, gains of log-loss in 0.0001 an event ({machine()})"
    return finish(title, rows, json_file=arguments.json)


def _row(preset: str, records: list[pd.DataFrame]) -> Row:
    record = pool(records)
    y, p_true = record["y"].to_numpy(), record[P_TRUE].to_numpy()
    realised = {name: log_losses(y, record[name].to_numpy()) for name in _ARMS}
    expected = {name: expected_log_losses(p_true, record[name].to_numpy()) for name in _ARMS}

    def gain(losses: dict[str, np.ndarray], over: str, of: str = P_CHALLENGER) -> ScoreInterval:
        return mean_interval(losses[over] - losses[of], record["session"], level=LEVEL)

    cells: dict[str, Any] = {
        "preset": f"{preset} ({len(records)} markets, {len(record):,} events)",
        "over ours without, expected": interval(gain(expected, WITHOUT), "+.1f", SCALE),
        "over ours without, realised": interval(gain(realised, WITHOUT), "+.1f", SCALE),
    }
    for name, rival in (("base rate", P_BASE_RATE), ("pattern base rate", P_PATTERN_BASE_RATE)):
        cells[f"over the {name}, realised"] = interval(gain(realised, rival), "+.1f", SCALE)
        cells[f"without: over the {name}, realised"] = interval(gain(realised, rival, of=WITHOUT), "+.1f", SCALE)
    kept = (gain(expected, WITHOUT), gain(realised, P_BASE_RATE), gain(realised, P_PATTERN_BASE_RATE))
    return Row(cells, missed=any(found.high is not None and found.high < 0.0 for found in kept))


_ARMS = (P_CHALLENGER, WITHOUT, P_BASE_RATE, P_PATTERN_BASE_RATE)

if __name__ == "__main__":
    sys.exit(main())
