"""How far a stock may move and where it ranks at its close: the second graph of a version, asked about whole closes.

A rank is a place among the day's stocks, and most inputs are such places too; so the question is always asked for all
stocks of a close together. They come from the request or from the bar table. Where neither has them, the answer is
None with the reason, never a guess from one stock's bars.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd

from catalyst_ml.errors import ArtifactRefused
from catalyst_ml.features.panel import MarketPanel
from catalyst_ml.features.stock_days import inputs_of_close, stock_day_version
from catalyst_ml.features.universe import MIN_UNIVERSE
from catalyst_ml.models.companion_serving import (
    COMPANION_FILE,
    MIN_STOCKS,
    OUTPUTS,
    companion_inputs,
    companion_version,
    expected_move_and_rank,
    open_companions,
)
from catalyst_ml.models.graph_names import INPUT


class Outlook(NamedTuple):
    """What the companions say of one stock at its close.

    ``expected_move`` is the expected absolute market-neutral return over five sessions, a fraction of the price;
    ``rank_next_session`` and ``rank_five_sessions`` are places among the close's stocks, 0 worst to 1 best. Where one
    of them is None, ``reason`` says why.
    """

    expected_move: float | None
    rank_next_session: float | None
    rank_five_sessions: float | None
    reason: str


@dataclass(frozen=True, eq=False)
class StockDay:
    """All stocks of one close. ``rows``: ``features.stock_days.inputs_of_close``; ``absent`` says why it is empty."""

    close: pd.Timestamp
    rows: pd.DataFrame = field(repr=False)
    source: str
    absent: str = ""


def stock_day_of(panel: MarketPanel, close: pd.Timestamp, *, source: str) -> StockDay:
    """Compute the inputs of every stock of ``panel`` at ``close``; ``source`` names where they come from."""
    rows = inputs_of_close(panel, close, n_threads=1)
    if len(rows):
        return StockDay(close, rows, source)
    n = int(((panel.bars["ts"] == close) & panel.bars["symbol"].isin(panel.stocks)).sum())
    told = f"none of the {n} stocks of {source} has 500 bars up to this close"
    if n < MIN_UNIVERSE:
        told = f"{n} stocks of {source} at this close, {MIN_UNIVERSE} are needed"
    return StockDay(close, rows, source, absent=told)


class ServedCompanions:
    """The companions of one version in memory; safe to ask from several threads.

    Raises
    ------
    ArtifactRefused
        If the bytes are no graph of companions, or it does not answer its first rows.
    """

    def __init__(self, onnx_bytes: bytes) -> None:
        self._session = open_companions(onnx_bytes)
        self._lock = threading.Lock()
        self._answers: WeakKeyDictionary[StockDay, Mapping[str, Outlook]] = WeakKeyDictionary()
        trained_on, computed = companion_version(self._session), stock_day_version()
        self.unfit = ""
        """Why rows of this release must not be shown to it; empty if they may."""
        if trained_on != computed:
            self.unfit = (
                f"the version's companions were trained on stock-days {trained_on}, this server computes {computed}: "
                "install the release that trained it"
            )
        self._warm_up()

    def outlooks(self, day: StockDay) -> Mapping[str, Outlook]:
        """Answers for the stocks of a close by symbol; computed once per close and version."""
        with self._lock:
            known = self._answers.get(day)
            if known is None:
                known = self._answers[day] = self._asked(day)
            return known

    def _asked(self, day: StockDay) -> dict[str, Outlook]:
        answers = expected_move_and_rank(self._session, day.rows)
        n_known = int(np.isfinite(answers.expected_move).sum())
        too_few = f"{n_known} stocks with 500 bars at this close, a rank needs {MIN_STOCKS}"
        made = {}
        for symbol, *values in zip(day.rows["symbol"], *answers, strict=True):
            move, rank, rank_5 = (None if math.isnan(value) else float(value) for value in values)
            reason = "" if rank is not None else too_few if move is not None else "its volatility is missing"
            made[str(symbol)] = Outlook(move, rank, rank_5, reason)
        return made

    def _warm_up(self) -> None:
        """Ask two rows of the graph alone: the places are compiled code, 60 MB that a server without bars is spared."""
        rows = np.zeros((2, len(companion_inputs(self._session))), dtype=np.float32)
        try:
            moves = np.asarray(self._session.run(list(OUTPUTS[:1]), {INPUT: rows})[0])
        except Exception as error:  # onnxruntime raises classes of its own
            raise ArtifactRefused(f"{COMPANION_FILE}: it does not answer: {str(error)[:200]}") from error
        if moves.shape != (2,) or (moves < 0.0).any():
            raise ArtifactRefused(f"{COMPANION_FILE}: its first answers {moves.tolist()} are no sizes of a move.")


@dataclass(frozen=True)
class Outlooks:
    """The closes of a request; ``absent`` says why there are none for what is not among them."""

    days: Mapping[datetime, StockDay] = field(default_factory=dict)
    absent: str = ""

    def of(self, companions: ServedCompanions | None, symbol: str, ts: datetime | None) -> Outlook:
        """What ``companions`` say of a symbol at its close."""
        if companions is None:
            return _NO_COMPANIONS
        if companions.unfit:
            return Outlook(None, None, None, companions.unfit)
        day = self.days.get(ts) if ts is not None else None
        if day is None:
            return Outlook(None, None, None, self.absent)
        if day.absent:
            return Outlook(None, None, None, day.absent)
        found = companions.outlooks(day).get(symbol)
        return found or Outlook(None, None, None, f"{day.source} has no 500 bars of {symbol} up to this close")


_NO_COMPANIONS = Outlook(None, None, None, "no version with companions answers")
