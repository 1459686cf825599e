"""How long a weekly fit takes on one GPU, with the CPU beside it, and whether both reach the same log-loss.

A weekly fit as in ``weekly_fit.py``: a walk-forward fold, then all members on what is known now, the graph and its
certificate where onnx is installed. 100,000 x 60 is the goal's size (under two minutes on one GPU), 10,000 x 16 the row
of the plan. Members without a form on a device (base rate, logistic) run on the CPU in both columns; what a failing
card left to the CPU is named, and counts as missed.

    python benchmarks/gpu_training.py            # both sizes
    python benchmarks/gpu_training.py --quick    # 10,000 x 16 only

Without a CUDA device it prints the CPU's rows and "not yet run on a GPU", and exits with 0. On a bare GPU machine it
needs PyTorch with CUDA, XGBoost, scikit-learn, pandas and numba.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.support.generated_rows import GeneratedRows, generate_rows
from benchmarks.support.table import Row, finish, machine
from benchmarks.support.weekly_fit import WeeklyFit, weekly_fit
from catalyst_ml.models.procedure import Procedure, default_procedure
from catalyst_ml.models.training_device import ON_CPU, TrainingDevice, choose_device, where_trained

PLAN_SIZE, GOAL_SIZE = (10_000, 16), (100_000, 60)
MAX_GPU_SECONDS = 120.0
MAX_LOG_LOSS_APART = 1e-3
SEED = 11
NOT_RUN = "not yet run on a GPU"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="10,000 x 16 only")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="threads of the CPU's trainers")
    parser.add_argument("--json", metavar="FILE", help="also write the figures as JSON")
    arguments = parser.parse_args()
    card = choose_device("cuda", n_rows=GOAL_SIZE[0])
    rows, results = [], []
    for n_rows, n_inputs in [PLAN_SIZE] if arguments.quick else [PLAN_SIZE, GOAL_SIZE]:
        generated = generate_rows(n_rows, n_inputs, seed=SEED)
        procedure = default_procedure(
            generated.inputs, feature_set_version="generated-1", label_version="generated-1", seed=SEED
        )
        on_cpu = weekly_fit(generated, procedure, n_threads=arguments.threads)
        rows.append(table_row(ON_CPU, on_cpu, n_inputs, remark="" if card.device == "cuda" else NOT_RUN))
        results.append(dataclasses.asdict(on_cpu) | {"device": "cpu"})
        if card.device == "cuda":
            on_card = fit_twice(generated, procedure, card, arguments.threads)
            rows += [table_row(card, fitted, n_inputs, peer=on_cpu, first=first) for fitted, first in on_card]
            results += [dataclasses.asdict(fitted) | {"device": card.name, "first": first} for fitted, first in on_card]
    if card.device != "cuda":
        print(f"\nGPU training: NOT YET RUN ON A GPU. {card.reason}")
    where = f"{card.name} and " if card.device == "cuda" else ""
    title = f"One weekly fit on {where}{arguments.threads} threads of the CPU ({machine()}, {versions()})"
    return finish(title, rows, results=results, json_file=arguments.json)


def fit_twice(
    generated: GeneratedRows, procedure: Procedure, card: TrainingDevice, n_threads: int
) -> list[tuple[WeeklyFit, bool]]:
    """Fit twice on the card: the first fit of a process also starts the device and loads its code."""
    return [(weekly_fit(generated, procedure, n_threads=n_threads, device=card), first) for first in (True, False)]


def table_row(
    device: TrainingDevice,
    fitted: WeeklyFit,
    n_inputs: int,
    *,
    peer: WeeklyFit | None = None,
    first: bool = False,
    remark: str = "",
) -> Row:
    """One line: seconds of the weekly fit and of each member, log-loss, and what was not on the device."""
    cells = {
        "training rows x inputs": f"{fitted.n_train:,} x {n_inputs}",
        "device": device.name + (", first fit of the process" if first else ""),
        "weekly fit, s": f"{fitted.total:.1f}",
        "processors, s": f"{fitted.processor_seconds:.1f}",
        "members of the final fit, s": ", ".join(f"{name} {took:.2f}" for name, took in fitted.fit_seconds.items()),
        "log-loss": f"{fitted.log_loss['ensemble']:.5f} (truth {fitted.log_loss['truth']:.5f})",
    }
    if peer is None:
        return Row(cells | ({"GPU": remark} if remark else {}))
    apart = fitted.log_loss["ensemble"] - peer.log_loss["ensemble"]
    is_goal = fitted.n_train > PLAN_SIZE[0]
    cells |= {
        "GPU minus CPU": f"{apart:+.5f}",
        "trained on": where_trained([fitted.where()]),
        "goal": f"{MAX_LOG_LOSS_APART:g} apart" + (f", {MAX_GPU_SECONDS:.0f} s" if is_goal else ""),
    }
    left_to_cpu = any(note for _, note in fitted.trained_on.values())
    too_slow = is_goal and fitted.total > MAX_GPU_SECONDS
    return Row(cells, missed=abs(apart) > MAX_LOG_LOSS_APART or too_slow or left_to_cpu or fitted.certified is False)


def versions() -> str:
    return ", ".join(f"{name} {version(name)}" for name in ("xgboost", "torch", "numpy"))


if __name__ == "__main__":
    sys.exit(main())
