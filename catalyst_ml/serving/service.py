"""The service behind the HTTP paths: one request in, one snapshot taken, its signals out and into the ledger."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from catalyst_ml.errors import ConfigurationError, DataContractError, InsufficientHistory, RequestRefused
from catalyst_ml.features.line_inputs import input_version
from catalyst_ml.market.bar_stamps import parse_timeframe
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.registry.lines import ModelLine
from catalyst_ml.serving.bars_in import Seen, Story, SymbolBars, see_events, unfit_for_version
from catalyst_ml.serving.companions import Outlooks, ServedCompanions
from catalyst_ml.serving.following import ChannelFollower
from catalyst_ml.serving.judgement import Circumstances, Event, Judge, Signal, hold
from catalyst_ml.serving.ledger import Ledger
from catalyst_ml.serving.market_context import ContextSource, MarketContext
from catalyst_ml.serving.meters import Meters
from catalyst_ml.serving.requests import (
    MAX_TOTAL_BARS,
    Item,
    SignalRequest,
    feature_event,
    require_distinct,
    stories_of,
    symbol_bars,
)
from catalyst_ml.serving.snapshot import Snapshot

CLOCK_SLACK = timedelta(minutes=1)
"""How far a caller's clock may be ahead of ours."""
RECENT = 200
"""Answers kept in memory for the trial page."""


@dataclass(frozen=True)
class Answer:
    """All signals of one request, given under one snapshot. ``recorded``: the ledger has them."""

    signals: list[Signal]
    snapshot: Snapshot
    recorded: bool
    answered_at: datetime

    def to_dict(self) -> dict[str, Any]:
        return {
            "signals": [signal.to_dict() for signal in self.signals],
            "version_id": self.snapshot.version_id,
            "sequence": self.snapshot.sequence,
            "stage": self.snapshot.stage,
            "source": self.snapshot.place,
            "fallback_reason": self.snapshot.fallback,
            "recorded": self.recorded,
            "answered_at": self.answered_at.isoformat().replace("+00:00", "Z"),
        }


_NONE_IN_MEMORY = Outlooks(
    absent="inputs alone do not say where a stock stands among the day's: send the bars of all, or ask by symbol once"
)


