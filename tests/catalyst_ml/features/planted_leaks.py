"""A corpus of leaks as people really make them, each beside the honest way to compute the same thing.

``PLANTED_FEATURES`` leak in a declaration; ``JOINS`` in a step from sources to rows, honest first, leaking second;
``TAMPERED`` in rows that were right before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from catalyst_ml.features.alterations import Sources
from catalyst_ml.features.catalogue import FeatureSpec
from catalyst_ml.features.event_replay import event_rows
from catalyst_ml.features.panel import MarketPanel
from catalyst_ml.features.training_set import build_training_set
from catalyst_ml.frames import EVENT_KEY
from catalyst_ml.market import corporate_actions, detector, labels, rules
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.simulator import simulate_market


def feature(name: str, compute: Callable, inputs: tuple[str, ...] = ("close",)) -> FeatureSpec:
    return FeatureSpec(name, "technical", inputs, 1, "", "planted", 1, compute)


def tomorrow(close):
    return np.append(close[1:], np.nan) / close


def centred_mean(close):
    return close / pd.Series(close).rolling(5, center=True, min_periods=1).mean().to_numpy()


def z_score_of_the_sample(close):
    return (np.log(close) - np.log(close).mean()) / np.log(close).std()


def rank_in_the_sample(close):
    return pd.Series(close).rank(pct=True).to_numpy()


def filled_from_behind(volume):
    return pd.Series(np.where(volume % 3 == 0, volume, np.nan)).bfill().to_numpy() / np.maximum(volume, 1.0)


def close_of_the_session_that_opens(open_, close):
    return close / open_


def adjusted_price(close):
    return close


def crash_tomorrow(close):
    """Rare, and harmless where data ends: cutting off the future shows nothing unless the cut precedes a crash."""
    following = np.append(close[1:], close[-1])
    return (following / close < 0.6).astype(float)


PLANTED_FEATURES: dict[str, FeatureSpec] = {
    spec.name: spec
    for spec in (
        feature("shift_minus_1", tomorrow),
        feature("centred_window", centred_mean),
        feature("z_score_of_the_sample", z_score_of_the_sample),
        feature("rank_in_the_sample", rank_in_the_sample),
        feature("filled_from_behind", filled_from_behind, ("volume",)),
        feature("close_at_an_open_decision", close_of_the_session_that_opens, ("open", "close")),
        feature("adjusted_price", adjusted_price),
        feature("crash_tomorrow", crash_tomorrow),
    )
}
PLANTED_AT_OPEN = ("close_at_an_open_decision",)


@dataclass(frozen=True)
class Join:
    """One fact joined to the rows, as it should be and as it is often done."""

    honest: Callable[[Sources, pd.DataFrame], np.ndarray]
    leaking: Callable[[Sources, pd.DataFrame], np.ndarray]


def asof(keys: pd.DataFrame, facts: pd.DataFrame, on: str, value: str, **options) -> np.ndarray:
    left = keys.reset_index().sort_values("ts")
    # Stable: of two facts of one moment the order may not depend on how many there are later. The check found this.
    right = facts.sort_values(on, kind="stable")[["symbol", on, value]]
    merged = pd.merge_asof(left, right, left_on="ts", right_on=on, by="symbol", **options)
    return merged.sort_values("index")[value].to_numpy(dtype=float)


def midnight(moments: pd.Series) -> pd.Series:
    return moments.dt.normalize().astype("datetime64[us, UTC]")


def day_count(keys: pd.DataFrame, news: pd.DataFrame) -> np.ndarray:
    """Stories of the row's calendar day: those after the close are of that day, too."""
    counts = news.groupby(["symbol", midnight(news["published_at"])]).size()
    index = pd.MultiIndex.from_arrays([keys["symbol"], midnight(keys["ts"])])
    return counts.reindex(index, fill_value=0).to_numpy(dtype=float)


def news_by_publication(sources: Sources, keys: pd.DataFrame) -> np.ndarray:
    stories = sources.panel.news.assign(position=lambda news: news.groupby("symbol").cumcount() + 1.0)
    return asof(keys, stories, "published_at", "position")


def news_by_date(sources: Sources, keys: pd.DataFrame) -> np.ndarray:
    return day_count(keys, sources.panel.news)


def eps_when_known(sources: Sources, keys: pd.DataFrame) -> np.ndarray:
    return asof(keys, sources.tables["earnings"], "known_at", "eps")


