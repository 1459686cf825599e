"""Leak check of the training set: what the features alone cannot show.

Rows are made anew from sources that agree with the real ones up to a moment, and compared with the rows that training
would read: whatever stands in them and does not follow from what was known is found, wherever it got in. Outcomes are
looked for among the inputs by what they can do: no honest input tells winners from losers of one day. Folds are
counted: no outcome that a fit learns from may have become known after its first decision.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from catalyst_ml.errors import DataContractError
from catalyst_ml.features.alterations import Sources, another_future, later_splits, splittable
from catalyst_ml.features.catalogue import CATALOGUE, FeatureSpec
from catalyst_ml.features.leak_check import (
    KNOWN_AT_OPEN,
    PERTURBED,
    SPLIT,
    TRUNCATED,
    WORDS,
    check_features,
    joined,
    sample_cuts,
)
from catalyst_ml.features.leak_report import Comparison, Leak, LeakReport, Verdict, compare_values
from catalyst_ml.features.training_set import LABEL_COLUMNS
from catalyst_ml.frames import EVENT_KEY

RowMaker = Callable[[Sources], pd.DataFrame]
"""Makes rows (the event key and their columns) from sources; what the weekly run does is ``event_replay``."""

BELIEVABLE_AUC = 0.75
"""Single inputs reach 0.50 to 0.63 within a day on real bars, the oracle of the strongest simulated edge 0.65."""

BELIEVABLE_CORRELATION = 0.8
"""Of an input's mean over a session with the session's rate of success."""

Z_ONE_SIDED = 3.09
"""One-sided 99.9 %: some eighty tests a week, and each alarm stops a run."""

MIN_SESSIONS = 20
SESSIONS_PER_OUTCOME = 5
"""Outcomes overlap for as long: neighbouring sessions are one observation."""

N_ROW_CUTS = 2
EVENT = "event"

REPLAY = "rows replayed"
PROVENANCE = "made from the sources"
OUTCOME = "outcome among the inputs"
FOLDS = "fold"
ENTRY = "entry and outcome after the decision"
UNEXPLAINED = (
    "no source gives this value: scaled, filled, encoded or joined after the rows were made, or made another way"
)


@dataclass(frozen=True)
class TrainedWindow:
    """What one fit learns from, and since when it decides.

    Parameters
    ----------
    name : str
    trained : (n_rows,) bool
        Rows of the training set that the fit reads.
    first_decision : Timestamp
        Start of the decisions that it is judged on.
    """

    name: str
    trained: np.ndarray
    first_decision: pd.Timestamp


def check_leaks(
    sources: Sources,
    rows: pd.DataFrame,
    *,
    make_rows: RowMaker,
    columns: Sequence[str],
    inputs: Sequence[str],
    windows: Sequence[TrainedWindow],
    catalogue: tuple[FeatureSpec, ...] = CATALOGUE,
    known_at_open: Collection[str] = KNOWN_AT_OPEN,
    sectors_as_of: pd.Timestamp | None = None,
    seed: int = 0,
) -> LeakReport:
    """Run every leak check that the weekly run makes before it trains.

    Parameters
    ----------
    sources : Sources
        What the rows were made from.
    rows : DataFrame
        The training set: event key, labels, ``session`` and the columns.
    make_rows : callable
        Makes the rows' columns anew from sources; see ``event_replay.event_rows``.
    columns, inputs : sequence of str
        What ``make_rows`` gives (``EVENT_COLUMNS``), and what the models read (``MODEL_INPUTS``).
    windows : sequence of TrainedWindow
        Every fit of the walk-forward.
    catalogue : tuple of FeatureSpec
        The features, checked one by one on bars with or without an event.
    known_at_open : collection of str
        Features that are used at the open of their bar.
    sectors_as_of : Timestamp, optional
        Day that the sector map describes, if it is known.
    seed : int
        Same seed, same sample.

    Returns
    -------
    LeakReport
        Hand it to ``require_no_leak``.
    """
    stock_bars = sources.panel.bars
    stock_bars = stock_bars.loc[stock_bars["symbol"].isin(sources.panel.stocks), ["symbol", "ts"]]
    report = check_features(sources.panel, stock_bars, catalogue=catalogue, known_at_open=known_at_open, seed=seed)
    report += check_provenance(inputs, columns, len(rows))
    report += check_rows(sources, rows, make_rows, columns, seed=seed)
    report += check_outcomes(rows, inputs)
    report += check_windows(rows, windows)
    return joined(report + check_sector_map(sources, rows, sectors_as_of))


def check_rows(
    sources: Sources, rows: pd.DataFrame, make_rows: RowMaker, columns: Sequence[str], *, seed: int = 0
) -> LeakReport:
    """Compare the rows with rows made from what was known at sampled moments.

    Rows decided at or before a moment must exist, and hold the same values, when they are made from sources cut off at
    it, from sources with another future, and from prices that later splits have halved. Rows that only the replay
    has are no offence: a training set leaves out events without outcome or history.

    Raises
    ------
    DataContractError
        If a column is missing, or no row has a bar after it.
    """
    _require_columns(rows, (*EVENT_KEY, *columns), "rows")
    cuts = sample_cuts(sources, rows, N_ROW_CUTS, seed=seed)
    last = cuts[-1]
    replays = [(cut, TRUNCATED, sources.known_at(cut)) for cut in cuts]
    replays += [(last, PERTURBED, another_future(sources, last, seed=seed))]
    replays += [(last, SPLIT, later_splits(sources, sorted(splittable(sources.panel))[::2]))]
    report = LeakReport(())
    explained: pd.DataFrame | None = None
    for cut, check, altered in replays:
        compared = _compare_rows(rows, make_rows(altered), columns, cut)
        words = WORDS[check]
        if len(compared.offences):
            # Only now, since a run without alarms need not pay for it: what do all sources together give?
            explained = make_rows(sources) if explained is None else explained
            at_all = set(_compare_rows(rows, explained, columns, cut).offences["feature"])
            unexplained = compared.offences["feature"].isin(at_all)
            parts = ((compared.offences[~unexplained], words), (compared.offences[unexplained], UNEXPLAINED))
            for number, (offences, why) in enumerate(parts):
                counted = {
                    name: n if (number == 0) != (name in at_all) else 0 for name, n in compared.n_compared.items()
                }
                report += LeakReport(Comparison(counted, offences).verdicts(f"{REPLAY}, {check}", why))
        else:
            report += LeakReport(compared.verdicts(f"{REPLAY}, {check}", words))
    return joined(report)


def check_provenance(inputs: Sequence[str], columns: Sequence[str], n_rows: int) -> LeakReport:
    """Check that every input is made from the sources, and so can be replayed."""
    verdicts = []
    for name in inputs:
        words = "it is an input of the models, but made by no step that can be replayed"
        leak = Leak(PROVENANCE, name, f"{n_rows:,} rows", "", None, None, words)
        is_made = name in columns
        verdicts.append(Verdict(name, PROVENANCE, 1, int(not is_made), () if is_made else (leak,)))
    return LeakReport(tuple(verdicts))


def check_outcomes(rows: pd.DataFrame, inputs: Sequence[str]) -> LeakReport:
    """Look for the outcome among the inputs: by name, by what an input can do, and in time.

    Of each input, and of its being missing, as it is and along the event's direction: the AUC against ``y`` within a
    session, averaged over sessions, and the correlation between sessions. An alarm is a value whose one-sided 99.9 %
    bound lies beyond ``BELIEVABLE_AUC`` or ``BELIEVABLE_CORRELATION``. Inputs constant within sessions have no AUC
    there, and fewer than 20 sessions prove nothing.
    """
    _require_columns(rows, (*EVENT_KEY, "session", *LABEL_COLUMNS, *inputs), "outcomes")
    verdicts = [_known_by_name(inputs, len(rows)), _outcome_after_decision(rows)]
    y, direction = rows["y"].to_numpy(dtype=np.float64), rows["direction"].to_numpy(dtype=np.float64)
    session, _ = pd.factorize(rows["session"].to_numpy())
    used = [name for name in inputs if name not in LABEL_COLUMNS]
    values = rows[used].to_numpy(dtype=np.float64)  # (n_rows, n_inputs)
    worst: dict[str, list[_Separation]] = {name: [] for name in used}
    variants = {
        "as it is": values,
        "along the direction": values * direction[:, None],
        "being missing": np.isnan(values).astype(np.float64),
    }
    for how, variant in variants.items():
        for name, found in zip(used, _separations(variant, y, session, how), strict=True):
            worst[name] += found
    verdicts += [_separation_verdict(name, found) for name, found in worst.items()]
    return LeakReport(tuple(verdicts))


def check_windows(rows: pd.DataFrame, windows: Sequence[TrainedWindow]) -> LeakReport:
    """Check that no fit learns from an outcome that became known at or after its first judged decision."""
    verdicts = []
    for window in windows:
        trained = rows[np.asarray(window.trained, dtype=bool)]
        late = trained[(trained["label_end"] >= window.first_decision) | (trained["ts"] >= window.first_decision)]
        examples = tuple(
            Leak(
                FOLDS,
                f"fold {window.name}",
                f"{row.symbol} at {row.ts:%Y-%m-%d %H:%M} UTC, direction {row.direction:+d}",
                "",
                None,
                None,
                f"trained on, but its outcome became known at {row.label_end:%Y-%m-%d %H:%M} UTC and the fold decides "
                f"from {window.first_decision:%Y-%m-%d %H:%M} on; purge it",
            )
            for row in late.head(3).itertuples()
        )
        verdicts.append(Verdict(f"fold {window.name}", FOLDS, len(trained), len(late), examples))
    return LeakReport(tuple(verdicts))


def check_sector_map(sources: Sources, rows: pd.DataFrame, as_of: pd.Timestamp | None) -> LeakReport:
    """Warn if the sectors of the instruments describe a later day than the rows, or say not which day."""
    instruments = sources.panel.instruments
    if rows.empty or instruments["sector"].isna().all():
        return LeakReport(())
    first = rows["ts"].min()
    if as_of is None:
        said = "does not say which day it describes"
    elif as_of > first:
        said = f"describes {as_of:%Y-%m-%d}"
    else:
        return LeakReport(())
    warning = (
        f"the sector map {said}, and rows from {first:%Y-%m-%d} on read it: a company that changed its sector carries "
        "the newer one back"
    )
    return LeakReport((), (warning,))


@dataclass(frozen=True)
class _Separation:
    """How well one input tells successes from failures, and the bound on it."""

    measure: str
    value: float
    bound: float
    limit: float
    n: int


def _separations(values: np.ndarray, y: np.ndarray, session: np.ndarray, how: str) -> list[list[_Separation]]:
    """Return per column what it separates within sessions and between them; empty where nothing can be said."""
    found: list[list[_Separation]] = [[] for _ in range(values.shape[1])]
    frame = pd.DataFrame(values)
    ranks = frame.groupby(session).rank().to_numpy()
    known = ~np.isnan(values)
    won = known & (y == 1)[:, None]
    n_sessions = int(session.max()) + 1 if len(session) else 0
    for j in range(values.shape[1]):
        n1 = np.bincount(session, won[:, j], minlength=n_sessions)
        n = np.bincount(session, known[:, j], minlength=n_sessions)
        n0 = n - n1
        rank_sum = np.bincount(session, np.where(won[:, j], ranks[:, j], 0.0), minlength=n_sessions)
        both = (n1 > 0) & (n0 > 0)
        if both.sum() >= MIN_SESSIONS:
            auc = (rank_sum[both] - n1[both] * (n1[both] + 1) / 2) / (n1[both] * n0[both])
            weight = n1[both] * n0[both] / n[both]
            mean = float(np.average(auc, weights=weight))
            error = float(np.sqrt(np.sum((weight * (auc - mean)) ** 2)) / weight.sum())
            folded = abs(mean - 0.5) + 0.5
            found[j].append(
                _Separation(
                    f"AUC within a session, {how}", folded, folded - Z_ONE_SIDED * error, BELIEVABLE_AUC, int(n.sum())
                )
            )
        seen = n > 0
        if seen.sum() >= MIN_SESSIONS * SESSIONS_PER_OUTCOME:
            total = np.bincount(session, np.where(known[:, j], values[:, j], 0.0), minlength=n_sessions)
            found[j] += _between(total[seen] / n[seen], n1[seen] / n[seen], how, int(n.sum()))
    return found


def _between(mean_input: np.ndarray, rate: np.ndarray, how: str, n: int) -> list[_Separation]:
    with np.errstate(invalid="ignore", over="ignore"):
        if not np.isfinite(mean_input).all() or np.ptp(mean_input) <= 1e-12 or np.ptp(rate) == 0:
            return []
        r = min(abs(float(np.corrcoef(mean_input, rate)[0, 1])), 1 - 1e-12)
    n_free = len(rate) / SESSIONS_PER_OUTCOME - 3
    bound = float(np.tanh(np.arctanh(r) - Z_ONE_SIDED / np.sqrt(n_free)))
    return [_Separation(f"correlation with the session's rate of success, {how}", r, bound, BELIEVABLE_CORRELATION, n)]


def _separation_verdict(name: str, found: list[_Separation]) -> Verdict:
    alarms = [s for s in found if s.bound > s.limit]
    examples = tuple(
        Leak(
            OUTCOME,
            name,
            f"{s.n:,} rows",
            "",
            round(s.value, 4),
            None,
            f"{s.measure} is {s.value:.3f}, at least {s.bound:.3f} with 99.9 % confidence; nothing known at the "
            f"decision reaches {s.limit}",
        )
        for s in alarms[:1]
    )
    return Verdict(name, OUTCOME, len(found), len(alarms), examples)


def _known_by_name(inputs: Sequence[str], n_rows: int) -> Verdict:
    named = [name for name in inputs if name in LABEL_COLUMNS]
    words = "a label column is an input of the models"
    examples = tuple(Leak(OUTCOME, name, f"{n_rows:,} rows", "", None, None, words) for name in named[:3])
    return Verdict(", ".join(named) or "names of the inputs", OUTCOME, len(inputs), len(named), examples)


def _outcome_after_decision(rows: pd.DataFrame) -> Verdict:
    early = rows[(rows["entry_ts"] <= rows["ts"]) | (rows["label_end"] <= rows["ts"])]
    examples = tuple(
        Leak(
            ENTRY,
            "entry_ts, label_end",
            f"{row.symbol} at {row.ts:%Y-%m-%d %H:%M} UTC",
            "",
            None,
            None,
            f"entry {row.entry_ts:%Y-%m-%d %H:%M}, outcome {row.label_end:%Y-%m-%d %H:%M}; both must come after the "
            "close at which the trade was decided",
        )
        for row in early.head(3).itertuples()
    )
    return Verdict("entry_ts, label_end", ENTRY, len(rows), len(early), examples)


def _compare_rows(rows: pd.DataFrame, replayed: pd.DataFrame, columns: Sequence[str], cut: pd.Timestamp) -> Comparison:
    """Compare the rows decided by ``cut``; a row that the replay does not make is an offence of ``event``."""
    known = rows.loc[rows["ts"] <= cut, [*EVENT_KEY, *columns]].reset_index(drop=True)
    partners = known[list(EVENT_KEY)].merge(
        replayed[[*EVENT_KEY, *columns]].assign(**{EVENT: 1.0}), on=list(EVENT_KEY), how="left", validate="many_to_one"
    )
    there = partners[EVENT].notna().to_numpy()
    missing = compare_values(known.assign(**{EVENT: 1.0}), partners, [EVENT], cut)
    values = compare_values(
        known[there].reset_index(drop=True), partners[there].reset_index(drop=True), list(columns), cut
    )
    offences = [part for part in (missing.offences, values.offences) if len(part)]
    return Comparison(
        missing.n_compared | values.n_compared,
        pd.concat(offences, ignore_index=True) if offences else values.offences,
    )


def _require_columns(rows: pd.DataFrame, columns: Sequence[str], what: str) -> None:
    missing = [name for name in columns if name not in rows.columns]
    if missing or rows.empty:
        raise DataContractError(
            f"leak check of the {what}: {len(rows)} rows, columns {missing[:5]} missing; expected a training set as "
            "features.training_set builds it. Build it again."
        )
