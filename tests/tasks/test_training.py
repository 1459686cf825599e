"""The steps that train: the device is chosen once, is in no cache key, and what really ran is kept."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

import pytest

from catalyst_ml.errors import DeviceUnavailable
from catalyst_ml.models import training_device
from tasks import training

ON_CARD = {"asked": "cuda", "device": "cuda", "name": "NVIDIA Test 9000", "reason": "asked for"}
ON_CPU = {"asked": "auto", "device": "cpu", "name": "CPU", "reason": "no CUDA device"}
PLAN = {"procedure": {}, "folds": [{"name": f"record-{k}", "content": f"{k}"} for k in range(3)]}
ROWS = {"training": {"path": "a", "sha256": "b", "rows": 40_000}}


def key(task: Any, arguments: dict[str, Any]) -> str | None:
    return task.cache_policy.compute_key(SimpleNamespace(task=task), arguments, {})


@pytest.fixture(autouse=True)
def _no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """The progress bar is Prefect's; here nobody serves it."""
    monkeypatch.setattr(training, "_with_progress", iter)


def test_the_device_is_chosen_once_and_a_missing_one_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_card() -> str:
        raise DeviceUnavailable("no CUDA device: the driver reports none. Use the CPU.")

    monkeypatch.setattr(training_device, "device_name", no_card)
    chosen = training.choose_device.fn(ROWS, "cuda")
    assert (chosen["asked"], chosen["device"]) == ("cuda", "cpu")
    assert "the driver reports none" in chosen["reason"]


def test_on_a_card_one_fold_runs_at_a_time_and_every_fold_knows_the_device() -> None:
    todo = training.folds_to_fit(PLAN, ROWS, 8, ON_CARD)
    calls = list(todo["calls"])
    assert todo["at_most"] == 1
    assert [call[0]["name"] for call in calls] == ["record-0", "record-1", "record-2"]
    assert {call[3] for call in calls} == {1}
    assert [call[4] for call in calls] == [ON_CARD] * 3
    assert training.folds_to_fit(PLAN, ROWS, 8, ON_CPU)["at_most"] == 8


@pytest.mark.parametrize("task", [training.fit_fold, training.fit_final])
def test_the_device_is_no_part_of_a_cache_key(task: Any) -> None:
    names = list(inspect.signature(task.fn).parameters)
    assert "device" in names
    given: dict[str, Any] = dict.fromkeys(names, "same")
    assert key(task, {**given, "device": ON_CARD}) == key(task, {**given, "device": ON_CPU})
    assert key(task, {**given, "procedure": "other", "plan": "other"}) != key(task, given)


def test_a_run_that_mixed_devices_says_so_in_one_line() -> None:
    card, cpu = {"forest": ["cuda", ""]}, {"forest": ["cpu", "XGBoost's forest continued on the CPU: full"]}
    told = training.where_trained([{"trained_on": card}, {"trained_on": cpu}], {"trained_on": card})
    assert told == "forest on cuda 2, cpu 1 (XGBoost's forest continued on the CPU: full)"
