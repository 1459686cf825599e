"""Training on the CPU or on a GPU: one choice per run, one trainer at a time on the card, the CPU where it fails.

The choice is made once (`choose_device`) and handed to every fit. A member with a form on the device is fitted through
`fit_on`: memory is looked at first, and whatever the card refuses continues on the CPU, with a warning in the log and a
note beside the member. Nothing here is silent: what really ran comes back with each fit (docs/decisions/0025).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from threading import Lock
from typing import Any, Literal, Protocol, TypeVar

from catalyst_ml.errors import ConfigurationError, DeviceUnavailable
from catalyst_ml.features.device_choice import DEVICES, Device
from catalyst_ml.models.member import TrainedOn, TrainingSide

log = logging.getLogger(__name__)

AUTO_MIN_ROWS = 200_000
"""``auto`` leaves smaller training sets to the CPU, where folds run side by side, one on each thread; a card takes one
at a time. From here on folds follow each other anyway (``walk_forward.FEW_ROWS``). Not measured on a device."""

SHARE_OF_FREE_MEMORY = 0.8
"""The rest is for compiled code, fragments, and whoever else draws on the same card (a desktop)."""

Fitted = TypeVar("Fitted", bound="DeviceMember")


class DeviceMember(Protocol):
    """A fitted member with a form on a device: it knows where it was really trained."""

    @property
    def trained_on(self) -> TrainedOn:
        """Read from the trainer after the fit, not from what was asked of it."""
        ...


@dataclass(frozen=True)
class TrainingDevice:
    """The device of one run: what was asked for, what was chosen, its name, and why."""

    asked: str
    device: Literal["cpu", "cuda"]
    name: str
    reason: str

    def to_dict(self) -> dict[str, str]:
        """Return the choice as JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> TrainingDevice:
        """Inverse of `to_dict`."""
        return cls(**stored)


ON_CPU = TrainingDevice("cpu", "cpu", "CPU", "asked for")

_ONE_TRAINER = Lock()
"""One trainer at a time on the card: two would share its memory and each wait for the other."""


def choose_device(asked: Device, *, n_rows: int, auto_min_rows: int = AUTO_MIN_ROWS) -> TrainingDevice:
    """Choose where a run trains; never fails for want of a device.

    Parameters
    ----------
    asked
        ``auto`` takes a GPU from ``auto_min_rows`` training rows on, ``cuda`` at any size. Where there is none both
        train on the CPU, and say why: a weekly run at night must not end for a driver.
    n_rows
        Rows of the training set.

    Raises
    ------
    ConfigurationError
        If ``asked`` is another word.
    """
    if asked not in DEVICES:
        raise ConfigurationError(f"training on device {asked!r}: no such choice. Take one of {list(DEVICES)}.")
    if asked == "cpu":
        return ON_CPU
    if asked == "auto" and n_rows < auto_min_rows:
        reason = f"{n_rows:,} rows: below {auto_min_rows:,} the CPU fits folds side by side, a GPU one at a time"
        return TrainingDevice(asked, "cpu", "CPU", reason)
    try:
        name = device_name()
    except DeviceUnavailable as error:
        log.warning("members are trained on the CPU: %s", error)
        return TrainingDevice(asked, "cpu", "CPU", str(error))
    reason = "asked for" if asked == "cuda" else "a device is there and the rows are many"
    return TrainingDevice(asked, "cuda", name, reason)


def fit_on(name: str, side: TrainingSide, fit: Callable[[TrainingSide], Fitted], *, needs_bytes: float) -> Fitted:
    """Fit a member on the side's device, or continue on the CPU: the member says which in ``trained_on``.

    Parameters
    ----------
    name
        The trainer, for log and note.
    fit
        Fits on ``side.device``; raises ``DeviceUnavailable`` for whatever the card does not do, at any moment. What
        was learned until then is dropped: the CPU starts from the same seed, so the member is what a CPU run has.
        A trainer that went to the CPU by itself is believed only in that: its member says so.
    needs_bytes
        Estimate of the device memory it takes.
    """
    if side.device == "cpu":
        return fit(side)
    member = None
    with _ONE_TRAINER:
        try:
            require_memory(needs_bytes)
            member = fit(side)
            if member.trained_on.device == side.device:
                return member
            why = f"{name} ran on the CPU: the trainer found no device it can use"
        except DeviceUnavailable as error:
            why = f"{name} continued on the CPU: {error}"
    log.warning("%s", why)
    if member is None:
        member = fit(replace(side, device="cpu"))
    return replace(member, trained_on=TrainedOn("cpu", why))  # type: ignore[type-var]


