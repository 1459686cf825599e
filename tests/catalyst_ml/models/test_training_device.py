"""Where members are trained: the choice, what a failing card leads to, and what is said of it. No GPU is needed.

The border to CUDA is faked where it is crossed: free memory, and the errors of XGBoost and PyTorch in their own words.
Everything behind it, the CPU's fit above all, is real.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xgboost as xgb

from catalyst_ml.errors import ConfigurationError, DeviceUnavailable
from catalyst_ml.evaluation.splits import Fold
from catalyst_ml.models import net, training_device, trees
from catalyst_ml.models.final_fit import fit_final
from catalyst_ml.models.member import TrainedOn, TrainingSide
from catalyst_ml.models.members import FittedMembers, fit_members
from catalyst_ml.models.onnx_graph import export
from catalyst_ml.models.parity import certify
from catalyst_ml.models.preprocessing import Preprocessing, model_matrix
from catalyst_ml.models.procedure import NetSettings, Procedure
from catalyst_ml.models.training_device import ON_CPU, TrainingDevice, choose_device, fit_on, where_trained
from catalyst_ml.models.walk_forward import combine_folds, fit_fold, share_threads

MakeTrainingSet = Callable[..., pd.DataFrame]
MakeFold = Callable[..., Fold]
CARD = TrainingDevice("cuda", "cuda", "NVIDIA Test 9000", "asked for")
HAS_CARD = torch.cuda.is_available()
OUT_OF_MEMORY = """[10:02:11] /workspace/src/common/device_vector.cu:23: Memory allocation error on worker 0: \
cudaErrorMemoryAllocation: out of memory
- Free memory: 118.875MB
- Requested memory: 1.375GB
Stack trace:
  [bt] (0) /usr/lib/libxgboost.so(+0x2c1a8c)"""


def lots_of_memory(monkeypatch: pytest.MonkeyPatch, free: float = 8e9) -> None:
    monkeypatch.setattr(training_device, "free_bytes", lambda: free)


def xgboost_runs_out_of_memory(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """XGBoost on the device fails after some rounds of work; returns the devices it was asked for."""
    asked: list[str] = []
    really_train = xgb.train

    def train(parameters: dict[str, Any], rows: Any, num_boost_round: int) -> xgb.Booster:
        asked.append(parameters["device"])
        if parameters["device"] == "cuda":
            really_train({**parameters, "device": "cpu"}, rows, num_boost_round=min(num_boost_round, 3))
            raise xgb.core.XGBoostError(OUT_OF_MEMORY)
        return really_train(parameters, rows, num_boost_round=num_boost_round)

    monkeypatch.setattr(trees.xgb, "train", train)
    return asked


def torch_runs_out_of_memory(monkeypatch: pytest.MonkeyPatch, *, at_step: int) -> None:
    """The first net's training fails at one of its steps, as if the card were full; the ones after it do not."""
    really_step, taken = torch.optim.AdamW.step, iter(range(10_000))

    def step(self: torch.optim.AdamW, *arguments: Any) -> Any:
        if next(taken) == at_step:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has ...")
        return really_step(self, *arguments)

    monkeypatch.setattr(net, "_torch_device", lambda _: torch.device("cpu"))
    monkeypatch.setattr(torch.optim.AdamW, "step", step)


def fit(rows: pd.DataFrame, procedure: Procedure, device: TrainingDevice = ON_CPU) -> FittedMembers:
    X = model_matrix(rows, procedure.inputs)
    return fit_members(X, rows["y"].to_numpy(), np.ones(len(rows)), procedure, n_threads=1, device=device)


@pytest.fixture
def side(make_training_set: MakeTrainingSet, procedure: Procedure) -> TrainingSide:
    rows = make_training_set(n_sessions=40, strength=1.0)
    X, y = model_matrix(rows, procedure.inputs), rows["y"].to_numpy()
    return TrainingSide(X, y, np.ones(len(y)), Preprocessing.fit(X), np.zeros(len(y)), 7, 1, device="cuda")


def no_card(monkeypatch: pytest.MonkeyPatch) -> None:
    def require_device() -> str:
        raise DeviceUnavailable("no CUDA device: CUDA driver library cannot be found. Use the CPU.")

    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(training_device, "_features_layer", lambda: SimpleNamespace(require_device=require_device))


