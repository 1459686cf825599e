"""A small neural net on scaled inputs, trained for a fixed number of steps.

Fixed steps instead of early stopping: an inner block by time would cost the newest rows, which are worth
most, and its verdict on a signal this small is mostly noise. The last layer starts at zero, so the net begins
as the base rate.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock

import numpy as np
import torch

from catalyst_ml.errors import DeviceUnavailable
from catalyst_ml.models.graph_builder import GraphBuilder
from catalyst_ml.models.member import TRAINED_ON_CPU, TrainedOn, TrainingSide, logit, sigmoid
from catalyst_ml.models.preprocessing import Preprocessing
from catalyst_ml.models.procedure import NetSettings
from catalyst_ml.models.training_device import first_line, fit_on

Layer = tuple[np.ndarray, np.ndarray]
"""Weights (n_in, n_out) and biases (n_out,), float32; ReLU between layers."""


@dataclass(frozen=True)
class NetMember:
    """Mean log-odds of several small perceptrons that differ in their seed only."""

    preprocessing: Preprocessing
    nets: tuple[tuple[Layer, ...], ...]
    n_tree_nodes: int = 0
    trained_on: TrainedOn = TRAINED_ON_CPU

    @classmethod
    def fit(cls, side: TrainingSide, settings: NetSettings) -> NetMember:
        """Train ``n_seeds`` nets on one thread or on the device; the result depends on rows, seed and device only.

        Layers this small gain a third from a second thread on an idle machine and lose tenfold on a busy one. A device
        starts from the same weights and sees the same batches; what drops out, and rounding, are its own.
        """
        needs = device_bytes(len(side.X), side.preprocessing.n_outputs, settings)
        return fit_on("PyTorch's net", side, lambda own: cls._fit(own, settings), needs_bytes=needs)

    @classmethod
    def _fit(cls, side: TrainingSide, settings: NetSettings) -> NetMember:
        try:
            device = _torch_device(side.device)
            with _alone(device):
                scaled = torch.from_numpy(side.preprocessing.transform(side.X)).to(device)
                y = torch.from_numpy(side.y.astype(np.float32)).to(device)
                weight = torch.from_numpy(side.sample_weight.astype(np.float32)).to(device)
                shift = torch.from_numpy((side.offset - logit(np.array(side.base_rate))).astype(np.float32)).to(device)
                nets = tuple(
                    _train(scaled, y, weight, shift, settings, seed=side.random_state + k, start=side.base_rate)
                    for k in range(settings.n_seeds)
                )
                trained_on = TrainedOn(scaled.device.type)
        except (RuntimeError, AssertionError) as error:
            if side.device == "cpu":
                raise
            # OutOfMemoryError and AcceleratorError are RuntimeErrors; a build without CUDA asserts.
            raise DeviceUnavailable(f"PyTorch failed on the device: {first_line(error)}") from error
        return cls(side.preprocessing, nets, trained_on=trained_on)

    def predict_proba1(self, X: np.ndarray) -> np.ndarray:
        scaled = self.preprocessing.transform(X)
        return sigmoid(np.mean([_forward(scaled, layers) for layers in self.nets], axis=0))

    def add_to_graph(self, graph: GraphBuilder, features: str) -> str:
        scaled = graph.once(self.preprocessing, features)
        logits = [_add_layers(graph, scaled, layers) for layers in self.nets]
        return graph.node("Sigmoid", [graph.node("Mean", logits)])


_TORCH_STATE = Lock()
"""Seed and thread count belong to the whole process: folds fitted side by side take turns here."""


def device_bytes(n_rows: int, n_inputs: int, settings: NetSettings) -> float:
    """Estimate the device memory of one fit, in bytes: the rows, a batch through every layer, and the runtime."""
    widest = n_inputs + sum(settings.hidden)
    return 4.0 * n_rows * (n_inputs + 3) + 8 * n_rows + 32.0 * settings.batch_size * widest + 300e6


def _torch_device(name: str) -> torch.device:
    return torch.device(name)


@contextmanager
def _alone(device: torch.device) -> Iterator[None]:
    """Hold torch's random state, thread count and choice of kernels, and give all back as they were."""
    on_card = device.type == "cuda"
    if on_card:
        # cuBLAS reads it when it starts; without it torch refuses to promise the same sums twice.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    with _TORCH_STATE, torch.random.fork_rng(devices=[device] if on_card else []):
        threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(on_card or deterministic)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(deterministic)
            if on_card:
                # What torch keeps for later XGBoost cannot have.
                torch.cuda.empty_cache()


def _train(
    X: torch.Tensor,
    y: torch.Tensor,
    weight: torch.Tensor,
    shift: torch.Tensor,
    settings: NetSettings,
    *,
    seed: int,
    start: float,
) -> tuple[Layer, ...]:
    torch.manual_seed(seed)
    net = _build(X.shape[1], settings, start).to(X.device)
    optimiser = torch.optim.AdamW(net.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=settings.n_steps)
    net.train()
    for rows in _batches(len(X), settings, X.device):
        losses = torch.nn.functional.binary_cross_entropy_with_logits(
            net(X[rows]).squeeze(1) + shift[rows], y[rows], reduction="none"
        )
        optimiser.zero_grad(set_to_none=True)
        (losses * weight[rows]).mean().backward()
        optimiser.step()
        schedule.step()
    linear = [layer for layer in net if isinstance(layer, torch.nn.Linear)]
    return tuple((_on_host(layer.weight).T.copy(), _on_host(layer.bias).copy()) for layer in linear)


def _on_host(parameter: torch.Tensor) -> np.ndarray:
    values: np.ndarray = parameter.detach().cpu().numpy()
    return values


def _build(n_inputs: int, settings: NetSettings, start: float) -> torch.nn.Sequential:
    layers: list[torch.nn.Module] = []
    width = n_inputs
    for hidden in settings.hidden:
        layers += [torch.nn.Linear(width, hidden), torch.nn.ReLU(), torch.nn.Dropout(settings.dropout)]
        width = hidden
    last = torch.nn.Linear(width, 1)
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.constant_(last.bias, float(logit(np.array(start))))
    return torch.nn.Sequential(*layers, last)


def _batches(n_rows: int, settings: NetSettings, device: torch.device) -> Iterator[torch.Tensor]:
    """Exactly ``n_steps`` batches, walking through fresh permutations of the rows, drawn on the CPU for any device."""
    size = min(settings.batch_size, n_rows)
    order = torch.randperm(n_rows).to(device)
    position = 0
    for _ in range(settings.n_steps):
        if position + size > n_rows:
            order, position = torch.randperm(n_rows).to(device), 0
        yield order[position : position + size]
        position += size


def _forward(scaled: np.ndarray, layers: tuple[Layer, ...]) -> np.ndarray:
    values = scaled
    for weights, biases in layers[:-1]:
        values = np.maximum(values @ weights + biases, np.float32(0.0))
    weights, biases = layers[-1]
    return (values @ weights + biases)[:, 0]


def _add_layers(graph: GraphBuilder, scaled: str, layers: tuple[Layer, ...]) -> str:
    tensor = scaled
    for k, (weights, biases) in enumerate(layers):
        tensor = graph.node("Gemm", [tensor, graph.constant(weights), graph.constant(biases)])
        if k < len(layers) - 1:
            tensor = graph.node("Relu", [tensor])
    return tensor
