"""Two arms on the same rows: paired differences per session and what the HAR t-test says of them.

Every difference is signed so that positive means the challenger is better.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from catalyst_ml.evaluation.intervals import ScoreInterval, mean_interval
from catalyst_ml.evaluation.record import daily_sums, log_losses
from catalyst_ml.evaluation.significance import HarTest, har_t_test, stationary_bootstrap_interval
from catalyst_ml.evaluation.trading import Trades

MIN_TEST_SESSIONS = 20


@dataclass(frozen=True)
class Comparison:
    """A paired comparison of two arms.

    ``gain`` is per event (log-loss, nats), per session (profit, notionals) or a difference of rates (false
    positives); ``low`` and ``high`` are its 90 % stationary bootstrap band, to be drawn and not decided on.
    ``p_better`` and ``p_worse`` are the one-sided HAR p-values of "better" and "worse".
    """

    measure: str
    challenger: str
    opponent: str
    gain: float
    low: float
    high: float
    t: float
    df: int
    p_better: float
    p_worse: float
    sessions: int

    def critical_value(self, alpha: float) -> float:
        """The t above which the challenger counts as better at level ``alpha``; below minus it, as worse."""
        return float(special.stdtrit(self.df, 1.0 - alpha))

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as JSON; an infinite t becomes None."""
        return asdict(self) | {"t": self.t if np.isfinite(self.t) else None}


def daily_log_loss_gain(record: pd.DataFrame, challenger: str, opponent: str) -> pd.Series:
    """Log-loss of ``opponent`` minus that of ``challenger``, summed per session."""
    gain = log_losses(record["y"], record[opponent]) - log_losses(record["y"], record[challenger])
    return daily_sums(gain, record["session"])


def compare_log_loss(record: pd.DataFrame, challenger: str, opponent: str) -> Comparison:
    """Test the daily sums of the log-loss difference.

    Raises
    ------
    InsufficientHistory
        If the record holds fewer than `MIN_TEST_SESSIONS` sessions.
    """
    daily = daily_log_loss_gain(record, challenger, opponent).to_numpy()
    return _compare("log_loss", challenger, opponent, daily, per=len(record) / len(daily))


def compare_profit(challenger: Trades, opponent: Trades) -> Comparison | None:
    """Test the daily difference of profit over the sessions in which both arms had a threshold.

    Returns
    -------
    Comparison or None
        None if there are fewer than `MIN_TEST_SESSIONS` such sessions.
    """
    both = challenger.judged & opponent.judged
    daily = _profit(challenger, both) - _profit(opponent, both)
    if len(daily) < MIN_TEST_SESSIONS:
        return None
    return _compare("profit", challenger.p_column, opponent.p_column, daily.to_numpy())


def compare_false_positive_rate(challenger: Trades, opponent: Trades) -> Comparison | None:
    """Test the difference of the shares of taken trades that lost (opponent minus challenger).

    Returns
    -------
    Comparison or None
        None if fewer than `MIN_TEST_SESSIONS` sessions are judged for both, or an arm took no trade: a rate
        of nothing cannot be compared.

    Notes
    -----
    Coverage differs a little between arms and days, so each rate is a ratio of sums. The HAR test runs on its
    linearisation per session, (lost_s − rate·taken_s) / mean taken, whose mean error is the rate's own.
    """
    both = challenger.judged & opponent.judged
    ours, theirs = _rate_by_session(challenger, both), _rate_by_session(opponent, both)
    if ours is None or theirs is None or len(ours) < MIN_TEST_SESSIONS:
        return None
    return _compare("false_positive_rate", challenger.p_column, opponent.p_column, theirs - ours)


@dataclass(frozen=True)
class FalsePositives:
    """Losing trades of two arms at equal coverage. Rates are shares of the taken trades that lost.

    ``ratio`` is ours over theirs (1 - 0.5 would be the plan's halving), with its interval; ``base_rate`` the share of
    all judged events that lost, ``coverage`` and ``their_coverage`` what was really taken.
    """

    rate: float
    their_rate: float
    base_rate: float
    coverage: float
    their_coverage: float
    ratio: ScoreInterval
    sessions: int

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON."""
        return asdict(self)


def compare_false_positives(challenger: Trades, opponent: Trades, *, level: float = 0.90) -> FalsePositives | None:
    """Ratio of the false-positive rates of two arms over the sessions in which both had a threshold.

    Returns
    -------
    FalsePositives or None
        None if an arm took no trade, or one of them lost none: no ratio can be formed.

    Notes
    -----
    The interval is that of log(ratio), linearised per session, with the long-run variance of the daily influences.
    """
    both = challenger.judged & opponent.judged
    ours, theirs = challenger.rows[both], opponent.rows[both]
    parts = []
    for rows in (ours, theirs):
        size = rows["size"].to_numpy()
        lost = size * (rows["y"] == 0).to_numpy()
        if size.sum() == 0.0 or lost.sum() == 0.0:
            return None
        # Influence of a row on log(rate): its own part of the lost minus its part of the taken.
        parts.append((lost.sum() / size.sum(), lost / lost.sum() - size / size.sum(), float(size.mean())))
    (rate, own, coverage), (their_rate, other, their_coverage) = parts
    # mean_interval centres on the mean, which is zero; times the rows it is the sum of the influences.
    error = mean_interval(len(own) * (own - other), ours["session"], level=level)
    ratio = float(rate / their_rate)
    low, high = (None if side is None else ratio * float(np.exp(side)) for side in (error.low, error.high))
    return FalsePositives(
        rate=float(rate),
        their_rate=float(their_rate),
        base_rate=float((ours["y"] == 0).mean()),
        coverage=coverage,
        their_coverage=their_coverage,
        ratio=ScoreInterval(ratio, low, high, level),
        sessions=int(ours["session"].nunique()),
    )


def _compare(measure: str, challenger: str, opponent: str, daily: np.ndarray, *, per: float = 1.0) -> Comparison:
    test: HarTest = har_t_test(daily, min_sessions=MIN_TEST_SESSIONS)
    band = stationary_bootstrap_interval(daily)
    return Comparison(
        measure=measure,
        challenger=challenger,
        opponent=opponent,
        gain=test.mean / per,
        low=band.low / per,
        high=band.high / per,
        t=test.t,
        df=test.df,
        p_better=test.p_value,
        p_worse=1.0 - test.p_value,
        sessions=test.n,
    )


def _profit(trades: Trades, mask: np.ndarray) -> pd.Series:
    rows = trades.rows[mask]
    return daily_sums((rows["size"] * rows["net_return"]).to_numpy(), rows["session"])


def _rate_by_session(trades: Trades, mask: np.ndarray) -> np.ndarray | None:
    """Series whose mean is the false-positive rate and whose variation is that of the ratio."""
    rows = trades.rows[mask]
    taken = daily_sums(rows["size"].to_numpy(), rows["session"]).to_numpy()
    lost = daily_sums((rows["size"] * (rows["y"] == 0)).to_numpy(), rows["session"]).to_numpy()
    if taken.sum() == 0.0:
        return None
    rate = lost.sum() / taken.sum()
    return rate + (lost - rate * taken) / taken.mean()
