"""Many symbols at a time on the host: the same values as symbol by symbol, in few compiled calls and little memory."""

import dataclasses

import numpy as np
import pytest

from catalyst_ml.features import engine
from catalyst_ml.features.block_columns import BlockBars, Buffers
from catalyst_ml.features.catalogue import CATALOGUE, INTERMEDIATES, FeatureSpec
from catalyst_ml.features.column_formulas import KERNELS, NUMPY, forms_on_columns
from catalyst_ml.features.columns import Column, NoColumnForm
from catalyst_ml.features.engine import fill_values, split_into_blocks
from catalyst_ml.features.extended import EXTENDED
from catalyst_ml.indicators import kernels
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
def bars() -> BlockBars:
    return BlockBars([3, 2], Buffers(10))


@pytest.fixture
def column(bars) -> Column:
    out = bars.new()
    out.array[:] = [1.0, 2.0, 4.0, 8.0, 16.0]
    return out.as_input()


@pytest.mark.parametrize("block_bars", [1, 300, 10_000])
def test_blocks_give_the_bits_of_one_symbol_after_the_other_for_every_feature(block_bars, monkeypatch, caplog):
    columns, tasks = make_columns(LENGTHS, WITHOUT_LOOKBACK), every_bar(LENGTHS)
    monkeypatch.setattr(engine, "BLOCK_BARS", block_bars)
    values = unset(sum(LENGTHS), WITHOUT_LOOKBACK)

    with caplog.at_level("DEBUG", logger="catalyst_ml.features.engine"):
        fill_values(values, tasks, columns, WITHOUT_LOOKBACK)

    np.testing.assert_array_equal(values, symbol_by_symbol(columns, LENGTHS, WITHOUT_LOOKBACK))
    # All of them as columns, none by falling back.
    assert "symbol by symbol" not in caplog.text


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


def test_memory_is_asked_for_once_however_many_blocks_there_are(monkeypatch):
    made = []

    class Counted(Buffers):
        def __init__(self, length):
            super().__init__(length)
            made.append(self)

    monkeypatch.setattr(engine, "Buffers", Counted)
    columns, counts = make_columns([50] * 40, BOTH_SETS), {}
    for n_blocks in (1, 20):
        monkeypatch.setattr(engine, "BLOCK_BARS", 2_000 // n_blocks)
        fill_values(unset(2_000, BOTH_SETS), every_bar([50] * 40), columns, BOTH_SETS)
        counts[n_blocks] = (made[-1].length, made[-1].n_buffers)

    assert [length for length, _ in counts.values()] == [2_000, 100]
    assert counts[1][1] == counts[20][1] <= 48


def test_blocks_hold_every_symbol_once_in_order_and_no_more_bars_than_asked_for():
    tasks = every_bar([5, 3, 9, 1, 1, 1])

    assert [len(block) for block in split_into_blocks(tasks, 8)] == [2, 1, 3]
    assert [len(block) for block in split_into_blocks(tasks, 0)] == [1] * 6
    assert split_into_blocks([], 8) == []


def test_shifts_stay_within_their_symbol(column):
    moved = NUMPY.full(column.size, np.nan)
    moved[1:] = column[1:] - column[:-1]

    np.testing.assert_array_equal(moved.array, [np.nan, 1.0, 2.0, np.nan, 8.0])


def test_the_first_bars_of_every_symbol_are_found():
    bars = BlockBars([3, 1, 2, 4], Buffers(10))

    assert bars.heads(0).tolist() == []
    assert bars.heads(2).tolist() == [0, 1, 3, 4, 5, 6, 7]
    assert bars.heads(500).tolist() == list(range(10))


def test_conditions_choose_bar_by_bar_and_keep_what_is_missing(column):
    chosen = NUMPY.where(NUMPY.isnan(NUMPY.log(column - 8.0)), np.nan, (column >= 16.0).astype(np.float64))

    np.testing.assert_array_equal(chosen.array, [np.nan, np.nan, np.nan, 0.0, 1.0])


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
        lambda x: x.__setitem__(slice(1, None), 0.0),
    ],
)
def test_what_has_no_one_meaning_on_all_symbols_is_refused(misuse, column):
    with pytest.raises(NoColumnForm):
        misuse(column)


def test_a_kernel_takes_its_defaults_on_columns_too(column):
    middle, upper, lower = KERNELS[kernels.bollinger](column, n=2)

    np.testing.assert_array_equal(middle.array, [np.nan, 1.5, 3.0, np.nan, 12.0])
    np.testing.assert_array_equal(upper.array - lower.array, [np.nan, 2.0, 4.0, np.nan, 16.0])


def test_the_formula_that_runs_is_the_one_declared():
    forms = forms_on_columns(BOTH_SETS)

    assert all(form.__code__ is compute.__code__ for compute, form in forms.items())
