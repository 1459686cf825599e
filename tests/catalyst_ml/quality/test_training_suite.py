"""A good training set passes; broken in one way, it fails the rule that names the break."""

import json
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from catalyst_ml.errors import DataContractError
from catalyst_ml.features.events import EVENT_COLUMNS
from catalyst_ml.frames import PATTERNS, TIME_DTYPE, pattern_column
from catalyst_ml.quality.training_suite import RULES, validate_training_set
from catalyst_ml.quality.validation import ValidationResult, require_valid

N_SESSIONS, N_SYMBOLS = 80, 12


def make_training_set(seed: int = 1) -> pd.DataFrame:
    """960 sound rows: one event per symbol and session, y and features at random."""
    rng = np.random.default_rng(seed)
    n = N_SESSIONS * N_SYMBOLS
    sessions = pd.bdate_range("2012-01-02", periods=N_SESSIONS).astype("datetime64[us]").repeat(N_SYMBOLS)
    ts = pd.Series(sessions).dt.tz_localize("UTC").astype(TIME_DTYPE) + pd.Timedelta(hours=21)
    y = rng.integers(0, 2, n)
    net = np.where(y == 1, 1, -1) * rng.uniform(0.002, 0.05, n)
    inputs = {name: rng.uniform(0.0, 1.0, n) for name in EVENT_COLUMNS}
    inputs |= {
        "rsi_14": rng.uniform(20, 80, n),
        "vix_level": rng.uniform(12, 40, n),
        "options_activity": np.full(n, np.nan),
    }
    inputs |= {name: rng.integers(0, 2, n).astype(float) for name in ("news_present", "unusual_volume")}
    inputs |= {"n_patterns": np.ones(n), "rule_score": rng.uniform(40, 60, n)}
    return pd.DataFrame(
        {
            "symbol": pd.Series([f"S{i:02d}" for i in range(N_SYMBOLS)] * N_SESSIONS, dtype="str"),
            "ts": ts,
            "direction": rng.choice([-1, 1], n).astype("int8"),
            "direction_inferred": False,
            **{pattern_column(name): name == "hammer" for name in PATTERNS},
            "y": y.astype("int8"),
            "net_return": net,
            "gross_return": net + 0.001,
            "outcome": pd.Series(np.where(y == 1, "target", "stop"), dtype="str"),
            "entry_ts": ts + pd.Timedelta(days=1),
            "label_end": ts + pd.Timedelta(days=4),
            "rule_action": rng.integers(-1, 2, n).astype("int8"),
            **inputs,
            "session": sessions,
        }
    )


