"""When a stored result may be used again."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import pytest

from catalyst_ml.store.snapshots import SnapshotStore
from tasks.caching import PLAIN_JSON, ContentKey, code_version, content_of, discard_unusable_record, reuse


class FakeTask:
    """What a key needs of a Prefect task."""

    name = "fit-fold"
    task_key = "fit_fold-1234"

    def __init__(self, fn):
        self.fn = fn


class FakeRunContext:
    def __init__(self, fn):
        self.task = FakeTask(fn)


def double(x):
    return 2 * x


def triple(x):
    return 3 * x


@pytest.fixture
def results(tmp_path):
    from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings

    with temporary_settings({PREFECT_LOCAL_STORAGE_PATH: tmp_path}):
        yield tmp_path


def key(policy, fn=double, **inputs):
    return policy.compute_key(FakeRunContext(fn), inputs, {})


def write_record(path, result, *, serializer=None):
    header = PLAIN_JSON.model_dump(mode="json") if serializer is None else serializer
    path.write_text(json.dumps({"metadata": {"serializer": header}, "result": json.dumps(result)}))


def test_a_reference_counts_by_its_content_and_not_by_its_place():
    here = {"path": "/a/x.parquet", "sha256": "f00", "rows": 3}
    moved = {"path": "/b/x.parquet", "sha256": "f00", "rows": 3}

    assert content_of({"bars": here, "n": 1}) == content_of({"bars": moved, "n": 1})


@pytest.mark.usefixtures("results")
def test_the_key_changes_with_inputs_source_and_rooms_and_with_nothing_else():
    policy = ContentKey(rooms=("catalyst_ml.errors",), ignore=("threads",))
    base = key(policy, x=1, threads=2)

    assert key(policy, x=1, threads=16) == base
    assert key(policy, x=2, threads=2) != base
    assert key(policy, triple, x=1, threads=2) != base
    assert key(ContentKey(rooms=("catalyst_ml.frames",), ignore=("threads",)), x=1, threads=2) != base


def test_the_code_version_of_a_package_covers_every_module_in_it():
    assert code_version(("catalyst_ml",)) != code_version(("catalyst_ml.errors",))


def test_a_usable_record_stays(tmp_path):
    artifact = tmp_path / "x.parquet"
    artifact.write_bytes(b"1")
    record = tmp_path / "record"
    write_record(record, {"bars": {"path": artifact.name, "sha256": "f00"}})

    discard_unusable_record(record, record.parent)

    assert record.exists()


@pytest.mark.parametrize(
    "serializer",
    [
        {"type": "pickle"},
        {"type": "compressed/pickle"},
        {**PLAIN_JSON.model_dump(mode="json"), "object_decoder": "prefect.serializers.prefect_json_object_decoder"},
        {**PLAIN_JSON.model_dump(mode="json"), "jsonlib": "os"},
    ],
)
def test_a_record_that_asks_for_another_serializer_is_never_read(tmp_path, serializer):
    record = tmp_path / "record"
    write_record(record, {"a": 1}, serializer=serializer)

    discard_unusable_record(record, record.parent)

    assert not record.exists()


def test_a_half_written_record_is_discarded(tmp_path):
    record = tmp_path / "record"
    record.write_text('{"metadata": {"seria')

    discard_unusable_record(record, record.parent)

    assert not record.exists()


def test_a_record_whose_file_is_gone_is_discarded_so_that_the_task_runs_again(tmp_path):
    record = tmp_path / "record"
    write_record(record, {"folds": [{"path": "gone.parquet", "sha256": "f00"}]})

    discard_unusable_record(record, record.parent)

    assert not record.exists()


@pytest.fixture
def counted(results, tmp_path_factory, monkeypatch):
    """A cached task of its own home that notes every time it computes."""
    from prefect import task

    from tasks import caching
    from tasks.connections import settings, snapshots

    monkeypatch.setenv("CATALYST_HOME", str(tmp_path_factory.mktemp("home")))
    settings.cache_clear()
    snapshots.cache_clear()
    computed = []

    @task(name="square", **caching.cached("catalyst_ml.errors", ignore=("threads",)))
    def square(x, threads=1):
        computed.append(x)
        time.sleep(0.05)
        return {"x": x, "square": x * x}

    yield square, computed
    settings.cache_clear()
    snapshots.cache_clear()


def test_without_a_task_run_a_result_is_kept_and_found_again_by_content(counted, results):
    square, computed = counted

    assert reuse(square, 3, 1) == ({"x": 3, "square": 9}, False)
    assert reuse(square, 3, 8) == ({"x": 3, "square": 9}, True)
    assert reuse(square, 4)[0]["square"] == 16
    assert computed == [3, 4]
    (record, _) = sorted(results.glob("square-*"), key=lambda path: path.stat().st_mtime)
    record.write_text("half of a rec")
    assert reuse(square, 3) == ({"x": 3, "square": 9}, False)


def test_who_asks_while_another_computes_waits_and_finds_it(counted):
    square, computed = counted

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(copy_context().run, reuse, square, 5) for _ in range(8)]
        answers = [future.result() for future in asked]

    assert computed == [5]
    assert sorted(found for _, found in answers) == [False] + [True] * 7
    assert {answer["square"] for answer, _ in answers} == {25}


def test_the_record_is_one_that_prefect_reads(counted, results):
    from prefect.results import ResultRecord

    square, _ = counted
    reuse(square, 6)

    (record,) = results.iterdir()
    read = ResultRecord.deserialize(record.read_bytes())
    assert (read.result, read.serializer) == ({"x": 6, "square": 36}, PLAIN_JSON)
    assert read.metadata.storage_key == str(record)


def test_what_others_will_find_is_stored_where_all_frames_are(results, tmp_path, monkeypatch):
    import pandas as pd
    from prefect import task

    from tasks import caching, connections

    monkeypatch.setattr(connections, "snapshots", lambda: SnapshotStore(tmp_path))
    monkeypatch.setattr(caching, "snapshots", connections.snapshots)

    @task(name="store", **caching.cached("catalyst_ml.errors"))
    def store(n):
        return connections.store_frame("numbers", pd.DataFrame({"n": [n]}))

    with connections.frames_apart("week"):
        own = connections.store_frame("numbers", pd.DataFrame({"n": [1]}))
        shared, _ = reuse(store, 1)
    connections.snapshots().discard("week")

    assert (own["path"].split("/")[0], shared["path"].split("/")[0]) == ("week.numbers", "numbers")
    assert connections.load_frame(reuse(store, 1)[0])["n"].tolist() == [1]
    assert reuse(store, 1)[1]
