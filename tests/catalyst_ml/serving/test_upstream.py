"""The trading system's own paths on real events: patterns, levels and news as its services would have them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

from catalyst_ml.features.panel import MarketPanel
from catalyst_ml.frames import PATTERNS, pattern_column
from catalyst_ml.market.corporate_actions import adjust_for_splits
from catalyst_ml.market.detector import detect_events
from catalyst_ml.market.rules_v213 import PATTERN_RULES
from catalyst_ml.market.simulator import simulate_market
from catalyst_ml.registry.artifact_store import FolderStore
from catalyst_ml.registry.signatures import Signer
from catalyst_ml.serving.following import StorePlace
from catalyst_ml.serving.market_context import ContextSource
from tests.catalyst_ml.serving.running import RunningServer, make_service
from tests.catalyst_ml.serving.small_versions import Promoter, tiny_onnx


class Traded(NamedTuple):
    """A server that reads a bar table, and the events of the table's newest close."""

    server: RunningServer
    events: pd.DataFrame
    bars: pd.DataFrame


@pytest.fixture(scope="module")
def traded(tmp_path_factory: pytest.TempPathFactory, signer: Signer) -> Iterator[Traded]:
    home = tmp_path_factory.mktemp("traded")
    market = simulate_market("middle", seed=5, n_symbols=24, n_sessions=560)
    last = market.bars["ts"].max()
    bars = adjust_for_splits(market.bars, as_of=last)
    events = detect_events(bars, market.instruments)

    class Table:
        def newest_close(self) -> pd.Timestamp:
            return last

        def panel_at(self, close: pd.Timestamp) -> MarketPanel:
            return MarketPanel(bars, market.instruments, market.news)

        def released_bars(self) -> pd.DataFrame:
            return pd.DataFrame({"symbol": [], "ts": []})

    store, promoter = FolderStore(home / "store"), Promoter(signer)
    promoter.promote(store, promoter.publish(store, tiny_onnx(0.85)))
    service = make_service(
        home, [StorePlace("disk", store)], signer.public_keys, contexts=ContextSource(Table()), poll_s=60.0
    )
    with RunningServer(service) as server:
        yield Traded(server, events[events["ts"] == last].reset_index(drop=True), bars)


def one_event(traded: Traded) -> pd.Series:
    """An event whose symbol has no other event at the close, with enough history for the model."""
    counts = traded.bars.groupby("symbol").size()
    lone = traded.events.groupby("symbol").filter(lambda rows: len(rows) == 1)
    return next(row for _, row in lone.iterrows() if counts[row["symbol"]] >= 500)


def test_patterns_of_a_symbol_named_alone_come_from_the_bar_table(traded: Traded) -> None:
    event = one_event(traded)
    answer = traded.server.ask("/analyze_pattern", {"symbol": event["symbol"], "timeframe": "1d"}).json()
    seen = {name for name in PATTERNS if event[pattern_column(name)]}
    assert {item["pattern_name"] for item in answer["patterns"]} == seen
    families = {rule.pattern: rule.family for rule in PATTERN_RULES}
    for item in answer["patterns"]:
        assert item["pattern_direction"] == {1: "bullish", -1: "bearish"}[event["direction"]]
        assert item["pattern_type"] == families[item["pattern_name"]]
        assert item["final_confidence"] == pytest.approx(85.0, abs=0.01)
        assert item["arm"] == "ml"
        assert item["catalyst_multiplier"] == 1.0
    assert answer["fallback_reason"] is None if "fallback_reason" in answer else True


def test_a_signal_has_the_rules_levels_around_the_last_close(traded: Traded) -> None:
    event = one_event(traded)
    bars = traded.bars[traded.bars["symbol"] == event["symbol"]].tail(500)
    signal = traded.server.ask("/generate_signal", {"symbol": event["symbol"]}).json()["signal"]
    side = int(event["direction"])
    assert signal["action"] == {1: "BUY", -1: "SELL"}[side]
    assert signal["signal_type"] == {1: "LONG", -1: "SHORT"}[side]
    price, reach = float(bars["close"].iloc[-1]), wilder_range(bars)
    assert signal["entry_price"] == pytest.approx(price, abs=1e-3)
    assert signal["stop_loss"] == pytest.approx(price - side * 2 * reach, rel=1e-3)
    assert signal["take_profit"] == pytest.approx(price + side * 3 * reach, rel=1e-3)


def wilder_range(bars: pd.DataFrame, n: int = 14) -> float:
    """Average true range by a plain loop."""
    value = 0.0
    for i in range(1, len(bars)):
        high, low, before = bars["high"].iloc[i], bars["low"].iloc[i], bars["close"].iloc[i - 1]
        true_range = max(high - low, abs(high - before), abs(low - before))
        value = value + true_range / n if i <= n else (value * (n - 1) + true_range) / n
    return float(value)


def test_news_handed_on_by_the_caller_reaches_the_rules(traded: Traded) -> None:
    event = one_event(traded)
    quiet = traded.server.ask("/predict", {"symbol": event["symbol"]}).json()
    news = {"type": "earnings_beat", "score": 90, "sentiment": "positive"}
    bars = traded.bars[traded.bars["symbol"] == event["symbol"]].tail(500)
    sent = {name: bars[name].tolist() for name in ("open", "high", "low", "close", "volume")}
    sent["ts"] = [ts.isoformat() for ts in bars["ts"]]
    body: dict[str, Any] = {"symbol": event["symbol"], "bars": sent}
    same = traded.server.ask("/v1/signals", body).json()["signals"][0]
    told = traded.server.ask("/analyze_pattern", {**body, "context": news}).json()
    assert same["probability"] == pytest.approx(quiet["probability"])
    expected = {(r.pattern, r.direction): min(100.0, r.base * r.times_positive) / r.base for r in PATTERN_RULES}
    for item in told["patterns"]:
        direction = int(event["direction"])
        bare = expected.get((item["pattern_name"], direction), expected.get((item["pattern_name"], 0)))
        assert bare is not None
        assert item["catalyst_multiplier"] != 1.0
        assert item["catalyst_aligned"] is (direction == 1)
    assert told["catalyst_context"] == {**news, "score": 90.0}


def test_detect_keeps_what_is_sure_enough(traded: Traded) -> None:
    event = one_event(traded)
    body = {"symbol": event["symbol"], "lookback_bars": 60}
    everything = traded.server.ask("/api/v1/detect", {**body, "min_confidence": 0.8}).json()
    nothing = traded.server.ask("/api/v1/detect", {**body, "min_confidence": 0.9}).json()
    assert everything["count"] == int(np.sum([event[pattern_column(name)] for name in PATTERNS]))
    assert nothing["count"] == 0


def test_another_timeframe_or_feature_set_is_left_to_the_rules(traded: Traded) -> None:
    event = one_event(traded)
    reader = traded.server.service.bars.reader  # type: ignore[attr-defined]
    known = reader.versions
    reader.versions = known._replace(inputs="0123456789abcdef")
    try:
        signal = traded.server.ask("/v1/signals", {"symbol": event["symbol"]}).json()["signals"][0]
    finally:
        reader.versions = known
    assert (signal["arm"], signal["p_ml"]) == ("rules", None)
    assert "install the release that trained it" in signal["fallback_reason"]
