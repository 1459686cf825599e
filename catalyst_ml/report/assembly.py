"""From the evidence of a run to the parts of its report: every score with interval, base rate and rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from catalyst_ml.evaluation import deflation as deflated_sharpe
from catalyst_ml.evaluation.comparison import MIN_TEST_SESSIONS, compare_log_loss, daily_log_loss_gain
from catalyst_ml.evaluation.intervals import ScoreInterval, auc_interval, auc_within_interval, mean_interval
from catalyst_ml.evaluation.metrics import calibration_curve, risk_coverage, score_predictions
from catalyst_ml.evaluation.record import (
    MEMBER_PREFIX,
    P_BASE_RATE,
    P_CHALLENGER,
    P_CHAMPION,
    P_PATTERN_BASE_RATE,
    P_RULES,
    log_losses,
    member_columns,
)
from catalyst_ml.evaluation.significance import long_run_variance
from catalyst_ml.evaluation.trading import summarise_trades, trades_at_coverage
from catalyst_ml.report import content
from catalyst_ml.report.content_base import USUAL_LEVEL
from catalyst_ml.report.evidence_parts import trials_part

TITLES = {
    P_CHALLENGER: "Challenger",
    P_CHAMPION: "Champion",
    P_RULES: "Rules (calibrated)",
    P_BASE_RATE: "Base rate",
    P_PATTERN_BASE_RATE: "Pattern base rate",
}
MEMBER_TITLES = {
    "base_rate": "Base rate",
    "logistic": "Logistic regression",
    "xgboost": "XGBoost",
    "forest": "Random forest",
    "net": "Neural net",
    "catalyst": "Catalyst predictor (events with news)",
}
HONEST_EVALUATION = "purged forward"
Z_ALPHA_POWER = 2.49
"""z(0.95) + z(0.80): a one-sided 5 % test finds a difference of this many standard errors four times of five."""


def arms_shown(record: pd.DataFrame) -> list[str]:
    """Columns of the arms worth a line: the champion only where it is not the rules themselves."""
    shown = [P_CHALLENGER]
    if not record[P_CHAMPION].equals(record[P_RULES]):
        shown.append(P_CHAMPION)
    return [*shown, P_RULES, P_PATTERN_BASE_RATE, P_BASE_RATE]


def record_part(record: pd.DataFrame) -> content.Record:
    """Rows, effective rows, sessions and both base rates of the record."""
    scores = score_predictions(record["y"], record[P_BASE_RATE], record["session"], record["direction"])
    days = record["session"]
    gain = daily_log_loss_gain(record, P_CHALLENGER, P_BASE_RATE).to_numpy()
    per_event = len(record) / len(gain)
    error = np.sqrt(long_run_variance(gain) / len(gain)) if len(gain) >= MIN_TEST_SESSIONS else np.nan
    return content.Record(
        rows=len(record),
        n_eff=scores.n_eff,
        sessions=int(days.nunique()),
        first_session=days.min().date(),
        last_session=days.max().date(),
        base_rate=_estimate(mean_interval(record["y"].to_numpy(), days)),
        pattern_base_rate_low=float(record[P_PATTERN_BASE_RATE].quantile(0.05)),
        pattern_base_rate_high=float(record[P_PATTERN_BASE_RATE].quantile(0.95)),
        detectable_difference=float(Z_ALPHA_POWER * error / per_event),
    )


def arm_parts(record: pd.DataFrame) -> list[content.Arm]:
    """One line per arm and per member, all on the same rows; a member that abstains on those where it spoke."""
    arms = [_arm(record, column, name=column.removeprefix("p_"), title=TITLES[column]) for column in arms_shown(record)]
    members = [
        _arm(spoken, column, name=name, title=MEMBER_TITLES.get(name, name), kind="member")
        for column in member_columns(record)
        if (name := column.removeprefix(MEMBER_PREFIX)) != "base_rate"
        and (spoken := record[record[column].notna()])["session"].nunique() >= MIN_TEST_SESSIONS
    ]
    return arms + members


def calibration_parts(record: pd.DataFrame) -> list[content.CalibrationCurve]:
    """Reliability of the challenger and the rules, bins of equal mass."""
    curves = []
    for column in (P_CHALLENGER, P_RULES):
        table = calibration_curve(
            record["y"].to_numpy(), record[column].to_numpy(), record["session"], level=USUAL_LEVEL
        )
        points = [
            content.CalibrationPoint(
                predicted=row["p_mean"],
                observed=row["success_rate"],
                low=row["low"],
                high=row["high"],
                count=row["n"],
            )
            for row in table.to_dict("records")
        ]
        curves.append(content.CalibrationCurve(arm=column.removeprefix("p_"), points=points))
    return curves


def risk_coverage_parts(record: pd.DataFrame) -> list[content.RiskCoverageCurve]:
    """What abstaining buys the challenger and the rules."""
    curves = []
    for column in (P_CHALLENGER, P_RULES):
        table = risk_coverage(
            record["y"].to_numpy(),
            record[column].to_numpy(),
            record["session"],
            record["net_return"].to_numpy(),
            level=USUAL_LEVEL,
        )
        points = [
            content.RiskCoveragePoint(
                coverage=row["coverage"],
                error=row["error"],
                low=row["error_low"],
                high=row["error_high"],
                count=row["n"],
            )
            for row in table.to_dict("records")
        ]
        curves.append(content.RiskCoverageCurve(arm=column.removeprefix("p_"), points=points))
    return curves


def equity_part(
    record: pd.DataFrame, *, coverage: float, cost_bps_per_side: float, deflation: Mapping[str, Any]
) -> content.Equity:
    """Cumulative profit of the challenger and its rivals, each trading the same share of events.

    ``deflation`` is the challenger's, as stored with the decision; rivals were not chosen from what was tried.
    """
    curves = []
    for column in (c for c in arms_shown(record) if c in (P_CHALLENGER, P_CHAMPION, P_RULES)):
        trades = trades_at_coverage(record, column, coverage=coverage)
        summary, equity = summarise_trades(trades), trades.equity()
        taken = trades.rows[trades.rows["size"] > 0]
        # A tie at the threshold is taken in part and counts in part, as in the curve and the number of trades.
        per_trade = mean_interval(
            1e4 * taken["net_return"].to_numpy(), taken["session"], weight=taken["size"].to_numpy()
        )
        curves.append(
            content.EquityCurve(
                arm=column.removeprefix("p_"),
                sessions=[day.date() for day in equity["session"]],
                cumulative=equity["equity"].tolist(),
                sharpe=content.Estimate(value=summary.sharpe, low=summary.sharpe_low, high=summary.sharpe_high),
                probability=deflated_sharpe.deflate(trades.judged_profit()).probability,
                deflated=deflation["deflated"] if column == P_CHALLENGER else None,
                trades=round(summary.trades),
                mean_net_bps=_estimate(per_trade),
            )
        )
    return content.Equity(
        coverage=coverage,
        cost_bps_per_side=cost_bps_per_side,
        curves=curves,
        note=(
            "One stake per trade, nothing reinvested: 100 % is the return of one whole stake. Each week's threshold "
            "was frozen on earlier weeks, so the share really taken may differ; the column of trades shows it."
        ),
        trials=trials_part(deflation),
    )


def evidence_parts(record: pd.DataFrame) -> list[content.EvidenceCurve]:
    """Running sum of daily log-loss gain of the challenger over each reference."""
    curves = []
    for column in (P_RULES, P_BASE_RATE, P_PATTERN_BASE_RATE):
        gain = daily_log_loss_gain(record, P_CHALLENGER, column)
        curves.append(
            content.EvidenceCurve(
                against=column.removeprefix("p_"),
                sessions=[pd.Timestamp(day).date() for day in gain.index],
                cumulative=gain.cumsum().tolist(),
            )
        )
    return curves


def month_parts(record: pd.DataFrame) -> list[content.MonthRate]:
    """Share of events that earned money, month by month: how far the ground itself moves."""
    month = record["session"].dt.strftime("%Y-%m")
    return [
        content.MonthRate(
            month=str(name), n=len(part), rate=_estimate(mean_interval(part["y"].to_numpy(), part["session"]))
        )
        for name, part in record.groupby(month, sort=True)
    ]


def catalyst_part(measured: Mapping[str, Any]) -> content.Catalysts:
    """What news is worth, and what the catalyst predictor made of it."""
    effect, predictor = measured["effect"], measured["predictor"]
    gains = {c["opponent"]: c for c in predictor["comparisons"]} if predictor else {}
    return content.Catalysts(
        with_news=effect["n_with"],
        n_eff=effect["n_eff"],
        sessions=effect["sessions"],
        uncovered=effect["n_uncovered"],
        rate_with=effect["rate_with"],
        rate_without=effect["rate_without"],
        difference=content.Estimate(**effect["difference"]),
        ratio=content.Estimate(**effect["ratio"]),
        words=effect["words"],
        predictor_rows=predictor["n_rows"] if predictor else None,
        vs_base=_minus_gain(gains.get(P_BASE_RATE)),
        vs_pattern=_minus_gain(gains.get(P_PATTERN_BASE_RATE)),
        predictor_note=predictor["note"] if predictor else "",
    )


def gate_parts(checks: Sequence[Mapping[str, Any]]) -> list[content.GateCheck]:
    """The gate's checks as stored with the decision."""
    return [content.GateCheck(**check) for check in checks]


