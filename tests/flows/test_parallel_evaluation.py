"""The parallel evaluation against a real PostgreSQL and a Prefect server: two arms, one ledger, a trial."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings
from sqlalchemy import Engine
from typer.testing import CliRunner

from catalyst_ml.cli.main import build_app
from catalyst_ml.errors import ConfigurationError
from catalyst_ml.market.rules import rule_arm
from catalyst_ml.market.simulator import SimulatedMarket, simulate_market
from catalyst_ml.registry import channels
from catalyst_ml.store import bars as bar_store
from catalyst_ml.store import runs
from catalyst_ml.store.bar_import import SIMULATED_SOURCE, write_bars
from catalyst_ml.store.bars import write_instruments, write_news
from catalyst_ml.trial import telling
from catalyst_ml.trial.ledger import SignalLedger
from catalyst_ml.trial.scoring import NO_VERSION, OTHER_INPUTS
from catalyst_ml.trial.stage_history import StageHistory, Trial
from flows.cli import run_flow
from flows.parallel_evaluation import parallel_evaluation
from flows.parameters import ParallelEvaluationParameters
from tasks import connections, trial
from tasks.scope import LOOKBACK_DAYS
from tests.catalyst_ml.trial.signal_rows import make_signals, silent
from tests.flows.speaking_version import RULES, SPREAD, line_of, publish_speaking

pytestmark = pytest.mark.server

DATASET = "tried"
LINE = line_of(DATASET)


@pytest.fixture(scope="module")
def market() -> SimulatedMarket:
    return simulate_market("none", seed=1, n_symbols=10, n_sessions=600)


@pytest.fixture
def home(database_url: str, tmp_path: Path, prefect_server: None, market: SimulatedMarket) -> Iterator[Engine]:
    with pytest.MonkeyPatch.context() as environment, temporary_settings({PREFECT_LOCAL_STORAGE_PATH: tmp_path / "r"}):
        environment.setenv("CATALYST_HOME", str(tmp_path))
        environment.setenv("DATABASE_URL", database_url)
        forget_connections()
        engine = connections.engine()
        write_lineage(engine, market, DATASET)
        yield engine
        engine.dispose()
        forget_connections()


def write_lineage(engine: Engine, market: SimulatedMarket, dataset: str) -> None:
    now = market.bars["ts"].max() + pd.Timedelta(days=1)
    write_bars(engine, market.bars, dataset=dataset, timeframe="1d", source=SIMULATED_SOURCE, name="none", now=now)
    write_instruments(engine, market.instruments, dataset=dataset)
    write_news(engine, market.news, dataset=dataset)


def forget_connections() -> None:
    for opened in (connections.settings, connections.engine, connections.snapshots, connections.artifact_stores):
        opened.cache_clear()


def closes(market: SimulatedMarket) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(np.sort(market.bars["ts"].unique()))


def evaluate(first: pd.Timestamp | None = None, last: pd.Timestamp | None = None, **given: Any) -> dict[str, Any]:
    span = {"since": first and first.date(), "until": (last or first) and (last or first).date()}
    return run_flow(parallel_evaluation, ParallelEvaluationParameters(**{"dataset": DATASET, **span, **given}))


def publish(engine: Engine, as_of: pd.Timestamp, **given: Any) -> str:
    return publish_speaking(engine, connections.artifact_stores(), DATASET, as_of=as_of.to_pydatetime(), **given)


def test_both_arms_speak_of_the_same_events_and_a_version_never_of_one_it_may_know(
    home: Engine, market: SimulatedMarket
) -> None:
    at = closes(market)[-3:]
    version_id = publish(home, at[0], level=0.55)

    summary = evaluate(at[0], at[2], replay=True)
    again = evaluate(None, at[2], replay=True)

    ledger = SignalLedger(home, LINE).read()
    assert summary["new"] == len(ledger) > 8
    of_last = int((ledger["ts"] == at[2]).sum())
    assert (again["new"], again["kept"], again["different"], again["settled"]) == (0, of_last, 0, 0)
    before, after = ledger[ledger["ts"] <= at[0]], ledger[ledger["ts"] > at[0]]
    assert len(before) > 0
    assert set(before["abstain_reason"]) == {NO_VERSION}
    assert set(after["version_id"].dropna()) == {version_id}
    spoke = after[after["p_ml"].notna()]
    assert len(spoke) > 3
    np.testing.assert_allclose(spoke["p_ml"], 0.55 + 0.1 * spoke["direction"], atol=1e-6)
    np.testing.assert_allclose(spoke["p_spread"], SPREAD, atol=1e-6)
    np.testing.assert_allclose(after["p_rules"], [rules_by_hand(row) for row in after.to_dict("records")], atol=1e-9)
    assert (ledger["p_blend"] == ledger["p_rules"]).all(), "in the shadow the rules answer"
    assert ledger["is_late"].all()
    assert ledger["is_replay"].all()
    (told,) = StageHistory(home, LINE).trials()
    assert told.began == at[1].date(), "a trial begins with the first version that speaks"
    audit = runs.list_runs(home, dataset=DATASET)
    assert [(run.flow, run.status) for run in audit] == [("parallel-evaluation", "finished")] * 2

    shown = CliRunner().invoke(build_app(), ["trial", "status", "--json"], catch_exceptions=False)
    (status,) = json.loads(shown.output)
    assert (status["n_signals"], status["n_late"], status["told"]["number"]) == (len(ledger), len(ledger), 1)
    assert telling.NO_THRESHOLD in status["next_step"]


def rules_by_hand(row: dict[str, Any]) -> float:
    """The calibrated rules, from the numbers that are written into the version's graph."""
    if np.isnan(row["rule_score"]):
        return float(RULES["base_rate"])
    score, agree, oppose, both, intercept = RULES["coefficients"]
    same = float(row["rule_action"] == row["direction"])
    other = float(row["rule_action"] == -row["direction"])
    s = row["rule_score"] / 100.0
    return float(
        1.0 / (1.0 + np.exp(-(score * s + agree * same + oppose * other + both * s * (same - other) + intercept)))
    )


