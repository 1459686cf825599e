from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from catalyst_ml.errors import ArtifactRefused, InsufficientHistory
from catalyst_ml.features.events import MODEL_INPUTS
from catalyst_ml.frames import PATTERNS, pattern_column
from catalyst_ml.models.floor_arms import FloorArms
from catalyst_ml.trial.scoring import NO_VERSION, MlArm, Moment, fit_floors, score_events, served_floors
from tests.flows.speaking_version import SPREAD, speaking_graph

CLOSE = pd.Timestamp("2025-11-26T21:00", tz="UTC").as_unit("us")
MOMENT = Moment(pd.Timestamp("2025-11-26"), CLOSE, pd.Timestamp("2025-11-28T14:30", tz="UTC"), stage_share=0.3)
ARM = MlArm(
    version_id="v-1", procedure_id="p-1", channel="production", as_of=CLOSE - pd.Timedelta(days=3),
    inputs=MODEL_INPUTS, onnx=speaking_graph(0.75), training_days=730, half_life_days=365.0,
)  # fmt: skip


def event_rows(n: int, *, ts: pd.Timestamp = CLOSE, seed: int = 0) -> pd.DataFrame:
    """Events with all that either arm reads; ``event_direction`` is what the graph reads."""
    rng = np.random.default_rng(seed)
    direction = np.where(np.arange(n) % 2, 1, -1).astype("int8")
    return pd.DataFrame(
        {
            "symbol": pd.Series([f"S{i:03d}" for i in range(n)], dtype="str"),
            "ts": pd.Series(ts, index=range(n)).astype("datetime64[us, UTC]"),
            "direction": direction,
            **{pattern_column(name): rng.random(n) < 0.3 for name in PATTERNS},
            "rule_action": direction,
            **{name: rng.normal(size=n) for name in MODEL_INPUTS},
        }
    ).assign(event_direction=direction.astype("float64"), rule_score=rng.uniform(30.0, 90.0, n))


