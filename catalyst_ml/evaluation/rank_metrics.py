"""How well a score orders the stocks of a day: information coefficient, AUC within the day, spread and its costs.

Everything is measured day by day and averaged over days. A score that knows which *days* are good gains nothing here.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from catalyst_ml.errors import DataContractError, InsufficientHistory
from catalyst_ml.evaluation.intervals import MIN_SESSIONS, ScoreInterval, auc_within_interval, mean_interval
from catalyst_ml.indicators.ranks import group_bounds, places_within

MIN_STOCKS = 10
"""Days with fewer stocks that have both a score and an outcome are not judged: nothing can be ordered."""

TRADED_SHARE = 0.1
"""The spread is the mean return of the best tenth of the day's stocks minus that of the worst."""

SIDES_OF_A_SPREAD = 4
"""Both legs of one notional each are entered and left."""


@dataclass(frozen=True)
class MeanTest:
    """Mean of a daily series with its Newey-West standard error; ``low`` and ``high`` at ``level``, two-sided."""

    mean: float
    standard_error: float
    t: float
    low: float
    high: float
    level: float
    n: int
    lags: int

    def to_dict(self) -> dict[str, Any]:
        """Return the test as JSON; an infinite t becomes None."""
        return asdict(self) | {"t": self.t if np.isfinite(self.t) else None}


@dataclass(frozen=True)
class RankScores:
    """Quality of one score as an order of the day's stocks.

    ``ic``: mean Spearman correlation per day. ``auc``: of being above the day's median return, pairs within the day,
    with its day-block interval. ``spread``: mean return of the best minus the worst tenth, per day and notional of a
    leg, fraction before costs. ``break_even_bps``: cost per side at which the spread is zero when every position is
    entered and left once; negative if the spread is.
    """

    ic: MeanTest
    auc: ScoreInterval
    spread: MeanTest
    break_even_bps: float
    sessions: int
    rows: int

    def to_dict(self) -> dict[str, Any]:
        """Return the scores as JSON."""
        return asdict(self) | {"ic": self.ic.to_dict(), "spread": self.spread.to_dict()}


def daily_ic(score: np.ndarray, outcome: np.ndarray, session: np.ndarray | pd.Series) -> pd.Series:
    """Spearman's correlation of score and outcome per session, over stocks that have both.

    Parameters
    ----------
    score, outcome : (n_rows,) float
        NaN is unknown.
    session : (n_rows,)
        In any order; anything that sorts in time.

    Returns
    -------
    Series
        Index: sessions with at least `MIN_STOCKS` such stocks and neither score nor outcome the same for all, rising.
    """
    codes, sessions = _codes(session)
    s, y, days, bounds = _by_day(score, outcome, codes)
    a, b = places_within(s, bounds, MIN_STOCKS), places_within(y, bounds, MIN_STOCKS)
    a, b = a - 0.5, b - 0.5  # the mean of a day's places is one half
    starts = bounds[:-1]
    if not len(starts):
        return pd.Series(dtype="float64")
    products = [np.add.reduceat(x, starts) for x in (a * b, a * a, b * b)]
    varies = np.isfinite(products[0]) & (products[1] > 1e-9) & (products[2] > 1e-9)
    ab, aa, bb = (x[varies] for x in products)
    return pd.Series(ab / np.sqrt(aa * bb), index=sessions[days[starts][varies]])


def daily_spread(
    score: np.ndarray, outcome: np.ndarray, session: np.ndarray | pd.Series, *, share: float = TRADED_SHARE
) -> pd.Series:
    """Mean outcome of the stocks with the highest scores minus that of those with the lowest, per session.

    Each leg holds the stocks whose place lies within ``share`` of the end. A day without stocks in both (a score
    with few values) is left out.
    """
    codes, sessions = _codes(session)
    s, y, days, bounds = _by_day(score, outcome, codes)
    place = places_within(s, bounds, MIN_STOCKS)
    frame = pd.DataFrame({"day": days, "y": y, "top": place > 1.0 - share, "bottom": place < share})
    top = frame[frame["top"]].groupby("day")["y"].mean()
    bottom = frame[frame["bottom"]].groupby("day")["y"].mean()
    spread = (top - bottom).dropna().sort_index()
    return spread.set_axis(sessions[spread.index.to_numpy(dtype=np.int64)])


def above_median(outcome: np.ndarray, session: np.ndarray | pd.Series) -> np.ndarray:
    """1.0 where the outcome lies above the median of its session, 0.0 where it does not, NaN where it is unknown."""
    values = pd.Series(np.asarray(outcome, dtype="float64"))
    median = values.groupby(_codes(session)[0]).transform("median")
    return np.where(values.isna(), np.nan, (values > median).astype("float64"))


def auc_within_day(
    is_high: np.ndarray, score: np.ndarray, session: np.ndarray | pd.Series, *, level: float = 0.95
) -> ScoreInterval:
    """AUC over pairs of one session with its day-block interval; rows with an unknown value are left aside."""
    keep = np.isfinite(is_high) & np.isfinite(score)
    one_side = np.zeros(int(keep.sum()), dtype=np.int8)
    return auc_within_interval(is_high[keep], score[keep], _codes(session)[0][keep], one_side, level=level)


