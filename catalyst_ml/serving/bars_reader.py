"""A request with bars, or with names alone, read into events: all that needs frames and compiled kernels.

Runs in a process of its own (``bars_process``); the server itself never imports it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from catalyst_ml.errors import ConfigurationError, DataContractError, InsufficientHistory, RequestRefused
from catalyst_ml.features import catalysts, event_names, events
from catalyst_ml.features.line_inputs import INTRADAY_INPUTS, input_version
from catalyst_ml.features.stock_days import stock_day_version
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.rules import RuleArm, rule_arm
from catalyst_ml.market.timeframes import DAILY, parse_timeframe
from catalyst_ml.registry.lines import ModelLine
from catalyst_ml.serving.bars_in import Story, SymbolBars, see_events
from catalyst_ml.serving.bars_messages import Question, Reading, Seen, Versions, count_bars, without_bars
from catalyst_ml.serving.market_context import ContextSource, MarketContext
from catalyst_ml.serving.refusals import parse_body
from catalyst_ml.serving.requests import (
    MAX_TOTAL_BARS,
    BarColumns,
    BarRow,
    Item,
    NewsStory,
    SignalRequest,
    feature_event,
    require_distinct,
)
from catalyst_ml.serving.warming import warm

CLOCK_SLACK = timedelta(minutes=1)
"""How far a caller's clock may be ahead of ours."""


class BarsReader:
    """Reads requests one after another; keeps what the bar table said of the last closes.

    Raises
    ------
    DataContractError
        If the names that the server knows inputs by are not those of the code that computes them.
    """

    def __init__(self, line: ModelLine, contexts: ContextSource, *, calendar: TradingCalendar | None = None) -> None:
        _require_names()
        self.contexts = contexts
        self.versions = Versions(input_version(line.timeframe), stock_day_version())
        self._line = line
        self.calendar = calendar or TradingCalendar()

    def read(self, question: Question) -> Reading:
        """Return what the bars of a request say.

        Raises
        ------
        RequestRefused
            If it is no request, or contradicts itself; names the field.
        """
        body = parse_body(question.model, question.raw)
        request = body.to_request()
        is_batch = request.items is not None
        items = request.all_items()
        inputs = [
            feature_event(item, f"items[{i}]" if is_batch else "request")
            for i, item in enumerate(items)
            if item.features is not None
        ]
        timeframe = self._line.timeframe
        seen = Seen()
        if len(inputs) < len(items):
            require_distinct(items)
            timeframe = self._timeframe(request)
            seen = _Reading(self, question, timeframe).of(request, items, is_batch=is_batch)
        known = {close: day.token for close, day in seen.days.items() if day.token in question.known_days}
        for close in known:
            del seen.days[close]
        return Reading(
            body=without_bars(body),
            n_bars=count_bars(body),
            timeframe=timeframe,
            open_positions=request.open_positions,
            inputs=inputs,
            seen=seen,
            days_known=known,
            bar_table=self.contexts.problem,
            versions=self.versions,
        )

    def warm(self) -> None:
        """Load the compiled kernels, so that the first request need not; those of daily bars."""
        if self._line.timeframe == DAILY:
            warm(self.calendar)

    def _timeframe(self, request: SignalRequest) -> str:
        if request.timeframe is None:
            return self._line.timeframe
        try:
            return parse_timeframe(request.timeframe).name
        except ConfigurationError as error:
            raise RequestRefused("timeframe", "a length of bars such as 1d, 1h or 5m", request.timeframe) from error


class _Reading:
    """One request being read."""

    def __init__(self, reader: BarsReader, question: Question, timeframe: str) -> None:
        self._contexts, self._calendar = reader.contexts, reader.calendar
        self._arm: RuleArm = rule_arm(question.rule_arm)
        self._now = question.now
        self._timeframe = timeframe
        # Rows of another release mean other things to the companions: they are then not asked.
        self._with_days = question.companions == reader.versions.stock_days
        self._seen = Seen()

    def of(self, request: SignalRequest, items: Sequence[Item], *, is_batch: bool) -> Seen:
        """Make events of the items with bars, and of those named alone whose bars the table has."""
        sent, named = [], []
        for i, item in enumerate(items):
            if item.features is not None:
                continue
            if item.bars is None:
                named.append(item)
            else:
                where = f"items[{i}]" if is_batch else "request"
                sent.append(_of_closed_bars(symbol_bars(item, where), where, self._now))
        if sum(map(len, sent)) > MAX_TOTAL_BARS:
            raise RequestRefused("items", f"{MAX_TOTAL_BARS:,} bars at most", f"{sum(map(len, sent)):,}")
        if named:
            context = self._contexts.of(None)
            found, without = self._from_table(named, context)
            self._seen.held.extend(without)
            if found and context is not None:
                self._add(found, (), context, prefer_request=False)
        if sent:
            closes = {item.ts[-1] for item in sent if len(item) and item.is_answered}
            ask = request.universe == "auto" and len(closes) == 1
            context = self._contexts.of(closes.pop()) if ask else None
            self._add(sent, stories_of(request.news), context, prefer_request=context is None)
        return self._seen

    def _add(
        self, bars: Sequence[SymbolBars], stories: Sequence[Story], context: MarketContext | None, *,
        prefer_request: bool,
    ) -> None:  # fmt: skip
        try:
            part = see_events(
                bars, stories, arm=self._arm, timeframe=self._timeframe, calendar=self._calendar,
                context=context, prefer_request=prefer_request, with_days=self._with_days,
            )  # fmt: skip
        except (DataContractError, InsufficientHistory) as error:
            raise RequestRefused("bars", "bars as training knows them", str(error)) from error
        seen = self._seen
        seen.events.extend(part.events)
        seen.held.extend(part.held)
        # The bar table's stocks of a close stand for the request's, whichever came first.
        seen.days.update({close: day for close, day in part.days.items() if close not in seen.days})
        seen.days_absent.extend(part.days_absent)

    def _from_table(
        self, named: Sequence[Item], context: MarketContext | None
    ) -> tuple[list[SymbolBars], list[tuple[str, str, datetime | None]]]:
        found: list[SymbolBars] = []
        without: list[tuple[str, str, datetime | None]] = []
        for item in named:
            if context is None:
                reason = f"no bars came, and the bar table cannot be read: {self._contexts.problem}"
                without.append((item.symbol, reason, None))
                continue
            window = context.window(item.symbol)
            if window is None:
                without.append((item.symbol, f"no bars came, and the bar table has none at {context.close}", None))
                continue
            found.append(_as_symbol_bars(item.symbol, window, context))
        return found, without


