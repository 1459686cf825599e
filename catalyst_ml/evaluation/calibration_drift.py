"""Do a model's stated probabilities still come true, and how often would it be right if they did?

Two questions of a version in service. *Calibration*: settled outcomes against the probabilities stated before them, by
daily sums, because outcomes of one day move together and labels overlap. *Expected accuracy*: how sure the model is of
events whose outcome nobody knows yet; it sees that the events have changed, never that the world has.

References
----------
Lazarus, E., Lewis, D., Stock, J., Watson, M. (2018), HAR inference, JBES 36(4).
Hendrycks, D., Gimpel, K. (2017), A baseline for detecting misclassified examples (average confidence).
Garg, S. et al. (2022), Leveraging unlabeled data to predict out-of-distribution performance (ATC).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from catalyst_ml.errors import DataContractError
from catalyst_ml.evaluation.significance import HarTest, har_t_test
from catalyst_ml.quality.drift_alarms import ADVICE, DriftReport, Finding, budget
from catalyst_ml.quality.drift_null import N_WINDOW, WindowNull, effective_windows, fit_null, reference_windows, running

MIN_SETTLED_SESSIONS = 60
"""Sessions with settled outcomes below which calibration is not judged: the far tail of the HAR test needs them."""

MAX_SETTLED_SESSIONS = 252
"""The newest so many sessions count."""

MIN_RECORD_SESSIONS = 120
"""Sessions of the version's record below which its usual confidence is not known."""


@dataclass(frozen=True)
class ExpectedAccuracy:
    """Accuracy to expect if the probabilities hold (``average_confidence``) and by the threshold learned on the record.

    ``realised`` is the accuracy on the record that taught the threshold.
    """

    average_confidence: float
    atc: float
    realised: float


def watch_calibration(settled: pd.DataFrame) -> DriftReport:
    """Test that outcomes settled since the version was fitted agree with its probabilities in the mean.

    Parameters
    ----------
    settled : DataFrame
        ``session`` (naive dates), ``y`` (0 or 1) and ``p`` in [0, 1], of events decided after the version's ``as_of``.

    Raises
    ------
    DataContractError
        If a column is missing or holds anything else.

    Notes
    -----
    Daily sums of y - p, a two-sided HAR t-test. Over- and under-confidence that cancel in the mean are not seen.
    """
    frame = _checked(settled, "settled outcomes", ("y", "p"))
    daily = frame.assign(gap=frame["y"] - frame["p"]).groupby("session")["gap"].agg(["sum", "size"])
    daily = daily.sort_index().tail(MAX_SETTLED_SESSIONS)
    n = len(daily)
    if n < MIN_SETTLED_SESSIONS:
        reason = f"calibration: not enough to judge: {n} sessions with outcomes, {MIN_SETTLED_SESSIONS} are needed"
        return DriftReport(unjudged=(reason,))
    alpha = budget("calibration", 1)
    gap = float(daily["sum"].sum() / daily["size"].sum())
    test, p = calibration_test(daily["sum"].to_numpy())
    # What the mean gap would have to be at the same noise.
    bound = abs(gap / test.t) * float(stats.t.isf(alpha / 2.0, test.df)) if test.t and np.isfinite(test.t) else 0.0
    meaning = (
        f"Of {int(daily['size'].sum())} settled events {gap:+.1%} more came true than stated "
        f"({n} sessions; {bound:.1%} would alarm)"
    )
    finding = Finding(
        kind="calibration",
        what="probabilities",
        statistic="mean of outcome minus probability",
        value=abs(gap),
        usual=0.0,
        bound=bound,
        p=p,
        alpha=alpha,
        since=daily.index[0].date().isoformat(),
        meaning=meaning,
        advice=ADVICE["calibration"],
    )
    return DriftReport((finding,), (), {"calibration_gap": gap, "settled_sessions": n})