def leak_parts(explained: Mapping[str, Any]) -> list[content.LeakRow]:
    """The same rows judged three ways; only the purged one is honest."""
    contrast = explained["leak_contrast"]
    return [
        content.LeakRow(
            name=row["evaluation"],
            title=row["evaluation"].capitalize(),
            honest=row["evaluation"] == HONEST_EVALUATION,
            accuracy=content.Estimate(value=row["accuracy"]),
            auc=content.Estimate(value=row["auc"]),
            log_loss=content.Estimate(value=row["log_loss"]),
            n=contrast["n_rows"],
            note=row["words"],
        )
        for row in contrast["rows"]
    ]


def ensemble_part(model: Mapping[str, Any]) -> content.Ensemble:
    """Weights of the members that are deployed, and why others are not."""
    weights = model["weights"]
    return content.Ensemble(
        weights=[
            content.MemberWeight(member=MEMBER_TITLES.get(name, name), weight=content.Estimate(value=weight))
            for name, weight in weights["weights"].items()
        ],
        dropped=[
            content.DroppedMember(member=MEMBER_TITLES.get(name, name), reason=reason)
            for name, reason in weights["dropped"].items()
        ],
        calibration=f"{weights['reason']}. Calibration: {model['calibration']}",
    )


def quality_part(
    quality: Mapping[str, Any],
    *,
    skipped: Sequence[Mapping[str, Any]],
    left_out: Mapping[str, int],
    steps: Sequence[content.RowCount],
    suites: Sequence[Mapping[str, Any]] = (),
    novelty: Mapping[str, Any] | None = None,
) -> content.Quality:
    """Rules of every suite, symbols skipped, rows left out by reason, rows after each step, and what is novel."""
    return content.Quality(
        rules=_quality_rules(quality),
        suites=[content.QualitySuite(name=suite["suite"], rules=_quality_rules(suite)) for suite in suites],
        novelty=content.Novelty(**novelty) if novelty else None,
        skipped_symbols=[
            content.SkippedSymbol(symbol=row["symbol"], reason=f"{row['n_bars']} bars of history") for row in skipped
        ],
        refused_rows=[content.RefusedRows(rule=rule, count=count) for rule, count in left_out.items() if count],
        row_counts=list(steps),
    )