def auc_difference(
    is_high: np.ndarray, score: np.ndarray, rival: np.ndarray, session: np.ndarray | pd.Series, *, level: float = 0.95
) -> ScoreInterval:
    """AUC within the day of ``score`` minus that of ``rival`` on the same pairs, with its day-block interval.

    Notes
    -----
    Both are ratios of wins to the same pairs, so the difference is the mean of the daily differences of wins, weighted
    by pairs; its influence per day is that of `intervals.mean_interval`.
    """
    keep = np.isfinite(is_high) & np.isfinite(score) & np.isfinite(rival)
    days = _codes(session)[0][keep]
    ours, pairs, order = _daily_auc(is_high[keep], score[keep], days)
    theirs, _, _ = _daily_auc(is_high[keep], rival[keep], days)
    has_pairs = pairs > 0
    return mean_interval((ours - theirs)[has_pairs], order[has_pairs], weight=pairs[has_pairs], level=level)


def newey_west(daily: np.ndarray | pd.Series, *, lags: int, level: float = 0.95) -> MeanTest:
    """Test the mean of a daily series whose values depend on each other over ``lags`` days.

    Notes
    -----
    Long-run variance: γ₀ + 2·Σ_k (1 − k/(lags + 1))·γ_k with autocovariances γ_k over n (Bartlett's kernel). The
    interval takes the normal distribution. Outcomes over h sessions overlap h − 1 days: ``lags`` must be larger.

    References
    ----------
    Newey & West (1987), Econometrica 55(3).

    Raises
    ------
    InsufficientHistory
        If there are fewer than `intervals.MIN_SESSIONS` days, or not more than ``lags``.
    """
    values = np.asarray(daily, dtype="float64")
    n = len(values)
    if n < max(MIN_SESSIONS, lags + 1):
        raise InsufficientHistory(
            f"Newey-West over {lags} lags got {n} days and needs {max(MIN_SESSIONS, lags + 1)}. Wait for more sessions."
        )
    mean = float(values.mean())
    error = values - mean
    variance = float(error @ error) / n
    for k in range(1, lags + 1):
        variance += 2.0 * (1.0 - k / (lags + 1.0)) * float(error[k:] @ error[:-k]) / n
    standard_error = float(np.sqrt(max(variance, 0.0) / n))
    t = mean / standard_error if standard_error > 0.0 else float(np.sign(mean) * np.inf) if mean else 0.0
    half = float(special.ndtri(0.5 + level / 2.0)) * standard_error
    return MeanTest(mean, standard_error, t, mean - half, mean + half, level, n, lags)


def score_ranking(
    score: np.ndarray, outcome: np.ndarray, session: np.ndarray | pd.Series, *, lags: int, level: float = 0.95
) -> RankScores:
    """Judge a score (n_rows,) by the returns (n_rows,) that followed, session by session.

    Raises
    ------
    DataContractError
        If the arrays differ in length.
    InsufficientHistory
        If too few sessions can be judged.
    """
    score, outcome = np.asarray(score, dtype="float64"), np.asarray(outcome, dtype="float64")
    if not len(score) == len(outcome) == len(session):
        raise DataContractError(
            f"ranking: {len(score)} scores, {len(outcome)} outcomes and {len(session)} sessions; expected one "
            "each per row."
        )
    ic = newey_west(daily_ic(score, outcome, session), lags=lags, level=level)
    spread = newey_west(daily_spread(score, outcome, session), lags=lags, level=level)
    return RankScores(
        ic=ic,
        auc=auc_within_day(above_median(outcome, session), score, session, level=level),
        spread=spread,
        break_even_bps=spread.mean / SIDES_OF_A_SPREAD * 10_000.0,
        sessions=ic.n,
        rows=int((np.isfinite(score) & np.isfinite(outcome)).sum()),
    )


def compare_ic(
    score: np.ndarray,
    rival: np.ndarray,
    outcome: np.ndarray,
    session: np.ndarray | pd.Series,
    *,
    lags: int,
    level: float = 0.95,
) -> MeanTest:
    """Test the daily difference of two scores' ICs where both have one; positive: ``score`` is better."""
    both = pd.concat([daily_ic(score, outcome, session), daily_ic(rival, outcome, session)], axis=1, join="inner")
    return newey_west(both.iloc[:, 0] - both.iloc[:, 1], lags=lags, level=level)


def _daily_auc(
    is_high: np.ndarray, score: np.ndarray, session: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return AUC, pairs and session of each day, days rising; AUC 0 where there are no pairs."""
    frame = pd.DataFrame({"day": session, "high": is_high > 0, "score": score})
    frame["rank"] = frame.groupby("day")["score"].rank()
    days = frame.assign(rank_high=frame["rank"] * frame["high"]).groupby("day", sort=True)
    n_high = days["high"].sum().to_numpy(dtype="float64")
    n = days["high"].size()
    pairs = n_high * (n.to_numpy() - n_high)
    wins = days["rank_high"].sum().to_numpy() - n_high * (n_high + 1.0) / 2.0
    return np.divide(wins, pairs, out=np.zeros(len(pairs)), where=pairs > 0), pairs, n.index.to_numpy()


def _by_day(
    score: np.ndarray, outcome: np.ndarray, days: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return score, outcome and day of rows that have both, days together and rising, and the days' bounds."""
    s, y = np.asarray(score, dtype="float64"), np.asarray(outcome, dtype="float64")
    keep = np.isfinite(s) & np.isfinite(y)
    order = np.argsort(days[keep], kind="stable")
    days = days[keep][order]
    return s[keep][order], y[keep][order], days, group_bounds(days)


def _codes(session: np.ndarray | pd.Series) -> tuple[np.ndarray, pd.Index]:
    """Return the number of each row's session, in time order, and the sessions."""
    # Not np.asarray: an aware Series would become objects.
    codes, sessions = pd.factorize(session, sort=True)
    return codes, pd.Index(sessions)
