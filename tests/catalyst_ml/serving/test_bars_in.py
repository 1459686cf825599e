"""Golden parity: a request's bars give the training set's row of the event, whichever way the universe comes."""

from __future__ import annotations

import threading
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from catalyst_ml.errors import DataContractError, SourceUnavailable
from catalyst_ml.features.catalysts import add_catalysts
from catalyst_ml.features.engine import compute_features
from catalyst_ml.features.events import EVENT_COLUMNS, event_inputs
from catalyst_ml.features.panel import MarketPanel
from catalyst_ml.features.training_set import build_training_set
from catalyst_ml.features.universe import add_universe_means
from catalyst_ml.market import labels, rules
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.corporate_actions import adjust_for_splits
from catalyst_ml.market.detector import detect_events
from catalyst_ml.market.simulator import SimulatedMarket, simulate_market
from catalyst_ml.serving.bars_in import Seen, Story, SymbolBars, see_events
from catalyst_ml.serving.judgement import Event
from catalyst_ml.serving.market_context import ContextSource, MarketContext, build_context
from tests.catalyst_ml.serving.running import wait_until

CALENDAR = TradingCalendar()
COLUMNS = ("open", "high", "low", "close", "volume")


class Trained(NamedTuple):
    """A simulated market, its adjusted bars, and the training set that the weekly flow makes of it."""

    market: SimulatedMarket
    bars: pd.DataFrame
    rows: pd.DataFrame
    closes: list[pd.Timestamp]


@pytest.fixture(scope="module")
def trained() -> Trained:
    market = simulate_market("middle", seed=3, n_symbols=30, n_sessions=600)
    as_of = market.bars["ts"].max()
    bars = adjust_for_splits(market.bars, as_of=as_of)
    events = detect_events(bars, market.instruments)
    scores = rules.score_events(events, bars, market.news)
    panel = MarketPanel(bars, market.instruments, market.news)
    at = events[["symbol", "ts"]].drop_duplicates(ignore_index=True)
    features = add_catalysts(panel, add_universe_means(panel, compute_features(panel, at)))
    labelled = labels.label_events(events, bars, labels.default_spec("1d"), calendar=CALENDAR, as_of=as_of)
    inputs = event_inputs(events, features, scores)
    built = build_training_set(events, labelled.labels, scores, inputs, calendar=CALENDAR)
    rows = pd.concat([built.rows, built.unlabelled], ignore_index=True)
    return Trained(market, bars, rows, [pd.Timestamp(ts) for ts in np.sort(bars["ts"].unique())])


def sent(trained: Trained, close: pd.Timestamp, *, n_bars: int = 500) -> list[SymbolBars]:
    """What a caller with all bars sends at a close."""
    known = trained.bars[trained.bars["ts"] <= close]
    about = trained.market.instruments.set_index("symbol")
    made = []
    for symbol, bars in known.groupby("symbol"):
        kind, sector = str(about.loc[symbol, "kind"]), about.loc[symbol, "sector"]
        own = bars.tail(n_bars)
        if own["ts"].iloc[-1] == close:
            made.append(
                SymbolBars(
                    symbol=str(symbol), ts=pd.DatetimeIndex(own["ts"]), kind=kind,
                    sector=None if pd.isna(sector) else str(sector), is_answered=kind == "stock",
                    **{name: own[name].to_numpy() for name in COLUMNS},
                )
            )  # fmt: skip
    return made


def stories(trained: Trained, close: pd.Timestamp) -> list[Story]:
    news = trained.market.news
    return [
        Story(row.symbol, row.published_at, row.news_id, None if pd.isna(row.catalyst_type) else row.catalyst_type,
              row.sentiment, row.score)
        for row in news[news["published_at"] <= close].itertuples()
    ]  # fmt: skip


def context_at(trained: Trained, close: pd.Timestamp) -> MarketContext:
    return build_context(MarketPanel(trained.bars, trained.market.instruments, trained.market.news), close)


def see(symbols: list[SymbolBars], told: list[Story], context: MarketContext | None = None) -> Seen:
    return see_events(
        symbols, told, arm=rules.rule_arm(), timeframe="1d", calendar=CALENDAR, context=context
    )  # fmt: skip


def require_equal(events: list[Event], rows: pd.DataFrame) -> int:
    """Every event that a model may judge has the training row's inputs to 1e-6, missing where it is missing."""
    trained_rows = rows.set_index(["symbol", "direction"])
    fit = [event for event in events if not event.unfit]
    assert {(event.symbol, event.direction) for event in fit} == set(trained_rows.index)
    for event in fit:
        row = trained_rows.loc[(event.symbol, event.direction)]
        served = np.array([event.inputs[name] for name in EVENT_COLUMNS], dtype=np.float64)
        expected = row[list(EVENT_COLUMNS)].to_numpy(dtype=np.float64)
        np.testing.assert_allclose(served, expected, rtol=1e-6, atol=1e-6, err_msg=event.symbol)
    return len(fit)


@pytest.mark.parametrize("back", [0, 1, 9, 40])
def test_the_universe_sent_with_the_request_gives_the_training_rows(trained: Trained, back: int) -> None:
    close = trained.closes[-1 - back]
    seen = see(sent(trained, close), stories(trained, close))
    assert require_equal(seen.events, trained.rows[trained.rows["ts"] == close]) >= 3


@pytest.mark.parametrize("back", [0, 1, 9, 40])
def test_one_symbol_and_the_bar_table_give_the_training_rows(trained: Trained, back: int) -> None:
    close = trained.closes[-1 - back]
    context = context_at(trained, close)
    events = [event for item in sent(trained, close) if item.is_answered for event in see([item], [], context).events]
    assert require_equal(events, trained.rows[trained.rows["ts"] == close]) >= 3