def test_a_run_that_catches_up_writes_what_a_run_every_evening_would_have_written(
    home: Engine, market: SimulatedMarket
) -> None:
    at = closes(market)[-9:]  # November 24 to December 5, without Thanksgiving
    write_lineage(home, market, "daily")
    for dataset in (DATASET, "daily"):
        publish_speaking(home, connections.artifact_stores(), dataset, as_of=at[0].to_pydatetime())
    first, last = at[1], at[5]
    evaluate(first, replay=True)
    evaluate(first, replay=True, dataset="daily")
    evaluate(last, replay=True, dataset="daily")

    caught_up = evaluate(None, last, replay=True, max_days=3)

    assert caught_up["skipped"].startswith("2 sessions from 2025-11-26 to 2025-11-28 lie more than 3 days back")
    assert (caught_up["closes"], pd.Timestamp(caught_up["first"])) == (2, at[4])
    theirs, ours = (SignalLedger(home, line_of(name)).read() for name in ("daily", DATASET))
    same = ["symbol", "ts", "direction", "p_rules", "p_ml", "p_pattern_base_rate", "novelty_p", "y", "net_return"]
    of_both = ours["ts"].isin([first, last])
    pd.testing.assert_frame_equal(ours.loc[of_both, same].reset_index(drop=True), theirs[same])
    assert set(ours["ts"]) == {first, at[4], last}


