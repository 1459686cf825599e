"""The cases of ``device_cases.py`` on a real CUDA device, and whether the kernels compile for one: ``make test-gpu``.

Needs neither PostgreSQL nor Prefect nor RAPIDS, so that it also runs on a bare GPU machine with numba-cuda and pandas.
"""

import os

import pytest
from numba import cuda, types

from catalyst_ml.indicators import cuda_kernels

if cuda.is_available():
    from tests.catalyst_ml.features.real_device_cases import *  # noqa: F403

pytestmark = pytest.mark.gpu

COLUMN, AGE, STARTS = types.float64[::1], types.int32[::1], types.int64[::1]
INT, FLOAT = types.int64, types.float64
SIGNATURES = {
    "elementwise_one": (COLUMN, COLUMN, INT, INT, AGE, INT, INT),
    "elementwise_two": (COLUMN, COLUMN, INT, INT, COLUMN, INT, INT, AGE, INT, INT),
    "choose": (COLUMN, COLUMN, COLUMN, INT, INT, COLUMN, INT, INT, AGE, INT),
    "ratio": (COLUMN, COLUMN, COLUMN, FLOAT),
    "position": (COLUMN, COLUMN, COLUMN, COLUMN, FLOAT),
    "distance": (COLUMN, COLUMN, COLUMN),
    "sma": (COLUMN, COLUMN, INT, AGE),
    "window_mean": (COLUMN, COLUMN, INT, AGE),
    "bollinger": (COLUMN, COLUMN, COLUMN, COLUMN, INT, FLOAT, AGE),
    "rolling_std": (COLUMN, COLUMN, INT, AGE),
    "rolling_products": (COLUMN, COLUMN, COLUMN, COLUMN, COLUMN, INT, AGE),
    "correlation_of_products": (COLUMN, COLUMN, COLUMN, COLUMN),
    "slope_of_products": (COLUMN, COLUMN, COLUMN),
    "rolling_extreme": (COLUMN, COLUMN, INT, FLOAT, AGE),
    "share_above": (COLUMN, COLUMN, COLUMN, COLUMN, INT, AGE),
    "run_length": (COLUMN, COLUMN, FLOAT, STARTS),
    "oscillators": (*[COLUMN] * 7, INT, INT, INT, INT, STARTS),
    "gather": (types.float32[:, ::1], INT, COLUMN, STARTS, AGE, INT),
}


def not_here(reason: str) -> None:
    """``make test-gpu`` promises to run on a device: there, its absence is a failure."""
    if os.environ.get("CATALYST_REQUIRE_GPU") == "1":
        pytest.fail(f"{reason}. 'make test-gpu' needs a CUDA device and its driver.", pytrace=False)
    pytest.skip(reason)


def test_there_is_a_device_to_show_the_kernels_on():
    if not cuda.is_available():
        not_here("no CUDA device: the feature kernels ran under numba's simulator only")


@pytest.fixture(scope="module")
def compiler() -> None:
    try:
        cuda.compile_ptx(lambda: None, (), device=False, cc=(8, 0))
    except Exception as error:
        not_here(f"no CUDA compiler ({type(error).__name__}): that the kernels compile was not shown")


@pytest.mark.usefixtures("compiler")
def test_every_kernel_compiles_for_a_gpu():
    for name, signature in SIGNATURES.items():
        ptx, _ = cuda.compile_ptx(getattr(cuda_kernels, name).py_func, signature, device=False, cc=(8, 0))
        assert ".visible .entry" in ptx, name


def test_the_kernels_compiled_are_all_there_are():
    assert {name for name, value in vars(cuda_kernels).items() if hasattr(value, "py_func")} == set(SIGNATURES)
