"""From the bars of a request to events with the models' inputs, by the very functions that made the training rows.

What a symbol's own bars cannot say (the universe's means, index, volatility, breadth, sector) comes from the other
bars of the request, or from the bar table (``market_context``). Where neither has it, it is missing and the event says
so; without the universe's means no model judges the event, for it was trained on none like it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd

from catalyst_ml.errors import DataContractError
from catalyst_ml.features.catalogue import FEATURE_NAMES
from catalyst_ml.features.catalysts import add_catalysts
from catalyst_ml.features.engine import compute_features
from catalyst_ml.features.line_inputs import event_columns, line_catalogue, line_event_inputs
from catalyst_ml.features.panel import MarketPanel
from catalyst_ml.features.serving import WINDOW_BARS, features_of_last_bar
from catalyst_ml.features.training_set import has_long_memory
from catalyst_ml.features.universe import MIN_UNIVERSE, RELATIVE_FEATURES, UNIVERSE_PREFIX, add_universe_means
from catalyst_ml.frames import BARS, EVENT_KEY, INSTRUMENTS, NEWS, PATTERNS, TIME_DTYPE, pattern_column
from catalyst_ml.indicators import kernels
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.detector import MIN_BARS, detect_events
from catalyst_ml.market.rules import RuleArm
from catalyst_ml.market.timeframes import DAILY
from catalyst_ml.serving.bars_messages import Seen
from catalyst_ml.serving.breaks_in import breaks_seen
from catalyst_ml.serving.judgement import Event
from catalyst_ml.serving.market_context import MarketContext, news_flags, stock_day_of

ATR_BARS = 14
"""As the rules' stops and targets count."""
_PRICES = ("open", "high", "low", "close")
_MARKET_WIDE_NOTES = {
    "vix_level": "no VIX level",
    "spy_correlation": "no SPY bars",
    "market_breadth": "too few stocks for breadth",
    "sector_momentum": "no sector, or no other stock of it",
    "news_present": "no news source",
}


@dataclass(frozen=True)
class SymbolBars:
    """Bars of one symbol as they came: closes in UTC, in time order, split-adjusted; arrays of one length."""

    symbol: str
    ts: pd.DatetimeIndex
    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    volume: np.ndarray
    kind: str = "stock"
    sector: str | None = None
    is_answered: bool = True

    def __len__(self) -> int:
        return len(self.ts)


@dataclass(frozen=True)
class Story:
    """A story of the news as it came."""

    symbol: str
    published_at: datetime
    news_id: str
    catalyst_type: str | None
    sentiment: str
    score: float


def see_events(
    symbols: Sequence[SymbolBars],
    stories: Sequence[Story],
    *,
    arm: RuleArm,
    timeframe: str,
    calendar: TradingCalendar,
    context: MarketContext | None,
    prefer_request: bool = False,
    with_days: bool = False,
) -> Seen:
    """Detect the events at each symbol's last bar and assemble their inputs.

    Parameters
    ----------
    context : MarketContext, optional
        The bar table's view of the close. It gives the universe unless ``prefer_request`` is set or its close is
        another.
    with_days : bool
        Also compute what companions are asked about: every stock of each close, of the request or of the table.

    Raises
    ------
    DataContractError
        If bars contradict the contract that training's bars keep; names the symbol and the bar.
    """
    seen = Seen()
    usable = []
    for item in symbols:
        if item.is_answered and len(item) < MIN_BARS:
            seen.held.append((item.symbol, f"{len(item)} bars, patterns need {MIN_BARS}", _last(item)))
        elif len(item):
            usable.append(item)
    answered = {item.symbol: item.ts[-1] for item in usable if item.is_answered}
    if not answered:
        return seen
    bars, instruments, news = _bars_frame(usable), _instruments_frame(usable), _news_frame(stories)
    from_table = context if not prefer_request and timeframe == DAILY else None
    if from_table is not None:
        news = from_table.news_with(news)
    _require_sound(bars)
    asked = bars[bars["symbol"].isin(answered)].reset_index(drop=True)
    events = detect_events(asked, instruments, timeframe=timeframe, calendar=calendar)
    events = events[events["ts"].array == pd.DatetimeIndex(events["symbol"].map(answered))].reset_index(drop=True)
    for symbol, ts in answered.items():
        if symbol not in set(events["symbol"]):
            seen.held.append((symbol, "no pattern at the last bar", ts.to_pydatetime()))
    if events.empty and not with_days:
        return seen
    panel = MarketPanel(bars, instruments, news, calendar=None if timeframe == DAILY else calendar)
    if with_days:
        _add_days(seen, panel, set(answered.values()), from_table, timeframe)
    if events.empty:
        return seen
    rule_scores = arm.score_events(events, asked, news, timeframe=timeframe, calendar=calendar)
    rows = events[["symbol", "ts"]].drop_duplicates(ignore_index=True)
    made = _with_request(panel, rows, timeframe) if from_table is None else _with_table(panel, rows, usable, from_table)
    features, universe = made
    inputs = line_event_inputs(events, add_catalysts(panel, features), rule_scores)
    last_bars = {item.symbol: item for item in usable}
    broken = breaks_seen(
        events, asked, timeframe=timeframe, calendar=calendar, released=context.released if context else None
    )
    records = inputs[list(event_columns(timeframe))].to_dict("records")
    seen.events.extend(_events(events, inputs, records, universe, last_bars, broken))
    return seen


