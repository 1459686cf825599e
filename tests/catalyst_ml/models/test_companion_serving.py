"""The companions as a server sees them: bytes and rows in, expected move and places of one close out, no trainer."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from catalyst_ml.errors import ArtifactRefused, DataContractError
from catalyst_ml.models.companion_graph import export_companions
from catalyst_ml.models.companion_serving import (
    companion_inputs,
    companion_version,
    expected_move_and_rank,
    open_companions,
)
from catalyst_ml.models.companions import FittedCompanions, fit_companions
from catalyst_ml.models.graph_builder import GraphBuilder, GraphOutput
from tests.catalyst_ml.models.test_companions import INPUTS, SETTINGS, make_stock_days


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return make_stock_days(n_days=260, strength=0.3, wildness=0.5)


@pytest.fixture(scope="module")
def fitted(rows: pd.DataFrame) -> FittedCompanions:
    return fit_companions(rows, SETTINGS, n_threads=1)


@pytest.fixture(scope="module")
def graph(fitted: FittedCompanions) -> bytes:
    return export_companions(fitted)


def close(rows: pd.DataFrame, day: int) -> pd.DataFrame:
    return rows[rows["ts"] == rows["ts"].unique()[day]]


def test_a_close_gets_the_answers_of_the_trainer_in_the_order_asked(
    rows: pd.DataFrame, fitted: FittedCompanions, graph: bytes
) -> None:
    day = close(rows, 255)
    expected = fitted.predict(day).set_index("symbol")
    asked = day.sample(frac=1.0, random_state=3)

    answers = expected_move_and_rank(graph, asked)

    for got, name in zip(answers, ("expected_move", "rank", "rank_5"), strict=True):
        np.testing.assert_allclose(got, expected.loc[asked["symbol"], name], atol=1e-6)
    assert sorted(answers.rank) == pytest.approx((np.arange(20) + 0.5) / 20)  # twenty stocks, no two alike


def test_a_session_and_a_matrix_say_the_same_as_bytes_and_a_frame(rows: pd.DataFrame, graph: bytes) -> None:
    day = close(rows, 250)
    session = open_companions(graph)

    of_matrix = expected_move_and_rank(session, day[list(INPUTS)].to_numpy(dtype="float64"))

    for got, expected in zip(of_matrix, expected_move_and_rank(graph, day), strict=True):
        np.testing.assert_array_equal(got, expected)
    assert companion_inputs(session) == INPUTS
    assert companion_version(session) == SETTINGS.stock_day_version


def test_a_stock_without_history_has_no_place_and_takes_none(rows: pd.DataFrame, graph: bytes) -> None:
    day = close(rows, 250)
    gap = day.assign(log_atr_ratio=day["log_atr_ratio"].where(day["symbol"] != "S03"))

    with_gap, without = expected_move_and_rank(graph, gap), expected_move_and_rank(graph, day[day["symbol"] != "S03"])

    is_there = (day["symbol"] != "S03").to_numpy()
    for got, expected in zip(with_gap, without, strict=True):
        assert np.isnan(got[~is_there]).all()
        np.testing.assert_array_equal(got[is_there], expected)


def test_few_stocks_have_a_size_of_move_and_no_rank_and_none_have_nothing(rows: pd.DataFrame, graph: bytes) -> None:
    day = close(rows, 250)

    few, none = expected_move_and_rank(graph, day.head(9)), expected_move_and_rank(graph, day.head(0))

    assert (few.expected_move > 0.0).all()
    assert np.isnan(few.rank).all()
    assert np.isnan(few.rank_5).all()
    assert [len(values) for values in none] == [0, 0, 0]


def test_infinities_are_missing_values(rows: pd.DataFrame, graph: bytes) -> None:
    day = close(rows, 250)
    odd, missing = (day.assign(noise=np.float32(value)) for value in (np.inf, np.nan))

    for got, expected in zip(expected_move_and_rank(graph, odd), expected_move_and_rank(graph, missing), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_rows_of_two_closes_an_absent_column_and_another_width_are_refused(rows: pd.DataFrame, graph: bytes) -> None:
    day = close(rows, 250)
    with pytest.raises(DataContractError, match="rows of 2 closes"):
        expected_move_and_rank(graph, pd.concat([day, close(rows, 251)]))
    with pytest.raises(DataContractError, match="size_signal"):
        expected_move_and_rank(graph, day.drop(columns="size_signal"))
    with pytest.raises(DataContractError, match=r"matrix of 5 columns, got shape \(20, 4\)"):
        expected_move_and_rank(graph, np.zeros((20, 4)))
    with pytest.raises(DataContractError, match=r"got shape \(5,\)"):
        expected_move_and_rank(graph, np.zeros(5))


def test_what_is_no_graph_of_companions_is_refused(graph: bytes) -> None:
    with pytest.raises(ArtifactRefused, match="cannot open"):
        open_companions(graph[:1000])
    with pytest.raises(ArtifactRefused, match="expected input"):
        open_companions(_identity(output="p", metadata={}))
    for metadata, told in (({}, "does not name its inputs"), ({"inputs": '["a", "b"]'}, "reads 1 inputs")):
        with pytest.raises(ArtifactRefused, match=told):
            open_companions(_three_outputs(metadata))
    with pytest.raises(ArtifactRefused, match="which stock-days"):
        companion_version(open_companions(_three_outputs({"inputs": '["a"]'})))


def test_a_server_needs_no_trainer_to_ask() -> None:
    told = "import sys, catalyst_ml.models.companion_serving as c; print([m for m in sys.argv[1:] if m in sys.modules])"
    trainers = ["xgboost", "sklearn", "torch", "onnx"]

    answer = subprocess.run([sys.executable, "-c", told, *trainers], capture_output=True, text=True, check=True)

    assert answer.stdout.strip() == "[]"


def _identity(*, output: str, metadata: dict[str, str]) -> bytes:
    graph = GraphBuilder()
    graph.name_output("features", output)
    return graph.build(input_name="features", n_inputs=1, outputs=[GraphOutput(output, 1)], metadata=metadata)


def _three_outputs(metadata: dict[str, str]) -> bytes:
    graph = GraphBuilder()
    names = ("expected_move", "rank_score", "rank_score_5")
    for name in names:
        graph.name_output("features", name)
    outputs = [GraphOutput(name, 1) for name in names]
    return graph.build(input_name="features", n_inputs=1, outputs=outputs, metadata=metadata)
