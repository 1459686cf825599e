"""The process for bars answers as the reader in this process does; what is written twice for its sake is the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from catalyst_ml.errors import DataContractError
from catalyst_ml.features import event_names, events
from catalyst_ml.features.catalysts import CATALYST_FEATURES
from catalyst_ml.features.line_inputs import INTRADAY_INPUTS
from catalyst_ml.features.panel import MarketPanel
from catalyst_ml.features.stock_days import STOCK_DAY_INPUTS, build_stock_days, stock_day_version
from catalyst_ml.indicators import places, ranks
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.corporate_actions import adjust_for_splits
from catalyst_ml.market.simulator import simulate_market
from catalyst_ml.models.companion_graph import export_companions
from catalyst_ml.models.companion_settings import CompanionSettings, DayTreeSettings
from catalyst_ml.models.companions import fit_companions
from catalyst_ml.registry.artifact_store import FolderStore
from catalyst_ml.registry.signatures import Signer
from catalyst_ml.serving.bars_reader import BarsReader
from catalyst_ml.serving.following import StorePlace
from catalyst_ml.serving.market_context import ContextSource
from catalyst_ml.serving.requests import SignalRequest
from catalyst_ml.serving.upstream import AnalyzePattern, GenerateSignal, Predict
from tests.catalyst_ml.serving.bars_desks import process, read_table
from tests.catalyst_ml.serving.running import DeskHere, make_service, stop_service
from tests.catalyst_ml.serving.small_versions import LINE, Promoter, tiny_onnx

SMALL = DayTreeSettings(n_trees=5, max_depth=3, learning_rate=0.2, reg_lambda=10.0)
INPUTS = {"symbol": "ACME", "direction": 1, "features": {"rule_score": 65.0, "rule_agreement": 1.0}}


@pytest.fixture(scope="module")
def market_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bars, instruments and news of a market, and companions fitted on it."""
    folder = tmp_path_factory.mktemp("market")
    market = simulate_market("middle", seed=3, n_symbols=24, n_sessions=556)
    last = market.bars["ts"].max()
    bars = adjust_for_splits(market.bars, as_of=last)
    for name, frame in (("bars", bars), ("instruments", market.instruments), ("news", market.news)):
        frame.to_parquet(folder / f"{name}.parquet")
    panel = MarketPanel(bars, market.instruments, market.news)
    rows = build_stock_days(panel, calendar=TradingCalendar(), as_of=last, n_threads=1).rows
    settings = CompanionSettings(
        inputs=STOCK_DAY_INPUTS, stock_day_version=stock_day_version(), min_training_days=30,
        move=SMALL, rank=SMALL, rank_5=SMALL,
    )  # fmt: skip
    (folder / "companions.onnx").write_bytes(export_companions(fit_companions(rows, settings, n_threads=1)))
    return folder


def bodies(folder: Path) -> Iterator[tuple[type[Any], dict[str, Any]]]:
    """Requests of every kind on the market's last close."""
    bars, about = (pd.read_parquet(folder / f"{name}.parquet") for name in ("bars", "instruments"))
    kinds = about.set_index("symbol")["kind"]
    items = []
    for symbol, own in bars.groupby("symbol"):
        kept = own.tail(500)
        columns = {name: kept[name].tolist() for name in ("open", "high", "low", "close", "volume")}
        columns["ts"] = [ts.isoformat() for ts in kept["ts"]]
        items.append({"symbol": symbol, "kind": kinds[symbol], "bars": columns})
    stocks = [item for item in items if item["kind"] == "stock"]
    last = bars["ts"].max().isoformat()
    yield SignalRequest, {**INPUTS, "ts": last}
    yield SignalRequest, {"items": items, "universe": "request"}
    yield SignalRequest, {"items": [{"symbol": item["symbol"]} for item in stocks]}
    yield SignalRequest, stocks[3]
    yield SignalRequest, {**INPUTS, "ts": last, "symbol": stocks[0]["symbol"]}
    yield (
        SignalRequest,
        {"items": [INPUTS, stocks[1], {"symbol": "NOBODY"}, {**INPUTS, "ts": last}], "open_positions": 2},
    )
    yield SignalRequest, {**stocks[2], "timeframe": "1h"}
    yield AnalyzePattern, {**stocks[4], "context": {"type": "merger", "score": 80.0}}
    yield GenerateSignal, {"symbol": stocks[5]["symbol"]}
    yield Predict, {"symbol": stocks[6]["symbol"], "direction": -1, "features": {"rule_score": 1.0}}


