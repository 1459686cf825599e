"""What a server asks of a version's ``companions.onnx``: how far each stock of a close may move, and how they rank.

Input ``features`` float32 (n, n_inputs), NaN for missing: the columns named in the graph's metadata entry ``inputs``,
as ``features.stock_days`` makes them. Outputs, (n,) each: ``expected_move``, the expected absolute market-neutral
return over five sessions, a fraction of the price; ``rank_score`` and ``rank_score_5``, which order the stocks of one
close by the return of the next session and of five. A place in that order is made here, of all stocks of the close
together.
No trainer is imported.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from catalyst_ml.errors import ArtifactRefused, DataContractError
from catalyst_ml.indicators.places import places_within
from catalyst_ml.models.graph_names import INPUT, single_thread_session

if TYPE_CHECKING:
    import onnxruntime
    import pandas as pd  # the signal server hands in matrices and holds no frames

COMPANION_FILE = "companions.onnx"
"""Second graph of a version; absent where the history was too short for companions."""
OUTPUTS: tuple[str, ...] = ("expected_move", "rank_score", "rank_score_5")
MIN_STOCKS = 10
"""Fewer stocks with a score at a close give no order."""


class CompanionAnswers(NamedTuple):
    """One value per stock (n_stocks,), float64, in the order asked.

    ``expected_move`` is NaN where a stock's ATR is missing; ``rank`` (next session) and ``rank_5`` (five sessions) are
    places among the stocks asked together, 0 worst to 1 best, NaN for all of them where fewer than `MIN_STOCKS` have an
    expected move: a stock without history has no place and takes none.
    """

    expected_move: np.ndarray
    rank: np.ndarray
    rank_5: np.ndarray


def open_companions(onnx_bytes: bytes) -> onnxruntime.InferenceSession:
    """Open the graph on one thread.

    Raises
    ------
    ArtifactRefused
        If the bytes are no graph of companions.
    """
    try:
        session = single_thread_session(onnx_bytes)
    except Exception as error:  # onnxruntime raises classes of its own for each kind of broken file
        raise ArtifactRefused(f"{COMPANION_FILE}: onnxruntime cannot open it: {str(error)[:200]}") from error
    found = tuple(output.name for output in session.get_outputs())
    if found != OUTPUTS or [given.name for given in session.get_inputs()] != [INPUT]:
        raise ArtifactRefused(
            f"{COMPANION_FILE}: expected input {INPUT!r} and outputs {OUTPUTS}, got outputs {found}. "
            "Publish the version again."
        )
    companion_inputs(session)
    return session


def companion_inputs(session: onnxruntime.InferenceSession) -> tuple[str, ...]:
    """Names of the columns of ``features``, in order.

    Raises
    ------
    ArtifactRefused
        If the metadata does not name as many as the graph reads.
    """
    metadata = session.get_modelmeta().custom_metadata_map
    width = session.get_inputs()[0].shape[1]
    try:
        names = tuple(json.loads(metadata["inputs"]))
    except (KeyError, ValueError, TypeError) as error:
        raise ArtifactRefused(f"{COMPANION_FILE}: its metadata does not name its inputs. Publish it again.") from error
    if len(names) != width or not all(isinstance(name, str) for name in names):
        raise ArtifactRefused(f"{COMPANION_FILE}: reads {width} inputs, its metadata names {len(names)}.")
    return names


def companion_version(session: onnxruntime.InferenceSession) -> str:
    """The ``features.stock_days.stock_day_version`` of the rows it was trained on; those of another mean other things.

    Raises
    ------
    ArtifactRefused
        If the metadata does not say.
    """
    try:
        return str(json.loads(session.get_modelmeta().custom_metadata_map["settings"])["stock_day_version"])
    except (KeyError, ValueError, TypeError) as error:
        raise ArtifactRefused(
            f"{COMPANION_FILE}: its metadata does not say which stock-days it was trained on. Publish it again."
        ) from error


def expected_move_and_rank(
    graph: bytes | onnxruntime.InferenceSession, inputs: pd.DataFrame | np.ndarray
) -> CompanionAnswers:
    """Ask the companions about all stocks of one close.

    Parameters
    ----------
    graph
        Bytes of ``companions.onnx``, or the session that `open_companions` made of them once.
    inputs
        One row per stock of the close: a frame with the columns of `companion_inputs` (rows of
        ``features.stock_days.StockDays``; others are passed over, ``ts`` is looked at), or a matrix of them in that
        order. Infinities count as missing. The whole universe, not the stock one wants to know about: a rank is a
        place among those asked.

    Raises
    ------
    ArtifactRefused
        If ``graph`` is no graph of companions.
    DataContractError
        If a column is absent, the matrix has another width, or the rows are of several closes.
    """
    session = open_companions(graph) if isinstance(graph, bytes) else graph
    X = _matrix(inputs, companion_inputs(session))
    if len(X) == 0:
        return CompanionAnswers(*(np.empty(0) for _ in CompanionAnswers._fields))
    move, score, score_5 = (np.asarray(values, dtype="float64") for values in session.run(list(OUTPUTS), {INPUT: X}))
    is_known = np.isfinite(move)
    return CompanionAnswers(
        np.where(is_known, move, np.nan), *(_place(np.where(is_known, values, np.nan)) for values in (score, score_5))
    )


def _matrix(inputs: pd.DataFrame | np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    if not isinstance(inputs, np.ndarray):
        absent = [name for name in names if name not in inputs.columns]
        if absent:
            raise DataContractError(
                f"companions: inputs {absent[:5]} of {len(names)} are missing. Compute stock-days with the release "
                "that trained the version, or publish a version of this one."
            )
        closes = inputs["ts"].unique() if "ts" in inputs.columns else []
        if len(closes) > 1:
            raise DataContractError(
                f"companions: rows of {len(closes)} closes, expected those of one. Ask close by close: a rank is a "
                "place within one."
            )
        inputs = inputs[list(names)].to_numpy(dtype=np.float32)
    X = np.array(inputs, dtype=np.float32)
    if X.ndim != 2 or X.shape[1] != len(names):
        raise DataContractError(f"companions: expected a matrix of {len(names)} columns, got shape {X.shape}.")
    X[np.isinf(X)] = np.nan
    return X


def _place(scores: np.ndarray) -> np.ndarray:
    return places_within(scores, np.array([0, len(scores)], dtype=np.int64), MIN_STOCKS)