def _quality_rules(suite: Mapping[str, Any]) -> list[content.QualityRule]:
    fields = content.QualityRule.model_fields
    return [content.QualityRule(**{name: rule[name] for name in fields}) for rule in suite["rules"]]


def verdict_part(decision: Mapping[str, Any], *, champion: str, moves: bool = True) -> content.Verdict:
    """The decision, and what it means for the next session; ``moves`` is false if the run may not promote."""
    moved = "The new version takes the place of the champion; the rules stay as the floor below it."
    kept = f"The run was asked not to promote, so {champion} stays in charge until you do."
    tomorrow = {
        "promote": moved if moves else kept,
        "stay": f"Nothing changes; in charge: {champion}. A model that is not clearly better does not trade.",
        "not_enough_evidence": f"Nothing changes while the record grows; in charge: {champion}.",
    }
    return content.Verdict(
        verdict=decision["verdict"], headline=decision["headline"], tomorrow=tomorrow[decision["verdict"]]
    )


def _arm(record: pd.DataFrame, column: str, *, name: str, title: str, kind: Any = None) -> content.Arm:
    y, p, session = record["y"].to_numpy(), record[column].to_numpy(), record["session"]
    scores = score_predictions(record["y"], record[column], session, record["direction"])
    is_reference = column in (P_BASE_RATE, P_PATTERN_BASE_RATE)
    return content.Arm(
        name=name,
        title=title,
        kind=kind or ("reference" if is_reference else "arm"),
        log_loss=_estimate(mean_interval(log_losses(y, p), session)),
        log_loss_vs_base=content.Estimate() if column == P_BASE_RATE else _against_base_rate(record, column),
        auc=_estimate(auc_interval(y, p, session)),
        auc_within=_estimate(auc_within_interval(y, p, session, record["direction"])),
        accuracy=_estimate(mean_interval((p >= 0.5) == (y == 1), session)),
        base_rate=scores.base_rate,
        ece=content.Estimate(value=scores.ece),
        brier=_estimate(mean_interval((p - y) ** 2, session)),
        n=scores.n,
        n_eff=scores.n_eff,
        sessions=scores.sessions,
    )


def _against_base_rate(record: pd.DataFrame, column: str) -> content.Estimate:
    return _minus_gain(compare_log_loss(record, column, P_BASE_RATE).to_dict())


def _minus_gain(comparison: Mapping[str, Any] | None) -> content.Estimate:
    """Return a gain as a difference of log-loss: below zero is better."""
    if comparison is None:
        return content.Estimate()
    return content.Estimate(value=-comparison["gain"], low=-comparison["high"], high=-comparison["low"])


def _estimate(interval: ScoreInterval) -> content.Estimate:
    return content.Estimate(value=interval.value, low=interval.low, high=interval.high, level=interval.level)
