"""The step that computes features: its result says where they were computed, and nothing that the clock changes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest

from catalyst_ml.features.engine import compute_features
from catalyst_ml.features.panel import MarketPanel
from tasks import connections, dataset
from tests.catalyst_ml.features.markets import make_panel, stock_rows


@pytest.fixture
def panel(tmp_path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MarketPanel]:
    monkeypatch.setenv("CATALYST_HOME", str(tmp_path))
    _forget_connections()
    yield make_panel(n_stocks=3, n_bars=40)
    _forget_connections()


def test_features_name_the_device_and_the_reason_and_are_the_same_when_repeated(panel: MarketPanel) -> None:
    rows = stock_rows(panel).sample(30, random_state=1, ignore_index=True)

    first, again = computed(panel, rows), computed(panel, rows)

    assert first == again
    assert first["device"] == {
        "device": "cpu",
        "name": "CPU",
        "reason": "120 bars: below 1,000,000 a GPU would take longer to start than the CPU to finish",
        "on_host": {},
    }
    stored = connections.load_frame(first["features"])
    expected = compute_features(panel, rows)
    pd.testing.assert_frame_equal(stored[expected.columns], expected)


def computed(panel: MarketPanel, rows: pd.DataFrame) -> dict[str, Any]:
    names = ("bars", "instruments", "news")
    market = {"timeframe": "1d"} | {name: connections.store_frame(name, getattr(panel, name)) for name in names}
    return dataset.features_at_events.fn(connections.store_frame("events", rows), market)


def _forget_connections() -> None:
    for cached in (connections.settings, connections.snapshots):
        cached.cache_clear()
