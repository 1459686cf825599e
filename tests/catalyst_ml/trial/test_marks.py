import functools
from datetime import date

import numpy as np
import pandas as pd
import pytest

from catalyst_ml.errors import DataContractError
from catalyst_ml.frames import BARS, EVENT_KEY
from catalyst_ml.market import corporate_actions, detector, labels
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.label_specs import default_spec
from catalyst_ml.market.simulator import simulate_market
from catalyst_ml.trial.marks import MARKS, mark_trades

KEY = list(EVENT_KEY)
CALENDAR = TradingCalendar()


@functools.cache
def market():
    """Split-adjusted bars and events of a small market, and labels known at its end."""
    simulated = simulate_market("middle", seed=5, n_symbols=12, n_sessions=160, calendar=CALENDAR)
    as_of = simulated.bars["ts"].max()
    bars = corporate_actions.adjust_for_splits(simulated.bars, as_of=as_of)
    events = detector.detect_events(bars, simulated.instruments, timeframe="1d")
    labelled = labels.label_events(events, bars, labels.LabelSpec(), calendar=CALENDAR, as_of=as_of)
    return bars, events, labelled, as_of


def marked(labelled, bars, as_of):
    return mark_trades(labelled.labels, labelled.pending, bars, calendar=CALENDAR, as_of=as_of)


def by_loop(label, bars, as_of, cost):
    """One trade's marks, bar by bar, in plain Python."""
    own = [row for row in bars.itertuples() if row.symbol == label.symbol and label.ts < row.ts <= as_of]
    over = pd.notna(getattr(label, "label_end", None)) and label.label_end <= as_of
    own = [row for row in own if not over or row.ts <= label.label_end]
    entry, before, marks = own[0].open, own[0].open, []
    for i, row in enumerate(own):
        at_exit = over and i == len(own) - 1
        now = entry * (1 + label.direction * label.gross_return) if at_exit else row.close
        gross = label.direction * (now - before) / entry
        marks.append((row.ts, gross, gross - (cost if i == 0 else 0.0)))
        before = now
    return marks


def test_the_marks_of_a_settled_trade_sum_up_to_its_net_return():
    bars, _, labelled, as_of = market()
    marks = marked(labelled, bars, as_of)

    total = marks.groupby(KEY)[["net", "gross", "cost"]].sum().reset_index().merge(labelled.labels, on=KEY)

    assert len(total) == len(labelled.labels) > 500
    np.testing.assert_allclose(total["net"], total["net_return"], atol=1e-12, rtol=0)
    np.testing.assert_allclose(total["gross"], total["gross_return"], atol=1e-12, rtol=0)
    np.testing.assert_allclose(total["cost"], 10e-4, atol=1e-12, rtol=0)
    assert set(labelled.labels["outcome"]) == {"target", "stop", "timeout"}


@pytest.mark.parametrize("back", [0, 40])
def test_every_mark_equals_a_plain_loop_over_the_bars(back):
    bars, events, _, _ = market()
    as_of = pd.Timestamp(np.sort(bars["ts"].unique())[-1 - back])
    as_of = as_of if as_of.tzinfo else as_of.tz_localize("UTC")
    labelled = labels.label_events(events, bars, labels.LabelSpec(), calendar=CALENDAR, as_of=as_of)
    marks = marked(labelled, bars, as_of).set_index(KEY).sort_index()

    sample = pd.concat([labelled.labels.sample(60, random_state=1), labelled.pending], ignore_index=True)
    n_open = 0
    for trade in sample.itertuples():
        expected = by_loop(trade, bars, as_of, 10e-4) if trade.ts < as_of else []
        key = (trade.symbol, trade.ts, trade.direction)
        own = marks.loc[[key]] if key in marks.index else marks.iloc[:0]
        n_open += bool(len(own)) and pd.isna(trade.outcome)
        assert own["mark_ts"].tolist() == [ts for ts, _, _ in expected]
        np.testing.assert_allclose(own["gross"], [g for _, g, _ in expected], atol=1e-12)
        np.testing.assert_allclose(own["net"], [n for _, _, n in expected], atol=1e-12)
    assert n_open > 5


def test_an_open_trade_is_marked_to_the_close_and_keeps_these_marks_when_it_is_settled():
    bars, events, labelled, as_of = market()
    earlier = pd.DatetimeIndex(np.sort(labelled.labels["ts"].unique()))[-30]
    young = labels.label_events(events, bars, labels.LabelSpec(), calendar=CALENDAR, as_of=earlier)

    then = marked(young, bars, earlier)
    # Labels settled later count as open, so the later table tells the same about then.
    told_later = marked(labelled, bars, earlier)
    now = marked(labelled, bars, as_of)

    pd.testing.assert_frame_equal(then, told_later)
    known_then = now[(now["mark_ts"] <= earlier).to_numpy()].reset_index(drop=True)
    pd.testing.assert_frame_equal(then, known_then)


