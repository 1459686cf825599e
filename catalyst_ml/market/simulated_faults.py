"""What goes wrong in the simulated data, and where: planted, so that quality rules can be scored against it.

Corporate actions recorded and unrecorded, bars missing, empty or restated, companies that come and go. Every fault
is listed; except for the jumps before a delisting, none of them moves the price a holder would see.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

MISSING_BARS = 0.0004
NEW_LISTING_SESSIONS = 90
EXIT_SESSIONS = 15
"""Sessions that a company still trades after the news that ends it."""
TAKEOVER_JUMP, FAILURE_JUMP = np.log(1.3), np.log(0.5)
RESTATED_CLOSE, RESTATED_VOLUME = 0.003, 0.3
"""Largest error of a first published close, as a share, and of a first published volume."""

SPLIT, MISSED_SPLIT, BOGUS_SPLIT, SPIN_OFF = "split", "missed_split", "bogus_split", "spin_off"
DIVIDEND, DELISTING, NEW_LISTING = "dividend", "delisting", "new_listing"
TAKEOVER, FAILURE = "takeover", "failure"
MISSING_BAR, MISSING_WEEK, ZERO_VOLUME, RESTATED = "missing_bar", "missing_week", "zero_volume", "restated"
LATE_NEWS = "late_news"

UNRECORDED = (MISSED_SPLIT, BOGUS_SPLIT, SPIN_OFF)
"""Kinds whose raw prices and split factors contradict each other."""
REAL_JUMPS = (TAKEOVER, FAILURE)
"""Kinds that look like errors and are not."""


class Planted(NamedTuple):
    """One fault: session and symbol as positions, ``value`` as in :class:`Faults`."""

    kind: str
    session: int
    symbol: int
    value: float = np.nan
    n_sessions: int = 1


@dataclass(frozen=True)
class Faults:
    """Faults of one market. Arrays are (n_sessions, n_symbols).

    ``split_factor`` is what the data record, ``share_factor`` what happened to the number of shares, and
    ``price_factor`` by what a raw price must be multiplied to compare with the price before: equal but for faults.
    ``final_jump`` is the overnight return of companies about to go. ``planted`` has kind, session and symbol (as
    positions), ``value`` (the factor, jump or error, where there is one) and ``n_sessions``. A delisting stands at
    the last session, a new listing at the first.
    """

    split_factor: np.ndarray
    share_factor: np.ndarray
    price_factor: np.ndarray
    final_jump: np.ndarray
    is_traded: np.ndarray
    is_empty: np.ndarray
    planted: pd.DataFrame


def draw_faults(rng: np.random.Generator, *, n_sessions: int, n_symbols: int) -> Faults:
    """Draw the faults of a market: each kind in small number, on stocks of its own where it could hide another."""
    shape = (n_sessions, n_symbols)
    faults = Faults(
        split_factor=np.ones(shape),
        share_factor=np.ones(shape),
        price_factor=np.ones(shape),
        final_jump=np.zeros(shape),
        is_traded=rng.random(shape) >= MISSING_BARS,
        is_empty=np.zeros(shape, dtype=bool),
        planted=pd.DataFrame(),
    )
    planted: list[Planted] = []
    who = _assign(rng, n_symbols)
    _plant_actions(rng, faults, who, planted)
    _plant_exits(rng, faults, who[DELISTING], planted)
    _plant_holes(rng, faults, who, planted)
    _list_newcomer(faults, n_symbols - 1, planted)
    _list_missing_bars(faults, planted)
    _plant_restatements(rng, faults, planted)
    return dataclasses.replace(faults, planted=pd.DataFrame(planted, columns=Planted._fields))


def _assign(rng: np.random.Generator, n_symbols: int) -> dict[str, np.ndarray]:
    """Return which stocks carry which kind; the last stock is the newcomer and carries none."""
    numbers = {
        SPLIT: max(2, n_symbols // 20),
        SPIN_OFF: max(1, n_symbols // 40),
        ZERO_VOLUME: max(1, n_symbols // 40),
        MISSING_WEEK: max(1, n_symbols // 24),
        DELISTING: n_symbols // 24,
        MISSED_SPLIT: n_symbols // 60,
        BOGUS_SPLIT: n_symbols // 60,
    }
    order = rng.permutation(n_symbols - 1)
    ends = np.cumsum(list(numbers.values()))
    return dict(zip(numbers, np.split(order[: ends[-1]], ends[:-1]), strict=True))


def _plant_actions(
    rng: np.random.Generator, faults: Faults, who: dict[str, np.ndarray], planted: list[Planted]
) -> None:
    """Plant splits, splits nobody recorded, records of splits that never were, and spin-offs."""
    n_sessions = len(faults.is_traded)
    ratios = {
        # The last recorded split is a reverse one.
        SPLIT: np.append(rng.choice([2.0, 3.0, 1.5], len(who[SPLIT]) - 1), 0.25),
        MISSED_SPLIT: rng.choice([2.0, 3.0], len(who[MISSED_SPLIT])),
        BOGUS_SPLIT: rng.choice([0.3, 2.0, 4.0], len(who[BOGUS_SPLIT])),
        SPIN_OFF: 1.0 / (1.0 - rng.uniform(0.2, 0.5, len(who[SPIN_OFF]))),
    }
    moved = {
        SPLIT: (faults.split_factor, faults.share_factor, faults.price_factor),
        MISSED_SPLIT: (faults.share_factor, faults.price_factor),
        BOGUS_SPLIT: (faults.split_factor,),
        SPIN_OFF: (faults.price_factor,),
    }
    for kind, factors in ratios.items():
        when = rng.integers(n_sessions // 10, n_sessions - 5, len(factors))
        for table in moved[kind]:
            table[when, who[kind]] = factors
        # An action shows only if the bars on both sides of it exist.
        faults.is_traded[when - 1, who[kind]] = faults.is_traded[when, who[kind]] = True
        planted += [Planted(kind, int(t), int(s), float(f)) for t, s, f in zip(when, who[kind], factors, strict=True)]


def _plant_exits(rng: np.random.Generator, faults: Faults, who: np.ndarray, planted: list[Planted]) -> None:
    """Plant companies that stop trading, taken over and failed ones in turn, some sessions after a real jump."""
    n_sessions = len(faults.is_traded)
    last = rng.integers(n_sessions // 2, n_sessions - 5, len(who))
    for i, (end, symbol) in enumerate(zip(last, who, strict=True)):
        kind, jump = ((FAILURE, FAILURE_JUMP), (TAKEOVER, TAKEOVER_JUMP))[i % 2]
        news = int(end) - EXIT_SESSIONS
        faults.final_jump[news, symbol] = jump
        faults.is_traded[news - 1 : end + 1, symbol] = True
        faults.is_traded[end + 1 :, symbol] = False
        planted.append(Planted(kind, news, int(symbol), float(np.expm1(jump))))
        planted.append(Planted(DELISTING, int(end), int(symbol)))


def _plant_holes(rng: np.random.Generator, faults: Faults, who: dict[str, np.ndarray], planted: list[Planted]) -> None:
    """Plant a missing week in some stocks, and bars without a single trade in others."""
    n_sessions = len(faults.is_traded)
    for symbol in who[MISSING_WEEK]:
        first = int(rng.integers(n_sessions // 10, n_sessions - 10))
        faults.is_traded[first - 1 : first + 6, symbol] = True
        faults.is_traded[first : first + 5, symbol] = False
        planted.append(Planted(MISSING_WEEK, first, int(symbol), n_sessions=5))
    for symbol in who[ZERO_VOLUME]:
        when = rng.choice(np.arange(n_sessions // 10, n_sessions - 5), min(6, n_sessions // 20), replace=False)
        faults.is_empty[when, symbol] = True
        faults.is_traded[when - 1, symbol] = faults.is_traded[when, symbol] = True
        planted += [Planted(ZERO_VOLUME, int(t), int(symbol)) for t in sorted(when)]


def _list_newcomer(faults: Faults, symbol: int, planted: list[Planted]) -> None:
    first = len(faults.is_traded) - min(NEW_LISTING_SESSIONS, len(faults.is_traded) // 2)
    faults.is_traded[:first, symbol] = False
    faults.is_traded[first, symbol] = True
    planted.append(Planted(NEW_LISTING, first, symbol))


def _list_missing_bars(faults: Faults, planted: list[Planted]) -> None:
    """List the bars that are missing for no reason of their own."""
    explained = np.zeros(faults.is_traded.shape, dtype=bool)
    for kind, session, symbol, _, n in planted:
        if kind == MISSING_WEEK:
            explained[session : session + n, symbol] = True
        elif kind == DELISTING:
            explained[session + 1 :, symbol] = True
        elif kind == NEW_LISTING:
            explained[:session, symbol] = True
    missing = np.argwhere(~faults.is_traded & ~explained)
    planted += [Planted(MISSING_BAR, int(t), int(s)) for t, s in missing]


def _plant_restatements(rng: np.random.Generator, faults: Faults, planted: list[Planted]) -> None:
    """Choose bars that are published wrong and mended a session later; away from every other fault."""
    n_sessions, n_symbols = faults.is_traded.shape
    busy = {(session + d, symbol) for _, session, symbol, _, n in planted for d in range(-2, min(n, 5) + 2)}
    for _ in range(max(1, n_symbols // 8)):
        session, symbol = int(rng.integers(n_sessions // 10, n_sessions - 1)), int(rng.integers(n_symbols - 1))
        error = float(rng.uniform(-RESTATED_CLOSE, RESTATED_CLOSE))
        if (session, symbol) not in busy and faults.is_traded[session, symbol]:
            planted.append(Planted(RESTATED, session, symbol, error))
            busy.add((session, symbol))
