"""The two arms side by side on settled signals: in all, week by week, and by what kind of event or day it was.

Both arms saw the same events and trade the same share of them, at thresholds frozen before each week; nothing here
decides. Whether ML is better is said by the sequential test (``trial.sequential``) alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from catalyst_ml.errors import InsufficientHistory
from catalyst_ml.evaluation.intervals import ScoreInterval, auc_within_interval, influence_interval, mean_interval
from catalyst_ml.evaluation.record import log_losses
from catalyst_ml.evaluation.trading import Trades, summarise_trades, trades_at_coverage
from catalyst_ml.trial.kinds import Part

COVERAGE = 0.2
"""Share of events that each arm trades in the figures on money, as in the gate."""
P_ML, P_RULES, P_BLEND = "p_ml", "p_rules", "p_blend"
ARM_NAMES: Mapping[str, str] = {P_ML: "ML", P_RULES: "Rules", P_BLEND: "Blend"}
MIN_SLICE_ROWS = 100
"""Smaller slices are counted and not scored: their interval would say nothing."""


@dataclass(frozen=True)
class ArmPerformance:
    """One arm on the settled signals; intervals are 90 %, clustered by session.

    ``accuracy`` counts a call at p >= 0.5 on all events; ``taken_accuracy``, ``net_bps`` and ``losing_share`` are of
    the trades at `COVERAGE`. ``sharpe`` is per year with its 90 % bounds.
    """

    arm: str
    n: int
    sessions: int
    base_rate: float
    accuracy: ScoreInterval
    log_loss: ScoreInterval
    auc_within: ScoreInterval
    trades: float
    coverage: float | None
    taken_accuracy: ScoreInterval
    losing_share: ScoreInterval
    net_bps: ScoreInterval
    sharpe: ScoreInterval
    daily_sharpe: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON."""
        return asdict(self)


