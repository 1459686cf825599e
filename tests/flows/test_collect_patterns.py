"""The daily collection and its back-fill against a real PostgreSQL and a Prefect server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
import pytest
import yaml
from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings
from sqlalchemy import Engine, create_engine, make_url

from catalyst_ml.errors import ConfigurationError, SourceUnavailable
from catalyst_ml.features.catalogue import FEATURE_NAMES, feature_set_version
from catalyst_ml.features.engine import compute_features
from catalyst_ml.features.panel import MarketPanel
from catalyst_ml.market import corporate_actions, detector
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.simulator import simulate_market
from catalyst_ml.store import bars as bar_store
from catalyst_ml.store import runs
from catalyst_ml.store.bar_import import SIMULATED_SOURCE, write_bars
from catalyst_ml.store.detections import EventLine
from catalyst_ml.store.event_features import EventFeatureLine
from flows.cli import run_flow
from flows.collect_patterns import collect_patterns
from flows.parameters import CollectPatternsParameters
from tasks import connections, source
from tests.catalyst_ml.store import upstream_schemas as upstream
from tests.flows.planted_secrets import SECRETS, kept_by_prefect, kept_in_the_database, secrets_in
from tests.flows.small_market import write_market

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_server")]
DATASET = "daily"


@pytest.fixture
def home(database_url: str, tmp_path: Path) -> Iterator[Path]:
    with (
        pytest.MonkeyPatch.context() as environment,
        temporary_settings({PREFECT_LOCAL_STORAGE_PATH: tmp_path / "results"}),
    ):
        environment.setenv("CATALYST_HOME", str(tmp_path))
        environment.setenv("DATABASE_URL", database_url)
        connections.settings.cache_clear()
        connections.engine.cache_clear()
        write_market(connections.engine(), dataset=DATASET, preset="none", n_symbols=8, n_sessions=620)
        yield tmp_path
        connections.engine().dispose()
        connections.settings.cache_clear()
        connections.engine.cache_clear()


def collect(**given: Any) -> dict[str, Any]:
    return run_flow(collect_patterns, CollectPatternsParameters(dataset=DATASET, **given))


def keeper() -> EventFeatureLine:
    line = EventLine(connections.engine(), DATASET, "1d", detector.detector_version(TradingCalendar()))
    return EventFeatureLine(line, feature_set_version(), FEATURE_NAMES)


def test_a_backfill_keeps_what_was_known_then_and_the_evening_after_adds_only_what_is_new(home: Path) -> None:
    filled = collect(since="2025-09-01", until="2025-11-30", every="month")

    assert (filled["closes"], filled["last"][:10]) == (3, "2025-11-28")
    assert filled["features_kept"] == filled["new"] == filled["stored"] > 100
    kept = keeper().read(pd.Timestamp(filled["last"]))
    assert sorted({f"{moment:%m-%d}" for moment in kept["as_of"]}) == ["09-30", "10-31", "11-28"]

    # A bar of October is corrected in December; what was kept stays, what is new sees the correction.
    victim = kept[kept["ts"].dt.month == 10].iloc[-1]
    raw = bar_store.extract_bars(connections.engine(), dataset=DATASET, timeframe="1d", as_of=kept["as_of"].max())
    bar = raw[(raw["symbol"] == victim["symbol"]) & (raw["ts"] == victim["ts"])]
    corrected = bar.assign(close=bar["low"], known_at=pd.Timestamp("2025-12-02T21:00", tz="UTC"))
    write_bars(
        connections.engine(), corrected, dataset=DATASET, timeframe="1d", source=SIMULATED_SOURCE, name="correction",
        now=pd.Timestamp("2025-12-03", tz="UTC"),
    )  # fmt: skip

    evening = collect()

    assert evening["closes"] == 1
    assert evening["features_kept"] == evening["stored"] - filled["stored"] > 0
    again = keeper().read(pd.Timestamp(evening["last"]))
    before = again[again["as_of"] <= kept["as_of"].max()].reset_index(drop=True)
    pd.testing.assert_frame_equal(before, kept)

    repeated = collect()
    assert (repeated["new"], repeated["features_kept"], repeated["settled"]) == (0, 0, 0)
    audit = runs.list_runs(connections.engine(), dataset=DATASET, limit=5)
    assert [(run.flow, run.status) for run in audit] == [("collect-patterns", "finished")] * 3


def test_kept_features_are_those_that_training_computes_from_the_same_bars(home: Path) -> None:
    collect(until="2025-11-28")
    as_of = pd.Timestamp("2025-11-28T18:00", tz="UTC")

    kept = keeper().read(as_of)

    engine = connections.engine()
    bars = bar_store.extract_bars(engine, dataset=DATASET, timeframe="1d", as_of=as_of)
    panel = MarketPanel(
        bars=corporate_actions.adjust_for_splits(bars, as_of=as_of),
        instruments=bar_store.extract_instruments(engine, dataset=DATASET),
        news=bar_store.extract_news(engine, dataset=DATASET, as_of=as_of),
    )
    expected = compute_features(panel, kept[["symbol", "ts"]])
    assert np.isfinite(expected["rsi_14"]).sum() > 50
    pd.testing.assert_frame_equal(kept[list(FEATURE_NAMES)], expected[list(FEATURE_NAMES)], check_exact=True)


def test_a_range_after_the_data_is_refused_and_nothing_is_kept(home: Path) -> None:
    with pytest.raises(ConfigurationError, match="2026-01-05 until 2026-01-09: no session closed in it by 2025-12-05"):
        collect(since="2026-01-05", until="2026-01-09")

    assert keeper().read(pd.Timestamp("2026-02-01", tz="UTC")).empty


@pytest.fixture
def trading_system(database_template: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """A database of upstream's shape with two years of bars, ``SOURCE_DATABASE_URL`` with a planted password."""
    admin = create_engine(database_template, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql("DROP DATABASE IF EXISTS trading_system WITH (FORCE)")
        connection.exec_driver_sql("CREATE DATABASE trading_system")
    admin.dispose()
    url = make_url(database_template).set(database="trading_system")
    monkeypatch.setenv(
        "SOURCE_DATABASE_URL", url.set(password=SECRETS["SOURCE_DATABASE_URL"]).render_as_string(hide_password=False)
    )
    engine = create_engine(url)
    market = simulate_market("none", seed=2, n_symbols=8, n_sessions=620)
    bars = market.bars.rename(columns={"ts": "timestamp"})
    with engine.begin() as connection:
        upstream.run(connection, upstream.G100_BARS)
        columns = ["symbol", "timestamp", "open", "high", "low", "close", "volume"]
        bars[columns].to_sql("security_data_daily", connection, index=False, if_exists="append")
    yield engine
    engine.dispose()


def test_the_evening_pulls_first_and_repeating_it_brings_nothing(home: Path, trading_system: Engine) -> None:
    def evening(**given: Any) -> dict[str, Any]:
        connections.settings.cache_clear()
        return run_flow(collect_patterns, CollectPatternsParameters(dataset="catalyst", pull=True, **given))

    first = evening()
    with trading_system.begin() as connection:
        connection.exec_driver_sql("UPDATE security_data_daily SET volume = volume + 1 WHERE symbol = "
                                   "(SELECT min(symbol) FROM security_data_daily) AND timestamp = "
                                   "(SELECT max(timestamp) FROM security_data_daily)")  # fmt: skip
    second, third = evening(), evening()

    assert first["source"]["new"] > 8 * 500
    assert first["features_kept"] == first["new"] > 100
    assert (second["source"]["new"], second["source"]["corrected"]) == (0, 1)
    assert (third["source"]["fetched"], third["source"]["corrected"], third["new"]) == (0, 0, 0)
    kept = kept_by_prefect() + kept_in_the_database()
    kept += "".join(path.read_bytes().decode(errors="replace") for path in home.rglob("*") if path.is_file())
    assert "security_data_daily" in kept
    assert secrets_in(kept) == []


def test_an_evening_whose_source_does_not_answer_fails_without_a_secret(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(source.pull_source, "retries", 0)
    monkeypatch.setenv(
        "SOURCE_DATABASE_URL", f"postgresql://reader:{quote(SECRETS['SOURCE_DATABASE_URL'])}@127.0.0.1:9/x"
    )
    connections.settings.cache_clear()

    with pytest.raises(SourceUnavailable, match=r"127\.0\.0\.1:9"):
        collect(pull=True)

    kept = kept_by_prefect()
    assert "127.0.0.1:9" in kept
    assert secrets_in(kept + caplog.text) == []


def test_without_a_trading_system_the_pull_is_skipped_and_says_so(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATABASE_URL", raising=False)
    connections.settings.cache_clear()

    summary = collect(pull=True, until="2025-11-28")

    assert summary["source"] == {"pulled": False, "why": source.NOT_SET}
    assert summary["new"] > 0


def test_the_daily_deployment_pulls() -> None:
    deployments = yaml.safe_load((Path(__file__).parents[2] / "prefect.yaml").read_text())["deployments"]
    (daily,) = (each for each in deployments if each["name"] == "daily-collection")

    assert CollectPatternsParameters(**daily["parameters"]["parameters"]).pull
