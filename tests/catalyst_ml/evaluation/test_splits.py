import datetime as dt
import functools
import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalyst_ml.errors import ConfigurationError, InsufficientHistory
from catalyst_ml.evaluation.splits import RECORD_SESSIONS, Fold, test_rows, train_rows, walk_forward_folds
from catalyst_ml.market.calendar import TradingCalendar

CALENDAR = TradingCalendar()
FRIDAY = pd.Timestamp("2015-11-20T21:00", tz="UTC")


@functools.cache
def make_rows(seed: int = 0, last: str = "2015-12-31") -> pd.DataFrame:
    """Events at random closes whose labels end one to five sessions later."""
    rng = np.random.default_rng(seed)
    sessions = CALENDAR.sessions(dt.date(2012, 1, 3), dt.date.fromisoformat(last))
    closes = CALENDAR.closes(sessions)
    at = np.sort(rng.integers(0, len(sessions) - 6, size=3_000))
    return pd.DataFrame({"ts": closes[at], "label_end": closes[at + rng.integers(1, 6, size=3_000)]})


def key(fold: Fold) -> tuple[str, pd.Timestamp, pd.Timestamp, pd.Timestamp, pd.Timestamp]:
    return fold.name, fold.train_start, fold.known_before, fold.test_start, fold.test_end


@settings(max_examples=12, deadline=None)
@given(days=st.integers(0, 400), seed=st.integers(0, 5))
def test_every_eligible_row_is_tested_exactly_once(days, seed):
    folds = walk_forward_folds(as_of=FRIDAY - pd.Timedelta(days=days), calendar=CALENDAR)
    rows = make_rows(seed)

    times_tested = np.sum([test_rows(rows, fold) for fold in folds], axis=0)

    is_eligible = (rows["ts"] >= folds[0].test_start) & (rows["ts"] < folds[-1].test_end)
    assert np.array_equal(times_tested, is_eligible.to_numpy().astype(int))


@settings(max_examples=12, deadline=None)
@given(days=st.integers(0, 400), seed=st.integers(0, 5), embargo_days=st.integers(0, 10))
def test_no_training_label_reaches_into_its_test_window(days, seed, embargo_days):
    embargo = pd.Timedelta(days=embargo_days)
    folds = walk_forward_folds(as_of=FRIDAY - pd.Timedelta(days=days), calendar=CALENDAR, embargo=embargo)
    rows = make_rows(seed)

    for fold in folds:
        learnt, judged = rows[train_rows(rows, fold)], rows[test_rows(rows, fold)]
        assert learnt["label_end"].max() + embargo < judged["ts"].min()
        assert learnt["ts"].min() >= fold.test_start - pd.Timedelta(days=730)


@settings(max_examples=12, deadline=None)
@given(days=st.integers(0, 400))
def test_every_tested_session_is_settled_by_as_of(days):
    as_of = FRIDAY - pd.Timedelta(days=days)
    newest = walk_forward_folds(as_of=as_of, calendar=CALENDAR)[-1]

    sessions = CALENDAR.sessions(newest.test_start.date(), newest.test_end.date() - dt.timedelta(days=1))
    labels_known = CALENDAR.closes(CALENDAR.shift(sessions, 5))

    assert labels_known.max() <= as_of
    assert as_of - newest.test_end < pd.Timedelta(days=16)


def test_folds_follow_each_other_in_time_without_a_gap():
    folds = walk_forward_folds(as_of=FRIDAY, calendar=CALENDAR)

    assert [f.kind for f in folds] == ["burn_in"] * 4 + ["record"] * (len(folds) - 4)
    for earlier, later in itertools.pairwise(folds):
        assert earlier.test_end == later.test_start
    assert len({f.name for f in folds}) == len(folds)


def test_a_friday_close_judges_the_week_before_and_names_it_by_iso_week():
    newest = walk_forward_folds(as_of=FRIDAY, calendar=CALENDAR)[-1]

    assert newest.name == "record-2015-W46"
    assert newest.test_start == pd.Timestamp("2015-11-09", tz="UTC")
    assert newest.test_end == pd.Timestamp("2015-11-16", tz="UTC")
    assert newest.known_before == pd.Timestamp("2015-11-08", tz="UTC")


def test_the_record_holds_the_sessions_asked_for_and_less_than_one_burn_in_fold_more():
    record = [f for f in walk_forward_folds(as_of=FRIDAY, calendar=CALENDAR) if f.kind == "record"]

    last = record[-1].test_end.date() - dt.timedelta(days=1)
    held = len(CALENDAR.sessions(record[0].test_start.date(), last))

    assert RECORD_SESSIONS <= held < RECORD_SESSIONS + 20


@settings(max_examples=20, deadline=None)
@given(weeks=st.integers(0, 100))
def test_next_week_shares_all_but_the_newest_and_sometimes_the_oldest_folds(weeks):
    as_of = FRIDAY - pd.Timedelta(weeks=weeks)
    now = walk_forward_folds(as_of=as_of, calendar=CALENDAR)
    then = walk_forward_folds(as_of=as_of + pd.Timedelta(weeks=1), calendar=CALENDAR)

    new = {key(f) for f in then} - {key(f) for f in now}

    assert len(new) <= 3  # the new week; when the grid moves on, one burn-in fold; a holiday week moves it one on


def test_within_one_week_of_sessions_the_folds_do_not_move_before_the_week_is_settled():
    thursday = walk_forward_folds(as_of=FRIDAY - pd.Timedelta(days=1), calendar=CALENDAR)
    monday = walk_forward_folds(as_of=FRIDAY - pd.Timedelta(days=4), calendar=CALENDAR)

    assert thursday == monday
    assert thursday[-1].name == "record-2015-W45"


def test_a_fold_survives_json():
    fold = walk_forward_folds(as_of=FRIDAY, calendar=CALENDAR)[0]

    assert Fold.from_dict(fold.to_dict()) == fold


def test_short_data_is_refused_with_the_first_day_it_needs():
    start = pd.Timestamp("2014-11-03T21:00", tz="UTC")

    with pytest.raises(InsufficientHistory, match=r"needs 120 sessions of history .* begins 2014-11-03"):
        walk_forward_folds(as_of=FRIDAY, calendar=CALENDAR, history_start=start)


def test_a_calendar_that_opens_too_late_is_refused():
    late = TradingCalendar(start=dt.date(2015, 6, 1), end=dt.date(2016, 1, 1))

    with pytest.raises(InsufficientHistory, match="record needs 260 sessions"):
        walk_forward_folds(as_of=FRIDAY, calendar=late)


@pytest.mark.parametrize(
    "wrong", [{"record_fold_sessions": 7}, {"burn_in_fold_sessions": 15, "record_fold_sessions": 10}]
)
def test_folds_that_are_not_whole_weeks_on_one_grid_are_refused(wrong):
    with pytest.raises(ConfigurationError):
        walk_forward_folds(as_of=FRIDAY, calendar=CALENDAR, **wrong)
