"""What a headline says by its words: kind of message, catalyst type, sentiment and score, as upstream defines them.

A short table of patterns, no model. Of 50 random headlines of Reuters and Benzinga (2009-2016) with a directional type,
read by eye, 48 were of that type, and 39 also told it of the company they are tagged to: a story about a rival, or a
lawsuit of the company's own, carries the sentiment all the same. ``docs/data-in.md`` has the counts of the other
groups. Sentiment follows from the type alone, as upstream has it; it is not a judgement of the text.

References
----------
Upstream reference, 2.1 (types and their sentiment) and 2.7 (b) (score of one story).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

KINDS = ("story", "update", "roundup", "tweet")
"""``update``: follow-up or re-issue of a story; ``roundup``: about the market or many companies, nobody's catalyst."""

POSITIVE_TYPES = frozenset(
    {"earnings_beat", "fda_approval", "merger_announcement", "upgrade", "guidance_raised", "insider_buying"}
)
NEGATIVE_TYPES = frozenset(
    {"earnings_miss", "fda_rejection", "lawsuit", "downgrade", "guidance_lowered", "insider_selling"}
)
KEYWORD_FAMILIES = frozenset({"earnings", "fda", "merger", "analyst"})
"""Families whose keyword multiplies upstream's score by 1.5."""

BASE_SCORE = 20.0
KEYWORD_FACTOR = 1.5


@dataclass(frozen=True)
class HeadlinePattern:
    """One line of the table: what must be found, what must not, and the type it then is."""

    catalyst_type: str
    family: str
    found: str
    not_found: str = ""


_AGENCIES = r"moody'?s|fitch|s&p|standard & poor|dbrs|a\.?m\.? best|\brating|\bidrs?\b|\bcfr\b|\bnotes\b"
_GRADES = (
    r"(conviction |strong )?(buy|outperform|overweight|neutral|hold|sell|reduce|underperform|underweight|add"
    r"|(market|sector|peer)[ -]?(perform|weight)|equal[ -]?weight)"
)
_NOT_BY_BROKERS = (
    r"(broker|analyst)s? (up|down)grades (amid|as|after|of)|grades (&|and|to (its|their))|probe|fighter|plane|\bjets?\b"
    r"|systems?\b|software|network"
    r"|air force|helicopter|recall|ipads?\b|phones?\b|modest|debuts?\b|unveils?\b|launch"
)
_FORECAST = r"(outlooks?|forecasts?|guidance|views?)\b"
_NOT_OWN_FORECAST = (
    rf"{_AGENCIES}|gdp|economic|(oil|gold|copper|iron ore|aluminum|crude|brent|market|industry|growth|price|pc|global)"
    r"[a-z ]{0,20} (outlook|forecast|view)|price target|target price"
)
_RESULT = r"(profits?|earnings|revenues?|sales|results?|eps|quarter(ly)?|qtr|q[1-4]|net)\b"
_YARDSTICK = r"(estimates?|expectations?|expected|forecasts?|street|views?|consensus|targets?)\b"
_BEAT = r"\b(beats?|tops|topped|exceeds?|exceeded|surpass(es|ed)?|outpaces?|trumps?)\b"
_MISS = r"\b(miss(es|ed)?|trails?|lags?|falls? short of|below)\b"
_NO_RESULT = (
    r"(auto|car|vehicle) sales|beats (electronics|music|headphone|brand)|beat makers?|top court|\bmiss\."
    r"|estimates? (beat|top|miss|lag|trail)"
    rf"|{_FORECAST} (also )?(beat|top|exceed|miss|below|trail|lag|outpac|surpass)|(sees|expects|forecasts"
    rf"|guides) .*(below|above|miss|beat)"
)
_NOT_BOUGHT = (
    r"\b(planes?|jets?|aircraft|airliners?|helicopters?|airbus|gas|electricity|power|crude|coal|back|bonds?|debt|loans?"
    r"|spectrum|shares|stake|etfs?|trucks|tickets?|houses?|homes?|time to buy|upgrades?|rated?)\b"
)
_UNDECIDED = (
    r"\b(talks?|aims?|mull(s|ing)?|consider(s|ing)?|explor(es|ing)|eye(s|d)|may|could|might|plans?|wants?"
    r"|seeks?|look(s|ing)"
    r"|near(s|ing)?|weigh(s|ing)?|reject(s|ed)?|drops?|ends?|abandons?|block(s|ed)?|approach(es|ed)?|rumou?rs?"
    r"|would|why|who|fails?|approval|interest(ed)?|sources?|report|study(ing)?|race|bid(s|ding)?)\b|\?"
)

