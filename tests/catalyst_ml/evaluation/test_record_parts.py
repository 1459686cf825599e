"""Each row of a record finds its regime, sector and novelty, by what was known before it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from catalyst_ml.evaluation.record_parts import parts_of_record

INPUTS = ("a", "b")


def market(n_sessions: int = 300, per_session: int = 4) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(1)
    sessions = pd.bdate_range("2023-01-02", periods=n_sessions).as_unit("us")
    day = np.repeat(np.arange(n_sessions), per_session)
    closes = (sessions + pd.Timedelta(hours=21)).tz_localize("UTC").as_unit("us")
    training = pd.DataFrame(
        {
            "symbol": pd.Series([f"S{k}" for k in np.tile(np.arange(per_session), n_sessions)], dtype="str"),
            "ts": closes[day],
            "direction": np.ones(len(day), dtype="int8"),
            "session": sessions[day],
            "vix_level": (15.0 + np.arange(n_sessions) / 50.0)[day],
            "a": rng.normal(size=len(day)),
            "b": rng.normal(size=len(day)),
        }
    )
    spy = pd.DataFrame({"symbol": pd.Series(["SPY"] * n_sessions, dtype="str"), "ts": closes,
                        "close": np.linspace(400, 500, n_sessions)})  # fmt: skip
    sectors = pd.Series(["Banks", "Mines", None, "Banks"], dtype="str")
    instruments = pd.DataFrame({"symbol": pd.Series(["S0", "S1", "S2", "S3"], dtype="str"), "sector": sectors})
    return training, spy, instruments


def test_rows_are_named_by_their_own_key_whatever_the_order() -> None:
    training, spy, instruments = market()
    training.loc[training.index[-3], "a"] = 40.0
    record = training.tail(400).sample(frac=1.0, random_state=2).reset_index(drop=True)

    parts = parts_of_record(record, training, spy, instruments, INPUTS)

    assert parts["volatility"].eq("nervous").all(), "the level only ever rose"
    assert parts["trend"].eq("rising").all()
    assert parts["novelty"][record["a"] == 40.0].tolist() == ["novel"]
    assert parts["novelty"].eq("novel").mean() < 0.1
    named = {symbol: set(parts["sector"][record["symbol"] == symbol].dropna()) for symbol in ("S0", "S1", "S2")}
    assert named == {"S0": {"Banks"}, "S1": {"Mines"}, "S2": set()}


def test_what_comes_after_an_event_does_not_change_its_part() -> None:
    training, spy, instruments = market()
    record = training.iloc[800:900].reset_index(drop=True)
    wild = training.assign(vix_level=training["vix_level"].where(training.index < 900, 99.0))
    wild_spy = spy.assign(close=spy["close"].where(spy["ts"] <= record["ts"].max(), 1.0))

    before = parts_of_record(record, training.head(900), spy, instruments, INPUTS)

    pd.testing.assert_frame_equal(parts_of_record(record, wild, wild_spy, instruments, INPUTS), before)


def test_missing_sources_give_missing_names() -> None:
    training, spy, instruments = market(n_sessions=40)
    blind = training.assign(vix_level=np.nan, a=np.nan, b=np.nan)
    record = blind.tail(20).reset_index(drop=True)

    parts = parts_of_record(record, blind, spy.head(0), instruments.assign(sector=None), INPUTS)

    assert parts.isna().all(axis=None), "160 rows before the record are too few to say what is usual"
    assert len(parts) == 20
    assert len(parts_of_record(record.head(0), blind, spy, instruments, INPUTS)) == 0
