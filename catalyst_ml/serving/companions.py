"""How far a stock may move and where it ranks at its close: the second graph of a version, asked about whole closes.

A rank is a place among the day's stocks, and most inputs are such places too; so the question is always asked for all
stocks of a close together. They come from the request or from the bar table. Where neither has them, the answer is
None with the reason, never a guess from one stock's bars.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from catalyst_ml.errors import ArtifactRefused, DataContractError
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
    """All stocks of one close, as plain arrays.

    Parameters
    ----------
    close : datetime, UTC
    symbols : tuple of str
    columns : tuple of str
        ``features.stock_days.STOCK_DAY_INPUTS`` of the release that computed them, ``version``.
    X : (n_stocks, n_columns) float32
        NaN for missing.
    source : str
        Where the stocks come from, for people; ``absent`` says why there are none.
    token : str
        Names what was computed once of the bar table; empty for the stocks of a request.
    """

    close: datetime
    symbols: tuple[str, ...]
    columns: tuple[str, ...]
    X: np.ndarray = field(repr=False)
    source: str
    version: str
    absent: str = ""
    token: str = ""

    def matrix(self, names: Sequence[str]) -> np.ndarray:
        """Return the columns ``names`` in that order, (n_stocks, n_names) float32.

        Raises
        ------
        DataContractError
            If one of them is not there.
        """
        place = {name: j for j, name in enumerate(self.columns)}
        absent = [name for name in names if name not in place]
        if absent:
            raise DataContractError(
                f"companions: inputs {absent[:5]} of {len(names)} are missing. Compute stock-days with the release "
                "that trained the version, or publish a version of this one."
            )
        return self.X[:, [place[name] for name in names]]


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
        self.trained_on = companion_version(self._session)
        """The ``features.stock_days.stock_day_version`` of its training rows; rows of another mean other things."""
        self._inputs = companion_inputs(self._session)
        self._warm_up()

    def unfit_for(self, computed: str) -> str:
        """Why rows of this release, ``computed``, must not be shown to it; empty if they may."""
        if self.trained_on == computed:
            return ""
        return (
            f"the version's companions were trained on stock-days {self.trained_on}, this server computes {computed}: "
            "install the release that trained it"
        )

    def outlooks(self, day: StockDay) -> Mapping[str, Outlook]:
        """Answers for the stocks of a close by symbol; computed once per close and version."""
        with self._lock:
            known = self._answers.get(day)
            if known is None:
                known = self._answers[day] = self._asked(day)
            return known

    def _asked(self, day: StockDay) -> dict[str, Outlook]:
        answers = expected_move_and_rank(self._session, day.matrix(self._inputs))
        n_known = int(np.isfinite(answers.expected_move).sum())
        too_few = f"{n_known} stocks with 500 bars at this close, a rank needs {MIN_STOCKS}"
        made = {}
        for symbol, *values in zip(day.symbols, *answers, strict=True):
            move, rank, rank_5 = (None if math.isnan(value) else float(value) for value in values)
            reason = "" if rank is not None else too_few if move is not None else "its volatility is missing"
            made[symbol] = Outlook(move, rank, rank_5, reason)
        return made

    def _warm_up(self) -> None:
        """Ask about two rows: what fails here would fail a caller later."""
        rows = np.zeros((2, len(self._inputs)), dtype=np.float32)
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
        day = self.days.get(ts) if ts is not None else None
        if day is None:
            return Outlook(None, None, None, self.absent)
        if unfit := companions.unfit_for(day.version):
            return Outlook(None, None, None, unfit)
        if day.absent:
            return Outlook(None, None, None, day.absent)
        found = companions.outlooks(day).get(symbol)
        return found or Outlook(None, None, None, f"{day.source} has no 500 bars of {symbol} up to this close")


_NO_COMPANIONS = Outlook(None, None, None, "no version with companions answers")
