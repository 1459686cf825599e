import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalyst_ml.frames import EVENT_KEY, EVENTS, NEWS, PATTERNS, RULE_SCORES, pattern_column
from catalyst_ml.market.detector import detect_events
from catalyst_ml.market.rules import RULES_VERSION, pattern_confidences, score_events
from tests.catalyst_ml.market.bar_frames import CLOSES, make_bars, make_instruments, random_bars
from tests.reference.rules_oracle import score_bar

N_BARS = 60
TS = CLOSES[N_BARS - 1]


def _rising_bars(last_volume: float = 1_000.0) -> pd.DataFrame:
    """Sixty closes rising ever faster: RSI 100, MACD above its signal, mean of 10 above mean of 30."""
    closes = 50.0 + 0.01 * np.arange(N_BARS) ** 2
    volumes = [1_000.0] * (N_BARS - 1) + [last_volume]
    return make_bars([(c, c + 0.1, c - 0.1, c, v) for c, v in zip(closes, volumes, strict=True)])


def _events(*rows: tuple[int, set[str]], ts: pd.Timestamp = TS) -> pd.DataFrame:
    """EVENTS of symbol AAA at one bar from (direction, patterns)."""
    frame = pd.DataFrame(
        [
            {"symbol": "AAA", "ts": ts, "direction": side, "direction_inferred": seen == {"doji"}}
            | {pattern_column(p): p in seen for p in PATTERNS}
            for side, seen in rows
        ]
    ).sort_values("direction", ignore_index=True)
    return EVENTS.validate(frame.astype({c.name: c.dtype for c in EVENTS.columns}))


def _news(*stories: tuple[pd.Timestamp, float, str, str | None]) -> pd.DataFrame:
    """NEWS about AAA from (published_at, score, sentiment, catalyst_type)."""
    frame = pd.DataFrame(stories, columns=["published_at", "score", "sentiment", "catalyst_type"])
    frame = frame.assign(symbol="AAA", news_id=[f"n{i}" for i in range(len(frame))])
    frame = frame.astype({c.name: c.dtype for c in NEWS.columns}).sort_values(list(NEWS.key), ignore_index=True)
    return NEWS.validate(frame)


HOUR = pd.Timedelta(hours=1)
NONE = NEWS.empty()
GOOD = (TS - HOUR, 70.0, "positive", "earnings")
BAD = (TS - HOUR, 40.0, "negative", None)


