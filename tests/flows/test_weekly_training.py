"""The whole weekly run against a real PostgreSQL, a Prefect server, an S3 server and a Messages API."""

from __future__ import annotations

import html
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, get_args

import pandas as pd
import pytest
import torch
from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings

from catalyst_ml.errors import ConfigurationError, DataContractError
from catalyst_ml.frames import LABELS
from catalyst_ml.market.detector import DETECTOR_VERSION
from catalyst_ml.market.label_specs import LabelKind
from catalyst_ml.market.rules import rule_arm
from catalyst_ml.registry import channels
from catalyst_ml.registry.served import follow, follow_pointer
from catalyst_ml.registry.versions import list_versions, load_version
from catalyst_ml.store import quarantine, runs
from catalyst_ml.store.bars import write_news
from catalyst_ml.store.detections import EventLine
from flows import weekly_training as weekly
from flows.cli import run_flow
from flows.parameters import RebuildParameters, WeeklyTrainingParameters
from flows.rebuild import rebuild
from flows.steps import ORDER, Steps
from tasks import connections, dataset, delivery, explanation, quality, rebuilding
from tests.fakes.messages_server import MessagesServer, good
from tests.fakes.s3_server import S3Server
from tests.flows.planted_secrets import (
    SECRETS,
    kept_by_prefect,
    kept_in_the_database,
    secrets_in,
    settings_with_secrets,
)
from tests.flows.small_market import SMALLEST_RUN, write_market

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_server")]

BUCKET = "catalyst"
LETTER = {
    "verdict_comment": "The challenger held up on every check.",
    "what_worked": [],
    "what_failed": [],
    "error_patterns": [],
    "feature_suggestions": [],
    "model_suggestions": [],
    "strategy_suggestions": [],
    "risks": ["The market is simulated."],
}


class Week(NamedTuple):
    """One finished run: its id in the audit, what it returned and what its steps took."""

    run_id: str
    summary: dict[str, Any]
    steps: Steps

    def cached(self, step: str) -> tuple[int, int]:
        taken = self.steps.timings[step]
        return taken["cached"], taken["tasks"]

    def moves(self) -> list[tuple[str, str, str | None]]:
        """What the run moved: channel, action, version."""
        history = channels.history(connections.engine())
        return [(move.channel, move.action, move.version_id) for move in history if self.run_id in move.actor]


@pytest.fixture(scope="module")
def claude() -> Iterator[MessagesServer]:
    with MessagesServer([good(LETTER)], key=SECRETS["ANTHROPIC_API_KEY"]) as server:
        yield server


@pytest.fixture(scope="module")
def home(database_template: str, tmp_path_factory: pytest.TempPathFactory, claude: MessagesServer) -> Iterator[Path]:
    """A home with two markets in it: one without an edge, one too small to train on."""
    folder = tmp_path_factory.mktemp("home")
    with (
        S3Server(folder / "s3.log") as s3,
        pytest.MonkeyPatch.context() as environment,
        temporary_settings({PREFECT_LOCAL_STORAGE_PATH: folder / "results"}),
    ):
        s3.client().create_bucket(Bucket=BUCKET)
        values = {
            "CATALYST_HOME": str(folder),
            **settings_with_secrets(database_template),
            "SPACES_ENDPOINT": s3.url,
            "SPACES_BUCKET": BUCKET,
            "SPACES_KEY": "k",
            "ANTHROPIC_BASE_URL": claude.url,
        }
        for name, value in values.items():
            environment.setenv(name, value)
        connections.forget()
        write_market(connections.engine(), dataset="no-edge", preset="none")
        write_market(connections.engine(), dataset="too-small", preset="none", n_symbols=8, n_sessions=120)
        yield folder
        connections.engine().dispose()
        connections.forget()


@pytest.fixture(scope="module")
def first(home: Path) -> Week:
    return run_week()


@pytest.fixture(scope="module")
def second(first: Week) -> Week:
    return run_week()


def run_week(**changes: Any) -> Week:
    """Run the flow in this process and keep its ``Steps``."""
    kept: list[Steps] = []

    class KeptSteps(Steps):
        def __init__(self, **fields: Any) -> None:
            super().__init__(**fields)
            kept.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weekly, "Steps", KeptSteps)
        summary = run_flow(weekly.weekly_training, parameters(**changes))
    newest = runs.list_runs(connections.engine(), dataset=summary["dataset"], limit=1)[0]
    return Week(newest.run_id, summary, kept[0])


