"""A split that is missing in the bars of a request: what training would hold out, the rules answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

from catalyst_ml.market import rules
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.corporate_actions import adjust_for_splits
from catalyst_ml.market.detector import detect_events
from catalyst_ml.market.price_breaks import suspected_breaks
from catalyst_ml.market.simulator import simulate_market
from catalyst_ml.quality.event_suite import SEES_BREAK, check_events
from catalyst_ml.registry.artifact_store import FolderStore
from catalyst_ml.registry.signatures import Signer
from catalyst_ml.serving.bars_in import SymbolBars, see_events
from catalyst_ml.serving.breaks_in import breaks_seen, may_hold_a_break
from catalyst_ml.serving.following import StorePlace
from catalyst_ml.serving.market_context import ContextSource
from catalyst_ml.serving.requests import SignalRequest
from catalyst_ml.serving.service import SignalService
from tests.catalyst_ml.serving.running import make_service, stop_service
from tests.catalyst_ml.serving.small_versions import Promoter, tiny_onnx

CALENDAR = TradingCalendar()
PRICES = ("open", "high", "low", "close")


class Market(NamedTuple):
    """Adjusted bars, instruments, and a stock with an event at the newest close."""

    bars: pd.DataFrame
    instruments: pd.DataFrame
    symbol: str


@pytest.fixture(scope="module")
def market() -> Market:
    made = simulate_market("middle", seed=5, n_symbols=24, n_sessions=560)
    last = made.bars["ts"].max()
    bars = adjust_for_splits(made.bars, as_of=last)
    events = detect_events(bars, made.instruments)
    at_last = events.loc[events["ts"] == last, "symbol"]
    n_bars = bars.groupby("symbol").size()
    quiet = set(suspected_breaks(bars)["symbol"])
    symbol = next(name for name in at_last if n_bars[name] >= 500 and name not in quiet)
    return Market(bars, made.instruments, symbol)


def with_missed_split(market: Market, back: int) -> pd.DataFrame:
    """A 2-for-1 split before the open of the bar ``back`` bars ago, of which the bars know nothing.

    The day of the split is calm, as it is: it opens at half of the last close and stays near it.
    """
    bars = market.bars.copy()
    own = bars.index[bars["symbol"] == market.symbol]
    earlier, day = own[: len(own) - back], own[len(own) - back]
    bars.loc[earlier, list(PRICES)] *= 2.0
    bars.loc[earlier, "volume"] /= 2.0
    before = bars.loc[day - 1, "close"] / 2.0
    bars.loc[day, ["open", "high", "low", "close"]] = [before, before * 1.01, before * 0.99, before]
    return bars


def sent(market: Market, bars: pd.DataFrame) -> list[SymbolBars]:
    kinds, last, made = market.instruments.set_index("symbol")["kind"], bars["ts"].max(), []
    for symbol, of_symbol in bars.groupby("symbol"):
        own = of_symbol.tail(500)
        if own["ts"].iloc[-1] == last:
            columns: dict[str, Any] = {name: own[name].to_numpy() for name in (*PRICES, "volume")}
            kind = str(kinds[symbol])
            made.append(
                SymbolBars(
                    symbol=str(symbol), ts=pd.DatetimeIndex(own["ts"]), kind=kind, is_answered=kind == "stock",
                    **columns,
                )
            )  # fmt: skip
    return made


def unfit(market: Market, bars: pd.DataFrame) -> dict[str, str]:
    seen = see_events(
        sent(market, bars), [], arm=rules.rule_arm(), timeframe="1d", calendar=CALENDAR, context=None
    )  # fmt: skip
    assert market.symbol in {event.symbol for event in seen.events}
    return {event.symbol: event.unfit for event in seen.events if "split" in event.unfit}


def test_an_unadjusted_split_is_seen_while_features_remember_it(market: Market) -> None:
    broken = unfit(market, with_missed_split(market, 30))
    assert list(broken) == [market.symbol]
    day = market.bars.loc[market.bars["symbol"] == market.symbol, "ts"].iloc[-30]
    assert f"{day:%Y-%m-%d} opens at" in broken[market.symbol]
    assert unfit(market, market.bars) == {}
    assert list(unfit(market, with_missed_split(market, 150))) == [market.symbol]
    assert unfit(market, with_missed_split(market, 151)) == {}


@pytest.mark.parametrize("back", [2, 30, 150, 151, 300])
def test_the_events_are_those_that_training_holds_out(market: Market, back: int) -> None:
    bars = with_missed_split(market, back)
    stocks = market.instruments.loc[market.instruments["kind"] == "stock", "symbol"]
    asked = bars[bars["symbol"].isin(stocks)].reset_index(drop=True)
    events = detect_events(asked, market.instruments)
    events = events[events["ts"] == asked["ts"].max()].reset_index(drop=True)
    findings = check_events(events, asked, suspected_breaks(asked), calendar=CALENDAR).findings
    held_out = set(findings.loc[findings["rule"] == SEES_BREAK, "symbol"])
    told = breaks_seen(events, asked, timeframe="1d", calendar=CALENDAR)
    assert {symbol for symbol, why in zip(events["symbol"], told, strict=True) if why} == held_out
    assert (market.symbol in held_out) is (back <= 150)


def test_no_break_is_missed_for_the_sake_of_speed() -> None:
    rng = np.random.default_rng(11)
    n_broken = 0
    for _ in range(300):
        jumps = np.where(rng.random(60) < 0.03, rng.normal(0.0, 0.5, 60), 0.0)
        close = 50.0 * np.exp(np.cumsum(rng.normal(0.0, 0.01, 60) + jumps))
        opened = close * np.exp(rng.normal(0.0, 0.003, 60))
        spread = np.exp(np.abs(rng.normal(0.0, 0.05, 60)))
        bars = pd.DataFrame(
            {
                "symbol": pd.Series(np.repeat(["A", "B"], 30), dtype="str"),
                "ts": pd.to_datetime(np.tile(np.arange(30), 2), unit="D", utc=True),
                "open": opened, "close": close, "volume": 1e6, "split_factor": 1.0,
                "high": np.maximum(opened, close) * spread, "low": np.minimum(opened, close) / spread,
            }
        )  # fmt: skip
        if len(suspected_breaks(bars)):
            n_broken += 1
            assert may_hold_a_break(bars)
    assert n_broken >= 30


def test_a_bar_that_a_person_called_real_breaks_nothing(market: Market) -> None:
    bars = with_missed_split(market, 30)
    own = bars[bars["symbol"] == market.symbol].reset_index(drop=True)
    events = detect_events(own, market.instruments).tail(1).reset_index(drop=True)
    day = own["ts"].iloc[[-30]]
    for released, is_broken in ((day, False), (day - pd.Timedelta(days=1), True)):
        real = pd.DataFrame({"symbol": [market.symbol], "ts": released.reset_index(drop=True)})
        told = breaks_seen(events, own, timeframe="1d", calendar=CALENDAR, released=real)
        assert [bool(why) for why in told] == [is_broken]


@pytest.fixture
def service(store: FolderStore, signer: Signer, tmp_path: Path) -> Iterator[SignalService]:
    promoter = Promoter(signer)
    promoter.promote(store, promoter.publish(store, tiny_onnx(0.85)))
    made = make_service(tmp_path, [StorePlace("disk", store)], signer.public_keys, contexts=ContextSource(None))
    yield made
    stop_service(made)


def test_the_rules_answer_in_the_models_place_and_say_why(service: SignalService, market: Market) -> None:
    items = []
    for one in sent(market, with_missed_split(market, 30)):
        columns = {name: getattr(one, name).tolist() for name in (*PRICES, "volume")}
        bars = {**columns, "ts": [ts.isoformat() for ts in one.ts]}
        items.append({"symbol": one.symbol, "kind": one.kind, "bars": bars})
    signals = service.answer(SignalRequest.model_validate_json(json.dumps({"items": items}))).signals
    judged = {signal.symbol: signal for signal in signals if signal.arm != "hold"}
    broken = judged.pop(market.symbol)
    assert (broken.arm, broken.p_ml) == ("rules", None)
    assert str(broken.fallback_reason).startswith("a split or the like seems to be missing in these bars")
    assert {signal.arm for signal in judged.values() if not signal.fallback_reason} == {"ml"}
