from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from catalyst_ml.errors import DataContractError
from catalyst_ml.models.preprocessing import Preprocessing, as_model_matrix, model_matrix


def test_infinite_and_unrepresentable_values_become_missing() -> None:
    X = as_model_matrix(np.array([[1.0, np.inf], [-np.inf, 1e300], [np.nan, 2.0]]))
    assert X.dtype == np.float32
    np.testing.assert_array_equal(np.isnan(X), [[False, True], [True, True], [True, False]])


def test_matrix_columns_follow_the_procedure_not_the_frame() -> None:
    rows = pd.DataFrame({"b": [1.0], "a": [2.0]})
    np.testing.assert_array_equal(model_matrix(rows, ("a", "b")), [[2.0, 1.0]])


@pytest.mark.parametrize("rows", [pd.DataFrame({"a": [1.0]}), pd.DataFrame({"a": [1.0], "b": ["x"]})])
def test_absent_and_text_inputs_are_refused_by_name(rows: pd.DataFrame) -> None:
    with pytest.raises(DataContractError, match=r"\['b'\]"):
        model_matrix(rows, ("a", "b"))


def test_scaling_is_checked_by_hand() -> None:
    X = np.array([[0.0], [1.0], [2.0], [3.0], [1000.0]], dtype=np.float32)
    fitted = Preprocessing.fit(X, clip=5.0)
    sd = (3.0 - 1.0) / 1.3489795
    expected = [[-2.0 / sd], [-1.0 / sd], [0.0], [1.0 / sd], [5.0]]
    np.testing.assert_allclose(fitted.transform(X), expected, rtol=1e-6)


def test_missing_values_get_the_median_and_an_indicator() -> None:
    X = np.array([[1.0, 5.0], [2.0, 6.0], [np.nan, 7.0], [3.0, 8.0]], dtype=np.float32)
    scaled = Preprocessing.fit(X).transform(X)
    assert scaled.shape == (4, 3)
    assert scaled[2, 0] == 0.0
    np.testing.assert_array_equal(scaled[:, 2], [0.0, 0.0, 1.0, 0.0])


def test_constant_and_wholly_missing_columns_are_left_out() -> None:
    X = np.array([[1.0, np.nan, 1.0], [1.0, np.nan, 2.0]], dtype=np.float32)
    fitted = Preprocessing.fit(X)
    np.testing.assert_array_equal(fitted.kept, [2])
    assert len(fitted.indicated) == 0


def test_a_column_whose_middle_half_is_equal_is_scaled_by_its_standard_deviation() -> None:
    X = np.array([[0.0]] * 9 + [[1.0]], dtype=np.float32)
    np.testing.assert_allclose(Preprocessing.fit(X).transform(X)[-1, 0], 1.0 / 0.3, rtol=1e-6)


def test_values_missing_only_when_served_are_imputed_without_nan() -> None:
    fitted = Preprocessing.fit(np.array([[1.0], [2.0], [4.0]], dtype=np.float32))
    served = fitted.transform(np.array([[np.nan], [3.4e38], [-3.4e38]], dtype=np.float32))
    np.testing.assert_array_equal(served[:, 0], [0.0, 5.0, -5.0])