def test_a_context_of_the_whole_history_uses_nothing_after_its_close(trained: Trained) -> None:
    close = trained.closes[-20]
    full = context_at(trained, close)
    cut = trained._replace(bars=trained.bars[trained.bars["ts"] <= close].reset_index(drop=True))
    assert full.means == context_at(cut, close).means
    assert full.n_universe >= 20


def an_event(trained: Trained) -> tuple[pd.Timestamp, SymbolBars]:
    close = trained.closes[-1]
    row = trained.rows[trained.rows["ts"] == close].iloc[0]
    return close, next(item for item in sent(trained, close) if item.symbol == row["symbol"])


def test_a_lone_symbol_without_the_bar_table_is_left_to_the_rules_with_the_reason(trained: Trained) -> None:
    _, item = an_event(trained)
    seen = see([item], [])
    assert seen.events
    for event in seen.events:
        assert "the universe's means at this close are missing (universe: 1 stocks of this request; 10" in event.unfit
        assert event.inputs["rule_score"] is not None
        assert np.isfinite(event.inputs["rule_score"])


def test_short_history_is_left_to_the_rules_and_shorter_one_is_held(trained: Trained) -> None:
    close, item = an_event(trained)
    own = [one for one in sent(trained, close, n_bars=60) if one.symbol == item.symbol]
    assert see(own, []).events[0].unfit == "60 bars, the model's indicators need 500"
    shorter = [one for one in sent(trained, close, n_bars=19) if one.symbol == item.symbol]
    held = see(shorter, [])
    assert held.events == []
    assert held.held == [(item.symbol, "19 bars, patterns need 20", close.to_pydatetime())]


def test_symbols_without_a_pattern_are_held_by_name(trained: Trained) -> None:
    close = trained.closes[-1]
    seen = see(sent(trained, close), stories(trained, close))
    stocks = {item.symbol for item in sent(trained, close) if item.is_answered}
    quiet = {symbol for symbol, _, _ in seen.held}
    assert quiet | {event.symbol for event in seen.events} == stocks
    assert not quiet & {event.symbol for event in seen.events}
    assert {reason for _, reason, _ in seen.held} == {"no pattern at the last bar"}


def test_missing_market_sources_are_noted_and_stay_missing(trained: Trained) -> None:
    close = trained.closes[-1]
    stocks = [item for item in sent(trained, close) if item.is_answered]
    event = next(event for event in see(stocks, []).events if not event.unfit)
    assert {"vix_level missing: no VIX level", "spy_correlation missing: no SPY bars"} < set(event.notes)
    assert np.isnan(event.inputs["vix_level"])


def test_bars_outside_every_session_are_refused_by_name(trained: Trained) -> None:
    _, item = an_event(trained)
    odd = SymbolBars(**{**item.__dict__, "ts": item.ts.delete(-1).append(pd.DatetimeIndex(["2025-12-07T21:00Z"]))})
    with pytest.raises(DataContractError, match="session"):
        see([odd], [])


class Table:
    """A bar table that counts what it is asked and can fail."""

    def __init__(self, trained: Trained) -> None:
        self._trained = trained
        self.failure: Exception | None = None
        self.n_read = 0

    def newest_close(self) -> pd.Timestamp:
        if self.failure is not None:
            raise self.failure
        return self._trained.closes[-1]

    def panel_at(self, close: pd.Timestamp) -> MarketPanel:
        self.n_read += 1
        return MarketPanel(self._trained.bars, self._trained.market.instruments, self._trained.market.news)

    def released_bars(self) -> pd.DataFrame:
        return pd.DataFrame({"symbol": [], "ts": []})


def test_a_bar_table_that_fails_is_asked_again_later_and_says_why(trained: Trained) -> None:
    table = Table(trained)
    table.failure = SourceUnavailable("no route to the database")
    source = ContextSource(table)
    assert source.of(None) is None
    assert source.problem == "no route to the database"
    table.failure = None
    assert source.of(None) is None  # not asked again at once
    source._not_before = 0.0
    assert source.of(None) is not None
    assert source.problem is None


def test_a_slow_bar_table_is_read_to_its_end_for_the_next_who_asks(trained: Trained) -> None:
    class Slow(Table):
        gate = threading.Event()

        def panel_at(self, close: pd.Timestamp) -> MarketPanel:
            self.gate.wait(timeout=30)
            return super().panel_at(close)

    table = Slow(trained)
    source = ContextSource(table, patience_s=0.05)
    assert source.of(None) is None
    assert source.problem == "the bar table is still being read after 0.05 s; ask again"
    assert source.of(trained.closes[-1]) is None  # waits for the same reading
    table.gate.set()
    wait_until(lambda: source.of(trained.closes[-1]) is not None, "the table is read")
    assert table.n_read == 1
    assert source.problem is None
    table.failure = SourceUnavailable("gone")
    source._newest_until = 0.0
    wait_until(lambda: source.of(None) is None and source.problem == "gone", "a failure arrives too")


def test_a_close_is_read_once_and_old_or_unknown_ones_never(trained: Trained) -> None:
    table = Table(trained)
    source = ContextSource(table)
    context = source.of(None)
    assert source.of(trained.closes[-1]) is context
    assert source.of(None) is context
    assert source.of(trained.closes[-2]) is not None
    assert table.n_read == 2
    assert source.of(trained.closes[-30]) is None
    assert source.of(trained.closes[-1] + pd.Timedelta(days=1)) is None
    assert table.n_read == 2
    assert source.of(trained.closes[-1] - pd.Timedelta(hours=1)) is None
    assert source.problem is None
