"""How good probabilities are: scores, calibration, risk-coverage, slices, each beside its base rate.

Money is in ``trading``; deciding is in ``gate``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from catalyst_ml.errors import DataContractError
from catalyst_ml.evaluation.record import log_losses
from catalyst_ml.evaluation.significance import stationary_bootstrap_counts, wilson_interval
from catalyst_ml.evaluation.weights import effective_sample_size
from catalyst_ml.frames import PATTERNS, pattern_column

N_BINS = 10
COVERAGE_GRID: tuple[float, ...] = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
CATALYST_COLUMN = "news_present"


@dataclass(frozen=True)
class Scores:
    """Quality of one arm's probabilities on one set of rows.

    Shares are in [0, 1], ``log_loss`` in nats per event. A field is None where it is not defined (AUC of a
    single class, precision without a positive call). ``n_eff`` is the number of independent rows that the
    outcomes are worth; ``ece_noise`` is the calibration error a perfectly calibrated arm would show on
    these rows.
    """

    n: int
    n_eff: float
    sessions: int
    base_rate: float
    log_loss: float
    base_rate_log_loss: float
    brier: float
    accuracy: float
    balanced_accuracy: float | None
    precision: float | None
    recall: float | None
    false_positive_rate: float | None
    auc: float | None
    auc_within_day_and_direction: float | None
    ece: float
    ece_noise: float

    def to_dict(self) -> dict[str, float | int | None]:
        """Return the scores as JSON."""
        return asdict(self)


def score_predictions(
    y: np.ndarray | pd.Series,
    p: np.ndarray | pd.Series,
    session: np.ndarray | pd.Series,
    direction: np.ndarray | pd.Series,
) -> Scores:
    """Score probabilities ``p`` (n,) against outcomes ``y`` (n,) in {0, 1}; a call is positive at p >= 0.5.

    Raises
    ------
    DataContractError
        If there are no rows.

    Notes
    -----
    ``base_rate_log_loss`` uses the share of successes of these very rows, which no forecast knew: it is the
    floor of all constant forecasts, a reference to read the log-loss by and not an opponent.
    """
    y, p, session, direction = (np.asarray(values) for values in (y, p, session, direction))
    if len(y) == 0:
        raise DataContractError("no rows to score; expected at least one settled event. Check the folds and as_of.")
    y = y.astype("int64")
    p = p.astype("float64")
    called = p >= 0.5
    recall = _share(called & (y == 1), y == 1)
    false_positive_rate = _share(called & (y == 0), y == 0)
    table = calibration_curve(y, p, session)
    return Scores(
        n=len(y),
        n_eff=effective_sample_size(y, session),
        sessions=len(np.unique(session)),
        base_rate=float(y.mean()),
        log_loss=float(log_losses(y, p).mean()),
        base_rate_log_loss=float(log_losses(y, np.full(len(y), y.mean())).mean()),
        brier=float(np.mean((p - y) ** 2)),
        accuracy=float(np.mean(called == y)),
        balanced_accuracy=_balanced_accuracy(recall, false_positive_rate),
        precision=_share(called & (y == 1), called),
        recall=recall,
        false_positive_rate=false_positive_rate,
        auc=auc(y, p),
        auc_within_day_and_direction=auc_within(y, p, session, direction),
        ece=calibration_error(table),
        ece_noise=calibration_noise(table),
    )


def auc(y: np.ndarray, p: np.ndarray) -> float | None:
    """Chance that a success is ranked above a failure, ties counting half; None if one class is absent."""
    return auc_within(y, p)


def auc_within(y: np.ndarray, p: np.ndarray, *groups: np.ndarray) -> float | None:
    """AUC over the pairs that agree in every one of ``groups`` (each (n,)), e.g. session and direction.

    It removes what a forecast knows about *which days* are good and leaves what it knows about *which
    trades*. None when no group holds both a success and a failure.
    """
    y = np.asarray(y)
    code = np.zeros(len(y), dtype="int64")
    for group in groups:
        inner = pd.factorize(np.asarray(group))[0]
        code = code * (int(inner.max(initial=0)) + 1) + inner
    code = pd.factorize(code)[0]
    rank = pd.Series(np.asarray(p, dtype="float64")).groupby(code).rank().to_numpy()
    n_success = np.bincount(code, weights=(y == 1))
    n_failure = np.bincount(code, weights=(y == 0))
    pairs = float(n_success @ n_failure)
    if pairs == 0.0:
        return None
    wins = np.bincount(code, weights=rank * (y == 1)) - n_success * (n_success + 1.0) / 2.0
    return float(wins[(n_success > 0) & (n_failure > 0)].sum() / pairs)


def calibration_curve(
    y: np.ndarray, p: np.ndarray, session: np.ndarray | pd.Series, *, n_bins: int = N_BINS, level: float = 0.95
) -> pd.DataFrame:
    """Compare predicted and realised success in bins of equal mass.

    Returns
    -------
    DataFrame
        One row per non-empty bin, rising in ``p_mean``: bin, n, n_eff, p_mean, success_rate, low, high (Wilson
        at ``level`` on the effective rows of the bin).

    Notes
    -----
    Equal predictions always share a bin: an arm with few distinct scores has fewer bins, a constant one has
    one.
    """
    y = np.asarray(y, dtype="float64")
    p = np.asarray(p, dtype="float64")
    position = (pd.Series(p).rank().to_numpy() - 0.5) / len(p)
    frame = pd.DataFrame({"bin": (position * n_bins).astype("int64"), "y": y, "p": p, "session": np.asarray(session)})
    rows = []
    for number, group in frame.groupby("bin"):
        n_eff = effective_sample_size(group["y"].to_numpy(), group["session"])
        rate = float(group["y"].mean())
        interval = wilson_interval(rate * n_eff, n_eff, level)
        rows.append(
            {
                "bin": number,
                "n": len(group),
                "n_eff": n_eff,
                "p_mean": float(group["p"].mean()),
                "success_rate": rate,
                "low": interval.low,
                "high": interval.high,
            }
        )
    return pd.DataFrame(rows)


def calibration_error(curve: pd.DataFrame) -> float:
    """Expected calibration error: mean |success_rate − p_mean|, bins weighted by their rows."""
    gap = (curve["success_rate"] - curve["p_mean"]).abs()
    return float((gap * curve["n"]).sum() / curve["n"].sum())


def calibration_noise(curve: pd.DataFrame) -> float:
    """Calibration error to expect from a perfectly calibrated arm on as many effective rows.

    Each bin's rate has standard error s = √(p(1−p)/n_eff), so its mean absolute gap is s·√(2/π).
    """
    error = np.sqrt(curve["p_mean"] * (1.0 - curve["p_mean"]) / curve["n_eff"])
    return float((error * np.sqrt(2.0 / np.pi) * curve["n"]).sum() / curve["n"].sum())


def risk_coverage(
    y: np.ndarray,
    p: np.ndarray,
    session: np.ndarray | pd.Series,
    net_return: np.ndarray,
    *,
    grid: tuple[float, ...] = COVERAGE_GRID,
    level: float = 0.95,
    n_boot: int = 1_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Show what abstaining buys: the error of the surest calls, the profit of the best trades.

    Parameters
    ----------
    net_return
        Fraction of the entry price after costs, in the event's direction, (n,).

    Returns
    -------
    DataFrame
        One row per coverage: coverage, n, error, error_low, error_high (calls at 0.5, sorted by |p − ½|),
        net_profit (sum), profit_per_trade, profit_low, profit_high (trades with the highest p; bands per
        trade). Bands are from the stationary bootstrap over sessions with the chosen rows held fixed. Equal
        probabilities are taken in row order, so an arm of few distinct scores has a rough curve.

    References
    ----------
    Geifman & El-Yaniv (2017), Selective classification for deep neural networks.
    """
    y, p, net_return = np.asarray(y), np.asarray(p, dtype="float64"), np.asarray(net_return, dtype="float64")
    day, days = pd.factorize(np.asarray(session), sort=True)
    taken = [max(round(c * len(y)), 1) for c in grid]
    wrong = ((p >= 0.5) != (y == 1)).astype("float64")
    surest = np.argsort(-np.abs(p - 0.5), kind="stable")
    best = np.argsort(-p, kind="stable")
    draws = stationary_bootstrap_counts(len(days), n_boot=n_boot, seed=seed)
    error = _mean_of_first(wrong, surest, taken, day, draws, level)
    profit = _mean_of_first(net_return, best, taken, day, draws, level)
    return pd.DataFrame(
        {
            "coverage": grid,
            "n": taken,
            "error": error["mean"],
            "error_low": error["low"],
            "error_high": error["high"],
            "net_profit": profit["mean"] * np.array(taken),
            "profit_per_trade": profit["mean"],
            "profit_low": profit["low"],
            "profit_high": profit["high"],
        }
    )