class SignalService:
    """Answers requests; safe to call from several threads."""

    def __init__(
        self,
        line: ModelLine,
        follower: ChannelFollower,
        ledger: Ledger,
        contexts: ContextSource,
        meters: Meters,
        *,
        judge: Judge,
        calendar: TradingCalendar | None = None,
        max_data_age_s: float | None = None,
    ) -> None:
        self.line = line
        self.follower = follower
        self.ledger = ledger
        self.contexts = contexts
        self.meters = meters
        self._judge = judge
        self._calendar = calendar or TradingCalendar()
        self._max_age_s = max_data_age_s
        self.input_version = input_version(line.timeframe)
        self.recent: deque[tuple[datetime, Signal]] = deque(maxlen=RECENT)

    def answer(self, request: SignalRequest, *, now: datetime | None = None) -> Answer:
        """Answer every item of a request under one snapshot.

        Raises
        ------
        RequestRefused
            If the request contradicts itself; names the field.
        """
        moment = now or datetime.now(UTC)
        items = request.all_items()
        is_batch = request.items is not None
        events = []
        for i, item in enumerate(items):
            if item.features is not None:
                events.append(feature_event(item, f"items[{i}]" if is_batch else "request"))
        snapshot = self.follower.snapshot
        if len(events) == len(items):
            seen, outlooks = Seen(), self._outlooks_in_memory(events, snapshot.companions)
        else:
            require_distinct(items)
            seen = self._see(request, items, snapshot, is_batch=is_batch, now=moment)
            outlooks = seen.outlooks
        about = Circumstances(moment, outlooks, request.open_positions)
        return self._answered(snapshot, [*events, *seen.events], seen.held, about)

    def _outlooks_in_memory(self, events: Sequence[Event], companions: ServedCompanions | None) -> Outlooks:
        """Inputs alone say nothing of the day's other stocks: the bar table's, if it was read for this close."""
        if companions is None:
            return _NONE_IN_MEMORY
        days = {}
        for ts in {event.ts for event in events}:
            context = self.contexts.kept(ts)
            if ts is not None and context is not None and context.has_stock_day:
                days[ts] = context.stock_day
        return Outlooks(days, _NONE_IN_MEMORY.absent) if days else _NONE_IN_MEMORY

    def _answered(
        self,
        snapshot: Snapshot,
        events: Sequence[Event],
        held: Sequence[tuple[str, str, datetime | None]],
        about: Circumstances,
    ) -> Answer:
        now = about.now
        signals = self._judge.judge(snapshot, events, about)
        signals += [hold(snapshot, symbol, reason, about, ts=ts) for symbol, reason, ts in held]
        if self._max_age_s is not None:
            signals = [self._fresh_or_hold(signal) for signal in signals]
        recorded = self.ledger.record(signals, now=now)
        self.meters.count_signals(signals)
        self.recent.extend((now, signal) for signal in signals[-RECENT:])
        return Answer(signals, snapshot, recorded, now)

    def _fresh_or_hold(self, signal: Signal) -> Signal:
        age, most = signal.data_age_s, self._max_age_s
        if age is None or most is None or age <= most:
            return signal
        reason = f"the newest bar is {age:,.0f} s old, {most:,.0f} s are allowed (SERVE_MAX_DATA_AGE_S)"
        return replace(
            signal, action="HOLD", arm="hold", abstain=True, reason=reason, fallback_reason=reason,
            position_size=0.0, position_reason=reason,
        )  # fmt: skip

    def _see(
        self, request: SignalRequest, items: Sequence[Item], snapshot: Snapshot, *, is_batch: bool, now: datetime
    ) -> Seen:
        """Make events of the items with bars, and of those named alone whose bars the table has."""
        timeframe = self._timeframe(request)
        sent, named = [], []
        for i, item in enumerate(items):
            if item.features is not None:
                continue
            if item.bars is None:
                named.append(item)
            else:
                where = f"items[{i}]" if is_batch else "request"
                sent.append(_of_closed_bars(symbol_bars(item, where), where, now))
        if sum(map(len, sent)) > MAX_TOTAL_BARS:
            raise RequestRefused("items", f"{MAX_TOTAL_BARS:,} bars at most", f"{sum(map(len, sent)):,}")
        seen = Seen()
        if named:
            context = self.contexts.of(None)
            found, without = self._from_table(named, context)
            seen.held.extend(without)
            if found and context is not None:
                self._add(seen, found, (), snapshot, timeframe, context, prefer_request=False)
        if sent:
            closes = {item.ts[-1] for item in sent if len(item) and item.is_answered}
            ask = request.universe == "auto" and len(closes) == 1
            context = self.contexts.of(closes.pop()) if ask else None
            only_request = context is None
            stories = stories_of(request.news)
            self._add(seen, sent, stories, snapshot, timeframe, context, prefer_request=only_request)
        return seen

    def _add(
        self,
        seen: Seen,
        bars: Sequence[SymbolBars],
        stories: Sequence[Story],
        snapshot: Snapshot,
        timeframe: str,
        context: MarketContext | None,
        *,
        prefer_request: bool,
    ) -> None:
        try:
            part = see_events(
                bars, stories, arm=snapshot.rule_arm, timeframe=timeframe, calendar=self._calendar,
                context=context, prefer_request=prefer_request,
                with_days=snapshot.companions is not None and not snapshot.companions.unfit,
            )  # fmt: skip
        except (DataContractError, InsufficientHistory) as error:
            raise RequestRefused("bars", "bars as training knows them", str(error)) from error
        seen.events.extend(self._fit_for(part.events, snapshot, timeframe))
        seen.held.extend(part.held)
        # The bar table's stocks of a close stand for the request's, whichever came first.
        seen.days.update({close: day for close, day in part.days.items() if close not in seen.days})
        seen.days_absent.extend(part.days_absent)

    def _fit_for(self, events: list[Event], snapshot: Snapshot, timeframe: str) -> list[Event]:
        graph = snapshot.graph
        if graph is None:
            return events
        if timeframe != self.line.timeframe:
            return unfit_for_version(events, f"bars of {timeframe}; version {snapshot.version_id} knows {self.line}")
        if graph.feature_set_version != self.input_version:
            reason = (
                f"version {snapshot.version_id} was trained on features {graph.feature_set_version}, this server "
                f"computes {self.input_version}: install the release that trained it"
            )
            return unfit_for_version(events, reason)
        return events

    def _from_table(
        self, named: Sequence[Item], context: MarketContext | None
    ) -> tuple[list[SymbolBars], list[tuple[str, str, datetime | None]]]:
        found: list[SymbolBars] = []
        without: list[tuple[str, str, datetime | None]] = []
        for item in named:
            if context is None:
                reason = f"no bars came, and the bar table cannot be read: {self.contexts.problem}"
                without.append((item.symbol, reason, None))
                continue
            window = context.window(item.symbol)
            if window is None:
                without.append((item.symbol, f"no bars came, and the bar table has none at {context.close}", None))
                continue
            found.append(_as_symbol_bars(item.symbol, window, context))
        return found, without

    def _timeframe(self, request: SignalRequest) -> str:
        if request.timeframe is None:
            return self.line.timeframe
        try:
            return parse_timeframe(request.timeframe).name
        except ConfigurationError as error:
            raise RequestRefused("timeframe", "a length of bars such as 1d, 1h or 5m", request.timeframe) from error


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
