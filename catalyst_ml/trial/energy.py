"""What a run costs in electricity: measured on the graphics card through NVML, estimated for the rest of the PC.

NVML counts the card's energy since its driver was loaded (Volta and newer). Nothing counts the rest of the machine, so
its share is power times time, and every figure says which part was measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Protocol

JOULES_PER_KWH = 3.6e6


class EnergyCounter(Protocol):
    """Reads the energy that all graphics cards have used since their driver was loaded, in joules."""

    def __call__(self) -> float: ...


@dataclass(frozen=True)
class Energy:
    """Electricity of one stretch of work.

    ``gpu_kwh`` is None where no card could be asked; ``note`` says what was measured and what was estimated.
    """

    seconds: float
    gpu_kwh: float | None
    rest_kwh: float
    note: str

    @property
    def kwh(self) -> float:
        """All of it, in kilowatt-hours."""
        return (self.gpu_kwh or 0.0) + self.rest_kwh

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON."""
        return {**asdict(self), "kwh": self.kwh}


class EnergyMeter:
    """Started when made; ``read`` may be called at any time, also after a card was lost.

    Parameters
    ----------
    rest_watts
        Power of the PC without its cards while it works, in watts; all of the PC where no card can be asked.
    counter
        Reads the cards, or None. `nvml_counter` gives one.
    why_not
        Why there is no counter, for the note.
    """

    def __init__(
        self,
        *,
        rest_watts: float,
        counter: EnergyCounter | None = None,
        why_not: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rest_watts, self._counter, self._why_not, self._clock = rest_watts, counter, why_not, clock
        self._begun = clock()
        self._joules = counter() if counter else None

    def read(self) -> Energy:
        """Return what was used since the meter was made."""
        seconds = self._clock() - self._begun
        rest = self._rest_watts * seconds / JOULES_PER_KWH
        if self._counter is None or self._joules is None:
            return Energy(seconds, None, rest, f"estimated at {self._rest_watts:g} W: {self._why_not or 'no card'}")
        try:
            used = self._counter() - self._joules
        except OSError as error:
            return Energy(seconds, None, rest, f"estimated at {self._rest_watts:g} W: {error}")
        if used < 0.0:  # the driver was loaded anew meanwhile
            return Energy(seconds, None, rest, f"estimated at {self._rest_watts:g} W: the card's counter began anew")
        note = f"card measured by NVML, rest of the PC estimated at {self._rest_watts:g} W"
        return Energy(seconds, used / JOULES_PER_KWH, rest, note)


def nvml_counter() -> tuple[EnergyCounter | None, str]:
    """Return a counter over all NVIDIA cards, or None and the reason.

    The counter raises ``OSError`` if a card stops answering.
    """
    try:
        import pynvml  # package nvidia-ml-py, extra `gpu`
    except ImportError:
        return None, "package nvidia-ml-py is not installed"
    try:
        pynvml.nvmlInit()
        cards = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        for card in cards:
            pynvml.nvmlDeviceGetTotalEnergyConsumption(card)
    except pynvml.NVMLError as error:
        return None, f"NVML: {error}"
    if not cards:
        return None, "NVML knows no card"

    def joules() -> float:
        try:
            return sum(pynvml.nvmlDeviceGetTotalEnergyConsumption(card) for card in cards) / 1e3
        except pynvml.NVMLError as error:
            raise OSError(f"NVML: {error}") from error

    return joules, ""


def monthly_saving(kwh: float, *, runs_per_month: float, tariff_per_kwh: float, cloud_per_month: float) -> float:
    """Dollars a month that a run at home saves against a rented card, electricity paid."""
    return cloud_per_month - runs_per_month * kwh * tariff_per_kwh
