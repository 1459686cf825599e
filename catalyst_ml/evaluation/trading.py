"""What an arm would have earned at a given coverage, with thresholds frozen before each fold.

Every taken trade stakes the same notional in the event's direction. Money is counted in notionals: 0.01 is
one per cent of what one trade stakes, and a session's profit is the *sum* over the trades decided in it, so
that a busy day counts for what it is. Nothing is reinvested; the equity curve is the running sum.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from catalyst_ml.evaluation.record import daily_sums
from catalyst_ml.evaluation.significance import (
    dependence_stretch,
    probabilistic_sharpe_ratio,
    sharpe_standard_error,
)

SESSIONS_PER_YEAR = 252
THRESHOLD_SESSIONS = 65
"""A threshold looks back at most this far: older predictions come from older fits at other levels."""
MIN_THRESHOLD_ROWS = 100
COSTS_BPS_A_SIDE: tuple[float, ...] = (0.0, 5.0, 10.0)
Z_90 = 1.6448536269514722
"""Standard normal quantile of a two-sided 90 % interval."""


@dataclass(frozen=True)
class Trades:
    """Trades an arm takes.

    ``rows``: session, fold, y, net_return, (gross_return), threshold, size. ``size`` is the notional in [0,
    1]: 1 above the threshold, 0 below, and on a tie at the threshold the fraction that makes the coverage
    exact on the rows it came from. ``threshold`` is NaN and ``size`` 0 in folds without enough earlier
    predictions; such a fold is not `judged`.
    """

    rows: pd.DataFrame
    p_column: str
    coverage: float | None

    @property
    def judged(self) -> np.ndarray:
        """Mask (n_rows,) of rows in folds that had a threshold."""
        return self.rows["threshold"].notna().to_numpy()

    def daily_profit(self) -> pd.Series:
        """Profit per session in notionals; every session with events is there, zero without a trade."""
        return daily_sums((self.rows["size"] * self.rows["net_return"]).to_numpy(), self.rows["session"])

    def judged_profit(self) -> pd.Series:
        """Profit per session over the folds that had a threshold: what a Sharpe ratio is computed from."""
        return Trades(self.rows[self.judged], self.p_column, self.coverage).daily_profit()

    def daily_false_positives(self) -> pd.Series:
        """Notional of taken trades that lost, per session."""
        return daily_sums((self.rows["size"] * (self.rows["y"] == 0)).to_numpy(), self.rows["session"])

    def equity(self) -> pd.DataFrame:
        """Columns session, profit, equity (running sum) in notionals."""
        profit = self.daily_profit()
        return pd.DataFrame(
            {"session": profit.index, "profit": profit.to_numpy(), "equity": profit.cumsum().to_numpy()}
        )


@dataclass(frozen=True)
class TradeSummary:
    """Figures of one arm's trades. Returns in notionals, rates in [0, 1].

    ``sharpe`` is per year, ``daily_sharpe`` per session.

    ``coverage`` is realised on the judged rows. Fields are None where no trade was taken. ``sharpe_low`` and
    ``sharpe_high`` bound 90 %. ``profit_per_trade_bps_at_cost`` is keyed by basis points a side and empty
    if the rows carry no gross_return.
    """

    p_column: str
    sessions: int
    events: int
    trades: float
    coverage: float | None
    profit: float
    profit_per_trade_bps: float | None
    false_positives: float
    false_positive_rate: float | None
    daily_sharpe: float | None
    sharpe: float | None
    sharpe_low: float | None
    sharpe_high: float | None
    probabilistic_sharpe: float | None
    max_drawdown: float
    profit_per_trade_bps_at_cost: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as JSON."""
        return asdict(self)


def trades_at_coverage(
    record: pd.DataFrame,
    p_column: str,
    *,
    coverage: float = 0.2,
    threshold: float | None = None,
    burn_in: pd.DataFrame | None = None,
) -> Trades:
    """Take the trades an arm is surest of.

    Parameters
    ----------
    record
        Record rows in time order, with ``p_column``.
    coverage
        Share of events to take. For each fold the threshold is the (1 − coverage) quantile of ``p_column``
        over the folds before it, at most `THRESHOLD_SESSIONS` back: it was frozen before the first event of
        the fold.
    threshold
        One fixed threshold for all folds instead.
    burn_in
        Earlier rows with session, fold and ``p_column``: they lend the first folds a threshold and are not
        traded.

    Notes
    -----
    The realised coverage differs from the wanted one where the level of the predictions moves between folds.
    """
    carried = ["session", "fold", "y", "net_return", *(["gross_return"] if "gross_return" in record else [])]
    rows = record[carried].reset_index(drop=True)
    if threshold is not None:
        p = record[p_column].to_numpy()
        return Trades(rows.assign(threshold=threshold, size=(p >= threshold).astype("float64")), p_column, None)
    wanted = ["session", "fold", p_column]
    source = record[wanted] if burn_in is None else pd.concat([burn_in[wanted], record[wanted]], ignore_index=True)
    taken = _frozen_thresholds(source, p_column, coverage).iloc[len(source) - len(rows) :].reset_index(drop=True)
    return Trades(pd.concat([rows, taken], axis=1), p_column, coverage)


