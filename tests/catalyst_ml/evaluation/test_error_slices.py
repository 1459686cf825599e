"""Parts of a record: worse is said only where it is more than luck among all that were looked at."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from benchmarks.support.shadow_records import make_record
from catalyst_ml.evaluation.error_slices import error_slices, holm
from catalyst_ml.evaluation.intervals import mean_interval, mean_test
from catalyst_ml.evaluation.record import log_losses


def spoilt(record: pd.DataFrame, where: pd.Series) -> pd.DataFrame:
    """Turn the challenger's belief around on some rows."""
    return record.assign(p_challenger=record["p_challenger"].where(~where, 1.0 - record["p_challenger"]))


def test_a_part_where_the_challenger_is_wrong_stands_out_and_the_others_do_not() -> None:
    record = make_record(sessions=130, events_a_day=60, seed=5, challenger_skill=0.5)
    sector = pd.Series(np.where(record["symbol"].str[-1] == "7", "mines", "banks"), dtype="str")
    record = spoilt(record, sector == "mines")

    found = error_slices(record, pd.DataFrame({"sector": sector}))

    by_name = {(part.by, part.value): part for part in found.parts}
    assert by_name["sector", "mines"].stands_out == "worse"
    assert by_name["sector", "mines"].difference.value > 0.0
    assert by_name["sector", "banks"].stands_out == "better"
    assert not [part for part in found.parts if part.stands_out == "worse" and part.by != "sector"]


def test_numbers_of_a_part_are_those_of_its_rows() -> None:
    record = make_record(sessions=65, events_a_day=30, seed=6, challenger_skill=0.3)
    found = error_slices(record)
    long = record[(record["direction"] == 1).to_numpy()]
    part = next(part for part in found.parts if part.value == "long")

    gap = log_losses(long["y"], long["p_challenger"]) - log_losses(long["y"], long["p_base_rate"])
    assert part.n == len(long)
    assert part.n_eff < part.n, "rows of one day move together"
    assert part.sessions == 65
    assert part.difference == mean_interval(gap, long["session"])
    assert part.p_value == mean_test(gap, long["session"]).p_value
    assert part.p_adjusted >= part.p_value


def test_without_any_difference_nothing_stands_out_in_most_markets() -> None:
    """A challenger that guesses is worse everywhere; one that says the base rate cannot be told from it anywhere."""
    names = pd.DataFrame({"sector": pd.Series(np.tile(list("abcdefgh"), 65 * 5), dtype="str")})
    n_alarms = 0
    for seed in range(40):
        record = make_record(sessions=65, events_a_day=40, seed=seed)
        # Noise without cost on average: as often too high as too low by the same log-odds, plus its own mean loss back.
        noise = np.random.default_rng(seed).standard_normal(len(record)) * 0.05
        record = record.assign(p_challenger=0.5 + noise.clip(-0.2, 0.2), p_base_rate=0.5 - noise.clip(-0.2, 0.2))
        n_alarms += any(part.stands_out for part in error_slices(record, names).parts)

    # At most 5 % of markets may alarm: 2 of 40 expected; 7 or more have a chance below 1 % (binomial).
    assert n_alarms < 7


def test_short_parts_are_shown_but_not_tested_and_tiny_ones_are_left_out() -> None:
    record = make_record(sessions=40, events_a_day=20, seed=8)
    name = pd.Series([None] * len(record), dtype="str")
    name[:200] = "first days"
    name[200:210] = "few rows"

    found = error_slices(record, pd.DataFrame({"sector": name}))

    named = {part.value: part for part in found.parts if part.by == "sector"}
    assert set(named) == {"first days"}
    assert named["first days"].sessions == 10
    assert (named["first days"].p_value, named["first days"].p_adjusted, named["first days"].stands_out) == (
        None,
    ) * 2 + ("",)
    assert found.n_tested == sum(part.p_value is not None for part in found.parts) < len(found.parts)


def test_an_empty_and_a_one_row_record_have_no_parts() -> None:
    record = make_record(sessions=20, events_a_day=2, seed=9)

    for rows in (record.head(0), record.head(1)):
        found = error_slices(rows, pd.DataFrame({"sector": pd.Series(["a"] * len(rows), dtype="str")}))
        assert (found.parts, found.n_tested) == ((), 0)
        assert found.to_dict()["parts"] == []


def test_holm_agrees_with_its_definition_step_by_step() -> None:
    rng = np.random.default_rng(1)
    p = rng.random(12) ** 3
    adjusted = np.array(holm(p.tolist()))

    for alpha in (0.01, 0.05, 0.2):
        rejected = set()
        for rank, k in enumerate(np.argsort(p)):
            if p[k] > alpha / (len(p) - rank):
                break
            rejected.add(int(k))
        assert {int(k) for k in np.flatnonzero(adjusted <= alpha)} == rejected
    assert holm([]) == []
    assert holm([None, 0.9, 0.8]) == [None, 1.0, 1.0]


def test_the_p_value_is_that_of_the_interval_that_just_touches_zero() -> None:
    rng = np.random.default_rng(2)
    values, session = rng.normal(0.05, 1.0, 3_000), np.repeat(np.arange(100), 30)
    found = mean_test(values, session)

    touching = mean_interval(values, session, level=1.0 - found.p_value)
    assert min(abs(touching.low), abs(touching.high)) == pytest.approx(0.0, abs=1e-9)
    assert found.p_value == pytest.approx(2.0 * stats.t.sf(abs(found.mean / found.error), found.df))
    assert mean_test(values[:100], session[:100]) is None
    assert mean_test(np.empty(0), np.empty(0)) is None
    assert mean_test(np.zeros(60), np.arange(60)).p_value == 1.0
