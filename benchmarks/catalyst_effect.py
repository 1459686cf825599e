"""Do patterns with catalysts succeed twice as often? Real news on real bars, and simulated markets with known truth.

Each event with news is compared with the events of the same session and direction without, where a source was
listening; 90 % HAR intervals over sessions. On simulated markets the same is done with the true probabilities in
place of the outcomes. Goals: on markets whose truth has no effect the intervals hold zero, and with a planted one
they hold the truth, as often as they say.

    CATALYST_MARKET_DATA=... python benchmarks/catalyst_effect.py
    python benchmarks/catalyst_effect.py --quick    # simulated markets only, two seeds each
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.catalyst_member import MARKETS
from benchmarks.support import news_rows
from benchmarks.support.market_measures import known_outcomes, real_market
from benchmarks.support.table import Row, finish, machine
from catalyst_ml.evaluation.catalyst_effect import CatalystEffect, catalyst_effect
from catalyst_ml.evaluation.intervals import ScoreInterval
from catalyst_ml.evaluation.significance import binomial_interval
from catalyst_ml.features.catalysts import NEWS_COVERED, NEWS_FLAG
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.labels import LabelSpec, default_spec
from catalyst_ml.market.simulator import simulate_market

SEEDS, QUICK_SEEDS = range(8_000, 8_010), range(8_000, 8_002)
LEVEL = 0.90
NO_BARRIERS = LabelSpec(barrier_atr=1e6, target_atr=1e6)
"""Nothing is ever touched: success is a positive net return at the end of five sessions."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="simulated markets only, two seeds each")
    parser.add_argument("--json", metavar="FILE", help="also write the results as JSON")
    arguments = parser.parse_args()
    folder = os.environ.get("CATALYST_MARKET_DATA")
    rows, results = [], {}
    if folder and not arguments.quick:
        effects = real_effects(Path(folder))
        results |= {name: effect.to_dict() for name, effect in effects.items()}
        rows += [_effect_row(f"real: {name}", effect) for name, effect in effects.items()]
    elif not arguments.quick:
        print("CATALYST_MARKET_DATA is not set: nothing is said of real news", file=sys.stderr)
    for kind in MARKETS:
        markets = [simulated_effect(kind, seed) for seed in (QUICK_SEEDS if arguments.quick else SEEDS)]
        results[kind] = [{"seen": seen.to_dict(), "true": true.to_dict()} for seen, true in markets]
        rows.append(_simulated_row(kind, markets))
    title = f"Success with news against without, same session and direction, {LEVEL:.0%} intervals ({machine()})"
    return finish(title, rows, results=results, json_file=arguments.json)


def real_effects(folder: Path) -> dict[str, CatalystEffect]:
    """Effects of news and tweets on the S&P 500 stocks up to May 2016."""
    calendar = TradingCalendar()
    bars, instruments = real_market(folder, calendar=calendar)
    stories = news_rows.stories_of(folder / "news.parquet", bars, calendar=calendar)
    tweets = news_rows.stories_of(folder / "tweets.parquet", bars, calendar=calendar, tweets=True)
    adjusted, events = news_rows.events_with_news(bars, instruments, stories, calendar=calendar)
    effects = {}
    labels = {name: default_spec("1d", name) for name in ("symmetric", "two_to_one", "market_neutral")}
    for name, spec in (labels | {"sign after five sessions": NO_BARRIERS}).items():
        rows = news_rows.with_outcomes(events, adjusted, instruments, spec, calendar=calendar)
        effects[f"any story, {name}"] = catalyst_effect(rows, level=LEVEL)
        if name == "symmetric":
            symmetric = rows
    with_it = symmetric["catalyst_sentiment"] * symmetric["direction"]
    kinds = {
        "story speaks for the side": with_it > 0,
        "story speaks against it": with_it < 0,
        "neutral story": with_it == 0,
        "earnings": symmetric["catalyst_is_earnings"] > 0,
        "analyst": symmetric["catalyst_is_analyst"] > 0,
        "merger": symmetric["catalyst_is_merger"] > 0,
    }
    for name, mask in kinds.items():
        effects[f"{name}, symmetric"] = catalyst_effect(symmetric, has_news=mask, level=LEVEL)
    since = news_rows.stories_since_last_close(symmetric, stories)
    wider = symmetric.assign(**{NEWS_FLAG: since.astype(np.float64)})
    effects["story since the last close, symmetric"] = catalyst_effect(wider, level=LEVEL)
    has_tweet, collected = news_rows.tweets_of_the_day(symmetric, tweets)
    tweeted = symmetric.assign(**{NEWS_FLAG: has_tweet.astype(float), NEWS_COVERED: collected.astype(float)})
    effects["any tweet, symmetric"] = catalyst_effect(tweeted, level=LEVEL)
    return effects


