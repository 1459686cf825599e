"""The borders before training: bars checked, breaks set aside, events held out, the newest week's novelty.

What is found is cached by content; what is *held* is asked of the quarantine in every run, because a person may have
released a row since. The held rows are handed on by content, so an unchanged quarantine changes no cached step.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from prefect import task

from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.labels import default_spec
from catalyst_ml.market.timeframes import parse_timeframe
from catalyst_ml.store import quarantine
from tasks.caching import cached
from tasks.connections import engine, load_frame, store_frame
from tasks.retrying import RETRY_TEMPORARY

ROOMS = ("catalyst_ml.quality", "catalyst_ml.market", "catalyst_ml.features", "catalyst_ml.frames")
NEWEST_DAYS = 7


@task(name="read-releases", timeout_seconds=300, **RETRY_TEMPORARY)
def read_releases(scope: dict[str, Any]) -> list[dict[str, str]]:
    """Read the bars that a person has released as real."""
    released = quarantine.released_bars(engine(), dataset=scope["dataset"], timeframe=scope["timeframe"])
    return released.astype(str).to_dict("records")


@task(name="validate-bars", timeout_seconds=900, **cached(*ROOMS, packages=("great-expectations",)))
def validate_bars(market: dict[str, Any], releases: list[dict[str, str]]) -> dict[str, Any]:
    """Run the suite on the raw bars. Bad bars are a result here; a later step refuses them."""
    from catalyst_ml.quality.bar_suite import check_bars

    checked = check_bars(
        load_frame(market["raw"]),
        load_frame(market["instruments"]),
        TradingCalendar(),
        minutes=parse_timeframe(market["timeframe"]).minutes,
        released=_places(releases),
    )
    return {"suite": checked.result.to_dict(), "breaks": store_frame("breaks", checked.breaks)}


@task(name="set-aside-bars", timeout_seconds=300, **RETRY_TEMPORARY)
def set_aside_bars(checked: dict[str, Any], scope: dict[str, Any], run_id: str) -> dict[str, Any]:
    """Write the breaks into the quarantine; hand on those that nobody has released. Safe to repeat."""
    return _held_bars(_set_aside(load_frame(checked["breaks"]), scope, "bar", run_id))


def look_up_bars(checked: dict[str, Any], scope: dict[str, Any]) -> dict[str, Any]:
    """Say what `set_aside_bars` would hand on, and write nothing."""
    return _held_bars(_look_up(load_frame(checked["breaks"]), scope, "bar"))


def _held_bars(kept: quarantine.SetAside) -> dict[str, Any]:
    places = kept.held[["symbol", "ts"]].drop_duplicates(ignore_index=True)
    return {"breaks": store_frame("held_breaks", places), "n_held": len(places), "n_released": kept.n_released}


@task(name="validate-events", timeout_seconds=600, **cached(*ROOMS, packages=("great-expectations",)))
def validate_events(events: dict[str, Any], market: dict[str, Any], breaks: dict[str, Any]) -> dict[str, Any]:
    """Run the suite on the events: which of them see a break, were never traded, or could not be entered."""
    from catalyst_ml.quality.event_suite import check_events

    horizon = default_spec(market["timeframe"]).horizon_sessions  # of sessions; intraday trades live within one
    checked = check_events(
        load_frame(events), load_frame(market["bars"]), load_frame(breaks), calendar=TradingCalendar(),
        horizon_sessions=horizon,
    )  # fmt: skip
    return {"suite": checked.result.to_dict(), "findings": store_frame("event_findings", checked.findings)}


@task(name="set-aside-events", timeout_seconds=300, **RETRY_TEMPORARY)
def set_aside_events(checked: dict[str, Any], scope: dict[str, Any], run_id: str) -> dict[str, Any]:
    """Write events with a fault of their own into the quarantine; hand on all that are held out.

    An event that sees a break needs no row of its own: it is free when the break is released.
    """
    sees_break, own_fault = _kinds_of_finding(checked)
    return _held_events(sees_break, _set_aside(own_fault, scope, "event", run_id))


def look_up_events(checked: dict[str, Any], scope: dict[str, Any]) -> dict[str, Any]:
    """Say what `set_aside_events` would hand on, and write nothing."""
    sees_break, own_fault = _kinds_of_finding(checked)
    return _held_events(sees_break, _look_up(own_fault, scope, "event"))


def _kinds_of_finding(checked: dict[str, Any]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Events that see a break, and those with a fault of their own."""
    from catalyst_ml.quality.event_suite import SEES_BREAK

    findings = load_frame(checked["findings"])
    is_break = (findings["rule"] == SEES_BREAK).to_numpy()
    return findings[is_break], findings[~is_break]