PATTERNS: tuple[HeadlinePattern, ...] = (
    HeadlinePattern(
        "fda_approval",
        "fda",
        r"\bfda\b.*\b(approv(es|ed|al)|clears|cleared|clearance)\b|\b(approval|clearance|nod|approved) (from"
        r"|by) (the )?(u\.?s\.? )?fda\b",
        r"panel|staff|advis|seek|await|delay|expect|reject|declin|\bnot\b|fil(es|ed|ing)|appl(y|ies|ication)"
        r"|review|await"
        r"|recall|warn|after .*approv|ahead of|generic|probe",
    ),
    HeadlinePattern(
        "fda_rejection",
        "fda",
        r"\bfda\b.*\b(reject(s|ed)?|declin(es|ed)|denies|denied|refus(es|ed)|turns down)\b|complete response letter",
        r"panel|staff|advis",
    ),
    HeadlinePattern(
        "merger_announcement",
        "merger",
        r"\b(to (buy|acquire|merge with)|agrees to (buy|acquire|merge|be (bought|acquired))|acquires"
        r"|to be (bought|acquired)"
        r"|(announces|completes|closes) (the )?(acquisition|merger|takeover|buyout))\b",
        rf"{_NOT_BOUGHT}|{_UNDECIDED}",
    ),
    HeadlinePattern("earnings_beat", "earnings", rf"{_BEAT}.*\b{_YARDSTICK}|\b{_RESULT}.*{_BEAT}", _NO_RESULT),
    HeadlinePattern("earnings_miss", "earnings", rf"{_MISS}.*\b{_YARDSTICK}|\b{_RESULT}.*\bmiss(es|ed)?\b", _NO_RESULT),
    HeadlinePattern(
        "guidance_raised",
        "guidance",
        rf"\b(raises?|raised|lifts?|lifted|boosts?|boosted|hikes?|(?-i:ups|Ups))\b[^;]{{0,40}}\b{_FORECAST}",
        _NOT_OWN_FORECAST,
    ),
    HeadlinePattern(
        "guidance_lowered",
        "guidance",
        rf"\b(cuts?|lowers|lowered|to lower|slash(es|ed)?|trims?|trimmed|reduces?|reduced)\b[^;]{{0,40}}\b{_FORECAST}"
        r"|\bprofit warning\b|\bwarns (on|of|about) (\w+ )?(profits?|sales|revenues?|earnings|results|quarter)\b",
        rf"{_NOT_OWN_FORECAST}|cost cuts",
    ),
    HeadlinePattern(
        "upgrade",
        "analyst",
        rf"\bupgrade(s|d) \w|\b(raises|raised|raise|(?-i:ups)|lifts) to {_GRADES}",
        rf"{_AGENCIES}|{_NOT_BY_BROKERS}",
    ),
    HeadlinePattern(
        "downgrade",
        "analyst",
        rf"\bdowngrade(s|d) \w|\b(cuts|cut|lowers) to {_GRADES}",
        rf"{_AGENCIES}|{_NOT_BY_BROKERS}",
    ),
    HeadlinePattern(
        "lawsuit",
        "lawsuit",
        r"\b(sues|sued|suing|lawsuits?|class action|suit (against|over|alleg|filed|claims)|sued by)",
        r"dismiss|toss|drops|settle|defeat|prevail|\bwins?\b|thrown out|throws out|end to|\bends?\b|rejects"
        r"|void|no class action"
        r"|revive|accord",
    ),
    HeadlinePattern(
        "insider_buying",
        "insider",
        r"\b(ceo|cfo|chief executive|chairman|director|insiders?|officer)s? (buys?|bought|purchases?|purchased"
        r"|acquires?)"
        r"\b.*\b(shares|stock)\b",
    ),
    HeadlinePattern(
        "insider_selling",
        "insider",
        r"\b(ceo|cfo|chief executive|chairman|director|insiders?|officer)s? (sells?|sold"
        r"|disposes?)\b.*\b(shares|stock)\b",
    ),
    HeadlinePattern(
        "earnings",
        "earnings",
        r"\b(earnings|eps|(quarterly|full-year|annual|adjusted|net) (profits?|loss|results|revenues?|sales|income)"
        r"|q[1-4]|[1-4](st|nd|rd|th)[ -]qtr|(first|second|third|fourth)[ -](quarter|qtr)|profits? (rises?"
        r"|falls?|jumps?|drops?"
        r"|climbs?|slips?|up|down|slides?|doubles?|nearly|more than)|posts (\w+ )?(profit|loss))\b",
    ),
    HeadlinePattern("fda", "fda", r"\bfda\b"),
    HeadlinePattern(
        "merger",
        "merger",
        r"\b(merg(er|ers|e|es|ing)|takeovers?|buyouts?|acquisitions?|to acquire|acquires?|m&a|tender offer"
        r"|hostile bid)\b",
    ),
    HeadlinePattern(
        "analyst",
        "analyst",
        r"\b(analysts?|price target|target price|initiates coverage|(raises|cuts|ups|lowers) pt|starts with"
        rf"|reiterates|research alert|maintains {_GRADES})\b",
        _AGENCIES,
    ),
    HeadlinePattern("guidance", "guidance", r"\b(guidance|profit (forecast|outlook|view)|outlook for)\b", _AGENCIES),
)
"""First match names the type; a directional type goes before every coarse one."""

