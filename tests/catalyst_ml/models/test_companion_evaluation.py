"""The evaluation of companions says what their metrics say, beside baselines on the same rows."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from catalyst_ml.errors import DataContractError, InsufficientHistory
from catalyst_ml.evaluation.rank_metrics import daily_ic
from catalyst_ml.models.companion_evaluation import evaluate_companions, newest_stocks, newest_table
from catalyst_ml.models.companions import COMPANION_PREDICTIONS


def make_predicted(*, n_days: int = 80, n_stocks: int = 20, seed: int = 1) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predictions that know the scale of moves and half of the order, and the stock-days they were made of."""
    rng = np.random.default_rng(seed)
    n = n_days * n_stocks
    closes = (pd.bdate_range("2014-01-06", periods=n_days, tz="UTC") + pd.Timedelta(hours=21)).as_unit("us")
    keys = {
        "symbol": pd.Series([f"S{k:02d}" for k in np.tile(np.arange(n_stocks), n_days)], dtype="str"),
        "ts": closes[np.repeat(np.arange(n_days), n_stocks)],
    }
    scale = 0.03 * np.exp(0.5 * rng.normal(size=n))
    place = (rng.permuted(np.tile(np.arange(n_stocks), (n_days, 1)), axis=1).ravel() + 0.5) / n_stocks
    move = scale * rng.exponential(size=n)
    side = np.where(rng.random(n) < 0.25 + 0.5 * place, 1.0, -1.0)
    predictions = pd.DataFrame(keys).assign(
        expected_move=scale, expected_move_atr=0.03, rank=place, rank_5=place, rank_score=place, rank_score_5=place,
        fold=pd.Series(["quarter-2014-W02"] * n, dtype="str"),
    )  # fmt: skip
    stock_days = pd.DataFrame(keys).assign(
        neutral_return_1=side * move, neutral_return_5=side * move, placed_return_1=rng.random(n).astype("float32")
    )
    open_rows = (stock_days["ts"] > closes[-6]).to_numpy()
    stock_days.loc[open_rows, "neutral_return_5"] = np.nan
    return COMPANION_PREDICTIONS.validate(predictions), stock_days


def test_ours_and_baselines_are_judged_on_the_same_settled_rows() -> None:
    predictions, stock_days = make_predicted()
    judged = evaluate_companions(predictions, stock_days)

    assert judged.move.rows == judged.move_atr.rows == 75 * 20
    assert judged.rank.sessions == 80
    assert judged.rank_5.sessions == judged.reversal_5.sessions == 75
    assert judged.move_gain.low is not None
    assert judged.move_gain.low > 0.0  # one number for all stocks orders none
    assert judged.move_atr.auc.value == pytest.approx(0.5)
    assert judged.rank.ic.low > 0.0
    assert judged.reversal.ic.low < 0.0 < judged.reversal.ic.high
    ic = daily_ic(predictions["rank"], stock_days["neutral_return_1"], predictions["ts"])
    assert judged.rank.ic.mean == pytest.approx(ic.mean())


def test_the_evaluation_is_plain_json() -> None:
    stored = evaluate_companions(*make_predicted()).to_dict()
    assert json.loads(json.dumps(stored, allow_nan=False)) == json.loads(json.dumps(stored))
    assert stored["first"] == "2014-01-06T21:00:00+00:00"


def test_the_newest_table_is_the_last_close_best_rank_first() -> None:
    predictions, _ = make_predicted()
    predictions.loc[predictions.index[-1], "rank"] = np.nan
    table = newest_table(predictions)

    assert len(table) == 20
    assert table["rank"].dropna().is_monotonic_decreasing
    assert newest_stocks(predictions)[-1]["rank"] is None
    assert newest_stocks(predictions)[0]["rank"] == table["rank"].iloc[0]


def test_predictions_of_other_rows_and_too_few_days_are_refused() -> None:
    predictions, stock_days = make_predicted()
    with pytest.raises(DataContractError, match="belong to no stock-day"):
        evaluate_companions(predictions, stock_days.head(100))
    short = predictions.head(200), stock_days.head(200)
    with pytest.raises(InsufficientHistory):
        evaluate_companions(*short)