def test_auto_takes_the_card_from_many_rows_on_and_cuda_at_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_device, "device_name", lambda: "NVIDIA Test 9000")
    assert choose_device("auto", n_rows=200_000).device == "cuda"
    assert choose_device("cuda", n_rows=500) == CARD
    assert choose_device("cpu", n_rows=10**7) == ON_CPU
    few = choose_device("auto", n_rows=40_000)
    assert (few.device, few.name) == ("cpu", "CPU")
    assert "40,000 rows: below 200,000" in few.reason


@pytest.mark.parametrize("asked", ["auto", "cuda"])
def test_without_a_card_the_run_trains_on_the_cpu_and_says_why(
    asked: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    no_card(monkeypatch)
    chosen = choose_device(asked, n_rows=10**6)
    assert (chosen.asked, chosen.device, chosen.name) == (asked, "cpu", "CPU")
    assert "driver library cannot be found" in chosen.reason
    assert [(r.levelno, "driver library" in r.message) for r in caplog.records] == [(logging.WARNING, True)]


def test_a_word_that_is_no_device_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="'gpu_hist'"):
        choose_device("gpu_hist", n_rows=10)  # type: ignore[arg-type]


def test_a_choice_survives_its_json() -> None:
    assert TrainingDevice.from_dict(CARD.to_dict()) == CARD


def test_numbas_simulator_is_no_device_to_train_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from catalyst_ml.features import gpu_engine

    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(gpu_engine.cuda_kernels, "IS_SIMULATED", True)
    assert "simulator trains nothing" in choose_device("cuda", n_rows=10**6).reason


