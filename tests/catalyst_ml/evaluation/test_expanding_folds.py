"""Quarterly folds: every row after the first window is tested once, and no training outcome reaches into a test."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalyst_ml.errors import ConfigurationError, InsufficientHistory
from catalyst_ml.evaluation.expanding_folds import expanding_folds
from catalyst_ml.evaluation.splits import FIRST_MONDAY, test_rows, train_rows


def make_rows(n_days, *, start="2010-01-04", horizon=5):
    closes = pd.bdate_range(start, periods=n_days + horizon, tz="UTC") + pd.Timedelta(hours=21)
    return pd.DataFrame({"ts": closes[:n_days], "label_end": closes[horizon:]})


@settings(max_examples=40, deadline=None)
@given(
    n_days=st.integers(200, 900),
    min_training_days=st.integers(30, 200),
    weeks=st.integers(1, 26),
    embargo_days=st.integers(0, 10),
    shift=st.integers(0, 200),
)
def test_each_row_is_tested_once_and_no_training_outcome_reaches_into_a_test_window(
    n_days, min_training_days, weeks, embargo_days, shift
):
    rows = make_rows(n_days, start=str((pd.Timestamp("2010-01-04") + pd.Timedelta(days=shift)).date()))
    folds = (
        expanding_folds(
            history_start=rows["ts"].iloc[0],
            as_of=rows["ts"].iloc[-1],
            min_training_days=min_training_days,
            weeks=weeks,
            embargo=pd.Timedelta(days=embargo_days),
        )
        if n_days * 7 / 5 > min_training_days + 7 * weeks + 10
        else ()
    )

    tested = np.zeros(n_days, dtype=int)
    for fold in folds:
        asks, learns = test_rows(rows, fold), train_rows(rows, fold)
        tested += asks
        assert learns.any()
        if asks.any():
            gap = rows.loc[asks, "ts"].min() - rows.loc[learns, "label_end"].max()
            assert gap > pd.Timedelta(days=embargo_days)
    if folds:
        later = (rows["ts"] >= folds[0].test_start).to_numpy()
        assert (tested == later).all()
        assert folds[0].test_start >= rows["ts"].iloc[0] + pd.Timedelta(days=min_training_days)


def test_the_grid_stays_where_it_is_when_a_day_passes():
    rows = make_rows(500)
    today = expanding_folds(history_start=rows["ts"].iloc[0], as_of=rows["ts"].iloc[-2])
    tomorrow = expanding_folds(history_start=rows["ts"].iloc[0], as_of=rows["ts"].iloc[-1])

    assert today == tomorrow[: len(today)]
    weeks = (today[0].test_start.tz_localize(None) - FIRST_MONDAY).days / 7
    assert weeks % 13 == 0
    assert [f.test_start for f in today[1:]] == [f.test_end for f in today[:-1]]


def test_a_history_too_short_for_one_fold_says_so():
    rows = make_rows(200)
    with pytest.raises(InsufficientHistory, match="Import earlier bars"):
        expanding_folds(history_start=rows["ts"].iloc[0], as_of=rows["ts"].iloc[-1], min_training_days=365)


def test_negative_embargo_is_refused():
    rows = make_rows(500)
    with pytest.raises(ConfigurationError, match="not negative"):
        expanding_folds(history_start=rows["ts"].iloc[0], as_of=rows["ts"].iloc[-1], embargo=pd.Timedelta(days=-1))
