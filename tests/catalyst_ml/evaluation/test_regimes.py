"""Regimes are told by what was known at the time."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from catalyst_ml.evaluation.regimes import (
    MIN_VOLATILITY_SESSIONS,
    TREND_BARS,
    VOLATILITY_SESSIONS,
    market_trend,
    volatility_terciles,
)

SESSIONS = pd.Series(pd.bdate_range("2022-01-03", periods=600).as_unit("us"))
LEVEL = pd.Series(15.0 + 10.0 * np.abs(np.sin(np.arange(600) / 40.0)) + np.arange(600) / 100.0)


def by_hand(level: np.ndarray, k: int) -> str | None:
    before = [v for v in level[max(0, k - VOLATILITY_SESSIONS) : k] if not np.isnan(v)]
    if len(before) < MIN_VOLATILITY_SESSIONS:
        return None
    share = (sum(v < level[k] for v in before) + 0.5 * sum(v == level[k] for v in before)) / len(before)
    return "calm" if share < 1 / 3 else "nervous" if share >= 2 / 3 else "usual"


def test_terciles_agree_with_a_plain_loop_and_all_three_occur() -> None:
    found = volatility_terciles(SESSIONS, LEVEL)

    expected = [by_hand(LEVEL.to_numpy(), k) for k in range(600)]
    assert [None if pd.isna(name) else name for name in found] == expected
    assert set(expected) == {None, "calm", "usual", "nervous"}


def test_the_future_does_not_change_what_a_day_was_called() -> None:
    cut, whole = volatility_terciles(SESSIONS[:300], LEVEL[:300]), volatility_terciles(SESSIONS, LEVEL)
    wild = LEVEL.where(LEVEL.index < 300, 90.0)

    assert cut.equals(whole[:300])
    assert volatility_terciles(SESSIONS, wild)[:300].equals(whole[:300])


def test_rows_of_one_day_are_called_alike_in_any_order_and_missing_levels_are_nothing() -> None:
    twice = pd.concat([SESSIONS, SESSIONS]).sample(frac=1.0, random_state=1)
    level = pd.concat([LEVEL, LEVEL]).loc[twice.index]
    named = volatility_terciles(twice.reset_index(drop=True), level.iloc[: len(twice)].set_axis(range(len(twice))))

    assert named.groupby(twice.to_numpy()).nunique().max() == 1
    assert volatility_terciles(SESSIONS, LEVEL * np.nan).isna().all()
    assert len(volatility_terciles(SESSIONS[:0], LEVEL[:0])) == 0


def index_bars(close: np.ndarray) -> pd.DataFrame:
    ts = (pd.bdate_range("2024-01-01", periods=len(close)) + pd.Timedelta(hours=21)).tz_localize("UTC").as_unit("us")
    return pd.DataFrame({"ts": ts, "close": close})


def test_the_trend_is_that_of_the_last_closed_bar() -> None:
    bars = index_bars(np.r_[np.linspace(100, 130, 80), np.linspace(129, 80, 40)])
    at_close, before_close = bars["ts"], bars["ts"] - pd.Timedelta(1, "us")
    mean = bars["close"].rolling(TREND_BARS).mean()
    expected = np.where(mean.isna(), None, np.where(bars["close"] >= mean, "rising", "falling"))

    found = [None if pd.isna(name) else name for name in market_trend(at_close, bars)]
    earlier = [None if pd.isna(name) else name for name in market_trend(before_close, bars)]

    assert found == expected.tolist()
    assert earlier == [None, *found[:-1]]
    assert set(found) == {None, "rising", "falling"}


@pytest.mark.parametrize("n_bars", [0, 1, TREND_BARS - 1])
def test_too_little_history_and_a_stale_index_give_no_trend(n_bars: int) -> None:
    short = index_bars(np.linspace(100, 110, n_bars))
    moments = pd.Series(pd.to_datetime(["2024-06-03T20:00:00Z"])).astype("datetime64[us, UTC]")
    full = index_bars(np.linspace(100, 110, TREND_BARS))

    assert market_trend(moments, short).isna().all()
    assert market_trend(moments, full).isna().all(), "its last bar is months old"
    assert market_trend(full["ts"].tail(1) + pd.Timedelta(days=3), full).tolist() == ["rising"]
