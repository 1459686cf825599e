"""What drives the ensemble's log-odds: over the record as a whole, and for single new events.

Each event is compared with the other events of its session: contributions say what sets it apart from them, and
what all of a session's events share (VIX, breadth) is part of the day's level, as in training
(docs/decisions/0009, 0024).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from catalyst_ml.errors import DataContractError
from catalyst_ml.evaluation.intervals import mean_interval
from catalyst_ml.features.input_groups import InputGroup, input_groups
from catalyst_ml.frames import EVENT_KEY
from catalyst_ml.models.importance import columns_of_groups
from catalyst_ml.models.member import logit
from catalyst_ml.models.preprocessing import model_matrix
from catalyst_ml.models.record_fits import RecordFit, require_unseen, side_by_side
from catalyst_ml.models.shapley import ShapleyValues, sampled_shapley
from catalyst_ml.models.trees import TreeMember

ROWS_PER_SESSION = 5
SUMMARY_PAIRS = 16
EVENT_PAIRS = 64
MIN_ROWS_OF_A_SIDE = 10
N_EVENTS = 6
N_DRIVERS = 5

Predict = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class GroupDriver:
    """How far a group of inputs moves the ensemble's log-odds on rows the fits had not seen.

    ``mean_abs`` with its interval over sessions (None below 20 sessions) and the mean sampling error of one row's
    contribution. ``when_low`` and ``when_high``: mean contribution where the lead input is in its lowest and highest
    third of these rows; None where it takes too few values. ``by_member``: mean absolute contribution to each tree
    member, exact, over the trees' own background.
    """

    group: str
    words: str
    lead: str
    mean_abs: float
    low: float | None
    high: float | None
    level: float
    sampling_error: float
    when_low: float | None
    when_high: float | None
    by_member: dict[str, float]


@dataclass(frozen=True)
class DriverSummary:
    """Groups in falling order of ``mean_abs``; ``largest_gap`` is how far contributions miss their sum at most."""

    groups: tuple[GroupDriver, ...]
    n_rows: int
    n_sessions: int
    n_fits: int
    n_pairs: int
    largest_gap: float

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as JSON."""
        return asdict(self) | {"groups": [asdict(group) for group in self.groups]}


def summarise_drivers(
    fits: Sequence[RecordFit],
    *,
    rows_per_session: int = ROWS_PER_SESSION,
    n_pairs: int = SUMMARY_PAIRS,
    level: float = 0.9,
    at_most: int = 1,
) -> DriverSummary:
    """Explain a few rows of every session of each fit, against the other rows of that session.

    Raises
    ------
    DataContractError
        If there is no fit, or a row was decided at or before its fit.

    Notes
    -----
    A session with one row explains nothing and is passed over; with no other kind the summary has no groups. A mean
    of absolute values is pushed up by sampling noise, by less than ``sampling_error``.
    """
    if not fits:
        raise DataContractError("drivers: no fit was handed in; expected at least one (refit_record).")
    require_unseen(fits)
    groups = input_groups(fits[0].fitted.procedure.inputs)
    parts = side_by_side(lambda fit: _explain_fit(fit, groups, rows_per_session, n_pairs), fits, at_most=at_most)
    parts = [part for part in parts if len(part.session)]
    if not parts:
        return DriverSummary((), 0, 0, len(fits), n_pairs, 0.0)
    values = np.concatenate([part.shapley.contributions for part in parts])
    errors = np.concatenate([part.shapley.errors for part in parts])
    leads = np.concatenate([part.leads for part in parts])
    session = np.concatenate([part.session for part in parts])
    # A fold too small to train on has no trees; then nothing is said of them.
    trees = [name for name in parts[0].of_members if all(name in part.of_members for part in parts)]
    members = {name: np.concatenate([part.of_members[name] for part in parts]) for name in trees}
    found = []
    for k, group in enumerate(groups):
        size = mean_interval(np.abs(values[:, k]), session, level=level)
        when_low, when_high = _by_thirds(values[:, k], leads[:, k])
        by_member = {name: float(np.abs(own[:, k]).mean()) for name, own in members.items()}
        found.append(
            GroupDriver(
                group.name, group.words, group.lead, float(np.abs(values[:, k]).mean()), size.low, size.high, level,
                float(errors[:, k].mean()), when_low, when_high, by_member,
            )
        )  # fmt: skip
    found.sort(key=lambda driver: -driver.mean_abs)
    gap = max(part.shapley.largest_gap for part in parts)
    return DriverSummary(tuple(found), len(values), len(np.unique(session)), len(fits), n_pairs, gap)


def served_function(onnx_bytes: bytes) -> Predict:
    """The served file as a function of a model matrix."""
    from catalyst_ml.models.onnx_graph import INPUT, OUTPUT_P
    from catalyst_ml.models.parity import single_thread_session

    session = single_thread_session(onnx_bytes)
    return lambda X: np.asarray(session.run([OUTPUT_P], {INPUT: X})[0], dtype="float64").reshape(-1)


