"""Cross-sectional inputs against plain loops over the frames."""

import numpy as np
import pandas as pd
import pytest

from catalyst_ml.features.cross_section import cross_sectional_inputs
from catalyst_ml.features.panel import MarketPanel
from tests.catalyst_ml.features.markets import make_panel


def values_by_key(panel: MarketPanel, name: str) -> dict[tuple[str, pd.Timestamp], float]:
    values = cross_sectional_inputs(panel)[name]
    return dict(zip(zip(panel.bars["symbol"], panel.bars["ts"], strict=True), values, strict=True))


def closes(panel: MarketPanel) -> dict[str, list[tuple[pd.Timestamp, float]]]:
    return {
        str(symbol): list(zip(own["ts"], own["close"], strict=True)) for symbol, own in panel.bars.groupby("symbol")
    }


def without(panel: MarketPanel, is_left_out: pd.Series) -> MarketPanel:
    return MarketPanel(panel.bars[~is_left_out].reset_index(drop=True), panel.instruments, panel.news)


def test_breadth_agrees_with_a_loop_and_counts_stocks_only():
    panel = make_panel(n_bars=8)
    got = values_by_key(panel, "breadth")

    for i in range(1, 8):
        moves = [np.sign(own[i][1] - own[i - 1][1]) for name, own in closes(panel).items() if name.startswith("S0")]
        moves += [np.sign(own[i][1] - own[i - 1][1]) for name, own in closes(panel).items() if name[:2] in ("S1", "S2")]
        assert len(moves) == 24
        assert got["S00", closes(panel)["S00"][i][0]] == pytest.approx(sum(moves) / 24, abs=1e-15)


def test_breadth_is_missing_on_the_first_session_and_in_a_universe_under_20_stocks():
    first = make_panel(n_bars=3).bars["ts"].min()

    assert np.isnan(values_by_key(make_panel(n_bars=3), "breadth")["S00", first])
    assert np.isnan(cross_sectional_inputs(make_panel(n_stocks=19, n_bars=3))["breadth"]).all()
    assert np.isfinite(values_by_key(make_panel(n_stocks=20, n_bars=3), "breadth")["S00", first + pd.Timedelta("1D")])


def test_sector_return_is_the_mean_of_the_other_members_over_five_sessions():
    panel = make_panel(n_stocks=7, n_bars=9)
    got = values_by_key(panel, "sector_return")
    history = closes(panel)
    sector_of = panel.instruments.set_index("symbol")["sector"].dropna().to_dict()

    for name in (n for n in history if n.startswith("S0")):
        for i in range(9):
            ts = history[name][i][0]
            others = [n for n in sector_of if n != name and sector_of.get(name) == sector_of[n]]
            if i < 5 or name not in sector_of:
                assert np.isnan(got[name, ts])
            else:
                expected = np.mean([history[n][i][1] / history[n][i - 5][1] - 1 for n in others])
                assert got[name, ts] == pytest.approx(expected, rel=1e-12)


def test_a_sector_of_one_member_has_no_others():
    panel = make_panel(n_stocks=3, n_bars=9, sectors=("tech", "tech", "energy"))

    values = values_by_key(panel, "sector_return")

    last = panel.bars["ts"].max()
    assert np.isfinite(values["S00", last])
    assert np.isnan(values["S02", last])


def test_market_levels_are_the_last_closed_ones_and_expire_after_a_week():
    panel = make_panel(n_stocks=1, n_bars=20)
    vix = closes(panel)["VIX"]
    cut = without(panel, (panel.bars["symbol"] == "VIX") & (panel.bars["ts"] > vix[2][0]))

    got = values_by_key(cut, "volatility_close")

    assert [got["S00", ts] for ts, _ in vix[:3]] == [level for _, level in vix[:3]]
    # Sessions 3 to 7 lie up to seven days after session 2 (a Wednesday), the next one eight.
    assert [got["S00", ts] for ts, _ in vix[3:8]] == [vix[2][1]] * 5
    assert np.isnan([got["S00", ts] for ts, _ in vix[8:]]).all()


def test_without_market_sectors_and_news_their_inputs_are_missing_not_zero():
    panel = make_panel(n_stocks=2, n_bars=9, sectors=(None,))
    bare = without(panel, panel.bars["symbol"].isin(["SPY", "VIX"]))

    for name, values in cross_sectional_inputs(bare).items():
        assert np.isnan(values).all(), name


def test_news_counts_from_publication_for_24_hours_and_is_unknown_before_the_first_story():
    panel = make_panel(
        n_stocks=2,
        n_bars=6,
        news=[("S00", "2010-01-05 21:00"), ("S00", "2010-01-07 21:00:01"), ("S01", "2010-01-07 20:00")],
    )
    got = values_by_key(panel, "has_news")
    days = sorted(panel.bars["ts"].unique())

    # Monday 4th to Monday 11th; a story at the close counts for that bar, one a second later for the next.
    np.testing.assert_array_equal([got["S00", ts] for ts in days], [np.nan, 1, 0, 0, 1, 0])
    np.testing.assert_array_equal([got["S01", ts] for ts in days], [np.nan, 0, 0, 1, 0, 0])
