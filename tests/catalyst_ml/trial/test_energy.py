"""Electricity: what was measured and what was estimated is never confused."""

from __future__ import annotations

import pytest

from catalyst_ml.trial.energy import EnergyMeter, monthly_saving, nvml_counter


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_card_is_measured_and_the_rest_estimated() -> None:
    clock, joules = Clock(), iter([5_000.0, 5_000.0 + 3.6e5])
    meter = EnergyMeter(rest_watts=100.0, counter=lambda: next(joules), clock=clock)
    clock.now += 3_600.0
    used = meter.read()
    assert (used.gpu_kwh, used.rest_kwh, used.kwh) == (pytest.approx(0.1), pytest.approx(0.1), pytest.approx(0.2))
    assert "measured by NVML" in used.note


def test_without_a_card_all_is_estimated_and_says_why() -> None:
    clock = Clock()
    meter = EnergyMeter(rest_watts=250.0, why_not="no card", clock=clock)
    clock.now += 60.0
    used = meter.read()
    assert used.gpu_kwh is None
    assert used.kwh == pytest.approx(250.0 * 60.0 / 3.6e6)
    assert used.note == "estimated at 250 W: no card"


def test_a_card_that_stops_answering_or_begins_anew_is_not_believed() -> None:
    def lost() -> float:
        raise OSError("NVML: GPU is lost")

    clock = Clock()
    meter = EnergyMeter(rest_watts=250.0, counter=lambda: 1.0, clock=clock)
    meter._counter = lost
    assert "GPU is lost" in meter.read().note
    falling = iter([10.0, 3.0])
    anew = EnergyMeter(rest_watts=250.0, counter=lambda: next(falling), clock=clock).read()
    assert (anew.gpu_kwh, "began anew" in anew.note) == (None, True)


def test_this_machine_says_whether_it_has_a_card() -> None:
    counter, why_not = nvml_counter()
    assert (counter is None) == bool(why_not)


def test_saving_pays_the_electricity() -> None:
    assert monthly_saving(0.5, runs_per_month=4.0, tariff_per_kwh=0.25, cloud_per_month=48.0) == 47.5
