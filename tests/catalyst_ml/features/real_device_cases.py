"""What only a real CUDA device can show, with all cases of ``device_cases.py``. Imported where there is one."""

import numpy as np
import pytest
from numba import cuda

from catalyst_ml.features import gpu_engine
from tests.catalyst_ml.features import device_cases
from tests.catalyst_ml.features.device_cases import *  # noqa: F403


def test_the_device_has_a_name_and_memory():
    assert "simulator" not in gpu_engine.require_device()
    assert 0 < gpu_engine.free_memory() < np.inf


def test_inputs_that_are_on_the_device_already_are_taken_from_there():
    columns = device_cases.make_columns((40, 30), device_cases.BREATHING)
    tasks = device_cases.every_bar((40, 30))[::-1]
    values = device_cases.unset(70, device_cases.BREATHING)

    there = {name: cuda.to_device(column) for name, column in columns.items()}
    gpu_engine.fill_values_on_gpu(values, tasks, there, device_cases.BREATHING)

    device_cases.assert_same(values, device_cases.on_cpu(tasks, columns, device_cases.BREATHING, 70))


def test_cupy_takes_values_over_without_a_copy():
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    columns, tasks = device_cases.make_columns((40,), device_cases.BREATHING), device_cases.every_bar((40,))

    table = gpu_engine.values_on_device(tasks, columns, device_cases.BREATHING)

    taken = cupy.asarray(table)
    assert taken.data.ptr == table.__cuda_array_interface__["data"][0]
    np.testing.assert_array_equal(cupy.asnumpy(taken), table.copy_to_host())