def training_rows(n: int = 400) -> pd.DataFrame:
    """Settled rows of the forty sessions before, ten a day."""
    days = CLOSE - pd.to_timedelta(np.arange(n) // 10 + 1, unit="D")
    rng = np.random.default_rng(5)
    rows = event_rows(n, seed=3).assign(ts=pd.DatetimeIndex(days).as_unit("us"))
    rows["label_end"] = rows["ts"] + pd.Timedelta(days=7)
    rows["entry_ts"] = rows["ts"] + pd.Timedelta(days=1)
    rows["session"] = pd.DatetimeIndex(rows["ts"]).tz_localize(None).normalize()
    return rows.assign(y=rng.integers(0, 2, n).astype("int8"), net_return=0.01, gross_return=0.011)


def score(
    rows: pd.DataFrame,
    ml: MlArm | None = ARM,
    *,
    left_out: list[str | None] | None = None,
    training: pd.DataFrame | None = None,
    **changes: Any,
) -> Any:
    training = training_rows() if training is None else training
    floors = fit_floors(training_rows(), as_of=CLOSE, training_days=730, half_life_days=365.0)
    reasons = pd.Series(left_out or [None] * len(rows), index=rows.index, dtype="str")
    return score_events(
        rows, reasons, training, ml, floors, replace(MOMENT, **changes), rule_arm="rules-1", columns=MODEL_INPUTS
    )


def test_production_is_blended_by_policy_and_stage_and_the_shadow_is_not() -> None:
    rows = event_rows(6)

    blended, shadow = score(rows), score(rows, replace(ARM, channel="shadow"))

    above = blended["direction"] > 0  # 0.85, beyond the policy's 0.8; the others 0.65: 70 % of them, the stage 30 %
    np.testing.assert_allclose(blended.loc[above, "p_ml"], 0.85, atol=1e-6)
    np.testing.assert_allclose(blended["weight"], 0.3)
    np.testing.assert_allclose(blended["p_blend"], 0.3 * blended["p_ml"] + 0.7 * blended["p_rules"])
    np.testing.assert_allclose(blended["p_spread"], SPREAD, atol=1e-6)
    assert (shadow["weight"] == 0.0).all()
    assert (shadow["stage_share"] == 0.0).all()
    pd.testing.assert_series_equal(shadow["p_blend"], shadow["p_rules"], check_names=False)
    pd.testing.assert_series_equal(shadow["p_ml"], blended["p_ml"])
    assert set(blended["fold"]) == {"2025-W48"}
    assert (blended["position_size"] <= 0.02).all()


def test_who_may_not_be_asked_is_silent_with_a_reason_and_the_rules_answer() -> None:
    rows = event_rows(4)

    nobody = score(rows, None)
    unusable = score(rows, replace(ARM, unusable="other features"))
    young = score(rows, left_out=[None, "insufficient_history", None, None])

    assert set(nobody["abstain_reason"]) == {NO_VERSION}
    assert nobody["version_id"].isna().all()
    assert set(unusable["abstain_reason"]) == {"other features"}
    assert set(unusable["version_id"]) == {"v-1"}
    assert young["abstain_reason"].tolist()[1] == "the model is not asked: insufficient_history"
    assert young["p_ml"].isna().tolist() == [False, True, False, False]
    for silent in (nobody, unusable):
        assert silent["p_ml"].isna().all()
        pd.testing.assert_series_equal(silent["p_blend"], silent["p_rules"], check_names=False)


def test_an_event_like_none_before_is_novel_and_the_rules_answer_it_as_in_the_server() -> None:
    rows = event_rows(3)
    rows.loc[1, MODEL_INPUTS[0]] = 1e6

    scored = score(rows)

    assert scored["novelty_p"][1] < 0.01
    assert (scored["novelty_p"][[0, 2]] > 0.01).all()
    assert scored["p_ml"][1] > 0.8, "what the model says is kept, for the trial to judge"
    assert (scored["weight"] > 0.0).tolist() == [True, False, True]
    assert scored["p_blend"][1] == scored["p_rules"][1]


def test_what_is_novel_is_judged_by_the_versions_own_window() -> None:
    rows, training = event_rows(3), training_rows()
    foreign = training.assign(**{name: 1e6 for name in MODEL_INPUTS})
    later = training["ts"] >= ARM.as_of
    assert later.any()

    novelty = score(rows)["novelty_p"]

    mixed = training.where(~later, foreign).astype(training.dtypes)
    pd.testing.assert_series_equal(score(rows, training=mixed)["novelty_p"], novelty)
    young = replace(ARM, training_days=5)
    assert score(rows, young)["novelty_p"].isna().all(), "two days of rows are too few to judge by"


def test_no_event_no_signal_and_features_without_a_number_are_asked_all_the_same() -> None:
    assert score(event_rows(0)).empty
    rows = event_rows(3)
    rows.loc[0, list(MODEL_INPUTS[:5])] = np.nan
    assert score(rows)["p_ml"].notna().all()


def test_floors_know_what_was_known_then_and_refuse_to_guess() -> None:
    training = training_rows()
    early, late = CLOSE - pd.Timedelta(days=20), CLOSE

    fits = [fit_floors(training, as_of=at, training_days=730, half_life_days=365.0) for at in (early, late)]

    assert [fit.base_rate.n for fit in fits] == [int((training["label_end"] <= at).sum()) for at in (early, late)]
    shuffled = training.assign(y=np.where(training["label_end"] > early, 1 - training["y"], training["y"]))
    again = fit_floors(shuffled, as_of=early, training_days=730, half_life_days=365.0)
    assert again == fits[0], "later outcomes do not matter"
    with pytest.raises(InsufficientHistory, match="no outcome was known at 2025-10-01"):
        fit_floors(training, as_of=pd.Timestamp("2025-10-01", tz="UTC"), training_days=730, half_life_days=365.0)


def test_the_rules_answer_as_the_version_has_calibrated_them() -> None:
    floors = fit_floors(training_rows(), as_of=CLOSE, training_days=730, half_life_days=365.0)

    served = served_floors(ARM.onnx, floors)

    assert isinstance(served, FloorArms)
    assert served.rules.coefficients == (0.4, 0.1, -0.1, 0.2, -0.05)
    assert served.base_rate.rate == 0.48
    assert served.pattern_base_rate == floors.pattern_base_rate


def test_a_graph_without_its_rules_is_refused() -> None:
    import onnx

    model = onnx.load_from_string(ARM.onnx)
    del model.metadata_props[:]
    floors = fit_floors(training_rows(), as_of=CLOSE, training_days=730, half_life_days=365.0)
    with pytest.raises(ArtifactRefused, match="expected rules and base_rate"):
        served_floors(model.SerializeToString(), floors)
