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
    # Four rows a week.
    rows["session"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(7 * (np.arange(len(rows)) // 4), unit="D")
    return rows if y is None else rows.assign(y=np.array(y, dtype="int8"))


def test_the_base_rate_is_the_weighted_share_with_one_of_each_added():
    rows = make_rows([()] * 4, [1] * 4, [1, 1, 1, 0])

    assert BaseRate.fit(rows).rate == pytest.approx((3 + 1) / (4 + 2))
    assert BaseRate.fit(rows, np.array([0.5, 0.5, 1.0, 2.0])).rate == pytest.approx((2 + 1) / (4 + 2))


def test_a_pattern_moves_from_the_base_rate_by_what_its_weeks_agree_on():
    # Both patterns are good in three rows of four: one in every week alike, the other in whole good and bad weeks.
    steady = [("hammer",)] * 40, [1, 1, 1, 0] * 10
    erratic = [("gap_up",)] * 40, ([1] * 12 + [0] * 4) * 2 + [1] * 6 + [0, 0]
    poor = [("doji",)] * 40, [0, 0, 0, 1] * 10
    shown = steady[0] + erratic[0] + poor[0]
    rows = make_rows(shown, [1] * 120, steady[1] + erratic[1] + poor[1])

    fit = PatternBaseRate.fit(rows)

    assert fit.counts == {"hammer:+1": 40, "doji:+1": 40, "gap_up:+1": 40}
    assert 0.70 < fit.rates["hammer:+1"] < 0.75
    assert fit.base.rate < fit.rates["gap_up:+1"] < fit.rates["hammer:+1"] - 0.01
    assert fit.rates["doji:+1"] < 0.33


def test_patterns_that_differ_by_chance_only_keep_the_base_rate():
    rng = np.random.default_rng(5)
    shown = [(PATTERNS[k],) for k in rng.integers(0, len(PATTERNS), 8_000)]
    rows = make_rows(shown, list(rng.choice([-1, 1], 8_000)), list(rng.integers(0, 2, 8_000)))

    fit = PatternBaseRate.fit(rows)

    assert max(abs(rate - fit.base.rate) for rate in fit.rates.values()) < 0.02


def test_directions_are_kept_apart_and_several_patterns_are_averaged():
    rows = make_rows(
        [("engulfing",)] * 8 + [("doji",)] * 4, [1] * 4 + [-1] * 4 + [1] * 4, [1] * 4 + [0] * 4 + [1, 1, 0, 0]
    )
    fit = PatternBaseRate.fit(rows)

    new = make_rows([("engulfing",), ("engulfing",), ("engulfing", "doji"), (), ("gap_up",)], [1, -1, 1, 1, 1])
    p = fit.predict(new)

    long, short, doji = fit.rates["engulfing:+1"], fit.rates["engulfing:-1"], fit.rates["doji:+1"]
    assert long > 0.6 > fit.base.rate > short
    np.testing.assert_allclose(p, [long, short, (long + doji) / 2, fit.base.rate, fit.base.rate])


def test_a_fit_survives_json():
    fit = PatternBaseRate.fit(make_rows([("hammer",), ("doji",)], [1, -1], [1, 0]))

    assert PatternBaseRate.from_dict(json.loads(json.dumps(fit.to_dict()))) == fit


def test_no_rows_are_refused():
    with pytest.raises(DataContractError, match="at least one labelled row"):
        BaseRate.fit(make_rows([], [], []))
