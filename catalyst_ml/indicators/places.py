"""Places among the values of a group, as plain code: right for one group; ``ranks`` has it compiled, for many."""

from __future__ import annotations

import numpy as np


def places_within(values: np.ndarray, bounds: np.ndarray, minimum: int) -> np.ndarray:
    """Return (mean rank - 1/2) / n of each value among the n known ones of its group: between 0 and 1.

    Parameters
    ----------
    values : (n_rows,) float
        NaN is unknown: it has no place and takes none.
    bounds : (n_groups + 1,) int64
        Group g is rows ``bounds[g]`` to ``bounds[g + 1]``, the last excluded.
    minimum : int
        Groups with fewer known values give no places (NaN).

    Returns
    -------
    (n_rows,) of the type of ``values``
        Equal values share the mean of their ranks.
    """
    out = np.full_like(values, np.nan)
    for g in range(bounds.size - 1):
        first, last = bounds[g], bounds[g + 1]
        known = np.empty(last - first, dtype=np.int64)
        n = 0
        for i in range(first, last):
            if not np.isnan(values[i]):
                known[n] = i
                n += 1
        if n < max(minimum, 1):
            continue
        rows = known[:n]
        own = values[rows]
        order = np.argsort(own)
        i = 0
        while i < n:
            j = i
            while j + 1 < n and own[order[j + 1]] == own[order[i]]:
                j += 1
            place = (0.5 * (i + j) + 0.5) / n
            for k in range(i, j + 1):
                out[rows[order[k]]] = place
            i = j + 1
    return out
