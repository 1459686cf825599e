"""Where each symbol's bars lie in a frame sorted by symbol, so that kernels run on plain array slices."""

from __future__ import annotations

import numpy as np
import pandas as pd

from catalyst_ml.errors import DataContractError


def symbol_slices(symbols: pd.Series | np.ndarray) -> list[tuple[str, slice]]:
    """Return (symbol, slice of its rows) in order of appearance.

    Parameters
    ----------
    symbols : (n_rows,) str
        The symbol column of a frame sorted by symbol: all rows of a symbol stand together.

    Raises
    ------
    DataContractError
        If a symbol comes back after another one, so that one slice cannot hold it.

    Examples
    --------
    >>> symbol_slices(np.array(["AAA", "AAA", "BBB"]))
    [('AAA', slice(0, 2, None)), ('BBB', slice(2, 3, None))]
    """
    codes, names = pd.factorize(symbols)
    if len(codes) == 0:
        return []
    starts = np.concatenate(([0], np.flatnonzero(np.diff(codes)) + 1))
    if len(starts) != len(names):
        runs = pd.Series(codes[starts])
        scattered = str(names[int(runs[runs.duplicated()].iloc[0])])
        raise DataContractError(
            f"rows of {scattered!r} stand in more than one place ({len(starts)} runs, {len(names)} symbols); "
            "expected a frame sorted by symbol. Sort it by symbol and ts first."
        )
    stops = np.concatenate((starts[1:], [len(codes)]))
    return [(str(name), slice(int(a), int(b))) for name, a, b in zip(names, starts, stops, strict=True)]
