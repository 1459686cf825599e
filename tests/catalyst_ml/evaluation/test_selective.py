"""Thresholds that keep their promise on markets whose true accuracy is known, and that never look ahead."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from benchmarks.support.shadow_records import make_record
from catalyst_ml.errors import DataContractError
from catalyst_ml.evaluation.intervals import ScoreInterval
from catalyst_ml.evaluation.selective import (
    choose_threshold,
    confidence,
    follow_thresholds,
    is_wrong,
    reaches_target,
    risk_bound,
)
from catalyst_ml.evaluation.selective_report import area_under_risk_coverage, report_selective
from catalyst_ml.evaluation.significance import binomial_interval

SHOCK_SD = 0.55
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(60)


def true_chance(known: np.ndarray, level: float) -> np.ndarray:
    """Chance of success of an event of which ``known`` is known, the day's shock being unknown."""
    return (1 / (1 + np.exp(-(level + known[:, None] + SHOCK_SD * NODES)))) @ (WEIGHTS / WEIGHTS.sum())


class Market:
    """Events whose model is perfectly calibrated; all calls of a day win and lose together, labels overlap."""

    def __init__(self, *, level: float, skill: float) -> None:
        self.level, self.skill = level, skill
        self._grid = np.linspace(-6, 6, 2_001)
        self._p = true_chance(skill * self._grid, level)
        sure = np.sort(confidence(np.interp(np.random.default_rng(0).standard_normal(100_000), self._grid, self._p)))
        self._sure, self._accuracy = sure, np.cumsum(sure[::-1])[::-1] / np.arange(len(sure), 0, -1)

    def draw(self, seed: int, sessions: int = 130, events_a_day: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        shock = np.convolve(rng.standard_normal(sessions + 4), np.ones(5), "valid") * SHOCK_SD / np.sqrt(5)
        session = np.repeat(np.arange(sessions), events_a_day)
        z = rng.standard_normal(len(session))
        chance = 1 / (1 + np.exp(-(self.level + self.skill * z + shock[session])))
        return (rng.random(len(z)) < chance).astype(int), np.interp(z, self._grid, self._p), session

    def accuracy_at(self, tau: float) -> float:
        """True accuracy of calls with at least this confidence; a calibrated call is right as often as it is sure."""
        return float(self._accuracy[min(np.searchsorted(self._sure, tau), len(self._sure) - 1)])


@pytest.mark.parametrize(
    ("level", "skill", "sessions"),
    [(0.9, 0.01, 130), (0.9, 0.01, 65), (0.5, 0.25, 130), (0.0, 0.55, 130)],
    ids=["all just below", "all just below, short", "some above", "real skill"],
)
def test_the_promise_is_kept_in_at_least_95_of_100_runs(level, skill, sessions):
    market, runs = Market(level=level, skill=skill), 200
    chosen = [choose_threshold(*(draw := market.draw(seed, sessions))[:2], draw[2]) for seed in range(runs)]
    broken = sum(found.tau is not None and market.accuracy_at(found.tau) < 0.70 for found in chosen)

    assert binomial_interval(broken, runs).low <= 0.05
    assert broken <= 17  # 5 % would show more in one of a hundred


def test_real_selective_skill_is_found_and_a_weak_model_abstains():
    skilled, weak = Market(level=0.0, skill=0.9), Market(level=0.0, skill=0.2)

    found = choose_threshold(*skilled.draw(1))
    assert found.tau is not None
    assert skilled.accuracy_at(found.tau) >= 0.70
    assert 1 - found.bound >= 0.70

    none = choose_threshold(*weak.draw(1))
    assert none.tau is None
    assert none.words.startswith("no threshold keeps 70 % accuracy: the model abstains")


def test_a_naive_bound_on_rows_would_break_the_promise_far_more_often():
    """The simulation can fail: ignoring that days move together breaks it."""
    market, runs, broken = Market(level=0.9, skill=0.01), 100, 0
    for seed in range(runs):
        y, p, _ = market.draw(seed)
        wrong = is_wrong(y, p)
        broken += stats.beta.isf(0.05, wrong.sum() + 1, len(y) - wrong.sum()) <= 0.30

    assert broken > 20


def test_the_bound_is_clopper_pearson_on_what_the_calls_are_worth():
    y, p, day = Market(level=0.5, skill=0.5).draw(3)
    wrong, taken = is_wrong(y, p), confidence(p) >= 0.6
    risk, bound, n_eff = risk_bound(wrong, taken, day, alpha=0.01)

    assert risk == pytest.approx(wrong[taken].mean())
    assert bound == pytest.approx(stats.beta.isf(0.01, risk * n_eff + 1, (1 - risk) * n_eff))
    assert n_eff < taken.sum() / 3, "days move together"
    assert risk_bound(wrong, taken & (day < 19), day, alpha=0.01)[1] == 1.0
    never = risk_bound(np.zeros(len(y), bool), taken, day, alpha=0.01)
    assert never[2] == 130 / 5, "without an error the data say nothing of their dependence"


def test_thresholds_never_see_their_own_or_later_weeks():
    record = make_record(sessions=130, events_a_day=40, challenger_skill=1.2, seed=3)
    before = follow_thresholds(record)
    at = int((record["fold"] == "record-18").to_numpy().argmax())
    unknown = (record["label_end"] > record["ts"].iloc[at]).to_numpy()  # not settled at the first decision of the week
    altered = record.assign(
        y=np.where(unknown, 1 - record["y"], record["y"]).astype("int8"),
        p_challenger=np.where(np.arange(len(record)) >= at, 0.99, record["p_challenger"]),
    )
    after = follow_thresholds(altered)

    frozen = {week.fold: week.tau for week in before.weeks}
    assert frozen["record-18"] is not None
    for week in after.weeks[: list(frozen).index("record-18") + 1]:
        assert week.tau == frozen[week.fold]
    assert after.weeks[-1].tau != before.weeks[-1].tau
    assert before.too_early == 14, "65 settled sessions come first"


def test_what_is_followed_up_is_what_the_frozen_thresholds_took():
    record = make_record(sessions=130, events_a_day=40, challenger_skill=1.2, seed=3)
    found = follow_thresholds(record)
    sure = confidence(record["p_challenger"])
    taken = np.zeros(len(record), bool)
    for week in found.weeks:
        taken |= (record["fold"] == week.fold).to_numpy() & (sure >= week.tau)

    right = ~is_wrong(record["y"], record["p_challenger"])
    assert found.calls == taken.sum() == sum(week.calls for week in found.weeks)
    assert found.accuracy.value == pytest.approx(right[taken].mean())
    assert found.outcome == "kept"
    wins = record["y"][taken].mean()
    assert found.base_rate == pytest.approx(max(wins, 1 - wins))


def test_a_market_that_turns_makes_the_model_abstain_as_soon_as_it_is_settled():
    record = make_record(sessions=130, events_a_day=40, challenger_skill=1.2, seed=3)
    late = (record["session"] > record["session"].unique()[80]).to_numpy()  # the sixteenth week is the first
    turned = record.assign(y=np.where(late, 1 - record["y"], record["y"]).astype("int8"))

    found = follow_thresholds(turned)
    calls = {week.fold: week.calls for week in found.weeks}
    assert calls["record-16"] > 0
    assert [calls[f"record-{week}"] for week in range(18, 26)] == [0] * 8
    assert found.abstained == 8
    assert found.accuracy.value < 0.5


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.70, 0.8, "yes"), (0.5, 0.69, "no"), (0.6, 0.75, "undecided"), (None, None, "undecided")],
)
def test_a_promise_is_kept_or_broken_only_if_the_whole_interval_says_so(low, high, expected):
    assert reaches_target(ScoreInterval(0.65, low, high, 0.9), 0.70) == expected