def test_no_bar_after_as_of_is_read():
    bars, _, labelled, _ = market()
    as_of = pd.DatetimeIndex(np.sort(bars["ts"].unique()))[-20]
    late = (bars["ts"] > as_of).to_numpy()
    altered = bars.assign(**{c: np.where(late, 10.0 * bars[c], bars[c]) for c in ("open", "high", "low", "close")})

    pd.testing.assert_frame_equal(marked(labelled, bars, as_of), marked(labelled, altered, as_of))


def five_minute_bars(n_sessions=3, seed=0):
    """Two symbols, 78 bars a session."""
    rng = np.random.default_rng(seed)
    sessions = CALENDAR.sessions(date(2025, 3, 3), date(2025, 3, 31))[:n_sessions]
    ts = np.concatenate(
        [pd.date_range(o, periods=78, freq="5min") + pd.Timedelta("5min") for o in CALENDAR.opens(sessions)]
    )
    frames = []
    for symbol in ("AAA", "BBB"):
        close = 50.0 * np.exp(np.cumsum(0.002 * rng.standard_normal(len(ts))))
        open_ = np.append(50.0, close[:-1])
        top, bottom = np.maximum(open_, close), np.minimum(open_, close)
        frames.append(pd.DataFrame({"symbol": symbol, "ts": ts, "open": open_, "high": 1.001 * top, "low": bottom - 0.1,
                                    "close": close, "volume": 1e4, "split_factor": 1.0}))  # fmt: skip
    bars = pd.concat(frames, ignore_index=True).astype({c.name: c.dtype for c in BARS.columns})
    return BARS.validate(bars)


def test_an_intraday_trade_has_one_mark_its_net_return():
    bars = five_minute_bars()
    events = bars.groupby("symbol").nth([40, 60, 100, 140, 150, 200])[["symbol", "ts"]]
    events = events.assign(direction=np.int8(1)).sort_values(KEY, ignore_index=True).astype({"direction": "int8"})
    end = bars["ts"].max()
    labelled = labels.label_events(events, bars, default_spec("5m"), calendar=CALENDAR, as_of=end)

    marks = mark_trades(labelled.labels, labelled.pending, bars, calendar=CALENDAR, as_of=end)

    both = marks.merge(labelled.labels, on=KEY)
    assert len(both) == len(labelled.labels) == len(marks) == 12
    np.testing.assert_allclose(both["net"], both["net_return"], atol=1e-12)
    assert (CALENDAR.session_of(both["label_end"]) == pd.DatetimeIndex(both["session"])).all()


def test_labels_of_other_bars_are_refused():
    bars, _, labelled, as_of = market()
    moved = labelled.labels.assign(gross_return=labelled.labels["gross_return"] + 0.5)
    later = labelled.labels.assign(entry_ts=labelled.labels["entry_ts"] + pd.Timedelta("1D"))
    with pytest.raises(DataContractError, match="exit price lies outside the exit bar"):
        mark_trades(moved, labelled.pending, bars, calendar=CALENDAR, as_of=as_of)
    with pytest.raises(DataContractError, match="entry bar is not the symbol's next bar"):
        mark_trades(later, labelled.pending, bars, calendar=CALENDAR, as_of=as_of)
    with pytest.raises(DataContractError, match="come twice"):
        mark_trades(labelled.labels, labelled.labels[KEY], bars, calendar=CALENDAR, as_of=as_of)
    with pytest.raises(DataContractError, match="split factor"):
        mark_trades(labelled.labels, labelled.pending, bars.assign(split_factor=2.0), calendar=CALENDAR, as_of=as_of)
    with pytest.raises(DataContractError, match="have no bar"):
        mark_trades(labelled.labels, labelled.pending, bars.iloc[:0], calendar=CALENDAR, as_of=as_of)


def test_nothing_to_mark_is_an_empty_frame_of_the_right_kind():
    bars, _, labelled, _ = market()
    first = bars["ts"].min()

    for empty in (
        mark_trades(labelled.labels.iloc[:0], labelled.pending.iloc[:0], bars, calendar=CALENDAR, as_of=first),
        mark_trades(labelled.labels, labelled.pending, bars, calendar=CALENDAR, as_of=first),
    ):
        assert empty.empty
        MARKS.validate(empty)