_FOLLOW_UP = re.compile(
    r"\s*(?:updates?\s?\d*|rpt|repeat|refile|corrected|correction)(?:\s*\([^)]*\))?\s*[-:]+\s*", re.IGNORECASE
)
_ROUNDUP_SERIES = (
    r"(U\.?S\.? |CANADA |NORDIC |LATAM |EUROPE |ASIA )?STOCKS?( NEWS| SNAPSHOT| WRAP)?[A-Z ]*|STXNEWS [A-Z]+"
    r"|GLOBAL MARKETS|EMERGING MARKETS|MARKET PULSE|PRESS DIGEST|DIARY|WRAPUP ?\d*|MOVES?|ON THE MOVE"
    r"|ADR R(EPORT|eport)"
    r"|TREASURIES|FOREX|EURO GOVT|PRECIOUS|METALS|LIVESTOCK|GRAINS|SOFTS|MONEY MARKETS|CREDIT MARKETS?"
    r"|HIGHLIGHTS|Highlights"
    r"|TABLE|TAKE.A.LOOK|WEEK ?AHEAD|COMPANY VIEW|DEALS|IPO VIEW|[A-Z.]* ?RESEARCH ROUNDUP|BUSINESS.NEWS.SCHEDULE.*"
)
"""Names of Reuters' series, in capitals as they are written."""
_ROUNDUP_STARTS = (
    r"wall st(reet)?\b|u\.?s\.? stocks? |(u\.?s\.? )?stock futures|deals of the day|buzz-u\.?s\.? stocks on the move"
    r"|stocks (to watch|hitting|that|rise|fall|drop|climb|slip|end|open|edge|rally|slide|jump)"
    r"|futures (rise|fall|point|up|down|slip|drop|edge|climb|flat)|what to watch|earnings scheduled|news summary"
    r"|(the )?(day|week) ahead|benzinga.?s (top|volume|microcap|m&a)|top \d+ |best & worst|financial breakfast"
    r"|barron.?s picks"
)
_ROUNDUP_ANYWHERE = (
    r"\bmarket (update|wrap|gainers|losers|movers|roundup)\b|pre-?market (gainers|losers|movers)|\bweek ahead\b"
    r"|same-store sales( review)?$|52.week (highs?|lows?)\s*(of|on|for|$)|top (upgrades|downgrades|initiations)\b"
    r"|\bstocks to watch\b"
)
_ROUNDUP = rf"^\s*((?-i:{_ROUNDUP_SERIES})\s*[-:/]|{_ROUNDUP_STARTS})|{_ROUNDUP_ANYWHERE}"
_COMMENT = (
    r"^\s*(?:preview|column|insight|analysis|factbox|timeline|how to play it|buy or sell|feature|special report"
    r"|newsmaker"
    r"|interview|profile|chronology|quotebox|dealtalk|your money|breakingviews)\s*[-:]"
)
_AMOUNT = r"(-?\$?\s?\(?-?\$?\d*\.?\d+\)?)"
_EPS_AGAINST_ESTIMATE = re.compile(
    rf"\beps\s+(?:of\s+)?{_AMOUNT}\s+vs\.?\s+(?:est(?:imate)?s?\.?\s+)?(?:of\s+)?{_AMOUNT}(?:\s+(?:est|cons))?",
    re.IGNORECASE,
)


