"""From stored bars to the training set, one observable step each; every step hands on a reference."""

from __future__ import annotations

from typing import Any

import pandas as pd
from prefect import task

from catalyst_ml.features.catalysts import add_catalysts
from catalyst_ml.features.device_choice import compute_features_on
from catalyst_ml.features.engine import insufficient_history
from catalyst_ml.features.line_inputs import event_columns, line_catalogue, line_event_inputs
from catalyst_ml.features.panel import MarketPanel
from catalyst_ml.features.training_set import build_training_set
from catalyst_ml.features.universe import add_universe_means
from catalyst_ml.market import corporate_actions, detector, labels, rules, settlement
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.timeframes import parse_timeframe
from catalyst_ml.store import bars as bar_store
from catalyst_ml.store.detections import EventLine
from tasks.caching import cached
from tasks.connections import engine, load_frame, store_frame
from tasks.retrying import RETRY_TEMPORARY

MARKET = ("catalyst_ml.market", "catalyst_ml.indicators", "catalyst_ml.frames")


@task(name="extract-market", timeout_seconds=1800, **RETRY_TEMPORARY, **cached("catalyst_ml.store", *MARKET))
def extract_market(scope: dict[str, Any]) -> dict[str, Any]:
    """Read bars, instruments and news as they were known at ``as_of``; adjust for the splits known then."""
    window = {
        "dataset": scope["dataset"],
        "start": pd.Timestamp(scope["extract_start"]),
        "as_of": pd.Timestamp(scope["as_of"]),
    }
    raw = bar_store.extract_bars(engine(), timeframe=scope["timeframe"], **window)
    bars = corporate_actions.adjust_for_splits(raw, as_of=window["as_of"])
    jumps = corporate_actions.unexplained_jumps(bars)
    return {
        "timeframe": scope["timeframe"],
        "bars": store_frame("bars", bars),
        "raw": store_frame("raw_bars", raw),
        "instruments": store_frame("instruments", bar_store.extract_instruments(engine(), dataset=scope["dataset"])),
        "news": store_frame("news", bar_store.extract_news(engine(), **window)),
        "jumps": jumps.head(20).astype(str).to_dict("records"),
        "n_jumps": len(jumps),
        "n_bars": len(bars),
        "n_symbols": int(bars["symbol"].nunique()),
        "n_splits": int((raw["split_factor"] != 1.0).sum()),
    }


def market_panel(market: dict[str, Any]) -> MarketPanel:
    """Everything features are computed from, of an extracted market; intraday bars know their sessions."""
    frames = (load_frame(market[name]) for name in ("bars", "instruments", "news"))
    is_daily = parse_timeframe(market["timeframe"]).minutes is None
    return MarketPanel(*frames, calendar=None if is_daily else TradingCalendar())


@task(name="detect-events", timeout_seconds=600, **cached(*MARKET))
def detect_events(market: dict[str, Any]) -> dict[str, Any]:
    """Find the named candlestick patterns; one event per symbol, bar and direction."""
    bars, instruments = load_frame(market["bars"]), load_frame(market["instruments"])
    found = detector.detect_events(bars, instruments, timeframe=market["timeframe"], calendar=TradingCalendar())
    return store_frame("events", found)


@task(name="label-events", timeout_seconds=600, **cached(*MARKET))
def label_events(
    events: dict[str, Any], market: dict[str, Any], as_of: str, label: str, cost_bps_per_side: float
) -> dict[str, Any]:
    """Settle what is known of each event's outcome at ``as_of``, in the chosen label version."""
    spec = labels.default_spec(market["timeframe"], label, cost_bps_per_side=cost_bps_per_side)
    labelled = labels.label_events(
        load_frame(events), load_frame(market["bars"]), spec, calendar=TradingCalendar(), as_of=pd.Timestamp(as_of),
        instruments=load_frame(market["instruments"]),
    )  # fmt: skip
    return {
        "labels": store_frame("labels", labelled.labels),
        "timeframe": market["timeframe"],
        "label_version": spec.version,
        # An intraday trade is flat by its session's close, so it is settled with it.
        "label_sessions": max(spec.horizon_sessions, 1),
        "n_pending": len(labelled.pending),
        "unlabelled": labelled.unlabelled["reason"].value_counts().to_dict(),
    }


