"""Intraday bars of a request give the rows of an intraday line's training, the time of the session among them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from catalyst_ml.features.alterations import Sources
from catalyst_ml.features.event_replay import event_rows
from catalyst_ml.features.line_inputs import INTRADAY_INPUTS, event_columns
from catalyst_ml.features.panel import MarketPanel
from catalyst_ml.market import rules
from catalyst_ml.serving.bars_in import SymbolBars, see_events
from catalyst_ml.serving.requests import Item, feature_event
from tests.catalyst_ml.features.intraday_markets import make_intraday_panel

PRICES = ("open", "high", "low", "close", "volume")


@pytest.fixture(scope="module")
def market() -> MarketPanel:
    return make_intraday_panel(n_stocks=12, before_open=0, last="2012-11-30")


@pytest.fixture(scope="module")
def rows(market: MarketPanel) -> pd.DataFrame:
    return event_rows(Sources(market), timeframe="30m")


def sent(market: MarketPanel, close: pd.Timestamp) -> list[SymbolBars]:
    about = market.instruments.set_index("symbol")
    made = []
    for symbol, bars in market.bars[market.bars["ts"] <= close].groupby("symbol"):
        own, sector = bars.tail(500), about.loc[symbol, "sector"]
        if own["ts"].iloc[-1] != close:
            continue
        columns: dict[str, Any] = {name: own[name].to_numpy() for name in PRICES}
        kind = str(about.loc[symbol, "kind"])
        made.append(
            SymbolBars(
                symbol=str(symbol), ts=pd.DatetimeIndex(own["ts"]), kind=kind, is_answered=kind == "stock",
                sector=None if pd.isna(sector) else str(sector), **columns,
            )
        )  # fmt: skip
    return made


def test_the_bars_of_a_close_give_the_rows_of_training(market: MarketPanel, rows: pd.DataFrame) -> None:
    n_compared = 0
    with_history = rows[rows[INTRADAY_INPUTS[1]].notna()]
    for close in with_history["ts"].drop_duplicates().iloc[[-1, -8, -30]]:
        seen = see_events(
            sent(market, close), [], arm=rules.rule_arm(), timeframe="30m", calendar=market.calendar, context=None
        )
        trained = rows[rows["ts"] == close].set_index(["symbol", "direction"])
        fit = [event for event in seen.events if not event.unfit]
        assert {(event.symbol, event.direction) for event in seen.events} == set(trained.index)
        for event in fit:
            assert set(event.inputs) == set(event_columns("30m"))
            served = np.array([event.inputs[name] for name in event_columns("30m")], dtype=np.float64)
            expected = trained.loc[(event.symbol, event.direction), list(event_columns("30m"))]
            # No story was sent: what they say is missing, as it must be, and not compared.
            keep = np.array(["catalyst" not in name and "news" not in name for name in event_columns("30m")])
            np.testing.assert_allclose(
                served[keep], expected.to_numpy(dtype=np.float64)[keep], rtol=1e-6, atol=1e-6, err_msg=event.symbol
            )
            assert np.isfinite([event.inputs[name] for name in INTRADAY_INPUTS]).all()
        n_compared += len(fit)
    assert n_compared >= 3


def test_the_inputs_of_an_intraday_line_are_known_by_name() -> None:
    item = Item(symbol="A", direction=1, features=dict.fromkeys(INTRADAY_INPUTS, 0.5))
    assert feature_event(item, "request").inputs == dict.fromkeys(INTRADAY_INPUTS, 0.5)