def _add_days(
    seen: Seen, panel: MarketPanel, closes: set[pd.Timestamp], context: MarketContext | None, timeframe: str
) -> None:
    """The stocks of each close, from the bar table or from the request's own bars."""
    if timeframe != DAILY:
        seen.days_absent.append(f"companions know daily bars, these are of {timeframe}")
        return
    for close in closes:
        if context is None:
            seen.days[close.to_pydatetime()] = stock_day_of(panel, close, source="this request")
        elif close == context.close:
            seen.days[close.to_pydatetime()] = context.stock_day
        else:
            seen.days_absent.append(context.about(close))


def _with_request(
    panel: MarketPanel, rows: pd.DataFrame, timeframe: str
) -> tuple[pd.DataFrame, dict[tuple[str, pd.Timestamp], str]]:
    """Features and universe means from the request's own bars, exactly as training computes them."""
    computed = compute_features(panel, rows, catalogue=line_catalogue(timeframe), n_threads=1)
    features = add_universe_means(panel, computed)
    stocks = panel.bars[panel.bars["symbol"].isin(panel.stocks)]
    n_at = stocks.groupby("ts")["symbol"].size()
    about = {
        (symbol, ts): f"universe: {int(n_at.get(ts, 0))} stocks of this request"
        for symbol, ts in rows.itertuples(index=False)
    }
    return features, about


def _with_table(
    panel: MarketPanel, rows: pd.DataFrame, usable: Sequence[SymbolBars], context: MarketContext
) -> tuple[pd.DataFrame, dict[tuple[str, pd.Timestamp], str]]:
    """Features of the request's bars with index, breadth and universe of the bar table."""
    by_symbol = {item.symbol: item for item in usable}
    values, about = [], {}
    for symbol, ts in rows.itertuples(index=False):
        item = by_symbol[symbol]
        own = dict.fromkeys(FEATURE_NAMES, np.nan)
        if len(item) >= WINDOW_BARS:
            window = {name: getattr(item, name) for name in (*_PRICES, "volume")}
            inputs = context.inputs_of(symbol, item.ts)
            inputs |= news_flags(panel.news, symbol, item.ts)
            own = features_of_last_bar(window, inputs, symbol=symbol)
        means = context.means_at(ts)
        values.append(own | {f"{UNIVERSE_PREFIX}{name}": means.get(name, np.nan) for name in RELATIVE_FEATURES})
        about[symbol, ts] = context.about(ts)
    features = pd.concat([rows.reset_index(drop=True), pd.DataFrame(values)], axis=1)
    return features, about