def simulated_effect(kind: str, seed: int) -> tuple[CatalystEffect, CatalystEffect]:
    """What is seen of the effect on a simulated market, and what its true probabilities say."""
    preset, relations = MARKETS[kind]
    calendar = TradingCalendar()
    market = simulate_market(preset, seed=seed, relations=relations)
    adjusted, events = news_rows.events_with_news(market.bars, market.instruments, market.news, calendar=calendar)
    rows = news_rows.with_outcomes(events, adjusted, market.instruments, LabelSpec(), calendar=calendar)
    true = known_outcomes(market, rows)
    return catalyst_effect(rows, level=LEVEL), catalyst_effect(true.assign(y=true["p"]), level=LEVEL)


def _effect_row(name: str, effect: CatalystEffect) -> Row:
    cells = {
        "events": name,
        "with news (worth)": f"{effect.n_with:,} ({effect.n_eff:,.0f})",
        "without": f"{effect.n_without:,}",
        "sessions": effect.sessions,
        "success with / without": f"{_percent(effect.rate_with)} / {_percent(effect.rate_without)}",
        "difference, points": _shown(effect.difference, 100.0, "+.1f"),
        "ratio": _shown(effect.ratio, 1.0, ".2f"),
        "net return, bp": _shown(effect.net_difference, 1e4, "+.1f"),
        "in words": effect.words,
    }
    return Row(cells)


def _simulated_row(kind: str, markets: list[tuple[CatalystEffect, CatalystEffect]]) -> Row:
    """Average over markets; the goal is that intervals hold the truth as often as they say."""
    seen, true = zip(*markets, strict=True)
    held = sum(_holds(s.difference, t.difference.value) for s, t in markets)
    allowed = binomial_interval(held, len(markets)).high
    cells = {
        "events": f"simulated, edge {kind}, {len(markets)} markets",
        "with news (worth)": f"{_mean(s.n_with for s in seen):,.0f} ({_mean(s.n_eff for s in seen):,.0f})",
        "without": f"{_mean(s.n_without for s in seen):,.0f}",
        "sessions": round(_mean(s.sessions for s in seen)),
        "success with / without": f"{_mean(s.rate_with for s in seen):.1%} / {_mean(s.rate_without for s in seen):.1%}",
        "difference, points": f"{100 * _mean(s.difference.value for s in seen):+.1f} "
        f"(true {100 * _mean(t.difference.value for t in true):+.1f})",
        "ratio": f"{_mean(s.ratio.value for s in seen):.2f} (true {_mean(t.ratio.value for t in true):.2f})",
        "net return, bp": f"{1e4 * _mean(s.net_difference.value for s in seen):+.1f}",
        "in words": f"{held} of {len(markets)} intervals hold the true difference",
    }
    return Row(cells, missed=allowed < LEVEL)


def _holds(interval: ScoreInterval, truth: float | None) -> bool:
    return None not in (interval.low, interval.high, truth) and interval.low <= truth <= interval.high  # type: ignore[operator]


def _mean(values: Any) -> float:
    return float(np.mean([float(v) for v in values]))


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _shown(interval: ScoreInterval, unit: float, style: str) -> str:
    if interval.value is None:
        return "-"
    value = format(unit * interval.value, style)
    if interval.low is None or interval.high is None:
        return f"{value} [no interval]"
    return f"{value} [{format(unit * interval.low, style)}, {format(unit * interval.high, style)}]"


if __name__ == "__main__":
    sys.exit(main())
