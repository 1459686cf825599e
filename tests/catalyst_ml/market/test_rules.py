from __future__ import annotations

import hashlib
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalyst_ml.errors import ConfigurationError, DataContractError
from catalyst_ml.frames import BARS, EVENT_KEY, EVENTS, NEWS, PATTERNS, RULE_SCORES, pattern_column
from catalyst_ml.market.detector import detect_events
from catalyst_ml.market.rule_inputs import rule_inputs
from catalyst_ml.market.rules import DEFAULT_RULE_ARM, RULE_ARMS, rule_arm, score_events, signal_levels
from catalyst_ml.market.rules_v213 import PATTERN_RULES, patterns_seen
from tests.catalyst_ml.market.bar_frames import CALENDAR, CLOSES, make_bars, make_instruments, random_bars
from tests.catalyst_ml.market.rule_cases import DOWN, UP, make_events, make_inputs
from tests.reference.rules_oracle import score_bar

ARMS = list(RULE_ARMS)
NONE = NEWS.empty()


def every_bar(bars: pd.DataFrame, first: int = 0) -> pd.DataFrame:
    """EVENTS at each bar of each symbol from its ``first`` on: the arms judge bars, whatever was detected."""
    late = bars[bars.groupby("symbol").cumcount() >= first]
    return make_events(*zip(late["symbol"], late["ts"], strict=True))


def random_news(rng: np.random.Generator, symbols: tuple[str, ...], n: int, n_sessions: int) -> pd.DataFrame:
    """Stories of all kinds, several at one close, some late, some about nobody."""
    moments = CLOSES[rng.integers(30, n_sessions, n)] - pd.to_timedelta(rng.integers(-3, 30, n), unit="h")
    kinds = ["earnings", "merger", "guidance", "upgrade", "lawsuit", "fda_approval", "analyst", None]
    frame = pd.DataFrame(
        {
            "symbol": rng.choice(symbols, n),
            "published_at": moments,
            "news_id": [f"n{i:03d}" for i in range(n)],
            "catalyst_type": rng.choice(np.array(kinds, dtype=object), n),
            "sentiment": rng.choice(["positive", "negative", "neutral"], n),
            "score": rng.uniform(0.0, 100.0, n),
        }
    )
    frame = frame.astype({c.name: c.dtype for c in NEWS.columns})
    return NEWS.validate(frame.sort_values(list(NEWS.key), ignore_index=True))


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_scores_equal_the_plain_loop_on_random_bars_and_news(seed):
    rng = np.random.default_rng(seed)
    bars = random_bars(rng, n_sessions=100, hole=int(rng.choice([0, 3, 30])))
    news = random_news(rng, ("AAA", "BBB", "ZZZ"), 300, 100)
    events = every_bar(bars, first=28)
    events = events[rng.random(len(events)) < 0.15].reset_index(drop=True)

    scores = {arm: RULE_SCORES.validate(score_events(events, bars, news, arm=arm)) for arm in ARMS}

    session = {ts: number for number, ts in enumerate(CLOSES)}
    stories = {symbol: own.to_dict("records") for symbol, own in news.groupby("symbol")}
    expected = {arm: [] for arm in ARMS}
    for symbol, ts in zip(events["symbol"], events["ts"], strict=True):
        own = bars[(bars["symbol"] == symbol) & (bars["ts"] <= ts)]
        known = own, [session[close] for close in own["ts"]], stories.get(symbol, [])
        for arm in ARMS:
            expected[arm].append(score_bar(arm, *known))
    for arm in ARMS:
        confidence, action = np.array(expected[arm]).reshape(-1, 2).T
        pd.testing.assert_frame_equal(scores[arm][list(EVENT_KEY)], events[list(EVENT_KEY)])
        np.testing.assert_allclose(scores[arm]["rule_score"], confidence, rtol=1e-9)
        np.testing.assert_array_equal(scores[arm]["rule_action"], action)