def eps_by_report_date(sources: Sources, keys: pd.DataFrame) -> np.ndarray:
    """Carried forward from the day of the report: after-close results count before they are released."""
    earnings = sources.tables["earnings"]
    day = earnings["report_date"].dt.tz_localize("UTC").astype("datetime64[us, UTC]")
    return asof(keys, earnings.assign(day=day), "day", "eps")


def eps_nearest(sources: Sources, keys: pd.DataFrame) -> np.ndarray:
    return asof(keys, sources.tables["earnings"], "known_at", "eps", direction="nearest")


def eps_restated(sources: Sources, keys: pd.DataFrame) -> np.ndarray:
    """The newest version of each quarter, dated by its first release."""
    versions = sources.tables["versions"].sort_values(["known_at"])
    newest = versions.groupby(["symbol", "released_at"], as_index=False).last()
    return asof(keys, newest, "released_at", "eps")


def eps_as_first_known(sources: Sources, keys: pd.DataFrame) -> np.ndarray:
    return asof(keys, sources.tables["versions"], "known_at", "eps")


def weekly_bar(sources: Sources, keys: pd.DataFrame, label: str) -> np.ndarray:
    bars = sources.panel.bars.set_index("ts").groupby("symbol")["close"]
    weeks = bars.resample("W-FRI", label=label, closed="right").last().rename("week").reset_index()
    weeks["ts"] = weeks["ts"].astype("datetime64[us, UTC]") + pd.Timedelta(days=1 if label == "right" else 0)
    own = asof(keys, weeks.rename(columns={"ts": "week_end"}), "week_end", "week")
    return own / asof(keys, sources.panel.bars.rename(columns={"ts": "at"}), "at", "close")


def week_at_its_end(sources: Sources, keys: pd.DataFrame) -> np.ndarray:
    return weekly_bar(sources, keys, "right")


def week_at_its_left_edge(sources: Sources, keys: pd.DataFrame) -> np.ndarray:
    return weekly_bar(sources, keys, "left")


def sector_of_the_day(sources: Sources, keys: pd.DataFrame) -> np.ndarray:
    return asof(keys, sources.tables["sectors"], "known_at", "sector_code")


def sector_of_today(sources: Sources, keys: pd.DataFrame) -> np.ndarray:
    newest = sources.tables["sectors"].sort_values("known_at").groupby("symbol")["sector_code"].last()
    return keys["symbol"].map(newest).to_numpy(dtype=float)


def success_so_far(sources: Sources, keys: pd.DataFrame) -> np.ndarray:
    settled = sources.tables["outcomes"].sort_values(["known_at", "ts", "direction"], kind="stable")
    rate = settled.assign(rate=settled.groupby("symbol")["y"].expanding().mean().droplevel(0))
    return asof(keys, rate, "known_at", "rate")


def target_encoding(sources: Sources, keys: pd.DataFrame) -> np.ndarray:
    means = sources.tables["outcomes"].groupby("symbol")["y"].mean()
    return keys["symbol"].map(means).to_numpy(dtype=float)


def last_price(sources: Sources, keys: pd.DataFrame, column: str = "close") -> np.ndarray:
    """Adjusted for splits: its level tells of those to come."""
    return asof(keys, sources.panel.bars.rename(columns={"ts": "at"}), "at", column)


def last_move(sources: Sources, keys: pd.DataFrame) -> np.ndarray:
    return last_price(sources, keys) / last_price(sources, keys, "open")


JOINS: dict[str, Join] = {
    "price": Join(last_move, last_price),
    "news": Join(news_by_publication, news_by_date),
    "earnings_carried_forward": Join(eps_when_known, eps_by_report_date),
    "earnings_nearest": Join(eps_when_known, eps_nearest),
    "earnings_restated": Join(eps_as_first_known, eps_restated),
    "weekly_bar": Join(week_at_its_end, week_at_its_left_edge),
    "sector": Join(sector_of_the_day, sector_of_today),
    "success_rate": Join(success_so_far, target_encoding),
}


def make_rows(sources: Sources) -> pd.DataFrame:
    """The weekly run's rows, and every join once honest and once leaking."""
    rows = event_rows(sources)
    keys = rows[list(EVENT_KEY)]
    joined = {f"honest_{name}": join.honest(sources, keys) for name, join in JOINS.items()}
    joined |= {f"leaking_{name}": join.leaking(sources, keys) for name, join in JOINS.items()}
    return rows.assign(**joined)


