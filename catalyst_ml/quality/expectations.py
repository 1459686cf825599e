"""Runs rules through Great Expectations, in memory: no file is written, nothing is sent.

The library is imported at the first validation, it takes seconds. The three suites (bars, events, training set)
share this runner; what a rule needs beyond the columns of its frame, its suite derives.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from catalyst_ml.quality.validation import Rule, RuleResult, Severity

N_EXAMPLES = 3
_COLUMN_ARGUMENTS = ("column", "column_A", "column_B")


def between(name: str, column: str, low: float | None, high: float | None, **options: Any) -> Rule:
    """Rule on the range of a column; ``mostly`` and ``severity`` (critical) may be given."""
    severity = options.pop("severity", "critical")
    bounds = {"column": column, "min_value": low, "max_value": high}
    return Rule(name, severity, "ExpectColumnValuesToBeBetween", bounds | options)


def one_of(name: str, column: str, values: list[Any], *, severity: Severity = "critical") -> Rule:
    """Rule on the set of values a column may hold."""
    return Rule(name, severity, "ExpectColumnValuesToBeInSet", {"column": column, "value_set": values})


def after(name: str, later: str, earlier: str, *, or_equal: bool = False) -> Rule:
    """Critical rule that one column lies after another in every row."""
    columns = {"column_A": later, "column_B": earlier, "or_equal": or_equal}
    return Rule(name, "critical", "ExpectColumnPairValuesAToBeGreaterThanB", columns)


def known(name: str, column: str, share: float, severity: Severity) -> Rule:
    """Rule on the share of rows in which a column is known."""
    return Rule(name, severity, "ExpectColumnValuesToNotBeNull", {"column": column, "mostly": share})


def run_rules(
    frame: pd.DataFrame,
    rules: Sequence[Rule],
    *,
    key: Sequence[str],
    examples: Mapping[str, Sequence[str]] | None = None,
) -> tuple[RuleResult, ...]:
    """Check a frame; one result per rule, in the order given. Nothing is raised for bad data.

    Parameters
    ----------
    frame : DataFrame
        Its index must be 0..n-1. A missing column fails the rules that need it.
    key : sequence of str
        Columns that name a row in the examples.
    examples : mapping of rule name to texts, optional
        Better examples than key and value of the rule's columns, where the suite has some.
    """
    if not rules:
        return ()
    # Each expectation copies the frame it filters, so hand on only the columns that rules name.
    found = _run_expectations(frame[_columns_of(rules, frame, key)], rules)
    given = examples or {}
    return tuple(_read_result(rule, found[rule.name], frame, key, given.get(rule.name)) for rule in rules)


def _columns_of(rules: Sequence[Rule], frame: pd.DataFrame, key: Sequence[str]) -> list[str]:
    named = {rule.arguments.get(argument) for rule in rules for argument in _COLUMN_ARGUMENTS}
    listed = {column for rule in rules for column in rule.arguments.get("column_list", ())}
    return [column for column in frame.columns if column in named or column in key or column in listed]


def _run_expectations(frame: pd.DataFrame, rules: Sequence[Rule]) -> dict[str, Any]:
    """Return Great Expectations' result of each rule, by rule name."""
    with warnings.catch_warnings():
        # The library imports modules that Python 3.11 deprecates; nobody here can act on it.
        warnings.simplefilter("ignore", DeprecationWarning)
        import great_expectations as gx
        from great_expectations import expectations

        batch = _batch_in_memory(frame)  # first: expectations need an active context
        made = [
            # Great Expectations knows no quarantine; its own severity decides nothing here.
            getattr(expectations, rule.kind)(
                **rule.arguments,
                severity="critical" if rule.severity == "critical" else "warning",
                meta={"rule": rule.name},
            )
            for rule in rules
        ]
        suite = gx.ExpectationSuite(name="rules", expectations=made)
        result_format = {"result_format": "SUMMARY", "partial_unexpected_count": N_EXAMPLES}
        outcome = batch.validate(suite, result_format=result_format)
    by_rule: dict[str, Any] = {}
    for result in outcome.results:
        # In its own order: rules that could not be evaluated come first.
        configuration: Any = result.expectation_config
        by_rule[configuration.meta["rule"]] = result
    return by_rule


def _batch_in_memory(frame: pd.DataFrame) -> Any:
    """Return the frame as a batch of a context that writes no file, sends nothing and draws no bars."""
    import great_expectations as gx
    from great_expectations.data_context.types import base

    configuration = base.DataContextConfig(
        store_backend_defaults=base.InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
        progress_bars=base.ProgressBarsConfig(globally=False),
        analytics_enabled=False,
    )
    context = gx.get_context(mode="ephemeral", project_config=configuration)
    asset = context.data_sources.add_pandas("memory").add_dataframe_asset("frame")
    return asset.add_batch_definition_whole_dataframe("whole").get_batch({"dataframe": frame})


def _read_result(
    rule: Rule, found: Any, frame: pd.DataFrame, key: Sequence[str], examples: Sequence[str] | None
) -> RuleResult:
    details = found.result or {}
    shown = tuple(examples[:N_EXAMPLES]) if examples else _examples(rule, details, frame, key)
    return RuleResult(
        name=rule.name,
        severity=rule.severity,
        passed=bool(found.success),
        observed=_observed(details, found.exception_info),
        expected=_expected(rule),
        n_unexpected=int(details.get("unexpected_count") or 0),
        examples=() if found.success else shown,
    )


def _observed(details: dict[str, Any], exception_info: dict[str, Any]) -> str:
    if "observed_value" in details:
        return str(details["observed_value"])
    if "unexpected_count" in details:
        return f"{details['unexpected_count']} of {details['element_count']} rows against the rule"
    # Rules without a result could not be evaluated: the column they need is absent or of the wrong type.
    messages = {str(info["exception_message"]) for info in exception_info.values() if isinstance(info, dict)}
    return "; ".join(sorted(messages)) or "no result"


def _expected(rule: Rule) -> str:
    arguments = {key: value for key, value in rule.arguments.items() if value is not None}
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", rule.kind.removeprefix("Expect")).lower()
    return f"{words} ({', '.join(f'{key} {value}' for key, value in arguments.items())})"


def _examples(rule: Rule, details: dict[str, Any], frame: pd.DataFrame, key: Sequence[str]) -> tuple[str, ...]:
    """Return up to three offending rows: key and the values of the rule's columns."""
    positions = details.get("partial_unexpected_index_list") or []
    names = [rule.arguments.get(argument) for argument in _COLUMN_ARGUMENTS]
    columns = [name for name in (*key, *names) if name in frame.columns]
    rows = frame.loc[positions[:N_EXAMPLES], list(dict.fromkeys(columns))]
    return tuple(
        f"row {position}: " + ", ".join(f"{name}={row[name]}" for name in rows.columns)
        for position, row in rows.iterrows()
    )