def test_every_pattern_of_an_event_is_seen_on_its_bar_and_the_cooldown_hides_none():
    bars = random_bars(np.random.default_rng(4), n_sessions=200)
    events = detect_events(bars, make_instruments(AAA="stock", BBB="stock"))

    seen = patterns_seen(rule_inputs(events, bars, NONE))

    by_arm = {(r.pattern, r.direction): seen[:, i] for i, r in enumerate(PATTERN_RULES)}
    for pattern in PATTERNS:
        flagged = events[pattern_column(pattern)].to_numpy()
        for side in (-1, 1):
            own = flagged & (events["direction"] == side).to_numpy()
            assert own.sum() <= by_arm.get((pattern, 0 if pattern == "doji" else side), ~own)[own].sum()
    assert seen.sum() > sum(events[pattern_column(p)].sum() for p in PATTERNS)


@pytest.mark.parametrize("arm", ARMS)
def test_a_signal_knows_nothing_of_later_bars_and_stories(arm):
    rng = np.random.default_rng(8)
    bars, news = random_bars(rng, n_sessions=80), random_news(rng, ("AAA", "BBB"), 120, 80)
    cut = CLOSES[65]
    early = every_bar(bars[bars["ts"] <= cut], first=28)

    full = score_events(early, bars, news, arm=arm)
    known_bars = bars[bars["ts"] <= cut].reset_index(drop=True)
    known_news = news[news["published_at"] <= cut].reset_index(drop=True)

    pd.testing.assert_frame_equal(score_events(early, known_bars, known_news, arm=arm), full)
    assert full["rule_score"].notna().sum() > 20


def test_a_bar_after_a_hole_has_no_previous_bar():
    # Sixty quiet bars, then one that opens 10 % higher: a gap for the next session, none after a fortnight.
    candles = [(100.0, 101.0, 99.0, 100.5, 1_000.0)] * 60 + [(110.0, 111.0, 109.5, 110.5, 1_000.0)]
    scores = {}
    for sessions_later in (1, 10):
        closes = CLOSES[[*range(60), 59 + sessions_later]]
        bars = make_bars(candles, closes=closes)
        events = make_events(("AAA", closes[-1]))
        scores[sessions_later] = score_events(events, bars, NONE)["rule_score"].iloc[0]
    assert scores[1] - scores[10] == pytest.approx(0.3 * (60 + 5 - 30))


def test_without_news_the_shipped_rules_score_31_to_57_and_never_hold():
    bars = random_bars(np.random.default_rng(6), n_sessions=200)
    scores = score_events(every_bar(bars, first=40), bars, NONE, arm="rules_shipped_v213")
    assert scores["rule_score"].between(31.0, 57.5).all()
    assert set(scores["rule_action"]) == {-1, 1}


def test_volume_is_compared_over_the_windows_of_each_service():
    volumes = [100.0] * 39 + [2_000.0] + [100.0] * 19 + [200.0]
    bars = make_bars([(100.0, 101.0, 99.0, 100.5, volume) for volume in volumes])

    at = rule_inputs(make_events(("AAA", CLOSES[59])), bars, NONE).readings

    assert at.surge_19.tolist() == [2.0]
    assert at.surge_20.tolist() == pytest.approx([200.0 / 195.0])  # the 2,000 of twenty bars before among them
    assert at.volume_ratio.tolist() == pytest.approx([200.0 / 105.0])  # the last bar itself, the 2,000 no longer


@pytest.mark.parametrize("missing", [19, 20, 21])
def test_a_surge_needs_its_bars_within_twice_their_time(missing):
    closes = CLOSES[[*range(50), *range(50 + missing, 65 + missing)]]
    bars = make_bars([(100.0, 101.0, 99.0, 100.5, 1_000.0)] * 65, closes=closes)

    at = rule_inputs(make_events(("AAA", closes[-1])), bars, NONE).readings

    # 19 and 20 bars back lie 19 + missing and 20 + missing sessions back; 38 and 40 are allowed.
    assert (np.isnan(at.surge_19[0]), np.isnan(at.surge_20[0])) == (19 + missing > 38, 20 + missing > 40)


