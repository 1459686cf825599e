"""What the numbers say, in the words of a trader: one or two sentences per chart, computed from the content.

A sentence never claims more than the interval beside it allows.
"""

from __future__ import annotations

from catalyst_ml.report.content import BASE_RATE, CHALLENGER, RULES, Estimate, Novelty, ReportContent
from catalyst_ml.report.typeset import count, estimate_text, interval, number, share

KIND_OF_VERDICT = {
    "promote": "Promotion",
    "stay": "No change",
    "not_enough_evidence": "Not enough evidence",
    "failed": "Run failed",
}


def side_of_zero(estimate: Estimate, *, lower_is_better: bool = True) -> str:
    """Return "better", "worse" or "undecided": whether the whole interval lies on one side of zero."""
    low, high = estimate.low, estimate.high
    if estimate.value is None or low is None or high is None or low <= 0.0 <= high:
        return "undecided"
    return "better" if (high < 0.0) == lower_is_better else "worse"


def read_record(content: ReportContent) -> str:
    """Say how much evidence there is and what chance alone would score."""
    record = content.record
    if not record.rows:
        return "No settled outcome lies in the record yet, so nothing can be judged."
    words = f"{count(record.rows)} signals over {count(record.sessions)} sessions"
    if record.n_eff is not None:
        worth = f"they are worth about {count(record.n_eff)} independent ones"
        words += f". Signals of one day move together, so {worth}"
    words += f". Taking every signal wins {estimate_text(record.base_rate, 'percent')} of the time"
    if record.pattern_base_rate_low is not None and record.pattern_base_rate_high is not None:
        low, high = (
            number(record.pattern_base_rate_low, "percent"),
            number(record.pattern_base_rate_high, "percent"),
        )
        words += f"; by pattern and direction between {low} and {high}"
    if record.detectable_difference is not None:
        words += (
            f". A log-loss advantage smaller than {number(record.detectable_difference, 'loss')} "
            "could not be told from luck on this record"
        )
    return words + "."


def read_companions(content: ReportContent) -> str:
    """Say what the companions are good for: sizes if they beat ATR, ranks if their correlation is above zero."""
    found = content.companions
    match side_of_zero(found.gain_over_atr, lower_is_better=False):
        case "better":
            words = "How far a stock will move is forecast better than by ATR alone"
        case "worse":
            words = "How far a stock will move is forecast worse than by ATR alone: do not use it"
        case _:
            words = "How far a stock will move is not clearly forecast better than by ATR alone"
    words += f" (AUC within the day {estimate_text(found.gain_over_atr, 'difference')} over it)"
    ranks = [score for score in found.scores if score.ic.value is not None and not score.is_baseline]
    proven = [score for score in ranks if side_of_zero(score.ic, lower_is_better=False) == "better"]
    if not proven:
        return f"{words}. Which stock will do better than the others is not shown to be known: leave the ranks alone."
    names = " and ".join(score.title.lower() for score in proven)
    costs = ", ".join(number(score.break_even_bps, "bps") for score in proven)
    return f"{words}. An order of the stocks is shown for {names}; it pays only below costs of {costs} a side."


def read_forest(content: ReportContent) -> str:
    """Say whether the challenger's interval against the base rate excludes zero."""
    arm = content.arm(CHALLENGER)
    if arm is None or arm.log_loss_vs_base.value is None:
        return "The challenger has no score on this record."
    if not arm.log_loss_vs_base.has_interval:
        return "The challenger’s score has no interval, so nothing is proven either way."
    band = interval(arm.log_loss_vs_base, "difference")
    match side_of_zero(arm.log_loss_vs_base):
        case "better":
            what = f"whole interval {band} lies left of zero: it forecasts better than the base rate."
        case "worse":
            what = f"whole interval {band} lies right of zero: the base rate alone forecasts better."
        case _:
            what = f"interval {band} crosses zero: better and worse than the base rate are both possible."
    return f"The challenger’s {what}"


def read_evidence(content: ReportContent) -> str:
    """Say where the lines of daily evidence end."""
    rising = [c.against for c in content.evidence if c.cumulative and c.cumulative[-1] > 0]
    if len(rising) == len(content.evidence):
        tail = "All lines end above zero; whether that is more than luck is decided by the gate, not by the eye."
    elif rising:
        ending = f"{len(rising)} of {len(content.evidence)} lines end above zero"
        tail = f"{ending}; a challenger must win all of them."
    else:
        tail = "No line ends above zero: day by day the challenger added nothing."
    return f"Each day adds the challenger’s advantage in log-loss. {tail}"


def read_calibration(content: ReportContent) -> str:
    """Say the calibration error of the challenger in points."""
    arm = content.arm(CHALLENGER)
    words = "Points on the dotted line mean: of signals given 55 %, 55 % won. Whiskers are intervals."
    if arm is None or arm.ece.value is None:
        return words
    miss = estimate_text(arm.ece, "percent")
    return f"{words} The challenger’s forecasts miss by {miss} on average (calibration error)."


def read_risk(content: ReportContent) -> str:
    """Compare the errors at full coverage with those of the most confident fifth."""
    points = sorted(content.risk_coverage[0].points, key=lambda p: p.coverage)
    fifth = min(points, key=lambda p: abs(p.coverage - 0.2))
    all_of_them = points[-1]
    return (
        f"Taking only the {share(fifth.coverage)} most confident signals ({count(fifth.count)}), "
        f"{number(fifth.error, 'percent')} of calls are wrong; "
        f"at {share(all_of_them.coverage)} it is {number(all_of_them.error, 'percent')}. "
        "A line that does not fall to the left means that confidence tells nothing."
    )


