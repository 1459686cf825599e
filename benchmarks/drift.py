"""How often does the drift watch cry wolf, and how long does it take to see what has really changed?

False alarms: simulated years of 252 daily runs against a reference of 504 sessions, nothing planted
(``benchmarks/support/drift_market.py``), together with probabilities that hold and feeds that falter. At most one alarm
a year in the mean. Delays: sessions from a planted change to its first alarm.

    python benchmarks/drift.py            # 200 years, 30 per planted change
    python benchmarks/drift.py --quick    # 12 years, 5 per planted change; fails only if the interval excludes the goal
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pandas as pd
from scipy import stats

from benchmarks.support import drift_market as market
from benchmarks.support.table import Row, finish, machine
from catalyst_ml.evaluation.calibration_drift import MIN_SETTLED_SESSIONS, calibration_test, fit_confidence_null
from catalyst_ml.quality import drift_features, drift_relations
from catalyst_ml.quality.drift_alarms import Alarm, DriftReport, Finding, Kind, budget, carry_alarms
from catalyst_ml.quality.drift_feeds import feed_state
from catalyst_ml.quality.drift_null import N_WINDOW, WindowNull, fit_null, reference_windows, running
from catalyst_ml.quality.drift_profile import SessionProfile, learn_scale, profile_sessions

YEARS, QUICK_YEARS = 200, 12
DELAY_YEARS, QUICK_DELAY_YEARS = 30, 5
FIRST_SEED, FIRST_DELAY_SEED = 20_000, 30_000
PLANTED_AT = market.REFERENCE + 60
LAST_RUN = market.REFERENCE + market.YEAR
RUNS = np.arange(market.REFERENCE + N_WINDOW, LAST_RUN + 1)
"""Each run knows the sessions before this position; the first 20 of a year are not enough to judge."""

GOAL = 1.0
COLUMNS = [f"x{i:02d}" for i in range(market.N_FEATURES)]
SESSIONS = np.arange(np.datetime64("2000-01-01"), np.datetime64("2000-01-01") + LAST_RUN)
N_FEEDS = 2


class Asked(NamedTuple):
    """One kind of question in all runs of a year: p-values (n_runs, n_questions) and what each may spend."""

    kind: Kind
    p: np.ndarray
    alpha: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="12 years, 5 per planted change")
    parser.add_argument("--json", metavar="FILE", help="write the figures here")
    arguments = parser.parse_args()
    years = QUICK_YEARS if arguments.quick else YEARS
    started = time.perf_counter()
    rows = [*_false_alarms(years, quick=arguments.quick)]
    rows += _delays(QUICK_DELAY_YEARS if arguments.quick else DELAY_YEARS)
    print(f"{time.perf_counter() - started:.0f} s", file=sys.stderr)
    return finish(f"Drift: false alarms and delays ({machine()})", rows, json_file=arguments.json)


# --- false alarms -----------------------------------------------------------------------------------------


def _false_alarms(years: int, *, quick: bool) -> list[Row]:
    kinds: dict[str, list[tuple[int, int]]] = {}
    for seed in range(FIRST_SEED, FIRST_SEED + years):
        rows = market.simulate_rows(seed)
        watch = Watch(rows)
        ours = [*watch.ask(rows), *_ask_outcomes(seed), _ask_feeds(seed)]
        for name, asked in (("all together", ours), *((each.kind, [each]) for each in ours)):
            kinds.setdefault(name, []).append(_count(asked))
        for name, rival in _rivals(watch, rows):
            kinds.setdefault(name, []).append(_count([rival]))
    return [_false_alarm_row(name, np.array(counts), quick=quick) for name, counts in kinds.items()]


def _false_alarm_row(name: str, counts: np.ndarray, *, quick: bool) -> Row:
    alarms, days = counts.T
    mean, n = float(alarms.mean()), len(alarms)
    half = float(stats.t.isf(0.025, n - 1) * alarms.std(ddof=1) / np.sqrt(n))
    cells = {
        "question": name,
        "years": n,
        "alarms a year": f"{mean:.2f} [{max(mean - half, 0.0):.2f}, {mean + half:.2f}]",
        "runs in alarm a year": f"{days.mean():.2f}",
        "years without": f"{np.mean(alarms == 0):.0%}",
        "goal": f"at most {GOAL:g}" if name == "all together" else "",
    }
    bound = mean - half if quick else mean
    return Row(cells, missed=name == "all together" and bound > GOAL)


def _count(asked: Sequence[Asked]) -> tuple[int, int]:
    """New alarms of a year (a run that raises several counts once), and runs that see any p-value below its bound."""
    in_alarm = np.any([(each.p <= each.alpha).any(axis=1) for each in asked], axis=0)
    return len(_runs_that_raise(asked)), int(in_alarm.sum())


def _runs_that_raise(asked: Sequence[Asked]) -> list[int]:
    """Positions in ``RUNS`` at which at least one alarm is new, by the rule the flow follows."""
    watched = [
        (f"{each.kind}{q}", each.kind, each.p[:, q], each.alpha)
        for each in asked
        for q in np.flatnonzero((each.p <= each.alpha).any(axis=0))
    ]
    open_alarms: list[Alarm] = []
    raised = []
    for i in range(len(RUNS) if watched else 0):
        findings = tuple(
            Finding(kind, name, "", 0.0, 0.0, 0.0, float(p[i]), alpha, "", "", "") for name, kind, p, alpha in watched
        )
        open_alarms = carry_alarms(DriftReport(findings), open_alarms, "")
        if any(alarm.is_new for alarm in open_alarms):
            raised.append(i)
    return raised


class Watch:
    """What the reference says is usual, by the functions that ``watch_features`` calls; asks all runs at once."""

    def __init__(self, rows: np.ndarray) -> None:
        flat, session, starts = _flat(rows[: market.REFERENCE], 0)
        self.scale = learn_scale(flat, COLUMNS)
        self.past = profile_sessions(flat, session, self.scale)
        self.nulls = drift_features.fit_feature_nulls(self.past)
        z = self.scale.standardise(flat)
        self.pairs = drift_relations.fit_pair_nulls(drift_relations.session_products(z, starts), self.nulls.windows)
        seen = drift_relations.classifier_columns(z)
        self.classifier = drift_relations.fit_classifier_null(seen, starts, self.nulls.windows)

    def distances(self, rows: np.ndarray) -> tuple[drift_features.Window, np.ndarray]:
        """The recent windows of all runs and their distances (n_runs, 4, n_features)."""
        flat, session, _ = _flat(rows[market.REFERENCE :], market.REFERENCE)
        windows = drift_features.moving_windows(profile_sessions(flat, session, self.scale))
        return windows, self.nulls.distances(windows)

    def ask(self, rows: np.ndarray) -> list[Asked]:
        """p-values of all runs of the year."""
        p = self.nulls.p_values(self.distances(rows)[1])
        n_questions = len(COLUMNS) * len(drift_features.STATISTICS)
        features = Asked("feature", p.reshape(len(RUNS), -1), budget("feature", n_questions))
        flat, _, starts = _flat(rows[market.REFERENCE :], market.REFERENCE)
        z = self.scale.standardise(flat)
        stops = RUNS - market.REFERENCE
        sums = running(drift_relations.session_products(z, starts))
        now = drift_relations.correlations(sums[stops] - sums[stops - N_WINDOW], self.pairs.first, self.pairs.second)
        relations = Asked("relation", self.pairs.judge(now)[1][:, None], budget("relation", 1))
        seen, window = drift_relations.classifier_columns(z), starts[: N_WINDOW + 1]
        told = [self.classifier.judge(seen[starts[stop - N_WINDOW] : starts[stop]], window)[1] for stop in stops]
        return [features, relations, Asked("classifier", np.array(told)[:, None], budget("classifier", 1))]


def _flat(rows: np.ndarray, first: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    session = np.repeat(SESSIONS[first : first + len(rows)], market.N_EVENTS)
    starts = np.arange(len(rows) + 1) * market.N_EVENTS
    return rows.reshape(-1, market.N_FEATURES).astype(np.float64), session, starts


def _rivals(watch: Watch, rows: np.ndarray) -> list[tuple[str, Asked]]:
    """The questions about features with nulls that others would take, at the same budget."""
    windows, distance = watch.distances(rows)
    per_row = 1.0 / windows.rows + 1.0 / (market.REFERENCE * market.N_EVENTS)
    independent = stats.chi2.sf(distance[:, 0] / per_row[:, None], 10)
    scales = np.stack([watch.nulls.nulls[name].scale for name in drift_features.STATISTICS])
    largest = np.nanmax(distance / scales, axis=(1, 2))[:, None]
    joint = _largest(watch.past, scales, watch.nulls.windows)
    return [
        ("rival: PSI, rows taken as independent", Asked("feature", independent, budget("feature", len(COLUMNS)))),
        ("rival: PSI above 0.25", Asked("feature", np.where(distance[:, 0] > 0.25, 0.0, 1.0), 0.05)),
        ("rival: maximum over features, joint null", Asked("feature", joint.p_values(largest), budget("feature", 1))),
    ]


def _largest(past: SessionProfile, scales: np.ndarray, windows: np.ndarray) -> WindowNull:
    """Null of the largest standardised distance over all features of one window."""
    layout = reference_windows(market.REFERENCE)
    parts = [running(part) for part in (past.rows, past.bins, past.missing, past.level, past.spread)]
    inside, outside = (
        drift_features.Window(*(take(part) for part in parts)) for take in (layout.inside, layout.outside)
    )
    largest = np.nanmax(drift_features.feature_distances(inside, outside) / scales, axis=(1, 2))[:, None]
    return fit_null(largest, np.array([float(np.median(windows))]), layout, shape=1.0, floor=1.0)


# --- outcomes and feeds -----------------------------------------------------------------------------------


def _outcomes(seed: int, *, off_by: float = 0.0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Record and year of a model with true probabilities (plus ``off_by`` in the year): ``session``, ``y``, ``p``.

    A session's success rate strays by 0.13 (standard deviation), and five sessions share what moves them.
    """
    rng = np.random.default_rng(seed)
    n = market.REFERENCE + market.YEAR
    shocks = rng.standard_normal(n + 4)
    stray = 0.13 * np.convolve(shocks, np.full(5, np.sqrt(0.2)), mode="valid")
    sure = np.empty(n)
    level = 0.0
    for s in range(n):
        level = 0.8 * level + 0.6 * rng.standard_normal()
        sure[s] = level
    width = 0.08 * np.exp(0.2 * sure)
    p = np.clip(0.5 + width[:, None] * rng.standard_normal((n, market.N_EVENTS)), 0.05, 0.95)
    y = rng.random(p.shape) < np.clip(p + stray[:, None], 0.0, 1.0)
    p[market.REFERENCE :] += off_by
    session = np.repeat(SESSIONS, market.N_EVENTS)
    frame = pd.DataFrame({"session": session, "y": y.ravel() * 1.0, "p": p.ravel()})
    frame["sure"] = np.maximum(frame["p"], 1.0 - frame["p"])
    at = market.REFERENCE * market.N_EVENTS
    return frame.iloc[:at], frame.iloc[at:]


