"""What a back-test lived through: forecasts made before their week, joined with what became of them.

The gate's record says what a *procedure* would have forecast. The live record says what was *in charge*: the rules
until a promotion, the promoted fit after it, week after week as the replay moved its channel. The fit of each week
rides along as the shadow, in charge or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from catalyst_ml.errors import InsufficientHistory
from catalyst_ml.evaluation.ageing import FRESH, age_column
from catalyst_ml.evaluation.comparison import daily_log_loss_gain
from catalyst_ml.evaluation.intervals import ScoreInterval, auc_within_interval, mean_interval
from catalyst_ml.evaluation.metrics import auc_within
from catalyst_ml.evaluation.record import P_BASE_RATE, P_PATTERN_BASE_RATE, P_RULES, log_losses
from catalyst_ml.evaluation.trading import summarise_trades, trades_at_coverage
from catalyst_ml.frames import EVENT_KEY

P_PRODUCTION = "p_production"
P_SHADOW = age_column(FRESH)
LIVE_ARMS: tuple[str, ...] = (P_PRODUCTION, P_SHADOW, P_RULES, P_PATTERN_BASE_RATE, P_BASE_RATE)
OUTCOMES: tuple[str, ...] = ("y", "net_return", "gross_return", "label_end")
COVERAGE = 0.2
"""Share of events that an arm trades in the figures on money, as in the gate."""


@dataclass(frozen=True)
class LiveRecord:
    """Settled live rows in time order, and how many could not be settled.

    ``rows``: EVENT_KEY, session, ``fold`` (day of the decision in whose week the event fell), ``production`` (what was
    in charge), the columns of `LIVE_ARMS` and of older fits, `OUTCOMES`. ``n_without_outcome`` are events of whole
    weeks whose outcome is not known: held out, or never traded. ``pending`` are the weeks that are not over.
    """

    rows: pd.DataFrame
    n_without_outcome: int
    pending: tuple[str, ...]


@dataclass(frozen=True)
class ArmFigures:
    """One arm on all live rows, 90 % intervals over days.

    ``loss_vs_base`` and ``loss_vs_rules`` are log-loss minus that of the reference, per event: below zero is better.
    ``net_bps`` is per trade after costs at `COVERAGE`, thresholds frozen before each week; ``sharpe`` per year.
    """

    arm: str
    n: int
    sessions: int
    log_loss: ScoreInterval
    loss_vs_base: ScoreInterval
    loss_vs_rules: ScoreInterval
    auc_within: ScoreInterval
    net_bps: ScoreInterval
    sharpe: ScoreInterval
    trades: float

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Tenure:
    """One uninterrupted stay in charge, and how the holder did against the rules and the base rate."""

    holder: str
    since: str
    n_weeks: int
    n: int
    sessions: int
    loss_vs_rules: ScoreInterval
    loss_vs_base: ScoreInterval

    def to_dict(self) -> dict[str, Any]:
        """Return the tenure as JSON."""
        return asdict(self)


def settle(live: Sequence[pd.DataFrame], labels: pd.DataFrame, *, pending: Sequence[str] = ()) -> LiveRecord:
    """Join forecasts with outcomes.

    Parameters
    ----------
    live
        Forecasts of each week, in time order; see `LiveRecord` for the columns.
    labels
        Schema ``LABELS``: outcomes known when the back-test is settled.
    pending
        Weeks (``fold``) of which not every outcome can be known yet. They are left out whole: of a young week only the
        fast barrier touches are known, which is not a fair sample.

    Raises
    ------
    InsufficientHistory
        If no week is settled.
    """
    rows = pd.concat(live, ignore_index=True)
    rows = rows[~rows["fold"].isin(pending)]
    joined = rows.merge(labels[[*EVENT_KEY, *OUTCOMES]], on=list(EVENT_KEY), how="left", validate="one_to_one")
    known = joined[joined["y"].notna()]
    if known.empty:
        raise InsufficientHistory(
            f"back-test: none of {len(rows)} events in settled weeks has a known outcome. Let it end earlier "
            "(until), or import newer bars."
        )
    known = known.astype({"y": "int8"}).sort_values(["ts", "symbol", "direction"], ignore_index=True)
    return LiveRecord(known, len(joined) - len(known), tuple(pending))


def arm_figures(rows: pd.DataFrame, column: str) -> ArmFigures:
    """Score one arm of `LIVE_ARMS` on all live rows that it forecast."""
    there = rows[rows[column].notna().to_numpy()].reset_index(drop=True)
    y, session = there["y"].to_numpy(), there["session"]
    losses = log_losses(y, there[column])
    taken = _trades(there, column)
    summary = summarise_trades(trades_at_coverage(there, column, coverage=COVERAGE))
    return ArmFigures(
        arm=column.removeprefix("p_"),
        n=len(there),
        sessions=int(session.nunique()),
        log_loss=mean_interval(losses, session),
        loss_vs_base=mean_interval(losses - log_losses(y, there[P_BASE_RATE]), session),
        loss_vs_rules=mean_interval(losses - log_losses(y, there[P_RULES]), session),
        auc_within=auc_within_interval(y, there[column].to_numpy(), session, there["direction"]),
        net_bps=mean_interval(1e4 * taken["net_return"].to_numpy(), taken["session"], weight=taken["size"].to_numpy()),
        sharpe=ScoreInterval(summary.sharpe, summary.sharpe_low, summary.sharpe_high, 0.90),
        trades=float(taken["size"].sum()),
    )


def weekly_figures(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Figures of each week's events, in time order.

    Returns
    -------
    list of dict
        fold, production, n, sessions, success_rate, and for each arm of `LIVE_ARMS` under its name without ``p_``:
        log_loss, auc_within, net_bps (None without a trade, or before there is a threshold).
    """
    trades = {column: _trades(rows, column) for column in LIVE_ARMS}
    figures = []
    for fold, week in rows.groupby("fold", sort=True):
        y = week["y"].to_numpy()
        arms = {}
        for column in LIVE_ARMS:
            p = week[column].to_numpy()
            taken = trades[column][(trades[column]["fold"] == fold).to_numpy()]
            size = taken["size"].to_numpy()
            arms[column.removeprefix("p_")] = {
                "log_loss": None if np.isnan(p).any() else float(log_losses(y, p).mean()),
                "auc_within": None if np.isnan(p).any() else auc_within(y, p, week["session"], week["direction"]),
                "net_bps": float(1e4 * size @ taken["net_return"].to_numpy() / size.sum()) if size.sum() else None,
            }
        figures.append(
            {
                "fold": str(fold),
                "production": str(week["production"].iloc[0]),
                "n": len(week),
                "sessions": int(week["session"].nunique()),
                "success_rate": float(y.mean()),
                "arms": arms,
            }
        )
    return figures


