"""What counts as success: the label versions on offer, and how far ahead each of them looks.

A version names every number a label depends on besides the bars; labels of two versions are never mixed.
Why these: ``docs/decisions/0004-symmetric-labels.md`` and ``docs/decisions/0011-label-versions.md``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from catalyst_ml.errors import ConfigurationError
from catalyst_ml.market.timeframes import parse_timeframe

if TYPE_CHECKING:
    import pandas as pd

    from catalyst_ml.market.calendar import TradingCalendar

LabelKind = Literal["symmetric", "two_to_one", "market_neutral"]
LABEL_KINDS: tuple[str, ...] = get_args(LabelKind)

DAILY_BARRIER_ATR, INTRADAY_BARRIER_ATR = 1.0, 1.5
DAILY_HORIZON_SESSIONS, INTRADAY_HORIZON_BARS = 5, 24
"""Design section 8."""
COST_BPS_PER_SIDE = 5.0


@dataclass(frozen=True)
class LabelSpec:
    """A trade between two barriers; two specs with the same ``version`` label alike.

    The horizon is either ``horizon_sessions`` (its end: the close of that many sessions later) or, for intraday bars,
    ``horizon_minutes`` cut off at the session's close; the other one is 0. ``both_touched`` says what a bar means that
    reaches both barriers, whose order a bar does not tell: only the cautious reading, ``"loss"``, is offered.
    """

    name: str = "symmetric"
    barrier_atr: float = 1.0
    target_atr: float = 1.0
    horizon_sessions: int = DAILY_HORIZON_SESSIONS
    cost_bps_per_side: float = COST_BPS_PER_SIDE
    atr_period: int = 14
    both_touched: Literal["loss"] = "loss"
    horizon_minutes: int = 0

    def __post_init__(self) -> None:
        is_sound = (
            min(self.barrier_atr, self.target_atr) > 0.0
            and np.isfinite([self.barrier_atr, self.target_atr, self.cost_bps_per_side]).all()
            and self.atr_period >= 1
            and _is_one_horizon(self.horizon_sessions, self.horizon_minutes)
            and self.cost_bps_per_side >= 0.0
            and self.both_touched == "loss"
        )
        if not is_sound:
            raise ConfigurationError(
                f"label spec {self}: expected barriers above 0, at least 1 bar of ATR, a horizon either of sessions or "
                "of minutes, costs of 0 or more and both_touched='loss'. Mend the label parameters."
            )

    @property
    def version(self) -> str:
        """Readable name with a hash of every field, e.g. ``symmetric-1.0atr-5s-5bp.b4d9e8``."""
        stop = "" if self.barrier_atr == self.target_atr else f"{self.barrier_atr}x"
        return f"{self.name}-{stop}{self.target_atr}atr-{_horizon(self)}-{self.cost_bps_per_side:g}bp.{_digest(self)}"


@dataclass(frozen=True)
class MarketNeutralSpec:
    """The stock's return beyond its universe's, from the next open to the horizon's end; no barriers.

    ``min_universe`` stocks, the event's own among them, must have bars at both ends.
    """

    name: str = "market_neutral"
    horizon_sessions: int = DAILY_HORIZON_SESSIONS
    cost_bps_per_side: float = COST_BPS_PER_SIDE
    min_universe: int = 10
    horizon_minutes: int = 0

    def __post_init__(self) -> None:
        is_sound = (
            _is_one_horizon(self.horizon_sessions, self.horizon_minutes)
            and 0.0 <= self.cost_bps_per_side < np.inf
            and self.min_universe >= 2
        )
        if not is_sound:
            raise ConfigurationError(
                f"label spec {self}: expected a horizon either of sessions or of minutes, costs of 0 or more and a "
                "universe of at least 2 stocks. Mend the label parameters."
            )

    @property
    def version(self) -> str:
        """Readable name with a hash of every field, e.g. ``market_neutral-5s-5bp.1f0c2a``."""
        return f"{self.name}-{_horizon(self)}-{self.cost_bps_per_side:g}bp.{_digest(self)}"


AnyLabelSpec = LabelSpec | MarketNeutralSpec


def default_spec(
    timeframe: str = "1d", kind: str = "symmetric", *, cost_bps_per_side: float = COST_BPS_PER_SIDE
) -> AnyLabelSpec:
    """Return the label version of a kind for bars of a length.

    Daily bars: barriers at 1 ATR of the decision bar, 5 sessions. Intraday: 1.5 ATR, the time of 24 bars, flat by the
    session's close. ``two_to_one`` puts the target at twice the stop's distance.

    Raises
    ------
    ConfigurationError
        If the kind or the timeframe is unknown.

    Examples
    --------
    >>> default_spec("5m", "two_to_one").version.rpartition(".")[0]
    'two_to_one-1.5x3.0atr-120min-5bp'
    """
    if kind not in LABEL_KINDS:
        raise ConfigurationError(f"label {kind!r} is unknown; expected one of {', '.join(LABEL_KINDS)}.")
    minutes = parse_timeframe(timeframe).minutes
    horizon: dict[str, Any] = (
        {"horizon_sessions": DAILY_HORIZON_SESSIONS}
        if minutes is None
        else {"horizon_sessions": 0, "horizon_minutes": INTRADAY_HORIZON_BARS * minutes}
    )
    if kind == "market_neutral":
        return MarketNeutralSpec(cost_bps_per_side=cost_bps_per_side, **horizon)
    barrier = DAILY_BARRIER_ATR if minutes is None else INTRADAY_BARRIER_ATR
    target = barrier if kind == "symmetric" else 2.0 * barrier
    return LabelSpec(kind, barrier, target, cost_bps_per_side=cost_bps_per_side, **horizon)


def horizon_ends(ts: pd.Series | pd.DatetimeIndex, spec: AnyLabelSpec, calendar: TradingCalendar) -> pd.DatetimeIndex:
    """Return the moment at which each decision's trade is over whatever happens, UTC.  # (n_events,)

    Raises
    ------
    DataContractError
        If a decision lies in no session, or the horizon leaves the calendar.
    """
    import pandas as pd

    which, unique = pd.factorize(pd.DatetimeIndex(ts))
    moments = pd.DatetimeIndex(unique)
    sessions = calendar.session_of(moments)
    if spec.horizon_minutes:
        in_time = moments + pd.Timedelta(minutes=spec.horizon_minutes)
        closes = calendar.closes(sessions)
        last = in_time.where(in_time <= closes, closes)
    else:
        last = calendar.closes(calendar.shift(sessions, spec.horizon_sessions))
    return pd.DatetimeIndex(last).as_unit("us")[which]


def _is_one_horizon(sessions: int, minutes: int) -> bool:
    return min(sessions, minutes) == 0 and max(sessions, minutes) >= 1


def _horizon(spec: AnyLabelSpec) -> str:
    return f"{spec.horizon_minutes}min" if spec.horizon_minutes else f"{spec.horizon_sessions}s"


def _digest(spec: AnyLabelSpec) -> str:
    fields = dataclasses.asdict(spec)
    if not spec.horizon_minutes:
        del fields["horizon_minutes"]  # daily versions keep the name they had before there were intraday ones
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:6]