def symbol_bars(item: Item, where: str) -> SymbolBars:
    """Return an item's bars as arrays, checked.

    Raises
    ------
    RequestRefused
        If closes do not rise, or a price lies outside low..high.
    """
    columns = _columns(item.bars) if item.bars is not None else _columns([])
    ts = pd.DatetimeIndex(columns["ts"]) if columns["ts"] else pd.DatetimeIndex([], tz="UTC")
    ts = ts.tz_convert("UTC").as_unit("us")
    arrays = {name: np.array(columns[name], dtype=np.float64) for name in ("open", "high", "low", "close", "volume")}
    falls = np.flatnonzero(np.diff(ts.asi8) <= 0)
    if len(falls):
        at = int(falls[0]) + 1
        raise RequestRefused(f"{where}.bars[{at}].ts", f"a close after {ts[at - 1].isoformat()}", ts[at].isoformat())
    low, high = arrays["low"] * (1 - 1e-9), arrays["high"] * (1 + 1e-9)
    inside = [(low <= arrays[name]) & (arrays[name] <= high) for name in ("open", "close")]
    bad = np.flatnonzero(~(inside[0] & inside[1]))
    if len(bad) and item.kind == "stock":
        at = int(bad[0])
        got = ", ".join(f"{name} {arrays[name][at]:g}" for name in ("open", "high", "low", "close"))
        raise RequestRefused(f"{where}.bars[{at}]", "low <= open, close <= high", got)
    return SymbolBars(
        symbol=item.symbol, ts=ts, kind=item.kind, sector=item.sector,
        is_answered=item.answer and item.kind == "stock", **arrays,
    )  # fmt: skip


def stories_of(news: Sequence[NewsStory]) -> list[Story]:
    return [Story(**story.model_dump()) for story in news]


def _columns(bars: BarColumns | list[BarRow]) -> dict[str, list[Any]]:
    if isinstance(bars, BarColumns):
        return {name: getattr(bars, name) for name in BarColumns.model_fields}
    return {name: [getattr(bar, name) for bar in bars] for name in BarRow.model_fields}


def _of_closed_bars(bars: SymbolBars, where: str, now: datetime) -> SymbolBars:
    """Refuse a bar that is still open: its values are not those of training, and its close is not known yet."""
    if len(bars) and bars.ts[-1] > now + CLOCK_SLACK:
        closes = bars.ts[-1].isoformat()
        raise RequestRefused(
            f"{where}.bars[{len(bars) - 1}].ts", "a bar that has closed", f"one that closes at {closes}"
        )
    return bars


def _as_symbol_bars(symbol: str, window: dict[str, np.ndarray], context: MarketContext) -> SymbolBars:
    bars = context.panel.bars
    ts = bars.loc[(bars["symbol"] == symbol).to_numpy(), "ts"].iloc[-len(window["close"]) :]
    columns: dict[str, Any] = dict(window)
    return SymbolBars(symbol=symbol, ts=pd.DatetimeIndex(ts), **columns)


def _require_names() -> None:
    """The server reads inputs by names written out; they must be those that are computed here."""
    written = (
        event_names.EVENT_COLUMN_NAMES,
        event_names.CATALYST_FEATURE_NAMES,
        event_names.INTRADAY_INPUT_NAMES,
    )
    computed = events.EVENT_COLUMNS, tuple(catalysts.CATALYST_FEATURES), INTRADAY_INPUTS
    if written != computed:
        odd = sorted(set(sum(written, ())) ^ set(sum(computed, ())))[:5]
        raise DataContractError(
            f"features.event_names: expected the names of features.events and its neighbours, differing are {odd} "
            "(or their order). Write them out again."
        )
