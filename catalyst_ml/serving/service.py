"""The service behind the HTTP paths: one request in, one snapshot taken, its signals out and into the ledger."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from time import monotonic
from typing import Any, TypeVar

from catalyst_ml.registry.lines import ModelLine
from catalyst_ml.serving.bars_messages import BarsDesk, BarsUnavailable, Question, Reading, Versions
from catalyst_ml.serving.companions import Outlooks, ServedCompanions, StockDay
from catalyst_ml.serving.following import ChannelFollower
from catalyst_ml.serving.judgement import Circumstances, Event, Judge, Signal, hold
from catalyst_ml.serving.ledger import Ledger
from catalyst_ml.serving.meters import Meters
from catalyst_ml.serving.refusals import parse_body
from catalyst_ml.serving.requests import (
    BarColumns,
    Item,
    RequestBody,
    SignalRequest,
    feature_event,
    require_distinct,
)
from catalyst_ml.serving.snapshot import Snapshot

RECENT = 200
"""Answers kept in memory for the trial page."""
KEPT_DAYS = 3
"""Closes of the bar table whose stocks are kept for requests with inputs alone."""

Body = TypeVar("Body", bound=RequestBody)


@dataclass(frozen=True)
class Answer:
    """All signals of one request, given under one snapshot. ``recorded``: the ledger has them.

    ``n_bars``: how many bars the request brought.
    """

    signals: list[Signal]
    snapshot: Snapshot
    recorded: bool
    answered_at: datetime
    n_bars: int = 0

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
        bars: BarsDesk,
        meters: Meters,
        *,
        judge: Judge,
        max_data_age_s: float | None = None,
    ) -> None:
        self.line = line
        self.follower = follower
        self.ledger = ledger
        self.bars = bars
        self.meters = meters
        self._judge = judge
        self._max_age_s = max_data_age_s
        self._days: dict[datetime, StockDay] = {}  # replaced, never changed: several threads read it
        self.recent: deque[tuple[datetime, Signal]] = deque(maxlen=RECENT)

    @property
    def versions(self) -> Versions | None:
        """What this release computes; asked for in the background, and None, until the process for bars has said."""
        if self.bars.versions is None:
            self.bars.prepare()
        return self.bars.versions

    def answer(self, request: SignalRequest, *, now: datetime | None = None) -> Answer:
        """Answer every item of a request under one snapshot.

        Raises
        ------
        RequestRefused
            If the request contradicts itself; names the field.
        """
        if not request.is_of_inputs:
            return self.answer_body(SignalRequest, request.model_dump_json().encode(), now=now)[1]
        moment = now or datetime.now(UTC)
        events = _events_of_inputs(request)
        snapshot = self.follower.snapshot
        outlooks = self._outlooks_in_memory(events, snapshot.companions)
        return self._answered(snapshot, events, (), Circumstances(moment, outlooks, request.open_positions))

    def answer_body(
        self, model: type[Body], raw: bytes, *, now: datetime | None = None, asked_at: float | None = None
    ) -> tuple[Body, Answer]:
        """Answer a body that is not parsed yet; bars in it are left to the process for bars, which parses it.

        Parameters
        ----------
        asked_at
            When it came (``time.monotonic``); its time is counted from there.

        Returns
        -------
        tuple
            The body, without its bars, and the answer.

        Raises
        ------
        RequestRefused
            If it is no such body, or the request contradicts itself; names the field.
        BarsLate
            If its time is over; nothing is recorded then.
        """
        if b'"bars"' not in raw:
            body = parse_body(model, raw)
            request = body.to_request()
            if request.is_of_inputs:
                return body, self.answer(request, now=now)
        moment = now or datetime.now(UTC)
        snapshot = self.follower.snapshot
        companions = snapshot.companions
        kept = {day.token: day for day in self._days.values()}
        question = Question(
            model, raw, snapshot.rule_arm.name, moment,
            companions=companions.trained_on if companions is not None else None, known_days=frozenset(kept),
        )  # fmt: skip
        try:
            reading = self.bars.read(question, asked_at=monotonic() if asked_at is None else asked_at)
        except BarsUnavailable as error:
            return self._held(model, raw, snapshot, moment, str(error))
        seen = reading.seen
        seen.days.update({close: kept[token] for close, token in reading.days_known.items()})
        self._keep(seen.days)
        outlooks = seen.outlooks
        if companions is not None and (unfit := companions.unfit_for(reading.versions.stock_days)):
            outlooks = Outlooks(absent=unfit)
        events = [*reading.inputs, *self._fit_for(seen.events, snapshot, reading)]
        about = Circumstances(moment, outlooks, reading.open_positions)
        answer = self._answered(snapshot, events, seen.held, about)
        read: Any = reading.body  # of the model that was asked for
        return read, replace(answer, n_bars=reading.n_bars)

    def _held(
        self, model: type[Body], raw: bytes, snapshot: Snapshot, now: datetime, reason: str
    ) -> tuple[Body, Answer]:
        """HOLD with the reason for each symbol whose bars nobody could read; items with inputs are answered."""
        body = parse_body(model, raw)
        request = body.to_request()
        items = request.all_items()
        require_distinct(items)
        asked = [item for item in items if item.features is None and item.answer and item.kind == "stock"]
        about = Circumstances(now, Outlooks(absent=reason), request.open_positions)
        return body, self._answered(
            snapshot, _events_of_inputs(request), [(item.symbol, reason, _last_close(item)) for item in asked], about,
            fallback=reason,
        )  # fmt: skip

    def _keep(self, days: Mapping[datetime, StockDay]) -> None:
        """Remember the bar table's stocks of the closes that were asked about last."""
        new = {close: day for close, day in days.items() if day.token and self._days.get(close) is not day}
        if new:
            old = {close: day for close, day in self._days.items() if close not in new}
            self._days = dict(list((old | new).items())[-KEPT_DAYS:])

    def _outlooks_in_memory(self, events: Sequence[Event], companions: ServedCompanions | None) -> Outlooks:
        """Inputs alone say nothing of the day's other stocks: the bar table's, if it was read for this close."""
        kept = self._days
        if companions is None or not kept:
            return _NONE_IN_MEMORY
        days = {event.ts: kept[event.ts] for event in events if event.ts in kept}
        return Outlooks(days, _NONE_IN_MEMORY.absent) if days else _NONE_IN_MEMORY

    def _answered(
        self,
        snapshot: Snapshot,
        events: Sequence[Event],
        held: Sequence[tuple[str, str, datetime | None]],
        about: Circumstances,
        *,
        fallback: str | None = None,
    ) -> Answer:
        """Judge, hold, record; ``fallback`` is why what is held is held, if not for want of a pattern."""
        now = about.now
        signals = self._judge.judge(snapshot, events, about)
        quiet = [hold(snapshot, symbol, reason, about, ts=ts) for symbol, reason, ts in held]
        signals += [replace(signal, fallback_reason=fallback) for signal in quiet] if fallback else quiet
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

    def _fit_for(self, events: list[Event], snapshot: Snapshot, reading: Reading) -> list[Event]:
        graph = snapshot.graph
        if graph is None:
            return events
        if reading.timeframe != self.line.timeframe:
            reason = f"bars of {reading.timeframe}; version {snapshot.version_id} knows {self.line}"
            return _unfit_for_version(events, reason)
        computed = reading.versions.inputs
        if graph.feature_set_version != computed:
            reason = (
                f"version {snapshot.version_id} was trained on features {graph.feature_set_version}, this server "
                f"computes {computed}: install the release that trained it"
            )
            return _unfit_for_version(events, reason)
        return events


def _events_of_inputs(request: SignalRequest) -> list[Event]:
    """Events of the items that came with their model inputs."""
    if request.items is None:
        return [] if request.features is None else [feature_event(request, "request")]
    return [feature_event(item, f"items[{i}]") for i, item in enumerate(request.items) if item.features is not None]


def _unfit_for_version(events: Sequence[Event], reason: str) -> list[Event]:
    """The events marked as not to be judged by a model, for ``reason``, unless they had one already."""
    return [event if event.unfit else replace(event, unfit=reason) for event in events]


def _last_close(item: Item) -> datetime | None:
    if not item.bars:
        return None
    return (item.bars.ts[-1] if item.bars.ts else None) if isinstance(item.bars, BarColumns) else item.bars[-1].ts