def drivers_of_events(
    predict: Predict,
    events: pd.DataFrame,
    settled: pd.DataFrame,
    inputs: Sequence[str],
    *,
    n_events: int = N_EVENTS,
    n_drivers: int = N_DRIVERS,
    n_pairs: int = EVENT_PAIRS,
    seed: int,
) -> dict[str, Any]:
    """Explain the events whose probability is furthest from one half.

    Parameters
    ----------
    predict
        The served function: probability of success (n,) of a model matrix.
    events
        Events whose outcome was not known when the model was fitted: event key, ``session`` and ``inputs``.
    settled
        Rows the model may have learned from, with the same columns; those of the events' sessions serve as
        background beside the events themselves.

    Returns
    -------
    dict
        JSON: ``n_candidates`` (events with at least one other in their session) and ``events`` in falling
        confidence, each with its probability ``p``, the ``day`` (mean log-odds of its session as a probability) and
        the ``drivers`` that move it most: group, words, contribution and sampling error in log-odds; ``rest`` is the
        sum of all others.

    Raises
    ------
    DataContractError
        If an event is among the settled rows.
    """
    key = list(EVENT_KEY)
    n_seen = len(events[key].merge(settled[key], on=key))
    if n_seen:
        raise DataContractError(
            f"drivers: {n_seen} of {len(events)} events have a settled outcome, which the model may have learned from. "
            "Explain pending events only."
        )
    groups = input_groups(inputs)
    of_their_days = settled[settled["session"].isin(events["session"]).to_numpy()]
    columns = ["session", *inputs]
    pool = pd.concat([events[columns], of_their_days[columns]], ignore_index=True)
    rows_of_session = pool.groupby("session").indices
    candidates = np.array(
        [k for k, session in enumerate(events["session"]) if len(rows_of_session[session]) > 1], dtype=np.int64
    )
    if not len(candidates):
        return {"events": [], "n_candidates": 0, "n_pairs": n_pairs}
    matrix = model_matrix(pool, tuple(inputs))
    p = predict(matrix[candidates])
    surest = candidates[np.argsort(-np.abs(p - 0.5), kind="stable")[:n_events]]
    background = [_without(rows_of_session[events["session"].iloc[k]], k) for k in surest]
    found = sampled_shapley(
        lambda X: logit(predict(X)), matrix[surest], matrix, background,
        columns_of_groups({group.name: group.inputs for group in groups}, inputs), n_pairs=n_pairs, seed=seed,
    )  # fmt: skip
    told = [_tell(events.iloc[k], found, i, groups, n_drivers) for i, k in enumerate(surest)]
    return {"events": told, "n_candidates": len(candidates), "n_pairs": n_pairs}


@dataclass(frozen=True)
class _Explained:
    shapley: ShapleyValues
    leads: np.ndarray  # (n_rows, n_groups)
    of_members: dict[str, np.ndarray]  # (n_rows, n_groups) each
    session: np.ndarray


def _explain_fit(fit: RecordFit, groups: Sequence[InputGroup], rows_per_session: int, n_pairs: int) -> _Explained:
    inputs = fit.fitted.procedure.inputs
    columns = columns_of_groups({group.name: group.inputs for group in groups}, inputs)
    rng = np.random.default_rng(fit.fitted.procedure.seed)
    chosen: list[int] = []
    background: list[np.ndarray] = []
    for rows in fit.rows.groupby("session").indices.values():
        if len(rows) > 1:
            taken = np.sort(rng.choice(rows, min(rows_per_session, len(rows)), replace=False))
            chosen += taken.tolist()
            background += [_without(rows, k) for k in taken]
    pool = model_matrix(fit.rows, inputs)
    X = pool[chosen]
    shapley = sampled_shapley(
        lambda asked: logit(fit.fitted.predict(asked).p), X, pool, background, columns,
        n_pairs=n_pairs, seed=fit.fitted.procedure.seed,
    )  # fmt: skip
    exact = {
        name: _of_all_inputs(member.contributions(X[:, : fit.members.n_read_by(name)]), len(inputs))
        for name, member in fit.members.members.items()
        if isinstance(member, TreeMember) and len(X)
    }
    of_members = {
        name: np.column_stack([parts[:, own].sum(axis=1) for own in columns.values()]) for name, parts in exact.items()
    }
    leads = X[:, [inputs.index(group.lead) for group in groups]].astype("float64")
    return _Explained(shapley, leads, of_members, fit.rows["session"].to_numpy()[chosen])


def _of_all_inputs(parts: np.ndarray, n_inputs: int) -> np.ndarray:
    """Contributions (n_rows, n_inputs) without the constant part, and zero for the last inputs if it reads fewer."""
    out = np.zeros((len(parts), n_inputs))
    out[:, : parts.shape[1] - 1] = parts[:, :-1]
    return out


def _without(rows: np.ndarray, own: int) -> np.ndarray:
    return rows[rows != own]


def _by_thirds(values: np.ndarray, lead: np.ndarray) -> tuple[float | None, float | None]:
    """Mean of ``values`` where ``lead`` is low and where it is high."""
    known = lead[~np.isnan(lead)]
    if not len(known):
        return None, None
    low, high = np.quantile(known, [1 / 3, 2 / 3])
    # Of a flag one third may be all of it: then its two values are the sides.
    sides = (lead <= low, lead >= high) if low < high else (lead < known.max(), lead == known.max())
    means = [float(values[side].mean()) if side.sum() >= MIN_ROWS_OF_A_SIDE else None for side in sides]
    return (means[0], means[1]) if known.min() < known.max() else (None, None)


def _tell(
    event: pd.Series, found: ShapleyValues, i: int, groups: Sequence[InputGroup], n_drivers: int
) -> dict[str, Any]:
    order = np.argsort(-np.abs(found.contributions[i]), kind="stable")[:n_drivers]
    return {
        "symbol": str(event["symbol"]),
        "session": f"{event['session']:%Y-%m-%d}",
        "direction": "long" if event["direction"] > 0 else "short",
        "p": float(1.0 / (1.0 + np.exp(-found.output[i]))),
        "day": float(1.0 / (1.0 + np.exp(-found.baseline[i]))),
        "drivers": [
            {
                "group": groups[k].name,
                "words": groups[k].words,
                "contribution": float(found.contributions[i, k]),
                "error": float(found.errors[i, k]),
            }
            for k in order
            if found.contributions[i, k] != 0.0
        ],
        "rest": float(np.delete(found.contributions[i], order).sum()),
    }
