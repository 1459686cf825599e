"""The companions as served: the trainer's own predictions of a close, whichever way its stocks come, or a reason."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

from catalyst_ml.errors import ArtifactRefused
from catalyst_ml.features.panel import MarketPanel
from catalyst_ml.features.stock_days import STOCK_DAY_INPUTS, build_stock_days, inputs_of_close, stock_day_version
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.corporate_actions import adjust_for_splits
from catalyst_ml.market.simulator import simulate_market
from catalyst_ml.models.companion_graph import export_companions
from catalyst_ml.models.companion_settings import CompanionSettings, DayTreeSettings
from catalyst_ml.models.companions import fit_companions
from catalyst_ml.registry.artifact_store import FolderStore
from catalyst_ml.registry.signatures import Signer
from catalyst_ml.serving.companions import ServedCompanions
from catalyst_ml.serving.following import StorePlace
from catalyst_ml.serving.market_context import ContextSource, stock_day_of
from catalyst_ml.serving.requests import SignalRequest
from catalyst_ml.serving.service import SignalService
from tests.catalyst_ml.serving.running import make_service, stop_service
from tests.catalyst_ml.serving.small_versions import Promoter, tiny_onnx

CALENDAR = TradingCalendar()
SMALL = DayTreeSettings(n_trees=10, max_depth=3, learning_rate=0.2, reg_lambda=10.0)
FIELDS = {"expected_move": "expected_move", "rank_next_session": "rank", "rank_five_sessions": "rank_5"}


class Trained(NamedTuple):
    """A simulated market, the companions fitted on its stock-days, and what their trainer says of the last closes."""

    bars: pd.DataFrame
    instruments: pd.DataFrame
    news: pd.DataFrame
    onnx: bytes
    predictions: pd.DataFrame
    closes: list[pd.Timestamp]

    def panel(self) -> MarketPanel:
        return MarketPanel(self.bars, self.instruments, self.news)


@pytest.fixture(scope="module")
def trained() -> Trained:
    market = simulate_market("middle", seed=3, n_symbols=30, n_sessions=550)
    as_of = market.bars["ts"].max()
    bars = adjust_for_splits(market.bars, as_of=as_of)
    rows = build_stock_days(
        MarketPanel(bars, market.instruments, market.news), calendar=CALENDAR, as_of=as_of, n_threads=1
    ).rows
    settings = CompanionSettings(
        inputs=STOCK_DAY_INPUTS, stock_day_version=stock_day_version(), min_training_days=30,
        move=SMALL, rank=SMALL, rank_5=SMALL,
    )  # fmt: skip
    fitted = fit_companions(rows, settings, n_threads=1)
    closes = [pd.Timestamp(ts) for ts in np.sort(bars["ts"].unique())]
    newest = rows[rows["ts"] >= closes[-10]].reset_index(drop=True)
    return Trained(
        bars, market.instruments, market.news, export_companions(fitted), fitted.predict(newest), closes
    )  # fmt: skip


class Table:
    """The bar table of the simulated market."""

    def __init__(self, trained: Trained) -> None:
        self._trained = trained

    def newest_close(self) -> pd.Timestamp:
        return self._trained.closes[-1]

    def panel_at(self, close: pd.Timestamp) -> MarketPanel:
        return self._trained.panel()

    def released_bars(self) -> pd.DataFrame:
        return pd.DataFrame({"symbol": [], "ts": []})


@pytest.fixture
def promoted(trained: Trained, signer: Signer, store: FolderStore) -> FolderStore:
    promoter = Promoter(signer)
    promoter.promote(store, promoter.publish(store, tiny_onnx(0.85), companions=trained.onnx))
    return store


@pytest.fixture
def service(promoted: FolderStore, signer: Signer, trained: Trained, tmp_path: Path) -> Iterator[SignalService]:
    made = serve(promoted, signer, tmp_path, contexts=ContextSource(Table(trained)))
    yield made
    stop_service(made)


def serve(store: FolderStore, signer: Signer, home: Path, **options: Any) -> SignalService:
    return make_service(home / "home", [StorePlace("disk", store)], signer.public_keys, **options)


def request(trained: Trained, close: pd.Timestamp, symbols: set[str] | None = None, **more: Any) -> SignalRequest:
    """All bars of a close as a caller sends them, or those of some symbols."""
    about = trained.instruments.set_index("symbol")
    known = trained.bars[trained.bars["ts"] <= close]
    items = []
    for symbol, bars in known.groupby("symbol"):
        own = bars.tail(500)
        if own["ts"].iloc[-1] != close or (symbols is not None and symbol not in symbols):
            continue
        kind, sector = str(about.loc[symbol, "kind"]), about.loc[symbol, "sector"]
        columns = {name: own[name].tolist() for name in ("open", "high", "low", "close", "volume")}
        item = {"symbol": str(symbol), "kind": kind, "bars": {"ts": [ts.isoformat() for ts in own["ts"]], **columns}}
        items.append(item if pd.isna(sector) else {**item, "sector": str(sector)})
    stories = trained.news[trained.news["published_at"] <= close].to_dict("records")
    news = [
        {
            "symbol": story["symbol"], "published_at": story["published_at"].isoformat(), "news_id": story["news_id"],
            "catalyst_type": None if pd.isna(story["catalyst_type"]) else story["catalyst_type"],
            "sentiment": story["sentiment"], "score": story["score"],
        }
        for story in stories
    ]  # fmt: skip
    return SignalRequest.model_validate_json(json.dumps({"items": items, "news": news, **more}))


def require_trainers(signals: list[dict[str, Any]], trained: Trained, close: pd.Timestamp) -> int:
    """Every stock that the trainer predicts is answered so, to 1e-4, and no other; returns how many there are."""
    expected = trained.predictions[trained.predictions["ts"] == close].set_index("symbol")
    with_history = [signal for signal in signals if signal["symbol"] in expected.index]
    for signal in signals:
        if signal not in with_history:
            assert [signal[name] for name in FIELDS] == [None, None, None]
    for signal in with_history:
        assert signal["outlook_reason"] == "", signal
        for served, trainers in FIELDS.items():
            assert signal[served] == pytest.approx(expected.loc[signal["symbol"], trainers], abs=1e-4), served
    return len({signal["symbol"] for signal in with_history})


@pytest.mark.parametrize("back", [0, 4])
def test_the_stocks_of_a_request_are_answered_as_the_trainer_predicts_them(
    service: SignalService, trained: Trained, back: int
) -> None:
    close = trained.closes[-1 - back]
    answer = service.answer(request(trained, close, universe="request")).to_dict()
    n_expected = int((trained.predictions["ts"] == close).sum())
    assert require_trainers(answer["signals"], trained, close) == n_expected >= 25
    assert {signal["arm"] for signal in answer["signals"]} > {"hold"}  # also symbols without a pattern have them


@pytest.mark.parametrize("back", [0, 4])
def test_one_symbol_and_the_bar_table_are_answered_as_the_trainer_predicts(
    service: SignalService, trained: Trained, back: int
) -> None:
    close = trained.closes[-1 - back]
    for symbol in trained.predictions.loc[trained.predictions["ts"] == close, "symbol"].iloc[[0, 7, 20]]:
        sent = service.answer(request(trained, close, {symbol})).to_dict()
        assert require_trainers(sent["signals"], trained, close) == 1


def test_a_name_alone_and_inputs_of_a_close_in_memory_have_it_too(service: SignalService, trained: Trained) -> None:
    close = trained.closes[-1]
    symbol = str(trained.predictions.loc[trained.predictions["ts"] == close, "symbol"].iloc[3])
    by_inputs = SignalRequest(symbol=symbol, ts=close.to_pydatetime(), direction=1, features={"rule_score": 70.0})

    before = service.answer(by_inputs).to_dict()["signals"]
    named = service.answer(SignalRequest(symbol=symbol)).to_dict()["signals"]
    after = service.answer(by_inputs).to_dict()["signals"]

    assert before[0]["expected_move"] is None
    assert before[0]["outlook_reason"].startswith("inputs alone do not say where a stock stands")
    require_trainers(named, trained, close)
    require_trainers(after, trained, close)
    assert before[0]["p_ml"] == after[0]["p_ml"] == pytest.approx(0.85)


def test_where_the_days_stocks_are_missing_the_fields_are_null_with_the_reason(
    promoted: FolderStore, signer: Signer, trained: Trained, tmp_path: Path
) -> None:
    service = serve(promoted, signer, tmp_path)
    close = trained.closes[-1]
    some = list(trained.predictions.loc[trained.predictions["ts"] == close, "symbol"][:9])

    alone = service.answer(request(trained, close, {some[0]})).to_dict()["signals"]
    nine = service.answer(request(trained, close, set(some))).to_dict()["signals"]

    require_null(alone, "1 stocks of this request at this close, 10 are needed")
    require_null(nine, "9 stocks of this request at this close, 10 are needed")
    stop_service(service)


def test_a_symbol_without_history_takes_no_rank(service: SignalService, trained: Trained) -> None:
    close = trained.closes[-1]
    whole = request(trained, close, universe="request")
    assert whole.items is not None
    short = [
        item if k else item.model_copy(update={"bars": cut(item.bars)})
        for k, item in enumerate(one for one in whole.items if one.kind == "stock")
    ]
    signals = service.answer(whole.model_copy(update={"items": short})).to_dict()["signals"]
    of_first = [signal for signal in signals if signal["symbol"] == short[0].symbol]
    require_null(of_first, f"this request has no 500 bars of {short[0].symbol} up to this close")
    ranks = {s["symbol"]: s["rank_next_session"] for s in signals if s["symbol"] != short[0].symbol}
    ranks = {symbol: rank for symbol, rank in ranks.items() if symbol in set(trained.predictions["symbol"])}
    n = len(ranks)
    assert n >= 25
    assert None not in ranks.values()
    assert np.mean(list(ranks.values())) == pytest.approx(0.5)  # places of n stocks, whoever is missing


def cut(bars: Any) -> Any:
    return bars.model_copy(update={name: getattr(bars, name)[-60:] for name in type(bars).model_fields})


def require_null(signals: list[dict[str, Any]], reason: str) -> None:
    assert signals
    for signal in signals:
        assert [signal[name] for name in FIELDS] == [None, None, None]
        assert signal["outlook_reason"] == reason


def test_rules_and_versions_without_companions_say_that_there_are_none(
    signer: Signer, trained: Trained, store: FolderStore, tmp_path: Path
) -> None:
    promoter = Promoter(signer)
    promoter.promote(store, promoter.publish(store, tiny_onnx(0.85)))
    service = serve(store, signer, tmp_path)
    close = trained.closes[-1]
    require_null(
        service.answer(request(trained, close)).to_dict()["signals"], "no version with companions answers"
    )  # fmt: skip
    promoter.promote(store, promoter.publish(store, tiny_onnx(0.8), companions=trained.onnx))
    service.follower.refresh()
    assert service.follower.snapshot.companions is not None
    promoter.promote(store, None)
    service.follower.refresh()
    require_null(
        service.answer(request(trained, close)).to_dict()["signals"], "no version with companions answers"
    )  # fmt: skip
    stop_service(service)


def test_both_graphs_of_a_version_come_and_go_together(
    signer: Signer, trained: Trained, store: FolderStore, tmp_path: Path
) -> None:
    promoter = Promoter(signer)
    with_them = promoter.publish(store, tiny_onnx(0.8), companions=trained.onnx)
    without = promoter.publish(store, tiny_onnx(0.7), seed=8)
    service = serve(store, signer, tmp_path, poll_s=60.0)
    for manifest, has in ((with_them, True), (without, False), (with_them, True)):
        promoter.promote(store, manifest)
        snapshot = service.follower.refresh()
        assert (snapshot.version_id, snapshot.companions is not None) == (manifest.version_id, has)
    promoter.promote(store, with_them, stage="30")
    moved = service.follower.refresh()
    assert (moved.stage, moved.companions) == ("30", snapshot.companions)
    stop_service(service)


def test_companions_of_another_release_are_not_shown_this_ones_rows(trained: Trained) -> None:
    import onnx

    model = onnx.load_from_string(trained.onnx)
    for entry in model.metadata_props:
        if entry.key == "settings":
            entry.value = entry.value.replace(stock_day_version(), "0123456789abcdef")
    companions = ServedCompanions(model.SerializeToString())
    told = "the version's companions were trained on stock-days 0123456789abcdef, this"
    assert companions.unfit_for(stock_day_version()).startswith(told)
    with pytest.raises(ArtifactRefused, match="cannot open"):
        ServedCompanions(trained.onnx[:200])


def test_one_close_alone_gives_the_rows_of_training(trained: Trained) -> None:
    as_of = trained.closes[-1]
    rows = build_stock_days(trained.panel(), calendar=CALENDAR, as_of=as_of, n_threads=1).rows
    for close in (trained.closes[-1], trained.closes[-8]):
        expected = rows[rows["ts"] == close].reset_index(drop=True)
        alone = inputs_of_close(trained.panel(), close, n_threads=1)
        assert list(alone["symbol"]) == list(expected["symbol"])
        np.testing.assert_allclose(
            alone[list(STOCK_DAY_INPUTS)], expected[list(STOCK_DAY_INPUTS)], rtol=1e-5, atol=1e-6
        )  # fmt: skip


def test_answers_of_a_close_are_computed_once(trained: Trained) -> None:
    companions = ServedCompanions(trained.onnx)
    day = stock_day_of(trained.panel(), trained.closes[-1], source="the bar table")
    assert companions.outlooks(day) is companions.outlooks(day)
    again = replace(day)
    assert companions.outlooks(again) == companions.outlooks(day)


def test_a_batch_of_inputs_and_bars_and_two_closes_is_answered_item_by_item(
    promoted: FolderStore, signer: Signer, trained: Trained, tmp_path: Path
) -> None:
    service = serve(promoted, signer, tmp_path)
    close = trained.closes[-1]
    whole = request(trained, close)
    assert whole.items is not None
    asked = next(item for item in whole.items if item.kind == "stock")
    late = asked.model_copy(update={"symbol": "LATE", "bars": shortened(asked.bars)})
    inputs = SignalRequest(symbol="INPUTS", ts=trained.closes[-3].to_pydatetime(), direction=1, features={})
    mixed = whole.model_copy(update={"items": [*whole.items, late, *inputs.all_items()]})

    signals = service.answer(mixed).to_dict()["signals"]

    require_null(
        [s for s in signals if s["symbol"] == "LATE"],
        "none of the 30 stocks of this request has 500 bars up to this close",
    )
    require_null([s for s in signals if s["symbol"] == "INPUTS"], "no bars of this close are known")
    require_trainers([s for s in signals if s["symbol"] not in ("LATE", "INPUTS")], trained, close)
    stop_service(service)


def shortened(bars: Any) -> Any:
    """All bars but the last."""
    return bars.model_copy(update={name: getattr(bars, name)[:-1] for name in type(bars).model_fields})
