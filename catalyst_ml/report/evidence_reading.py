"""What trials and abstaining say, in the words of a trader; no claim beyond the interval beside it."""

from __future__ import annotations

from catalyst_ml.report.evidence_content import Selective, Trials
from catalyst_ml.report.typeset import count, estimate_text, number, share

PLANNED_RATIO = 0.5
"""The plan hopes to halve the losing trades."""


def read_trials(trials: Trials) -> str:
    """Say how much was tried, what the best of it would show without skill, and what searches add to it."""
    words = f"{trials.words[:1].upper()}{trials.words[1:]}."
    if trials.searched:
        words += (
            f" Searches tried {count(trials.searched)} more settings on events before this record; they chose nothing "
            "that was judged on it."
        )
    if trials.overfitting is not None:
        words += (
            f" Probability of back-test overfitting over {trials.overfitting_trials} procedures on the same sessions: "
            f"{share(trials.overfitting)} (choosing among equals gives half)."
        )
    elif trials.trials > 1:
        words += " Overfitting is not measured: no other procedure covers the same sessions."
    return words


def read_threshold(found: Selective) -> str:
    """Say what the threshold for the weeks to come promises, or that the model abstains."""
    return f"From now on: {found.now.words}. Base rate of all events: {number(found.base_rate, 'percent')}."


def read_follow_up(found: Selective) -> str:
    """Say whether the promises of earlier thresholds were kept."""
    n = len(found.weeks)
    if not n:
        return "No earlier week had enough settled sessions before it for a threshold, so no promise was made yet."
    words = f"Of {n} weeks with enough history before them the model abstained in {found.abstained}"
    if not found.calls:
        return f"{words}; it made no call, so there is no promise to check."
    verdict = {
        "kept": "the promise was kept",
        "broken": "the promise was broken",
        "undecided": "whether the promise was kept is not decided",
        "abstained": "no call was made",
    }[found.outcome]
    return (
        f"{words}; in the others {count(found.calls)} calls were right in {estimate_text(found.accuracy, 'percent')} "
        f"against {share(found.target)} promised: {verdict}. The better constant call would have been right in "
        f"{number(found.followed_base_rate, 'percent')} of them."
    )


def read_area(found: Selective) -> str:
    """Say whether confidence ranks calls at all."""
    words = (
        f"Mean error over all coverages (AURC): {estimate_text(found.area, 'percent')}; "
        f"confidence that tells nothing would give {number(found.error_of_all, 'percent')}"
    )
    high = found.area.high
    if high is not None and found.error_of_all is not None and high < found.error_of_all:
        return f"{words}: surer calls are better calls."
    return f"{words}: that surer calls are better is not shown."


def read_false_positives(found: Selective) -> str:
    """Say how far the losing trades fell against the rules, and whether the plan’s halving is reached."""
    lost = found.false_positives
    if lost is None:
        return "Losing trades cannot be compared with the rules’: one of the two took none at its frozen thresholds."
    ratio = lost.ratio
    words = (
        f"At {share(lost.coverage)} of events (rules: {share(lost.rules_coverage)}) {number(lost.rate, 'percent')} of "
        f"the challenger’s trades lost, {number(lost.rules_rate, 'percent')} of the rules’; of all events "
        f"{number(lost.base_rate, 'percent')} lose. Ratio {estimate_text(ratio, 'score')}"
    )
    if ratio.high is not None and ratio.high <= PLANNED_RATIO:
        return f"{words}: the plan’s halving is reached."
    if ratio.low is not None and ratio.low > PLANNED_RATIO:
        return f"{words}: the plan’s halving (0.50) is not reached, the interval excludes it."
    return f"{words}: whether the plan’s halving (0.50) is reached is not decided."