def _events(
    events: pd.DataFrame,
    inputs: pd.DataFrame,
    records: Sequence[Mapping[Hashable, float]],
    universe: dict[tuple[str, pd.Timestamp], str],
    last_bars: dict[str, SymbolBars],
    broken: Sequence[str],
) -> list[Event]:
    has_memory = has_long_memory(inputs)
    relative = inputs[[f"relative_{name}" for name in RELATIVE_FEATURES]].notna().any(axis=1).to_numpy()
    # A feature that the event's bar can have with enough history is only missing for want of a source.
    patterns = events[[pattern_column(name) for name in PATTERNS]].to_numpy()
    made = []
    for i, (symbol, ts, direction) in enumerate(events[list(EVENT_KEY)].itertuples(index=False)):
        item = last_bars[symbol]
        unfit = ""
        if not has_memory[i]:
            unfit = f"{len(item)} bars, the model's indicators need {WINDOW_BARS}"
        elif not relative[i]:
            unfit = (
                f"the universe's means at this close are missing ({universe[symbol, ts]}; {MIN_UNIVERSE} are needed): "
                "send the day's universe, or let the server read the bar table"
            )
        elif broken[i]:
            unfit = broken[i]
        record = {str(name): float(value) for name, value in records[i].items()}
        notes = [universe[symbol, ts]]
        if has_memory[i]:
            notes += [f"{name} missing: {why}" for name, why in _MARKET_WIDE_NOTES.items() if np.isnan(record[name])]
        made.append(
            Event(
                symbol=symbol,
                ts=ts.to_pydatetime(),
                direction=int(direction),
                inputs=record,
                patterns=tuple(name for name, is_seen in zip(PATTERNS, patterns[i], strict=True) if is_seen),
                price=float(item.close[-1]),
                volume=float(item.volume[-1]),
                atr=_known(kernels.atr(item.high, item.low, item.close, ATR_BARS)[-1]),
                unfit=unfit,
                notes=tuple(notes),
            )
        )
    return made


def _bars_frame(symbols: Sequence[SymbolBars]) -> pd.DataFrame:
    ordered = sorted(symbols, key=lambda item: item.symbol)
    n_bars = [len(item) for item in ordered]
    columns = {name: np.concatenate([getattr(item, name) for item in ordered]) for name in (*_PRICES, "volume")}
    return pd.DataFrame(
        {
            "symbol": pd.Series(np.repeat([item.symbol for item in ordered], n_bars), dtype="str"),
            "ts": pd.Series(np.concatenate([item.ts.asi8 for item in ordered])).astype("M8[us]").dt.tz_localize("UTC"),
            **columns,
            "split_factor": np.ones(sum(n_bars)),
        }
    )[BARS.column_names]


def _instruments_frame(symbols: Sequence[SymbolBars]) -> pd.DataFrame:
    ordered = sorted(symbols, key=lambda item: item.symbol)
    return pd.DataFrame(
        {
            "symbol": pd.Series([item.symbol for item in ordered], dtype="str"),
            "kind": pd.Series([item.kind for item in ordered], dtype="str"),
            "sector": pd.Series([item.sector for item in ordered], dtype="str"),
        }
    )[INSTRUMENTS.column_names]


def _news_frame(stories: Sequence[Story]) -> pd.DataFrame:
    if not stories:
        return NEWS.empty()
    frame = pd.DataFrame(
        {
            "symbol": pd.Series([story.symbol for story in stories], dtype="str"),
            "published_at": pd.Series(pd.DatetimeIndex([story.published_at for story in stories])).astype(TIME_DTYPE),
            "news_id": pd.Series([story.news_id for story in stories], dtype="str"),
            "catalyst_type": pd.Series([story.catalyst_type for story in stories], dtype="str"),
            "sentiment": pd.Series([story.sentiment for story in stories], dtype="str"),
            "score": pd.Series([story.score for story in stories], dtype="float64"),
        }
    )
    return frame.sort_values(list(NEWS.key), ignore_index=True)


def _require_sound(bars: pd.DataFrame) -> None:
    """Repeat of what the request model checks symbol by symbol, for bars that came another way."""
    repeats = bars.duplicated(["symbol", "ts"])
    if repeats.any():
        row = bars.iloc[int(repeats.to_numpy().argmax())]
        raise DataContractError(f"{row['symbol']}: two bars close at {row['ts']}. Send each bar once.")


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _last(item: SymbolBars) -> datetime | None:
    return item.ts[-1].to_pydatetime() if len(item) else None