def test_a_bar_that_is_corrected_after_the_settlement_gives_a_second_revision_and_leaves_the_first(
    home: Engine, market: SimulatedMarket
) -> None:
    at = closes(market)[-9:]
    evaluate(at[0])
    first = evaluate(at[6])
    settled = SignalLedger(home, LINE).read().dropna(subset=["y"])
    assert first["settled"] == len(settled) > 0
    victim = settled.iloc[0]
    raw = bar_store.extract_bars(home, dataset=DATASET, timeframe="1d", as_of=at[6])
    bar = raw[(raw["symbol"] == victim["symbol"]) & (raw["ts"] == victim["label_end"])]
    # The last bar of the trade never reached the barrier it was said to have reached, or reached one.
    wide = (
        bar["high"].iloc[0] * 1.4 if victim["outcome"] != "target" or victim["direction"] < 0 else bar["open"].iloc[0]
    )
    corrected = bar.assign(
        high=wide, low=bar["low"] * 0.6 if victim["outcome"] == "target" else bar["low"],
        known_at=at[6] + pd.Timedelta(hours=2),
    )  # fmt: skip
    write_bars(home, corrected, dataset=DATASET, timeframe="1d", source=SIMULATED_SOURCE, name="late",
               now=at[6] + pd.Timedelta(hours=3))  # fmt: skip

    before = SignalLedger(home, LINE).revisions()
    second, third = evaluate(at[7]), evaluate(at[7])

    assert second["corrected"] >= 1
    assert (third["settled"], third["corrected"]) == (0, 0)
    after = SignalLedger(home, LINE).revisions()
    mine = after[after["signal_id"] == victim["signal_id"]]
    assert mine["revision"].tolist() == [1, 2]
    assert json.loads(mine["changed"].iloc[1])
    kept = after.merge(before[["signal_id", "revision"]])
    pd.testing.assert_frame_equal(kept, before)


def test_live_a_version_that_entered_its_channel_after_the_events_did_not_speak_of_them(
    home: Engine, market: SimulatedMarket
) -> None:
    publish(home, closes(market)[-30])

    summary = evaluate()

    assert (summary["closes"], summary["last"]) == (1, closes(market)[-1].isoformat()), (
        "an empty ledger: the last close"
    )
    assert summary["new"] == summary["without_model"] == summary["late"] > 0
    assert summary["trial"]["not_judged"] == telling.NOT_BEGUN
    assert StageHistory(home, LINE).trials() == []
    read = SignalLedger(home, LINE).read()
    assert read["p_ml"].isna().all()
    assert read["p_rules"].between(0.3, 0.7).all()


def test_a_version_of_other_features_is_not_asked_and_the_ledger_says_why(
    home: Engine, market: SimulatedMarket
) -> None:
    at = closes(market)[-2:]
    publish(home, at[0] - pd.Timedelta(days=3), feature_set_version="retired")

    evaluate(at[1], replay=True)

    read = SignalLedger(home, LINE).read()
    assert set(read["abstain_reason"]) == {OTHER_INPUTS}
    assert read["version_id"].notna().all(), "it was in charge, and could not answer"


def test_a_demotion_puts_production_on_the_rules_with_the_reason_and_only_once(
    home: Engine, market: SimulatedMarket
) -> None:
    at = closes(market)[-3:]
    version_id = publish(home, at[0], verdict="promote", level=0.75)
    evaluate(at[1], replay=True)
    moved = StageHistory(home, LINE)
    moved.record(1, session=at[1].date(), from_share=0.0, to_share=0.1, reason="by hand", evidence={}, actor="test",
                 run_id="test")  # fmt: skip

    first, again = evaluate(at[2], replay=True), evaluate(at[2], replay=True)

    of_last = SignalLedger(home, LINE).read().query("ts == @at[2]")
    spoke = of_last[of_last["p_ml"] > 0.8]
    assert len(spoke) > 0
    np.testing.assert_allclose(spoke["weight"], 0.1, atol=1e-12)
    np.testing.assert_allclose(spoke["p_blend"], 0.1 * spoke["p_ml"] + 0.9 * spoke["p_rules"], atol=1e-12)
    _, demotion = moved.moves()
    assert (demotion.from_share, demotion.to_share, demotion.session) == (0.1, 0.0, at[2].date())
    assert len(first["moves"]) == 1
    assert again["moves"] == []
    assert channels.current(home, LINE).version_id is None
    last = channels.history(home, LINE, channel=channels.PRODUCTION)[-1]
    assert (last.action, last.previous_version_id) == ("rollback", version_id)
    assert last.reason == f"the trial: {demotion.reason}"
    assert first["production"] == "rules"


