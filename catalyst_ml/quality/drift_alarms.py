"""Findings and alarms of drift, and the one budget of false alarms that all of them share.

Every run asks some hundred questions; together they may cry wolf in one run of 252, once a year. An alarm is raised
once, stays open while its finding stands, and is closed only after quiet runs, so that a month of the same news is one
alarm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from catalyst_ml.quality.drift_feeds import FeedState

FALSE_ALARMS_PER_RUN = 1.0 / 252.0
"""Of a daily run over everything it asks: at most one a year."""

SHARES: dict[str, float] = {
    "feature": 0.40,
    "relation": 0.10,
    "classifier": 0.08,
    "calibration": 0.10,
    "confidence": 0.06,
    "feed": 0.26,
}
"""How the budget is divided; within a share equally (Bonferroni), so dependence between questions cannot break it.
Feeds get what lets one that never missed a session alarm on its second silent one."""

RELEASE_FACTOR, QUIET_RUNS = 10.0, 5
"""An open alarm closes after so many runs in a row with a p-value above so many times its bound."""

Kind = Literal["feature", "relation", "classifier", "calibration", "confidence", "feed"]

ADVICE: dict[str, str] = {
    "feature": "Look at its inputs (a source that stopped, a changed unit); if the market changed, train again.",
    "relation": "Look at the inputs both features share; if the market changed, train again.",
    "classifier": "Several features moved a little together: read the closest of them in the table, then train again.",
    "calibration": "Do not size by these probabilities; train again, and roll back to the rules if it stays.",
    "confidence": "The model is less (or more) sure than it was: read the feature alarms first, then train again.",
    "feed": "Mend the import or the source; until then signals rest on old data and the rules should be preferred.",
}


@dataclass(frozen=True)
class Finding:
    """One question and its answer.

    ``value`` was measured, ``bound`` is where it would alarm, ``usual`` its expectation without drift, all in the
    unit named in ``statistic``; ``p`` is the chance of such a value without drift and ``alpha`` this question's part
    of the budget. ``since`` is the first session of the window in which it was seen.
    """

    kind: Kind
    what: str
    statistic: str
    value: float
    usual: float
    bound: float
    p: float
    alpha: float
    since: str
    meaning: str
    advice: str

    @property
    def key(self) -> str:
        """The same question in every run."""
        return f"{self.kind}:{self.what}:{self.statistic}"

    @property
    def alarms(self) -> bool:
        """True if this part of the budget is spent."""
        return self.p <= self.alpha


@dataclass(frozen=True)
class Alarm:
    """A finding that was raised, since which run's session, and how many runs in a row it has been quiet."""

    finding: Finding
    raised: str
    is_new: bool
    quiet_runs: int = 0


@dataclass(frozen=True)
class DriftReport:
    """Everything one run found. ``unjudged`` says in words what could not be asked, and why."""

    findings: tuple[Finding, ...] = ()
    unjudged: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)

    def joined(self, other: DriftReport) -> DriftReport:
        """Both reports as one."""
        return DriftReport(
            self.findings + other.findings, self.unjudged + other.unjudged, {**self.facts, **other.facts}
        )

    def nearest(self, n: int = 12) -> list[Finding]:
        """The findings closest to an alarm, closest first."""
        return sorted(self.findings, key=lambda finding: finding.p / finding.alpha)[:n]


def feed_report(states: Sequence[FeedState]) -> DriftReport:
    """Turn the states of all feeds into findings; give each ``budget("feed", number of feeds)``."""
    findings, unjudged = [], []
    alpha = budget("feed", max(len(states), 1))
    for state in states:
        if state.p is None or state.bound is None:
            unjudged.append(f"feed {state.feed}: {state.n_sessions} sessions of history are too few ({state.usual})")
            continue
        finding = Finding(
            kind="feed",
            what=state.feed,
            statistic="silent sessions",
            value=float(state.silent_sessions),
            usual=0.0,
            bound=float(state.bound),
            p=state.p,
            alpha=alpha,
            since=str(state.last),
            meaning=f"{state.feed}: silent for {state.silent_sessions} sessions, last {state.last}; {state.usual}",
            advice=ADVICE["feed"],
        )
        findings.append(finding)
    return DriftReport(tuple(findings), tuple(unjudged))


def budget(kind: Kind, n_questions: int) -> float:
    """Chance of a false alarm that one of ``n_questions`` of a kind may have in one run."""
    return FALSE_ALARMS_PER_RUN * SHARES[kind] / n_questions


def carry_alarms(report: DriftReport, before: Sequence[Alarm], session: str, *, is_repeat: bool = False) -> list[Alarm]:
    """Open alarms after this run: those of ``before`` that still stand or were quiet too shortly, and new ones.

    A question that could not be asked this time leaves its alarm as it was. ``is_repeat`` says that the run before
    knew the same sessions, so that repeating a run closes nothing.
    """
    asked = {finding.key: finding for finding in report.findings}
    kept = []
    for alarm in before:
        finding = asked.pop(alarm.finding.key, None)
        if finding is None:
            kept.append(replace(alarm, is_new=False))
            continue
        is_quiet = finding.p > RELEASE_FACTOR * finding.alpha
        quiet = alarm.quiet_runs + (not is_repeat) if is_quiet else 0
        if quiet < QUIET_RUNS:
            kept.append(Alarm(replace(finding, since=alarm.finding.since), alarm.raised, False, quiet))
    raised = [Alarm(finding, session, True) for finding in asked.values() if finding.alarms]
    return kept + sorted(raised, key=lambda alarm: alarm.finding.p / alarm.finding.alpha)


def still_apply(alarms: Sequence[Alarm]) -> list[Alarm]:
    """Those of the open alarms that a new version inherits: all but those about the old one's probabilities.

    Otherwise a training that an alarm had started would make the same alarm new, and start the next one.
    """
    return [alarm for alarm in alarms if alarm.finding.kind not in ("calibration", "confidence")]


def alarm_to_dict(alarm: Alarm) -> dict[str, Any]:
    """Return plain JSON types."""
    return asdict(alarm)


def finding_to_dict(finding: Finding) -> dict[str, Any]:
    """Return plain JSON types; ``Finding(**...)`` is the inverse."""
    return asdict(finding)


def alarm_from_dict(stored: Mapping[str, Any]) -> Alarm:
    """Inverse of ``alarm_to_dict``."""
    return Alarm(**{**stored, "finding": Finding(**stored["finding"])})