def parameters(**changes: Any) -> WeeklyTrainingParameters:
    return WeeklyTrainingParameters(**{"dataset": "no-edge", **SMALLEST_RUN, **changes})


def test_without_an_edge_the_rules_stay_in_production_and_the_version_enters_the_shadow(first: Week) -> None:
    version = list_versions(connections.engine(), dataset="no-edge")[-1]

    assert (first.summary["verdict"], first.summary["production"]) == ("stay", "rules"), first.summary["summary"]
    assert (first.summary["version_id"], first.run_id) == (version.version_id, version.run_id)
    assert first.moves() == [("shadow", "shadow", version.version_id)]


def test_the_version_is_whole_in_the_folder_and_in_the_bucket(first: Week) -> None:
    stores = connections.artifact_stores()

    copies = [load_version(connections.engine(), [store], first.summary["version_id"]) for store in stores]

    assert [uri.split(":")[0] for uri in first.summary["stores"]] == ["file", "s3"]
    assert copies[0].files == copies[1].files
    assert {"model.onnx", "record.parquet", "report.html", "model_card.md"} <= set(copies[1].files)
    assert copies[1].manifest.parity["max_abs_diff_p"] < 1e-4


def test_the_bucket_holds_a_signed_pointer_that_a_server_without_the_database_can_follow(first: Week) -> None:
    keys = connections.signer().public_keys
    line = list_versions(connections.engine(), dataset="no-edge")[-1].line

    bucket = connections.artifact_stores()[1]
    production, shadow = (follow([bucket], keys, line, channel=channel) for channel in ("production", "shadow"))

    assert production.is_rules
    assert (shadow.pointer.version_id, shadow.pointer.share) == (first.summary["version_id"], 0.0)
    assert shadow.onnx is not None
    assert first.summary["waiting"] == []


def test_the_version_trained_again_without_the_cache_is_the_same_bytes(first: Week, home: Path) -> None:
    summary = run_flow(rebuild, RebuildParameters(version_id=first.summary["version_id"]))

    assert [(file["name"], file["same"]) for file in summary["files"]] == [
        ("model.onnx", True),
        ("record.parquet", True),
    ], summary["differences"]
    assert summary["identical"]
    assert summary["threads"] == 1
    assert (home / "rebuilt" / first.summary["version_id"] / "model.onnx").exists()


def test_a_version_whose_data_changed_is_not_rebuilt_on_other_data(first: Week) -> None:
    recorded = rebuilding.read_recorded.fn(first.summary["version_id"])
    other = recorded | {"parameters": recorded["parameters"] | {"dataset": "too-small"}}

    with pytest.raises(ConfigurationError, match="On other data it cannot be rebuilt"):
        rebuilding.compare_surroundings.fn(other)


def test_a_finished_run_left_no_secret_anywhere(first: Week, home: Path, claude: MessagesServer) -> None:
    version_id, bucket = first.summary["version_id"], connections.artifact_stores()[1]
    uploaded = load_version(connections.engine(), [bucket], version_id)

    # Where it is searched, and a sign that something of the run was found there.
    places = {
        "results, artifacts, reports, logs": (
            b"\n".join(p.read_bytes() for p in home.rglob("*") if p.is_file()),
            version_id,
        ),
        "bucket": (b"\n".join([uploaded.manifest.model_dump_json().encode(), *uploaded.files.values()]), version_id),
        "tables": (kept_in_the_database().encode(), version_id),
        "Prefect": (kept_by_prefect().encode(), "no-edge"),
        "prompts": (json.dumps([request.body for request in claude.received]).encode(), "claude"),
    }

    for place, (kept, sign) in places.items():
        assert sign.encode() in kept, f"nothing of the run was found in {place}"
        assert secrets_in(kept.decode(errors="replace")) == [], place


