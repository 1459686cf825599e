"""What must hold of features on a device, whichever it is: numba's simulator, or a GPU where there is one.

Not collected by its name. ``test_gpu_engine.py`` runs it in a process of its own under the simulator (which must be
chosen before numba is imported), ``test_gpu_on_device.py`` on a real device. The simulator rounds as the CPU does, so
there the values must be the CPU's bit for bit; a GPU may fuse a product and a sum.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from catalyst_ml.errors import DataContractError, DeviceUnavailable
from catalyst_ml.features import gpu_engine
from catalyst_ml.features.catalogue import CATALOGUE, FeatureSpec, premarket_gap
from catalyst_ml.features.column_formulas import KERNELS, NUMPY, on_columns
from catalyst_ml.features.columns import Column, NoColumnForm
from catalyst_ml.features.device_choice import MAX_DIFFERENCE, fill_on, largest_difference
from catalyst_ml.features.device_columns import DeviceBars
from catalyst_ml.features.engine import SymbolTask, fill_values, needed_inputs
from catalyst_ml.features.extended import EXTENDED
from catalyst_ml.indicators import cuda_kernels, kernels

BOTH_SETS = (*CATALOGUE, *EXTENDED)
SHORT_AND_LONG = (256, 61, 1, 2, 20, 60)
"""Bars per symbol: one, two, and one more or less than windows are long."""

MANY = SHORT_AND_LONG if cuda_kernels.IS_SIMULATED else (*SHORT_AND_LONG, *[2_500] * 200)
DECLARED = {spec.name: spec for spec in BOTH_SETS}
WITHOUT_LOOKBACK = tuple(dataclasses.replace(spec, lookback_bars=1) for spec in BOTH_SETS)
"""Nothing blanked: every value of every kernel is compared, also those that the engine would not hand out."""

BREATHING = tuple(DECLARED[name] for name in ("premarket_gap", "bb_position", "range_contraction", "close_run"))


def make_columns(lengths: Sequence[int], catalogue: Sequence[FeatureSpec], *, seed: int = 1) -> dict:
    """Bars with flat stretches, bars without range and without volume; other inputs with gaps; one without source."""
    rng = np.random.default_rng(seed)
    n = sum(lengths)
    moves = rng.normal(0, 0.015, n)
    moves[rng.integers(0, n, n // 12)] = 0.0
    for first in rng.integers(0, n, 6):
        moves[first : first + 25] = 0.0
    close = 40.0 * np.exp(np.cumsum(moves))
    open_ = np.where(moves == 0.0, close, close * np.exp(rng.normal(0, 0.004, n)))
    reach = np.where(moves == 0.0, 0.0, np.abs(rng.normal(0, 0.006, (2, n))))
    volume = rng.lognormal(12, 0.6, n).round()
    # Long enough for means over 20 and 60 bars to be 0 too.
    volume[100:170] = 0.0
    columns = {
        "open": open_,
        "high": np.maximum(open_, close) * (1 + reach[0]),
        "low": np.minimum(open_, close) * (1 - reach[1]),
        "close": close,
        "volume": volume,
    }
    for name in sorted(needed_inputs(catalogue) - columns.keys()):
        values = 100.0 * np.exp(np.cumsum(rng.normal(0, 0.01, n)))
        values[rng.integers(0, n, n // 50)] = np.nan
        columns[name] = None if name == "options_volume" else values
    return columns


def every_bar(lengths: Sequence[int]) -> list[SymbolTask]:
    ends = np.cumsum(lengths)
    own = [slice(int(end - length), int(end)) for end, length in zip(ends, lengths, strict=True)]
    return [SymbolTask(f"S{i}", rows, slice(None), rows) for i, rows in enumerate(own)]


def unset(n_rows: int, catalogue: Sequence[FeatureSpec], dtype: str = "float64") -> np.ndarray:
    return np.full((n_rows, len(catalogue)), np.nan, dtype=dtype, order="F")


def on_cpu(tasks: list[SymbolTask], columns: dict, catalogue: Sequence[FeatureSpec], n_rows: int, dtype="float64"):
    values = unset(n_rows, catalogue, dtype)
    fill_values(values, tasks, columns, catalogue)
    return values


def assert_same(ours: np.ndarray, reference: np.ndarray, *, with_logarithms: bool = False) -> None:
    # Python's logarithm and numpy's come from different libraries, whose last digit may differ.
    if cuda_kernels.IS_SIMULATED and not with_logarithms:
        np.testing.assert_array_equal(ours, reference)
    else:
        rounding = np.finfo(np.float32).eps if ours.dtype == np.float32 else 0.0
        assert largest_difference(ours.reshape(len(ours), -1), reference.reshape(len(ours), -1)).max() <= (
            MAX_DIFFERENCE + rounding
        )


@pytest.fixture(scope="module")
def both():
    """Every feature at every bar, nothing blanked: the CPU's values, the device's, and the run."""
    columns, tasks, n = make_columns(MANY, WITHOUT_LOOKBACK), every_bar(MANY), sum(MANY)
    values = unset(n, WITHOUT_LOOKBACK)
    run = gpu_engine.fill_values_on_gpu(values, tasks, columns, WITHOUT_LOOKBACK)
    return on_cpu(tasks, columns, WITHOUT_LOOKBACK, n), values, run


@pytest.mark.parametrize("name", [spec.name for spec in BOTH_SETS])
def test_the_device_says_what_the_cpu_says_of(name, both):
    reference, values, _ = both
    at = list(DECLARED).index(name)

    assert_same(values[:, at], reference[:, at], with_logarithms=name.startswith("volatility_"))
    assert np.isnan(reference[:, at]).all() == (name == "options_activity")


def test_every_feature_has_a_device_form(both):
    assert both[2].on_host == {}
    assert both[2].n_parts == 1


def test_the_columns_under_way_are_no_more_than_memory_is_asked_for(both):
    assert 10 <= both[2].most_columns <= gpu_engine.WORKING_COLUMNS


def test_a_value_is_missing_before_its_declared_lookback():
    lengths = (505, 30)
    catalogue = tuple(DECLARED[name] for name in ("rsi_14", "trend_into_bar", "premarket_gap"))
    columns, tasks, values = make_columns(lengths, catalogue), every_bar(lengths), unset(535, catalogue)

    gpu_engine.fill_values_on_gpu(values, tasks, columns, catalogue)

    assert_same(values, on_cpu(tasks, columns, catalogue, 535))
    assert np.isfinite(values).sum(axis=0).tolist() == [6, 6, 504 + 29]


def test_a_price_that_is_missing_leaves_oscillators_unknown_to_the_end_of_its_symbol_only():
    lengths, catalogue = (60, 60, 60), (dataclasses.replace(DECLARED["rsi_14"], lookback_bars=1),)
    columns, tasks, values = make_columns(lengths, catalogue), every_bar(lengths), unset(180, catalogue)
    columns["high"][80] = np.nan

    gpu_engine.fill_values_on_gpu(values, tasks, columns, catalogue)

    assert_same(values, on_cpu(tasks, columns, catalogue, 180))
    assert np.isnan(values[80:120, 0]).all()
    assert np.isfinite(values[[79, 60 + 14, 120 + 14, 179], 0]).all()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_wanted_rows_come_in_their_order_with_repeats_and_as_they_are_to_be_stored(dtype):
    lengths, rng = (40, 30, 25), np.random.default_rng(2)
    columns = make_columns(lengths, BREATHING)
    bars = every_bar(lengths)
    rows = rng.permutation(50)
    tasks = [
        # The last symbol first, none of the middle one.
        bars[2]._replace(wanted=rng.integers(0, 25, 20), rows=rows[:20]),
        bars[0]._replace(wanted=rng.integers(0, 40, 30), rows=rows[20:]),
    ]
    values = unset(50, BREATHING, dtype)

    gpu_engine.fill_values_on_gpu(values, tasks, columns, BREATHING)

    assert values.dtype == dtype
    assert_same(values, on_cpu(tasks, columns, BREATHING, 50, dtype))
    assert np.isfinite(values).any(axis=0).all()


def test_what_does_not_fit_goes_in_parts_of_whole_symbols_without_a_difference():
    lengths = (40, 30, 25, 40)
    columns, tasks = make_columns(lengths, BREATHING), every_bar(lengths)
    per_bar = gpu_engine.bytes_per_bar(columns) + 8 * len(BREATHING) + 8
    whole, parted = unset(135, BREATHING), unset(135, BREATHING)

    run = gpu_engine.fill_values_on_gpu(parted, tasks, columns, BREATHING, memory_limit_bytes=70 * per_bar)

    gpu_engine.fill_values_on_gpu(whole, tasks, columns, BREATHING)
    assert run.n_parts == 2
    np.testing.assert_array_equal(parted, whole)


def test_a_symbol_that_does_not_fit_alone_is_refused_by_name_and_left_to_the_cpu():
    lengths = (40, 300)
    columns, tasks = make_columns(lengths, BREATHING), every_bar(lengths)
    limit = {"memory_limit_bytes": 100 * gpu_engine.bytes_per_bar(columns)}
    values = unset(340, BREATHING)

    with pytest.raises(DeviceUnavailable, match=r"S1: its 300 bars need .* MB may be used"):
        fill_on("cuda", values, tasks, columns, BREATHING, **limit)
    used = fill_on("auto", values, tasks, columns, BREATHING, auto_min_bars=0, **limit)

    assert (used.device, used.worst_difference) == ("cpu", None)
    assert "S1: its 300 bars need" in used.reason
    np.testing.assert_array_equal(values, on_cpu(tasks, columns, BREATHING, 340))


def test_the_device_is_taken_for_many_bars_and_compared_with_the_cpu():
    columns, tasks, values = make_columns((40, 30), BREATHING), every_bar((40, 30)), unset(70, BREATHING)

    used = fill_on("auto", values, tasks, columns, BREATHING, auto_min_bars=70)
    few = fill_on("auto", unset(70, BREATHING), tasks, columns, BREATHING, auto_min_bars=71)

    assert (used.asked, used.device, used.n_parts) == ("auto", "cuda", 1)
    assert used.worst_difference <= MAX_DIFFERENCE
    assert (few.device, few.name) == ("cpu", "CPU")
    assert "70 bars: below 71" in few.reason


class _WithOther:
    """A kernel that is launched with another last argument than it is given."""

    def __init__(self, kernel):
        self._kernel = kernel

    def __getitem__(self, shape):
        return lambda *arguments: self._kernel[shape](*arguments[:-1], 1.0)


def test_a_device_that_says_something_else_than_the_cpu_is_not_used(monkeypatch):
    columns, tasks, values = make_columns((40, 30), BREATHING), every_bar((40, 30)), unset(70, BREATHING)
    # 1 where the bands coincide, where the CPU says 1/2.
    right = cuda_kernels.position
    monkeypatch.setattr(cuda_kernels, "position", _WithOther(right))
    # Prices that stand still, so that the bands coincide.
    for name in ("open", "high", "low", "close"):
        columns[name][:] = 30.0

    with pytest.raises(DeviceUnavailable, match=r"differ from the CPU's on 2 compared symbols.*bb_position"):
        fill_on("cuda", values, tasks, columns, BREATHING)
    used = fill_on("auto", values, tasks, columns, BREATHING, auto_min_bars=0)

    assert used.device == "cpu"
    np.testing.assert_array_equal(values, on_cpu(tasks, columns, BREATHING, 70))


def test_a_device_that_fails_on_the_way_leaves_the_cpu_to_compute_everything(monkeypatch, caplog):
    class Broken:
        def __getitem__(self, _):
            raise RuntimeError("CUDA_ERROR_ILLEGAL_ADDRESS")

    columns, tasks, values = make_columns((40, 30), BREATHING), every_bar((40, 30)), unset(70, BREATHING)
    monkeypatch.setattr(cuda_kernels, "run_length", Broken())

    used = fill_on("auto", values, tasks, columns, BREATHING, auto_min_bars=0)

    assert used.device == "cpu"
    assert "RuntimeError: CUDA_ERROR_ILLEGAL_ADDRESS" in used.reason
    assert used.reason in caplog.text
    np.testing.assert_array_equal(values, on_cpu(tasks, columns, BREATHING, 70))


def running_total(close):
    return np.cumsum(close)


def smooth(close):
    return kernels.ema(close, 5)


def counted(close):
    return np.full(close.size, float(len(close)))


def test_a_formula_without_a_device_form_is_computed_on_the_host_and_named(caplog):
    strange = tuple(
        FeatureSpec(compute.__name__, "technical", ("close",), 3, "", "", 1, compute)
        for compute in (running_total, smooth, counted)
    )
    catalogue = (BREATHING[0], *strange, BREATHING[1])
    columns, tasks, values = make_columns((40, 30), catalogue), every_bar((40, 30)), unset(70, catalogue)

    run = gpu_engine.fill_values_on_gpu(values, tasks, columns, catalogue)

    assert list(run.on_host) == ["running_total", "smooth", "counted"]
    assert "np.cumsum" in run.on_host["running_total"]
    assert "kernels.ema" in run.on_host["smooth"]
    assert "feature smooth is computed on the host" in caplog.text
    assert_same(values, on_cpu(tasks, columns, catalogue, 70))
    with pytest.raises(DeviceUnavailable, match="running_total"):
        gpu_engine.values_on_device(tasks, columns, catalogue)


def test_values_can_stay_on_the_device_task_by_task():
    lengths = (40, 30, 25)
    columns, bars = make_columns(lengths, BREATHING), every_bar(lengths)
    tasks = [bars[2]._replace(wanted=np.array([24, 0]), rows=np.array([0, 1])), bars[0]._replace(rows=slice(2, 42))]

    table = gpu_engine.values_on_device(tasks, columns, BREATHING)

    reference = [on_cpu([task], columns, BREATHING, 42)[task.rows] for task in tasks]
    assert_same(table.copy_to_host().T, np.concatenate(reference))


def test_an_input_shorter_than_the_bars_is_refused():
    columns, tasks = make_columns((40, 30), BREATHING), every_bar((40, 30))
    columns["close"] = columns["close"][:-1]

    with pytest.raises(DataContractError, match="an input has 69 values, bars up to 70 are wanted"):
        gpu_engine.fill_values_on_gpu(unset(70, BREATHING), tasks, columns, BREATHING)


def test_a_limit_of_memory_that_is_no_number_is_no_licence():
    columns, tasks = make_columns((5,), BREATHING), every_bar((5,))

    for limit in (0.0, -1.0, float("nan")):
        with pytest.raises(DeviceUnavailable, match="S0: its 5 bars need"):
            gpu_engine.fill_values_on_gpu(unset(5, BREATHING), tasks, columns, BREATHING, memory_limit_bytes=limit)


def test_no_features_are_no_work_for_a_device():
    columns, tasks = make_columns((5,), BREATHING), every_bar((5,))

    used = fill_on("cuda", unset(5, ()), tasks, columns, ())

    assert (used.device, used.reason) == ("cpu", "nothing is wanted")


@pytest.mark.skipif(not cuda_kernels.IS_SIMULATED, reason="of the simulator only")
def test_the_simulator_is_not_left_to_compute_a_market():
    n = gpu_engine.SIMULATED_BARS + 1
    values = unset(n, BREATHING[:1])

    used = fill_on("auto", values, every_bar((n,)), make_columns((n,), BREATHING), BREATHING[:1], auto_min_bars=0)

    assert used.device == "cpu"
    assert "20,001 bars are too many for numba's CUDA simulator" in used.reason


def test_no_rows_start_no_work():
    run = gpu_engine.fill_values_on_gpu(unset(0, BREATHING), [], make_columns((5,), BREATHING), BREATHING)

    assert run.n_parts == 0


@pytest.fixture
def column() -> Column:
    bars = DeviceBars([3, 2])
    out = bars.new()
    bars.fill(out, 0, np.array([1.0, 2.0, 4.0, 8.0, 16.0]))
    return out.as_input()


def test_shifts_stay_within_their_symbol(column):
    moved = NUMPY.full(column.size, np.nan)
    moved[1:] = column[1:] - column[:-1]

    np.testing.assert_array_equal(moved.array.copy_to_host(), [np.nan, 1.0, 2.0, np.nan, 8.0])


def own_values_shifted(x):
    out = x.copy()
    out[1:] = out[:-1]


def tomorrow(x):
    out = NUMPY.full(x.size, np.nan)
    out[:-1] = x[1:]


@pytest.mark.parametrize(
    "misuse",
    [
        lambda x: x[0],
        lambda x: x[::2],
        lambda x: x[1:][1:],
        lambda x: x[-2:],
        lambda x: bool(x),
        lambda x: x == x,
        lambda x: x[1:] + x[2:],
        lambda x: x + "1",
        lambda x: x**3,
        lambda x: x.astype(np.float32),
        lambda x: np.asarray(x),
        lambda x: NUMPY.sort(x),
        lambda x: NUMPY.full(5, 0.0),
        lambda x: KERNELS[kernels.sma](x[1:], 2),
        lambda x: x.__setitem__(slice(1, None), 0.0),
        own_values_shifted,
        tomorrow,
    ],
)
def test_what_has_no_one_meaning_on_all_symbols_is_refused(misuse, column):
    with pytest.raises(NoColumnForm):
        misuse(column)


def test_numpy_functions_of_plain_numbers_stay_numpys_own():
    assert NUMPY.log(2.0) == np.log(2.0)
    assert np.isnan(NUMPY.nan)


def test_the_formula_that_runs_is_the_one_declared():
    twin = on_columns(premarket_gap)

    assert twin.__code__ is premarket_gap.__code__
    assert twin.__globals__["np"] is NUMPY
    assert premarket_gap.__globals__["np"] is np


def test_a_frame_from_the_device_is_the_frame_of_the_cpu():
    pytest.importorskip("pandas", minversion="3.0")
    from catalyst_ml.features.device_choice import compute_features_on
    from catalyst_ml.features.engine import compute_features
    from tests.catalyst_ml.features.markets import make_panel, stock_rows

    class LikeCudf:
        def __init__(self, frame):
            self._frame = frame

        def to_pandas(self):
            return self._frame

    panel = make_panel(n_stocks=4, n_bars=70, news=[("S01", "2010-02-01 12:00")])
    rows = stock_rows(panel).sample(60, random_state=1)

    features, used = compute_features_on("cuda", panel, LikeCudf(rows))

    expected = compute_features(panel, rows)
    assert list(features.columns) == list(expected.columns)
    assert features[["symbol", "ts"]].equals(expected[["symbol", "ts"]])
    assert_same(features.iloc[:, 2:].to_numpy(), expected.iloc[:, 2:].to_numpy())
    assert (used.device, used.reason, used.on_host) == ("cuda", "asked for", {})