@dataclass(frozen=True)
class SliceComparison:
    """The arms on one kind of event: log-loss of ML minus the rules' (below zero: ML better), money of both arms.

    The three scores are None where the part holds fewer than `MIN_SLICE_ROWS` events.
    """

    kind: str
    name: str
    n: int
    sessions: int
    success_rate: float
    loss_difference: ScoreInterval | None
    ml_net_bps: ScoreInterval | None
    rules_net_bps: ScoreInterval | None

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as JSON."""
        return asdict(self)


def comparable(settled: pd.DataFrame) -> pd.DataFrame:
    """Return settled rows on which both arms spoke, in time order.

    Parameters
    ----------
    settled
        Columns symbol, ts, direction, session, fold, y, net_return, ``p_ml`` (NaN where no version spoke), ``p_rules``,
        and what else rides along.

    Raises
    ------
    InsufficientHistory
        If there is none.
    """
    both = settled[settled[P_ML].notna().to_numpy() & settled[P_RULES].notna().to_numpy() & settled["y"].notna()]
    if both.empty:
        raise InsufficientHistory(
            f"performance: of {len(settled)} settled signals none was scored by both arms. Train a version and let "
            "`catalyst-ml evaluate` run for some weeks."
        )
    return both.astype({"y": "int8"}).sort_values(["ts", "symbol", "direction"], ignore_index=True)


def arm_performance(rows: pd.DataFrame, column: str) -> ArmPerformance:
    """Score one arm on `comparable` rows."""
    y, p, session = rows["y"].to_numpy(), rows[column].to_numpy(), rows["session"]
    trades = trades_at_coverage(rows, column, coverage=COVERAGE)
    summary = summarise_trades(trades)
    taken = _taken(trades)
    size = taken["size"].to_numpy()
    return ArmPerformance(
        arm=ARM_NAMES[column],
        n=len(rows),
        sessions=int(session.nunique()),
        base_rate=float(y.mean()),
        accuracy=mean_interval((p >= 0.5) == (y == 1), session),
        log_loss=mean_interval(log_losses(y, p), session),
        auc_within=auc_within_interval(y, p, session, rows["direction"]),
        trades=summary.trades,
        coverage=summary.coverage,
        taken_accuracy=mean_interval(taken["y"].to_numpy() == 1, taken["session"], weight=size),
        losing_share=mean_interval(taken["y"].to_numpy() == 0, taken["session"], weight=size),
        net_bps=mean_interval(1e4 * taken["net_return"].to_numpy(), taken["session"], weight=size),
        sharpe=ScoreInterval(summary.sharpe, summary.sharpe_low, summary.sharpe_high, 0.90),
        daily_sharpe=summary.daily_sharpe,
    )


def weekly_difference(rows: pd.DataFrame) -> pd.DataFrame:
    """Compare the arms week by week, on the events decided in each week.

    Returns
    -------
    DataFrame
        One row per ``fold`` in time order: fold, first_session, n, success_rate, ml_accuracy, rules_accuracy,
        ml_loss, rules_loss, ml_profit, rules_profit (notionals of one trade, at `COVERAGE`), ml_trades, rules_trades,
        ml_lost, rules_lost, and the running sums gain_so_far (rules' log-loss minus ML's, nats) and profit_so_far (ML
        minus rules).
    """
    sizes = _sizes(rows)
    y = rows["y"].to_numpy()
    columns: dict[str, Any] = {"fold": rows["fold"].to_numpy(), "session": rows["session"].to_numpy(), "y": y}
    for column, arm in _PAIR.items():
        size = sizes[column]
        columns |= {
            f"{arm}_right": (rows[column].to_numpy() >= 0.5) == (y == 1),
            f"{arm}_loss": log_losses(y, rows[column]),
            f"{arm}_profit": size * rows["net_return"].to_numpy(),
            f"{arm}_trades": size,
            f"{arm}_lost": size * (y == 0),
        }
    by_week = pd.DataFrame(columns).groupby("fold", sort=True)
    means = by_week[["y", *(f"{arm}_{what}" for arm in _PAIR.values() for what in ("right", "loss"))]].mean()
    sums = by_week[[f"{arm}_{what}" for arm in _PAIR.values() for what in ("loss", "profit", "trades", "lost")]].sum()
    weeks = pd.DataFrame(
        {
            "first_session": by_week["session"].min(),
            "n": by_week.size(),
            "success_rate": means["y"],
            **{f"{arm}_accuracy": means[f"{arm}_right"] for arm in _PAIR.values()},
            **{f"{arm}_loss": means[f"{arm}_loss"] for arm in _PAIR.values()},
            **{
                f"{arm}_{what}": sums[f"{arm}_{what}"]
                for arm in _PAIR.values()
                for what in ("profit", "trades", "lost")
            },
            "gain_so_far": (sums["rules_loss"] - sums["ml_loss"]).cumsum(),
            "profit_so_far": (sums["ml_profit"] - sums["rules_profit"]).cumsum(),
        }
    )
    return weeks.sort_values("first_session").reset_index()


def by_kind(rows: pd.DataFrame, parts: Sequence[Part]) -> list[SliceComparison]:
    """Compare the arms on each kind of event (`trial.kinds.parts_of_signals`).

    Notes
    -----
    Thresholds are those of all events, so an arm may trade more of one kind than of another. No part is tested: dozens
    are looked at, and one in ten lies outside a 90 % interval by chance.
    """
    sizes = _sizes(rows)
    y, session = rows["y"].to_numpy(), rows["session"].to_numpy()
    difference = log_losses(y, rows[P_ML]) - log_losses(y, rows[P_RULES])
    net = 1e4 * rows["net_return"].to_numpy()
    found = []
    for kind, name, inside in parts:
        is_enough = int(inside.sum()) >= MIN_SLICE_ROWS
        money = {
            column: mean_interval(net[inside], session[inside], weight=size[inside]) for column, size in sizes.items()
        }
        found.append(
            SliceComparison(
                kind=kind,
                name=name,
                n=int(inside.sum()),
                sessions=len(np.unique(session[inside])),
                success_rate=float(y[inside].mean()),
                loss_difference=mean_interval(difference[inside], session[inside]) if is_enough else None,
                ml_net_bps=money[P_ML] if is_enough else None,
                rules_net_bps=money[P_RULES] if is_enough else None,
            )
        )
    return found


def losing_share_change(rows: pd.DataFrame) -> ScoreInterval:
    """Share of losing trades of ML over that of the rules, minus one, at equal coverage: −0.5 is half as many.

    Notes
    -----
    The log of a ratio of ratios has the influence l₁/L₁ − t₁/T₁ − (l₂/L₂ − t₂/T₂) per row, with l lost and t taken
    notionals and capitals their sums (delta method); the interval is clustered by session.
    """
    sizes = _sizes(rows)
    lost = {column: size * (rows["y"].to_numpy() == 0) for column, size in sizes.items()}
    totals = [float(part.sum()) for part in (*sizes.values(), *lost.values())]
    if not all(totals):
        return ScoreInterval(None, None, None, 0.90)
    log_influence = {
        column: lost[column] / lost[column].sum() - sizes[column] / sizes[column].sum() for column in _PAIR
    }
    rates = {column: float(lost[column].sum() / sizes[column].sum()) for column in _PAIR}
    ratio = rates[P_ML] / rates[P_RULES]
    return influence_interval(ratio - 1.0, ratio * (log_influence[P_ML] - log_influence[P_RULES]), rows["session"])


def net_difference(rows: pd.DataFrame) -> ScoreInterval:
    """Net profit per trade of ML minus the rules', in basis points, at equal coverage."""
    net = 1e4 * rows["net_return"].to_numpy()
    means, influences = {}, {}
    for column, size in _sizes(rows).items():
        total = float(size.sum())
        if not total:
            return ScoreInterval(None, None, None, 0.90)
        means[column] = float(size @ net) / total
        influences[column] = size * (net - means[column]) / total
    return influence_interval(means[P_ML] - means[P_RULES], influences[P_ML] - influences[P_RULES], rows["session"])


_PAIR: Mapping[str, str] = {P_ML: "ml", P_RULES: "rules"}


def _sizes(rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """Notional that each arm stakes on each row, (n,) each."""
    return {column: trades_at_coverage(rows, column, coverage=COVERAGE).rows["size"].to_numpy() for column in _PAIR}


def _taken(trades: Trades) -> pd.DataFrame:
    return trades.rows[(trades.rows["size"] > 0).to_numpy()].reset_index(drop=True)
