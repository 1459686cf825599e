"""Features by a compiled program of steps: the same bits as the declared formulas on one symbol's arrays."""

import dataclasses
import hashlib
import inspect

import numpy as np
import pytest

from catalyst_ml.errors import DataContractError
from catalyst_ml.features import engine
from catalyst_ml.features.catalogue import CATALOGUE, INTERMEDIATES, FeatureSpec
from catalyst_ml.features.column_formulas import KERNELS, NUMPY, forms_on_columns
from catalyst_ml.features.column_program import STORE, Recorder, record, run_program
from catalyst_ml.features.columns import Column, NoColumnForm
from catalyst_ml.features.engine import fill_values, split_into_blocks
from catalyst_ml.features.extended import EXTENDED
from catalyst_ml.indicators import kernels, one_pass, windows
from tests.catalyst_ml.features.device_cases import every_bar, make_columns, unset

BOTH_SETS = (*CATALOGUE, *EXTENDED)
WITHOUT_LOOKBACK = tuple(dataclasses.replace(spec, lookback_bars=1) for spec in BOTH_SETS)
LENGTHS = (256, 61, 1, 2, 20, 60, 600)


def symbol_by_symbol(columns, lengths, catalogue):
    """The declared formulas on the arrays of one symbol, as they are written."""
    intermediates = {i.name: i for i in INTERMEDIATES}
    out = unset(sum(lengths), catalogue)
    for task in every_bar(lengths):
        own = {name: None if values is None else values[task.bars].copy() for name, values in columns.items()}

        def get(name, own=own):
            if name in intermediates:
                return intermediates[name].compute(*(get(needed) for needed in intermediates[name].inputs))
            return own[name]

        for j, spec in enumerate(catalogue):
            arguments = [get(name) for name in spec.inputs]
            if all(argument is not None for argument in arguments):
                out[task.rows, j] = spec.compute(*arguments)
    return out


@pytest.fixture
def column() -> Column:
    return Recorder().load(0)


def computed(compute, close):
    """A formula of two symbols' closes by the engine, nothing blanked."""
    spec = FeatureSpec("own", "technical", ("close",), 1, "", "", 1, compute)
    values = unset(5, (spec,))
    fill_values(values, every_bar([3, 2]), {"close": np.array(close)}, (spec,))
    return values[:, 0]


@pytest.mark.parametrize("block_bars", [1, 300, 10_000])
def test_blocks_give_the_bits_of_one_symbol_after_the_other_for_every_feature(block_bars, monkeypatch, caplog):
    columns, tasks = make_columns(LENGTHS, WITHOUT_LOOKBACK), every_bar(LENGTHS)
    monkeypatch.setattr(engine, "BLOCK_BARS", block_bars)
    values = unset(sum(LENGTHS), WITHOUT_LOOKBACK)

    with caplog.at_level("DEBUG", logger="catalyst_ml.features.engine"):
        fill_values(values, tasks, columns, WITHOUT_LOOKBACK)

    np.testing.assert_array_equal(values, symbol_by_symbol(columns, LENGTHS, WITHOUT_LOOKBACK))
    # All of them as steps, but for logarithms, whose last digit is the library's.
    apart = {record.args[0] for record in caplog.records if "symbol by symbol" in record.msg}
    assert apart == {"volatility_realised_20", "volatility_parkinson_20", "volatility_garman_klass_20"}


def running_total(close):
    return np.cumsum(close)


def smooth(close):
    return kernels.ema(close, 5)


def test_a_formula_without_a_form_on_columns_is_computed_symbol_by_symbol(caplog):
    strange = tuple(
        FeatureSpec(compute.__name__, "technical", ("close",), 3, "", "", 1, compute)
        for compute in (running_total, smooth)
    )
    catalogue = (*strange, CATALOGUE[13])
    columns, tasks = make_columns((40, 30), catalogue), every_bar((40, 30))
    values = unset(70, catalogue)

    with caplog.at_level("DEBUG", logger="catalyst_ml.features.engine"):
        fill_values(values, tasks, columns, catalogue)

    expected = symbol_by_symbol(columns, (40, 30), catalogue)
    expected[[0, 1, 40, 41], :2] = np.nan
    np.testing.assert_array_equal(values, expected)
    assert "feature running_total is computed symbol by symbol: np.cumsum" in caplog.text
    assert "feature smooth is computed symbol by symbol: kernel kernels.ema" in caplog.text


def test_a_program_needs_few_registers_and_is_the_same_for_every_symbol():
    program = record(BOTH_SETS, dict.fromkeys(make_columns([5], BOTH_SETS), True))

    # 16 MB a thread are promised: of 50,000 bars a symbol.
    assert program.n_registers * 8 * 50_000 <= 16e6
    assert set(program.sources) >= {"open", "close"}
    assert all(compute_has_no_step(spec.name, program) for spec in BOTH_SETS if spec.name in program.without_form)


def compute_has_no_step(name, program):
    stored = program.numbers[program.steps[:, 0] == STORE, 0].astype(int).tolist()
    return [spec.name for spec in BOTH_SETS].index(name) not in stored


