"""Shapley values of any function of a row, by sampled permutations: how much each group of inputs moved it.

The ensemble is a weighted mean in probability and is read in log-odds, so contributions of its members do not add up
to it: the served function itself is asked. Value of a set of groups: the function's mean when these groups have the
row's values and all others those of a background row.

References
----------
Štrumbelj & Kononenko (2014), Explaining prediction models and individual predictions with feature contributions,
Knowledge and Information Systems 41 (sampling); Lundberg & Lee (2017), A unified approach to interpreting model
predictions, NeurIPS (additivity); Mitchell, Cooper, Frank & Holmes (2022), Sampling permutations for Shapley value
estimation, JMLR 23 (antithetic permutations).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from catalyst_ml.errors import ConfigurationError, DataContractError, InsufficientHistory

MAX_GAP = 1e-4
"""Contributions must add up to the function's own difference within it (log-odds; a served file is float32)."""
_STATES_AT_ONCE = 60_000


@dataclass(frozen=True)
class ShapleyValues:
    """Contributions of the groups to each row, and what they add up to.

    ``contributions`` (n_rows, n_groups) with standard errors ``errors`` of the sampling; ``output`` (n_rows,) is the
    function at the row, ``baseline`` (n_rows,) its mean over the background rows drawn: contributions sum to the
    difference, within ``largest_gap``.
    """

    groups: tuple[str, ...]
    contributions: np.ndarray
    errors: np.ndarray
    output: np.ndarray
    baseline: np.ndarray
    largest_gap: float