def _held_events(sees_break: pd.DataFrame, kept: quarantine.SetAside) -> dict[str, Any]:
    held = pd.concat([sees_break, kept.held], ignore_index=True)
    counts = held.drop_duplicates(["symbol", "ts", "direction"])["rule"].value_counts()
    return {
        "findings": store_frame("held_events", held),
        "by_rule": {str(rule): int(n) for rule, n in sorted(counts.items())},
        "n_released": kept.n_released,
    }


@task(name="hold-out-events", timeout_seconds=300, **cached("catalyst_ml.quality", "catalyst_ml.frames"))
def hold_out(events: dict[str, Any], held: dict[str, Any]) -> dict[str, Any]:
    """Leave out the events that are held; nothing later sees them."""
    from catalyst_ml.quality import event_suite

    return store_frame("events", event_suite.hold_out(load_frame(events), load_frame(held)))


@task(name="score-novelty", timeout_seconds=600, **cached(*ROOMS))
def score_novelty(
    events: dict[str, Any], features: dict[str, Any], rule_scores: dict[str, Any], rows: dict[str, Any], as_of: str
) -> dict[str, Any]:
    """Say how unlike the training events the newest week's events are, settled or not."""
    from catalyst_ml.features.events import MODEL_INPUTS
    from catalyst_ml.features.line_inputs import line_event_inputs
    from catalyst_ml.quality.novelty import novelty_of_newest

    since = pd.Timestamp(as_of) - pd.Timedelta(days=NEWEST_DAYS)
    event_frame, training = load_frame(events), load_frame(rows["training"])
    newest = event_frame[(event_frame["ts"] > since).to_numpy()].reset_index(drop=True)
    inputs = line_event_inputs(newest, load_frame(features["features"]), load_frame(rule_scores))
    return novelty_of_newest(training[(training["ts"] <= since).to_numpy()], inputs, MODEL_INPUTS).to_dict()


def borders(
    bars: dict[str, Any],
    breaks: dict[str, Any],
    events: dict[str, Any],
    held: dict[str, Any],
    novelty: dict[str, Any],
) -> dict[str, Any]:
    """Gather what the borders found, for the report and the run's summary."""
    return {
        "suites": [bars["suite"], events["suite"]],
        "n_breaks": breaks["n_held"],
        "n_released": breaks["n_released"] + held["n_released"],
        "held_out": held["by_rule"],
        "novelty": novelty,
    }


def _set_aside(
    findings: pd.DataFrame, scope: dict[str, Any], subject: quarantine.Subject, run_id: str
) -> quarantine.SetAside:
    return quarantine.set_aside(
        engine(),
        findings,
        dataset=scope["dataset"],
        timeframe=scope["timeframe"],
        subject=subject,
        as_of=pd.Timestamp(scope["as_of"]).to_pydatetime(),
        now=pd.Timestamp.now("UTC").to_pydatetime(),
        by=f"weekly-training {run_id}",
    )


def _look_up(findings: pd.DataFrame, scope: dict[str, Any], subject: quarantine.Subject) -> quarantine.SetAside:
    return quarantine.look_up(
        engine(),
        findings,
        dataset=scope["dataset"],
        timeframe=scope["timeframe"],
        subject=subject,
        as_of=pd.Timestamp(scope["as_of"]).to_pydatetime(),
    )


def _places(releases: list[dict[str, str]]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "symbol": pd.Series([row["symbol"] for row in releases], dtype="str"),
            "ts": pd.DatetimeIndex(pd.to_datetime([row["ts"] for row in releases], utc=True)).as_unit("us"),
        }
    )