def classify_headlines(headlines: pd.Series) -> pd.DataFrame:
    """Judge headlines by their words.

    Parameters
    ----------
    headlines : Series of str
        No missing values.

    Returns
    -------
    DataFrame
        ``kind`` (story, update or roundup), ``catalyst_type`` (missing if no pattern is met), ``sentiment`` and
        ``score`` (0-100), in the order and with the index given.

    Notes
    -----
    A headline with patterns of both sides ("profit beats, cuts outlook") gets the coarse family of the first and is
    neutral. Comment and preview (``PREVIEW-``, ``COLUMN-``) announce nothing: coarse types only. A round-up has no
    type, no sentiment and score 0.

    Examples
    --------
    >>> classify_headlines(pd.Series(["UPDATE 1-Acme profit beats estimates", "US STOCKS-Wall St slips"]))
          kind  catalyst_type sentiment  score
    0   update  earnings_beat  positive   30.0
    1  roundup            NaN   neutral    0.0
    """
    codes, unique = pd.factorize(headlines, sort=False)
    judged = _classify_unique([str(text) for text in unique])
    return judged.take(codes).set_axis(headlines.index, axis=0)


def sentiment_of(catalyst_type: str | None) -> str:
    """Sentiment of a catalyst type by upstream's list; everything not on it is neutral."""
    if catalyst_type in POSITIVE_TYPES:
        return "positive"
    return "negative" if catalyst_type in NEGATIVE_TYPES else "neutral"


def _classify_unique(texts: list[str]) -> pd.DataFrame:
    bare = [_without_follow_up(text) for text in texts]
    column = pa.array(bare, pa.string())
    is_update = np.array([len(b) < len(t.lstrip()) for b, t in zip(bare, texts, strict=True)], dtype=bool)
    is_roundup, is_comment = _matches(column, _ROUNDUP), _matches(column, _COMMENT)
    hits = np.array([_hits(column, pattern) for pattern in PATTERNS]).reshape(len(PATTERNS), len(texts))
    _judge_eps(bare, hits)
    directional = np.array([sentiment_of(p.catalyst_type) != "neutral" for p in PATTERNS])
    hits[directional] &= ~is_comment
    hits[:, is_roundup] = False
    first = np.where(hits.any(axis=0), hits.argmax(axis=0), -1)  # (n_texts,)
    mixed = _any_of(hits, POSITIVE_TYPES) & _any_of(hits, NEGATIVE_TYPES)
    types = np.array([p.catalyst_type for p in PATTERNS] + [None], dtype=object)[first]
    families = np.array([p.family for p in PATTERNS] + [None], dtype=object)[first]
    types = np.where(mixed, families, types)
    is_keyword = np.array([p.family in KEYWORD_FAMILIES for p in PATTERNS])
    score = np.where(hits[is_keyword].any(axis=0), BASE_SCORE * KEYWORD_FACTOR, BASE_SCORE)
    kind = np.where(is_roundup, "roundup", np.where(is_update, "update", "story"))
    return pd.DataFrame(
        {
            "kind": pd.Series(kind, dtype="str"),
            "catalyst_type": pd.Series(types, dtype="str"),
            "sentiment": pd.Series([sentiment_of(name) for name in types], dtype="str"),
            "score": np.where(is_roundup, 0.0, score),
        }
    )


def _without_follow_up(text: str) -> str:
    text = text.lstrip()
    while match := _FOLLOW_UP.match(text):
        text = text[match.end() :]
    return text


def _matches(column: pa.Array, pattern: str) -> np.ndarray:
    return np.array(pc.match_substring_regex(column, pattern, ignore_case=True), dtype=bool)


def _hits(column: pa.Array, pattern: HeadlinePattern) -> np.ndarray:
    found = _matches(column, pattern.found)
    if pattern.not_found:
        found[found] = ~_matches(column.filter(pa.array(found)), pattern.not_found)
    return found


def _any_of(hits: np.ndarray, types: frozenset[str]) -> np.ndarray:
    return np.asarray(hits[[p.catalyst_type in types for p in PATTERNS]].any(axis=0))


def _judge_eps(texts: list[str], hits: np.ndarray) -> None:
    """Mark, in ``hits``, headlines such as ``EPS $0.36 vs $0.38 Est``: the two numbers decide."""
    place = {p.catalyst_type: i for i, p in enumerate(PATTERNS)}
    for i, text in enumerate(texts):
        match = _EPS_AGAINST_ESTIMATE.search(text)
        if (
            match is None
            or "est" not in match[0].lower()
            or re.search(r"\b(guides|sees)\b", text[: match.start()], re.I)
        ):
            continue
        eps, estimate = _dollars(match[1]), _dollars(match[2])
        if eps != estimate:
            hits[place["earnings_beat" if eps > estimate else "earnings_miss"], i] = True
        hits[place["earnings"], i] = True


def _dollars(text: str) -> float:
    value = float(re.sub(r"[^\d.]", "", text))
    return -value if "-" in text or "(" in text else value