@pytest.mark.parametrize(("arm", "warm_up"), [(name, 50 if name == "rules_v200" else 34) for name in ARMS])
def test_the_score_is_missing_with_action_hold_only_before_the_indicators_are_known(arm, warm_up):
    bars = random_bars(np.random.default_rng(2), symbols=("AAA",), n_sessions=70)

    scores = score_events(every_bar(bars), bars, NONE, arm=arm)

    is_missing = scores["rule_score"].isna()
    assert is_missing.tolist() == [True] * (warm_up - 1) + [False] * (len(bars) - warm_up + 1)
    assert set(scores.loc[is_missing, "rule_action"]) == {0}


@pytest.mark.parametrize("arm", ARMS)
def test_no_events_give_an_empty_frame(arm):
    RULE_SCORES.validate(score_events(EVENTS.empty(), BARS.empty(), NONE, arm=arm))


def test_raw_bars_are_refused():
    bars = make_bars([(100.0, 101.0, 99.0, 100.5, 1_000.0)] * 40, splits={20: 2.0})
    with pytest.raises(DataContractError, match="1 bars still carry a split factor"):
        score_events(make_events(("AAA", CLOSES[39])), bars, NONE)


def test_an_unknown_arm_is_refused_with_the_names_there_are():
    with pytest.raises(ConfigurationError, match=r"'rules_v999' is unknown; expected one of .*rules_intended_v213"):
        rule_arm("rules_v999")


def test_another_revision_is_due_when_scores_on_fixed_bars_change():
    # After a deliberate change: raise the arm's revision in rules.py, then write the new digest here.
    rng = np.random.default_rng(20_250_712)
    n = 400
    closes = CALENDAR.closes(CALENDAR.sessions(date(2012, 1, 3), date(2014, 1, 31)))[:n]
    close = np.round(50.0 * np.exp(np.cumsum(rng.normal(0.0, 0.015, n))), 2)
    opened = np.round(np.append(close[0], close[:-1]) * np.exp(rng.normal(0.0, 0.012, n)), 2)
    high = np.maximum(opened, close) + np.round(rng.exponential(0.4, n), 2)
    low = np.minimum(opened, close) - np.round(rng.exponential(0.4, n), 2)
    volume = np.round(rng.lognormal(10.0, 0.6, n))
    bars = make_bars(list(zip(opened, high, low, close, volume, strict=True)), closes=closes)
    news = pd.DataFrame({"symbol": "AAA", "published_at": closes[60::7] - pd.Timedelta(hours=2)})
    news["news_id"] = [f"n{i:03d}" for i in range(len(news))]
    news["catalyst_type"] = np.resize(np.array(["earnings", "upgrade", None], dtype=object), len(news))
    news["sentiment"] = np.resize(["positive", "negative", "neutral", "negative"], len(news))
    news["score"] = np.resize([20.0, 45.0, 70.0, 95.0, 100.0], len(news))
    news = news.astype({c.name: c.dtype for c in NEWS.columns})

    digests = {}
    for arm in RULE_ARMS.values():
        scores = arm.score_events(every_bar(bars), bars, news)
        text = scores[["rule_score", "rule_action"]].round(6).to_csv(index=False)
        digests[arm.version] = hashlib.sha256(text.encode()).hexdigest()[:12]

    assert digests == {
        "rules_intended_v213.2": "c20f146aedd7",
        "rules_shipped_v213.1": "216c27da93e7",
        "rules_v200.1": "bc500fafc1da",
    }


def test_the_first_arm_is_the_default():
    assert rule_arm().name == DEFAULT_RULE_ARM == "rules_intended_v213"
    assert all(name == arm.name for name, arm in RULE_ARMS.items())


