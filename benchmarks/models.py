"""Our procedure against what a user would pick instead, on real bars and on simulated markets with known truth.

Every contender gets the same rows, inputs and folds (eight weeks each, intraday four, trained on what was known
before). One table, each difference of log-loss to ours with a 95 % day-block interval (HAR). Below it: outcomes dealt
anew must give AUC 0.5 at every stage, and what leaks would have promised on the same rows.

Goals: nobody is significantly better than ours in log-loss, the base rate neither; on markets with an edge ours has a
share of the oracle's log-loss gain at most 2 points below the best peer's; permuted outcomes give AUC 0.5 within the
interval. Real bars are read from the folder named by CATALYST_MARKET_DATA; without it their lines say "not shown".

    python benchmarks/models.py                     # all markets
    python benchmarks/models.py --only weak --keep DIR    # markets kept in DIR are not walked again
    python benchmarks/models.py --quick             # one small simulated market, under a minute
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.support.contenders import PLAN_TREES, contenders
from benchmarks.support.model_checks import Checks, StageAuc, check
from benchmarks.support.model_markets import ModelMarket, real_daily, real_intraday, simulated
from benchmarks.support.model_scores import LEVEL, ContenderScores, pool, score
from benchmarks.support.model_walk import PEER_PREFIX, Cost, Walked, walk
from benchmarks.support.score_cells import interval, score_cells
from benchmarks.support.table import Row, finish, machine
from catalyst_ml.evaluation.intervals import ScoreInterval
from catalyst_ml.evaluation.record import P_BASE_RATE, P_CHALLENGER, P_PATTERN_BASE_RATE, P_RULES

REAL = ("real daily", "real intraday")
SEEDS: dict[str, tuple[int, ...]] = {
    "none": (7_000,),
    "weak": (7_100, 7_101),
    "middle": (7_200, 7_201),
    "strong": (7_300, 7_301),
}
QUICK_PLAN_TREES = 30
MAX_SHARE_BEHIND = 0.02
ARMS = {"base rate": P_BASE_RATE, "pattern base rate": P_PATTERN_BASE_RATE, "rules, calibrated": P_RULES}
OURS = "ours"
CHECKS = "checks.json"


class Job(NamedTuple):
    """One market to walk through; the checks run on one of them. What is found stays in the folder, if there is one."""

    market: str
    seed: int
    plan_trees: int
    is_quick: bool
    is_checked: bool
    folder: Path | None = None
    without: tuple[str, ...] = ()


class Done(NamedTuple):
    """What a job brings back."""

    job: Job
    walked: Walked
    checks: Checks | None


def run(job: Job) -> Done:
    """Walk one market, in a process of its own on one thread; what a folder already holds is read from there."""
    peers = [peer for peer in contenders(plan_trees=job.plan_trees) if peer.name not in job.without]
    name = f"{job.market}-{job.seed}-{job.plan_trees}-{len(peers)}".replace(" ", "-")
    file = None if job.folder is None else job.folder / name
    walked = Walked.kept(file) if file else None
    checks = Checks.kept(job.folder / CHECKS) if job.folder and job.is_checked else None
    if walked is not None and (checks is not None or not job.is_checked):
        return Done(job, walked, checks)
    market = _market(job)
    if walked is None:
        walked = walk(market, peers)
        if file:
            walked.keep(file)
    if job.is_checked and checks is None:
        checks = check(market)
        if job.folder:
            checks.keep(job.folder / CHECKS)
    return Done(job, walked, checks)


def main() -> int:
    names = [contender.name for contender in contenders()]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one small simulated market, under a minute")
    parser.add_argument("--json", metavar="FILE", help="also write the results as JSON")
    parser.add_argument("--only", metavar="MARKET", action="append", choices=[*REAL, *SEEDS], help="may be repeated")
    parser.add_argument("--plan-trees", type=int, default=PLAN_TREES, help=f"the plan says {PLAN_TREES}")
    parser.add_argument("--without", action="append", default=[], choices=names, help="contenders to leave out")
    parser.add_argument("--keep", metavar="FOLDER", type=Path, help="keep results there; what this code left is reused")
    parser.add_argument("--seeds", type=int, default=len(max(SEEDS.values(), key=len)), help="seeds of each preset")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    folder = os.environ.get("CATALYST_MARKET_DATA")
    jobs = [Job("middle", 7_900, QUICK_PLAN_TREES, True, True)] if arguments.quick else _jobs(arguments, folder)
    done = list(_run_all(jobs, arguments.processes))
    wanted = arguments.only or ["middle" if arguments.quick else name for name in (*REAL, *SEEDS)]
    return _print(list(dict.fromkeys(wanted)), done, arguments)


def _jobs(arguments: argparse.Namespace, folder: str | None) -> list[Job]:
    """Real bars first, they take longest; the checks run on the daily ones, without them on one with an edge."""
    checked = "real daily" if folder else "middle"
    without = tuple(arguments.without)
    jobs = [
        Job(market, seed, arguments.plan_trees, False, market == checked and seed == seeds[0], arguments.keep, without)
        for market, seeds in ({name: (0,) for name in REAL if folder} | SEEDS).items()
        for seed in seeds[: arguments.seeds]
        if not arguments.only or market in arguments.only
    ]
    return sorted(jobs, key=lambda job: job.market not in REAL)


def _run_all(jobs: list[Job], processes: int) -> Iterator[Done]:
    os.environ["OMP_NUM_THREADS"] = "1"
    # Spawned, not forked: OpenMP does not survive a fork.
    with multiprocessing.get_context("spawn").Pool(min(processes, max(len(jobs), 1))) as workers:
        for done in workers.imap_unordered(run, jobs):
            print(f"  {done.walked.described}: {len(done.walked.record):,} rows judged", file=sys.stderr)
            yield done


def _market(job: Job) -> ModelMarket:
    if job.is_quick:
        return simulated(job.market, seed=job.seed, n_symbols=40, record_sessions=65)
    if job.market not in REAL:
        return simulated(job.market, seed=job.seed)
    folder = Path(os.environ["CATALYST_MARKET_DATA"])
    return real_daily(folder) if job.market == "real daily" else real_intraday(folder)


def _print(markets: list[str], done: list[Done], arguments: argparse.Namespace) -> int:
    rows: list[Row] = []
    results: dict[str, Any] = {}
    for name in markets:
        own = sorted((one for one in done if one.job.market == name), key=lambda one: one.job.seed)
        rows += _rows(name, own) if own else [Row({"market": name, "contender": "not shown: no CATALYST_MARKET_DATA"})]
        results[name] = [
            {"seed": one.job.seed, "n_train": one.walked.n_train, "steps": one.walked.steps} for one in own
        ]
    trees = QUICK_PLAN_TREES if arguments.quick else arguments.plan_trees
    plan = "" if trees == PLAN_TREES else f"; the plan's forest has {trees} trees instead of {PLAN_TREES}"
    title = (
        "Models, purged walk-forward (log-loss minus ours: above zero ours is better, "
        f"{LEVEL:.0%} day-block intervals; CPU seconds on one thread: a fold's fit, 10,000 predictions{plan}; "
        f"{machine()})"
    )
    missed = finish(title, rows, results=results, json_file=arguments.json)
    for one in done:
        if (checks := one.checks) is not None:
            where = one.walked.described
            missed |= finish(f"Outcomes dealt anew by chance ({where})", [_stage_row(s) for s in checks.stages])
            missed |= finish(f"What leaks promise ({where}; {checks.judged})", _leak_rows(checks))
    return missed


def _rows(name: str, done: list[Done]) -> list[Row]:
    """Lines of one market, all its seeds pooled."""
    record = pool([one.walked.record for one in done])
    peers = {column.removeprefix(PEER_PREFIX): column for column in record if column.startswith(PEER_PREFIX)}
    scores = {
        contender: score(record, column, P_CHALLENGER)
        for contender, column in (ARMS | peers | {OURS: P_CHALLENGER}).items()
    }
    best = max((s.oracle.expected for who, s in scores.items() if s.oracle and who != OURS), default=None)
    market = f"{name} ({len(record):,} rows)"
    left_out = [Row({"market": market, "contender": f"{who}: not shown, left out"}) for who in done[0].job.without]
    return [_row(market, who, scores[who], _mean_cost(done, who), best=best) for who in scores] + left_out


def _mean_cost(done: list[Done], contender: str) -> Cost | None:
    costs = [one.walked.costs[contender] for one in done if contender in one.walked.costs]
    if not costs:
        return None
    return Cost(sum(c.fit_s for c in costs) / len(costs), sum(c.predict_s for c in costs) / len(costs))


def _row(market: str, contender: str, scores: ContenderScores, cost: Cost | None, *, best: float | None) -> Row:
    high = scores.difference.high
    is_better = contender != OURS and high is not None and high < 0.0
    oracle = scores.oracle
    is_behind = bool(contender == OURS and oracle and best is not None and oracle.expected < best - MAX_SHARE_BEHIND)
    costs = {"fit": f"{cost.fit_s:.1f}", "predict": f"{cost.predict_s:.2f}"} if cost else {}
    return Row({"market": market, "contender": contender} | score_cells(scores) | costs, missed=is_better or is_behind)


def _stage_row(stage: StageAuc) -> Row:
    cells = {
        "stage": stage.stage,
        "dealt within day and direction: AUC within": interval(stage.within, ".3f"),
        "dealt over all rows: AUC": interval(stage.overall, ".3f"),
    }
    return Row(cells, missed=any(_excludes(found, 0.5) for found in (stage.within, stage.overall)))


def _leak_rows(checks: Checks) -> list[Row]:
    return [
        Row(
            {
                "evaluation": line.evaluation,
                "accuracy": f"{line.accuracy:.1%}",
                "AUC": "" if line.auc is None else f"{line.auc:.3f}",
                "log-loss": f"{line.log_loss:.3f}",
                "AUC, outcomes dealt anew": "" if dealt.auc is None else f"{dealt.auc:.3f}",
            }
        )
        for line, dealt in zip(checks.leaks.rows, checks.leaks_permuted.rows, strict=True)
    ]


def _excludes(found: ScoreInterval, value: float) -> bool:
    return found.low is not None and found.high is not None and not found.low <= value <= found.high


if __name__ == "__main__":
    sys.exit(main())
