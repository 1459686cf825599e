"""The leak check as a suite of rules, so that the report shows it beside the rules on bars, events and training set."""

from __future__ import annotations

from catalyst_ml.features import leak_check, training_leaks
from catalyst_ml.features.leak_report import LeakReport, Verdict
from catalyst_ml.quality.validation import RuleResult, ValidationResult

SUITE = "leak check"

RULES: dict[str, str] = {
    leak_check.TRUNCATED: "no_feature_changes_when_the_future_is_cut_off",
    leak_check.PERTURBED: "no_feature_follows_another_future",
    leak_check.SPLIT: "no_feature_tells_of_splits_to_come",
    leak_check.AT_OPEN: "no_feature_used_at_the_open_knows_its_session",
    training_leaks.REPLAY: "every_row_can_be_made_from_what_was_known",
    training_leaks.PROVENANCE: "every_input_is_made_from_the_sources",
    training_leaks.OUTCOME: "no_input_knows_the_outcome",
    training_leaks.ENTRY: "entry_and_outcome_follow_the_decision",
    training_leaks.FOLDS: "no_fold_trains_on_outcomes_of_its_own_time",
}
"""Check to rule. The replays of rows, one check per kind of altered sources, make one rule together."""


def leak_suite(report: LeakReport) -> ValidationResult:
    """Return the report's checks as critical rules, and its warnings as rules that only warn."""
    by_rule: dict[str, list[Verdict]] = {}
    for verdict in report.verdicts:
        check = training_leaks.REPLAY if verdict.check.startswith(training_leaks.REPLAY) else verdict.check
        by_rule.setdefault(RULES[check], []).append(verdict)
    rules = [_rule(name, verdicts) for name, verdicts in by_rule.items()]
    rules += [
        RuleResult("sectors_are_those_of_their_day", "warning", False, warning, "a map as old as its rows", 1)
        for warning in report.warnings
    ]
    return ValidationResult.of(SUITE, rules)


def _rule(name: str, verdicts: list[Verdict]) -> RuleResult:
    n_compared = sum(verdict.n_compared for verdict in verdicts)
    n_alarms = sum(verdict.n_alarms for verdict in verdicts)
    shown = {verdict.column for verdict in verdicts if verdict.n_compared}
    examples = [str(leak) for verdict in verdicts for leak in verdict.examples[:1]]
    return RuleResult(
        name,
        "critical",
        n_alarms == 0,
        f"{n_alarms:,} alarms in {n_compared:,} comparisons of {len(shown)} {_subject(verdicts)}",
        "no alarm",
        n_alarms,
        tuple(examples[:5]),
    )


def _subject(verdicts: list[Verdict]) -> str:
    return "folds" if verdicts[0].check == training_leaks.FOLDS else "columns"