def told(answered: tuple[Any, Any]) -> dict[str, Any]:
    """An answer without what differs from one to the next."""
    body, answer = answered
    signals = [{**signal.to_dict(), "answer_id": None} for signal in answer.signals]
    return {**answer.to_dict(), "signals": signals, "body": body.symbol, "n_bars": answer.n_bars}


def test_the_process_answers_bit_for_bit_as_the_reader_itself(
    market_folder: Path, store: FolderStore, signer: Signer, tmp_path: Path
) -> None:
    promoter = Promoter(signer)
    companions = (market_folder / "companions.onnx").read_bytes()
    promoter.promote(store, promoter.publish(store, tiny_onnx(0.6, slope=0.3), companions=companions))
    places = [StorePlace("disk", store)]
    here = make_service(tmp_path / "here", places, signer.public_keys, contexts=ContextSource(None))
    there = make_service(tmp_path / "there", places, signer.public_keys)
    here.bars = DeskHere(read_table(market_folder))
    there.bars = process(read_table, market_folder)
    now = datetime(2026, 11, 27, 12, tzinfo=UTC)
    try:
        arms, ranks = set(), []
        for model, body in bodies(market_folder):
            raw = json.dumps(body).encode()
            mine, its = (told(one.answer_body(model, raw, now=now)) for one in (here, there))
            assert mine == its
            arms |= {signal["arm"] for signal in its["signals"]}
            ranks.append([signal["rank_next_session"] for signal in its["signals"]])
        assert arms == {"blend", "hold", "rules"}
        assert ranks[0] == [None]  # inputs alone, before any close was asked about
        assert [len(ranks[1]) > 20, len(ranks[2]) > 20] == [True, True]
        assert any(rank is not None for rank in ranks[2])
        assert ranks[4] != [None]  # the bar table's stocks of the close are kept
        assert there.bars.bar_table == "ok"
        assert len(there._days) == 1
    finally:
        stop_service(here)
        stop_service(there)


def test_companions_of_another_release_are_said_to_be_unfit(
    market_folder: Path, store: FolderStore, signer: Signer, tmp_path: Path
) -> None:
    import onnx

    model = onnx.load_from_string((market_folder / "companions.onnx").read_bytes())
    for entry in model.metadata_props:
        if entry.key == "settings":
            entry.value = entry.value.replace(stock_day_version(), "0123456789abcdef")
    promoter = Promoter(signer)
    promoter.promote(store, promoter.publish(store, tiny_onnx(0.6), companions=model.SerializeToString()))
    service = make_service(
        tmp_path, [StorePlace("disk", store)], signer.public_keys, contexts=read_table(market_folder).contexts
    )
    _, body = list(bodies(market_folder))[3]
    for answered in service.answer(SignalRequest.model_validate_json(json.dumps(body))).signals:
        assert answered.rank_next_session is None
        assert "trained on stock-days 0123456789abcdef" in answered.outlook_reason
    stop_service(service)


def test_names_written_out_are_those_that_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert event_names.EVENT_COLUMN_NAMES == events.EVENT_COLUMNS
    assert tuple(CATALYST_FEATURES) == event_names.CATALYST_FEATURE_NAMES
    assert INTRADAY_INPUTS == event_names.INTRADAY_INPUT_NAMES
    monkeypatch.setattr(event_names, "EVENT_COLUMN_NAMES", (*events.EVENT_COLUMNS[1:], "new"))
    with pytest.raises(DataContractError, match=r"differing are .*new"):
        BarsReader(LINE, ContextSource(None))


def test_plain_places_are_the_compiled_ones() -> None:
    rng = np.random.default_rng(5)
    for n in (0, 1, 9, 10, 98):
        values = np.where(rng.random(n) < 0.1, np.nan, rng.integers(0, 30, n).astype(np.float64))
        bounds = np.array([0, n // 2, n], dtype=np.int64)
        plain, compiled = (module.places_within(values, bounds, 5) for module in (places, ranks))
        np.testing.assert_array_equal(plain, compiled)
