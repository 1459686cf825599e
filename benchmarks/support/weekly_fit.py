"""One weekly fit of generated rows, step by step with its seconds: what ``tasks/training.py`` does, without Prefect.

A walk-forward fold, the weights and calibration it teaches, all members on what is known now, the graph, its
certificate; then the verdict on sessions that no fit has seen, against what a perfect forecaster would lose there.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec

import numpy as np

from benchmarks.support.generated_rows import GeneratedRows, expected_log_loss
from catalyst_ml.models import final_fit, walk_forward
from catalyst_ml.models.member import TrainedOn
from catalyst_ml.models.preprocessing import model_matrix
from catalyst_ml.models.procedure import Procedure
from catalyst_ml.models.training_device import ON_CPU, TrainingDevice

CERTIFIED_ROWS = 20_000
"""As ``tasks.training.fit_final`` has it."""
CAN_EXPORT = find_spec("onnx") is not None and find_spec("onnxruntime") is not None


@dataclass
class WeeklyFit:
    """Seconds by step, log-losses out of sample by forecaster, and what was built.

    ``processor_seconds`` are those of all threads: what can be compared between a busy machine and an idle one, as long
    as each trainer has one thread (two of them wait for each other awake).
    """

    seconds: dict[str, float] = field(default_factory=dict)
    processor_seconds: float = 0.0
    fit_seconds: dict[str, float] = field(default_factory=dict)
    trained_on: dict[str, tuple[str, str]] = field(default_factory=dict)
    log_loss: dict[str, float] = field(default_factory=dict)
    n_train: int = 0
    n_judged: int = 0
    n_tree_nodes: int = 0
    n_bytes: int = 0
    certified: bool | None = None
    weights: dict[str, float] = field(default_factory=dict)

    @property
    def total(self) -> float:
        """Seconds of the whole weekly fit; the verdict is not part of it."""
        return sum(self.seconds.values())

    def where(self) -> dict[str, TrainedOn]:
        """Where each member of the final fit was really trained."""
        return {name: TrainedOn(*where) for name, where in self.trained_on.items()}

    @property
    def share_of_truth(self) -> float:
        """Share of a perfect forecaster's gain over the base rate that the ensemble reaches."""
        possible = self.log_loss["base_rate"] - self.log_loss["truth"]
        return (self.log_loss["base_rate"] - self.log_loss["ensemble"]) / possible


def weekly_fit(
    generated: GeneratedRows, procedure: Procedure, *, n_threads: int, device: TrainingDevice = ON_CPU
) -> WeeklyFit:
    """Fit once as every week and judge what was fitted."""
    done = WeeklyFit()
    rows = generated.rows
    with _timed(done, "fold"):
        fold = walk_forward.fit_fold(rows, generated.fold, procedure, n_threads=n_threads, device=device)
    with _timed(done, "fit"):
        oof = walk_forward.combine_folds([fold], procedure).oof
        fitted = final_fit.fit_final(rows, procedure, oof, as_of=generated.as_of, n_threads=n_threads, device=device)
    if CAN_EXPORT:
        from catalyst_ml.models import onnx_graph, parity

        with _timed(done, "graph and certificate"):
            graph = onnx_graph.export(fitted)
            newest = rows.loc[~generated.judged].tail(CERTIFIED_ROWS)
            done.certified = parity.certify(fitted, graph, model_matrix(newest, procedure.inputs)).passed
            done.n_bytes = len(graph)
    done.fit_seconds, done.n_train, done.n_tree_nodes = fitted.fit_seconds, fitted.n_train, fitted.n_tree_nodes
    done.trained_on = {name: tuple(where) for name, where in fitted.trained_on.items()}
    done.weights = fitted.weights.weights
    _judge(done, generated, procedure, fitted)
    return done


def _judge(done: WeeklyFit, generated: GeneratedRows, procedure: Procedure, fitted: final_fit.FittedEnsemble) -> None:
    truth = generated.p_true[generated.judged]
    predicted = fitted.predict(model_matrix(generated.rows.loc[generated.judged], procedure.inputs))
    forecasts = {
        "truth": truth,
        "ensemble": predicted.p,
        "base_rate": np.full(len(truth), fitted.base_rate.rate),
        **dict(zip(fitted.members, predicted.p_members.T, strict=True)),
    }
    done.log_loss = {name: expected_log_loss(truth, p) for name, p in forecasts.items()}
    done.n_judged = len(truth)


@contextmanager
def _timed(done: WeeklyFit, step: str) -> Iterator[None]:
    started, processors = time.perf_counter(), time.process_time()
    yield
    done.seconds[step] = time.perf_counter() - started
    done.processor_seconds += time.process_time() - processors
