from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from benchmarks.support.shadow_records import make_record
from catalyst_ml.errors import DataContractError
from catalyst_ml.evaluation.catalyst_effect import catalyst_effect


def make_rows(
    *, effect: float = 0.0, sessions: int = 260, news_share: float = 0.08, seed: int = 1, on_good_days: bool = False
) -> pd.DataFrame:
    """Events whose chance of success is ``effect`` higher with news; news may prefer good days."""
    rows = make_record(sessions=sessions, seed=seed, events_a_day=60)
    rng = np.random.default_rng(seed + 50)
    share = np.full(len(rows), news_share)
    if on_good_days:
        share = share * 4.0 * rows.groupby("session")["y"].transform("mean").to_numpy() ** 2
    has_news = rng.random(len(rows)) < share
    lifted = has_news & (rows["y"].to_numpy() == 0) & (rng.random(len(rows)) < 2.0 * effect)
    y = np.where(lifted, 1, rows["y"]).astype("int8")
    return rows.assign(y=y, news_present=has_news.astype("float64"), news_covered=1.0)


def test_a_planted_effect_is_found_with_its_size_and_twice_as_often_is_ruled_out() -> None:
    effect = catalyst_effect(make_rows(effect=0.10, seed=2))
    low, high = effect.difference.low, effect.difference.high
    assert low is not None
    assert high is not None
    assert 0.0 < low < 0.10 < high
    assert effect.ratio.value == pytest.approx(1.2, abs=0.05)
    assert effect.words == "events with news succeed more often; twice as often is ruled out"


def test_news_on_good_days_is_no_effect_of_news() -> None:
    rows = make_rows(on_good_days=True)
    with_news = rows["news_present"] == 1.0
    assert rows.loc[with_news, "y"].mean() - rows.loc[~with_news, "y"].mean() > 0.03
    effect = catalyst_effect(rows)
    low, high = effect.difference.low, effect.difference.high
    assert low is not None
    assert high is not None
    assert low < 0.0 < high
    assert "no difference can be told from chance" in effect.words


def test_intervals_hold_no_effect_about_as_often_as_they_say() -> None:
    n_markets, held = 60, 0
    for seed in range(n_markets):
        difference = catalyst_effect(make_rows(sessions=90, seed=seed)).difference
        assert difference.low is not None
        assert difference.high is not None
        held += difference.low <= 0.0 <= difference.high
    # 90 % intervals: 48 or fewer of 60 have a chance below 1.5 %.
    assert held >= 48


def test_figures_agree_with_a_plain_loop_over_days_and_sides() -> None:
    rows = make_rows(effect=0.05, sessions=30)
    compared, peers_y, peers_net, n_without = [], [], [], 0
    for _, group in rows.groupby(["session", "direction"]):
        with_news, without = group[group["news_present"] == 1.0], group[group["news_present"] == 0.0]
        if len(with_news) and len(without):
            compared.append(with_news)
            n_without += len(without)
            peers_y += [without["y"].mean()] * len(with_news)
            peers_net += [without["net_return"].mean()] * len(with_news)
    news = pd.concat(compared)
    effect = catalyst_effect(rows)
    assert (effect.n_with, effect.n_without, effect.sessions) == (len(news), n_without, news["session"].nunique())
    assert effect.rate_with == pytest.approx(news["y"].mean())
    assert effect.rate_without == pytest.approx(np.mean(peers_y))
    assert effect.difference.value == pytest.approx(news["y"].mean() - np.mean(peers_y))
    assert effect.ratio.value == pytest.approx(news["y"].mean() / np.mean(peers_y))
    assert effect.net_difference.value == pytest.approx(news["net_return"].mean() - np.mean(peers_net))


def test_events_that_no_source_would_have_told_of_are_neither_with_nor_without_news() -> None:
    rows = make_rows(effect=0.05)
    is_dark = (rows["session"] < rows["session"].quantile(0.4)).to_numpy()
    # In the dark every event without news fails: as peers they would make news look good.
    dark = rows.assign(y=np.where(is_dark, 0, rows["y"]), news_covered=np.where(is_dark, 0.0, 1.0))
    dark.loc[is_dark, "news_present"] = 0.0
    ours, theirs = catalyst_effect(dark), catalyst_effect(rows[~is_dark])
    assert ours.n_uncovered == is_dark.sum()
    assert ours.difference == theirs.difference
    missing = catalyst_effect(dark.assign(news_covered=dark["news_covered"].replace(0.0, np.nan)))
    assert missing.difference == theirs.difference


def test_of_one_kind_of_news_the_other_kinds_are_no_peers() -> None:
    rows = make_rows()
    is_kind = (rows["news_present"] == 1.0) & (np.arange(len(rows)) % 2 == 0)
    is_other = (rows["news_present"] == 1.0) & ~is_kind
    bad = rows.assign(y=np.where(is_other, 0, rows["y"]))
    assert catalyst_effect(bad, has_news=is_kind).difference == catalyst_effect(rows, has_news=is_kind).difference


def test_too_few_sessions_give_numbers_without_intervals_and_say_so() -> None:
    effect = catalyst_effect(make_rows(sessions=19))
    assert effect.difference.value is not None
    assert effect.difference.low is None
    assert "19 sessions can be compared, 20 sessions are needed" in effect.words


def test_without_any_covered_row_nothing_is_claimed() -> None:
    effect = catalyst_effect(make_rows().assign(news_covered=np.nan, news_present=np.nan))
    assert (effect.n_with, effect.rate_with, effect.difference.value) == (0, None, None)
    assert effect.words.startswith("not enough evidence")
    assert effect.to_dict()["words"] == effect.words


def test_rows_that_do_not_say_where_a_source_was_listening_are_refused() -> None:
    with pytest.raises(DataContractError, match="news_covered"):
        catalyst_effect(make_rows().drop(columns="news_covered"))