def test_the_report_is_one_file_that_needs_nothing_else_and_holds_the_written_analysis(first: Week) -> None:
    page = Path(first.summary["report_path"]).read_text()

    assert len(page) < 2_000_000
    assert LETTER["verdict_comment"] in page
    assert "Rules on the leak check" in page
    assert "Size of move, 5 sessions" in page.split('id="companions"')[1]
    # Links to read more may leave the file; nothing that a browser loads by itself may.
    assert not re.findall(r"""(?:src|srcset)\s*=\s*["']?(?!data:)\S+|<link[^>]+href|@import|url\(["']?http""", page)


def test_the_report_explains_forecasts_members_parts_and_mistakes(first: Week) -> None:
    page = html.unescape(Path(first.summary["report_path"]).read_text())

    assert re.search(r"that [2-4] fits spread over the record had not seen", page)
    assert "Members of the challenger" in page
    assert "How alike the members are" in page
    assert re.search(r"[1-9]\d* parts of the record are tested together", page)
    assert "By nervousness of the market, as known that day" in page
    assert page.count("said, base rate") == 10
    assert "The newest week’s surest events" in page


def test_headlines_of_a_mistake_are_those_known_at_the_time(first: Week) -> None:
    told = pd.Timestamp("2025-03-04T15:00:00Z")
    times = [told - pd.Timedelta(hours=23), told, told + pd.Timedelta(seconds=1), told - pd.Timedelta(hours=25)]
    texts = ["<b>Merger</b> talks", None, "Too late", "Too old"]
    stories = pd.DataFrame(
        {
            "symbol": pd.Series(["AAA"] * 4 + ["BBB"], dtype="str"),
            "published_at": pd.DatetimeIndex([*times, told]).as_unit("us"),
            "news_id": pd.Series(list("12345"), dtype="str"),
            "catalyst_type": pd.Series(["merger", None, None, None, None], dtype="str"),
            "sentiment": pd.Series(["neutral"] * 5, dtype="str"),
            "score": 50.0,
            "headline": pd.Series([*texts, "Another company"], dtype="str"),
        }
    ).sort_values(["symbol", "published_at", "news_id"], ignore_index=True)
    write_news(connections.engine(), stories, dataset="told")

    found = [story["text"] for story in explanation.headlines_before("told", "AAA", told)]

    assert found == ["<b>Merger</b> talks", "story without headline (unclassified)"]
    assert explanation.headlines_before("told", "CCC", told) == []


def test_the_audit_says_how_the_run_ended(first: Week) -> None:
    (kept,) = [run for run in runs.list_runs(connections.engine(), dataset="no-edge") if run.run_id == first.run_id]

    assert (kept.status, kept.report_path) == ("finished", first.summary["report_path"])
    assert kept.summary is not None
    assert kept.summary["version_id"] == first.summary["version_id"]
    assert kept.parameters["training_days"] == SMALLEST_RUN["training_days"]


def test_an_unchanged_second_run_takes_every_step_from_the_cache_and_registers_nothing_new(
    first: Week, second: Week
) -> None:
    assert set(second.steps.timings) == set(ORDER)
    assert {step: second.cached(step)[0] for step in ORDER} == {step: second.cached(step)[1] for step in ORDER}
    assert first.cached("train")[0] == 0
    assert second.summary["version_id"] == first.summary["version_id"]
    assert second.moves() == []


