"""The parallel evaluation against a real PostgreSQL and a Prefect server: two arms, one ledger, a trial."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings
from sqlalchemy import Engine

from catalyst_ml.market.simulator import SimulatedMarket, simulate_market
from catalyst_ml.store.bar_import import SIMULATED_SOURCE, write_bars
from catalyst_ml.store.bars import write_instruments, write_news
from catalyst_ml.trial.ledger import SignalLedger
from catalyst_ml.trial.stage_history import StageHistory
from flows.cli import run_flow
from flows.parallel_evaluation import parallel_evaluation
from flows.parameters import ParallelEvaluationParameters
from tasks import connections
from tests.flows.speaking_version import SPREAD, line_of, publish_speaking

pytestmark = pytest.mark.server

DATASET = "tried"


@pytest.fixture(scope="module")
def market() -> SimulatedMarket:
    return simulate_market("none", seed=1, n_symbols=10, n_sessions=640)


@pytest.fixture
def home(database_url: str, tmp_path: Path, prefect_server: None, market: SimulatedMarket) -> Iterator[Engine]:
    with pytest.MonkeyPatch.context() as environment, temporary_settings({PREFECT_LOCAL_STORAGE_PATH: tmp_path / "r"}):
        environment.setenv("CATALYST_HOME", str(tmp_path))
        environment.setenv("DATABASE_URL", database_url)
        forget_connections()
        engine = connections.engine()
        now = market.bars["ts"].max() + pd.Timedelta(days=1)
        write_bars(engine, market.bars, dataset=DATASET, timeframe="1d", source=SIMULATED_SOURCE, name="none", now=now)
        write_instruments(engine, market.instruments, dataset=DATASET)
        write_news(engine, market.news, dataset=DATASET)
        yield engine
        engine.dispose()
        forget_connections()


def forget_connections() -> None:
    for opened in (connections.settings, connections.engine, connections.snapshots, connections.artifact_stores):
        opened.cache_clear()


def closes(market: SimulatedMarket) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(np.sort(market.bars["ts"].unique()))


def evaluate(**given: Any) -> dict[str, Any]:
    return run_flow(parallel_evaluation, ParallelEvaluationParameters(dataset=DATASET, **given))


def test_tmp(home: Engine, market: SimulatedMarket) -> None:
    import time
    c = closes(market)
    v = publish_speaking(home, connections.artifact_stores(), DATASET, as_of=c[-20].to_pydatetime())
    for k in range(2):
        t=time.time(); s = evaluate(replay=True, since=str(c[-22].date()), until=str(c[-12].date())); print(s, time.time()-t)
    l = SignalLedger(home, line_of(DATASET)).read()
    print(l.groupby("session")[["p_ml","p_rules","y"]].agg(["count","mean"]))
    print(l.iloc[-1])
