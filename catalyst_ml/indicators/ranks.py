"""Places among the values of a group, such as a stock's among the stocks of a day. Conventions as in ``kernels``."""

from __future__ import annotations

import numpy as np
from numba import njit

from catalyst_ml.indicators import places

places_within = njit(cache=True, nogil=True)(places.places_within)
"""``places.places_within``, compiled: for many days at once."""


def group_bounds(keys: np.ndarray) -> np.ndarray:
    """Return where runs of equal keys begin, and the end: (n_groups + 1,) int64. Equal keys must stand together."""
    if len(keys) == 0:
        return np.zeros(1, dtype=np.int64)
    return np.concatenate(([0], np.flatnonzero(keys[1:] != keys[:-1]) + 1, [len(keys)])).astype(np.int64)
