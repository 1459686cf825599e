from __future__ import annotations

import errno
import os
from pathlib import Path

import pandas as pd
import pytest

from catalyst_ml.errors import ArtifactRefused, DataContractError, SourceUnavailable
from catalyst_ml.frames import INSTRUMENTS
from catalyst_ml.store.snapshots import FrameRef, SnapshotStore


def make_frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "symbol": pd.Series(["A", "B", None], dtype="str"),
            "ts": pd.DatetimeIndex(["2015-03-02 21:00", "2015-03-03 21:00:00.000001", None], tz="UTC").as_unit("us"),
            "session": pd.DatetimeIndex(["2015-03-02", "2015-03-03", "2015-03-04"]).as_unit("us"),
            "direction": pd.Series([1, -1, 1], dtype="int8"),
            "value": [0.1, float("nan"), -0.0],
            "flag": [True, False, True],
        }
    )


def test_a_frame_comes_back_with_its_values_and_dtypes(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path / "snapshots")
    ref = store.put("events", make_frame())

    found = store.get(FrameRef.model_validate_json(ref.model_dump_json()))

    pd.testing.assert_frame_equal(found, make_frame())
    assert (ref.rows, ref.schema_name, ref.schema_version) == (3, "events", 1)


def test_equal_frames_have_equal_references_in_different_stores(tmp_path: Path) -> None:
    first, second = SnapshotStore(tmp_path / "a"), SnapshotStore(tmp_path / "b")
    assert first.put("events", make_frame()) == second.put("events", make_frame().copy())
    assert first.put("events", make_frame()) != first.put("events", make_frame()[::-1].reset_index(drop=True))
    assert len(list((tmp_path / "a" / "events").iterdir())) == 2


@pytest.mark.parametrize("damage", ["altered", "gone"])
def test_a_damaged_file_is_refused_with_the_remedy(tmp_path: Path, damage: str) -> None:
    store = SnapshotStore(tmp_path)
    ref = store.put("events", make_frame())
    if damage == "gone":
        (tmp_path / ref.path).unlink()
    else:
        (tmp_path / ref.path).write_bytes((tmp_path / ref.path).read_bytes()[:-1] + b"x")
    with pytest.raises(ArtifactRefused, match=rf"{damage}.*refresh_from"):
        store.get(ref)


def test_json_results_come_back_and_do_not_depend_on_key_order(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path)
    value = {"b": [1, 2.5, None], "a": {"ü": "x"}}
    ref = store.put_json("metrics", value)
    assert store.get_json(ref) == value
    assert store.put_json("metrics", {"a": {"ü": "x"}, "b": [1, 2.5, None]}) == ref


def test_nan_is_no_json(tmp_path: Path) -> None:
    with pytest.raises(DataContractError, match="None for NaN"):
        SnapshotStore(tmp_path).put_json("metrics", {"a": float("nan")})


def test_a_frame_that_breaks_its_schema_is_not_stored(tmp_path: Path) -> None:
    with pytest.raises(DataContractError, match="missing"):
        SnapshotStore(tmp_path).put("instruments", make_frame(), INSTRUMENTS)
    assert list(tmp_path.iterdir()) == []


def test_an_index_is_not_silently_lost(tmp_path: Path) -> None:
    with pytest.raises(DataContractError, match="reset_index"):
        SnapshotStore(tmp_path).put("events", make_frame().set_index("session"))


def test_a_full_disk_leaves_no_file_and_one_clear_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SourceUnavailable, match="disk is full"):
        SnapshotStore(tmp_path).put("events", make_frame())
    assert list((tmp_path / "events").iterdir()) == []


def test_what_is_discarded_is_gone_and_nothing_else(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path)
    store.discard("week-1")  # nothing there yet
    gone = [store.put_json(f"week-1.{name}", {"a": 1}) for name in ("bars", "events")]
    kept = [store.put_json(name, {"a": 1}) for name in ("bars", "week-1", "week-12.bars")]

    store.discard("week-1")

    assert [store.get_json(each) for each in kept] == [{"a": 1}] * 3
    for each in gone:
        with pytest.raises(ArtifactRefused, match="is gone"):
            store.get_json(each)
    with pytest.raises(DataContractError, match="expected lower-case"):
        store.discard("../week")
