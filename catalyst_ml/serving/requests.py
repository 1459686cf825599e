"""What the server is asked, parsed once at the border; a refusal names the field, what was expected and what came."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from catalyst_ml.errors import RequestRefused
from catalyst_ml.features.event_names import EVENT_COLUMN_NAMES, INTRADAY_INPUT_NAMES
from catalyst_ml.serving.judgement import Event

MAX_ITEMS = 2_000
"""Symbols or events of one batch."""
MAX_BARS = 5_000
MAX_TOTAL_BARS = 400_000
MAX_STORIES = 20_000
MAX_PRICE = 1e7
MAX_VOLUME = 1e13
FIRST_YEAR, LAST_YEAR = 1970, 2100


def _text_or_time(value: Any) -> Any:
    """Times are ISO 8601 text with a zone; a bare number could mean seconds or milliseconds and is refused."""
    if not isinstance(value, str | datetime):
        raise ValueError(f"expected ISO 8601 text with a time zone, got {type(value).__name__}")
    return value


def _known_year(moment: datetime) -> datetime:
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise ValueError(f"expected a time from {FIRST_YEAR} to {LAST_YEAR}, got the year {moment.year}")
    return moment


Symbol = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9.\-^=/]{0,15}$")]
Timeframe = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,3}[A-Za-z]{1,5}$")]
Moment = Annotated[AwareDatetime, BeforeValidator(_text_or_time), AfterValidator(_known_year)]
# Strict: a number in quotes, or true, is a caller's mistake.
Number = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=-1e300, le=1e300)]
Price = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0.0, le=MAX_PRICE)]
Volume = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0.0, le=MAX_VOLUME)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RequestBody(BaseModel):
    """A body that can be asked as our own request, whatever its shape."""

    def to_request(self) -> SignalRequest:
        """Our request for the same question."""
        raise NotImplementedError


class BarRow(_Body):
    """One bar, stamped at its close, split-adjusted."""

    ts: Moment
    open: Price
    high: Price
    low: Price
    close: Price
    volume: Volume


class BarColumns(_Body):
    """Many bars as columns of one length: smaller and faster than rows."""

    ts: list[Moment] = Field(max_length=MAX_BARS)
    open: list[Price] = Field(max_length=MAX_BARS)
    high: list[Price] = Field(max_length=MAX_BARS)
    low: list[Price] = Field(max_length=MAX_BARS)
    close: list[Price] = Field(max_length=MAX_BARS)
    volume: list[Volume] = Field(max_length=MAX_BARS)

    @model_validator(mode="after")
    def _one_length(self) -> BarColumns:
        lengths = {name: len(getattr(self, name)) for name in BarColumns.model_fields}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"expected columns of one length, got {lengths}")
        return self


class NewsStory(_Body):
    """One story; what was published after a bar's close is not used for it."""

    symbol: Symbol
    published_at: Moment
    news_id: Annotated[str, StringConstraints(min_length=1, max_length=255)]
    catalyst_type: Annotated[str, StringConstraints(max_length=50)] | None = None
    sentiment: Literal["positive", "negative", "neutral"] = "neutral"
    score: Annotated[float, Field(strict=True, ge=0.0, le=100.0)] = 0.0


class Item(_Body):
    """One symbol: by its model inputs, by its bars, or by name alone (bars are then read from the bar table)."""

    symbol: Symbol
    direction: Literal[1, -1] | None = Field(default=None, description="With features: the side of the event.")
    ts: Moment | None = Field(default=None, description="With features: close of the event's bar.")
    features: dict[str, Number | None] | None = Field(
        default=None, description="Model inputs by name (see /v1/model); what is absent or null is missing."
    )
    bars: BarColumns | list[BarRow] | None = Field(
        default=None, description="The last bars, newest last, 500 for a model's answer; as columns or as rows."
    )
    kind: Literal["stock", "index", "volatility"] = "stock"
    sector: Annotated[str, StringConstraints(max_length=80)] | None = None
    answer: bool = Field(default=True, description="False: the bars only complete the universe.")

    @model_validator(mode="after")
    def _one_way(self) -> Item:
        _require_one_way(self)
        return self


class SignalRequest(_Body, RequestBody):
    """A single symbol, or ``items`` for a batch that is answered under one version."""

    symbol: Symbol | None = None
    direction: Literal[1, -1] | None = None
    ts: Moment | None = None
    features: dict[str, Number | None] | None = None
    bars: BarColumns | list[BarRow] | None = None
    kind: Literal["stock", "index", "volatility"] = "stock"
    sector: Annotated[str, StringConstraints(max_length=80)] | None = None
    items: list[Item] | None = Field(default=None, min_length=1, max_length=MAX_ITEMS)
    timeframe: Timeframe | None = Field(default=None, description="Length of the bars; the served line's if absent.")
    news: list[NewsStory] = Field(default=[], max_length=MAX_STORIES)
    open_positions: Annotated[int, Field(strict=True, ge=0, le=10_000)] = Field(
        default=0, description="Positions the account holds now; at five, no further one is suggested."
    )
    universe: Literal["auto", "request"] = Field(
        default="auto", description="request: take the universe's means from the bars of this request alone."
    )

    @model_validator(mode="after")
    def _single_or_batch(self) -> SignalRequest:
        single = [name for name in ("symbol", "direction", "ts", "features", "bars") if getattr(self, name) is not None]
        if self.items is not None and single:
            raise ValueError(f"expected a single symbol or items, got items and {single}")
        if self.items is None and self.symbol is None:
            raise ValueError("expected symbol, or items for a batch, got neither")
        _require_one_way(self)
        return self

    def to_request(self) -> SignalRequest:
        return self

    @property
    def is_of_inputs(self) -> bool:
        """True if every item carries its model inputs: nobody needs bars to answer it."""
        if self.items is None:
            return self.features is not None
        return all(item.features is not None for item in self.items)

    def all_items(self) -> list[Item]:
        """The batch, or the single symbol as a batch of one."""
        if self.items is not None:
            return self.items
        return [
            Item.model_construct(  # its fields were checked as ours
                symbol=str(self.symbol),
                direction=self.direction,
                ts=self.ts,
                features=self.features,
                bars=self.bars,
                kind=self.kind,
                sector=self.sector,
            )
        ]


def _require_one_way(item: Item | SignalRequest) -> None:
    if item.features is not None and item.bars is not None:
        raise ValueError("expected features or bars, got both")
    if item.features is not None and item.direction is None:
        raise ValueError("expected direction beside features, 1 (bullish) or -1 (bearish), got none")


def feature_event(item: Item | SignalRequest, where: str) -> Event:
    """Return the event of an item with features, or of a request that is one.

    Raises
    ------
    RequestRefused
        If a feature's name is none that events carry.
    """
    features = item.features or {}
    if not features.keys() <= _KNOWN:
        unknown = next(name for name in features if name not in _KNOWN)
        raise RequestRefused(f"{where}.features.{unknown[:80]}", "a name that /v1/model lists", "an unknown name")
    return Event(symbol=str(item.symbol), ts=item.ts, direction=item.direction or 1, inputs=features)


_KNOWN = frozenset((*EVENT_COLUMN_NAMES, *INTRADAY_INPUT_NAMES))


def require_distinct(items: Sequence[Item]) -> None:
    """Refuse a batch that names a symbol's bars twice."""
    first: dict[str, int] = {}
    for i, item in enumerate(items):
        if item.features is not None:
            continue
        if item.symbol in first:
            raise RequestRefused(f"items[{i}].symbol", "each symbol once", f"{item.symbol} as in {first[item.symbol]}")
        first[item.symbol] = i
