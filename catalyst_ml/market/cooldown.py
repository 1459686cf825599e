"""The detector's pause after a pattern, as compiled code: each decision depends on the one before."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def outside_cooldown(seen: np.ndarray, symbol: np.ndarray, slot: np.ndarray, cooldown_bars: int) -> np.ndarray:
    """Keep a detection unless the last *kept* one of its symbol lies at most ``cooldown_bars`` bars' time back."""
    kept = np.zeros(seen.size, dtype=np.bool_)
    last = -1
    for i in range(seen.size):
        if i > 0 and symbol[i] != symbol[i - 1]:
            last = -1
        if seen[i] and (last < 0 or slot[i] - slot[last] > cooldown_bars):
            kept[i] = True
            last = i
    return kept
