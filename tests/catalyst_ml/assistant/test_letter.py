"""Figures come from the run, never from the writer; every way around that refuses the letter."""

import pytest

from catalyst_ml.assistant.letter import Letter, LetterDraft, LetterRefusal, Metric, check_letter

METRICS = {
    "accuracy": Metric(0.5731, "fraction", "accuracy of the ensemble"),
    "base_rate": Metric(0.4702, "fraction", "share of winners"),
    "n_events": Metric(12345, "count", "events judged"),
    "pnl": Metric(-4.26, "bp", "mean net profit per trade"),
    "sharpe": Metric(None, "", "Sharpe ratio"),
}
NAMES = frozenset({"rsi_14", "rules_intended_v213"})


def draft(comment: str = "Nothing to report.", **sections: list[str]) -> LetterDraft:
    empty = {name: [] for name in LetterDraft.model_fields if name != "verdict_comment"}
    return LetterDraft(verdict_comment=comment, **{**empty, **sections})


def checked(comment: str, **sections: list[str]) -> Letter | LetterRefusal:
    return check_letter(draft(comment, **sections), metrics=METRICS, names=NAMES)


def test_metrics_are_rendered_from_the_runs_own_values() -> None:
    letter = checked(
        "Accuracy was {accuracy} on {n_events} events; base rate {base_rate}.", risks=["Sharpe: {sharpe}."]
    )
    assert isinstance(letter, Letter)
    assert letter.verdict_comment == "Accuracy was 57.3 % on 12,345 events; base rate 47.0 %."
    assert letter.risks == ("Sharpe: not available.",)
    assert letter.cited_metrics == ("accuracy", "n_events", "base_rate", "sharpe")


@pytest.mark.parametrize(
    ("metric", "text"),
    [
        (Metric(-4.26, "bp", ""), "-4.3 bp"),
        (Metric(0.03125, "probability", ""), "0.031"),
        (Metric(-1234.5, "usd", ""), "−$1,234.50"),
        (Metric(float("nan"), "fraction", ""), "not available"),
        (Metric(64.9, "sessions", ""), "64.9 sessions"),
        (Metric(1.23456, "", ""), "1.235"),
    ],
)
def test_each_unit_has_its_own_spelling(metric: Metric, text: str) -> None:
    assert metric.text() == text


@pytest.mark.parametrize(
    "sentence",
    [
        "The signal rsi_14 helped, and rules_intended_v213 stayed ahead.",
        "Someone often mentions the weaker ones, at the second attempt.",
        "First, attention; second, the tenor of weightless phonetics; none of it often.",
        "The accuracy ({accuracy}) beats the base rate, {base_rate}, slightly.",
        "Évidence is naïve.",
    ],
)
def test_ordinary_prose_names_on_the_list_and_free_standing_metrics_pass(sentence: str) -> None:
    assert isinstance(checked(sentence), Letter), checked(sentence)


@pytest.mark.parametrize(
    "sentence",
    [
        "Accuracy was 57 percent.",
        "It won seven times.",
        "It won twenty-one times.",
        "It won twentyone times.",
        "Half of the trades lost.",
        "Profit doubled.",
        "Twice as good.",
        "A hundredfold gain.",
        "The third week.",
        "Two-thirds of them.",
        "Some dozens of events.",
        "Above fifty percent.",
        "It rose by ½.",
        "It rose by ５.",
        "It rose by x².",
        "Chapter Ⅳ.",
        "It won sev\u00aden times.",
        "It won s\u0435ven times.",
        "It won 七 times.",
        "SEVEN of them.",
        "Try ema_50 as well.",
        "Look at xrsi_14.",
        "Look at 3rsi_14.",
    ],
)
def test_digits_and_number_words_refuse_the_letter_and_name_the_sentence(sentence: str) -> None:
    refused = check_letter(
        draft("All is calm. Nothing moved.", what_failed=["Calm again.", f"Still calm. {sentence}"]),
        metrics=METRICS,
        names=NAMES,
    )
    assert isinstance(refused, LetterRefusal)
    assert refused.sentence == sentence
    assert refused.problem.startswith("what_failed: ")


@pytest.mark.parametrize(
    "sentence",
    [
        "It was {auc}.",
        "It was {accuracy}{base_rate}.",
        "It was {accuracy} {base_rate}.",
        "It was {accuracy}.{base_rate}",
        "It was {n_events},{n_events}.",
        "It was -{accuracy}.",
        "It was −{accuracy}.",
        "It was minus {accuracy}.",
        "It was ${accuracy}.",
        "It was e{accuracy}.",
        "It was {accuracy}e.",
        "It was {accuracy} million.",
        "It was { accuracy }.",
        "It was {{accuracy}}.",
        "It was {accuracy!r}.",
        "It was {accuracy.__class__}.",
    ],
)
def test_a_metric_that_is_unknown_or_made_into_another_number_refuses_the_letter(sentence: str) -> None:
    refused = checked(sentence)
    assert isinstance(refused, LetterRefusal), refused
    assert refused.sentence == sentence


def test_markup_is_left_to_the_reports_escaping_and_changes_nothing() -> None:
    letter = checked("<script>alert(document.cookie)</script>")
    assert isinstance(letter, Letter)
    assert letter.verdict_comment == "<script>alert(document.cookie)</script>"
