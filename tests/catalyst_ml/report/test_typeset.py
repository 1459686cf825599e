"""Numbers as the report prints them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from catalyst_ml.report import typeset
from catalyst_ml.report.content import Estimate

THIN = "\N{NARROW NO-BREAK SPACE}"


@pytest.mark.parametrize(
    ("value", "style", "expected"),
    [
        (0.69314, "loss", "0.6931"),
        (-0.00149, "difference", "−0.0015"),
        (0.00149, "difference", "+0.0015"),
        (-0.00001, "difference", "0.0000"),
        (0.5069, "score", "0.507"),
        (0.4931, "percent", f"49.3{THIN}%"),
        (-0.0004, "points", f"0.0{THIN}%"),
        (12.34, "bps", f"+12.3{THIN}bp"),
        (-0.912, "ratio", "−0.91"),
        (10_738, "plain", "10,738"),
        (None, "loss", "–"),
    ],
)
def test_each_kind_of_number_has_one_spelling(value, style, expected):
    assert typeset.number(value, style) == expected


def test_an_estimate_without_interval_says_so():
    assert typeset.estimate_text(Estimate(value=0.5), "score") == "0.500 no interval"
    assert typeset.estimate_text(Estimate(value=0.5, low=0.4), "score") == "0.500 no interval"


def test_an_interval_names_its_unit_once():
    estimate = Estimate(value=0.493, low=0.472, high=0.514)

    assert typeset.estimate_text(estimate, "percent") == f"49.3{THIN}% [47.2, 51.4{THIN}%]"


def test_another_level_than_90_percent_is_marked():
    estimate = Estimate(value=1.0, low=0.0, high=2.0, level=0.95)

    assert typeset.interval(estimate, "score") == f"[0.000, 2.000] at 95{THIN}%"


def test_a_missing_estimate_has_no_interval_to_miss():
    assert typeset.estimate_text(Estimate(), "score") == "–"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.42, "0.4 s"),
        (9.4, "9.4 s"),
        (59.6, "1 min 0 s"),
        (134, "2 min 14 s"),
        (7_260, "2 h 1 min"),
        (None, "–"),
    ],
)
def test_durations_read_as_a_person_says_them(seconds, expected):
    assert typeset.duration(seconds) == expected


def test_times_are_printed_in_utc():
    new_york = datetime(2026, 11, 20, 16, tzinfo=timezone(timedelta(hours=-5)))

    assert typeset.moment(new_york) == "Fri 20 Nov 2026, 21:00 UTC" == typeset.moment(new_york.astimezone(UTC))


def test_tiny_bounds_are_powers_of_ten_and_words_keep_their_words():
    assert typeset.measured(1.2e-7) == "1.2 × 10⁻⁷"
    assert typeset.measured("p <= 0.05") == "p ≤ 0.05"
    assert typeset.measured(None) == "–"