def test_the_worked_example_of_the_trader_page_is_what_the_arms_say():
    page = (Path(__file__).parents[3] / "docs" / "rules.md").read_text()
    evidence = {"candles": (DOWN, UP, (101.6, 101.75, 100.8, 101.7)), "rsi": 58.0, "volume_ratio": 1.6}
    upgrade = (30.0, "positive", "upgrade")
    expected = {"rules_intended_v213": (73, 55.75), "rules_shipped_v213": (61, 52), "rules_v200": (71.725, 47.75)}
    for arm in RULE_ARMS.values():
        for story, score in zip((upgrade, None), expected[arm.name], strict=True):
            signal = arm.signals(make_inputs(**evidence, story=story))
            assert signal.score[0] == pytest.approx(score)
            assert signal.action.tolist() == [1]
            assert f"**{score:g}**" in page
    levels = signal_levels(rule_arm("rules_v200"), 1, 101.7, 2.0, 71.725, catalyst_score=30.0)
    prices = (levels.entry, levels.stop, levels.target, levels.second_target)
    assert [f"{price[0]:.2f}" for price in prices] == ["101.60", "98.55", "106.17", "110.74"]


def test_levels_of_the_later_rules_by_hand():
    # Stop 2 ATR, target 3 ATR, size in proportion to confidence from 60 on; an unknown ATR counts as 2 % of the price.
    levels = signal_levels(
        rule_arm("rules_intended_v213"),
        action=np.array([1, -1, 1, 1, 0, 1]),
        price=np.full(6, 100.0),
        atr=np.array([2.0, 2.0, np.nan, 2.0, 2.0, 2.0]),
        score=np.array([62.0, 60.0, 100.0, 59.9, 80.0, np.nan]),
    )
    np.testing.assert_allclose(levels.entry, [100, 100, 100, 100, np.nan, 100])
    np.testing.assert_allclose(levels.stop, [96, 104, 96, 96, np.nan, 96])
    np.testing.assert_allclose(levels.target, [106, 94, 106, 106, np.nan, 106])
    np.testing.assert_allclose(levels.size, [0.62, 0.60, 1.0, 0.0, 0.0, 0.0])
    assert np.isnan(levels.second_target).all()


def test_levels_of_v200_by_hand():
    # BUY at 99.9 with a stop of 1 %: risk 0.999; SELL at 100.1 with 2 %: 2.002; BUY with 3 %: 2.997.
    levels = signal_levels(
        rule_arm("rules_v200"),
        action=np.array([1, -1, 1, 1, 0, 1]),
        price=np.full(6, 100.0),
        atr=np.full(6, np.nan),
        score=np.array([70.0, 50.0, 49.9, 29.9, 80.0, np.nan]),
        catalyst_score=np.array([70.0, 69.9, 39.9, 40.0, 40.0, 40.0]),
    )
    np.testing.assert_allclose(levels.entry, [99.9, 100.1, 99.9, 99.9, np.nan, 99.9])
    np.testing.assert_allclose(levels.stop[:3], [98.901, 102.102, 96.903])
    np.testing.assert_allclose(levels.target[:3], [101.3985, 97.097, 104.3955])
    np.testing.assert_allclose(levels.second_target[:3], [102.897, 94.094, 108.891])
    np.testing.assert_allclose(levels.size, [1.0, 0.5, 0.25, 0.0, 0.0, 0.0])


def test_numbers_and_arrays_mix_in_levels():
    levels = signal_levels(rule_arm(), 1, np.array([10.0, 20.0]), 1.0, 70.0)
    assert levels.stop.tolist() == [8.0, 18.0]


@pytest.mark.parametrize(
    "broken", [{"action": 2}, {"price": 0.0}, {"price": np.nan}, {"atr": -1.0}, {"catalyst_score": np.nan}]
)
def test_levels_refuse_what_no_signal_can_hold(broken):
    sound = {"action": 1, "price": 10.0, "atr": 1.0, "score": 70.0, "catalyst_score": 0.0}
    with pytest.raises(DataContractError, match="1 of 1 signals are unusable"):
        signal_levels(rule_arm(), **(sound | broken))