def _ask_outcomes(seed: int, *, off_by: float = 0.0) -> list[Asked]:
    """By daily sums, as the library takes them from rows; outcomes settle after six sessions."""
    past, year = (frame.groupby("session") for frame in _outcomes(seed, off_by=off_by))
    gap = (year["y"].sum() - year["p"].sum()).to_numpy()
    sure = [part["sure"].sum().to_numpy() for part in (past, year)]
    n = np.full(market.REFERENCE, float(market.N_EVENTS))
    null = fit_confidence_null(sure[0], n)
    stops = RUNS - market.REFERENCE
    calibration = [calibration_test(gap[: stop - 6])[1] if stop - 6 >= MIN_SETTLED_SESSIONS else 1.0 for stop in stops]
    sums = running(sure[1])
    change = (sums[stops] - sums[stops - N_WINDOW]) / (N_WINDOW * market.N_EVENTS) - sure[0].sum() / n.sum()
    return [
        Asked("calibration", np.array(calibration)[:, None], budget("calibration", 1)),
        Asked("confidence", null.p_values((change**2)[:, None]), budget("confidence", 1)),
    ]


def _ask_feeds(seed: int, *, stopped: bool = False) -> Asked:
    """Bars fail in one session of 500 and then go on failing three times of ten; news are silent in one of twenty."""
    rng = np.random.default_rng(seed)
    p = np.ones((len(RUNS), N_FEEDS))
    calendar = pd.DatetimeIndex(SESSIONS)
    alpha = budget("feed", N_FEEDS)
    for feed, (begins, goes_on) in enumerate(((1 / 500, 0.3), (0.05, 0.1))):
        silent = np.zeros(LAST_RUN, dtype=bool)
        for s in range(1, LAST_RUN):
            silent[s] = rng.random() < (goes_on if silent[s - 1] else begins)
        if stopped:
            silent[PLANTED_AT:] = True
        for i, stop in enumerate(RUNS):
            if silent[stop - 1]:
                rows = calendar[:stop][~silent[:stop]]
                answer = feed_state("feed", rows, calendar[:stop], alpha).p
                p[i, feed] = 1.0 if answer is None else answer
    return Asked("feed", p, alpha)