@task(name="remember-events", **RETRY_TEMPORARY)
def remember_events(scope: dict[str, Any], label: str, cost_bps_per_side: float) -> dict[str, Any]:
    """Store all detections of the dataset and settle their labels; what was stored before stays as it is.

    Never cached, so that a run with every other step from the cache writes too; repeating it changes nothing. It reads
    the whole history, not the run's window: an ATR that begins with the window would settle some labels otherwise.
    """
    as_of, calendar = pd.Timestamp(scope["as_of"]), TradingCalendar()
    line = {"dataset": scope["dataset"], "timeframe": scope["timeframe"]}
    raw = bar_store.extract_bars(engine(), **line, as_of=as_of)
    collected = settlement.collect_events(
        EventLine(engine(), **line, detector_version=detector.detector_version(calendar)),
        corporate_actions.adjust_for_splits(raw, as_of=as_of),
        bar_store.extract_instruments(engine(), dataset=scope["dataset"]),
        labels.default_spec(scope["timeframe"], label, cost_bps_per_side=cost_bps_per_side),
        timeframe=scope["timeframe"],
        calendar=calendar,
        as_of=as_of,
    )
    return {
        "stored": collected.n_events,
        "new": collected.n_new,
        "settled": collected.settled.new,
        "corrected": collected.settled.corrected,
        "settled_before": collected.settled.unchanged,
        "pending": collected.n_pending,
        "unlabelled": collected.unlabelled,
    }


@task(name="score-rules", timeout_seconds=600, **cached(*MARKET))
def score_rules(events: dict[str, Any], market: dict[str, Any], rule_arm: str) -> dict[str, Any]:
    """Let the chosen rule arm score every event: 0-100, not a probability."""
    frames = load_frame(events), load_frame(market["bars"]), load_frame(market["news"])
    scores = rules.score_events(*frames, arm=rule_arm, timeframe=market["timeframe"], calendar=TradingCalendar())
    return store_frame("rule_scores", scores)


@task(name="compute-features", timeout_seconds=1800, **cached(*MARKET, "catalyst_ml.features"))
def features_at_events(events: dict[str, Any], market: dict[str, Any]) -> dict[str, Any]:
    """Compute the catalogue at every event's bar, from bars up to and including it, on a GPU where one pays.

    The device is no part of the cache key: values agree within 1e-9 and are compared in the run (decision 0016). What
    differs between equal runs, such as seconds, stays out of the result: later steps are cached by it.
    """
    panel = market_panel(market)
    rows = load_frame(events)[["symbol", "ts"]].drop_duplicates(ignore_index=True)
    features, used = compute_features_on("auto", panel, rows, catalogue=line_catalogue(market["timeframe"]))
    return {
        "features": store_frame("features", add_catalysts(panel, add_universe_means(panel, features))),
        "device": {"device": used.device, "name": used.name, "reason": used.reason, "on_host": used.on_host},
        "skipped_symbols": insufficient_history(panel).astype(str).to_dict("records"),
    }


@task(name="build-training-set", timeout_seconds=600, **cached(*MARKET, "catalyst_ml.features"))
def build_rows(
    events: dict[str, Any], labelled: dict[str, Any], rule_scores: dict[str, Any], features: dict[str, Any]
) -> dict[str, Any]:
    """Join events, outcomes, rule scores and features; count what each join left out."""
    event_frame, score_frame = load_frame(events), load_frame(rule_scores)
    inputs = line_event_inputs(event_frame, load_frame(features["features"]), score_frame)
    built = build_training_set(
        event_frame, load_frame(labelled["labels"]), score_frame, inputs, calendar=TradingCalendar(),
        columns=event_columns(labelled["timeframe"]),
    )  # fmt: skip
    return {
        "training": store_frame("training", built.rows),
        "pending": store_frame("pending", built.unlabelled),
        "n_pending": len(built.unlabelled),
        "dropped": built.dropped["reason"].value_counts().to_dict(),
        "steps": built.steps.to_dict("records"),
    }


@task(
    name="validate-training-set", timeout_seconds=600, **cached("catalyst_ml.quality", packages=("great-expectations",))
)
def validate_rows(rows: dict[str, Any]) -> dict[str, Any]:
    """Run the Great Expectations suite. A bad set is a result here; the next step refuses it."""
    from catalyst_ml.quality.training_suite import validate_training_set

    return validate_training_set(load_frame(rows["training"])).to_dict()


@task(name="refuse-invalid")
def refuse_invalid(quality: dict[str, Any]) -> None:
    """Stop the run with a readable summary if a critical rule failed.

    A step of its own, so that the result of the validation is kept although the run ends here.
    """
    from catalyst_ml.quality.training_suite import ValidationResult, require_valid

    require_valid(ValidationResult.from_dict(quality))
