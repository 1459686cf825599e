"""What was tried and what abstaining buys, told in words that claim no more than their interval."""

from __future__ import annotations

import json

import pytest

from benchmarks.support.shadow_records import make_record
from catalyst_ml.evaluation.comparison import compare_false_positives
from catalyst_ml.evaluation.selective_report import report_selective
from catalyst_ml.evaluation.trading import trades_at_coverage
from catalyst_ml.report import evidence_reading as reading
from catalyst_ml.report.content import Estimate
from catalyst_ml.report.evidence_parts import selective_part
from catalyst_ml.report.html import headline_table, markdown_summary, render_model_card, render_report


def stored(**arms: float) -> dict[str, object]:
    """What the judgement keeps, having been JSON."""
    record = make_record(sessions=130, events_a_day=30, seed=3, **arms)
    lost = compare_false_positives(*(trades_at_coverage(record, p) for p in ("p_challenger", "p_rules")))
    found = report_selective(record).to_dict() | {"false_positives": None if lost is None else lost.to_dict()}
    return json.loads(json.dumps(found, allow_nan=False))


def test_a_model_with_skill_makes_calls_and_the_promise_is_checked():
    found = selective_part(stored(challenger_skill=1.2))

    assert found.now.tau is not None
    assert "keep 70 % accuracy" in reading.read_threshold(found)
    assert "the promise was kept" in reading.read_follow_up(found)
    assert "The better constant call would have been right in" in reading.read_follow_up(found)
    assert "surer calls are better calls" in reading.read_area(found)
    assert "halving is reached" in reading.read_false_positives(found)
    assert found.now.promised >= 0.70


def test_a_model_without_skill_abstains_and_says_so_with_the_base_rate():
    found = selective_part(stored(challenger_skill=0.1, champion_skill=0.1))

    words = reading.read_threshold(found)
    assert "no threshold keeps 70 % accuracy: the model abstains" in words
    assert "Base rate of all events" in words
    assert "it made no call, so there is no promise to check" in reading.read_follow_up(found)
    assert "is not reached" in reading.read_false_positives(found)


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.3, 0.5, "is reached"),
        (0.51, 0.9, "is not reached"),
        (0.4, 0.9, "is not decided"),
        (None, None, "not decided"),
    ],
)
def test_the_plans_halving_is_claimed_or_denied_only_by_the_whole_interval(make_content, low, high, words):
    found = make_content("stay").selective
    lost = found.false_positives.model_copy(update={"ratio": Estimate(value=0.45, low=low, high=high)})
    assert words in reading.read_false_positives(found.model_copy(update={"false_positives": lost}))


def test_losing_trades_that_cannot_be_compared_are_not(make_content):
    found = make_content("stay").selective.model_copy(update={"false_positives": None})
    assert "cannot be compared" in reading.read_false_positives(found)


def test_wherever_a_sharpe_stands_the_attempts_stand_beside_it(make_content):
    content = make_content("stay")

    html, card, markdown = render_report(content), render_model_card(content), markdown_summary(content)
    for page in (html, card):
        assert "7 attempts on record, worth 4 independent" in page
        assert "Searches tried 40 more settings" in page
    key = dict(headline_table(content))["Sharpe ratio"]
    assert "chance that it beats the best of 7 attempts by luck" in key
    assert "PBO 42" in key
    assert "best of 7 attempts" in markdown


def test_one_attempt_is_said_to_be_one(make_content):
    content = make_content("stay")
    trials = content.equity.trials.model_copy(
        update={
            "trials": 1,
            "effective": 1,
            "searched": 0,
            "overfitting": None,
            "words": "1 attempt on record: none",
        }
    )
    content = content.model_copy(update={"equity": content.equity.model_copy(update={"trials": trials})})

    assert "1 attempt on record" in dict(headline_table(content))["Sharpe ratio"]
    assert reading.read_trials(trials) == "1 attempt on record: none."


def test_the_summary_says_whether_the_model_abstains(make_content):
    rows = {name: value for name, value in headline_table(make_content("stay")) if name.startswith("Calls at")}
    assert all("abstains" in value and "base rate" in value for value in rows.values())
    assert len(rows) == 1
    (called,) = (value for name, value in headline_table(make_content("promote")) if name.startswith("Calls at"))
    assert "of signals" in called
    assert "a constant call" in called


def test_the_section_lists_the_frozen_weeks_only_where_a_call_was_made(make_content):
    assert "Each week under the threshold frozen before it" in render_report(make_content("promote"))
    assert "Each week under the threshold frozen before it" not in render_report(make_content("stay"))
