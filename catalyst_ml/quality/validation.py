"""Rules of a validation suite as data, what each found, and the refusal that follows a critical failure.

Three severities: *critical* stops the run, *quarantine* keeps the rows it names out of training until a person
releases them, a *warning* is counted and shown. (Rows that cannot be bars at all are refused at import.)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from catalyst_ml.errors import DataContractError

Severity = Literal["critical", "quarantine", "warning"]


@dataclass(frozen=True)
class Rule:
    """One expectation: its name reads like a sentence, ``kind`` is the class in Great Expectations."""

    name: str
    severity: Severity
    kind: str
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RuleResult:
    """What one rule found. ``examples`` name a few offending rows; all fields are plain JSON types."""

    name: str
    severity: Severity
    passed: bool
    observed: str
    expected: str
    n_unexpected: int
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class ValidationResult:
    """Outcome of one suite; ``passed`` means that no critical rule failed."""

    passed: bool
    rules: tuple[RuleResult, ...]
    suite: str = "training set"

    @classmethod
    def of(cls, suite: str, rules: Iterable[RuleResult]) -> ValidationResult:
        """Put the results of the rules together."""
        found = tuple(rules)
        return cls(not any(not r.passed and r.severity == "critical" for r in found), found, suite)

    @property
    def critical_failures(self) -> tuple[RuleResult, ...]:
        return tuple(rule for rule in self.rules if not rule.passed and rule.severity == "critical")

    @property
    def quarantined(self) -> tuple[RuleResult, ...]:
        return tuple(rule for rule in self.rules if not rule.passed and rule.severity == "quarantine")

    @property
    def warnings(self) -> tuple[RuleResult, ...]:
        return tuple(rule for rule in self.rules if not rule.passed and rule.severity == "warning")

    def summary(self) -> str:
        """Return readable lines: the count, then each failed rule with what came and examples."""
        failed = [*self.critical_failures, *self.quarantined, *self.warnings]
        set_aside = f"{len(self.quarantined)} set rows aside, " if self.quarantined else ""
        lines = [
            f"{len(self.rules) - len(failed)} of {len(self.rules)} rules hold, "
            f"{len(self.critical_failures)} critical failures, {set_aside}{len(self.warnings)} warnings"
        ]
        for rule in failed:
            lines.append(f"{rule.severity} {rule.name}: expected {rule.expected}, got {rule.observed}")
            lines += [f"    {example}" for example in rule.examples]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types, to be kept with the run."""
        return {
            "suite": self.suite,
            "passed": self.passed,
            "rules": [asdict(rule) | {"examples": list(rule.examples)} for rule in self.rules],
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> ValidationResult:
        """Inverse of ``to_dict``."""
        rules = (RuleResult(**rule | {"examples": tuple(rule["examples"])}) for rule in stored["rules"])
        return cls(stored["passed"], tuple(rules), stored.get("suite", "training set"))


def require_valid(result: ValidationResult) -> ValidationResult:
    """Return ``result``, or stop the run.

    Raises
    ------
    DataContractError
        If a critical rule failed; the message holds the readable summary.
    """
    if not result.passed:
        raise DataContractError(
            f"{result.suite} refused: {result.summary()}\n"
            "Mend or exclude the rows named above at their source and run again; nothing was trained."
        )
    return result
