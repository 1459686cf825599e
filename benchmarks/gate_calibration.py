"""How often does the gate promote what is no better, and how long does it need to see what is?

Simulated decision points on records with the dependence of real ones (``benchmarks/support/shadow_records.py``): days
whose success rate moves by 0.13, labels that overlap five sessions, 100 events a day. Goal: at most 64 promotions in
1,000 decisions without a difference, by the full gate and by its main bound alone, at 65 sessions and at the default
record. Beside it, on the same records, the plan's rule: "promote when accuracy rose by more than one point".

    python benchmarks/gate_calibration.py            # everything, about 8 minutes of one core
    python benchmarks/gate_calibration.py --quick    # a twentieth; fails only if the interval excludes the goal
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pandas as pd
from scipy import special

from benchmarks.support import shadow_records as simulated
from benchmarks.support.shadow_records import Arms
from benchmarks.support.table import Row, finish, machine
from catalyst_ml.evaluation.comparison import daily_log_loss_gain
from catalyst_ml.evaluation.deflation import Trial, deflate
from catalyst_ml.evaluation.gate import ChampionInfo, DriftEvidence, GateEvidence, GatePolicy, decide
from catalyst_ml.evaluation.record import log_losses
from catalyst_ml.evaluation.significance import Interval, binomial_interval, har_t_test, long_run_variance
from catalyst_ml.evaluation.splits import RECORD_SESSIONS
from catalyst_ml.evaluation.trading import trades_at_coverage

ALPHA, GOAL, BAND = 0.05, 0.05, 0.064
"""A true 5 % shows at most 64 promotions in 1,000 with probability 0.98."""
LENGTHS = (65, RECORD_SESSIONS)
WEEK = 5
WEEKS_A_YEAR = 52
LONG_LENGTHS = (65, 130, 260, 390, 520, 780, 1040)
POWER = 0.8

NULLS = {
    "neither knows anything": Arms(guess=0.15, champion_guess=0.15),
    "both know, equally much": Arms(champion_skill=0.3, challenger_skill=0.3, guess=0.2, champion_guess=0.2),
    "the same, both bet on the market": Arms(
        champion_skill=0.3, challenger_skill=0.3, guess=0.1, champion_guess=0.1, tilt=0.15
    ),
}
CHAMPION_SKILL, NOISE = 0.15, 0.05
POINTS = (1, 2, 3)


@dataclass(frozen=True)
class Share:
    """A count of promotions with its exact 95 % interval."""

    count: int
    n: int

    @property
    def interval(self) -> Interval:
        return binomial_interval(self.count, self.n)

    def __str__(self) -> str:
        return (
            f"{self.count} of {self.n:,}: {self.count / self.n:.1%} [{self.interval.low:.1%}, {self.interval.high:.1%}]"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a twentieth of everything, under half a minute")
    parser.add_argument("--json", metavar="FILE", help="also write the figures as JSON")
    arguments = parser.parse_args()
    quick = arguments.quick
    started = time.perf_counter()
    tables = [
        ("The simulator", _noise_rows(quick=quick)),
        ("Decisions without a difference", _null_rows(40 if quick else 1_000, quick=quick)),
        ("A year of weekly decisions on one running record", _year_rows(3 if quick else 200)),
        ("Power, and weeks of record for four promotions in five", _power_rows(4 if quick else 100)),
        ("Five procedures tried on one record", _many_rows(3 if quick else 200)),
    ]
    results = {name: [row.cells for row in rows] for name, rows in tables}
    codes = [finish(f"{name} ({machine()})", rows) for name, rows in tables]
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(results, indent=1) + "\n")
    print(f"{time.perf_counter() - started:.0f} s", file=sys.stderr)
    return max(codes)


# --- the simulator --------------------------------------------------------------------------------------------


def _noise_rows(*, quick: bool) -> list[Row]:
    rows = []
    for name, arms in NULLS.items():
        events = simulated.draw_events(np.random.default_rng(5), arms, sessions=500 if quick else 5_000)
        daily = np.bincount(events.day, weights=events.y) / np.bincount(events.day)
        effect = long_run_variance(daily) / (0.25 / 100)
        gain = _daily_gain(events, events.p_champion)
        accuracy = _accuracy_difference(events).reshape(-1, WEEK).mean(axis=1)
        cells = {
            "no difference": name,
            "daily success rate, sd": f"{daily.std():.3f}",
            "design effect": f"{effect:.0f}",
            "weekly paired accuracy, sd": f"{100 * accuracy.std():.1f} points",
            "long-run / daily variance of the log-loss gain": f"{long_run_variance(gain) / gain.var():.1f}",
        }
        rows.append(Row(cells))
    return rows


# --- decisions without a difference ---------------------------------------------------------------------------


def _null_rows(n: int, *, quick: bool) -> list[Row]:
    rows = []
    for sessions in LENGTHS:
        for number, (name, arms) in enumerate(NULLS.items()):
            bound = full = paired = stored = 0
            for k in range(n):
                seed = 100_000 * sessions + 10_000 * number + k
                rng = np.random.default_rng(seed)
                events = simulated.draw_events(rng, arms, sessions=sessions)
                if _passes_bound(events):
                    bound += 1
                    full += _full_gate(simulated.as_record(events, rng))
                right = _accuracies(events)
                paired += bool(right[0, -WEEK:].mean() > right[1, -WEEK:].mean() + 0.01)
                # The number that was stored when the champion was made, at the start of the record.
                stored += bool(right[0, -WEEK:].mean() > right[1, :WEEK].mean() + 0.01)
            counts = {"full gate": Share(full, n), "log-loss bound alone": Share(bound, n)}
            plan = {"plan's rule, paired": Share(paired, n), "over a stored number": Share(stored, n)}
            worst = counts["log-loss bound alone"]
            missed = worst.interval.low > GOAL if quick else worst.count > BAND * n
            cells = {"sessions": sessions, "no difference": name} | {k: str(v) for k, v in (counts | plan).items()}
            rows.append(Row(cells | {"goal": f"at most {BAND * n:.0f}"}, missed=missed))
    return rows


def _passes_bound(events: simulated.Events) -> bool:
    """All log-loss tests; in the simulator both base rates say one half."""
    gains = np.array([_daily_gain(events, events.p_champion), _daily_gain(events, np.full(len(events.y), 0.5))])
    return bool(_passes(gains).all())


def _full_gate(record: pd.DataFrame, policy: GatePolicy | None = None) -> bool:
    daily = trades_at_coverage(record, "p_challenger").daily_profit()
    evidence = GateEvidence(0.0, 0.0, True, DriftEvidence(questions=1), deflate(daily))
    decision = decide(
        record,
        policy=policy or GatePolicy(),
        champion=ChampionInfo("rules"),
        challenger_procedure_id="p",
        evidence=evidence,
    )
    return decision.verdict == "promote"


# --- a year of weekly decisions -------------------------------------------------------------------------------


def _year_rows(years: int) -> list[Row]:
    """Each year is one record that moves on by a week at a time: neighbouring decisions share nearly all of it."""
    rows = []
    for sessions in LENGTHS:
        for number, (name, arms) in enumerate(NULLS.items()):
            passed, entered = np.zeros((years, WEEKS_A_YEAR), dtype=bool), np.zeros(years)
            plan, plan_entered = np.zeros((years, WEEKS_A_YEAR), dtype=bool), np.zeros(years)
            for year in range(years):
                rng = np.random.default_rng([sessions, number, year])
                events = simulated.draw_events(rng, arms, sessions=sessions + WEEK * (WEEKS_A_YEAR - 1))
                passed[year] = _weekly_verdicts(events, sessions, rng)
                entered[year] = _entries(passed[year])
                right = _accuracies(events)
                weeks = [
                    right[:, sessions - WEEK + WEEK * w : sessions + WEEK * w].mean(axis=1) for w in range(WEEKS_A_YEAR)
                ]
                plan[year] = [ours > theirs + 0.01 for ours, theirs in weeks]
                plan_entered[year] = _entries(plan[year])
            cells = {
                "sessions": sessions,
                "no difference": name,
                "years": years,
                "weekly decisions that promote": f"{passed.mean():.1%}",
                "false promotions a year": _mean_with_interval(entered),
                "years with at least one": str(Share(int(passed.any(axis=1).sum()), years)),
                "plan's rule (paired), a year": _mean_with_interval(plan_entered),
            }
            rows.append(Row(cells))
    return rows


def _weekly_verdicts(events: simulated.Events, sessions: int, rng: np.random.Generator) -> np.ndarray:
    gains = np.array([_daily_gain(events, events.p_champion), _daily_gain(events, np.full(len(events.y), 0.5))])
    windows = np.lib.stride_tricks.sliding_window_view(gains, sessions, axis=1)[:, ::WEEK]  # (2, weeks, sessions)
    verdicts: np.ndarray = _passes(windows).all(axis=0)
    if verdicts.any():
        record = simulated.as_record(events, rng)
        for week in np.flatnonzero(verdicts):
            # Asked in full when a run of passing weeks begins; the next week's record shares all but five sessions.
            if not week or not verdicts[week - 1]:
                inside = (events.day >= WEEK * week) & (events.day < WEEK * week + sessions)
                verdicts[week] = _full_gate(record[inside].reset_index(drop=True))
    return verdicts


def _entries(promotes: np.ndarray) -> int:
    """How often a run of promoting weeks begins: what it costs if each is undone when the evidence is gone."""
    return int(promotes[0]) + int((promotes[1:] & ~promotes[:-1]).sum())


# --- power ----------------------------------------------------------------------------------------------------


def _power_rows(n: int) -> list[Row]:
    kinds: dict[str, dict[str, Any]] = {
        "knows other things": {},
        "knows more": {"knows_champion": True},
        "knows other things, bets on the market": {"tilt": 0.1},
    }
    rows = []
    for kind, extra in kinds.items():
        for points in POINTS:
            arms = _arms_better_by(points, extra)
            at = {sessions: _power(arms, sessions, n, seed=points) for sessions in LENGTHS}
            needed, plan = _weeks_needed(arms, n, seed=points)
            cells = {
                "challenger": kind,
                "true accuracy": f"+{points} point{'s' if points > 1 else ''}",
                **{f"promoted at {sessions} sessions": str(share) for sessions, share in at.items()},
                "weeks of record for 80 %": needed,
                "plan's rule, any one week": plan,
            }
            rows.append(Row(cells))
    return rows


def _arms_better_by(points: int, extra: dict[str, Any]) -> Arms:
    shock = simulated.DAILY_LOGIT_SD * (np.sqrt(2.0) if "tilt" in extra else 1.0)
    knows_more = "knows_champion" in extra
    # The part the other arm knows is noise to this one; it is small, so two rounds settle it.
    challenger = CHAMPION_SKILL
    for _ in range(3):
        base = simulated.accuracy_of(CHAMPION_SKILL, float(np.hypot(shock, challenger)))
        wanted = simulated.skill_for(
            base + points / 100.0, shock if knows_more else float(np.hypot(shock, CHAMPION_SKILL))
        )
        challenger = float(np.sqrt(wanted**2 - CHAMPION_SKILL**2)) if knows_more else wanted
    return Arms(champion_skill=CHAMPION_SKILL, challenger_skill=challenger, guess=NOISE, champion_guess=NOISE, **extra)  # type: ignore[arg-type]


def _power(arms: Arms, sessions: int, n: int, *, seed: int) -> Share:
    promoted = 0
    for k in range(n):
        rng = np.random.default_rng([seed, sessions, k])
        events = simulated.draw_events(rng, arms, sessions=sessions)
        promoted += _passes_bound(events) and _full_gate(simulated.as_record(events, rng))
    return Share(promoted, n)


def _weeks_needed(arms: Arms, n: int, *, seed: int) -> tuple[str, str]:
    """Weeks of record at which the bound passes in 80 % of records, between lengths on a line; and the plan's rule."""
    passed = np.zeros((len(LONG_LENGTHS), n), dtype=bool)
    plan = 0
    for k in range(n):
        events = simulated.draw_events(np.random.default_rng([seed, 9, k]), arms, sessions=LONG_LENGTHS[-1])
        gains = np.array([_daily_gain(events, events.p_champion), _daily_gain(events, np.full(len(events.y), 0.5))])
        for i, length in enumerate(LONG_LENGTHS):
            passed[i, k] = _passes(gains[:, :length]).all()
        right = _accuracies(events)[:, :WEEK].mean(axis=1)
        plan += bool(right[0] > right[1] + 0.01)
    power = np.maximum.accumulate(passed.mean(axis=1))
    said = f"{plan / n:.0%}"
    if power[-1] < POWER:
        return f"more than {LONG_LENGTHS[-1] // WEEK} ({power[-1]:.0%} there)", said
    if power[0] >= POWER:
        return f"at most {LONG_LENGTHS[0] // WEEK}", said
    return f"about {np.interp(POWER, power, np.array(LONG_LENGTHS) / WEEK):.0f}", said


