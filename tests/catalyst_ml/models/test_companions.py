"""The companions: a planted signal is found, permuted outcomes give nothing, the future has no say."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import onnx
import pandas as pd
import pytest

from catalyst_ml.errors import ConfigurationError, DataContractError, InsufficientHistory
from catalyst_ml.evaluation.move_metrics import compare_moves, score_moves
from catalyst_ml.evaluation.rank_metrics import daily_ic, newey_west
from catalyst_ml.evaluation.splits import test_rows, train_rows
from catalyst_ml.features.companion_columns import companions_at_events
from catalyst_ml.features.panel import MarketPanel
from catalyst_ml.features.stock_days import build_stock_days
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.corporate_actions import adjust_for_splits
from catalyst_ml.market.detector import detect_events
from catalyst_ml.market.simulator import simulate_market
from catalyst_ml.models.companion_graph import certify_companions, export_companions
from catalyst_ml.models.companion_settings import CompanionSettings, DayTreeSettings
from catalyst_ml.models.companions import (
    COMPANION_PREDICTIONS,
    companion_folds,
    companion_matrix,
    default_companion_settings,
    fit_companions,
    walk_companions,
)
from catalyst_ml.models.day_trees import every_nth_session

INPUTS = ("size_signal", "rank_signal", "noise", "sometimes", "log_atr_ratio")
SMALL = DayTreeSettings(n_trees=30, max_depth=3, learning_rate=0.2, reg_lambda=10.0)
SETTINGS = CompanionSettings(
    inputs=INPUTS, stock_day_version="test", min_training_days=200, move=SMALL, rank=SMALL, rank_5=SMALL
)


def make_stock_days(
    *, n_days: int = 420, n_stocks: int = 20, strength: float = 0.0, wildness: float = 0.0, seed: int = 1
) -> pd.DataFrame:
    """Days of stocks with known truth: a signal orders the returns, another one scales them beyond what ATR says."""
    rng = np.random.default_rng(seed)
    n = n_days * n_stocks
    closes = (pd.bdate_range("2012-01-02", periods=n_days + 5, tz="UTC") + pd.Timedelta(hours=21)).as_unit("us")
    signals = {name: rng.normal(size=n).astype("float32") for name in INPUTS}
    signals["sometimes"][rng.random(n) < 0.3] = np.nan
    atr = 0.02 * np.exp(0.4 * rng.normal(size=n))
    signals["log_atr_ratio"] = np.log(atr).astype("float32")
    scale = 1.5 * atr * np.exp(wildness * signals["size_signal"])
    day = np.repeat(np.arange(n_days), n_stocks)
    frame = pd.DataFrame(
        {
            "symbol": pd.Series([f"S{k:02d}" for k in np.tile(np.arange(n_stocks), n_days)], dtype="str"),
            "ts": closes[day],
            "n_universe": np.int32(n_stocks),
            **signals,
            "neutral_return_1": 0.5 * scale * (rng.standard_t(5, n) + strength * signals["rank_signal"]),
            "neutral_return_5": scale * (rng.standard_t(5, n) + strength * signals["rank_signal"]),
            "label_end": closes[day + 5],
        }
    )
    is_open = (frame["label_end"] > closes[n_days - 1]).to_numpy()
    frame.loc[is_open, ["neutral_return_1", "neutral_return_5"]] = np.nan
    return frame


def judged(rows: pd.DataFrame, predictions: pd.DataFrame) -> pd.DataFrame:
    return predictions.merge(rows[["symbol", "ts", "neutral_return_1", "neutral_return_5"]], on=["symbol", "ts"])


def test_a_planted_signal_is_found_by_both_and_each_keeps_to_its_own() -> None:
    rows = make_stock_days(strength=0.3, wildness=0.5)
    found = judged(rows, walk_companions(rows, SETTINGS, n_threads=1))

    ic = newey_west(daily_ic(found["rank"], found["neutral_return_1"], found["ts"]), lags=5)
    ic_5 = newey_west(daily_ic(found["rank_5"], found["neutral_return_5"], found["ts"]), lags=5)
    gain = compare_moves(
        found["expected_move"].to_numpy(), found["expected_move_atr"].to_numpy(),
        found["neutral_return_5"].abs().to_numpy(), found["ts"],
    )  # fmt: skip

    assert ic.low > 0.15
    assert ic_5.low > 0.15
    assert gain.low > 0.05


def test_outcomes_permuted_within_the_day_give_an_ic_of_zero_and_no_gain_over_atr() -> None:
    rows = make_stock_days(strength=0.3, wildness=0.5)
    order = np.lexsort((np.random.default_rng(3).random(len(rows)), rows["ts"].array.asi8))
    targets = ["neutral_return_1", "neutral_return_5"]
    mixed = rows.assign(**{name: rows[name].to_numpy()[order] for name in targets})
    found = judged(mixed, walk_companions(mixed, SETTINGS, n_threads=1))

    for rank, outcome in zip(("rank", "rank_5"), targets, strict=True):
        ic = newey_west(daily_ic(found[rank], found[outcome], found["ts"]), lags=5)
        assert ic.low < 0.0 < ic.high
    scores = score_moves(found["expected_move"].to_numpy(), found["neutral_return_5"].abs().to_numpy(), found["ts"])
    assert scores.auc.low < 0.5 < scores.auc.high


def test_the_expected_move_is_right_in_level_and_in_every_tenth() -> None:
    rows = make_stock_days(n_stocks=40, wildness=0.5)
    found = judged(rows, walk_companions(rows, SETTINGS, n_threads=1))
    moves = found["neutral_return_5"].abs().to_numpy()

    ours = score_moves(found["expected_move"].to_numpy(), moves, found["ts"])
    atr = score_moves(found["expected_move_atr"].to_numpy(), moves, found["ts"])

    assert ours.ratio.value == pytest.approx(1.0, abs=0.05)
    np.testing.assert_allclose(ours.tenths, 1.0, atol=0.2)
    assert ours.mean_absolute_error < atr.mean_absolute_error


def test_every_row_from_the_first_quarter_on_is_predicted_once_open_ones_too() -> None:
    rows = make_stock_days()
    predictions = walk_companions(rows, SETTINGS, n_threads=1)
    first = companion_folds(rows, SETTINGS)[0].test_start

    expected = rows.loc[rows["ts"] >= first, ["symbol", "ts"]].reset_index(drop=True)
    pd.testing.assert_frame_equal(predictions[["symbol", "ts"]], expected)
    newest = predictions[predictions["ts"] == rows["ts"].max()]
    assert newest["expected_move"].gt(0.0).all()
    assert newest["rank"].mean() == pytest.approx(0.5)
    COMPANION_PREDICTIONS.validate(predictions)


def test_outcomes_known_after_a_fold_began_and_rows_after_it_ended_change_none_of_its_predictions() -> None:
    rows = make_stock_days(strength=0.3, wildness=0.5)
    fold = companion_folds(rows, SETTINGS)[1]
    full = walk_companions(rows, SETTINGS, folds=[fold], n_threads=1)

    later = (rows["label_end"] >= fold.known_before).to_numpy()
    altered = rows.assign(**{name: np.where(later, -7.0 * rows[name], rows[name]) for name in
                             ("neutral_return_1", "neutral_return_5")})  # fmt: skip
    cut = altered[altered["ts"] < fold.test_end].reset_index(drop=True)
    pd.testing.assert_frame_equal(walk_companions(cut, SETTINGS, folds=[fold], n_threads=1), full)

    earlier = rows.assign(neutral_return_5=np.where(later, rows["neutral_return_5"], -7.0 * rows["neutral_return_5"]))
    moved = walk_companions(earlier, SETTINGS, folds=[fold], n_threads=1)
    assert (moved["expected_move"] != full["expected_move"]).any()  # the test can fail


def test_no_training_outcome_reaches_into_its_folds_window() -> None:
    rows = make_stock_days()
    for fold in companion_folds(rows, SETTINGS):
        learns, asks = train_rows(rows, fold), test_rows(rows, fold)
        if asks.any():
            assert rows.loc[learns, "label_end"].max() + pd.Timedelta(days=1) < rows.loc[asks, "ts"].min()


def test_the_graph_agrees_with_the_trainer_also_on_missing_and_huge_inputs() -> None:
    rows = make_stock_days(strength=0.3, wildness=0.5)
    fitted = fit_companions(rows, SETTINGS, n_threads=1)
    X = companion_matrix(rows.tail(1_000), INPUTS)
    rng = np.random.default_rng(4)
    odd = np.where(rng.random(X.shape) < 0.3, np.float32(np.nan), X)
    odd[:, -1] = X[:, -1]
    huge = X[:5] * np.float32(1e30)
    huge[:, -1] = X[:5, -1]
    everything = np.vstack([X, odd, huge])
    graph = export_companions(fitted)

    parity = certify_companions(fitted, graph, everything)

    assert parity.passed
    assert max(parity.max_abs_diff.values()) < 1e-5
    assert parity.n_rows == 2_005
    assert export_companions(fitted) == graph
    meta = {p.key: p.value for p in onnx.load_from_string(graph).metadata_props}
    assert json.loads(meta["inputs"]) == list(INPUTS)
    assert meta["settings_id"] == SETTINGS.settings_id


def test_a_graph_of_other_companions_fails_the_certificate() -> None:
    rows = make_stock_days(strength=0.3, wildness=0.5)
    fitted = fit_companions(rows, SETTINGS, n_threads=1)
    other = fit_companions(rows.head(4_000), SETTINGS, n_threads=1)
    assert not certify_companions(fitted, export_companions(other), companion_matrix(rows.tail(50), INPUTS)).passed
    with pytest.raises(InsufficientHistory, match="no rows"):
        certify_companions(fitted, export_companions(fitted), companion_matrix(rows.head(0), INPUTS))


def test_the_same_rows_and_settings_give_the_same_predictions() -> None:
    rows = make_stock_days(n_days=300)
    first, second = (walk_companions(rows, SETTINGS, n_threads=1) for _ in range(2))
    pd.testing.assert_frame_equal(first, second)


def test_settings_survive_json_and_their_id_changes_with_each_of_them() -> None:
    stored = CompanionSettings.from_dict(json.loads(json.dumps(SETTINGS.to_dict())))
    assert stored == SETTINGS
    others = [
        replace(SETTINGS, refit_weeks=26),
        replace(SETTINGS, move=replace(SMALL, n_trees=31)),
        replace(SETTINGS, seed=2),
        replace(SETTINGS, stock_day_version="other"),
    ]
    assert len({SETTINGS.settings_id, *(o.settings_id for o in others)}) == 5
    with pytest.raises(ConfigurationError, match="each named once"):
        replace(SETTINGS, inputs=("a", "a"))


def test_too_few_known_rows_and_rows_out_of_order_are_refused() -> None:
    rows = make_stock_days(n_days=40)
    with pytest.raises(InsufficientHistory, match="1000 needed"):
        fit_companions(rows.head(500), SETTINGS, n_threads=1)
    with pytest.raises(DataContractError, match="not in time order"):
        walk_companions(rows.iloc[::-1], SETTINGS, n_threads=1)
    with pytest.raises(DataContractError, match="noise"):
        companion_matrix(rows.drop(columns="noise"), INPUTS)


def test_every_third_session_is_counted_back_from_the_newest() -> None:
    session = np.repeat([10, 11, 12, 20, 21], [2, 1, 3, 1, 2])
    kept = every_nth_session(session, 3)
    assert np.unique(session[kept]).tolist() == [11, 21]


def test_a_simulated_market_goes_from_bars_to_columns_at_its_events() -> None:
    market = simulate_market("none", seed=11, n_symbols=16, n_sessions=900)
    as_of = market.bars["ts"].max()
    bars = adjust_for_splits(market.bars, as_of=as_of)
    panel = MarketPanel(bars=bars, instruments=market.instruments, news=market.news, earnings=None)
    rows = build_stock_days(panel, calendar=TradingCalendar(), as_of=as_of).rows
    settings = replace(default_companion_settings(), refit_weeks=26, min_training_days=200, move=SMALL, rank=SMALL,
                       rank_5=SMALL)  # fmt: skip

    predictions = walk_companions(rows, settings, n_threads=1)
    found = judged(rows, predictions)
    moves = found["neutral_return_5"].abs().to_numpy()
    newest = predictions[predictions["ts"] == as_of]
    events = detect_events(bars, market.instruments)
    recent = events[events["ts"] >= predictions["ts"].min()]
    joined = companions_at_events(recent, predictions)

    n_bars = bars[bars["symbol"].isin(panel.stocks)].groupby("symbol").size()
    listed = set(bars.loc[bars["ts"] == as_of, "symbol"]) & set(n_bars.index[n_bars >= 500])
    assert set(newest["symbol"]) == listed
    assert len(listed) >= 14
    assert newest["expected_move"].between(0.001, 0.5).all()
    assert score_moves(found["expected_move"].to_numpy(), moves, found["ts"]).auc.low > 0.5
    ic = newey_west(daily_ic(found["rank"], found["neutral_return_1"], found["ts"]), lags=5)
    assert ic.mean < 0.1  # there is no edge to find
    with_history = joined[joined["symbol"].isin(listed)]
    assert len(with_history) > 500
    assert with_history[["expected_move", "aligned_rank"]].notna().all(axis=None)
