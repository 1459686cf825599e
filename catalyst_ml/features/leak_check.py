"""Leak check of features: no value may depend on what was not known at its bar's close.

Each declaration is computed on the real panel and on panels that agree with it up to a moment: with the future cut
off, with another future, with a split yet to come, and, for what is used at the open, with another session after the
open. Whatever moves at or before the moment has seen what came after it, in whichever way.

A sample is checked, not everything. A leak that shows in a share q of (symbol, cut) pairs goes unseen with probability
(1 - q)^n; the default 40 symbols and 6 cuts, n = 240, find q = 1.3 % with 95 %. Half of the cuts lie just before most
news arrives, because joins leak there. Data that is wrong everywhere (a closure over a file, a sector map of
today) looks the same in every panel: the checks of ``training_leaks`` are for that.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd

from catalyst_ml.errors import DataContractError
from catalyst_ml.features.alterations import (
    KNOWN_AT,
    Sources,
    another_future,
    another_session,
    later_splits,
    splittable,
)
from catalyst_ml.features.catalogue import CATALOGUE, FeatureSpec
from catalyst_ml.features.engine import compute_features
from catalyst_ml.features.leak_report import LeakReport, Verdict, compare_values
from catalyst_ml.features.panel import MarketPanel
from catalyst_ml.frames import TIME_DTYPE

N_CUTS = 6
N_SYMBOLS = 40
CUTS_AT_OPEN = 2
KNOWN_AT_OPEN: tuple[str, ...] = ("premarket_gap",)
"""Features that claim to be known when their own bar opens."""

WARM_UP_BARS = 520
"""Closes before the first cut, where history allows: recursive features are missing for 500 bars."""

TRUNCATED = "future cut off"
PERTURBED = "another future"
SPLIT = "split yet to come"
AT_OPEN = "known at the open"
WORDS = {
    TRUNCATED: "the value is another one without the data that came later",
    PERTURBED: "the value follows what happened later",
    SPLIT: "the level of an adjusted price tells of splits to come; divide by another price",
    AT_OPEN: "declared as known at the open, but it moves with what the session did afterwards",
}


def check_features(
    panel: MarketPanel,
    rows: pd.DataFrame,
    *,
    catalogue: tuple[FeatureSpec, ...] = CATALOGUE,
    known_at_open: Collection[str] = KNOWN_AT_OPEN,
    seed: int = 0,
    n_cuts: int = N_CUTS,
    n_symbols: int = N_SYMBOLS,
    cuts: Sequence[pd.Timestamp] | None = None,
) -> LeakReport:
    """Check every feature of ``catalogue`` on a sample of symbols and moments.

    Parameters
    ----------
    panel : MarketPanel
        Full history.
    rows : DataFrame
        ``symbol`` and ``ts`` of bars whose features count, in any order.
    known_at_open : collection of str
        Names of features that are used at the open of their bar.
    seed : int
        The same seed draws the same symbols, cuts and futures.
    n_cuts, n_symbols : int
        Size of the sample.
    cuts : sequence of Timestamp, optional
        Aware closes to cut at instead of drawn ones; bars must follow them.

    Returns
    -------
    LeakReport
        One verdict per feature and check. A feature without a single known value passes nothing and fails nothing: it
        stands in ``not_shown``.

    Raises
    ------
    DataContractError
        If there are no rows, or no bar follows them: a check of nothing must not pass.
    """
    sources = Sources(panel)
    own = _sampled_rows(rows, n_symbols, seed)
    moments = list(cuts) if cuts is not None else sample_cuts(sources, own, n_cuts, seed=seed)
    full = compute_features(panel, own, catalogue=catalogue)

    def compare(altered: Sources, cut: pd.Timestamp, check: str, chosen: tuple[FeatureSpec, ...]) -> LeakReport:
        at = full["ts"] == cut if check == AT_OPEN else full["ts"] <= cut
        known = full[at].reset_index(drop=True)
        if known.empty or not chosen:
            return LeakReport(())
        replayed = compute_features(altered.panel, known[["symbol", "ts"]], catalogue=chosen)
        compared = compare_values(known, replayed, [spec.name for spec in chosen], cut)
        return LeakReport(compared.verdicts(check, WORDS[check]))

    report = LeakReport(())
    for number, cut in enumerate(moments):
        report += compare(sources.known_at(cut), cut, TRUNCATED, catalogue)
        report += compare(another_future(sources, cut, seed=seed + number), cut, PERTURBED, catalogue)
    last = moments[-1]
    report += compare(later_splits(sources, _every_second(panel)), last, SPLIT, catalogue)
    at_open = tuple(spec for spec in catalogue if spec.name in known_at_open)
    for number, cut in enumerate(moments[:CUTS_AT_OPEN] if at_open else ()):
        report += compare(another_session(sources, cut, seed=seed + number), cut, AT_OPEN, at_open)
    return joined(report)


def sample_cuts(sources: Sources, rows: pd.DataFrame, n_cuts: int, *, seed: int) -> list[pd.Timestamp]:
    """Draw moments to cut at: closes of ``rows`` that bars follow, spread over time, rising.

    Every second one is the close of its stretch after which, within 24 hours, most of its rows' symbols are told of.

    Raises
    ------
    DataContractError
        If no close of the rows has a bar after it.
    """
    closes = np.unique(rows["ts"].array.asi8)
    every = np.unique(sources.panel.bars["ts"].array.asi8)
    closes = closes[closes < every[-1]] if len(every) else closes[:0]
    if not len(closes):
        raise DataContractError(
            f"leak check: none of the {len(rows)} rows has a bar after it, so no future can be taken away; expected "
            "history. Hand on rows from before the newest bar."
        )
    warm = closes[np.searchsorted(every, closes) >= WARM_UP_BARS]
    candidates = warm if len(warm) >= n_cuts else closes
    n_told = _told_soon_after(sources, rows)
    rng = np.random.default_rng(seed)
    cuts = []
    for number, stretch in enumerate(np.array_split(candidates, min(n_cuts, len(candidates)))):
        told = n_told.reindex(stretch, fill_value=0).to_numpy()
        is_eventful = number % 2 == 1 and told.any()
        cuts.append(stretch[int(told.argmax()) if is_eventful else int(rng.integers(len(stretch)))])
    return [pd.Timestamp(int(cut), unit="us", tz="UTC") for cut in cuts]


def _told_soon_after(sources: Sources, rows: pd.DataFrame) -> pd.Series:
    """Return, per close in microseconds, how many stories and facts follow a row of their symbol within a day."""
    closes = rows[["symbol", "ts"]].drop_duplicates().sort_values("ts")
    following = pd.merge_asof(
        sources.arrivals().astype({KNOWN_AT: TIME_DTYPE}),
        closes,
        left_on=KNOWN_AT,
        right_on="ts",
        by="symbol",
        direction="backward",
        allow_exact_matches=False,
        tolerance=pd.Timedelta("1D"),
    )
    counts = following["ts"].dropna().value_counts()
    return pd.Series(counts.to_numpy(), index=pd.DatetimeIndex(counts.index).as_unit("us").asi8)


def joined(report: LeakReport) -> LeakReport:
    """Return the report with one verdict per column and check: counts added, the first examples kept."""
    merged: dict[tuple[str, str], Verdict] = {}
    for verdict in report.verdicts:
        key = (verdict.column, verdict.check)
        so_far = merged.get(key, Verdict(*key, 0, 0))
        merged[key] = Verdict(
            *key,
            so_far.n_compared + verdict.n_compared,
            so_far.n_alarms + verdict.n_alarms,
            (so_far.examples + verdict.examples)[:3],
        )
    return LeakReport(tuple(merged.values()), tuple(dict.fromkeys(report.warnings)))


def _every_second(panel: MarketPanel) -> list[str]:
    """Half of the symbols: a split of all at once would leave comparisons between stocks as they are."""
    return sorted(splittable(panel))[::2]


def _sampled_rows(rows: pd.DataFrame, n_symbols: int, seed: int) -> pd.DataFrame:
    keys = rows[["symbol", "ts"]].drop_duplicates()
    if keys.empty:
        raise DataContractError("leak check: no rows to check; expected bars of at least one symbol. Hand on some.")
    symbols = np.array(sorted(keys["symbol"].unique()), dtype=object)
    drawn = np.random.default_rng(seed).permutation(symbols)[:n_symbols]
    return keys[keys["symbol"].isin(drawn)].reset_index(drop=True)