# --- many procedures ------------------------------------------------------------------------------------------


def _many_rows(n: int) -> list[Row]:
    """Offer five challengers on one record to the gate, one after the other, under some rules for their number.

    Counted is whether any of them is promoted. The gate divides the level and asks for a deflated Sharpe of 0.5.
    """
    same = CHAMPION_SKILL
    others = float(np.hypot(simulated.DAILY_LOGIT_SD, same))
    good = simulated.skill_for(simulated.accuracy_of(same, others) + 0.03, others)
    cases = {
        "five unlike ideas, each as good as the champion": ((same,) * 5, False),
        "five variants of one idea, as good as the champion": ((same,) * 5, True),
        "five unlike ideas, one of them 3 points better": ((good, same, same, same, same), False),
        "five variants of one idea, 3 points better": ((good,) * 5, True),
    }
    rows = []
    for sessions, (number, (name, (skills, shared))) in product(LENGTHS, enumerate(cases.items())):
        counts = {"no correction": 0, "deflated Sharpe at least 0.5": 0, "at least 0.95": 0, "level / 5": 0}
        clusters = []
        for k in range(n):
            record, columns = simulated.many_challengers(
                seed=1_000 * number + k,
                sessions=sessions,
                skills=skills,
                champion_skill=CHAMPION_SKILL,
                shared=shared,
            )
            daily = {c: trades_at_coverage(record, c).daily_profit() for c in columns}
            passes = dict.fromkeys(counts, False)
            for column in columns:
                gains = [daily_log_loss_gain(record, column, rival) for rival in ("p_champion", "p_base_rate")]
                p_value = max(har_t_test(gain.to_numpy()).p_value for gain in gains)
                rivals = [Trial(c, float(d.mean() / d.std(ddof=1)), d) for c, d in daily.items() if c != column]
                found = deflate(daily[column], rivals)
                clusters.append(found.n_effective)
                if p_value < ALPHA:
                    passes["no correction"] = True
                    passes["deflated Sharpe at least 0.5"] |= (found.deflated or 0.0) >= 0.5
                    passes["at least 0.95"] |= (found.deflated or 0.0) >= 0.95
                passes["level / 5"] |= p_value < ALPHA / len(columns)
            for rule, passed in passes.items():
                counts[rule] += passed
        cells = {"sessions": sessions, "tried": name} | {rule: str(Share(count, n)) for rule, count in counts.items()}
        rows.append(Row(cells | {"effective trials": f"{np.mean(clusters):.1f}"}))
    return rows


