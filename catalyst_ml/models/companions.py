"""The two companion models: fitted together on what is known, walked forward quarter by quarter, joined in one frame.

*Size of move* (``move_size``) and *order of the day* (``day_rank``, once by the return to the next session's close and
once to the fifth's). Every row of the predictions is out-of-fold: its fold learned only from outcomes known before it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from catalyst_ml.errors import DataContractError, InsufficientHistory
from catalyst_ml.evaluation.expanding_folds import expanding_folds
from catalyst_ml.evaluation.splits import Fold, test_rows, train_rows
from catalyst_ml.features.stock_days import STOCK_DAY_INPUTS, stock_day_version, target_column
from catalyst_ml.frames import TIME_DTYPE, Column, FrameSchema
from catalyst_ml.market.event_rows import microseconds
from catalyst_ml.models.companion_settings import CompanionSettings, DayTreeSettings
from catalyst_ml.models.day_rank import DayRankModel, place_in_day
from catalyst_ml.models.day_trees import every_nth_session
from catalyst_ml.models.move_size import MoveSizeModel

logger = logging.getLogger(__name__)

MIN_TRAINING_ROWS = 1_000
"""Fewer stock-days than this (ten stocks, 100 sessions) teach nothing that outlives them."""

COMPANION_PREDICTIONS = FrameSchema(
    "companion_predictions",
    1,
    (
        Column("symbol", "str"),
        Column("ts", TIME_DTYPE, "UTC, decision time: close of the bar"),
        Column("expected_move", "float64", "expected |5-session market-neutral return|, fraction of the price"),
        Column("expected_move_atr", "float64", "the same by ATR alone, the baseline"),
        Column("rank", "float64", "place in the day by the next session's return, 0-1, 1 best", nullable=True),
        Column("rank_5", "float64", "place in the day by the return over five sessions, 0-1, 1 best", nullable=True),
        Column("rank_score", "float64", "what rank was made of; comparable within one close and fold only"),
        Column("rank_score_5", "float64", "what rank_5 was made of"),
        Column("fold", "str", "name of the fold that predicted the row"),
    ),
    key=("symbol", "ts"),
    sort=("ts", "symbol"),
)


@dataclass(frozen=True)
class FittedCompanions:
    """One fit of both companions. ``n_train`` rows were known; ``last_known`` is the newest of their closes."""

    settings: CompanionSettings
    move: MoveSizeModel
    rank: DayRankModel
    rank_5: DayRankModel
    n_train: int
    last_known: pd.Timestamp

    @property
    def n_tree_nodes(self) -> int:
        """Tree nodes of the served file."""
        return self.move.trees.n_nodes + self.rank.trees.n_nodes + self.rank_5.trees.n_nodes

    def predict(self, stock_days: pd.DataFrame, *, fold: str = "") -> pd.DataFrame:
        """Predict whole closes: ranks are places among the rows handed in.

        Parameters
        ----------
        stock_days : DataFrame
            Rows of ``features.stock_days`` sorted by ts and symbol; targets may be open.
        fold : str
            Name to note in the result.

        Returns
        -------
        DataFrame
            Schema ``COMPANION_PREDICTIONS``; ranks are missing where a close has fewer than 10 stocks.
        """
        X, session = companion_matrix(stock_days, self.settings.inputs), microseconds(stock_days["ts"])
        scores, scores_5 = self.rank.predict(X), self.rank_5.predict(X)
        frame = pd.DataFrame(
            {
                "symbol": stock_days["symbol"].to_numpy(),
                "ts": stock_days["ts"].array,
                "expected_move": self.move.predict(X),
                "expected_move_atr": self.move.predict_from_atr(X),
                "rank": place_in_day(scores, session),
                "rank_5": place_in_day(scores_5, session),
                "rank_score": scores,
                "rank_score_5": scores_5,
                "fold": fold,
            }
        ).astype({"symbol": "str", "fold": "str"})
        return COMPANION_PREDICTIONS.validate(frame)


def default_companion_settings(*, seed: int = 20_261_127) -> CompanionSettings:
    """Build the standing settings on the inputs of this version of the code."""
    return CompanionSettings(inputs=STOCK_DAY_INPUTS, stock_day_version=stock_day_version(), seed=seed)


def fit_companions(stock_days: pd.DataFrame, settings: CompanionSettings, *, n_threads: int) -> FittedCompanions:
    """Fit both companions on rows of which both targets are known.

    Parameters
    ----------
    stock_days : DataFrame
        Rows of ``features.stock_days`` sorted by ts and symbol. Those with an open target are passed over; which rows
        may be known is the caller's business (``splits.train_rows``).
    n_threads : int
        Of one trainer; they run one after another.

    Raises
    ------
    InsufficientHistory
        If fewer than `MIN_TRAINING_ROWS` rows have both targets.
    """
    next_return, return_5 = (stock_days[target_column(h)].to_numpy() for h in (1, 5))
    is_known = np.isfinite(next_return) & np.isfinite(return_5)
    if is_known.sum() < MIN_TRAINING_ROWS:
        raise InsufficientHistory(
            f"companions: {int(is_known.sum())} stock-days with known outcomes, {MIN_TRAINING_ROWS} needed. Import "
            "earlier bars or more symbols."
        )
    known = stock_days.loc[is_known]
    X, session = companion_matrix(known, settings.inputs), microseconds(known["ts"])
    next_return, return_5 = next_return[is_known], return_5[is_known]
    shared = {"max_bin": settings.max_bin, "seed": settings.seed, "n_threads": n_threads}

    def taught(budget: DayTreeSettings) -> np.ndarray | slice:
        return slice(None) if budget.every_nth_session == 1 else every_nth_session(session, budget.every_nth_session)

    def rank_model(returns: np.ndarray, budget: DayTreeSettings) -> DayRankModel:
        place = place_in_day(returns, session)
        rows = taught(budget)
        has_place = np.isfinite(place[rows])
        return DayRankModel.fit(X[rows][has_place], place[rows][has_place], budget, **shared)

    rows = taught(settings.move)
    return FittedCompanions(
        settings=settings,
        move=MoveSizeModel.fit(X[rows], np.abs(return_5[rows]), settings.inputs, settings.move, **shared),
        rank=rank_model(next_return, settings.rank),
        rank_5=rank_model(return_5, settings.rank_5),
        n_train=len(known),
        last_known=known["ts"].iloc[-1],
    )


def companion_folds(stock_days: pd.DataFrame, settings: CompanionSettings) -> tuple[Fold, ...]:
    """Lay the quarterly folds over the stock-days, the last one around the newest row."""
    return expanding_folds(
        history_start=stock_days["ts"].iloc[0],
        as_of=stock_days["ts"].iloc[-1],
        min_training_days=settings.min_training_days,
        weeks=settings.refit_weeks,
        embargo=pd.Timedelta(days=settings.embargo_days),
    )


def predict_fold(stock_days: pd.DataFrame, fold: Fold, settings: CompanionSettings, *, n_threads: int) -> pd.DataFrame:
    """Fit on what was known before the fold and predict its rows; empty if it has none.

    Raises
    ------
    InsufficientHistory
        If too little was known before the fold.
    """
    asked = stock_days.loc[test_rows(stock_days, fold)]
    if asked.empty:
        return COMPANION_PREDICTIONS.empty()
    fitted = fit_companions(stock_days.loc[train_rows(stock_days, fold)], settings, n_threads=n_threads)
    logger.info("companions, %s: trained on %d rows, predicted %d", fold.name, fitted.n_train, len(asked))
    return fitted.predict(asked, fold=fold.name)


def walk_companions(
    stock_days: pd.DataFrame,
    settings: CompanionSettings,
    *,
    folds: Sequence[Fold] | None = None,
    n_threads: int,
) -> pd.DataFrame:
    """Predict every stock-day from the first quarter with enough history before it on, each out of its fold.

    Parameters
    ----------
    stock_days : DataFrame
        ``StockDays.rows``.
    folds : sequence of Fold, optional
        In time order; those of `companion_folds` if None.

    Returns
    -------
    DataFrame
        Schema ``COMPANION_PREDICTIONS``. Also rows whose outcome is still open are in it, the newest close among them.

    Raises
    ------
    DataContractError
        If the stock-days are not sorted by ts and symbol.
    """
    _require_time_order(stock_days)
    laid = companion_folds(stock_days, settings) if folds is None else folds
    parts = [predict_fold(stock_days, fold, settings, n_threads=n_threads) for fold in laid]
    return COMPANION_PREDICTIONS.validate(pd.concat(parts, ignore_index=True))


def companion_matrix(stock_days: pd.DataFrame, inputs: tuple[str, ...]) -> np.ndarray:
    """Return the inputs as float32 (n_rows, n_inputs) in the given order; what is not finite is missing.

    Raises
    ------
    DataContractError
        If an input is absent.
    """
    absent = [name for name in inputs if name not in stock_days.columns]
    if absent:
        raise DataContractError(
            f"companions: inputs {absent[:5]} of {len(inputs)} are missing in the stock-days. Build them with this "
            "version of features.stock_days."
        )
    X = stock_days[list(inputs)].to_numpy(dtype=np.float32)
    is_odd = np.isinf(X)
    if is_odd.any():
        X = np.where(is_odd, np.float32(np.nan), X)
    return X


def _require_time_order(stock_days: pd.DataFrame) -> None:
    ts = microseconds(stock_days["ts"])
    if len(ts) == 0 or (np.diff(ts) < 0).any():
        raise DataContractError(
            f"companions: {len(ts)} stock-days, not in time order or none; expected rows sorted by ts and symbol. Hand "
            "in the rows of features.stock_days.build_stock_days."
        )