def test_the_area_is_the_mean_of_the_running_error_and_half_of_it_is_not_luck():
    record = make_record(sessions=65, events_a_day=20, challenger_skill=1.0, seed=5)
    y, p, session = record["y"].to_numpy(), record["p_challenger"].to_numpy(), record["session"]
    wrong = is_wrong(y, p)[np.argsort(-confidence(p), kind="stable")]
    slow = np.mean([wrong[: k + 1].mean() for k in range(len(wrong))])

    area = area_under_risk_coverage(y, p, session)
    assert area.value == pytest.approx(slow)
    assert area.low < area.value < area.high < wrong.mean()
    constant = area_under_risk_coverage(y, np.full(len(y), 0.6), session)
    assert constant.value == pytest.approx((y == 0).mean())


def test_the_report_is_json_and_puts_the_base_rate_beside_each_accuracy():
    record = make_record(sessions=130, events_a_day=20, challenger_skill=0.3, seed=7)
    kept = report_selective(record).to_dict()
    stored = json.loads(json.dumps(kept, allow_nan=False))

    assert stored == kept, "a manifest takes lists and no tuples"
    assert stored["now"]["tau"] is None
    assert "abstains" in stored["now"]["words"]
    assert [point["coverage"] for point in stored["at_coverage"]] == [0.05, 0.1, 0.2, 0.5, 1.0]
    assert all(0.5 <= point["base_rate"] <= 1 for point in stored["at_coverage"])
    assert stored["followed"]["outcome"] == "abstained"
    assert stored["followed"]["abstained"] == len(stored["followed"]["weeks"])


def test_few_sessions_promise_nothing_and_a_constant_arm_is_no_trouble():
    record = make_record(sessions=40, events_a_day=20, challenger_skill=2.0, seed=7)
    found = report_selective(record)
    assert found.now.words == "too few settled sessions (40) to promise 70 % accuracy: the model abstains"
    assert (found.followed.weeks, found.followed.outcome) == ((), "abstained")

    with pytest.raises(DataContractError, match="no rows"):
        report_selective(record.iloc[:0])
    assert report_selective(make_record(sessions=80, events_a_day=10)).now.tau is None
    one_sided = make_record(sessions=80, events_a_day=10).assign(y=np.int8(1), p_challenger=0.9)
    always = report_selective(one_sided)
    assert always.now.bound == pytest.approx(1 - 0.05 ** (1 / 16)), "80 sessions without an error are 16 trials"
    assert always.at_coverage[0].base_rate == 1.0, "and a constant call does as well"
