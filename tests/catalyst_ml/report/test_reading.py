"""Sentences claim no more than their interval."""

from __future__ import annotations

import pytest

from catalyst_ml.report import reading
from catalyst_ml.report.content import Estimate


@pytest.mark.parametrize(
    ("low", "high", "side"),
    [
        (-0.02, -0.01, "better"),
        (0.01, 0.02, "worse"),
        (-0.01, 0.01, "undecided"),
        (0.0, 0.01, "undecided"),
        (None, None, "undecided"),
    ],
)
def test_a_side_is_taken_only_if_the_whole_interval_is_on_it(low, high, side):
    assert reading.side_of_zero(Estimate(value=0.0, low=low, high=high)) == side


def test_higher_can_be_better():
    assert reading.side_of_zero(Estimate(value=2, low=1, high=3), lower_is_better=False) == "better"


@pytest.mark.parametrize(("verdict", "words"), [("promote", "lies left of zero"), ("stay", "crosses zero")])
def test_the_forest_is_read_by_its_interval(make_content, verdict, words):
    assert words in reading.read_forest(make_content(verdict))


def test_without_a_challenger_nothing_is_claimed(make_minimal):
    assert reading.read_forest(make_minimal()) == "The challenger has no score on this record."
    assert "nothing can be judged" in reading.read_record(make_minimal())


def test_the_record_is_read_with_its_context(make_content):
    words = reading.read_record(make_content("stay"))

    for number in (
        "10,738 signals",
        "118 sessions",
        "about 401 independent",
        "49.3",
        "47.2",
        "45.8",
        "0.0064",
    ):
        assert number in words


def test_checks_are_counted_without_those_that_do_not_decide(make_content):
    assert reading.spoken_checks(make_content("stay")) == "3 passed, 4 failed"
    assert reading.spoken_checks(make_content("not_enough_evidence")) == "2 passed, 1 failed, 4 not judged"