def test_a_bucket_that_is_down_costs_no_result_and_gets_everything_from_the_next_run(
    second: Week, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as down:
        down.setenv("SPACES_ENDPOINT", "http://127.0.0.1:9")
        connections.forget()
        cut_off = run_week(refresh_from="report")
    connections.forget()

    version_id = cut_off.summary["version_id"]
    assert version_id != second.summary["version_id"]  # the report says another time, so it is another version
    assert cut_off.summary["verdict"] == second.summary["verdict"]
    assert cut_off.summary["waiting"][0].startswith(f"version {version_id} waits for s3://")
    line, bucket = list_versions(connections.engine(), dataset="no-edge")[-1].line, connections.artifact_stores()[1]
    before = follow_pointer([bucket], connections.signer().public_keys, line, channel="shadow").pointer
    assert before.version_id == second.summary["version_id"]

    assert run_week().summary["waiting"] == []

    served = follow([bucket], connections.signer().public_keys, line, channel="shadow")
    assert (served.pointer.version_id, served.pointer.sequence) == (version_id, before.sequence + 1)


def test_refresh_from_repeats_that_step_and_the_later_ones_only(second: Week) -> None:
    again = run_week(refresh_from="judge", promote=False)

    late = ORDER[ORDER.index("judge") :]
    assert {step: again.cached(step)[0] for step in late} == dict.fromkeys(late, 0)
    early = ORDER[: ORDER.index("judge")]
    assert {step: again.cached(step)[0] for step in early} == {step: again.cached(step)[1] for step in early}


@pytest.mark.usefixtures("home")
def test_a_training_set_that_fails_validation_stops_the_run_and_the_audit_keeps_the_reason() -> None:
    with pytest.raises(DataContractError, match="500") as refusal:
        run_flow(weekly.weekly_training, parameters(dataset="too-small"))

    kept = runs.list_runs(connections.engine(), dataset="too-small")
    assert [run.status for run in kept] == ["failed"]
    assert kept[0].summary is not None
    assert str(refusal.value) in kept[0].summary["reason"]
    assert list_versions(connections.engine(), dataset="too-small") == []


def test_a_failing_analysis_is_said_in_the_report_and_stops_nothing(
    first: Week, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_MODEL", "claude-other")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:9")
    connections.settings.cache_clear()

    week = run_week(promote=False)

    connections.settings.cache_clear()
    assert week.cached("train")[0] == week.cached("train")[1]
    assert "Failed: " in Path(week.summary["report_path"]).read_text()


def test_production_moves_only_if_the_gate_says_so_and_the_run_may_promote(first: Week) -> None:
    version = list_versions(connections.engine(), dataset="no-edge")[-1]
    judged = {"decision": {"verdict": "promote", "headline": "Promote the challenger over the rules"}}

    def move(*, promote: bool, champion: str | None = None, parity: bool = True) -> dict[str, str]:
        return delivery.move_channels.fn(
            version.version_id,
            {"parity": {"passed": parity}},
            judged,
            {"version_id": champion},
            {"dataset": "no-edge", "timeframe": "1d"},
            {"label_version": version.line.label_version},
            "a-later-run",
            promote=promote,
        )

    assert move(promote=False)["production"] == "rules"
    stale = move(promote=True, champion="another-version")
    assert stale["production"] == "rules"
    assert "judged against another-version" in stale["note"]
    assert move(promote=True)["production"] == move(promote=True)["production"] == version.version_id
    channels.rollback(connections.engine(), version.line, reason="drawdown", actor="trader", to="rules")
    after_rollback = move(promote=True)
    assert after_rollback["production"] == "rules"
    assert "rolled back by hand" in after_rollback["note"]
    moves = channels.history(connections.engine(), channel="production")
    assert [(entry.action, entry.version_id) for entry in moves] == [
        ("promote", version.version_id),
        ("rollback", None),
    ]


def test_the_version_and_its_report_name_the_rule_arm(first: Week) -> None:
    version = load_version(connections.engine(), connections.artifact_stores(), first.summary["version_id"])

    assert version.manifest.procedure["rule_arm"] == rule_arm().version
    assert rule_arm().version in Path(first.summary["report_path"]).read_text()
    assert rule_arm().version in version.files["model_card.md"].decode()


def test_the_events_of_the_rules_with_a_catalyst_predictor_are_a_procedure_and_a_line_of_their_own(first: Week) -> None:
    week = run_week(rows="rule_fired", catalyst_predictor=True, analyse=False)
    ours, theirs = (
        load_version(connections.engine(), connections.artifact_stores(), w.summary["version_id"])
        for w in (week, first)
    )

    assert ours.record.line.label_version == f"{theirs.record.line.label_version}+rule_fired"
    assert ours.manifest.procedure_id != theirs.manifest.procedure_id
    assert ours.manifest.procedure["members"] == [*theirs.manifest.procedure["members"], "catalyst"]
    assert ours.manifest.parity["passed"]
    record = pd.read_parquet(io.BytesIO(ours.files["record.parquet"]))
    everything = pd.read_parquet(io.BytesIO(theirs.files["record.parquet"]))
    fired = everything["rule_action"] == everything["direction"]
    assert len(record) == fired.sum()
    assert (record["rule_action"] == record["direction"]).all()
    page = html.unescape(Path(week.summary["report_path"]).read_text())
    assert "rule fired" in page
    assert "Do patterns with news succeed more often?" in page
    assert week.cached("features")[0] == week.cached("features")[1]


def test_a_card_asked_for_and_missing_leaves_the_same_model_and_the_report_says_so(first: Week) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here: it would be used")

    again = run_week(device="cuda", refresh_from="train", promote=False)

    assert again.cached("train")[0] == 0
    before, after = (
        load_version(connections.engine(), connections.artifact_stores(), week.summary["version_id"])
        for week in (first, again)
    )
    assert after.files["model.onnx"] == before.files["model.onnx"]
    assert after.manifest.trained_on == dict.fromkeys(after.manifest.procedure["members"], "cpu")
    page = html.unescape(Path(again.summary["report_path"]).read_text())
    assert "CPU (no CUDA device" in page
    assert "forest on cpu" in page


def test_what_was_set_aside_and_held_out_is_in_the_summary_the_report_and_the_quarantine(first: Week) -> None:
    found, page = first.summary["quality"], Path(first.summary["report_path"]).read_text()
    stored = quarantine.list_quarantine(connections.engine(), dataset="no-edge")

    assert found["set_aside_breaks"] == len([row for row in stored if row.subject == "bar"]) >= 1
    assert found["held_out_events"]["event_sees_one_price_scale"] >= 1
    assert found["newest_events"] > 0
    for suite in ("bars", "events", "training set"):
        assert f"Rules on the {suite}: " in page
    assert stored[-1].detail in html.unescape(page)


def test_a_released_break_gives_its_events_back(first: Week) -> None:
    """The steps by hand: a whole run would train again."""
    as_of = first.summary["as_of"]
    where = {"dataset": "no-edge", "timeframe": "1d", "as_of": as_of}
    market = dataset.extract_market.fn({**where, "extract_start": "2000-01-01T00:00:00+00:00"})
    found = dataset.detect_events.fn(market)

    def held() -> tuple[int, int]:
        checked = quality.validate_bars.fn(market, quality.read_releases.fn(where))
        breaks = quality.set_aside_bars.fn(checked, where, "test")
        out = quality.set_aside_events.fn(quality.validate_events.fn(found, market, breaks["breaks"]), where, "test")
        return breaks["n_held"], quality.hold_out.fn(found, out["findings"])["rows"]

    n_breaks, n_kept = held()
    bars = [row for row in quarantine.list_quarantine(connections.engine(), dataset="no-edge") if row.subject == "bar"]
    now = pd.Timestamp("2026-01-01", tz="UTC").to_pydatetime()
    quarantine.release(connections.engine(), [bars[0].id], reason="it was real", by="trader", now=now)

    assert held()[0] == n_breaks - 1
    assert held()[1] > n_kept


def test_a_run_remembers_its_events_even_if_every_step_came_from_the_cache(first: Week, second: Week) -> None:
    assert first.summary["events"]["new"] == first.summary["events"]["stored"] > 1_000
    assert first.summary["events"]["settled"] > 1_000
    again = {"new": 0, "settled": 0, "corrected": 0, "settled_before": first.summary["events"]["settled"]}
    assert second.summary["events"] == first.summary["events"] | again


@pytest.mark.parametrize("label", get_args(LabelKind))
def test_remembered_outcomes_are_those_that_models_are_trained_on(first: Week, label: str) -> None:
    """The steps by hand: a whole run would train again."""
    where = {"dataset": "no-edge", "timeframe": "1d", "as_of": first.summary["as_of"]}
    market = dataset.extract_market.fn({**where, "extract_start": "2000-01-01T00:00:00+00:00"})
    labelled = dataset.label_events.fn(dataset.detect_events.fn(market), market, where["as_of"], label, 5.0)

    remembered = dataset.remember_events.fn(where, label, 5.0)

    line = EventLine(connections.engine(), "no-edge", "1d", DETECTOR_VERSION)
    stored = line.labels(labelled["label_version"], pd.Timestamp(where["as_of"]))
    pd.testing.assert_frame_equal(stored[LABELS.column_names], connections.load_frame(labelled["labels"]))
    assert (remembered["new"], remembered["pending"]) == (0, labelled["n_pending"])