# T = 50 + 20 (RSI above 70) + 15 (both legs up) = 85 throughout. Votes without patterns and news: MACD and trend
# for the bulls, RSI for the bears. Each case: events, news, P, C, action.
CASES = {
    "hammer": ([(1, {"hammer"})], NONE, 65 + 5, 0, 1),
    "a doji alone is too weak to count": ([(-1, {"doji"})], NONE, 30, 0, 0),
    "a doji counts with news but has no vote": ([(-1, {"doji"})], _news(GOOD), 55 * 1.3 + 5, 80, 1),
    "patterns of both sides share one signal": (
        [(1, {"hammer"}), (-1, {"gap_down"})], NONE, (65 + 60) / 2 + 10, 0, 0,
    ),
    "two bearish patterns are no majority of two": ([(-1, {"gap_down", "engulfing"})], NONE, 65 + 10, 0, 0),
    "aligned news lifts a reversal beyond the cap": ([(1, {"hammer"})], _news(GOOD), 100, 80, 1),
    "opposed news drops it": ([(1, {"hammer"})], _news(BAD), 30, 40, 0),
    "opposed news leaves a strong reversal": ([(1, {"engulfing"})], _news(BAD), 70 * 1.4 * 0.7 + 5, 40, 0),
    "the best story speaks": ([(1, {"hammer"})], _news(BAD, GOOD), 100, 80, 1),
    "equal scores: the newest speaks": (
        [(1, {"hammer"})],
        _news((TS - HOUR, 70.0, "positive", "earnings"), (TS - 2 * HOUR, 70.0, "negative", None)), 100, 80, 1,
    ),
    "a story of exactly 24 hours ago is too old": (
        [(1, {"hammer"})], _news((TS - 24 * HOUR, 70.0, "positive", None)), 70, 0, 1,
    ),
    "a story of the very close counts": ([(1, {"doji"})], _news((TS, 95.0, "neutral", "merger")), 30, 100, 0),
    "a story a moment later does not": (
        [(1, {"hammer"})], _news((TS + pd.Timedelta(microseconds=1), 70.0, "positive", None)), 70, 0, 1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_score_and_action_by_hand(case):
    rows, news, pattern_score, catalyst, action = CASES[case]
    events = _events(*rows)

    scores = RULE_SCORES.validate(score_events(events, _rising_bars(), news))

    expected = 0.4 * 85 + 0.3 * pattern_score + 0.3 * catalyst
    assert scores["rule_score"].tolist() == pytest.approx([expected] * len(events))
    assert scores["rule_action"].tolist() == [action] * len(events)
    pd.testing.assert_frame_equal(scores[list(EVENT_KEY)], events[list(EVENT_KEY)])


def test_high_volume_adds_ten_points_of_technical_score():
    quiet, busy = (
        score_events(_events((1, {"hammer"})), _rising_bars(volume), NONE)["rule_score"].iloc[0]
        for volume in (1_000.0, 2_000.0)
    )

    assert busy - quiet == pytest.approx(4.0)


def test_final_confidences_are_upstreams_with_the_alignment_bonus_firing():
    assert RULES_VERSION == "rules_intended_v213"
    assert pattern_confidences(0).tolist() == [65, 65, 70, 70, 55, 75, 75, 60, 60, 50, 50]
    # hammer 97.5 * 1.2, star 45.5 * 0.7, engulfing 98 * 1.2 and * 0.7, doji, soldiers 100 * 1.3, crows, gaps, surges
    assert pattern_confidences(1).tolist() == pytest.approx(
        [117, 31.85, 117.6, 68.6, 71.5, 130, 37.5, 150, 24, 112.5, 75]
    )


def test_the_score_is_missing_only_where_indicators_lack_history():
    events = pd.concat([_events((1, {"hammer"}), ts=CLOSES[i]) for i in (32, 33)], ignore_index=True)

    scores = RULE_SCORES.validate(score_events(events, _rising_bars(), NONE))

    assert scores["rule_score"].isna().tolist() == [True, False]
    assert scores["rule_action"].iloc[0] == 0


def test_no_events_give_an_empty_frame():
    RULE_SCORES.validate(score_events(EVENTS.empty(), _rising_bars(), NONE))


def _random_news(rng: np.random.Generator, symbols: tuple[str, ...], n: int) -> pd.DataFrame:
    moments = CLOSES[rng.integers(20, 60, n)] - pd.to_timedelta(rng.integers(-3, 30, n), unit="h")
    frame = pd.DataFrame(
        {
            "symbol": rng.choice(symbols, n),
            "published_at": moments,
            "news_id": [f"n{i:03d}" for i in range(n)],
            "catalyst_type": rng.choice(np.array(["earnings", "merger", "analyst", None], dtype=object), n),
            "sentiment": rng.choice(["positive", "negative", "neutral"], n),
            "score": rng.uniform(0.0, 100.0, n),
        }
    )
    frame = frame.astype({c.name: c.dtype for c in NEWS.columns})
    return NEWS.validate(frame.sort_values(list(NEWS.key), ignore_index=True))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_scores_equal_the_plain_loop_on_random_bars_and_news(seed):
    rng = np.random.default_rng(seed)
    bars = random_bars(rng)
    news = _random_news(rng, ("AAA", "BBB", "ZZZ"), 60)
    events = detect_events(bars, make_instruments(AAA="stock", BBB="stock"))

    scores = score_events(events, bars, news)

    for (symbol, ts), rows in events.groupby(["symbol", "ts"]):
        own = bars[(bars["symbol"] == symbol) & (bars["ts"] <= ts)]
        seen = {
            (p, 0 if p == "doji" else int(row["direction"]))
            for _, row in rows.iterrows()
            for p in PATTERNS
            if row[pattern_column(p)]
        }
        stories = news[news["symbol"] == symbol].to_dict("records")
        confidence, action = score_bar(own["close"].to_numpy(), own["volume"].to_numpy(), seen, stories, ts)
        got = scores.loc[rows.index]
        np.testing.assert_allclose(got["rule_score"], confidence, rtol=1e-9)
        assert set(got["rule_action"]) == {action}