def test_holidays_early_closes_and_the_change_of_clocks_are_the_calendars_business(home: Engine) -> None:
    def planned(since: str, until: str) -> list[str]:
        given = ParallelEvaluationParameters(
            dataset=DATASET, since=date.fromisoformat(since), until=date.fromisoformat(until)
        )
        return [close[5:16] for close in trial.plan_evaluation.fn(given.model_dump(mode="json"))["closes"]]

    assert planned("2025-10-30", "2025-11-04") == ["10-30T20:00", "10-31T20:00", "11-03T21:00", "11-04T21:00"]
    assert planned("2025-11-26", "2025-12-01") == ["11-26T21:00", "11-28T18:00", "12-01T21:00"]


def test_a_machine_that_was_off_for_two_weeks_catches_up_and_names_what_lies_too_far_back(home: Engine) -> None:
    ledger = SignalLedger(home, LINE)
    ledger.write(silent(make_signals(1, 1, first="2025-11-20")), run_id="r", is_replay=False)
    parameters = ParallelEvaluationParameters(dataset=DATASET).model_dump(mode="json")

    wide = trial.plan_evaluation.fn(parameters)
    narrow = trial.plan_evaluation.fn(parameters | {"max_days": 8})

    assert (wide["closes"][0][:10], wide["closes"][-1][:10], wide["skipped"]) == ("2025-11-20", "2025-12-05", None)
    assert narrow["closes"][0][:10] == "2025-11-28"
    assert narrow["skipped"] == (
        "4 sessions from 2025-11-21 to 2025-11-26 lie more than 8 days back and stay without signals; "
        "--param since=2025-11-21 records them"
    )


def test_a_range_that_ends_before_it_begins_is_refused(home: Engine) -> None:
    given = ParallelEvaluationParameters(dataset=DATASET, since=date(2025, 12, 4), until=date(2025, 12, 2))
    with pytest.raises(ConfigurationError, match="expected since before until"):
        trial.plan_evaluation.fn(given.model_dump(mode="json"))


def test_a_trial_that_is_older_than_the_runs_window_reads_its_bars_from_further_back(
    home: Engine, market: SimulatedMarket
) -> None:
    old = Trial(1, LINE, "rules", 0.03, date(2025, 11, 3), False, "r")
    at = closes(market)[-1]
    scope = {"dataset": DATASET, "timeframe": "1d", "as_of": at.isoformat(), "extract_start": "2025-01-01T00:00+00:00"}
    of_run = connections.store_frame("bars", bar_store.extract_bars(
        home, dataset=DATASET, timeframe="1d", as_of=at, start=pd.Timestamp(scope["extract_start"]))
    )  # fmt: skip

    back = pd.Timestamp("2025-11-03", tz="UTC") - pd.Timedelta(days=LOOKBACK_DAYS)
    assert trial.bars_of(old, scope, {"bars": of_run})["ts"].min() == closes(market)[closes(market) >= back][0]
    within = scope | {"extract_start": "2023-01-01T00:00+00:00"}
    assert trial.bars_of(old, within, {"bars": of_run})["ts"].min() > pd.Timestamp("2025-01-01", tz="UTC")


def test_the_deployment_runs_after_collection_and_drift_watch_and_never_replays() -> None:
    deployments = yaml.safe_load((Path(__file__).parents[2] / "prefect.yaml").read_text())["deployments"]
    hours = {each["name"]: each["schedules"][0]["cron"] for each in deployments if each.get("schedules")}
    (mine,) = (each for each in deployments if each["name"] == "daily-evaluation")

    minute = {name: int(cron.split()[1]) * 60 + int(cron.split()[0]) for name, cron in hours.items()}
    assert minute["daily-collection"] < minute["daily-drift"] < minute["daily-evaluation"]
    assert mine["schedules"][0]["timezone"] == "America/New_York"
    assert mine["entrypoint"] == "flows/parallel_evaluation.py:parallel_evaluation"
    given = ParallelEvaluationParameters(**mine["parameters"]["parameters"])
    assert not given.replay
    assert rule_arm(given.rule_arm)
