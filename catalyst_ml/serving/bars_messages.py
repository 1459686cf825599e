"""What the server and its process for bars say to each other: plain data, no frames; light to import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from pydantic import BaseModel

from catalyst_ml.errors import SourceUnavailable
from catalyst_ml.serving.companions import Outlooks, StockDay
from catalyst_ml.serving.judgement import Event
from catalyst_ml.serving.requests import RequestBody


class BarsUnavailable(SourceUnavailable):
    """Nothing could work on a request's bars. Reaction: HOLD with the reason; the next request tries again."""


class BarsLate(SourceUnavailable):
    """A request's bars were not worked on within its time. Reaction: none; the caller was told already."""


class Versions(NamedTuple):
    """What this release computes: ``line_inputs.input_version`` and ``stock_days.stock_day_version`` of features."""

    inputs: str
    stock_days: str


@dataclass(frozen=True)
class Question:
    """A request as it came, and what of the snapshot that will answer it matters for its bars.

    Parameters
    ----------
    model, raw
        Shape of the body, and the body itself, not parsed yet.
    rule_arm
        Name of the arm that scores the events.
    companions
        Version of the stock-days that the snapshot's companions were trained on; None without companions.
    known_days
        Tokens of the bar table's stock-days that need not be sent again.
    """

    model: type[RequestBody]
    raw: bytes = field(repr=False)
    rule_arm: str
    now: datetime
    companions: str | None = None
    known_days: frozenset[str] = frozenset()

    def without_raw(self) -> Question:
        """All but the body, which travels as it is."""
        return replace(self, raw=b"")


@dataclass(frozen=True)
class Seen:
    """Events at the last bars, and symbols without one together with the reason, ``(symbol, reason, close)``.

    ``days`` are the stocks of their closes, for the companions; ``days_absent`` says why a close has none.
    """

    events: list[Event] = field(default_factory=list)
    held: list[tuple[str, str, datetime | None]] = field(default_factory=list)
    days: dict[datetime, StockDay] = field(default_factory=dict)
    days_absent: list[str] = field(default_factory=list)

    @property
    def outlooks(self) -> Outlooks:
        """What the companions are asked about."""
        return Outlooks(self.days, self.days_absent[0] if self.days_absent else "no bars of this close are known")


@dataclass(frozen=True)
class Reading:
    """What a request's bars say.

    Parameters
    ----------
    body
        The parsed request without its bars, items and news; ``n_bars`` is how many bars came.
    inputs
        Events of the items that came with model inputs, in their order.
    days_known
        Closes whose stock-day was left out of ``seen.days``, for its token was among the known ones.
    bar_table
        Why the bar table cannot be read; None if it can, or was not asked.
    """

    body: RequestBody
    n_bars: int
    timeframe: str
    open_positions: int
    inputs: list[Event]
    seen: Seen
    days_known: Mapping[datetime, str]
    bar_table: str | None
    versions: Versions


class BarsDesk(Protocol):
    """Whoever reads a request's bars; asked by several threads."""

    versions: Versions | None
    """None until it is known."""
    bar_table: str
    """What /health says of the bar table."""
    problem: str | None
    """Why the last request's bars were not read; None once one was."""

    def read(self, question: Question, *, asked_at: float) -> Reading:
        """Read the bars of a request; blocks.

        ``asked_at`` (``time.monotonic``) is when the request came: its time is counted from there.

        Raises
        ------
        RequestRefused
            If the request contradicts itself; names the field.
        BarsUnavailable
            If nobody could read it.
        BarsLate
            If its time is over.
        """
        ...

    def prepare(self) -> None:
        """Find out ``versions`` in the background, unless they are known; returns at once."""
        ...

    def state(self) -> dict[str, Any]:
        """What /health says of the desk."""
        ...

    def stop(self) -> None:
        """End it; what is worked on is given up."""
        ...


def without_bars(body: RequestBody) -> RequestBody:
    """The body without what is large; for whoever writes the answer."""
    large: dict[str, Any] = {"bars": None, "items": None, "news": []}
    return body.model_copy(update={name: value for name, value in large.items() if name in type(body).model_fields})


def count_bars(body: BaseModel) -> int:
    """Bars that a body carries."""
    bars = getattr(body, "bars", None)
    own = 0 if bars is None else len(bars.ts) if hasattr(bars, "ts") else len(bars)
    return own + sum(count_bars(item) for item in getattr(body, "items", None) or ())
