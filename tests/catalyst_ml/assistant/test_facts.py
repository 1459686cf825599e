"""What Claude may see: numbers by id, and mistakes without name and date."""

from catalyst_ml.assistant.analysis import IDENTIFYING_COLUMNS
from catalyst_ml.assistant.facts import N_MISTAKES, week_facts
from catalyst_ml.evaluation.metrics import score_predictions
from tests.catalyst_ml.evaluation.records import make_record


def facts():
    record = make_record(sessions=65, events_a_day=10, seed=2)
    scores = {
        arm: score_predictions(record["y"], record[f"p_{arm}"], record["session"], record["direction"]).to_dict()
        for arm in ("challenger", "champion", "rules", "base_rate", "pattern_base_rate")
    }
    decision = {
        "headline": "Stay on rules",
        "summary": "Not clearly better.",
        "events": len(record),
        "sessions": 65,
        "checks": [{"name": "sessions", "title": "Settled sessions", "value": 65, "bound": 65}],
    }
    importance = {"groups": [{"group": "relative_rsi_14", "importance": 0.001}]}
    return week_facts(decision=decision, scores=scores, importance=importance, record=record), record


def test_mistakes_are_failures_the_challenger_was_surest_of_without_name_and_date():
    week, record = facts()

    assert len(week.rows) == N_MISTAKES
    assert not {key for row in week.rows for key in row} & IDENTIFYING_COLUMNS
    surest = record.loc[record["y"] == 0, "p_challenger"].max()
    assert week.rows[0]["probability"] == round(surest, 3)
    assert not any(symbol in str(week) for symbol in record["symbol"].unique())


def test_every_arm_comes_with_the_base_rate_beside_it():
    week, record = facts()

    assert week.metrics["base_rate"].value == record["y"].mean()
    assert week.metrics["challenger_accuracy"].unit == "fraction"
    assert week.metrics["check_sessions"].value == 65
    assert "relative_rsi_14" in week.names