def with_value(column: str, value: object, rows: slice = slice(7, 9)) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Put ``value`` into rows 7 and 8 (or others) of one column."""

    def spoil(frame: pd.DataFrame) -> pd.DataFrame:
        values = frame[column].to_numpy(copy=True)
        values[rows] = value
        return frame.assign(**{column: pd.Series(values, dtype=frame[column].dtype)})

    return spoil


def flipped_labels(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(y=(1 - frame["y"]).astype("int8"))


def always_won(frame: pd.DataFrame) -> pd.DataFrame:
    net = frame["net_return"].abs()
    return frame.assign(y=np.int8(1), net_return=net, gross_return=net + 0.001)


def unbooked_splits(frame: pd.DataFrame) -> pd.DataFrame:
    """Five quiet rows lose half their price."""
    half = with_value("net_return", -0.5, slice(0, 5))(with_value("y", 0, slice(0, 5))(frame))
    quiet = with_value("news_present", 0.0, slice(0, 5))(with_value("unusual_volume", 0.0, slice(0, 5))(half))
    return with_value("gross_return", -0.499, slice(0, 5))(quiet)


def all_rows(column: str, value: object) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return with_value(column, value, slice(None))


DAY = pd.Timedelta(days=1)

BREAKS: list[tuple[str, Callable[[pd.DataFrame], pd.DataFrame]]] = [
    ("there_are_enough_rows", lambda f: f.groupby("session").head(2)),
    ("there_are_enough_sessions", lambda f: f.assign(session=f["session"].iloc[0])),
    ("event_key_is_unique", lambda f: pd.concat([f, f.tail(1)])),
    ("time_never_runs_backwards", lambda f: f.sort_values(["symbol", "ts"])),
    ("session_is_never_missing", lambda f: f.assign(session=f["session"].mask(f.index == 3))),
    ("y_is_never_missing", lambda f: f.assign(y=f["y"].astype("float64").mask(f["net_return"] < -0.049))),
    ("y_is_0_or_1", with_value("y", 2)),
    ("direction_is_plus_or_minus_1", with_value("direction", 0)),
    ("outcome_is_target_stop_or_timeout", with_value("outcome", "unknown")),
    ("entry_is_after_the_event", lambda f: f.assign(entry_ts=f["ts"])),
    ("label_end_is_after_the_event", lambda f: f.assign(label_end=f["ts"])),
    ("label_end_is_not_before_the_entry", lambda f: f.assign(entry_ts=f["label_end"] + DAY)),
    ("y_says_whether_net_return_is_positive", flipped_labels),
    ("costs_never_raise_the_return", lambda f: f.assign(gross_return=f["net_return"] - 0.001)),
    ("net_return_is_plausible", with_value("net_return", 40.0)),
    ("base_rate_is_between_20_and_80_percent", always_won),
    ("inputs_are_never_infinite", with_value("macd_histogram", np.inf)),
    ("body_to_range_ratio_is_never_missing", with_value("body_to_range_ratio", np.nan)),
    ("adx_strength_is_not_all_missing", all_rows("adx_strength", np.nan)),
    ("rsi_14_is_not_all_missing", all_rows("rsi_14", np.nan)),
    ("body_to_range_ratio_between_0_and_1", with_value("body_to_range_ratio", 1.2)),
    ("upper_shadow_ratio_between_0_and_1", with_value("upper_shadow_ratio", -0.1)),
    ("lower_shadow_ratio_between_0_and_1", with_value("lower_shadow_ratio", 1.1)),
    ("volume_surge_is_never_negative", with_value("volume_surge", -1.0)),
    ("rsi_between_0_and_100", with_value("rsi_14", 130.0)),
    ("adx_between_0_and_100", with_value("adx_strength", -5.0)),
    ("vix_between_5_and_150", with_value("vix_level", 1_500.0)),
    ("spy_correlation_between_minus_1_and_1", with_value("spy_correlation", 1.5)),
    ("market_breadth_between_minus_1_and_1", with_value("market_breadth", 60.0)),
    ("news_present_is_0_or_1", with_value("news_present", 3.0)),
    ("unusual_volume_is_0_or_1", with_value("unusual_volume", 0.5)),
    ("every_event_has_a_pattern", with_value("n_patterns", 0.0)),
    ("rule_score_between_0_and_100", with_value("rule_score", 140.0)),
    ("rule_action_is_buy_sell_or_hold", with_value("rule_action", 5)),
    ("vix_level_is_known_in_most_rows", with_value("vix_level", np.nan, slice(0, 400))),
    ("premarket_gap_is_rarely_above_50_percent", with_value("premarket_gap", 90.0)),
    ("label_is_known_within_31_days", lambda f: f.assign(label_end=f["ts"] + 40 * DAY)),
    ("unexplained_extreme_returns_are_rarer_than_1_in_1000", unbooked_splits),
    ("both_directions_occur", all_rows("direction", 1)),
    ("at_least_10_symbols", lambda f: f[f["symbol"] < "S08"]),
]


def failed_names(result: ValidationResult) -> set[str]:
    return {rule.name for rule in result.rules if not rule.passed}


@pytest.fixture(scope="module")
def good() -> pd.DataFrame:
    return make_training_set()


@pytest.fixture(scope="module")
def good_result(good) -> ValidationResult:
    return validate_training_set(good)


def test_a_sound_training_set_passes_every_rule(good_result):
    assert failed_names(good_result) == set()
    assert good_result.passed
    assert require_valid(good_result) is good_result
    assert good_result.summary().startswith(f"{len(good_result.rules)} of {len(good_result.rules)} rules hold")


@pytest.mark.parametrize(("rule", "spoil"), BREAKS, ids=[name for name, _ in BREAKS])
def test_a_broken_training_set_fails_the_rule_that_names_the_break(good, rule, spoil):
    # The rule alone: all of them take most of a second, and forty breaks would take forty times that.
    own = tuple(r for r in RULES if r.name == rule)

    result = validate_training_set(spoil(good), rules=own)

    assert rule in failed_names(result)
    assert result.passed == (own != () and own[0].severity == "warning" and not result.critical_failures)


def test_every_rule_can_fail():
    tried = {name for name, _ in BREAKS}
    families = ("_is_not_all_missing", "_is_known_in_most_rows")

    assert {r.name for r in RULES if not r.name.endswith(families)} <= tried
    assert all(any(name.endswith(family) for name in tried) for family in families)
    assert len({r.name for r in RULES}) == len(RULES)


def test_a_break_in_one_column_fails_no_other_rule(good):
    assert failed_names(validate_training_set(with_value("rsi_14", 130.0)(good))) == {"rsi_between_0_and_100"}
    assert failed_names(validate_training_set(with_value("rule_action", 5)(good))) == {
        "rule_action_is_buy_sell_or_hold"
    }


def test_a_failure_names_rows_values_and_what_was_expected(good):
    result = validate_training_set(with_value("rsi_14", 130.0)(good))

    (failure,) = result.critical_failures
    assert (failure.n_unexpected, failure.observed) == (2, "2 of 960 rows against the rule")
    assert "rsi_14" in failure.expected
    assert "100" in failure.expected
    assert failure.examples[0].startswith("row 7: symbol=S07, ts=2012-01-02 21:00:00+00:00, direction=")
    assert failure.examples[0].endswith("rsi_14=130.0")


def test_a_critical_failure_stops_the_run_with_the_summary(good):
    result = validate_training_set(with_value("rsi_14", 130.0)(good))

    with pytest.raises(
        DataContractError, match=r"1 critical failures[\s\S]*rsi_between_0_and_100[\s\S]*row 7: symbol=S07"
    ):
        require_valid(result)


def test_a_warning_alone_does_not_stop_the_run(good):
    result = validate_training_set(with_value("direction", 1, slice(None))(good))

    assert [rule.name for rule in result.warnings] == ["both_directions_occur"]
    assert require_valid(result).passed


def test_a_missing_column_fails_its_rules_by_name(good):
    result = validate_training_set(good.drop(columns="rsi_14"))

    assert not result.passed
    failure = next(rule for rule in result.rules if rule.name == "rsi_between_0_and_100")
    assert 'column "rsi_14"' in failure.observed


def test_the_result_is_plain_json_and_comes_back_the_same(good):
    result = validate_training_set(with_value("macd_histogram", np.inf)(with_value("rsi_14", 130.0)(good)))

    stored = json.loads(json.dumps(result.to_dict(), allow_nan=False))

    assert stored == result.to_dict()
    assert ValidationResult.from_dict(stored) == result


def test_bounds_on_size_are_arguments(good):
    small = good.head(10 * N_SYMBOLS)

    assert not validate_training_set(small).passed
    assert validate_training_set(small, min_rows=100, min_sessions=10).passed


def test_an_empty_training_set_is_refused_not_crashed_on(good):
    with pytest.raises(DataContractError, match="there_are_enough_rows"):
        require_valid(validate_training_set(good.head(0)))


def test_validation_leaves_the_frame_as_it_was(good):
    before = good.copy()

    validate_training_set(good)

    pd.testing.assert_frame_equal(good, before)
