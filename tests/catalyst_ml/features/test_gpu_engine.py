"""The GPU engine on a machine without a GPU: its cases under numba's simulator, and what happens without a device."""

import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalyst_ml.errors import ConfigurationError, DeviceUnavailable
from catalyst_ml.features import gpu_engine
from catalyst_ml.features.catalogue import CATALOGUE
from catalyst_ml.features.device_choice import compute_features_on, largest_difference
from catalyst_ml.features.engine import SymbolTask, compute_features
from catalyst_ml.features.extended import EXTENDED
from catalyst_ml.features.gpu_engine import split_by_symbols
from tests.catalyst_ml.features.markets import make_panel, stock_rows

CASES = Path(__file__).with_name("device_cases.py")
REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def no_device(monkeypatch) -> None:
    # Also on a machine that has one.
    monkeypatch.setattr(gpu_engine.cuda, "is_available", lambda: False)


@pytest.fixture(scope="module")
def small():
    return make_panel(n_stocks=3, n_bars=40)


def test_every_case_holds_under_numbas_cuda_simulator():
    # A process of its own: numba chooses between simulator and driver when it is imported.
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(CASES)],
        cwd=REPOSITORY,
        # Options meant for the outer run (-n 2, --durations) are not meant for this one.
        env={**os.environ, "NUMBA_ENABLE_CUDASIM": "1", "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        timeout=240,
    )

    assert run.returncode == 0, run.stdout + run.stderr
    passed = int(re.search(r"(\d+) passed", run.stdout).group(1))
    assert passed > len(CATALOGUE) + len(EXTENDED)
    assert not re.search(r"\d+ (skipped|deselected|xfailed)", run.stdout), run.stdout


@pytest.mark.usefixtures("no_device")
def test_without_a_device_auto_computes_on_the_cpu_and_says_why(small, caplog):
    rows = stock_rows(small)

    features, used = compute_features_on("auto", small, rows, auto_min_bars=0)

    assert (used.asked, used.device, used.n_parts, used.worst_difference) == ("auto", "cpu", 0, None)
    assert used.reason.startswith("no CUDA device: ")
    assert "features are computed on the CPU: no CUDA device" in caplog.text
    assert features.equals(compute_features(small, rows))


@pytest.mark.usefixtures("no_device")
def test_without_a_device_cuda_is_refused(small):
    with pytest.raises(DeviceUnavailable, match="no CUDA device"):
        compute_features_on("cuda", small, stock_rows(small))


def test_a_market_of_weekly_size_stays_on_the_cpu_without_a_look_for_a_device(small, monkeypatch):
    monkeypatch.setattr(gpu_engine.cuda, "is_available", lambda: pytest.fail("looked for a device"))

    used = compute_features_on("auto", small, stock_rows(small)).used

    assert used.device == "cpu"
    assert used.reason == "120 bars: below 1,000,000 a GPU would take longer to start than the CPU to finish"


def test_the_cpu_asked_for_is_the_cpu_and_an_unknown_device_an_error(small):
    rows = stock_rows(small).tail(5)

    features, used = compute_features_on("cpu", small, rows, dtype="float32")

    assert (used.device, used.reason) == ("cpu", "asked for")
    assert features.equals(compute_features(small, rows, dtype="float32"))
    with pytest.raises(ConfigurationError, match="device 'gpu': no such choice"):
        compute_features_on("gpu", small, rows)


def test_no_rows_give_an_empty_frame(small):
    features, used = compute_features_on("auto", small, stock_rows(small).head(0))

    assert features.empty
    assert features.columns.equals(compute_features(small, stock_rows(small).head(0)).columns)
    assert (used.device, used.reason) == ("cpu", "nothing is wanted")


@given(
    lengths=st.lists(st.integers(1, 50), max_size=30),
    bar_bytes=st.integers(1, 500),
    row_bytes=st.integers(1, 500),
    limit=st.integers(50 * 1_000, 200_000),
)
@settings(deadline=None, max_examples=60)
def test_parts_hold_every_symbol_once_in_order_and_fit(lengths, bar_bytes, row_bytes, limit):
    ends = np.cumsum([0, *lengths])
    tasks = [
        SymbolTask(str(i), slice(int(a), int(b)), slice(None), slice(int(a), int(b)))
        for i, (a, b) in enumerate(pairwise(ends))
    ]

    parts = split_by_symbols(tasks, bar_bytes, row_bytes, limit)

    assert [task for part in parts for task in part] == tasks
    sizes = [sum(t.bars.stop - t.bars.start for t in part) * (bar_bytes + row_bytes) for part in parts]
    assert all(size <= limit for size in sizes)
    # No part could have taken the next one's first symbol too.
    firsts = [(p[0].bars.stop - p[0].bars.start) * (bar_bytes + row_bytes) for p in parts[1:]]
    assert all(size + first > limit for size, first in zip(sizes, firsts, strict=False))


def test_a_value_missing_on_one_side_only_is_infinitely_far_and_small_values_count_against_the_scale():
    nan, inf = np.nan, np.inf
    ours = np.array([[1.0, nan, 1e-9, inf, 2.0], [nan, nan, 0.0, inf, 1.0]])
    reference = np.array([[1.0, 1.0, 0.0, inf, 1.0], [nan, nan, 0.0, -inf, 1.0]])

    assert largest_difference(ours, reference).tolist() == [0.0, inf, pytest.approx(1e-6), inf, 1.0]
