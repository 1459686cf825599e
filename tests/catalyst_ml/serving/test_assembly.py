"""The whole server from its settings, on a real database: bar table in, ledger out, and what is missing said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, text

from catalyst_ml.errors import ConfigurationError
from catalyst_ml.features.catalysts import add_catalysts
from catalyst_ml.features.engine import compute_features
from catalyst_ml.features.events import EVENT_COLUMNS, event_inputs
from catalyst_ml.features.panel import MarketPanel
from catalyst_ml.features.universe import add_universe_means
from catalyst_ml.market import rules
from catalyst_ml.market.corporate_actions import adjust_for_splits
from catalyst_ml.market.detector import detect_events
from catalyst_ml.market.simulator import simulate_market
from catalyst_ml.registry.artifact_store import FolderStore
from catalyst_ml.registry.signatures import create_key
from catalyst_ml.serving.assembly import Server, assemble
from catalyst_ml.serving.requests import SignalRequest
from catalyst_ml.settings import DatabaseSettings, HomeSettings, ServingSettings, Settings
from catalyst_ml.store.bar_import import SIMULATED_SOURCE, write_bars
from catalyst_ml.store.bars import write_instruments, write_news
from tests.catalyst_ml.serving.running import wait_until
from tests.catalyst_ml.serving.small_versions import INPUTS, LINE, Promoter, tiny_onnx


class Whole(NamedTuple):
    """An assembled server, its database, and the events of the newest close as training has them."""

    server: Server
    database: Engine
    inputs: pd.DataFrame


@pytest.fixture
def whole(database: Engine, database_url: str, tmp_path: Path) -> Iterator[Whole]:
    market = simulate_market("middle", seed=6, n_symbols=16, n_sessions=560)
    now = market.bars["ts"].max() + pd.Timedelta(hours=3)
    write_bars(database, market.bars, dataset=LINE.dataset, timeframe="1d", source=SIMULATED_SOURCE, name="m", now=now)
    write_instruments(database, market.instruments, dataset=LINE.dataset)
    write_news(database, market.news, dataset=LINE.dataset)
    store, promoter = FolderStore(tmp_path / "artifacts"), Promoter(create_key(tmp_path / "keys" / "signing.pem"))
    promoter.promote(store, promoter.publish(store, tiny_onnx(0.85)))
    server = assemble(settings(tmp_path, database=DatabaseSettings(url=SecretStr(database_url))))
    yield Whole(server, database, trained_inputs(market))
    server.stop()


def settings(home: Path, **parts: Any) -> Settings:
    serving = ServingSettings(dataset=LINE.dataset, timeframe=LINE.timeframe, label_version=LINE.label_version)
    return Settings(**{"home": HomeSettings(home=home), "serving": serving, **parts})


def trained_inputs(market: Any) -> pd.DataFrame:
    """Inputs of the newest close's events from the whole history, as the weekly flow computes them."""
    last = market.bars["ts"].max()
    bars = adjust_for_splits(market.bars, as_of=last)
    events = detect_events(bars, market.instruments)
    panel = MarketPanel(bars, market.instruments, market.news)
    at = events[["symbol", "ts"]].drop_duplicates(ignore_index=True)
    features = add_catalysts(panel, add_universe_means(panel, compute_features(panel, at)))
    inputs = event_inputs(events, features, rules.score_events(events, bars, market.news))
    return inputs[inputs["ts"] == last].reset_index(drop=True)


@pytest.mark.server
def test_named_symbols_are_answered_from_the_table_and_reach_the_ledger(whole: Whole) -> None:
    service = whole.server.service
    names = sorted(whole.inputs["symbol"].unique())
    judged: list[Any] = []
    original = service._judge.judge
    service._judge.judge = lambda *a, **k: judged.extend(a[1]) or original(*a, **k)  # type: ignore[method-assign]
    answer = service.answer(SignalRequest.model_validate({"items": [{"symbol": name} for name in names]}))
    assert service.bars.bar_table == "ok"
    by_key = {(event.symbol, event.direction): event for event in judged if not event.unfit}
    expected = whole.inputs.set_index(["symbol", "direction"])
    assert len(by_key) >= 2
    for key, event in by_key.items():
        served = np.array([event.inputs[name] for name in EVENT_COLUMNS], dtype=np.float64)
        np.testing.assert_allclose(
            served, expected.loc[key, list(EVENT_COLUMNS)].to_numpy(dtype=np.float64), rtol=1e-6, atol=1e-6
        )
    assert set(INPUTS) <= set(EVENT_COLUMNS)
    assert {signal.arm for signal in answer.signals} >= {"ml"}
    sent = {signal.answer_id: signal.action for signal in answer.signals}

    def kept() -> dict[str, str]:
        with whole.database.connect() as connection:
            rows = connection.execute(text("SELECT answer_id::text, action FROM catalyst_ml.served_signals")).all()
        return {row.answer_id: row.action for row in rows}

    wait_until(lambda: kept() == sent, "the answers reach the table", seconds=30)


def test_beyond_loopback_without_a_key_nothing_is_built(tmp_path: Path) -> None:
    open_to_all = ServingSettings(host="0.0.0.0", label_version=LINE.label_version)
    with pytest.raises(ConfigurationError, match="SERVE_API_KEY is not set"):
        assemble(settings(tmp_path, serving=open_to_all))


def test_a_database_that_is_not_there_delays_no_answer(tmp_path: Path) -> None:
    nowhere = DatabaseSettings(url=SecretStr("postgresql://a:secret@127.0.0.1:9/x"), connect_timeout_s=1)
    server = assemble(settings(tmp_path, database=nowhere))
    try:
        answer = server.service.answer(SignalRequest.model_validate({"symbol": "ACME"}))
        assert answer.recorded
        (signal,) = answer.signals
        assert signal.arm == "hold"
        assert "127.0.0.1:9" in signal.reason
        assert "secret" not in signal.reason
    finally:
        server.stop()
