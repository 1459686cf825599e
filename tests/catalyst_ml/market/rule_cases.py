"""Evidence of a single bar, written down by hand, and small NEWS and EVENTS frames for the tests of the rules."""

from __future__ import annotations

import numpy as np
import pandas as pd

from catalyst_ml.frames import EVENTS, NEWS, PATTERNS, pattern_column
from catalyst_ml.market.detector import Candle
from catalyst_ml.market.rule_inputs import Readings, RuleInputs
from catalyst_ml.market.rule_news import SENTIMENTS, Catalysts

Prices = tuple[float, float, float, float]
UP, DOWN = (100.0, 100.7, 99.9, 100.5), (100.5, 100.6, 99.8, 100.0)
"""Open, high, low, close of candles that show nothing by themselves."""


def make_inputs(
    *,
    candles: tuple[Prices, Prices, Prices] = (DOWN, UP, (100.6, 101.3, 100.5, 101.1)),
    rsi: float = 50.0,
    macd: float = 1.0,
    price: float = 1.0,
    order: float = 1.0,
    volume_ratio: float = 1.0,
    surge: float = 1.0,
    story: tuple[float, str, str | None] | None = None,
    n_stories: int = 1,
) -> RuleInputs:
    """Evidence of one bar; by default quiet candles, no news, RSI 50 and everything pointing up.

    ``candles`` from the oldest on; ``macd``: line minus signal; ``price``: mean of 10 minus mean of 30 closes;
    ``order``: above zero close > mean of 20 > mean of 50, below zero the reverse; ``story``: score, sentiment, type.
    """
    before_previous, previous, bar = (Candle(*(np.array([x]) for x in prices)) for prices in candles)
    close = candles[-1][3]
    numbers = {"rsi": rsi, "macd": macd, "macd_signal": 0.0, "mean_10": 100.0 + price, "mean_30": 100.0}
    numbers |= {"mean_20": close - order, "mean_50": close - 2.0 * order}
    numbers |= {"volume_ratio": volume_ratio, "surge_20": surge, "surge_19": surge}
    score, sentiment, kind = story or (0.0, "neutral", None)
    return RuleInputs(
        bar=bar,
        previous=previous,
        before_previous=before_previous,
        readings=Readings(**{name: np.array([value]) for name, value in numbers.items()}),
        catalysts=Catalysts(
            score=np.array([score]),
            sentiment=np.array([SENTIMENTS[sentiment]]),
            n_stories=np.array([n_stories if story else 0]),
            type_code=np.array([-1 if kind is None else 0]),
            type_names=() if kind is None else (kind,),
        ),
    )


def make_events(*moments: tuple[str, pd.Timestamp]) -> pd.DataFrame:
    """EVENTS at (symbol, ts), bullish, of a single hammer."""
    frame = pd.DataFrame(moments, columns=["symbol", "ts"]).assign(direction=1, direction_inferred=False)
    frame = frame.assign(**{pattern_column(p): p == "hammer" for p in PATTERNS})
    frame = frame.astype({c.name: c.dtype for c in EVENTS.columns}).sort_values(list(EVENTS.key), ignore_index=True)
    return EVENTS.validate(frame)


def make_news(*stories: tuple[pd.Timestamp, float, str, str | None], symbol: str = "AAA") -> pd.DataFrame:
    """NEWS about one symbol from (published_at, score, sentiment, catalyst_type)."""
    frame = pd.DataFrame(stories, columns=["published_at", "score", "sentiment", "catalyst_type"])
    frame = frame.assign(symbol=symbol, news_id=[f"n{i}" for i in range(len(frame))])
    frame = frame.astype({c.name: c.dtype for c in NEWS.columns}).sort_values(list(NEWS.key), ignore_index=True)
    return NEWS.validate(frame)