def sampled_shapley(
    function: Callable[[np.ndarray], np.ndarray],
    X: np.ndarray,
    pool: np.ndarray,
    background: Sequence[np.ndarray],
    groups: Mapping[str, Sequence[int]],
    *,
    n_pairs: int,
    seed: int,
) -> ShapleyValues:
    """Walk from background rows to each row, one group after the other, in random orders and their reverses.

    Parameters
    ----------
    function
        Takes a matrix (n, n_inputs) and returns (n,), each row for itself.
    X
        Rows to explain (n_rows, n_inputs).
    pool, background
        Rows that backgrounds are drawn from (n_pool, n_inputs), and for each row of ``X`` the numbers of its own.
    groups
        Column numbers by group; every column in exactly one.
    n_pairs
        Background rows drawn per row, at least 2, without replacement as long as there are enough; each is
        walked from in one order of the groups and in its reverse, which cancels much of the noise.

    Raises
    ------
    ConfigurationError
        If the groups leave out a column or name one twice, or ``n_pairs`` is below 2.
    InsufficientHistory
        If a row has no background row.
    DataContractError
        If the contributions do not add up: the function's answer for a row depends on something else.

    Notes
    -----
    Where a group has the same values in both rows its step is zero and not asked for. The standard error is that of
    the mean over pairs; backgrounds drawn without replacement make it slightly too large.
    """
    _check(X, background, groups, n_pairs)
    group_of = np.empty(X.shape[1], dtype=np.int64)
    for k, columns in enumerate(groups.values()):
        group_of[list(columns)] = k
    n, n_groups = len(X), len(groups)
    rng = np.random.default_rng(seed)
    drawn = np.stack([_draw(rng, rows, n_pairs) for rows in background]) if n else np.empty((0, n_pairs), dtype=int)
    order = rng.permuted(np.broadcast_to(np.arange(n_groups), (n, n_pairs, n_groups)), axis=2)
    values, errors = np.zeros((n, n_groups)), np.zeros((n, n_groups))
    at_once = max(_STATES_AT_ONCE // (2 * n_pairs * (n_groups + 1)), 1)
    for start in range(0, n, at_once):
        part = slice(start, start + at_once)
        pairs = _walk(function, X[part], pool[drawn[part]], order[part], group_of)  # (n, n_pairs, n_groups)
        values[part], errors[part] = pairs.mean(axis=1), pairs.std(axis=1, ddof=1) / np.sqrt(n_pairs)
    output = function(X) if n else np.empty(0)
    used, place = np.unique(drawn, return_inverse=True)
    baseline = function(pool[used])[place.reshape(drawn.shape)].mean(axis=1) if n else np.empty(0)
    gap = float(np.abs(values.sum(axis=1) - (output - baseline)).max(initial=0.0))
    if not gap <= MAX_GAP:
        raise DataContractError(
            f"Shapley values: contributions miss the function's own difference by {gap:.2g}, at most {MAX_GAP} is "
            "rounding. The function must answer each row for itself; ask it for the same rows twice."
        )
    return ShapleyValues(tuple(groups), values, errors, output, baseline, gap)


def _walk(
    function: Callable[[np.ndarray], np.ndarray],
    X: np.ndarray,
    background: np.ndarray,
    order: np.ndarray,
    group_of: np.ndarray,
) -> np.ndarray:
    """Contributions (n_rows, n_pairs, n_groups), each the mean of an order and its reverse.

    ``background`` (n_rows, n_pairs, n_inputs); ``order`` (n_rows, n_pairs, n_groups): the group that moves at each
    step.
    """
    n, n_pairs, n_groups = order.shape
    both = np.stack([order, order[:, :, ::-1]], axis=2)  # (n, n_pairs, 2, n_groups)
    place = np.argsort(both, axis=3)
    row = X[:, None, :]
    is_same = (row == background) | (np.isnan(row) & np.isnan(background))  # (n, n_pairs, n_inputs)
    differs = np.zeros((n, n_pairs, n_groups), dtype=bool)
    for group in range(n_groups):
        differs[:, :, group] = ~is_same[:, :, group_of == group].all(axis=2)
    # has_moved[..., j, g]: after j steps group g has the row's value.
    has_moved = place[:, :, :, None, :] < np.arange(n_groups + 1)[:, None]
    is_new = np.ones((n, n_pairs, 2, n_groups + 1), dtype=bool)
    is_new[..., 1:] = np.take_along_axis(np.broadcast_to(differs[:, :, None, :], both.shape), both, axis=3)
    i, pair, way, step = np.nonzero(is_new)
    states = np.where(has_moved[i, pair, way, step][:, group_of], X[i], background[i, pair])
    asked = function(states)
    # A step that changes nothing keeps the answer of the step before.
    last_asked = np.cumsum(is_new.reshape(-1)).reshape(is_new.shape) - 1
    steps = np.diff(asked[last_asked], axis=3)  # (n, n_pairs, 2, n_groups)
    contributions: np.ndarray = np.take_along_axis(steps, place, axis=3).mean(axis=2)
    return contributions


def _draw(rng: np.random.Generator, rows: np.ndarray, n: int) -> np.ndarray:
    """Draw ``n`` of ``rows`` without replacement; all of them in turn where there are fewer."""
    rounds = [rng.permutation(rows) for _ in range(-(-n // len(rows)))]
    return np.concatenate(rounds)[:n]


def _check(X: np.ndarray, background: Sequence[np.ndarray], groups: Mapping[str, Sequence[int]], n_pairs: int) -> None:
    columns = sorted(number for members in groups.values() for number in members)
    if columns != list(range(X.shape[1])) or n_pairs < 2:
        raise ConfigurationError(
            f"Shapley values: expected groups that hold each of {X.shape[1]} columns once and at least 2 pairs, got "
            f"columns {columns} and {n_pairs} pairs. Part all inputs with features.input_groups."
        )
    if len(background) != len(X):
        raise ConfigurationError(f"Shapley values: {len(X)} rows but {len(background)} backgrounds; expected one each.")
    alone = [k for k, rows in enumerate(background) if len(rows) == 0]
    if alone:
        raise InsufficientHistory(
            f"Shapley values: {len(alone)} of {len(X)} rows have no background row, first row {alone[0]}. "
            "Leave out rows that are alone in their session."
        )
