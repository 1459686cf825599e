"""The step of the companion models: its result is plain JSON, and too little history is a reason, not a failure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest

from catalyst_ml.features.stock_days import stock_day_version
from catalyst_ml.market.corporate_actions import adjust_for_splits
from catalyst_ml.market.simulator import SimulatedMarket, simulate_market
from catalyst_ml.models.companion_serving import companion_version, open_companions
from catalyst_ml.models.companions import COMPANION_PREDICTIONS
from catalyst_ml.report.companion_parts import companions_part
from tasks import companions, connections

NO_BREAKS = pd.DataFrame(
    {"symbol": pd.Series(dtype="str"), "ts": pd.Series(dtype="datetime64[us, UTC]")}
)  # what tasks.quality.set_aside_bars hands on when nothing is held


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedMarket]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("CATALYST_HOME", str(tmp_path_factory.mktemp("home")))
        _forget_connections()
        yield simulate_market("none", seed=3, n_symbols=14, n_sessions=860)
    _forget_connections()


def run(market: SimulatedMarket, breaks: pd.DataFrame, *, as_of: pd.Timestamp) -> dict[str, Any]:
    bars = adjust_for_splits(market.bars, as_of=as_of)
    stored = {
        "bars": connections.store_frame("bars", bars),
        "timeframe": "1d",
        "instruments": connections.store_frame("instruments", market.instruments),
        "news": connections.store_frame("news", market.news),
    }
    held = connections.store_frame("held_breaks", breaks)
    result: dict[str, Any] = companions.companions.fn(stored, held, as_of.isoformat(), 42, 1)
    return result


def test_the_result_is_json_with_predictions_evaluation_and_todays_stocks(market: SimulatedMarket) -> None:
    as_of = market.bars["ts"].max()
    broken = market.bars[market.bars["symbol"] == "S001"].iloc[-40:-39][["symbol", "ts"]]

    result = run(market, broken.reset_index(drop=True), as_of=as_of)

    assert json.loads(json.dumps(result, allow_nan=False)) == result
    predictions = COMPANION_PREDICTIONS.validate(connections.load_frame(result["predictions"]))
    newest = predictions[predictions["ts"] == as_of]
    assert [stock["symbol"] for stock in result["stocks"]] == newest.sort_values(
        ["rank", "symbol"], ascending=[False, True]
    )["symbol"].tolist()
    assert "S001" not in set(newest["symbol"])  # it sees the break that is held
    assert "S002" in set(newest["symbol"])
    graph = connections.load_bytes(result["onnx"])
    assert result["parity"]["passed"] is True
    assert companion_version(open_companions(graph)) == stock_day_version()
    part = companions_part(result)
    assert part.rows == result["evaluation"]["move"]["rows"] > 0
    assert len(part.stocks) == len(newest)


def test_too_short_a_history_is_a_reason_and_not_a_failure(market: SimulatedMarket) -> None:
    as_of = market.bars["ts"].drop_duplicates().sort_values().iloc[-250]

    result = run(market, NO_BREAKS, as_of=as_of)

    assert "Import earlier bars" in result["reason"]
    assert result["predictions"] is None
    assert result["onnx"] is None
    assert companions_part(result).reason == result["reason"]


def _forget_connections() -> None:
    for cached in (connections.settings, connections.snapshots):
        cached.cache_clear()
