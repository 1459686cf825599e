"""From files of bars to a served answer that changes a decision, and to what became of it.

PostgreSQL, a bucket over HTTP, Prefect's server and ``catalyst-ml serve`` are processes of their own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings
from sqlalchemy import text

from catalyst_ml.features.serving import WINDOW_BARS
from catalyst_ml.market.corporate_actions import adjust_for_splits
from catalyst_ml.market.rules import rule_arm
from catalyst_ml.market.simulator import SimulatedMarket, simulate_market
from catalyst_ml.registry.lines import ModelLine
from catalyst_ml.registry.versions import get_version, load_version
from catalyst_ml.store.bars import write_news
from catalyst_ml.trial.ledger import SignalLedger
from catalyst_ml.trial.pointing import point_production
from catalyst_ml.trial.stage_history import StageHistory
from flows.cli import run_flow
from flows.parallel_evaluation import parallel_evaluation
from flows.parameters import ParallelEvaluationParameters, WeeklyTrainingParameters
from flows.weekly_training import weekly_training
from tasks import connections
from tests.catalyst_ml.cli.command_line import printed
from tests.catalyst_ml.serving.running import wait_until
from tests.fakes.processes import free_port
from tests.fakes.s3_server import S3Server
from tests.flows.small_market import SMALLEST_RUN

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_server")]

ROOT = Path(__file__).resolve().parents[2]
DATASET, BUCKET = "from-files", "catalyst"
N_SYMBOLS, N_SESSIONS, SEED = 64, 860, 1
"""With the shortest record the gate promotes here; on markets of 16 to 40 stocks and 800 sessions it did not."""
HELD_BACK, N_ASKED = 10, 4
"""Sessions after the training, and how many of them are asked about: trades take five sessions more."""
STAGE = "70"
PRICES = ("open", "high", "low", "close", "volume")
EVENT = ["symbol", "ts", "direction"]
ANSWERS = text(
    "SELECT answer_id::text, answered_at, dataset, timeframe, label_version, symbol, ts, direction, action, arm, "
    "probability, p_ml, weight, version_id, sequence, stage FROM catalyst_ml.served_signals WHERE direction <> 0 "
    "ORDER BY sequence, symbol, direction"
)


@pytest.fixture(scope="module")
def market() -> SimulatedMarket:
    return simulate_market("strong", seed=SEED, n_symbols=N_SYMBOLS, n_sessions=N_SESSIONS)


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Settings of an empty bucket."""
    with S3Server(tmp_path / "s3.log") as s3:
        s3.client().create_bucket(Bucket=BUCKET)
        yield {
            "SPACES_ENDPOINT": s3.url,
            "SPACES_BUCKET": BUCKET,
            "SPACES_KEY": "k",
            "SPACES_SECRET": "s",
        }


@pytest.fixture
def trainer(database_url: str, bucket: dict[str, str], tmp_path: Path) -> Iterator[Path]:
    """The home of the machine that trains, with a database and the bucket."""
    home = tmp_path / "trainer"
    with (
        pytest.MonkeyPatch.context() as environment,
        temporary_settings({PREFECT_LOCAL_STORAGE_PATH: tmp_path / "results"}),
    ):
        for name, value in {"CATALYST_HOME": str(home), "DATABASE_URL": database_url, **bucket}.items():
            environment.setenv(name, value)
        connections.forget()
        yield home
        connections.engine().dispose()
        connections.forget()


