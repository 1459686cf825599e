import json

import numpy as np
import pandas as pd
import pytest

from catalyst_ml.errors import DataContractError
from catalyst_ml.evaluation.base_rates import BaseRate, PatternBaseRate, variance_of_true_means
from catalyst_ml.frames import PATTERNS, pattern_column


def make_rows(shown: list[tuple[str, ...]], direction: list[int], y: list[int] | None = None) -> pd.DataFrame:
    rows = pd.DataFrame({pattern_column(p): [p in s for s in shown] for p in PATTERNS})
    rows["direction"] = np.array(direction, dtype="int8")
    # Four rows a period.
    rows["session"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(28 * (np.arange(len(rows)) // 4), unit="D")
    return rows if y is None else rows.assign(y=np.array(y, dtype="int8"))


def test_the_base_rate_is_the_weighted_share_with_one_of_each_added():
    rows = make_rows([()] * 4, [1] * 4, [1, 1, 1, 0])

    assert BaseRate.fit(rows).rate == pytest.approx((3 + 1) / (4 + 2))
    assert BaseRate.fit(rows, np.array([0.5, 0.5, 1.0, 2.0])).rate == pytest.approx((2 + 1) / (4 + 2))


def weeks_of(patterns: list[tuple[str, list[int]]], n_weeks: int) -> pd.DataFrame:
    """Long events; in every week each pattern shows the outcomes given."""
    shown = [(name,) for _ in range(n_weeks) for name, outcomes in patterns for _ in outcomes]
    y = [outcome for _ in range(n_weeks) for _, outcomes in patterns for outcome in outcomes]
    rows = make_rows(shown, [1] * len(y), y)
    per_week = len(y) // n_weeks
    return rows.assign(
        session=pd.Timestamp("2024-01-01") + pd.to_timedelta(28 * (np.arange(len(y)) // per_week), unit="D")
    )


def test_a_pattern_keeps_what_its_weeks_agree_on():
    rows = weeks_of([("hammer", [1, 1, 1, 0]), ("doji", [0, 0, 0, 1])], n_weeks=40)

    fit = PatternBaseRate.fit(rows)

    assert fit.counts == {"hammer:+1": 160, "doji:+1": 160}
    assert fit.rates["hammer:+1"] == pytest.approx(0.75, abs=0.01)
    assert fit.rates["doji:+1"] == pytest.approx(0.25, abs=0.01)


def test_a_market_in_which_everything_rises_is_no_fact_about_the_patterns_seen_that_day():
    # Whole good and bad weeks, each of one pattern: as peers of the same day succeed alike, nothing is left of it.
    shown = ([("gap_up",)] * 4 + [("hammer",)] * 4) * 20
    rows = make_rows(shown, [1] * 160, ([1] * 4 + [0] * 4) * 20)

    fit = PatternBaseRate.fit(rows)

    assert fit.rates["gap_up:+1"] == pytest.approx(fit.base.rate, abs=1e-9)


def test_patterns_that_differ_by_chance_only_keep_the_base_rate():
    rng = np.random.default_rng(5)
    shown = [(PATTERNS[k],) for k in rng.integers(0, len(PATTERNS), 8_000)]
    rows = make_rows(shown, list(rng.choice([-1, 1], 8_000)), list(rng.integers(0, 2, 8_000)))

    fit = PatternBaseRate.fit(rows)

    assert max(abs(rate - fit.base.rate) for rate in fit.rates.values()) < 0.02


@pytest.mark.parametrize("true_sd", [0.0, 0.01, 0.02, 0.04])
def test_the_variance_of_true_means_is_found_on_the_whole(true_sd):
    rng = np.random.default_rng(11)
    found = []
    for _ in range(400):
        # Twenty patterns and directions, common ones known ten times as well as rare ones.
        variance = np.geomspace(0.003, 0.03, 20) ** 2
        found.append(variance_of_true_means(rng.normal(0.0, np.sqrt(true_sd**2 + variance)), variance))

    # Never below zero, so a little too large where there is little: by the error of an estimate known best.
    assert np.mean(found) == pytest.approx(true_sd**2, rel=0.05, abs=1.2e-5)


def test_the_variance_of_true_means_of_equal_errors_is_what_is_left_of_the_mean_square():
    mean, variance = np.array([0.03, -0.01, 0.05, -0.02]), np.full(4, 1e-4)

    assert variance_of_true_means(mean, variance) == pytest.approx(np.mean(mean**2) - 1e-4)
    assert variance_of_true_means(mean / 10, variance) == 0.0
    assert variance_of_true_means(np.empty(0), np.empty(0)) == 0.0


def test_shrunk_rates_are_nearer_to_the_truth_than_either_extreme():
    rng = np.random.default_rng(3)
    error = {"shrunk": 0.0, "as seen": 0.0, "base rate": 0.0}
    for _ in range(20):
        own = rng.normal(0.0, 0.03, len(PATTERNS))
        pattern = rng.choice(
            len(PATTERNS), 6_000, p=np.arange(1, len(PATTERNS) + 1) / np.arange(len(PATTERNS) + 1).sum()
        )
        y = (rng.random(6_000) < 0.5 + own[pattern]).astype("int8")
        rows = make_rows([(PATTERNS[k],) for k in pattern], [1] * 6_000, list(y))
        rows = rows.assign(
            session=pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(6_000) // 12, unit="D"),
        )
        fit = PatternBaseRate.fit(rows)
        for k, name in enumerate(PATTERNS):
            # Rates are relative to the events of the same days, whatever patterns those show.
            truth = 0.5 + own[k]
            error["shrunk"] += (fit.rates[f"{name}:+1"] - truth) ** 2
            error["as seen"] += (y[pattern == k].mean() - truth) ** 2
            error["base rate"] += (fit.base.rate - truth) ** 2

    assert error["shrunk"] < 0.9 * error["as seen"]
    assert error["shrunk"] < 0.5 * error["base rate"]


def test_a_direction_moves_from_the_base_rate_as_far_as_its_periods_agree():
    long, short = [1, 1, 1, 0], [0, 0, 0, 1]
    sides = ([1] * 4 + [-1] * 4) * 40
    # The same shares over all; here in every period, there a few years of a rising market and some of a falling one.
    steady = make_rows([("doji",)] * 320, sides, (long + short) * 40)
    moody = make_rows([("doji",)] * 320, sides, ([1] * 4 + [0] * 4) * 30 + ([0] * 4 + [1] * 4) * 10)

    kept, lost = PatternBaseRate.fit(steady), PatternBaseRate.fit(moody)

    assert kept.rates["doji:+1"] > 0.7 > 0.3 > kept.rates["doji:-1"]
    assert lost.rates["doji:+1"] == pytest.approx(lost.base.rate, abs=0.03)


def test_several_patterns_are_averaged_and_what_was_never_seen_has_the_base_rate():
    rows = weeks_of([("engulfing", [1, 1, 1, 0]), ("doji", [0, 0, 0, 1])], n_weeks=40)
    fit = PatternBaseRate.fit(rows)

    p = fit.predict(make_rows([("engulfing",), ("engulfing", "doji"), (), ("gap_up",)], [1, 1, 1, 1]))

    engulfing, doji = fit.rates["engulfing:+1"], fit.rates["doji:+1"]
    np.testing.assert_allclose(p, [engulfing, (engulfing + doji) / 2, fit.base.rate, fit.base.rate])


def test_a_fit_survives_json():
    fit = PatternBaseRate.fit(make_rows([("hammer",), ("doji",)], [1, -1], [1, 0]))

    assert PatternBaseRate.from_dict(json.loads(json.dumps(fit.to_dict()))) == fit


def test_no_rows_are_refused():
    with pytest.raises(DataContractError, match="at least one labelled row"):
        BaseRate.fit(make_rows([], [], []))


def test_three_periods_say_nothing_of_a_direction_or_a_pattern():
    # In a month nothing varies between months; whatever it shows would pass for certain.
    shown, sides, y = [("doji",), ("hammer",)] * 60, [1, -1] * 60, [1, 0] * 60
    rows = make_rows(shown, sides, y)
    for n_periods in (1, 3):
        days = pd.to_timedelta(28 * (np.arange(120) % n_periods), unit="D")
        fit = PatternBaseRate.fit(rows.assign(session=pd.Timestamp("2024-01-01") + days))

        assert set(fit.rates.values()) == {fit.base.rate}


def intraday_rows(n_sessions: int, *, n_stocks: int = 6, seed: int = 0, day_luck: float = 0.1) -> pd.DataFrame:
    """Half-hour events of stocks that succeed less often late in the session; S0 less often at any time."""
    rng = np.random.default_rng(seed)
    n = n_sessions * n_stocks * 13
    part = np.tile(np.arange(1, 14), n_sessions * n_stocks)
    stock = np.tile(np.repeat(np.arange(n_stocks), 13), n_sessions)
    session = np.repeat(np.arange(n_sessions), n_stocks * 13)
    luck = rng.normal(0.0, day_luck, n_sessions)[session]
    p = np.clip(0.52 - 0.15 * (part == 13) - 0.08 * (stock == 0) + luck, 0.02, 0.98)
    rows = make_rows([("hammer",)] * n, [1] * n, (rng.random(n) < p).astype(int).tolist())
    days = pd.bdate_range("2024-01-01", periods=n_sessions)
    return rows.assign(
        session=days[session], time_of_session=part / 13, symbol=np.array([f"S{k}" for k in range(n_stocks)])[stock]
    )


def test_intraday_the_rate_follows_the_clock_and_the_stock_and_not_the_days_luck():
    rows, later = intraday_rows(600), intraday_rows(60, seed=1, day_luck=0.0)
    weight = np.random.default_rng(2).uniform(0.3, 2.0, len(rows))

    fit = PatternBaseRate.fit(rows, weight)
    p = pd.Series(fit.predict(later))

    expected = 0.52 - 0.15 * (later["time_of_session"] == 1.0) - 0.08 * (later["symbol"] == "S0")
    assert (p - expected).abs().mean() < 0.012
    for group in (later["time_of_session"] == 1.0, later["symbol"] == "S0", later["symbol"] == "S3"):
        assert p[group].mean() == pytest.approx(expected[group].mean(), abs=0.015)
    assert len(fit.clock) == 13
    again = PatternBaseRate.from_dict(json.loads(json.dumps(fit.to_dict())))
    assert again.predict(later).tolist() == p.tolist()


def test_a_stock_never_seen_and_a_bar_without_a_time_move_nothing():
    fit = PatternBaseRate.fit(intraday_rows(100))
    asked = intraday_rows(1).head(2).assign(symbol=["NEW", "NEW"], time_of_session=[np.nan, 0.5])

    unknown, known = fit.predict(asked)

    assert unknown == pytest.approx(fit.rates["hammer:+1"])
    assert known == pytest.approx(fit.rates["hammer:+1"] + fit.clock[6])


def test_daily_rows_know_no_clock():
    fit = PatternBaseRate.fit(intraday_rows(60).drop(columns="time_of_session"))

    assert (fit.clock, dict(fit.stocks)) == ((), {})
