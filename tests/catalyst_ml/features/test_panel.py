import numpy as np
import pandas as pd
import pytest

from catalyst_ml.errors import DataContractError
from catalyst_ml.features.panel import MarketPanel
from tests.catalyst_ml.features.markets import make_panel


def with_bars(panel: MarketPanel, **changes: float) -> MarketPanel:
    """The same panel with values changed in the third bar."""
    bars = panel.bars.copy()
    for column, value in changes.items():
        bars.loc[2, column] = value
    return MarketPanel(bars, panel.instruments, panel.news)


@pytest.fixture(scope="module")
def small() -> MarketPanel:
    return make_panel(n_stocks=2, n_bars=6)


def test_raw_prices_are_refused_with_the_remedy(small):
    with pytest.raises(DataContractError, match=r"1 bars carry a split_factor.*S00.*\(2\.0\).*adjust_for_splits"):
        with_bars(small, split_factor=2.0)


@pytest.mark.parametrize("changes", [{"close": -1.0}, {"low": 0.0}, {"high": np.inf}, {"open": 1e6}])
def test_a_stock_bar_that_cannot_be_is_refused(small, changes):
    with pytest.raises(DataContractError, match=r"1 of 24 bars.*first S00.*Quarantine"):
        with_bars(small, **changes)


def test_an_index_may_open_outside_its_range_as_published_vix_bars_do(small):
    bars = small.bars.copy()
    bars.loc[bars["symbol"] == "VIX", "open"] = 500.0

    MarketPanel(bars, small.instruments, small.news)


def test_bars_of_an_unknown_instrument_are_refused_by_name(small):
    with pytest.raises(DataContractError, match=r"no instrument, first \['S01'\]"):
        MarketPanel(small.bars, small.instruments[small.instruments["symbol"] != "S01"], small.news)


def test_a_cut_panel_holds_nothing_after_the_cut():
    panel = make_panel(n_stocks=2, n_bars=6, news=[("S00", "2010-01-05 21:00"), ("S00", "2010-01-05 21:01")])

    cut = panel.known_at(pd.Timestamp("2010-01-05 21:00", tz="UTC"))

    assert cut.bars.groupby("symbol").size().to_dict() == {"S00": 2, "S01": 2, "SPY": 2, "VIX": 2}
    assert len(cut.news) == 1