def require_memory(needs_bytes: float) -> None:
    """Refuse what will not fit, before it is begun.

    Raises
    ------
    DeviceUnavailable
        If the card has less free memory than the estimate wants, or none to ask.
    """
    free = free_bytes()
    log.info("a fit on the device: about %.2f GB needed, %.2f GB free", needs_bytes / 1e9, free / 1e9)
    if needs_bytes > SHARE_OF_FREE_MEMORY * free:
        raise DeviceUnavailable(
            f"about {needs_bytes / 1e9:.2f} GB of device memory are needed, {free / 1e9:.2f} GB are free, of which "
            f"{SHARE_OF_FREE_MEMORY:.0%} may be used. Free device memory, or use the CPU."
        )


def where_trained(fits: Sequence[Mapping[str, TrainedOn]]) -> str:
    """Say in a line where the members of several fits were trained, and the first reason why not on the device.

    Example
    -------
    >>> where_trained([{"net": TrainedOn("cuda")}, {"net": TrainedOn("cpu", "the card was full")}])
    'net on cuda 1, cpu 1 (the card was full)'
    """
    names = list(dict.fromkeys(name for fit in fits for name in fit))
    return "; ".join(_where_trained(name, [fit[name] for fit in fits if name in fit]) for name in names)


def _where_trained(name: str, fits: Sequence[TrainedOn]) -> str:
    counts = Counter(fit.device for fit in fits)
    where = ", ".join(f"{device} {counts[device]}" for device in ("cuda", "cpu") if counts[device])
    why = next((fit.note for fit in fits if fit.note), "")
    return f"{name} on {where}" + (f" ({why})" if why else "")


def device_name() -> str:
    """Return the name of the first CUDA device.

    Raises
    ------
    DeviceUnavailable
        If there is no driver or no device; the message says which.
    """
    # torch is asked first: it brings its own runtime and is the net's trainer. A build of it for the CPU knows of no
    # device that XGBoost may well use; the features' layer asks the driver itself.
    import torch

    try:
        if torch.version.cuda is not None and torch.cuda.is_available():
            return str(torch.cuda.get_device_name(0))
    except (RuntimeError, AssertionError) as error:
        raise DeviceUnavailable(f"no usable CUDA device: {first_line(error)}. Use the CPU.") from error
    return _features_layer().require_device()


def free_bytes() -> float:
    """Return the bytes of device memory that are free now.

    Raises
    ------
    DeviceUnavailable
        If there is no device to ask.
    """
    import torch

    try:
        if torch.version.cuda is not None and torch.cuda.is_available():
            return float(torch.cuda.mem_get_info(0)[0])
    except (RuntimeError, AssertionError) as error:
        raise DeviceUnavailable(f"the CUDA device gave no memory information: {first_line(error)}") from error
    layer = _features_layer()
    layer.require_device()
    return layer.free_memory()


def first_line(error: BaseException) -> str:
    """Class and first line of an error: CUDA libraries add pages of stack and advice."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else 'no message'}"


def _features_layer() -> Any:
    """Return the features' own layer over the driver; its simulator is no device to train on."""
    try:
        from catalyst_ml.features import gpu_engine
    except Exception as error:
        # numba-cuda without its bindings, a driver library of another version: any class of error.
        raise DeviceUnavailable(f"numba.cuda cannot be loaded: {first_line(error)}. Use the CPU.") from error
    if gpu_engine.cuda_kernels.IS_SIMULATED:
        raise DeviceUnavailable("numba's CUDA simulator trains nothing. Unset NUMBA_ENABLE_CUDASIM, or use the CPU.")
    return gpu_engine