def score_slices(record: pd.DataFrame, p_column: str, *, min_rows: int = 30) -> pd.DataFrame:
    """Score one arm by pattern, direction, catalyst and month.

    Parameters
    ----------
    record
        Record rows; pattern columns and ``news_present`` are used where they ride along.

    Returns
    -------
    DataFrame
        One row per slice with at least ``min_rows`` rows: by, slice, n, n_eff, sessions, base_rate, low,
        high (95 % Wilson interval of the base rate on effective rows), accuracy, precision, log_loss,
        base_rate_log_loss, auc.
    """
    rows = []
    for by, name, mask in slices(record):
        part = record[mask]
        if len(part) < min_rows:
            continue
        scores = score_predictions(part["y"], part[p_column], part["session"], part["direction"])
        interval = wilson_interval(scores.base_rate * scores.n_eff, scores.n_eff)
        kept = (
            "n",
            "n_eff",
            "sessions",
            "base_rate",
            "accuracy",
            "precision",
            "log_loss",
            "base_rate_log_loss",
            "auc",
        )
        values = scores.to_dict()
        rows.append(
            {"by": by, "slice": name, "low": interval.low, "high": interval.high} | {k: values[k] for k in kept}
        )
    columns = ["by", "slice", "n", "n_eff", "sessions", "base_rate", "low", "high"]
    return pd.DataFrame(rows, columns=[*columns, "accuracy", "precision", "log_loss", "base_rate_log_loss", "auc"])


