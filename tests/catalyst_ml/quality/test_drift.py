"""The drift watch on rows whose truth is known: what it must see, what it must not, what it refuses to judge."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from catalyst_ml.errors import DataContractError
from catalyst_ml.quality.drift import watch_features
from catalyst_ml.quality.drift_alarms import (
    FALSE_ALARMS_PER_RUN,
    QUIET_RUNS,
    SHARES,
    Alarm,
    DriftReport,
    Finding,
    alarm_from_dict,
    alarm_to_dict,
    carry_alarms,
    still_apply,
)
from tests.catalyst_ml.quality.drifting_rows import COLUMNS, make_rows, split


def alarming(report: DriftReport) -> set[tuple[str, str]]:
    return {(finding.what, finding.statistic) for finding in report.findings if finding.alarms}


def watched(seed: int, plant: str = "", **changes: object) -> DriftReport:
    reference, recent = split(make_rows(seed))
    if plant:
        recent[plant] = changes["to"](recent[plant]) if callable(changes["to"]) else changes["to"]
    return watch_features(reference, recent, COLUMNS)


def test_without_drift_nothing_alarms_and_every_question_was_asked() -> None:
    reports = [watched(seed) for seed in range(4)]

    assert all(not alarming(report) for report in reports)
    assert all(len(report.findings) == 4 * len(COLUMNS) + 2 for report in reports)
    assert reports[0].facts["reference_sessions"] == 400


def test_the_parts_of_the_budget_add_up_to_one_false_alarm_a_year() -> None:
    spent = sum(finding.alpha for finding in watched(0).findings)

    assert sum(SHARES.values()) == pytest.approx(1.0)
    assert spent == pytest.approx(
        FALSE_ALARMS_PER_RUN * (SHARES["feature"] + SHARES["relation"] + SHARES["classifier"])
    )


@pytest.mark.parametrize(
    ("plant", "to", "seen_by"),
    [
        ("calm", lambda x: x + 1.0, ("calm", "ks")),
        ("calm", lambda x: x + 1.0, ("calm", "level")),
        ("calm", np.nan, ("calm", "psi")),
        ("calm", lambda x: x.where(np.arange(len(x)) % 2 == 0), ("calm", "psi")),
        ("calm", lambda x: x * 100.0, ("calm", "spread")),
        ("daily", lambda x: x * 0 + 500.0, ("daily", "level")),
        ("flag", 1.0, ("flag", "level")),
    ],
)
def test_what_has_changed_is_named(plant: str, to: object, seen_by: tuple[str, str]) -> None:
    assert seen_by in alarming(watched(1, plant, to=to))


def test_a_shift_is_found_where_days_differ_little_and_not_where_they_stray_as_far_by_themselves() -> None:
    quick = [("calm", "ks") in alarming(watched(seed, "calm", to=lambda x: x + 1.0)) for seed in range(6)]
    slow = [bool(alarming(watched(seed, "daily", to=lambda x: x + 1.0))) for seed in range(6)]

    assert sum(quick) >= 5
    assert sum(slow) == 0


def test_independent_rows_as_null_would_alarm_on_nearly_every_feature_of_such_days() -> None:
    """What the windows of the reference are for: chi-square of PSI (Yurdakul & Naranjo) takes rows as independent."""
    wrong = right = 0
    for seed in range(10, 16):
        for finding in watched(seed).findings:
            if finding.statistic == "psi" and finding.what in ("lively", "daily"):
                per_row = 1.0 / (20 * 25) + 1.0 / (400 * 25)
                wrong += stats.chi2.sf(finding.value / per_row, 10) <= finding.alpha
                right += finding.alarms

    assert wrong >= 11, "of 12"
    assert right == 0


def test_a_pair_that_turns_over_is_seen_although_each_of_its_features_stays_as_it_was() -> None:
    rows = make_rows(3)
    rows["twin"] = 0.8 * rows["calm"] + 0.6 * np.random.default_rng(0).standard_normal(len(rows))
    reference, recent = split(rows)
    recent["twin"] *= -1.0

    report = watch_features(reference, recent, [*COLUMNS, "twin"])

    (finding,) = (found for found in report.findings if found.kind == "relation")
    assert finding.alarms
    assert "calm and twin" in finding.meaning
    assert finding.meaning.endswith("is -0.76, in the reference +0.80")
    assert not [found for found in report.findings if found.alarms and found.kind == "feature"]


def test_many_features_that_move_a_little_together_are_told_apart_by_the_classifier() -> None:
    rng = np.random.default_rng(5)
    rows = make_rows(5)[["session"]]
    names = [f"x{i}" for i in range(30)]
    rows = pd.concat([rows, pd.DataFrame(rng.standard_normal((len(rows), 30)), columns=names)], axis=1)
    reference, recent = split(rows)
    still = watch_features(reference, recent, names)
    recent[names] += 0.4

    moved = watch_features(reference, recent, names)

    p = [next(found.p for found in report.findings if found.kind == "classifier") for report in (still, moved)]
    assert p[0] > 0.01
    assert p[1] < 1e-6


def test_every_alarm_says_what_was_measured_what_would_alarm_since_when_and_what_to_do() -> None:
    found = next(f for f in watched(1, "calm", to=np.nan).findings if f.alarms)

    assert found.value >= found.bound > found.usual > 0.0
    assert found.p <= found.alpha
    assert found.since == str(split(make_rows(1))[1]["session"].min().date())
    assert "missing in 100.0% of rows, before in 0.0%" in found.meaning
    assert found.advice.endswith("train again.")


@pytest.mark.parametrize("value", [0.0, 7.5, -1e9, np.nan])
def test_a_column_that_never_varies_neither_alarms_nor_disturbs_the_others(value: float) -> None:
    rows = make_rows(2)
    before = watch_features(*split(rows), COLUMNS)
    after = watch_features(*split(rows.assign(constant=value)), [*COLUMNS, "constant"])

    assert not alarming(after)
    kept = {(f.what, f.statistic): f.p for f in after.findings if f.kind == "feature"}
    assert all(kept[f.what, f.statistic] == f.p for f in before.findings if f.kind == "feature")


@pytest.mark.parametrize(("before", "after"), [(7.5, 7.6), (0.0, 1.0), (np.nan, 1.0), (3.0, np.nan)])
def test_a_column_that_never_varied_and_now_does_alarms(before: float, after: float) -> None:
    reference, recent = split(make_rows(2))
    report = watch_features(reference.assign(c=before), recent.assign(c=after), [*COLUMNS, "c"])

    assert {what for what, _ in alarming(report)} >= {"c"}


@pytest.mark.parametrize(
    ("n_sessions", "n_reference", "reason"),
    [
        (419, 400, "19 sessions since the reference, 20 are needed"),
        (401, 400, "1 sessions since the reference"),
        (400, 400, "0 sessions since the reference"),
        (269, 249, "249 sessions of reference, 250 are needed"),
        (21, 1, "1 sessions of reference"),
    ],
)
def test_too_few_sessions_are_not_judged_and_the_reason_is_said(n_sessions: int, n_reference: int, reason: str) -> None:
    report = watch_features(*split(make_rows(0, n_sessions=n_sessions), n_reference), COLUMNS)

    assert report.findings == ()
    assert reason in report.unjudged[0]
    assert "not enough to judge" in report.unjudged[0]


def test_no_rows_at_all_are_not_judged_either() -> None:
    rows = make_rows(0)
    report = watch_features(rows[:0], rows[:0], COLUMNS)

    assert report.unjudged
    assert report.facts["reference"] == "none"


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda a, b: (a.drop(columns="calm"), b), r"reference: columns \['calm'\] are missing"),
        (lambda a, b: (a, b.drop(columns="calm")), r"recent rows: columns \['calm'\] are missing"),
        (lambda a, b: (a, b.assign(flag=np.inf)), "'flag' holds infinite numbers"),
        (lambda a, b: (b, a), "expected them to be later"),
        (lambda a, b: (a, b.drop(columns="session")), "'session' is missing"),
        (lambda a, b: (a, b.assign(session=pd.NaT)), "sessions are naive midnight dates"),
        (lambda a, b: (a, b.assign(session=b["session"].dt.tz_localize("UTC"))), "naive midnight dates"),
    ],
)
def test_bad_frames_are_refused_with_what_was_expected(break_it: object, message: str) -> None:
    with pytest.raises(DataContractError, match=message):
        watch_features(*break_it(*split(make_rows(0))), COLUMNS)  # type: ignore[operator]


@pytest.mark.parametrize("columns", [[], ["calm", "calm"]])
def test_columns_must_be_named_once(columns: list[str]) -> None:
    with pytest.raises(DataContractError, match="distinct columns"):
        watch_features(*split(make_rows(0)), columns)


def test_one_column_alone_is_judged_without_pairs() -> None:
    report = watch_features(*split(make_rows(0)), ["calm"])

    assert {finding.kind for finding in report.findings} == {"feature", "classifier"}


def test_the_order_of_rows_does_not_matter_as_long_as_a_session_keeps_its_own() -> None:
    reference, recent = split(make_rows(4))
    mixed = reference.sort_values("calm", kind="stable"), recent.sort_values("calm", kind="stable")

    first, second = watch_features(reference, recent, COLUMNS), watch_features(*mixed, COLUMNS)

    assert [f.p for f in first.findings if f.kind == "feature"] == pytest.approx(
        [f.p for f in second.findings if f.kind == "feature"]
    )


# --- alarms over many runs --------------------------------------------------------------------------------


FINDING = Finding("feature", "rsi_14", "ks", 0.5, 0.1, 0.4, 1e-6, 1e-5, "2026-01-05", "it moved", "look")


def with_p(p: float, **changes: object) -> DriftReport:
    return DriftReport((replace(FINDING, p=p, **changes),))  # type: ignore[arg-type]


def test_a_month_of_the_same_news_is_one_alarm_and_keeps_its_beginning() -> None:
    alarms: list[Alarm] = []
    new = 0
    for day in range(20):
        # Between the bound and ten times the bound it neither closes nor is raised again.
        alarms = carry_alarms(
            with_p(1e-6 if day % 2 else 5e-5 if day else 1e-6, since=f"day {day}"), alarms, f"day {day}"
        )
        new += alarms[0].is_new

    assert new == 1
    assert (alarms[0].raised, alarms[0].finding.since) == ("day 0", "day 0")


def test_an_alarm_closes_after_quiet_runs_only_and_can_come_back() -> None:
    alarms = carry_alarms(with_p(1e-6), [], "monday")
    for _ in range(QUIET_RUNS - 1):
        alarms = carry_alarms(with_p(0.5), alarms, "later")
    assert len(alarms) == 1
    disturbed = carry_alarms(with_p(1e-6), alarms, "later")
    assert disturbed[0].quiet_runs == 0

    assert carry_alarms(with_p(0.5), alarms, "later") == []
    assert carry_alarms(with_p(1e-6), [], "again")[0].is_new


def test_a_repeated_run_closes_nothing_and_raises_nothing_twice() -> None:
    alarms = carry_alarms(with_p(1e-6), [], "monday")
    for _ in range(3 * QUIET_RUNS):
        alarms = carry_alarms(with_p(0.5), alarms, "monday", is_repeat=True)

    assert [(alarm.is_new, alarm.quiet_runs) for alarm in alarms] == [(False, 0)]


def test_a_question_that_could_not_be_asked_leaves_its_alarm_open() -> None:
    alarms = carry_alarms(with_p(1e-6), [], "monday")

    assert carry_alarms(DriftReport(), alarms, "tuesday") == [replace(alarms[0], is_new=False)]


def test_a_new_version_inherits_the_alarms_about_the_market_and_not_those_about_the_old_probabilities() -> None:
    alarms = [alarm for kind in ("feature", "calibration", "confidence", "feed") for alarm in raised(kind)]

    assert [alarm.finding.kind for alarm in still_apply(alarms)] == ["feature", "feed"]
    # The training that the alarm started changes nothing about the market: it must not start the next one.
    assert not carry_alarms(with_p(1e-6), still_apply(raised("feature")), "tomorrow")[0].is_new


def raised(kind: str) -> list[Alarm]:
    return carry_alarms(with_p(1e-6, kind=kind), [], "monday")


def test_alarms_survive_json() -> None:
    (alarm,) = carry_alarms(with_p(1e-6), [], "monday")

    assert alarm_from_dict(json.loads(json.dumps(alarm_to_dict(alarm)))) == alarm