def tenures(rows: pd.DataFrame) -> list[Tenure]:
    """Who was in charge for how long, in time order; a refit that took over begins a tenure of its own."""
    weeks = rows.groupby("fold", sort=True)["production"].first()
    stay = (weeks != weeks.shift()).cumsum()
    found = []
    for _, folds in weeks.groupby(stay):
        part = rows[rows["fold"].isin(folds.index).to_numpy()]
        y = part["y"].to_numpy()
        losses = log_losses(y, part[P_PRODUCTION])
        found.append(
            Tenure(
                holder=str(folds.iloc[0]),
                since=str(folds.index[0]),
                n_weeks=len(folds),
                n=len(part),
                sessions=int(part["session"].nunique()),
                loss_vs_rules=mean_interval(losses - log_losses(y, part[P_RULES]), part["session"]),
                loss_vs_base=mean_interval(losses - log_losses(y, part[P_BASE_RATE]), part["session"]),
            )
        )
    return found


def running_gain(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Running sum of the shadow's daily advantage in log-loss (nats) over each floor.

    Returns
    -------
    list of dict
        against (name of the floor), sessions (ISO dates, rising), cumulative.
    """
    there = rows[rows[P_SHADOW].notna().to_numpy()]
    curves = []
    for column in (P_RULES, P_BASE_RATE, P_PATTERN_BASE_RATE):
        gain = daily_log_loss_gain(there, P_SHADOW, column)
        curves.append(
            {
                "against": column.removeprefix("p_"),
                "sessions": [f"{day:%Y-%m-%d}" for day in gain.index],
                "cumulative": gain.cumsum().tolist(),
            }
        )
    return curves


def shadow_profit(rows: pd.DataFrame) -> pd.Series:
    """Profit per session of the freshest fit's trades, where a threshold stood: what its Sharpe ratio is made of."""
    there = rows[rows[P_SHADOW].notna().to_numpy()].reset_index(drop=True)
    return trades_at_coverage(there, P_SHADOW, coverage=COVERAGE).judged_profit()


def _trades(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Rows an arm trades: session, fold, net_return and size above zero."""
    there = rows[rows[column].notna().to_numpy()].reset_index(drop=True)
    taken = trades_at_coverage(there, column, coverage=COVERAGE).rows
    return taken[(taken["size"] > 0).to_numpy()].reset_index(drop=True)
