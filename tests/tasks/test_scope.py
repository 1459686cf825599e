import pandas as pd
import pytest

from catalyst_ml.errors import ConfigurationError, InsufficientHistory
from tasks.scope import _refuse_unknown_future

FRIDAY, MONDAY = pd.Timestamp("2025-12-05 21:00", tz="UTC"), pd.Timestamp("2025-12-08 21:00", tz="UTC")


def test_a_moment_after_the_last_close_is_refused_as_the_future():
    with pytest.raises(ConfigurationError, match="lies in the future: the last session closed 2025-12-08"):
        _refuse_unknown_future(MONDAY + pd.Timedelta(days=1), FRIDAY, MONDAY, dataset="demo")


def test_a_moment_the_stocks_do_not_reach_is_refused_before_open_trades_are_settled_at_their_last_bar():
    as_of = FRIDAY + pd.Timedelta(days=30)

    with pytest.raises(InsufficientHistory, match=r"'demo'.*most stocks end at 2025-12-05.*Import newer bars"):
        _refuse_unknown_future(as_of, FRIDAY, as_of, dataset="demo")


@pytest.mark.parametrize("as_of", [FRIDAY, FRIDAY + pd.Timedelta(days=2), FRIDAY - pd.Timedelta(days=900)])
def test_the_newest_bar_the_weekend_after_it_and_the_past_are_known(as_of):
    _refuse_unknown_future(as_of, FRIDAY, MONDAY, dataset="demo")