def summarise_trades(trades: Trades) -> TradeSummary:
    """Sum up one arm's trades over the folds that had a threshold."""
    judged = Trades(trades.rows[trades.judged], trades.p_column, trades.coverage)
    rows = judged.rows
    size = rows["size"].to_numpy()
    taken = float(size.sum())
    lost = float((size * (rows["y"] == 0)).sum())
    profit = float((size * rows["net_return"]).sum())
    equity = judged.equity()
    sharpe = _annual_sharpe(equity["profit"].to_numpy())
    return TradeSummary(
        p_column=trades.p_column,
        sessions=len(equity),
        events=len(rows),
        trades=taken,
        coverage=taken / len(rows) if len(rows) else None,
        profit=profit,
        profit_per_trade_bps=1e4 * profit / taken if taken else None,
        false_positives=lost,
        false_positive_rate=lost / taken if taken else None,
        daily_sharpe=sharpe[0] / math.sqrt(SESSIONS_PER_YEAR) if sharpe else None,
        sharpe=sharpe[0] if sharpe else None,
        sharpe_low=sharpe[1] if sharpe else None,
        sharpe_high=sharpe[2] if sharpe else None,
        probabilistic_sharpe=probabilistic_sharpe_ratio(equity["profit"].to_numpy()),
        max_drawdown=max_drawdown(equity["profit"].to_numpy()),
        profit_per_trade_bps_at_cost=_profit_at_cost(rows) if taken else {},
    )


def max_drawdown(daily_profit: np.ndarray) -> float:
    """Deepest fall of the running sum below its earlier peak (or the start), as a number >= 0."""
    equity = np.concatenate([[0.0], np.cumsum(daily_profit)])
    return float(np.max(np.maximum.accumulate(equity) - equity))


def _frozen_thresholds(source: pd.DataFrame, p_column: str, coverage: float) -> pd.DataFrame:
    """Threshold and size of every row of ``source``, from folds strictly before its own."""
    p = source[p_column].to_numpy()
    day = pd.factorize(source["session"].to_numpy(), sort=True)[0]
    fold = pd.factorize(source["fold"].to_numpy())[0]
    begins = np.flatnonzero(np.diff(fold, prepend=-1))
    limits = np.full(len(p), np.nan)
    size = np.zeros(len(p))
    for begin, end in zip(begins, [*begins[1:], len(p)], strict=True):
        oldest = int(np.searchsorted(day, day[begin] - THRESHOLD_SESSIONS))
        before = p[oldest:begin]
        if len(before) < MIN_THRESHOLD_ROWS:
            continue
        limit, tie_share = _quantile_with_ties(before, coverage)
        now = p[begin:end]
        limits[begin:end] = limit
        size[begin:end] = np.where(now > limit, 1.0, np.where(now == limit, tie_share, 0.0))
    return pd.DataFrame({"threshold": limits, "size": size})


def _quantile_with_ties(p: np.ndarray, coverage: float) -> tuple[float, float]:
    """Threshold that ``coverage`` of ``p`` reach, and the share of ties to take for exactly that coverage."""
    wanted = coverage * len(p)
    limit = float(np.sort(p)[::-1][min(max(int(np.ceil(wanted)) - 1, 0), len(p) - 1)])
    above, ties = int(np.sum(p > limit)), int(np.sum(p == limit))
    return limit, float(np.clip((wanted - above) / ties, 0.0, 1.0))


def _annual_sharpe(daily: np.ndarray) -> tuple[float, float, float] | None:
    """Annual Sharpe ratio and its 90 % bounds.

    Serial dependence widens the bounds by √(long-run / daily variance), in the spirit of Lo (2002).
    """
    if len(daily) < 20 or daily.std() == 0.0:
        return None
    scale = np.sqrt(SESSIONS_PER_YEAR)
    sharpe = float(daily.mean() / daily.std(ddof=1) * scale)
    half = float(Z_90 * sharpe_standard_error(daily) * dependence_stretch(daily) * scale)
    return sharpe, sharpe - half, sharpe + half


def _profit_at_cost(rows: pd.DataFrame) -> dict[str, float]:
    if "gross_return" not in rows:
        return {}
    size = rows["size"].to_numpy()
    gross_bps = float(1e4 * (size * rows["gross_return"]).sum() / size.sum())
    return {f"{cost:g}": gross_bps - 2.0 * cost for cost in COSTS_BPS_A_SIDE}