def table_records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a table of this room as JSON rows; missing values become None."""
    rows = table.astype(object).where(table.notna(), None).to_dict(orient="records")
    return [{str(k): v.item() if isinstance(v, np.generic) else v for k, v in row.items()} for row in rows]


def slices(record: pd.DataFrame) -> list[tuple[str, str, pd.Series]]:
    """Parts worth a look: (by, name, mask (n_rows,)) per pattern, direction, catalyst and month."""
    found = [
        ("pattern", pattern, record[pattern_column(pattern)].astype(bool))
        for pattern in PATTERNS
        if pattern_column(pattern) in record
    ]
    found += [("direction", name, record["direction"] == side) for name, side in (("long", 1), ("short", -1))]
    if CATALYST_COLUMN in record:
        has_news = record[CATALYST_COLUMN]
        found += [("catalyst", "yes", has_news > 0), ("catalyst", "no", has_news == 0)]
    month = record["session"].dt.strftime("%Y-%m")
    return found + [("month", str(name), month == name) for name in sorted(month.unique())]


def _mean_of_first(
    values: np.ndarray, order: np.ndarray, taken: list[int], day: np.ndarray, draws: np.ndarray, level: float
) -> dict[str, np.ndarray]:
    """Mean of the first rows in ``order`` at each count in ``taken``, with a band over days."""
    n_days = draws.shape[1]
    total = np.empty((n_days, len(taken)))
    count = np.empty((n_days, len(taken)))
    for column, n in enumerate(taken):
        rows = order[:n]
        total[:, column] = np.bincount(day[rows], weights=values[rows], minlength=n_days)
        count[:, column] = np.bincount(day[rows], minlength=n_days)
    resampled = draws @ count
    means = np.divide(draws @ total, resampled, out=np.full_like(resampled, np.nan), where=resampled > 0)
    # nan: a resample that drew no chosen row says nothing about their mean.
    low, high = np.nanquantile(means, [(1.0 - level) / 2.0, (1.0 + level) / 2.0], axis=0)
    return {"mean": total.sum(axis=0) / count.sum(axis=0), "low": low, "high": high}


def _share(part: np.ndarray, whole: np.ndarray) -> float | None:
    size = int(whole.sum())
    return float(part.sum() / size) if size else None


def _balanced_accuracy(recall: float | None, false_positive_rate: float | None) -> float | None:
    if recall is None or false_positive_rate is None:
        return None
    return (recall + 1.0 - false_positive_rate) / 2.0
