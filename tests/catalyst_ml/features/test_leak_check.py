"""The leak check of features: what it compares, what it says, and that it never passes without evidence."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from catalyst_ml.errors import DataContractError
from catalyst_ml.features.alterations import Sources, another_future, another_session, later_splits, splittable
from catalyst_ml.features.catalogue import FEATURE_NAMES
from catalyst_ml.features.leak_check import (
    AT_OPEN,
    PERTURBED,
    SPLIT,
    TRUNCATED,
    check_features,
    sample_cuts,
)
from catalyst_ml.features.leak_report import LeakReport, require_no_leak
from tests.catalyst_ml.features.markets import stock_rows
from tests.catalyst_ml.features.planted_leaks import PLANTED_FEATURES, feature, tomorrow
from tests.catalyst_ml.features.real_bars import read_real_panel


@pytest.fixture(scope="module")
def closes(panel) -> list[pd.Timestamp]:
    return sorted(panel.bars["ts"].unique())


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_shipped_features_raise_no_alarm(panel, seed):
    report = check_features(panel, stock_rows(panel), seed=seed, n_cuts=3)

    assert report.leaks == ()
    assert set(report.columns) == set(FEATURE_NAMES) - {"options_activity"}
    assert report.not_shown == ("options_activity",)


@pytest.mark.real_data
def test_the_shipped_features_raise_no_alarm_on_real_bars():
    folder = os.environ.get("CATALYST_MARKET_DATA")
    if not folder:
        pytest.skip("CATALYST_MARKET_DATA is not set")
    panel = read_real_panel(Path(folder), n_stocks=60)

    report = check_features(panel, stock_rows(panel))

    assert report.leaks == ()
    assert report.n_comparisons > 1_000_000
    assert report.not_shown == ("options_activity",)


def test_the_same_seed_checks_the_same_sample(panel, closes):
    rows = stock_rows(panel)

    first, again, other = (sample_cuts(Sources(panel), rows, 4, seed=seed) for seed in (3, 3, 4))

    assert first == again
    assert first != other
    assert first == sorted(set(first))
    assert set(first) <= set(closes[:-1])


def test_every_second_cut_precedes_the_most_news(panel):
    """S02 has a story at 20:59:59 and one at 21:00, of 20 and 21 December; the close of the 20th is before both."""
    rows = stock_rows(panel)
    late = rows[rows["ts"] > "2011-10-01"].reset_index(drop=True)

    cuts = sample_cuts(Sources(panel), late, 2, seed=0)

    assert cuts[1] == pd.Timestamp("2012-01-19 21:00", tz="UTC")


def test_code_that_is_harmless_where_data_ends_is_found_by_another_future_only(panel):
    rare = (PLANTED_FEATURES["crash_tomorrow"],)

    report = check_features(panel, stock_rows(panel), catalogue=rare)

    alarms = {verdict.check: verdict.n_alarms for verdict in report.verdicts}
    assert alarms[TRUNCATED] == 0
    assert alarms[PERTURBED] > 0


def test_a_price_in_dollars_is_found_by_splits_yet_to_come_only(panel):
    report = check_features(panel, stock_rows(panel), catalogue=(PLANTED_FEATURES["adjusted_price"],))

    assert {verdict.check for verdict in report.verdicts if verdict.n_alarms} == {SPLIT}


def test_what_is_used_at_the_open_may_not_know_the_session(panel):
    report = check_features(panel, stock_rows(panel), known_at_open=("premarket_gap", "rsi_14"))

    assert [(v.column, v.check) for v in report.verdicts if v.n_alarms] == [("rsi_14", AT_OPEN)]


def test_another_future_keeps_what_was_known_bit_for_bit(panel, closes):
    cut = closes[300]
    facts = pd.DataFrame({"symbol": ["S01"] * 3, "known_at": closes[299:302], "eps": [1.0, 2.0, 3.0]})

    other = another_future(Sources(panel, {"earnings": facts}), cut, seed=1)

    for known, was_known in zip(
        (other.known_at(cut).panel.bars, other.known_at(cut).panel.news, other.known_at(cut).tables["earnings"]),
        (panel.known_at(cut).bars, panel.known_at(cut).news, facts.iloc[:2]),
        strict=True,
    ):
        pd.testing.assert_frame_equal(known.reset_index(drop=True), was_known.reset_index(drop=True))
    later = panel.bars["ts"] > cut
    assert (other.panel.bars.loc[later, ["open", "close"]] != panel.bars.loc[later, ["open", "close"]]).all(axis=None)
    assert other.tables["earnings"]["eps"].tolist() == [1.0, 2.0, -3.0]
    assert other.tables["earnings"]["known_at"].iloc[2] == cut + pd.Timedelta("1h")


def test_another_session_keeps_its_open_and_all_other_bars(panel, closes):
    other = another_session(Sources(panel), closes[300], seed=1).panel.bars

    at = panel.bars["ts"] == closes[300]
    pd.testing.assert_frame_equal(other[~at], panel.bars[~at])
    assert (other.loc[at, "open"] == panel.bars.loc[at, "open"]).all()
    assert (other.loc[at, "close"] != panel.bars.loc[at, "close"]).all()


def test_a_later_split_halves_prices_and_leaves_the_volatility_index_alone(panel):
    split = later_splits(Sources(panel), ["S03"]).panel.bars

    own = panel.bars["symbol"] == "S03"
    assert (split.loc[own, "close"] * 2 == panel.bars.loc[own, "close"]).all()
    assert (split.loc[~own, "close"] == panel.bars.loc[~own, "close"]).all()
    assert splittable(panel) == panel.stocks | {"SPY"}


def test_a_leak_is_named_with_its_row_cut_and_both_values(panel, closes):
    report = check_features(
        panel, stock_rows(panel).query("symbol == 'S05'"), catalogue=(feature("peek", tomorrow),), cuts=[closes[530]]
    )

    own = panel.bars.loc[panel.bars["symbol"] == "S05", "close"].to_numpy()
    with pytest.raises(DataContractError) as refusal:
        require_no_leak(report)
    message = str(refusal.value)
    assert f"peek of S05 at {closes[530]:%Y-%m-%d %H:%M} UTC, cut {closes[530]:%Y-%m-%d %H:%M} UTC: " in message
    assert f"{own[531] / own[530]:.10g}, without the future missing" in message
    assert "Nothing was trained" in message


def test_a_feature_without_values_is_said_not_passed(panel):
    report = check_features(
        panel, stock_rows(panel), catalogue=(feature("nothing", lambda close: np.full(close.size, np.nan)),)
    )

    assert report.not_shown == ("nothing",)
    assert "nothing to compare for nothing" in report.summary()
    with pytest.raises(DataContractError, match="nothing was compared"):
        require_no_leak(report)


def test_a_check_of_rows_without_a_future_is_refused(panel, closes):
    newest = stock_rows(panel).query("ts == @closes[-1]")

    with pytest.raises(DataContractError, match="none of the 24 rows has a bar after it"):
        check_features(panel, newest)
    with pytest.raises(DataContractError, match="no rows to check"):
        check_features(panel, newest.iloc[:0])


def test_a_table_that_does_not_say_since_when_it_was_known_is_refused(panel):
    with pytest.raises(DataContractError, match=r"'earnings' does not say .* since when it was known"):
        Sources(panel, {"earnings": pd.DataFrame({"symbol": ["S01"], "eps": [1.0]})})


def test_the_report_survives_storage(panel, closes):
    report = check_features(panel, stock_rows(panel), catalogue=(feature("peek", tomorrow),), cuts=closes[530:532])
    report += LeakReport((), ("a warning",))

    stored = json.loads(json.dumps(report.to_dict()))

    assert LeakReport.from_dict(stored) == report
    assert stored["n_alarms"] == 24 * 2 * 2
    assert stored["summary"] == report.summary()