# --- shared ---------------------------------------------------------------------------------------------------


def _passes(daily: np.ndarray) -> np.ndarray:
    """One-sided HAR t-test at 5 % along the last axis, as `har_t_test` does one at a time."""
    n = daily.shape[-1]
    df = max(int(0.41 * n ** (2.0 / 3.0)), 1)
    j = np.arange(1, df + 1)[:, None]
    waves = np.sqrt(2.0 / n) * np.cos(np.pi * j * (np.arange(1, n + 1) - 0.5) / n)
    mean = daily.mean(axis=-1)
    variance = np.mean(((daily - mean[..., None]) @ waves.T) ** 2, axis=-1)
    t = np.sqrt(n) * mean / np.sqrt(np.maximum(variance, 1e-300))
    return t > special.stdtrit(df, 1.0 - ALPHA)


def _daily_gain(events: simulated.Events, rival: np.ndarray) -> np.ndarray:
    gain = log_losses(events.y, rival) - log_losses(events.y, events.p_challenger)
    return np.bincount(events.day, weights=gain)


def _accuracies(events: simulated.Events) -> np.ndarray:
    """Accuracy of challenger and champion per session, (2, sessions)."""
    count = np.bincount(events.day)
    arms = (events.p_challenger, events.p_champion)
    return np.array([np.bincount(events.day, weights=(p >= 0.5) == (events.y == 1)) / count for p in arms])


def _accuracy_difference(events: simulated.Events) -> np.ndarray:
    ours, theirs = _accuracies(events)
    return np.asarray(ours - theirs)


def _mean_with_interval(counts: np.ndarray) -> str:
    mean, n = float(counts.mean()), len(counts)
    half = float(special.stdtrit(n - 1, 0.975)) * float(counts.std(ddof=1)) / np.sqrt(n)
    return f"{mean:.2f} [{max(mean - half, 0.0):.2f}, {mean + half:.2f}]"


if __name__ == "__main__":
    sys.exit(main())
