import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalyst_ml.errors import DataContractError
from catalyst_ml.frames import BARS
from catalyst_ml.market.corporate_actions import adjust_for_splits, unexplained_jumps
from tests.catalyst_ml.market.bar_frames import CALENDAR, CLOSES, make_bars, random_bars


def _flat(price: float, volume: float = 600.0) -> tuple[float, float, float, float, float]:
    return (price, price, price, price, volume)


def test_bars_before_a_split_are_put_on_the_scale_after_it():
    bars = make_bars([_flat(60.0), _flat(60.0), _flat(30.0), _flat(10.0)], splits={2: 2.0, 3: 3.0})

    adjusted = BARS.validate(adjust_for_splits(bars, as_of=CLOSES[3]))

    assert adjusted["close"].tolist() == [10.0, 10.0, 10.0, 10.0]
    assert adjusted["volume"].tolist() == [3_600.0, 3_600.0, 1_800.0, 600.0]
    assert (adjusted["split_factor"] == 1.0).all()


def test_a_split_after_as_of_is_not_known_yet_and_later_bars_are_left_out():
    bars = make_bars([_flat(60.0), _flat(30.0), _flat(10.0)], splits={1: 2.0, 2: 3.0})

    adjusted = adjust_for_splits(bars, as_of=CLOSES[1])

    assert adjusted["close"].tolist() == [30.0, 30.0]


def test_a_split_of_one_symbol_leaves_the_next_symbol_alone():
    first = make_bars([_flat(60.0), _flat(60.0)])
    second = make_bars([_flat(60.0), _flat(30.0)], symbol="BBB", splits={1: 2.0})

    adjusted = adjust_for_splits(pd.concat([first, second], ignore_index=True), as_of=CLOSES[1])

    assert adjusted["close"].tolist() == [60.0, 60.0, 30.0, 30.0]


def test_a_factor_of_zero_is_refused_with_symbol_and_day():
    bars = make_bars([_flat(60.0), _flat(30.0)], splits={1: 0.0})

    with pytest.raises(DataContractError, match=r"AAA: split factor 0.0 on 2014-01-03"):
        adjust_for_splits(bars, as_of=CLOSES[1])


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), factor=st.sampled_from([0.05, 0.25, 1.5, 2.0, 7.0]))
def test_a_later_split_moves_no_ratio_within_a_symbol(seed, factor):
    bars = random_bars(np.random.default_rng(seed), n_sessions=30)
    row = int(np.random.default_rng(seed).integers(0, len(bars)))
    split = bars.assign(split_factor=np.where(np.arange(len(bars)) == row, factor, 1.0))

    plain = adjust_for_splits(bars, as_of=CLOSES[-1])
    adjusted = adjust_for_splits(split, as_of=CLOSES[-1])

    same = bars["symbol"] == bars["symbol"].iloc[row]
    before = same & (bars.index < row)
    np.testing.assert_allclose(adjusted["close"][before] * factor, plain["close"][before], rtol=1e-12)
    np.testing.assert_allclose(adjusted["volume"][before] / factor, plain["volume"][before], rtol=1e-12)
    pd.testing.assert_frame_equal(adjusted[~before], plain[~before])
    np.testing.assert_allclose(
        (adjusted["high"] / adjusted["low"]).to_numpy(), (plain["high"] / plain["low"]).to_numpy(), rtol=1e-12
    )


def test_jumps_without_a_split_and_wrong_split_factors_are_named():
    missed = make_bars([_flat(65.0), _flat(32.0)])
    explained = make_bars([_flat(65.0), _flat(32.0)], symbol="BBB", splits={1: 2.0})
    bogus = make_bars([_flat(65.0), _flat(65.0)], symbol="CCC", splits={1: 0.3})

    jumps = unexplained_jumps(pd.concat([missed, explained, bogus], ignore_index=True))

    assert jumps["symbol"].tolist() == ["AAA", "CCC"]
    assert jumps["jump"].tolist() == pytest.approx([32.0 / 65.0 - 1.0, -0.7])
    assert jumps["ts"].tolist() == [CLOSES[1], CLOSES[1]]


@pytest.mark.real_data
@pytest.mark.skipif("CATALYST_MARKET_DATA" not in os.environ, reason="CATALYST_MARKET_DATA is not set")
def test_the_known_missed_splits_of_the_real_bars_are_named():
    raw = pd.read_parquet(Path(os.environ["CATALYST_MARKET_DATA"]) / "bars_daily.parquet")
    named = ["ABT", "FIS", "GOOGL", "AAPL"]
    raw = raw[raw["symbol"].isin(named)].sort_values(["symbol", "date"], ignore_index=True)
    ts = CALENDAR.closes(pd.DatetimeIndex(raw["date"]))
    bars = raw.assign(ts=ts, split_factor=raw["split_coefficient"], volume=raw["volume"].astype("float64"))

    jumps = unexplained_jumps(BARS.validate(bars.astype({"symbol": "str"})))

    seen = dict(zip(jumps["symbol"], jumps["ts"].dt.strftime("%Y-%m-%d"), strict=True))
    assert seen == {"ABT": "2013-01-02", "FIS": "2008-07-03", "GOOGL": "2014-04-03"}
