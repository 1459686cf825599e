"""Which bars see a break: counted in bars after it, in sessions before it, against a plain loop."""

import numpy as np
import pandas as pd
import pytest

from catalyst_ml.quality.exposure import HISTORY, HORIZON, exposed_bars, exposure_of
from tests.catalyst_ml.quality.dirty_bars import CALENDAR, CLOSES, quiet_bars


def break_at(*places: tuple[str, int]) -> pd.DataFrame:
    ts = pd.DatetimeIndex([CLOSES[session] for _, session in places])
    return pd.DataFrame({"symbol": pd.Series([symbol for symbol, _ in places], dtype="str"), "ts": ts})


def exposed(bars: pd.DataFrame, breaks: pd.DataFrame, **options: int) -> pd.DataFrame:
    found = exposure_of(bars[["symbol", "ts"]], breaks, bars, calendar=CALENDAR, **options)
    return bars[["symbol", "ts"]].assign(**found)


def test_bars_from_the_break_on_remember_it_and_trades_of_five_sessions_run_into_it():
    bars = quiet_bars(60, symbols=("AAA", "BBB"))

    found = exposed(bars, break_at(("AAA", 30)), memory_bars=10)

    own = found[found["symbol"] == "AAA"].reset_index(drop=True)
    assert own.index[own["where"] == HISTORY].tolist() == list(range(30, 40))
    assert own.index[own["where"] == HORIZON].tolist() == list(range(25, 30))
    assert own.loc[own["where"] != "", "break_ts"].unique().tolist() == [CLOSES[30]]
    assert (found.loc[found["symbol"] == "BBB", "where"] == "").all()


def test_exposed_bars_are_those_of_stocks_only():
    bars = quiet_bars(60, symbols=("AAA", "BBB", "SPY"))
    breaks = break_at(("AAA", 58), ("SPY", 20))

    seen = exposed_bars(bars, ["AAA", "BBB"], breaks, calendar=CALENDAR)

    assert seen["symbol"].unique().tolist() == ["AAA"]
    assert seen["ts"].tolist() == list(CLOSES[53:60])


@pytest.mark.parametrize("seed", range(5))
def test_exposure_agrees_with_a_loop_over_bars_with_gaps(seed):
    rng = np.random.default_rng(seed)
    bars = quiet_bars(50)
    bars = bars[rng.random(len(bars)) < 0.8].reset_index(drop=True)
    picked = bars.iloc[rng.choice(len(bars), 6, replace=False)]
    breaks = picked[["symbol", "ts"]].reset_index(drop=True)

    found = exposed(bars, breaks, memory_bars=7, horizon_sessions=3)

    sessions = list(CLOSES[:60])
    for symbol, own in found.groupby("symbol"):
        known, at = own["ts"].tolist(), sorted(breaks.loc[breaks["symbol"] == symbol, "ts"])
        for place, row in enumerate(own.itertuples()):
            before = [b for b in at if b <= row.ts and place - known.index(b) < 7]
            ahead = [b for b in at if row.ts < b <= sessions[sessions.index(row.ts) + 3]]
            expected = (before[-1], HISTORY) if before else (ahead[0], HORIZON) if ahead else (pd.NaT, "")
            assert row.where == expected[1], row
            assert row.break_ts is expected[0] or row.break_ts == expected[0], row


def test_a_trade_flat_by_the_close_sees_no_break_of_the_next_session():
    bars = quiet_bars(40, symbols=("AAA",))

    found = exposed(bars, break_at(("AAA", 30)), memory_bars=5, horizon_sessions=0)

    assert found.index[found["where"] != ""].tolist() == list(range(30, 35))


def test_a_break_of_a_bar_that_is_not_there_and_no_rows_are_no_trouble():
    bars = quiet_bars(40, symbols=("AAA",))

    assert (exposed(bars, break_at(("ZZZ", 3), ("AAA", 45)))["where"] == "").all()
    assert exposure_of(bars.head(0)[["symbol", "ts"]], break_at(("AAA", 3)), bars, calendar=CALENDAR).empty
