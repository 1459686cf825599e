"""Truncation replay: a feature may not change when the future is taken away.

Features are computed anew on data cut at a moment and compared with the values from full history. Whatever
differs has looked ahead, in whichever way: shift, centred window, scaling by the whole sample, late join. The
leak check (``leak_check``) does this at sampled cuts, and more.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from catalyst_ml.errors import DataContractError
from catalyst_ml.features.catalogue import CATALOGUE, FeatureSpec
from catalyst_ml.features.engine import compute_features
from catalyst_ml.features.leak_report import OFFENCE_COLUMNS, compare_values
from catalyst_ml.features.panel import MarketPanel


def truncation_replay(
    panel: MarketPanel,
    rows: pd.DataFrame,
    cuts: Sequence[pd.Timestamp],
    *,
    catalogue: tuple[FeatureSpec, ...] = CATALOGUE,
    rtol: float = 1e-9,
) -> pd.DataFrame:
    """Return every value that differs between full history and history cut at a moment.

    Parameters
    ----------
    panel : MarketPanel
        The full history.
    rows : DataFrame
        ``symbol`` and ``ts`` of the bars to compare; at each cut those at or before it are.
    cuts : sequence of Timestamp
        Aware moments. Leaks that only reach the next bar show on rows at the cut itself: choose cuts that
        are bar closes.
    catalogue : tuple of FeatureSpec
        The features to check.
    rtol : float
        Allowed |full - cut| relative to max(|full|, |cut|, ``SCALE_FLOOR``). Later splits scale all prices,
        which rounds in the last digit; missing on one side only is always a difference.

    Returns
    -------
    DataFrame
        ``feature``, ``symbol``, ``ts``, ``cut``, ``full_value``, ``cut_value``; empty = clean.

    Raises
    ------
    DataContractError
        If a cut has no row at or before it: a check of nothing must not pass.
    """
    full = compute_features(panel, rows, catalogue=catalogue)
    names = [spec.name for spec in catalogue]
    offences = []
    for cut in cuts:
        upto = full[full["ts"] <= cut].reset_index(drop=True)
        if upto.empty:
            raise DataContractError(
                f"truncation replay: no row of {len(full)} is at or before the cut {cut}; expected some. "
                "Choose cuts inside the rows' time."
            )
        replayed = compute_features(panel.known_at(cut), upto[["symbol", "ts"]], catalogue=catalogue)
        offences.append(compare_values(upto, replayed, names, cut, rtol=rtol).offences)
    return pd.concat(offences, ignore_index=True) if offences else pd.DataFrame(columns=list(OFFENCE_COLUMNS))
