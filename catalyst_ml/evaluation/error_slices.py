"""Where the challenger forecasts worse than the base rate: parts of the record, and how many were looked at.

Of forty parts two look significant by luck at 5 %. Every part is therefore tested with all others in mind (Holm), and
"nothing stands out" is the normal result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from catalyst_ml.evaluation.intervals import ScoreInterval, auc_within_interval, mean_interval, mean_test
from catalyst_ml.evaluation.metrics import slices
from catalyst_ml.evaluation.record import P_BASE_RATE, P_CHALLENGER, log_losses
from catalyst_ml.evaluation.weights import effective_sample_size

MIN_ROWS = 30
ALPHA = 0.05
"""Chance that any part is called better or worse although none is, whatever their number and overlap."""


@dataclass(frozen=True)
class ErrorSlice:
    """One part of the record. ``difference`` is the challenger's log-loss minus the base rate's, nats per event.

    ``p_value`` (two-sided, HAR t) and ``p_adjusted`` (Holm over all parts tested) are None with fewer than 20
    sessions: such a part is shown and not tested. ``stands_out`` is "better", "worse" or empty.
    """

    by: str
    value: str
    n: int
    n_eff: float
    sessions: int
    difference: ScoreInterval
    base_rate: ScoreInterval
    accuracy: ScoreInterval
    auc_within: ScoreInterval
    p_value: float | None = None
    p_adjusted: float | None = None
    stands_out: str = ""


@dataclass(frozen=True)
class ErrorSlices:
    """All parts with at least `MIN_ROWS` rows, ``n_tested`` of them tested at ``alpha`` for all of them together."""

    parts: tuple[ErrorSlice, ...]
    n_tested: int
    alpha: float

    def to_dict(self) -> dict[str, Any]:
        """Return the parts as JSON."""
        return {"parts": [asdict(part) for part in self.parts], "n_tested": self.n_tested, "alpha": self.alpha}


def error_slices(record: pd.DataFrame, labels: pd.DataFrame | None = None, *, min_rows: int = MIN_ROWS) -> ErrorSlices:
    """Cut the record by pattern, direction, catalyst and month, and by each column of ``labels``.

    Parameters
    ----------
    record
        Record rows with their pattern columns.
    labels
        Names of the part each row belongs to, one column per way of cutting, rows as in ``record``; a missing
        name belongs to no part.

    Notes
    -----
    A part without rows, and parts below ``min_rows``, are left out before anything is tested.
    """
    found = [_measure(record[mask.to_numpy()], by, name) for by, name, mask in _parts(record, labels, min_rows)]
    tests = [mean_test(_difference(rows), rows["session"]) for _, rows in found]
    p_values = [None if test is None else test.p_value for test in tests]
    adjusted = holm(p_values)
    parts = []
    for (part, _), p, q in zip(found, p_values, adjusted, strict=True):
        out = "" if q is None or q > ALPHA else "worse" if (part.difference.value or 0.0) > 0.0 else "better"
        parts.append(ErrorSlice(**{**part.__dict__, "p_value": p, "p_adjusted": q, "stands_out": out}))
    return ErrorSlices(tuple(parts), sum(p is not None for p in p_values), ALPHA)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust p-values for their number: each is at or below α only if Holm's procedure rejects at α.

    None is not counted and stays None. Valid under any dependence.

    References
    ----------
    Holm (1979), A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6(2).

    >>> holm([0.01, None, 0.04, 0.03])
    [0.03, None, 0.06, 0.06]
    """
    known = [(p, k) for k, p in enumerate(p_values) if p is not None]
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, k) in enumerate(sorted(known)):
        highest = max(highest, min(p * (len(known) - rank), 1.0))
        adjusted[k] = highest
    return adjusted


def _parts(record: pd.DataFrame, labels: pd.DataFrame | None, min_rows: int) -> list[tuple[str, str, pd.Series]]:
    parts = slices(record)
    for by, own in () if labels is None else labels.items():
        names = own.reset_index(drop=True)
        parts += [(str(by), str(name), names == name) for name in sorted(names.dropna().unique())]
    return [(by, name, mask) for by, name, mask in parts if mask.sum() >= min_rows]


def _measure(rows: pd.DataFrame, by: str, value: str) -> tuple[ErrorSlice, pd.DataFrame]:
    y, p, session = rows["y"].to_numpy(), rows[P_CHALLENGER].to_numpy(), rows["session"]
    part = ErrorSlice(
        by=by,
        value=value,
        n=len(rows),
        n_eff=effective_sample_size(y, session),
        sessions=int(session.nunique()),
        difference=mean_interval(_difference(rows), session),
        base_rate=mean_interval(y, session),
        accuracy=mean_interval((p >= 0.5) == (y == 1), session),
        auc_within=auc_within_interval(y, p, session, rows["direction"]),
    )
    return part, rows


def _difference(rows: pd.DataFrame) -> np.ndarray:
    return log_losses(rows["y"], rows[P_CHALLENGER]) - log_losses(rows["y"], rows[P_BASE_RATE])