def read_equity(content: ReportContent) -> str:
    """State coverage, costs and the uncertainty of the Sharpe ratio."""
    if content.equity is None:
        return "No trade was simulated."
    words = (
        f"Every arm takes its {share(content.equity.coverage)} most confident signals, at the same entries and "
        f"exits, and pays {number(content.equity.cost_bps_per_side)} basis points a side."
    )
    own = next((c for c in content.equity.curves if c.arm == CHALLENGER), None)
    if own is not None and own.sharpe.has_interval:
        if (own.sharpe.low or 0.0) <= 0.0 <= (own.sharpe.high or 0.0):
            words += " The challenger’s Sharpe ratio could be zero: its interval says so."
        else:
            words += " The interval of the challenger’s Sharpe ratio excludes zero."
    return words


def read_months(content: ReportContent) -> str:
    """Say how far the share of winners moves from month to month."""
    rates = [m.rate.value for m in content.base_rate_by_month if m.rate.value is not None]
    if not rates:
        return "No month has a settled outcome."
    return (
        f"The market itself moved the share of winners between {number(min(rates), 'percent')} and "
        f"{number(max(rates), 'percent')} a month. An accuracy that rises with it is weather, not skill."
    )


def read_importances(content: ReportContent) -> str:
    """Say how many features matter beyond their interval."""
    proven = [f for f in content.importances if side_of_zero(f.importance, lower_is_better=False) == "better"]
    return (
        f"How much worse the forecast gets when a feature’s values are shuffled. {len(proven)} of "
        f"{len(content.importances)} features have an interval above zero; the others may be noise."
    )


def read_drivers(content: ReportContent) -> str:
    """Say which feature moves the forecast most, and how the marks are read."""
    first = next((driver for driver in content.drivers if driver.size.value), None)
    if first is None:
        return "No feature moves the forecast of one event of a day apart from another."
    return (
        f"{first.words} moves the forecast most: {estimate_text(first.size, 'score')} in log-odds on average (grey "
        "bar; 0.04 is one point of probability near one half). ▼ is the mean where the feature is in its lowest third, "
        "▲ in its highest."
    )


def read_slices(content: ReportContent) -> str:
    """Say how many parts were tested, and whether any stands out beside all the others."""
    test = content.slice_test
    if test is None:
        return "Many parts are looked at here, so some look good by luck: believe only what stays for weeks."
    words = (
        f"{_things(test.n_tested, 'part')} of the record are tested together (Holm), so that luck calls any of them "
        f"better or worse than the base rate in {share(test.alpha)} of runs at most. "
    )
    for side, meaning in (("worse", "forecasts worse than the base rate"), ("better", "forecasts better")):
        named = [part.value.replace("_", " ") for part in content.slices if part.stands_out == side]
        if named:
            words += f"It {meaning} on {', '.join(named)}. "
        elif side == "worse":
            words += "On none of them is it worse beyond luck. "
        else:
            words += "On none of them is it better beyond luck. "
    return words.strip()


def read_mistakes(content: ReportContent) -> str:
    """Say what the mistakes have in common, without a reason that nobody tested."""
    n = len(content.mistakes)
    lost = sum(not mistake.won for mistake in content.mistakes)
    words = f"The {_things(n, 'row')} of the record that cost the challenger most log-loss: {count(lost)} "
    words += f"that it believed in and that lost, {count(n - lost)} that it doubted and that won. "
    return words + "Any forecaster has a worst row; what they share is worth a thought, one of them is not."


def read_leaderboard(content: ReportContent) -> str:
    """Say which members are deployed and why their weights are what they are."""
    board = content.leaderboard
    if board is None:
        return ""
    used = [row.title for row in board.rows if row.weight]
    words = f"Deployed: {', '.join(used)}." if used else "No member is deployed."
    return f"{words} Weights: {content.ensemble.calibration}." if content.ensemble.calibration else words


def read_quality(content: ReportContent) -> str:
    """Count rules, broken rules, skipped symbols and rows left out, and say how much of the newest week is novel."""
    quality = content.quality
    rules = [rule for suite in quality.all_suites for rule in suite.rules]
    broken = [rule for rule in rules if not rule.passed]
    critical = sum(rule.severity == "critical" for rule in broken)
    refused = sum(r.count for r in quality.refused_rows)
    return (
        f"{len(rules) - len(broken)} of {len(rules)} rules hold, "
        f"{critical} critical ones are broken; "
        f"{_things(refused, 'row')} refused, {_things(len(quality.skipped_symbols), 'symbol')} skipped."
        + _spoken_novelty(quality.novelty)
    )


def _spoken_novelty(novelty: Novelty | None) -> str:
    if novelty is None or not novelty.n:
        return ""
    return (
        f" Of the newest week’s {_things(novelty.n, 'event')} {count(novelty.n_novel)} are unlike the training events "
        f"({number(novelty.n_novel / novelty.n, 'percent')}; {number(novelty.expected, 'percent')} would be by chance)."
    )


def arm_titles(content: ReportContent) -> dict[str, str]:
    """Title of every arm that a chart may name, with plain names for those the table does not have."""
    known = {CHALLENGER: "Challenger", RULES: "Rules", BASE_RATE: "Base rate", "champion": "Champion",
             "pattern_base_rate": "Pattern base rate"}  # fmt: skip
    return known | {arm.name: arm.title for arm in content.arms}


def spoken_checks(content: ReportContent) -> str:
    """Say how many decisive checks passed, failed, and could not be judged."""
    decisive = [check.passed for check in content.gate if check.decisive]
    parts = (
        (decisive.count(True), "passed"),
        (decisive.count(False), "failed"),
        (decisive.count(None), "not judged"),
    )
    return ", ".join(f"{n} {word}" for n, word in parts if n) or "none made"


def _things(n: int, noun: str) -> str:
    return f"{count(n)} {noun}{'' if n == 1 else 's'}"
