from __future__ import annotations

import pandas as pd
import pytest

from catalyst_ml.market.headlines import NEGATIVE_TYPES, POSITIVE_TYPES, classify_headlines


def judge(headline: str) -> dict:
    return classify_headlines(pd.Series([headline])).iloc[0].to_dict()


@pytest.mark.parametrize(
    ("headline", "catalyst_type"),
    [
        ("Acme profit beats estimates on cost cuts", "earnings_beat"),
        ("Acme tops Wall Street forecasts", "earnings_beat"),
        ("Acme Corp Reports Q3 EPS $0.40 vs $0.38 Est; Revenue $485M vs $483M Est", "earnings_beat"),
        ("Acme Pharma Reports Q2 EPS of $(0.39) vs $(0.33) Est", "earnings_miss"),
        ("Acme quarterly sales miss expectations", "earnings_miss"),
        ("Acme raises full-year outlook as demand grows", "guidance_raised"),
        ("Acme ups 2014 forecast", "guidance_raised"),
        ("Acme cuts profit forecast; shares slump", "guidance_lowered"),
        ("Acme warns on quarterly profit", "guidance_lowered"),
        ("U.S. FDA approves Acme's asthma drug", "fda_approval"),
        ("FDA declines to approve Acme drug", "fda_rejection"),
        ("Acme to buy Beta Tools for $2 bln", "merger_announcement"),
        ("Acme agrees to be acquired by Beta", "merger_announcement"),
        ("Big Broker upgrades Acme to buy", "upgrade"),
        ("RESEARCH ALERT-Acme: Big Broker cuts to neutral", "downgrade"),
        ("Investor sues Acme over merger vote", "lawsuit"),
        ("Acme chairman buys 20,000 shares of stock", "insider_buying"),
        ("Acme CEO sells $2 mln of stock", "insider_selling"),
    ],
)
def test_a_headline_gets_upstreams_type_and_the_sentiment_that_goes_with_it(headline: str, catalyst_type: str) -> None:
    found = judge(headline)
    expected = "positive" if catalyst_type in POSITIVE_TYPES else "negative"
    assert catalyst_type in POSITIVE_TYPES | NEGATIVE_TYPES
    assert (found["catalyst_type"], found["sentiment"], found["kind"]) == (catalyst_type, expected, "story")


@pytest.mark.parametrize(
    ("headline", "catalyst_type"),
    [
        ("Acme profit beats, but cuts outlook", "earnings"),  # both sides at once
        ("Acme quarterly profit rises 4 pct", "earnings"),
        ("Acme Reports Q2 EPS $0.20 vs $0.20 Est", "earnings"),
        ("Acme Sees Q2 EPS $0.20 vs $0.25 Est", "earnings"),  # a forecast, no result
        ("FDA panel backs Acme stent", "fda"),
        ("Acme in talks to buy Beta: sources", None),
        ("Acme mulls merger with Beta", "merger"),
        ("Big Broker maintains buy on Acme", "analyst"),
        ("Acme profit forecast tops Street", "guidance"),
        ("PREVIEW-Acme seen beating estimates on strong sales, profit tops list", None),
    ],
)
def test_what_only_touches_on_a_subject_is_neutral(headline: str, catalyst_type: str | None) -> None:
    found = judge(headline)
    assert found["sentiment"] == "neutral"
    assert found["catalyst_type"] == catalyst_type or (catalyst_type is None and pd.isna(found["catalyst_type"]))


@pytest.mark.parametrize(
    "headline",
    [
        "Acme close to buying headphone maker Beats Electronics",
        "UPS profit steady, maintains outlook",  # not "ups outlook"
        "Acme to buy 20 planes",
        "Moody's upgrades Acme to A3",
        "Fitch downgrades Acme notes to 'B'",
        "Judge dismisses lawsuit against Acme",
        "Acme wins contract for fighter upgrades",
        "Ex-Acme director charged with insider trading",
    ],
)
def test_a_word_of_a_pattern_in_another_sense_gives_no_sentiment(headline: str) -> None:
    assert judge(headline)["sentiment"] == "neutral"


@pytest.mark.parametrize(
    "headline",
    [
        "UPDATE 2-Acme profit beats estimates",
        "RPT-UPDATE 1-Acme profit beats estimates",
        "CORRECTED - UPDATE 4-Acme profit beats estimates",
        "CORRECTED (OFFICIAL)-Acme profit beats estimates",
        "REFIlE-Acme profit beats estimates",
        "UPDATE: Acme profit beats estimates",
    ],
)
def test_follow_ups_are_updates_and_judged_by_what_stands_behind_the_prefix(headline: str) -> None:
    found = judge(headline)
    assert (found["kind"], found["catalyst_type"]) == ("update", "earnings_beat")


@pytest.mark.parametrize(
    "headline",
    [
        "US STOCKS-Wall St rises as Acme profit beats estimates",
        "UPDATE 3-US STOCKS SNAPSHOT-Dow up",
        "GLOBAL MARKETS-Shares gain",
        "WRAPUP 2-Acme, Beta profits beat estimates",
        "MARKET PULSE-Acme, Beta, Gamma",
        "PRESS DIGEST - Big Paper - Aug 4",
        "DIARY-U.S. MEETINGS/WEEK AHEAD",
        "MOVES-Big Bank, Acme",
        "ADR Report-Banks lead selloff",
        "Wall Street drops on debt woes",
        "Benzinga's Top Upgrades (ACM, BTA)",
        "Mid-Day Market Update: Acme drops after downgrade",
        "Earnings Scheduled For November 19, 2012",
        "Stocks Hitting 52-Week Highs",
        "U.S. RESEARCH ROUNDUP-Acme, Beta",
    ],
)
def test_round_ups_carry_no_type_no_sentiment_and_no_score(headline: str) -> None:
    found = judge(headline)
    assert (found["kind"], found["sentiment"], found["score"]) == ("roundup", "neutral", 0.0)
    assert pd.isna(found["catalyst_type"])


@pytest.mark.parametrize(
    ("headline", "score"),
    [
        ("Acme opens a plant", 20.0),
        ("Acme quarterly profit rises", 30.0),
        ("FDA panel backs Acme stent", 30.0),
        ("Acme mulls merger with Beta", 30.0),
        ("Big Broker maintains buy on Acme", 30.0),
        ("Acme raises outlook", 20.0),  # guidance is none of upstream's four keywords
    ],
)
def test_one_story_scores_20_and_a_keyword_of_upstream_makes_it_30(headline: str, score: float) -> None:
    assert judge(headline)["score"] == score


def test_order_and_index_of_the_headlines_are_kept() -> None:
    texts = pd.Series(["Acme opens a plant", "US STOCKS-Up", "Acme opens a plant"], index=[7, 3, 9])
    found = classify_headlines(texts)
    assert found.index.tolist() == [7, 3, 9]
    assert found["kind"].tolist() == ["story", "roundup", "story"]


def test_no_headlines_give_an_empty_frame() -> None:
    assert classify_headlines(pd.Series([], dtype="str")).empty
