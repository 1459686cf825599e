from __future__ import annotations

from datetime import datetime

import pandas as pd
import pytest
from sqlalchemy import Engine, text

from catalyst_ml.trial.speaker import ACTOR, find_speaker, verdicts_of
from tests.catalyst_ml.trial.signal_rows import LINE, moment

pytestmark = pytest.mark.server


def version(engine: Engine, version_id: str, as_of: str) -> None:
    statement = text(
        "INSERT INTO catalyst_ml.versions (version_id, dataset, timeframe, label_version, procedure_id, as_of, "
        "manifest, manifest_sha256, artifact_uri) VALUES (:id, :dataset, :timeframe, :label_version, 'p-1', :as_of, "
        "'{}', '', '')"
    )
    with engine.begin() as connection:
        connection.execute(statement, {"id": version_id, "as_of": moment(as_of), **LINE._asdict()})


def move(
    engine: Engine, at: str, version_id: str | None, *, channel: str = "shadow", forced: bool = False, actor: str = "x"
) -> None:
    """A move of a channel as the registry writes it, but dated."""
    action = "rollback" if version_id is None else ("shadow" if channel == "shadow" else "promote")
    statement = text(
        "INSERT INTO catalyst_ml.channel_history (dataset, timeframe, label_version, channel, version_id, action, "
        "forced, reason, actor, at) VALUES (:dataset, :timeframe, :label_version, :channel, :version_id, :action, "
        ":forced, 'r', :actor, :at)"
    )
    values = {"channel": channel, "version_id": version_id, "action": action, "forced": forced, "actor": actor}
    with engine.begin() as connection:
        connection.execute(statement, {**LINE._asdict(), **values, "at": moment(at)})


def speaker(engine: Engine, ts: datetime | str, *, is_replay: bool = False) -> tuple[str, str] | None:
    found = find_speaker(engine, LINE, moment(ts) if isinstance(ts, str) else ts, is_replay=is_replay)
    return None if found is None else (found.version.version_id, found.channel)


def test_whatever_stood_in_the_channel_before_the_event_speaks_and_production_before_the_shadow(
    database: Engine,
) -> None:
    version(database, "a", "2025-11-07T21:00")
    version(database, "b", "2025-11-14T21:00")
    move(database, "2025-11-09T07:00", "a")
    move(database, "2025-11-16T07:00", "b")
    move(database, "2025-11-16T07:01", "b", channel="production")
    move(database, "2025-11-19T12:00", None, channel="production")

    assert speaker(database, "2025-11-07T21:00") is None
    assert speaker(database, "2025-11-09T06:59") is None, "it stood in no channel yet"
    assert speaker(database, "2025-11-10T21:00") == ("a", "shadow")
    assert speaker(database, "2025-11-14T21:00") == ("a", "shadow")
    assert speaker(database, "2025-11-18T21:00") == ("b", "production")
    assert speaker(database, "2025-11-19T21:00") == ("b", "shadow"), "production is on the rules, the procedure is not"


def test_in_a_replay_a_version_counts_after_its_own_as_of_whenever_it_entered(database: Engine) -> None:
    version(database, "a", "2025-11-07T21:00")
    version(database, "b", "2025-11-14T21:00")
    move(database, "2026-05-01T00:00", "a")
    move(database, "2026-05-02T00:00", "b")

    assert speaker(database, "2025-11-20T21:00") is None, "live nobody had spoken"
    assert speaker(database, "2025-11-07T21:00", is_replay=True) is None, "it may have been trained on this event"
    assert speaker(database, "2025-11-10T21:00", is_replay=True) == ("a", "shadow")
    assert speaker(database, "2025-11-14T21:00", is_replay=True) == ("a", "shadow")
    assert speaker(database, "2025-11-14T21:00:01", is_replay=True) == ("b", "shadow")


def test_a_version_that_knows_the_event_does_not_speak_even_if_the_channel_held_it(database: Engine) -> None:
    version(database, "a", "2025-11-07T21:00")
    version(database, "late", "2025-11-21T21:00")
    move(database, "2025-11-08T00:00", "a")
    move(database, "2025-11-09T00:00", "late")  # a clock that was wrong, or a hand that was

    assert speaker(database, "2025-11-14T21:00") == ("a", "shadow")
    assert speaker(database, "2025-11-21T21:00") == ("a", "shadow")
    assert speaker(database, "2025-11-24T21:00") == ("late", "shadow")


def test_promotions_of_the_gate_and_rollbacks_by_others_are_verdicts_forced_ones_and_own_demotions_are_not(
    database: Engine,
) -> None:
    version(database, "a", "2025-11-07T21:00")
    version(database, "b", "2025-11-14T21:00")
    move(database, "2025-11-09T07:00", "a", channel="production")
    move(database, "2025-11-16T07:00", "b", channel="production", forced=True)
    move(database, "2025-11-18T23:00", None, channel="production", actor=f"{ACTOR} run-7")
    move(database, "2025-11-19T12:00", None, channel="production", actor="trader")

    live, replay = (verdicts_of(database, LINE, is_replay=is_replay) for is_replay in (False, True))

    assert list(zip(live["as_of"], live["verdict"], strict=True)) == [
        (pd.Timestamp("2025-11-09T07:00", tz="UTC"), "promote"),
        (pd.Timestamp("2025-11-19T12:00", tz="UTC"), "rollback"),
    ]
    assert list(zip(replay["as_of"], replay["verdict"], strict=True)) == [
        (pd.Timestamp("2025-11-07T21:00:01", tz="UTC"), "promote")
    ]
    assert verdicts_of(database, LINE._replace(dataset="other"), is_replay=False).empty