JOINED_COLUMNS: tuple[str, ...] = tuple(f"{kind}_{name}" for kind in ("honest", "leaking") for name in JOINS)


def scaled_by_the_sample(rows: pd.DataFrame) -> pd.Series:
    values = rows["relative_rsi_14"]
    return (values - values.mean()) / values.std()


def outcome_in_disguise(rows: pd.DataFrame) -> pd.Series:
    noise = np.random.default_rng(5).normal(0.0, 0.6, len(rows))
    return np.exp(rows["y"] + noise)


def missing_where_lost(rows: pd.DataFrame) -> pd.Series:
    return rows["relative_adx_strength"].where(rows["y"] == 1)


def move_of_the_price(rows: pd.DataFrame) -> pd.Series:
    """The outcome without the event's side: it shows along the direction only."""
    return rows["gross_return"] * rows["direction"]


def success_of_the_session(rows: pd.DataFrame) -> pd.Series:
    return rows.groupby("session")["y"].transform("mean").astype(float)


TAMPERED: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
    "relative_rsi_14": scaled_by_the_sample,
    "relative_volume_surge": outcome_in_disguise,
    "relative_adx_strength": missing_where_lost,
    "aligned_premarket_gap": move_of_the_price,
    "vix_level": success_of_the_session,
}
"""What stands in the column instead of what the pipeline made."""


@dataclass(frozen=True)
class World:
    """A simulated market, its facts, and the training set made from both."""

    sources: Sources
    rows: pd.DataFrame


def make_world(*, seed: int, joins: bool = True) -> World:
    """Simulate a market and build its training set; with every join of the corpus if ``joins``."""
    market = simulate_market("middle", seed=seed, n_symbols=24, n_sessions=620)
    bars = corporate_actions.adjust_for_splits(market.bars, as_of=market.bars["ts"].max())
    sources, rows = training_rows(MarketPanel(bars, market.instruments, market.news))
    if not joins:
        return World(sources, rows)
    tables = {
        "earnings": market.earnings,
        "versions": eps_versions(market.earnings),
        "sectors": sector_changes(sorted(sources.panel.stocks), bars["ts"].max()),
    }
    sources = Sources(sources.panel, {**sources.tables, **tables})
    joined = make_rows(sources)[[*EVENT_KEY, *JOINED_COLUMNS]]
    return World(sources, rows.merge(joined, on=list(EVENT_KEY), how="left", validate="one_to_one"))


def training_rows(panel: MarketPanel) -> tuple[Sources, pd.DataFrame]:
    """The training set as the weekly run builds it, and its sources, settled outcomes among them."""
    calendar, as_of = TradingCalendar(), panel.bars["ts"].max()
    events = detector.detect_events(panel.bars, panel.instruments)
    spec = labels.LabelSpec(cost_bps_per_side=5.0)
    settled = labels.label_events(events, panel.bars, spec, calendar=calendar, as_of=as_of).labels
    outcomes = settled[["symbol", "ts", "direction", "y", "label_end"]].rename(columns={"label_end": "known_at"})
    sources = Sources(panel, {"outcomes": outcomes.reset_index(drop=True)})
    scores = rules.score_events(events, panel.bars, panel.news)
    return sources, build_training_set(events, settled, scores, event_rows(sources), calendar=calendar).rows


def eps_versions(earnings: pd.DataFrame) -> pd.DataFrame:
    """Every quarter as first released, and restated 40 days later."""
    first = earnings.assign(released_at=earnings["known_at"])[["symbol", "released_at", "known_at", "eps"]]
    restated = first.assign(known_at=first["known_at"] + pd.Timedelta("40D"), eps=first["eps"] + 0.5)
    return pd.concat([first, restated], ignore_index=True)


def sector_changes(symbols: list[str], as_of: pd.Timestamp) -> pd.DataFrame:
    """Everybody in a sector from the beginning; every third company changes it shortly before the end."""
    first = pd.DataFrame({"symbol": symbols, "known_at": as_of - pd.Timedelta("3000D"), "sector_code": 1.0})
    moved = pd.DataFrame({"symbol": symbols[::3], "known_at": as_of - pd.Timedelta("2D"), "sector_code": 2.0})
    changes = pd.concat([first, moved], ignore_index=True)
    return changes.astype({"symbol": "str", "known_at": "datetime64[us, UTC]"})