def test_a_card_that_runs_full_in_mid_fit_leaves_the_members_of_a_cpu_run_and_says_so(
    make_training_set: MakeTrainingSet,
    procedure: Procedure,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    rows = make_training_set(strength=1.0)
    X = model_matrix(rows, procedure.inputs)
    on_cpu = fit(rows, procedure)
    lots_of_memory(monkeypatch)
    asked = xgboost_runs_out_of_memory(monkeypatch)
    torch_runs_out_of_memory(monkeypatch, at_step=30)

    fitted = fit(rows, procedure, CARD)

    np.testing.assert_array_equal(fitted.predict(X), on_cpu.predict(X))
    assert asked == ["cuda", "cpu", "cuda", "cpu"]
    assert {where.device for where in fitted.trained_on.values()} == {"cpu"}
    notes = {name: where.note for name, where in fitted.trained_on.items()}
    assert (notes["base_rate"], notes["logistic"]) == ("", "")
    assert "boosting continued on the CPU" in notes["xgboost"]
    assert "out of memory" in notes["xgboost"]
    assert "Stack trace" not in notes["xgboost"]
    assert "forest continued on the CPU" in notes["forest"]
    assert "OutOfMemoryError: CUDA out of memory" in notes["net"]
    warned = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert warned == [notes["xgboost"], notes["forest"], notes["net"]]


@pytest.mark.skipif(HAS_CARD, reason="there is a CUDA device here: XGBoost and PyTorch would take it")
def test_trainers_without_a_device_do_not_pass_for_trained_on_one(
    make_training_set: MakeTrainingSet, procedure: Procedure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is faked but the free memory: XGBoost goes to the CPU by itself without a word, PyTorch refuses."""
    rows = make_training_set(n_sessions=40, strength=1.0)
    X = model_matrix(rows, procedure.inputs)
    on_cpu = fit(rows, procedure)
    lots_of_memory(monkeypatch)

    fitted = fit(rows, procedure, CARD)

    assert {where.device for where in fitted.trained_on.values()} == {"cpu"}
    assert "ran on the CPU: the trainer found no device" in fitted.trained_on["xgboost"].note
    assert "ran on the CPU" in fitted.trained_on["forest"].note
    assert "PyTorch failed on the device" in fitted.trained_on["net"].note
    np.testing.assert_array_equal(fitted.predict(X), on_cpu.predict(X))


def test_memory_is_looked_at_before_the_trainer_starts(
    make_training_set: MakeTrainingSet, procedure: Procedure, monkeypatch: pytest.MonkeyPatch
) -> None:
    lots_of_memory(monkeypatch, free=0.2e9)
    asked = xgboost_runs_out_of_memory(monkeypatch)

    fitted = fit(make_training_set(n_sessions=40), procedure, CARD)

    assert asked == ["cpu", "cpu"]
    assert "0.20 GB are free" in fitted.trained_on["forest"].note
    assert "about 0.30 GB of device memory are needed" in fitted.trained_on["net"].note


def test_the_estimate_of_memory_grows_with_rows_and_a_million_fit_a_small_card() -> None:
    few, many = (trees.device_bytes(n, 60, max_bin=64, max_depth=7) for n in (100_000, 1_000_000))
    assert few < many < 0.8 * 4e9
    few, many = (net.device_bytes(n, 65, NetSettings()) for n in (100_000, 1_000_000))
    assert few < many < 0.8 * 4e9


def test_a_member_really_trained_on_the_card_says_so_and_predicts_on_the_cpu(
    side: TrainingSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    lots_of_memory(monkeypatch)
    monkeypatch.setattr(trees, "_device_that_ran", lambda booster: "cuda")

    member = trees.TreeMember.fit(side, {"max_bin": 32, "max_depth": 2}, n_rounds=3)

    assert member.trained_on == TrainedOn("cuda", "")
    assert trees.json.loads(member.booster.save_config())["learner"]["generic_param"]["device"] == "cpu"


def test_wrong_parameters_fail_on_the_cpu_as_ever(side: TrainingSide, monkeypatch: pytest.MonkeyPatch) -> None:
    lots_of_memory(monkeypatch)
    with pytest.raises(xgb.core.XGBoostError, match="learning_rate"):
        trees.TreeMember.fit(side, {"max_bin": 32, "max_depth": 2, "eta": -1.0}, n_rounds=3)


@dataclass(frozen=True)
class FakeMember:
    trained_on: TrainedOn


def test_the_card_takes_one_trainer_at_a_time_and_the_cpu_goes_on_beside_it(
    side: TrainingSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    lots_of_memory(monkeypatch)
    running, most, lock = {"cuda": 0, "cpu": 0}, {"cuda": 0, "cpu": 0}, threading.Lock()

    def train(own: TrainingSide) -> FakeMember:
        with lock:
            running[own.device] += 1
            most[own.device] = max(most[own.device], running[own.device])
        time.sleep(0.05)
        with lock:
            running[own.device] -= 1
        if own.device == "cuda" and own.random_state >= 4:
            raise DeviceUnavailable("the card fell off the bus")
        return FakeMember(TrainedOn(own.device))

    with ThreadPoolExecutor(8) as pool:
        sides = [replace(side, random_state=k) for k in range(8)]
        fitted = list(pool.map(lambda own: fit_on("a trainer", own, train, needs_bytes=1e6), sides))

    assert most["cuda"] == 1
    assert most["cpu"] >= 1
    assert sorted(member.trained_on.device for member in fitted) == ["cpu"] * 4 + ["cuda"] * 4


def test_on_a_card_folds_follow_each_other_with_the_threads_they_would_have_without_it() -> None:
    assert share_threads(16, n_rows=40_000, device=CARD) == (1, 1)
    assert share_threads(16, n_rows=1_000_000, device=CARD) == (1, 16)
    assert share_threads(16, n_rows=40_000, device=ON_CPU) == (16, 1)


def test_fold_final_fit_and_certificate_survive_a_failing_card_and_keep_where_they_were_trained(
    make_training_set: MakeTrainingSet, make_fold: MakeFold, procedure: Procedure, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = make_training_set(n_sessions=100, strength=1.0)
    procedure = replace(procedure, members=("base_rate", "xgboost", "forest"))
    lots_of_memory(monkeypatch)
    xgboost_runs_out_of_memory(monkeypatch)

    fold = fit_fold(rows, make_fold(rows, 60, 79), procedure, n_threads=1, device=CARD)
    oof = combine_folds([fold], procedure).oof
    fitted = fit_final(rows, procedure, oof, as_of=rows["ts"].max(), n_threads=1, device=CARD)

    for trained_on in (fold.trained_on, fitted.trained_on):
        assert {name: where.device for name, where in trained_on.items()} == dict.fromkeys(procedure.members, "cpu")
        assert "out of memory" in trained_on["forest"].note
    assert certify(fitted, export(fitted), model_matrix(rows, procedure.inputs)).passed


def test_a_run_of_both_devices_is_told_in_one_line() -> None:
    full = TrainedOn("cpu", "PyTorch's net continued on the CPU: the card was full")
    fits = [{"net": TrainedOn("cuda"), "logistic": TrainedOn()}] * 3 + [{"net": full, "logistic": TrainedOn()}]
    assert where_trained(fits) == f"net on cuda 3, cpu 1 ({full.note}); logistic on cpu 4"
    assert where_trained([]) == ""