def test_wanted_rows_come_in_their_order_with_repeats():
    columns, bars = make_columns((40, 30), BOTH_SETS), every_bar((40, 30))
    rng = np.random.default_rng(2)
    tasks = [
        bars[1]._replace(wanted=rng.integers(0, 30, 20), rows=np.arange(20)),
        bars[0]._replace(wanted=rng.integers(0, 40, 25), rows=np.arange(20, 45)),
    ]
    values, every = unset(45, BOTH_SETS, "float32"), unset(70, BOTH_SETS)

    fill_values(values, tasks, columns, BOTH_SETS)

    fill_values(every, bars, columns, BOTH_SETS)
    rows = np.concatenate((40 + tasks[0].wanted, tasks[1].wanted))
    np.testing.assert_array_equal(values, every[rows].astype(np.float32))


def test_rows_that_do_not_exist_are_refused_before_anything_is_written():
    columns, (task,) = make_columns((40,), BOTH_SETS), every_bar((40,))
    wrong = [
        task._replace(rows=slice(1, 41)),
        task._replace(wanted=np.array([3]), rows=np.array([40])),
        task._replace(wanted=np.array([3, 4]), rows=np.array([1])),
    ]
    for other in wrong:
        with pytest.raises(DataContractError, match="S0: its values are to go into rows"):
            fill_values(unset(40, BOTH_SETS), [other], columns, BOTH_SETS)


def test_a_thread_count_and_a_layout_of_memory_change_no_bit():
    lengths = [700] * 40
    columns, tasks = make_columns(lengths, BOTH_SETS), every_bar(lengths)
    results = [unset(28_000, BOTH_SETS) for _ in range(3)]
    results[2] = np.ascontiguousarray(results[2])

    for values, n_threads in zip(results, (1, 3, 2), strict=True):
        fill_values(values, tasks, columns, BOTH_SETS, n_threads=n_threads)

    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def test_the_compiled_program_belongs_to_the_text_of_its_kernels():
    text = "".join(inspect.getsource(module) for module in (kernels, one_pass, windows))
    cells = [cell.cell_contents for cell in run_program.py_func.__closure__]

    # What a closure holds is a part of the key of numba's cache; the files of the functions it calls are not.
    assert cells == [int(hashlib.sha256(text.encode()).hexdigest()[:12], 16)]


def test_blocks_hold_every_symbol_once_in_order_and_no_more_bars_than_asked_for():
    tasks = every_bar([5, 3, 9, 1, 1, 1])

    assert [len(block) for block in split_into_blocks(tasks, 8)] == [2, 1, 3]
    assert [len(block) for block in split_into_blocks(tasks, 0)] == [1] * 6
    assert split_into_blocks([], 8) == []


def moved(close):
    out = np.full(close.size, np.nan)
    out[1:] = close[1:] - close[:-1]
    return out


def moved_by_three(close):
    out = np.full(close.size, 7.0)
    out[3:] = 2.0
    return out - -abs(1.0 - close)


def chosen(close):
    return np.where(np.isnan(np.sqrt(close - 8.0)), np.nan, (close >= 16.0).astype(np.float64))


def divided(close):
    return np.minimum(1.0 / (close - 4.0), np.maximum(close, 3.0) ** 2)


@pytest.mark.parametrize("compute", [moved, moved_by_three, chosen, divided])
@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_steps_are_numpys_on_each_symbol_alone(compute):
    close = [1.0, 4.0, np.nan, 8.0, 16.0]

    expected = np.concatenate((compute(np.array(close[:3])), compute(np.array(close[3:]))))

    np.testing.assert_array_equal(computed(compute, close), expected)


@pytest.mark.parametrize(
    "misuse",
    [
        lambda x: x[0],
        lambda x: x[1:][1:],
        lambda x: bool(x),
        lambda x: x == x,
        lambda x: x[1:] + x[2:],
        lambda x: x + "1",
        lambda x: np.asarray(x),
        lambda x: NUMPY.sort(x),
        lambda x: NUMPY.full(5, 0.0),
        lambda x: KERNELS[kernels.sma](x[1:], 2),
        lambda x: NUMPY.log(x),
        lambda x: x.__setitem__(slice(1, None), 0.0),
    ],
)
def test_what_has_no_one_meaning_on_all_symbols_is_refused(misuse, column):
    with pytest.raises(NoColumnForm):
        misuse(column)


def banded(close):
    middle, upper, lower = kernels.bollinger(close, n=2)
    return kernels.position(close, lower, upper, 0.5) + kernels.ratio(middle, close, 0)


def test_a_kernel_takes_its_defaults_on_columns_too():
    close = [1.0, 2.0, 4.0, 8.0, 16.0]

    expected = np.concatenate((banded(np.array(close[:3])), banded(np.array(close[3:]))))

    np.testing.assert_array_equal(computed(banded, close), expected)


def test_the_formula_that_runs_is_the_one_declared():
    forms = forms_on_columns(BOTH_SETS)

    assert all(form.__code__ is compute.__code__ for compute, form in forms.items())
