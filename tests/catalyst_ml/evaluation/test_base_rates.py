import json

import numpy as np
import pandas as pd
import pytest

from catalyst_ml.errors import DataContractError
from catalyst_ml.evaluation.base_rates import BaseRate, PatternBaseRate
from catalyst_ml.frames import PATTERNS, pattern_column


def make_rows(shown: list[tuple[str, ...]], direction: list[int], y: list[int] | None = None) -> pd.DataFrame:
    rows = pd.DataFrame({pattern_column(p): [p in s for s in shown] for p in PATTERNS})
    rows["direction"] = np.array(direction, dtype="int8")
    return rows if y is None else rows.assign(y=np.array(y, dtype="int8"))


def test_the_base_rate_is_the_weighted_share_with_one_of_each_added():
    rows = make_rows([()] * 4, [1] * 4, [1, 1, 1, 0])

    assert BaseRate.fit(rows).rate == pytest.approx((3 + 1) / (4 + 2))
    assert BaseRate.fit(rows, np.array([0.5, 0.5, 1.0, 2.0])).rate == pytest.approx((2 + 1) / (4 + 2))


def test_a_pattern_is_drawn_to_the_base_rate_as_if_prior_rows_of_it_had_been_seen():
    rows = make_rows([("hammer",)] * 10 + [("gap_up",)] * 10, [1] * 20, [1] * 9 + [0] + [0] * 9 + [1])

    fit = PatternBaseRate.fit(rows, prior_rows=30)

    assert fit.rates["hammer:+1"] == pytest.approx((9 + 30 * 0.5) / 40)
    assert fit.rates["gap_up:+1"] == pytest.approx((1 + 30 * 0.5) / 40)
    assert fit.counts == {"hammer:+1": 10, "gap_up:+1": 10}


def test_directions_are_kept_apart_and_several_patterns_are_averaged():
    rows = make_rows(
        [("engulfing",)] * 8 + [("doji",)] * 4, [1] * 4 + [-1] * 4 + [1] * 4, [1] * 4 + [0] * 4 + [1, 1, 0, 0]
    )
    fit = PatternBaseRate.fit(rows, prior_rows=1)

    new = make_rows([("engulfing",), ("engulfing",), ("engulfing", "doji"), (), ("gap_up",)], [1, -1, 1, 1, 1])
    p = fit.predict(new)

    long, short, doji = fit.rates["engulfing:+1"], fit.rates["engulfing:-1"], fit.rates["doji:+1"]
    assert long > 0.85 > 0.15 > short
    np.testing.assert_allclose(p, [long, short, (long + doji) / 2, fit.base.rate, fit.base.rate])


def test_a_fit_survives_json():
    fit = PatternBaseRate.fit(make_rows([("hammer",), ("doji",)], [1, -1], [1, 0]))

    assert PatternBaseRate.from_dict(json.loads(json.dumps(fit.to_dict()))) == fit


def test_no_rows_are_refused():
    with pytest.raises(DataContractError, match="at least one labelled row"):
        BaseRate.fit(make_rows([], [], []))