# --- delays -----------------------------------------------------------------------------------------------


def _delays(years: int) -> list[Row]:
    one = [(f,) for f in market.PLANTABLE]
    ten = [tuple(np.roll(market.PLANTABLE, -3 * k)[:10]) for k in range(len(market.PLANTABLE))]
    market_wide = [(f,) for f in range(34, 40)]
    planted = [
        ("mean of one feature + 0.25 sd", [market.shifted_mean(f, 0.25) for f in one]),
        ("mean of one feature + 0.5 sd", [market.shifted_mean(f, 0.5) for f in one]),
        ("mean of one feature + 1 sd", [market.shifted_mean(f, 1.0) for f in one]),
        ("mean of one feature + 3 sd", [market.shifted_mean(f, 3.0) for f in one]),
        ("mean of one market-wide feature + 3 sd", [market.shifted_mean(f, 3.0) for f in market_wide]),
        ("mean of ten features + 0.25 sd", [market.shifted_mean(f, 0.25) for f in ten]),
        ("mean of ten features + 0.5 sd", [market.shifted_mean(f, 0.5) for f in ten]),
        ("mean of ten features + 1 sd", [market.shifted_mean(f, 1.0) for f in ten]),
        ("variance of one feature x 1.5", [market.scaled(f, 1.5) for f in one]),
        ("variance of ten features x 1.5", [market.scaled(f, 1.5) for f in ten]),
        ("correlation of a pair from +0.6 to -0.6", [market.turned_pair(pair) for pair in market.PAIRS]),
    ]
    found: dict[str, list[tuple[float, str]]] = {name: [] for name, _ in planted}
    by_maximum: dict[str, list[tuple[float, str]]] = {name: [] for name, _ in planted}
    for k in range(years):
        clean = market.simulate_rows(FIRST_DELAY_SEED + k)
        watch = Watch(clean)
        for name, plants in planted:
            rows = clean.copy()
            plants[k % len(plants)](rows[PLANTED_AT:])
            found[name].append(_first_alarm(watch.ask(rows), PLANTED_AT))
            by_maximum[name].append(_first_alarm([_rivals(watch, rows)[-1][1]], PLANTED_AT))
    table = [_delay_row(name, each, by_maximum[name]) for name, each in found.items()]
    for points in (5, 10, 20):
        asked = [_ask_outcomes(FIRST_DELAY_SEED + k, off_by=points / 100)[:1] for k in range(years)]
        name = f"probabilities {points} points too high, from the first day in service"
        table.append(_delay_row(name, [_first_alarm(each, market.REFERENCE) for each in asked]))
    for name, feed in (("bars stop", 0), ("news stop", 1)):
        silent = []
        for k in range(years):
            asked_feeds = _ask_feeds(FIRST_DELAY_SEED + k, stopped=True)
            silent.append(_first_alarm([asked_feeds._replace(p=asked_feeds.p[:, [feed]])], PLANTED_AT))
        table.append(_delay_row(name, silent))
    return table


