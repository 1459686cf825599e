"""Does the trial keep its promises? False "ML is better", power, a planted loser, guardrails that cry wolf.

Goal: at most 64 of 1,000 simulated years without a difference say "ML is better" at any of their daily looks (a 5 %
error rate stays below that with probability 0.97); other tests beside it. Every year goes through the trial's own code:
signals, thresholds, books, marks, evidence, guardrails, stages.

    python benchmarks/trial_validity.py            # about half an hour on two cores
    python benchmarks/trial_validity.py --quick    # under 30 s; fails only if an interval excludes its goal
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pandas as pd

from benchmarks.support.table import Row, finish, machine
from benchmarks.support.trial_records import BURN_IN_SESSIONS, TrialRecord, closes, simulate_record
from benchmarks.support.trial_rivals import (
    asymptotic_on_marks,
    asymptotic_on_settled,
    har_t_test,
    interleaved,
    marks_by_betting,
    product_on_settled,
    t_test,
)
from catalyst_ml.evaluation.significance import Interval, binomial_interval
from catalyst_ml.frames import EVENT_KEY
from catalyst_ml.trial.books import take_positions
from catalyst_ml.trial.run import TrialPolicy, run_trial
from catalyst_ml.trial.sequential import ALPHA
from catalyst_ml.trial.stages import StageMove

YEAR = 252
MAX_FALSE = 0.064
SEED = 31
EDGES: dict[str, float] = {"Sharpe 1": 0.0165, "Sharpe 2": 0.033, "Sharpe 3": 0.050, "Sharpe 4": 0.067}
"""Drift per session in ATR for one sd of score, by the annual Sharpe ratio of ML minus rules that it roughly gives."""
WICKS_KIND, WICKS = "wicks", 0.04
"""Null years in which open trades go on a little as they began, as in simulated markets (see ``simulate_record``)."""
KEY = list(EVENT_KEY)


@dataclass(frozen=True)
class Job:
    """One run: what is planted, when the gate says promote, and the random stream."""

    kind: str
    n_sessions: int
    edge: float
    later_edge: float
    changes_at: int
    seed: int


@dataclass(frozen=True)
class Result:
    """What one run gave; differences by session, and by decision day once settled."""

    job: Job
    marked: np.ndarray
    settled: np.ndarray
    better_at: int
    moves: tuple[tuple[str, str, int, str], ...]
    alarms: dict[str, int]
    per_stake_bps: float
    misses_mean: bool


def run_one(job: Job) -> Result:
    """Simulate one trial and tell it."""
    edge = np.where(np.arange(job.n_sessions) < job.changes_at, job.edge, job.later_edge)
    follow = WICKS if job.kind == WICKS_KIND else 0.0
    rng = np.random.default_rng([SEED, job.seed])
    record = simulate_record(rng, n_sessions=job.n_sessions, edge=edge, follow=follow)
    begins = record.sessions[BURN_IN_SESSIONS - 1 : BURN_IN_SESSIONS]
    verdicts = pd.DataFrame({"as_of": closes(begins), "verdict": ["promote"]})
    policy = TrialPolicy()
    run = run_trial(
        record.events,
        record.marks,
        verdicts,
        record.health,
        policy,
        as_of=record.as_of,
        with_interval=False,
    )
    days = run.days
    sessions = pd.DatetimeIndex(days["session"])
    settled = _settled_differences(record, sessions, policy) if job.kind in ("null", *EDGES) else np.empty(0)
    since = run.better_since(policy)
    return Result(
        job=job,
        marked=days["difference"].to_numpy(),
        settled=settled,
        better_at=-1 if since is None else int(sessions.get_loc(since)),
        moves=tuple(_plain(move, sessions) for move in run.moves),
        alarms=_episodes(days["alarms"]),
        per_stake_bps=float(1e4 * days["difference"].sum() / days["stake"].sum()),
        # The interval excludes 0 exactly when one of the two e-values has reached 20 (tested).
        misses_mean=bool((days[["log_e_up", "log_e_down"]].to_numpy() >= np.log(1.0 / ALPHA)).any()),
    )


def _settled_differences(record: TrialRecord, sessions: pd.DatetimeIndex, policy: TrialPolicy) -> np.ndarray:
    """Profit of ML minus that of the rules by decision day, as known once every trade is over."""
    positions = take_positions(record.events, coverage=policy.coverage)
    earned = positions.merge(record.events[[*KEY, "net_return"]], on=KEY)
    difference = (earned["size_ml"] - earned["size_rules"]) * earned["net_return"].fillna(0.0)
    return np.bincount(sessions.get_indexer(earned["session"]), weights=difference, minlength=len(sessions))


def _plain(move: StageMove, sessions: pd.DatetimeIndex) -> tuple[str, str, int, str]:
    cause = "guardrail"
    if move.to_stage != "shadow":
        cause = "up"
    elif "evidence" in move.reason:
        cause = "version" if "version in service" in move.reason else "evidence"
    return move.from_stage, move.to_stage, int(sessions.get_loc(move.session)), cause


def _episodes(alarms: pd.Series) -> dict[str, int]:
    """How often each guardrail began to fire."""
    counts: Counter[str] = Counter()
    before: set[str] = set()
    for names in alarms:
        now = set(names.split(", ")) if names else set()
        counts.update(now - before)
        before = now
    return dict(counts)


def jobs_of(*, quick: bool) -> list[Job]:
    """All runs, the longest first."""
    n_null, n_edge, n_loser, years = (24, 6, 4, 1) if quick else (1_000, 200, 150, 3)
    jobs = [
        Job(name, years * YEAR, edge, edge, 0, 10_000 * (k + 1) + i)
        for k, (name, edge) in enumerate(EDGES.items())
        if not quick or name == "Sharpe 4"
        for i in range(n_edge)
    ]
    for k, name in enumerate(("Sharpe 2", "Sharpe 3", "Sharpe 4")):
        if quick and name != "Sharpe 4":
            continue
        edge = EDGES[name]
        jobs += [Job(f"turns {name}", 2 * YEAR, edge, -edge, YEAR, 100_000 + 1_000 * k + i) for i in range(n_loser)]
        jobs += [Job(f"loser {name}", YEAR, -edge, -edge, 0, 200_000 + 1_000 * k + i) for i in range(n_loser)]
    jobs += [Job(WICKS_KIND, YEAR, 0.0, 0.0, 0, 300_000 + i) for i in range(n_loser)]
    return jobs + [Job("null", YEAR, 0.0, 0.0, 0, i) for i in range(n_null)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few years, under 30 s on two cores")
    parser.add_argument("--json", metavar="FILE", help="also write the results as JSON")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    jobs = jobs_of(quick=arguments.quick)
    os.environ["OMP_NUM_THREADS"] = "1"
    results = []
    with multiprocessing.get_context("spawn").Pool(arguments.processes) as pool:
        for result in pool.imap_unordered(run_one, jobs, chunksize=4):
            results.append(result)
            if len(results) % 200 == 0:
                print(f"  {len(results)} of {len(jobs)} trials", file=sys.stderr)
    results.sort(key=lambda r: r.job.seed)
    rows = [
        *_null_rows([r for r in results if r.job.kind == "null"], quick=arguments.quick),
        _wicks_row([r for r in results if r.job.kind == WICKS_KIND]),
        *_power_rows(results),
        *_loser_rows(results),
        *_alarm_rows([r for r in results if r.job.kind == "null"]),
    ]
    dump = [_as_json(result) for result in results] if arguments.json else None
    title = f"The trial on simulated records ({machine()})"
    return finish(title, rows, results=dump, json_file=arguments.json)


def _null_rows(results: list[Result], *, quick: bool) -> list[Row]:
    marked, settled = (np.stack([getattr(r, name) for r in results]) for name in ("marked", "settled"))
    ours = np.array([r.better_at for r in results])
    if not np.array_equal(ours >= 0, marks_by_betting(marked) >= 0):
        raise RuntimeError("the trial's answer and the same bets on its differences disagree")
    ways = {
        "**bets on marks (the trial)**": ours,
        "t-test on marks, daily looks": t_test(marked),
        "t-test on settled days, daily looks": t_test(settled),
        "gate's HAR t-test on settled days, daily looks": har_t_test(settled),
        "bets on settled days, as if they did not overlap": product_on_settled(settled),
        "interleaved bets on settled days": interleaved(settled),
        "asymptotic sequence on settled days": asymptotic_on_settled(settled),
        "asymptotic sequence on marks": asymptotic_on_marks(marked),
    }
    rows = []
    for name, says in ways.items():
        n_false = int((says >= 0).sum())
        interval = binomial_interval(n_false, len(results))
        missed = (interval.low > MAX_FALSE if quick else n_false > MAX_FALSE * len(results)) and says is ours
        goal = f"at most {MAX_FALSE:.1%}" if says is ours else ""
        rows.append(
            _row("no difference: false 'ML is better' in a year", name, n_false, len(results), interval, goal, missed)
        )
    n_missed = sum(r.misses_mean for r in results)
    interval = binomial_interval(n_missed, len(results))
    over = (interval.low if quick else n_missed / len(results)) > 2.0 * MAX_FALSE
    rows.append(
        _row(
            "no difference: 90 % interval ever without 0",
            "bets on marks",
            n_missed,
            len(results),
            interval,
            "",
            over,
        )
    )
    return rows


def _wicks_row(results: list[Result]) -> Row:
    n_false = sum(r.better_at >= 0 for r in results)
    interval = binomial_interval(n_false, len(results))
    what = f"no difference, but trades go on as they began ({WICKS:.0%} a session)"
    return _row(what, "**bets on marks (the trial)**", n_false, len(results), interval, "", interval.low > MAX_FALSE)


def _power_rows(results: list[Result]) -> list[Row]:
    rows = []
    for name in EDGES:
        own = [r for r in results if r.job.kind == name]
        if not own:
            continue
        marked, settled = (np.stack([getattr(r, field) for r in own]) for field in ("marked", "settled"))
        sharpe = float(np.mean(marked.mean(axis=1) / marked.std(axis=1)) * np.sqrt(YEAR))
        per_stake = float(np.mean([r.per_stake_bps for r in own]))
        what = f"true difference: Sharpe {sharpe:.1f}, {per_stake:+.0f} bp a trade"
        for way, says in {
            "**bets on marks (the trial)**": np.array([r.better_at for r in own]),
            "interleaved bets on settled days": interleaved(settled),
            "asymptotic sequence on settled days": asymptotic_on_settled(settled),
            "asymptotic sequence on marks": asymptotic_on_marks(marked),
        }.items():
            for years in (1, 2, 3):
                if marked.shape[1] < years * YEAR:
                    continue
                found = (says >= 0) & (says < years * YEAR)
                n_found = int(found.sum())
                row = _row(
                    what,
                    f"{way}: found in {years} y",
                    n_found,
                    len(own),
                    binomial_interval(n_found, len(own)),
                    "",
                    False,
                )
                row.cells["median delay"] = _median(np.where(says < 0, 10**6, says), len(own), years * YEAR)
                rows.append(row)
        rows.append(_demoted_row(what, own))
    return rows


def _demoted_row(what: str, own: list[Result]) -> Row:
    """How often a good model is taken off: a nuisance, not an error of the evidence."""
    years = sum(len(r.marked) for r in own) / YEAR
    causes = Counter(cause for r in own for _, to, _, cause in r.moves if to == "shadow")
    cells = {
        "what": what,
        "way": "taken off wrongly, per year",
        "runs": len(own),
        "n": sum(causes.values()),
        "share": f"{sum(causes.values()) / years:.3f}",
        "note": ", ".join(f"{cause} {n}" for cause, n in causes.most_common()),
    }
    return Row(cells)


def _loser_rows(results: list[Result]) -> list[Row]:
    rows = []
    kinds = dict.fromkeys(r.job.kind for r in results if r.job.kind.startswith(("loser", "turns")))
    for kind in sorted(kinds):
        own = [r for r in results if r.job.kind == kind]
        start = own[0].job.changes_at
        was_up = [r for r in own if _stage_at(r, start) != "shadow"] if start else own
        delays, causes = [], Counter()
        for r in was_up:
            down = [(at, cause) for _, to, at, cause in r.moves if to == "shadow" and at >= start]
            delays.append(down[0][0] - start if down else 10**6)
            causes[down[0][1] if down else "none"] += 1
        sharpe = np.mean([r.marked[start:].mean() / r.marked[start:].std() for r in own]) * np.sqrt(YEAR)
        gone = int(sum(d < YEAR for d in delays))
        name = "turns bad after a good year" if start else "loses from the start, promoted all the same"
        row = _row(
            f"planted loser (Sharpe {sharpe:.1f}): {name}", "taken off within a year", gone, len(was_up),
            binomial_interval(gone, len(was_up)), "", False,
        )  # fmt: skip
        row.cells["median delay"] = _median(np.array(delays), len(was_up), YEAR)
        row.cells["note"] = ", ".join(f"{cause} {n}" for cause, n in causes.most_common())
        rows.append(row)
    return rows


def _stage_at(result: Result, session: int) -> str:
    stage = "shadow"
    for _, to, at, _ in result.moves:
        if at < session:
            stage = to
    return stage


def _alarm_rows(results: list[Result]) -> list[Row]:
    years = sum(len(r.marked) for r in results) / YEAR
    counts = Counter()
    for r in results:
        counts.update(r.alarms)
    rows = []
    for name in ("drawdown", "calibration", "accuracy", "novelty", "stale_model", "predictions"):
        cells = {
            "what": "no difference: guardrail fires, per year", "way": name, "runs": len(results), "n": counts[name],
            "share": f"{counts[name] / years:.3f}",
        }  # fmt: skip
        rows.append(Row(cells))
    rows.append(_demoted_row("no difference", results))
    return rows


def _row(what: str, way: str, n: int, runs: int, interval: Interval, goal: str, missed: bool) -> Row:
    cells = {
        "what": what, "way": way, "runs": runs, "n": n, "share": f"{n / max(runs, 1):.1%}",
        "95 % interval": f"{interval.low:.1%} to {interval.high:.1%}", "goal": goal,
    }  # fmt: skip
    return Row(cells, missed=missed)


def _median(delay: np.ndarray, runs: int, horizon: int) -> str:
    """Median over all runs, those that never got there counting as late."""
    if not runs:
        return ""
    median = float(np.median(delay))
    return f"{median:.0f} sessions" if median < horizon else "later"


def _as_json(result: Result) -> dict[str, Any]:
    return {
        "kind": result.job.kind,
        "seed": result.job.seed,
        "better_at": result.better_at,
        "moves": result.moves,
        "alarms": result.alarms,
        "per_stake_bps": result.per_stake_bps,
    }


if __name__ == "__main__":
    sys.exit(main())
