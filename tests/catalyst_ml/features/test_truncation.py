"""Promise 1: no feature changes when the future is taken away; planted leaks are caught."""

import numpy as np
import pandas as pd
import pytest

from catalyst_ml.errors import DataContractError
from catalyst_ml.features.catalogue import CATALOGUE, FEATURE_NAMES, FeatureSpec
from catalyst_ml.features.engine import compute_features
from catalyst_ml.features.panel import MarketPanel
from catalyst_ml.features.truncation import truncation_replay
from tests.catalyst_ml.features.markets import stock_rows

WATCHED = ("S00", "S01", "S02", "S23")


def plant(name: str, compute, inputs: tuple[str, ...] = ("close",)) -> tuple[FeatureSpec, ...]:
    """A catalogue of one feature that should not exist."""
    return (FeatureSpec(name, "technical", inputs, 1, "", "planted", 1, compute),)


@pytest.fixture(scope="module")
def rows(panel) -> pd.DataFrame:
    return stock_rows(panel).query("symbol in @WATCHED").reset_index(drop=True)


@pytest.fixture(scope="module")
def cuts(panel) -> list[pd.Timestamp]:
    """Before the first story, at its session, and late, when recursive indicators are known."""
    closes = sorted(panel.bars["ts"].unique())
    return [closes[i] for i in (30, 106, 505, 520, 538)]


@pytest.fixture(scope="module")
def replay(panel, rows, cuts) -> pd.DataFrame:
    return truncation_replay(panel, rows, cuts)


@pytest.mark.parametrize("name", FEATURE_NAMES)
def test_cutting_off_the_future_changes_no_value_of(name, replay, panel, rows, cuts):
    at_last_cut = compute_features(panel, rows[rows["ts"] <= cuts[-1]])[name]

    # A feature that is missing everywhere would pass any replay.
    assert at_last_cut.notna().any() == (name != "options_activity")
    assert replay[replay["feature"] == name].empty


@pytest.mark.parametrize("name", FEATURE_NAMES)
def test_changing_the_future_changes_no_past_value_of(name, perturbed, panel, rows, cuts):
    past = rows[rows["ts"] <= cuts[2]]

    np.testing.assert_array_equal(perturbed[name], compute_features(panel, past)[name])


@pytest.fixture(scope="module")
def perturbed(panel, rows, cuts) -> pd.DataFrame:
    """Features up to the third cut in a market whose later prices, volumes and news are others."""
    bars = panel.bars.copy()
    later = bars["ts"] > cuts[2]
    bars.loc[later, ["open", "high", "low", "close"]] *= 3.0
    bars.loc[later, "volume"] *= 7.0
    news = panel.news[panel.news["published_at"] <= cuts[2]]
    return compute_features(MarketPanel(bars, panel.instruments, news), rows[rows["ts"] <= cuts[2]])


def shifted_close(close):
    return np.append(close[1:], np.nan)


def centred_mean(close):
    padded = np.pad(close, 2, mode="edge")
    return np.convolve(padded, np.full(5, 0.2), mode="valid")


def whole_sample_z_score(close):
    return (close - close.mean()) / close.std()


def rank_in_all_history(close):
    return np.argsort(np.argsort(close)) / close.size


def backfilled(volume):
    known = np.where(volume > np.median(volume), volume, np.nan)
    return pd.Series(known).bfill().to_numpy()


@pytest.mark.parametrize(
    ("compute", "column"),
    [
        (shifted_close, "close"),
        (centred_mean, "close"),
        (whole_sample_z_score, "close"),
        (rank_in_all_history, "close"),
        (backfilled, "volume"),
    ],
)
def test_a_planted_look_ahead_is_caught(panel, rows, cuts, compute, column):
    leak = plant(compute.__name__, compute, (column,))

    offences = truncation_replay(panel, rows, cuts, catalogue=leak)

    assert set(offences["feature"]) == {compute.__name__}
    assert set(offences["symbol"]) == set(WATCHED)
    assert (offences["ts"] <= offences["cut"]).all()


def test_an_offence_shows_both_values_at_the_cut(panel, rows, cuts):
    own = rows[rows["symbol"] == "S00"]

    offences = truncation_replay(panel, own, cuts[:1], catalogue=plant("tomorrow", shifted_close))

    tomorrow = panel.bars.loc[(panel.bars["symbol"] == "S00") & (panel.bars["ts"] > cuts[0]), "close"].iloc[0]
    assert offences[["ts", "cut", "full_value"]].to_numpy().tolist() == [[cuts[0], cuts[0], tomorrow]]
    assert offences["cut_value"].isna().all()


def test_a_leak_through_another_symbol_is_caught(panel, rows, cuts):
    late_join = plant("market_tomorrow", shifted_close, ("market_close",))

    assert len(truncation_replay(panel, rows, cuts, catalogue=late_join)) == len(WATCHED) * len(cuts)


def test_later_splits_that_scale_all_prices_move_no_feature(panel, rows):
    bars = panel.bars.copy()
    own = bars["symbol"] == "S00"
    bars.loc[own, ["open", "high", "low", "close"]] /= 7.0
    bars.loc[own, "volume"] *= 7.0

    scaled = compute_features(MarketPanel(bars, panel.instruments, panel.news), rows)

    expected = compute_features(panel, rows)
    for spec in CATALOGUE:
        np.testing.assert_allclose(scaled[spec.name], expected[spec.name], rtol=1e-9, atol=1e-12, err_msg=spec.name)


def test_a_check_of_no_rows_does_not_pass(panel, rows):
    with pytest.raises(DataContractError, match=r"no row of .* at or before the cut 1999"):
        truncation_replay(panel, rows, [pd.Timestamp("1999-01-04", tz="UTC")])