def _first_alarm(asked: Sequence[Asked], planted_at: int) -> tuple[float, str]:
    """Sessions from the first changed one to the first new alarm (1: the same evening), and its kind."""
    best: tuple[float, str] = (np.inf, "")
    for each in asked:
        later = [RUNS[i] - planted_at for i in _runs_that_raise([each]) if RUNS[i] > planted_at]
        if later and later[0] < best[0]:
            best = (float(later[0]), each.kind)
    return best


def _delay_row(name: str, found: Sequence[tuple[float, str]], rival: Sequence[tuple[float, str]] = ()) -> Row:
    delays = np.array([delay for delay, _ in found])
    kinds = pd.Series([kind for _, kind in found if kind]).value_counts()
    median = float(np.median(delays))
    cells = {
        "question": name,
        "years": len(found),
        "found within": "192 sessions" if "service" not in name else "252 sessions",
        "share found": f"{np.isfinite(delays).mean():.0%}",
        "median delay": f"{median:.0f} sessions" if np.isfinite(median) else "not found",
        "the rival maximum finds": f"{np.mean([np.isfinite(delay) for delay, _ in rival]):.0%}" if rival else "",
        "first seen by": ", ".join(f"{kind} {n}" for kind, n in kinds.items()),
    }
    return Row(cells)


if __name__ == "__main__":
    raise SystemExit(main())
