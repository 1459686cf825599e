"""The performance report against a real PostgreSQL and a Prefect server: from the signal ledger to the page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings
from sqlalchemy import Engine

from catalyst_ml.market import detector, labels
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.corporate_actions import adjust_for_splits
from catalyst_ml.market.rules import rule_arm
from catalyst_ml.market.simulator import SimulatedMarket, simulate_market
from catalyst_ml.registry.versions import ModelLine
from catalyst_ml.store import runs
from catalyst_ml.store.bar_import import SIMULATED_SOURCE, write_bars
from catalyst_ml.store.bars import write_instruments, write_news
from catalyst_ml.trial.ledger import SignalLedger
from catalyst_ml.trial.ledger_frames import LEDGER_SORT, SIGNALS
from catalyst_ml.trial.stage_history import StageHistory
from flows.cli import run_flow
from flows.parameters import PerformanceReportParameters
from flows.performance_report import performance_report
from tasks import connections
from tests.catalyst_ml.trial.signal_rows import register_version

pytestmark = pytest.mark.server

DATASET, SESSIONS = "reported", 130
SPEC = labels.default_spec("1d", "symmetric", cost_bps_per_side=5.0)
LINE = ModelLine(DATASET, "1d", SPEC.version)


@pytest.fixture(scope="module")
def market() -> SimulatedMarket:
    return simulate_market("strong", seed=4, n_symbols=16, n_sessions=520)


@pytest.fixture
def home(database_url: str, tmp_path: Path, prefect_server: None, market: SimulatedMarket) -> Iterator[Engine]:
    with pytest.MonkeyPatch.context() as environment, temporary_settings({PREFECT_LOCAL_STORAGE_PATH: tmp_path / "r"}):
        environment.setenv("CATALYST_HOME", str(tmp_path))
        environment.setenv("DATABASE_URL", database_url)
        forget_connections()
        engine = connections.engine()
        now = market.bars["ts"].max() + pd.Timedelta(days=1)
        write_bars(engine, market.bars, dataset=DATASET, timeframe="1d", source=SIMULATED_SOURCE, name="s", now=now)
        write_instruments(engine, market.instruments, dataset=DATASET)
        write_news(engine, market.news, dataset=DATASET)
        yield engine
        engine.dispose()
        forget_connections()


def forget_connections() -> None:
    for opened in (connections.settings, connections.engine, connections.snapshots, connections.artifact_stores):
        opened.cache_clear()


def write_signals(engine: Engine, market: SimulatedMarket) -> pd.DataFrame:
    """Signals of the last sessions, ML as good as the oracle, the rules by chance; settled where it can be."""
    calendar, as_of = TradingCalendar(), market.bars["ts"].max()
    bars = adjust_for_splits(market.bars, as_of=as_of)
    events = detector.detect_events(bars, market.instruments)
    sessions = calendar.session_of(pd.DatetimeIndex(events["ts"]))
    events = events[sessions >= np.unique(sessions)[-SESSIONS]].reset_index(drop=True)
    session = calendar.session_of(pd.DatetimeIndex(events["ts"]))
    truth = events.merge(market.truth, on=["symbol", "ts"], how="left", validate="many_to_one")
    iso = session.isocalendar()
    n = len(events)
    text = pd.Series(None, index=range(n), dtype="str")
    frame = events[["symbol", "ts", "direction"]].assign(
        session=session,
        fold=(iso["year"].astype("str") + "-W" + iso["week"].astype("str").str.zfill(2)).to_numpy(),
        channel="shadow",
        version_id="v-1",
        procedure_id="p-1",
        p_ml=np.where(events["direction"] == 1, truth["p_long"], truth["p_short"]),
        p_spread=0.01,
        p_rules=np.random.default_rng(1).uniform(0.4, 0.6, n),
        p_base_rate=0.5,
        p_pattern_base_rate=0.5,
        stage_share=0.0,
        weight=0.0,
        rule_arm=rule_arm("rules_intended_v213").version,
        rule_score=50.0,
        rule_action=np.ones(n, dtype="int8"),
        novelty_p=0.5,
        position_size=0.01,
        abstain_reason=text,
        entry_due=events["ts"] + pd.Timedelta(hours=17),
    )
    texts = {column.name: column.dtype for column in SIGNALS.columns if column.dtype == "str"}
    frame = frame.assign(p_blend=frame["p_rules"]).astype(texts)
    signals = frame[SIGNALS.column_names].sort_values(list(LEDGER_SORT), ignore_index=True)
    register_version(engine, "v-1", line=LINE)
    ledger = SignalLedger(engine, LINE)
    ledger.write(signals, run_id="r", is_replay=True)
    labelled = labels.label_events(events, bars, SPEC, calendar=calendar, as_of=as_of)
    ledger.settle(labelled.labels, as_of=as_of.to_pydatetime(), run_id="r")
    StageHistory(engine, LINE).begin(
        rule_arm=signals["rule_arm"].iloc[0], session=session.min().date(), is_replay=True, run_id="r"
    )
    return ledger.read()


def report(**given: Any) -> dict[str, Any]:
    return run_flow(performance_report, PerformanceReportParameters(**{"dataset": DATASET, **given}))


def test_arms_trial_and_key_figures_come_from_the_ledger(home: Engine, market: SimulatedMarket) -> None:
    kept = write_signals(home, market)
    summary = report()
    settled = int(kept["y"].notna().sum())
    assert (summary["n_signals"], summary["n_settled"]) == (len(kept), settled)
    arms = {row["arm"]: row for row in summary["tables"]["arms"]}
    assert list(arms) == ["ML", "Rules", "Blend"]
    assert arms["ML"]["events"] == f"{settled:,}"
    figures = {row["figure"]: row for row in summary["tables"]["key figures of the plan"]}
    assert figures["Runs that ended by themselves"]["state"] == "unknown"
    assert figures["Profit per trade, ML minus rules"]["state"] in ("met", "not shown")
    page = Path(summary["report_path"]).read_text()
    for told in ("doji", "no news", "Evidence so far", "Week by week", "Guardrails now"):
        assert told in page
    said = summary["recommendation"]
    assert said["headline"] == "Stay in the shadow: a guardrail fails", "the version was made two years before"
    assert any("days ago" in reason for reason in said["reasons"])
    assert [(run.flow, run.status) for run in runs.list_runs(home, dataset=DATASET)] == [
        ("performance-report", "finished")
    ]


def test_an_earlier_moment_knows_less(home: Engine, market: SimulatedMarket) -> None:
    write_signals(home, market)
    early = np.sort(market.bars["ts"].unique())[-60]
    summary = report(as_of=pd.Timestamp(early).to_pydatetime())
    assert 0 < summary["n_signals"] < report()["n_signals"]


def test_an_empty_ledger_is_a_report_too(home: Engine) -> None:
    summary = report()
    assert (summary["n_signals"], summary["tables"]["arms"]) == (0, [])
    assert summary["recommendation"]["headline"].startswith("Wait: there is no signal in the ledger yet")
    assert "none was scored by both arms" in summary["reason"]
    assert Path(summary["report_path"]).exists()
