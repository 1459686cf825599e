"""The worst mistakes and their trades agree with the labels they come from."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from benchmarks.support.shadow_records import make_record
from catalyst_ml.errors import DataContractError
from catalyst_ml.evaluation.mistakes import BARS_BEFORE, tell_mistakes, worst_rows
from catalyst_ml.evaluation.record import log_losses
from catalyst_ml.frames import PATTERNS, pattern_column
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.labels import default_spec, label_events

AS_OF = pd.Timestamp("2024-12-31T21:00:00Z")


def market(n_symbols: int = 12, seed: int = 1) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Random walks of real sessions, one event per symbol and third session, instruments."""
    calendar, rng = TradingCalendar(), np.random.default_rng(seed)
    sessions = calendar.sessions(pd.Timestamp("2024-01-02"), pd.Timestamp("2024-12-31"))
    closes = pd.DatetimeIndex(calendar.closes(sessions)).as_unit("us")
    bars = []
    for k in range(n_symbols):
        close = 50.0 * np.exp(np.cumsum(rng.normal(0, 0.02, len(closes))))
        open_ = np.r_[50.0, close[:-1]] * np.exp(rng.normal(0, 0.004, len(closes)))
        high = np.maximum(open_, close) * np.exp(np.abs(rng.normal(0, 0.006, len(closes))))
        low = np.minimum(open_, close) * np.exp(-np.abs(rng.normal(0, 0.006, len(closes))))
        symbol = pd.Series([f"S{k:02d}"] * len(closes), dtype="str")
        bars.append(pd.DataFrame({"symbol": symbol, "ts": closes, "open": open_, "high": high, "low": low,
                                  "close": close, "volume": 1e6, "split_factor": 1.0}))  # fmt: skip
    frame = pd.concat(bars, ignore_index=True)
    events = frame[["symbol", "ts"]].iloc[30::3].reset_index(drop=True)
    events["direction"] = rng.choice(np.array([-1, 1], dtype="int8"), size=len(events))
    kinds = pd.DataFrame({"symbol": sorted(frame["symbol"].unique()), "kind": "stock"})
    return frame, events, kinds


def labelled(kind: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    bars, events, kinds = market()
    spec = default_spec("1d", kind)
    found = label_events(events, bars, spec, calendar=TradingCalendar(), as_of=AS_OF, instruments=kinds).labels
    rng = np.random.default_rng(2)
    rows = found.assign(p_challenger=rng.uniform(0.2, 0.8, len(found)), p_base_rate=0.5)
    patterns = {pattern_column(name): rng.random(len(found)) < 0.3 for name in PATTERNS}
    return rows.assign(**patterns), bars


def test_the_worst_rows_are_those_of_largest_loss_on_both_sides() -> None:
    record = make_record(sessions=30, events_a_day=20, seed=3, challenger_skill=0.8)
    worst = worst_rows(record, 25)

    losses = log_losses(record["y"], record["p_challenger"])
    assert worst["log_loss"].tolist() == sorted(losses, reverse=True)[:25]
    assert set(worst["y"]) == {0, 1}
    assert len(worst_rows(record.head(3), 25)) == 3
    assert worst_rows(record.head(0)).empty


@pytest.mark.parametrize("kind", ["symmetric", "two_to_one"])
def test_entry_barriers_and_exit_are_those_of_the_label(kind: str) -> None:
    rows, bars = labelled(kind)
    told = tell_mistakes(worst_rows(rows, 400), bars, default_spec("1d", kind))

    by_key = {(r["symbol"], r["ts"].isoformat()): r for r in rows.to_dict("records")}
    assert {mistake.outcome for mistake in told} == {"stop", "target", "timeout"}
    for mistake in told:
        row, side = by_key[mistake.symbol, mistake.ts], mistake.direction
        ts, _, high, low, close = mistake.bars[mistake.left]
        assert mistake.bars[mistake.decided][0] == row["ts"].isoformat()
        assert mistake.bars[mistake.entered][0] == row["entry_ts"].isoformat()
        assert mistake.entry == mistake.bars[mistake.entered][1]
        assert side * (mistake.exit - mistake.entry) / mistake.entry == pytest.approx(row["gross_return"])
        assert low - 1e-9 <= mistake.exit <= high + 1e-9
        reward = 1.0 if kind == "symmetric" else 2.0
        assert side * (mistake.target - mistake.entry) == pytest.approx(reward * side * (mistake.entry - mistake.stop))
        if mistake.outcome == "stop":
            assert side * mistake.exit <= side * mistake.stop + 1e-9
        elif mistake.outcome == "target":
            assert side * mistake.exit >= side * mistake.target - 1e-9
        else:
            assert mistake.exit == pytest.approx(close)
        assert pd.Timestamp(ts) <= row["label_end"]
        assert mistake.decided <= BARS_BEFORE
        assert mistake.patterns == tuple(name for name in PATTERNS if row[pattern_column(name)])


def test_a_market_neutral_trade_has_no_barriers_and_ends_at_a_close() -> None:
    rows, bars = labelled("market_neutral")

    for mistake in tell_mistakes(worst_rows(rows, 50), bars, default_spec("1d", "market_neutral")):
        assert (mistake.stop, mistake.target) == (None, None)
        assert mistake.exit == mistake.bars[mistake.left][4]


def test_nothing_after_the_moment_of_knowledge_is_shown() -> None:
    rows, bars = labelled("symmetric")
    as_of = pd.Timestamp("2024-06-28T20:00:00Z")
    known = rows[(rows["label_end"] <= as_of).to_numpy()]

    told = tell_mistakes(worst_rows(known, 50), bars[(bars["ts"] <= as_of).to_numpy()], default_spec("1d"))

    assert max(pd.Timestamp(bar[0]) for mistake in told for bar in mistake.bars) <= as_of


def test_bars_of_other_symbols_or_another_history_are_refused() -> None:
    rows, bars = labelled("symmetric")
    worst = worst_rows(rows, 2)
    with pytest.raises(DataContractError, match="no decision and entry"):
        tell_mistakes(worst, bars[~bars["symbol"].isin(worst["symbol"]).to_numpy()], default_spec("1d"))
    with pytest.raises(DataContractError, match="no decision and entry"):
        tell_mistakes(worst, bars[(bars["ts"] <= worst["ts"].min()).to_numpy()], default_spec("1d"))
    assert tell_mistakes(worst.head(0), bars, default_spec("1d")) == ()
