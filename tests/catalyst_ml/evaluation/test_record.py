import numpy as np
import pytest

from benchmarks.support.shadow_records import make_record
from catalyst_ml.errors import DataContractError
from catalyst_ml.evaluation.record import daily_sums, log_losses, member_columns, validate_record

RECORD = make_record(sessions=10, events_a_day=5)


def test_a_good_record_is_handed_back_unchanged_with_its_extra_columns():
    record = RECORD.assign(p_member_logistic=0.5, is_hammer=True)

    assert validate_record(record) is record
    assert member_columns(record) == ["p_member_logistic"]


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("p_challenger", 1.2, "p_challenger is not a probability"),
        ("p_member_net", -0.1, "p_member_net is not a probability"),
        ("y", 2, "y is neither 0 nor 1"),
    ],
)
def test_a_value_out_of_its_range_is_refused_with_its_row(column, value, words):
    record = RECORD.assign(p_member_net=0.5)
    record[column] = record[column].where(np.arange(len(record)) != 7, value).astype(record[column].dtype)

    with pytest.raises(DataContractError, match=f"{words}.* in 1 rows, first in row 7"):
        validate_record(record)


def test_an_outcome_known_before_the_decision_is_refused():
    record = RECORD.assign(label_end=RECORD["ts"])

    with pytest.raises(DataContractError, match="label_end is not after the decision time"):
        validate_record(record)


def test_folds_that_overlap_in_time_are_refused():
    folds = np.resize(["record-0", "record-1"], len(RECORD))
    record = RECORD.assign(fold=np.asarray(folds, dtype=object)).astype({"fold": "str"})

    with pytest.raises(DataContractError, match="Test windows overlap"):
        validate_record(record)


def test_a_missing_column_is_refused():
    with pytest.raises(DataContractError, match="p_champion"):
        validate_record(RECORD.drop(columns="p_champion"))


def test_log_loss_of_a_certain_mistake_is_finite():
    losses = log_losses(np.array([1, 0, 1]), np.array([0.0, 0.25, 1.0]))

    np.testing.assert_allclose(losses, [-np.log(1e-6), -np.log(0.75), -np.log(1 - 1e-6)], rtol=1e-6)


def test_daily_sums_have_one_entry_per_session_in_time_order():
    sums = daily_sums(np.ones(len(RECORD)), RECORD["session"])

    assert sums.tolist() == [5.0] * 10
    assert sums.index.is_monotonic_increasing
