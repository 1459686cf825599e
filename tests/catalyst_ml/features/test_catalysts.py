import numpy as np
import pandas as pd
import pytest

from catalyst_ml.features.catalysts import CATALYST_FEATURES, FAMILY_OF_TYPE, NEWS_COVERED, add_catalysts
from catalyst_ml.features.panel import MarketPanel
from catalyst_ml.frames import NEWS, TIME_DTYPE
from catalyst_ml.market.corporate_actions import adjust_for_splits
from catalyst_ml.market.simulator import simulate_market
from tests.catalyst_ml.features.markets import make_panel

CLOSE = pd.Timestamp("2010-03-02 21:00", tz="UTC")
STORIES = [
    ("S01", "2010-02-26 12:00", "merger", "neutral", 10.0),
    ("S01", "2010-03-01 21:00", "analyst", "neutral", 99.0),  # 24 hours before the close: outside the window
    ("S01", "2010-03-01 21:00:00.000001", "earnings_beat", "positive", 30.0),
    ("S01", "2010-03-02 21:00", "lawsuit", "negative", 30.0),  # at the close: known
    ("S01", "2010-03-02 21:00:00.000001", "fda", "positive", 80.0),  # a moment later
    ("S02", "2010-03-01 12:00", None, "neutral", 20.0),
]


def make_stories(stories: list[tuple[str, str, str | None, str, float]]) -> pd.DataFrame:
    frame = pd.DataFrame(stories, columns=["symbol", "published_at", "catalyst_type", "sentiment", "score"])
    frame["published_at"] = pd.to_datetime(frame["published_at"], utc=True, format="ISO8601").astype(TIME_DTYPE)
    frame["news_id"] = [f"n{i}" for i in range(len(frame))]
    frame = frame.astype({column.name: column.dtype for column in NEWS.columns})
    return NEWS.validate(frame[NEWS.column_names].sort_values(list(NEWS.key), ignore_index=True))


def asked(*rows: tuple[str, pd.Timestamp]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["symbol", "ts"])
    return frame.astype({"symbol": "str", "ts": TIME_DTYPE})


@pytest.fixture(scope="module")
def panel() -> MarketPanel:
    bare = make_panel(n_bars=60)
    return MarketPanel(bars=bare.bars, instruments=bare.instruments, news=make_stories(STORIES))


def test_the_catalyst_is_the_best_story_of_the_last_24_hours_the_newest_among_equals(panel: MarketPanel) -> None:
    (row,) = add_catalysts(panel, asked(("S01", CLOSE))).to_dict("records")
    assert row["catalyst_score"] == 30.0
    assert row["catalyst_sentiment"] == -1.0
    assert row["catalyst_is_lawsuit"] == 1.0
    assert row["catalyst_is_earnings"] == 0.0
    assert row["catalyst_stories"] == 2.0
    assert row["catalyst_stories_5d"] == 4.0
    assert row["catalyst_age_hours"] == 0.0


def test_without_a_story_in_the_window_everything_is_missing(panel: MarketPanel) -> None:
    values = add_catalysts(panel, asked(("S02", CLOSE), ("S03", CLOSE)))
    assert values[list(CATALYST_FEATURES)].isna().all(axis=None)


def test_an_absent_story_is_told_from_an_absent_source(panel: MarketPanel) -> None:
    rows = asked(
        ("S02", CLOSE),  # no story today, but one yesterday
        ("S03", CLOSE),  # the source has never told of it
        ("S02", CLOSE + pd.Timedelta(days=14)),  # the source has been silent about everybody for a week
        ("S01", pd.Timestamp("2010-02-01 21:00", tz="UTC")),  # before there was a source
    )
    np.testing.assert_array_equal(add_catalysts(panel, rows)[NEWS_COVERED], [1.0, 0.0, 0.0, np.nan])


def test_without_any_news_all_of_it_is_missing() -> None:
    values = add_catalysts(make_panel(n_bars=60), asked(("S01", CLOSE)))
    assert values[[*CATALYST_FEATURES, NEWS_COVERED]].isna().all(axis=None)


def test_rows_keep_their_order_and_other_columns(panel: MarketPanel) -> None:
    rows = asked(("S02", CLOSE), ("S01", CLOSE), ("S02", CLOSE)).assign(kept=[1.0, 2.0, 3.0])
    values = add_catalysts(panel, rows.set_axis([7, 7, 9], axis=0))
    assert values["kept"].tolist() == [1.0, 2.0, 3.0]
    assert values["catalyst_stories"].notna().tolist() == [False, True, False]


def test_every_type_upstream_names_belongs_to_a_family_that_is_a_column() -> None:
    assert {f"catalyst_is_{family}" for family in FAMILY_OF_TYPE.values()} <= set(CATALYST_FEATURES)


def test_on_a_simulated_market_values_agree_with_a_plain_loop_over_stories() -> None:
    market = simulate_market("weak", seed=3, n_symbols=24, n_sessions=120)
    bars = adjust_for_splits(market.bars, as_of=market.bars["ts"].max())
    rows = bars.loc[bars["symbol"].isin(["S000", "S005", "S011"]), ["symbol", "ts"]].reset_index(drop=True)
    values = add_catalysts(MarketPanel(bars=bars, instruments=market.instruments, news=market.news), rows)
    n_with_news = 0
    for row in values.to_dict("records"):
        own = market.news[(market.news["symbol"] == row["symbol"]) & (market.news["published_at"] <= row["ts"])]
        today = own[own["published_at"] > row["ts"] - pd.Timedelta(hours=24)]
        if today.empty:
            assert np.isnan([row[name] for name in CATALYST_FEATURES]).all()
            continue
        n_with_news += 1
        best = today.sort_values(["score", "published_at"]).iloc[-1]
        assert row["catalyst_score"] == best["score"]
        assert row["catalyst_sentiment"] == {"positive": 1, "negative": -1, "neutral": 0}[best["sentiment"]]
        assert row["catalyst_stories"] == len(today)
        assert row["catalyst_stories_5d"] == (own["published_at"] > row["ts"] - pd.Timedelta(days=5)).sum()
        age = (row["ts"] - own["published_at"].max()).total_seconds() / 3_600
        assert row["catalyst_age_hours"] == pytest.approx(age)
        family = FAMILY_OF_TYPE.get(best["catalyst_type"])
        flags = {name for name in CATALYST_FEATURES if name.startswith("catalyst_is_") and row[name] == 1.0}
        assert flags == ({f"catalyst_is_{family}"} if family else set())
    assert n_with_news > 10
