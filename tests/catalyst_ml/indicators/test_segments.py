import numpy as np
import pandas as pd
import pytest

from catalyst_ml.errors import DataContractError
from catalyst_ml.indicators.segments import symbol_slices


@pytest.mark.parametrize("make", [np.array, lambda x: pd.Series(x, dtype="str")])
def test_each_symbol_gets_the_slice_of_its_rows(make):
    assert symbol_slices(make(["A", "A", "B", "C", "C", "C"])) == [
        ("A", slice(0, 2)),
        ("B", slice(2, 3)),
        ("C", slice(3, 6)),
    ]


def test_no_rows_give_no_slices():
    assert symbol_slices(pd.Series([], dtype="str")) == []


def test_a_symbol_that_comes_back_is_refused_by_name():
    with pytest.raises(DataContractError, match=r"'A' stand in more than one place.*Sort it"):
        symbol_slices(np.array(["A", "B", "A"]))