def watch_confidence(record: pd.DataFrame, recent: pd.DataFrame) -> DriftReport:
    """Compare how sure the model is of the newest events with its record, and say what accuracy that promises.

    Parameters
    ----------
    record : DataFrame
        ``session``, ``y``, ``p`` of the version's own out-of-sample record.
    recent : DataFrame
        ``session`` and ``p`` of events after it, settled or not; the newest ``N_WINDOW`` sessions count.

    Raises
    ------
    DataContractError
        If a column is missing or holds anything but probabilities and outcomes.
    """
    past = _checked(record, "record", ("y", "p"))
    newest = _checked(recent, "recent events", ("p",))
    sessions = np.sort(newest["session"].unique())[-N_WINDOW:]
    n_record = past["session"].nunique()
    if n_record < MIN_RECORD_SESSIONS or len(sessions) < N_WINDOW:
        reason = (
            f"expected accuracy: not enough to judge: {n_record} sessions of record ({MIN_RECORD_SESSIONS} are "
            f"needed), {len(sessions)} since ({N_WINDOW} are needed)"
        )
        return DriftReport(unjudged=(reason,))
    newest = newest[newest["session"] >= sessions[0]]
    sure = _confidence(past["p"].to_numpy())
    daily = pd.DataFrame({"session": past["session"].to_numpy(), "sure": sure}).groupby("session")["sure"]
    null = fit_confidence_null(daily.sum().to_numpy(), daily.size().to_numpy(dtype="float64"))
    usual, now = float(sure.mean()), expected_accuracy(past, newest["p"].to_numpy())
    distance = now.average_confidence - usual
    alpha = budget("confidence", 1)
    meaning = (
        f"The newest events promise an accuracy of {now.average_confidence:.1%} by their own probabilities "
        f"(ATC: {now.atc:.1%}); the record promised {usual:.1%} and reached {now.realised:.1%}"
    )
    finding = Finding(
        kind="confidence",
        what="expected accuracy",
        statistic="change of the mean confidence",
        value=abs(distance),
        usual=float(np.sqrt(null.scale[0])),
        bound=float(np.sqrt(null.bound(alpha)[0])),
        p=float(null.p_values(np.array([distance**2]))[0]),
        alpha=alpha,
        since=pd.Timestamp(sessions[0]).date().isoformat(),
        meaning=meaning,
        advice=ADVICE["confidence"],
    )
    facts = {"expected_accuracy": now.average_confidence, "atc": now.atc, "record_accuracy": now.realised}
    return DriftReport((finding,), (), facts)


def calibration_test(daily_gap: np.ndarray) -> tuple[HarTest, float]:
    """HAR t-test of daily sums (n_sessions,) of y - p, and its two-sided p-value."""
    test = har_t_test(daily_gap)
    return test, float(2.0 * stats.t.sf(abs(test.t), test.df))


def fit_confidence_null(daily_sum: np.ndarray, n_rows: np.ndarray) -> WindowNull:
    """How far the squared mean confidence of a window strays from the rest's; sums and rows (n_sessions,)."""
    sums, sizes = daily_sum[:, None], n_rows[:, None]
    layout = reference_windows(len(sums))
    inside, outside = (take(running(sums)) / take(running(sizes)) for take in (layout.inside, layout.outside))
    windows = effective_windows(sums / sizes)
    return fit_null((inside - outside) ** 2, windows, layout, shape=1.0, floor=1e-12)


def expected_accuracy(record: pd.DataFrame, p: np.ndarray) -> ExpectedAccuracy:
    """Accuracy to expect of calls at 0.5 on events with probabilities ``p`` (n,), n > 0, whose outcomes are unknown.

    Average confidence is the mean of max(p, 1 - p), right as long as p is calibrated. ATC takes from the record
    (``y``, ``p``) the confidence above which as large a share lies as was called right, and counts who lies above it.
    """
    past = record["p"].to_numpy(dtype="float64")
    realised = float(np.mean((past >= 0.5) == (record["y"].to_numpy() == 1)))
    threshold = float(np.quantile(_confidence(past), 1.0 - realised))
    sure = _confidence(np.asarray(p, dtype="float64"))
    return ExpectedAccuracy(float(sure.mean()), float(np.mean(sure >= threshold)), realised)


def _confidence(p: np.ndarray) -> np.ndarray:
    return np.maximum(p, 1.0 - p)


def _checked(frame: pd.DataFrame, who: str, columns: tuple[str, ...]) -> pd.DataFrame:
    wanted = ["session", *columns]
    absent = [name for name in wanted if name not in frame.columns]
    if absent:
        raise DataContractError(f"drift, {who}: columns {absent} are missing, got {list(frame.columns)[:10]}.")
    part = frame[wanted]
    for name in columns:
        values = part[name].to_numpy(dtype="float64")
        good = np.isin(values, (0.0, 1.0)) if name == "y" else (values >= 0.0) & (values <= 1.0)
        if not good.all():
            raise DataContractError(
                f"drift, {who}: {int((~good).sum())} of {len(values)} values of {name!r} are not "
                f"{'outcomes 0 or 1' if name == 'y' else 'probabilities'}. Leave unsettled or unscored rows out."
            )
    return part