class SignalServer:
    """``catalyst-ml serve`` in a process and a home of its own."""

    def __init__(self, home: Path, environment: dict[str, str]) -> None:
        self.home = home
        self._port = free_port()
        self._environment = environment

    @contextmanager
    def running(self, **more: str) -> Iterator[subprocess.Popen[bytes]]:
        """Serve until the block ends; ``more`` is set beside what the server always has."""
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "HOME": str(self.home),
            "CATALYST_HOME": str(self.home),
            "OMP_NUM_THREADS": "1",
            "SERVE_PORT": str(self._port),
            "SERVE_DATASET": DATASET,
            "SERVE_POLL_S": "0.2",
            **self._environment,
            **more,
        }
        self.home.mkdir(exist_ok=True)
        log = self.home.parent / "serve.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-c", "from catalyst_ml.cli.main import run; run()", "serve"],
                cwd=self.home, env=environment, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
        try:
            wait_until(lambda: process.poll() is not None or self._is_ready(), "the server is ready", seconds=60)
            assert process.poll() is None, log.read_text()[-3000:]
            yield process
        finally:
            process.terminate()
            process.wait(timeout=30)

    def ask(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(
            f"http://127.0.0.1:{self._port}{path}", data=data, headers={"content-type": "application/json"}
        )
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return json.load(answer)

    def signals(self, asked: dict[pd.Timestamp, dict[str, Any]]) -> pd.DataFrame:
        """Answers about the events of each close, one a row; symbols without one are left out."""
        answers = [self.ask("/v1/signals", request) for request in asked.values()]
        assert all(answer["recorded"] for answer in answers)
        signals = pd.DataFrame([signal for answer in answers for signal in answer["signals"] if signal["direction"]])
        signals["ts"] = pd.to_datetime(signals["ts"])
        return signals.set_index(["ts", "symbol", "direction"]).sort_index()

    def holds(self) -> tuple[str | None, str]:
        """Version and stage in force, as the server tells them."""
        model = self.ask("/v1/model")
        return model["version_id"], model["stage"]

    def _is_ready(self) -> bool:
        try:
            return bool(self.ask("/ready"))
        except OSError:
            return False


def test_bars_become_an_answer_that_changes_a_decision_and_is_settled(
    market: SimulatedMarket, trainer: Path, bucket: dict[str, str], database_url: str, tmp_path: Path
) -> None:
    closes = pd.DatetimeIndex(np.sort(market.bars["ts"].unique()))
    as_of, later = closes[-HELD_BACK - 1], closes[-HELD_BACK:]
    asked = {close: request_at(market, close) for close in later[:N_ASKED]}

    # 1. What there is up to the training's close comes in, from files
    import_files(market, tmp_path, until=as_of)

    # 2. The week's training: the gate finds the planted edge, the version is in the folder and in the bucket
    week = run_flow(
        weekly_training,
        WeeklyTrainingParameters(
            dataset=DATASET, as_of=as_of.to_pydatetime(), promote=False, analyse=False, **SMALLEST_RUN
        ),
    )
    version_id = week["version_id"]
    assert (week["verdict"], week["production"], week["waiting"]) == ("promote", "rules", []), week["summary"]
    engine, stores = connections.engine(), connections.artifact_stores()
    line = get_version(engine, version_id).line
    folder, spaces = (load_version(engine, [store], version_id) for store in stores)
    assert [store.uri("x").split(":")[0] for store in stores] == ["file", "s3"]
    assert folder.files == spaces.files

    # 3. A server with the bucket and the public key, and nothing else of the trainer: the rules answer
    pinned = json.loads(printed("keys", "show", "--json"))["public_key"]
    server = SignalServer(tmp_path / "server", {**bucket, "SIGNING_PUBLIC_KEY": pinned})
    with server.running() as process:
        assert server.holds() == (None, "rules")
        by_rules = server.signals(asked)
        assert set(by_rules["arm"]) == {"rules"}
        assert by_rules["p_ml"].isna().all()

        # 4. Promoted, the version is in the server by itself, and the rules still answer: the trial has not moved
        printed("models", "promote", version_id, "--reason", "the gate says so")
        wait_until(lambda: server.holds() == (version_id, "shadow"), "the server has the version")
        in_shadow = server.signals(asked)
        assert set(in_shadow["arm"]) == {"rules"}
        assert in_shadow["action"].tolist() == by_rules["action"].tolist()
        assert in_shadow["p_ml"].notna().mean() > 0.8

        let_it_speak(line, session=as_of)
        point_production(
            engine, stores, connections.signer(), line, reason="the trial's stage", outbox=connections.outbox()
        )
        wait_until(lambda: server.holds() == (version_id, STAGE), "the server has the stage")

        # 5. The same bars, another decision
        by_model = server.signals(asked)
        process.kill()  # what it said must outlive it
    spoke = by_model[by_model["arm"] == "blend"]
    changed = spoke[spoke["action"] != by_rules.loc[spoke.index, "action"]]
    assert len(changed) > 0, by_model[["arm", "action", "probability", "p_ml", "reason"]].to_string()
    assert set(by_model["arm"]) == {"rules", "blend"}
    assert (spoke["p_ml"] > 0.6).all()
    assert (spoke["weight"] > 0.0).all()
    np.testing.assert_allclose(by_model["p_ml"], in_shadow["p_ml"], rtol=0, atol=1e-12)
    assert (changed["probability"] - in_shadow.loc[changed.index, "probability"]).abs().min() > 0.01

    # 6. Everything it said is in the ledger, once, although it was killed
    with server.running(DATABASE_URL=database_url):
        said = pd.concat([by_rules, in_shadow, by_model])
        wait_until(lambda: len(kept_answers()) >= len(said), "the answers are in the database", seconds=30)
        served = kept_answers().set_index("answer_id")
        assert sorted(served.index) == sorted(said["answer_id"])
        pd.testing.assert_series_equal(
            served.loc[said["answer_id"], "action"], said.set_index("answer_id")["action"], check_dtype=False
        )
        assert set(served.loc[changed["answer_id"], "version_id"]) == {version_id}

        # 7. The days go on: their bars come in, both arms are written down
        import_files(market, tmp_path, after=as_of)
        first = spoke.index.get_level_values("ts").min()
        evaluated = evaluate(first, later[N_ASKED - 1])
        # Nobody has the evidence for that stage: the trial, told anew, takes it back, and the server hears of it
        (move,) = evaluated["moves"]
        assert move.startswith(f"{first:%Y-%m-%d}: 70% -> 0%")
        wait_until(lambda: server.holds()[0] is None, "the server is back on the rules")

    settled = evaluate(later[-1], later[-1])
    assert settled["settled"] > 0
    ledger = SignalLedger(engine, line).read()
    newest = served.loc[by_model["answer_id"]].query("ts >= @first").reset_index()
    assert set(map(tuple, newest[list(ModelLine._fields)].to_numpy())) == {tuple(line)}
    joined = newest.merge(ledger, on=EVENT, suffixes=("_served", ""), validate="one_to_one")
    assert len(joined) == int((ledger["ts"] <= later[N_ASKED - 1]).sum()) > 50
    # The server answers about any event; the evaluation leaves out those that the quarantine holds
    assert len(newest) - len(joined) == evaluated["held_out"]
    assert set(joined["version_id"]) == set(joined["version_id_served"]) == {version_id}
    assert joined["p_ml"].notna().mean() > 0.8
    np.testing.assert_allclose(joined["p_ml_served"], joined["p_ml"], rtol=0, atol=1e-6)
    # At the one close that had the stage, the ledger holds the very blend that was served
    at_stage = joined[joined["ts"] == first]
    assert (at_stage["weight"] > 0.0).any()
    np.testing.assert_allclose(at_stage["weight_served"], at_stage["weight"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(at_stage["probability"], at_stage["p_blend"], rtol=0, atol=1e-6)

    # 8. What became of the decision
    outcome = joined.set_index("answer_id").loc[changed["answer_id"]]
    assert outcome["y"].isin([0.0, 1.0]).all()
    assert outcome["net_return"].notna().all()
    assert (outcome["label_end"] > outcome["ts"]).all()
    assert (outcome["label_end"] <= later[-1]).all()


def evaluate(first: pd.Timestamp, last: pd.Timestamp) -> dict[str, Any]:
    """Run the evenings of a span."""
    return run_flow(
        parallel_evaluation,
        ParallelEvaluationParameters(dataset=DATASET, since=first.date(), until=last.date(), replay=True),
    )


def import_files(
    market: SimulatedMarket,
    folder: Path,
    *,
    after: pd.Timestamp | None = None,
    until: pd.Timestamp | None = None,
) -> None:
    """Write the market of a span into files and import them as a user does.

    News of the simulator have no headlines that a file could bring, so they are stored directly.
    """
    span = (after or market.bars["ts"].min() - pd.Timedelta(days=1), until or market.bars["ts"].max())
    bars = market.bars[(market.bars["ts"] > span[0]) & (market.bars["ts"] <= span[1])]
    bars = bars.assign(date=bars["ts"].dt.strftime("%Y-%m-%d"))
    kinds = market.instruments.set_index("symbol")["kind"]
    for name, options in {"stocks": (), "indices": ("--kind", "index")}.items():
        is_stock = bars["symbol"].map(kinds) == "stock"
        path = folder / f"{name}-until-{span[1]:%Y-%m-%d}.csv"
        chosen = bars[is_stock if name == "stocks" else ~is_stock]
        chosen[["symbol", "date", *PRICES, "split_factor"]].to_csv(path, index=False)
        printed("bars", "import", path, "--dataset", DATASET, *options)
    sectors = folder / "sectors.csv"
    market.instruments.dropna(subset="sector")[["symbol", "sector"]].to_csv(sectors, index=False)
    day = f"{market.bars['ts'].min():%Y-%m-%d}"
    taxonomy = ("--taxonomy", "simulated", "--as-of", day, "--use", "simulated")
    printed("reference", "import-sectors", sectors, "--dataset", DATASET, *taxonomy)
    news = market.news
    told = news[(news["published_at"] > span[0]) & (news["published_at"] <= span[1])]
    write_news(connections.engine(), told.reset_index(drop=True), dataset=DATASET)


def request_at(market: SimulatedMarket, close: pd.Timestamp) -> dict[str, Any]:
    """What a caller sends at a close: the last bars of every symbol that has one there, and the news so far."""
    bars = adjust_for_splits(market.bars[market.bars["ts"] <= close].reset_index(drop=True), as_of=close)
    about = market.instruments.set_index("symbol")
    items = []
    for symbol, own in bars.groupby("symbol"):
        if own["ts"].iloc[-1] != close:
            continue
        last = own.tail(WINDOW_BARS)
        columns = {name: last[name].tolist() for name in PRICES}
        item = {"symbol": symbol, "bars": {"ts": [ts.isoformat() for ts in last["ts"]], **columns}}
        kind, sector = about.loc[symbol, ["kind", "sector"]]
        items.append(item | {"kind": kind, "answer": kind == "stock", "sector": None if pd.isna(sector) else sector})
    told = market.news[market.news["published_at"] <= close]
    news = told.assign(published_at=[moment.isoformat() for moment in told["published_at"]])
    news["catalyst_type"] = news["catalyst_type"].astype("object").where(news["catalyst_type"].notna(), None)
    return {"items": items, "news": news.to_dict("records")}


def let_it_speak(line: ModelLine, *, session: pd.Timestamp) -> None:
    """Open the trial as of ``session`` and move its stage to 70 % by hand, in force from the next session on."""
    history = StageHistory(connections.engine(), line)
    trial = history.begin(rule_arm=rule_arm().version, session=session.date(), is_replay=True, run_id="test")
    assert history.record(
        trial.number, session=session.date(), from_share=0.0, to_share=0.7,
        reason="moved by a test, without evidence: a year of it has no room in a test", evidence={}, actor="test",
        run_id="test",
    )  # fmt: skip


def kept_answers() -> pd.DataFrame:
    """Served answers about events, as they are in the database."""
    with connections.engine().connect() as connection:
        return pd.DataFrame(connection.execute(ANSWERS).mappings().all())
