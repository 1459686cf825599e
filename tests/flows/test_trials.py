"""What a run reads of everything that was tried, and what it leaves for the next one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from benchmarks.support.shadow_records import make_record
from catalyst_ml.evaluation.deflation import deflate
from catalyst_ml.evaluation.metrics import score_predictions
from catalyst_ml.evaluation.trading import summarise_trades, trades_at_coverage
from catalyst_ml.registry import channels
from catalyst_ml.store.attempts import AttemptLine
from tasks import connections, judgement, trials
from tests.catalyst_ml.registry.registered_versions import GATE, LINE, published

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("home")]
SCOPE = {"dataset": "t", "timeframe": "1d", "fingerprint": "abc"}


@pytest.fixture
def home(database_url: str, tmp_path: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("CATALYST_HOME", str(tmp_path))
        environment.setenv("DATABASE_URL", database_url)
        _forget_connections()
        yield
        connections.engine().dispose()
        _forget_connections()


def plan_of(procedure: str) -> dict[str, Any]:
    return {"procedure": {"name": procedure}, "procedure_id": procedure, "label_version": "l"}


def judged_of(record: pd.DataFrame) -> dict[str, Any]:
    scores = {
        arm: score_predictions(record["y"], record[f"p_{arm}"], record["session"], record["direction"]).to_dict()
        for arm in ("challenger", "base_rate")
    }
    return {"record": connections.store_frame("judged", record), "scores": scores, "decision": {"verdict": "stay"}}


def remember(procedure: str, seed: int) -> pd.DataFrame:
    record = make_record(sessions=70, events_a_day=20, guess=0.2, seed=seed)
    trials.remember_record.fn(SCOPE, plan_of(procedure), judged_of(record), "run")
    return record


def test_a_run_does_not_count_itself_and_finds_the_same_when_it_is_repeated() -> None:
    assert trials.read_trials.fn(SCOPE, plan_of("a")) == trials.NONE_TRIED
    remember("a", 1)
    assert trials.read_trials.fn(SCOPE, plan_of("a")) == trials.NONE_TRIED

    record = remember("b", 2)
    read = trials.read_trials.fn(SCOPE, plan_of("a"))
    assert read == trials.read_trials.fn(SCOPE, plan_of("a"))
    assert [one["name"] for one in read["others"]] == ["b"]
    (other,) = trials.as_trials(read)
    trades = trades_at_coverage(record, "p_challenger")
    pd.testing.assert_series_equal(other.daily, trades.judged_profit(), check_names=False, check_index_type=False)
    assert other.sharpe == summarise_trades(trades).daily_sharpe


def test_what_is_read_deflates_the_sharpe_ratio() -> None:
    for k in range(12):
        remember(f"p{k}", k)
    own = trades_at_coverage(make_record(sessions=70, events_a_day=20, guess=0.2, seed=0), "p_challenger")

    found = deflate(own.judged_profit(), trials.as_trials(trials.read_trials.fn(SCOPE, plan_of("p0"))))
    assert found.n_trials == 12
    assert found.n_overfitting == 12
    assert found.deflated < found.probability


def test_the_weeks_of_a_backtest_are_kept_once_and_beside_the_weekly_runs() -> None:
    record = make_record(sessions=70, events_a_day=20, seed=1)
    facts = trials.facts_of_record(judged_of(record))
    week = {"attempt": {"plan": plan_of("a"), "fingerprint": "abc", "facts": facts}}
    refused = {"attempt": None}

    assert trials.remember_weeks.fn(SCOPE, [week, refused], "backtest 1") == 1
    assert trials.remember_weeks.fn(SCOPE, [week, refused], "backtest 2") == 0
    trials.remember_record.fn(SCOPE, plan_of("a"), judged_of(record), "weekly")
    line = AttemptLine(connections.engine(), "t", "1d", "l")
    assert line.counts() == {"backtest": 1, "record": 1}
    assert [trial.times for trial in line.trials()] == [2]


def test_an_empty_record_is_no_attempt() -> None:
    empty = make_record(sessions=70, events_a_day=20).iloc[:0]
    judged = {"record": connections.store_frame("judged", empty), "scores": {}, "decision": {"verdict": "stay"}}
    trials.remember_record.fn(SCOPE, plan_of("a"), judged, "run")
    assert AttemptLine(connections.engine(), "t", "1d", "l").counts() == {}


def test_a_champion_promoted_by_force_carries_its_reason(tmp_path: Path) -> None:
    engine = connections.engine()
    forced, earned = (published(engine, tmp_path / "store", seed=seed) for seed in (1, 2))
    channels.promote(engine, LINE, forced, reason="the trader insists", actor="anna", gate=None, forced=True)
    channels.promote(engine, LINE, earned, reason="weekly run", actor="weekly", gate=GATE)
    channels.rollback(engine, LINE, reason="it lost money", actor="anna")

    today = channels.history(engine, LINE)[0].at
    assert channels.current(engine, LINE).version_id == forced
    assert judgement._how_forced(LINE, forced) == f"the trader insists (anna, {today:%Y-%m-%d})"
    assert judgement._how_forced(LINE, earned) is None
    assert judgement._how_forced(LINE, "unknown") is None


def _forget_connections() -> None:
    for opened in (connections.settings, connections.engine, connections.snapshots, connections.artifact_stores):
        opened.cache_clear()
