from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from catalyst_ml.errors import ConfigurationError
from catalyst_ml.evaluation.record import MEMBER_PREFIX, P_CHALLENGER, log_losses, validate_record
from catalyst_ml.evaluation.splits import Fold
from catalyst_ml.models.catalyst import CatalystMember, SilentMember
from catalyst_ml.models.catalyst_weights import add_catalyst
from catalyst_ml.models.ensemble import EnsembleWeights
from catalyst_ml.models.final_fit import FittedEnsemble, fit_final
from catalyst_ml.models.members import FittedMembers, fit_members
from catalyst_ml.models.onnx_graph import export
from catalyst_ml.models.parity import certify
from catalyst_ml.models.preprocessing import model_matrix
from catalyst_ml.models.procedure import CATALYST, CatalystSettings, EnsembleSettings, Procedure, default_procedure
from catalyst_ml.models.walk_forward import FoldPredictions, combine_folds, fit_fold
from tests.catalyst_ml.models.conftest import INPUTS, make_fold, make_training_set

COLUMN = MEMBER_PREFIX + CATALYST
SHARED = (*INPUTS, "news_present")
NEWS_INPUTS = ("hint", "story_score")


def make_rows(*, news_share: float = 0.3, strength: float = 0.0, hint: float = 3.0, seed: int = 1) -> pd.DataFrame:
    """Rows of which some have news; there, and only there, ``hint`` tells the outcome."""
    rows = make_training_set(strength=strength, seed=seed)
    rng = np.random.default_rng(seed + 100)
    has_news = rng.random(len(rows)) < news_share
    told = rng.normal(size=len(rows))
    y = np.where(has_news, rng.random(len(rows)) < 1.0 / (1.0 + np.exp(-hint * told)), rows["y"] == 1)
    return rows.assign(
        y=y.astype("int8"),
        news_present=has_news.astype("float64"),
        hint=np.where(has_news, told, np.nan),
        story_score=np.where(has_news, rng.uniform(0, 100, len(rows)), np.nan),
    )


@pytest.fixture(scope="module")
def steady() -> Procedure:
    made = default_procedure(SHARED, feature_set_version="test-1", label_version="test-1", profile="fast")
    return replace(made, members=("base_rate", "logistic", "xgboost"))


@pytest.fixture(scope="module")
def procedure(steady: Procedure) -> Procedure:
    return replace(
        steady,
        members=(*steady.members, CATALYST),
        inputs=(*SHARED, *NEWS_INPUTS),
        catalyst_inputs=NEWS_INPUTS,
        catalyst=replace(
            CatalystSettings(), n_trees=100, learning_rate=0.1, reg_lambda=5.0, min_rows=200, min_sessions=30
        ),
    )


def fit(rows: pd.DataFrame, procedure: Procedure) -> FittedMembers:
    return fit_members(
        model_matrix(rows, procedure.inputs),
        rows["y"].to_numpy(),
        np.ones(len(rows)),
        procedure,
        session=rows["session"].to_numpy(),
        n_threads=1,
    )


def walk(rows: pd.DataFrame, procedure: Procedure) -> list[FoldPredictions]:
    folds: list[Fold] = [
        make_fold(rows, first, first + 19, kind="burn_in" if first < 120 else "record") for first in range(40, 160, 20)
    ]
    return [fit_fold(rows, fold, procedure, n_threads=1) for fold in folds]


@pytest.fixture(scope="module")
def walked(procedure: Procedure) -> list[FoldPredictions]:
    return walk(make_rows(), procedure)


def test_it_speaks_on_events_with_news_and_abstains_elsewhere(walked: list[FoldPredictions]) -> None:
    rows = make_rows()
    for fold in walked:
        asked = rows[rows["session"].isin(fold.rows["session"])]
        np.testing.assert_array_equal(fold.rows[COLUMN].notna(), asked["news_present"].eq(1.0))


def test_it_learns_what_news_says_though_the_hint_is_worthless_elsewhere(walked: list[FoldPredictions]) -> None:
    rows = pd.concat([fold.rows for fold in walked], ignore_index=True).dropna(subset=[COLUMN])
    called = rows[COLUMN] >= 0.5
    assert (called == (rows["y"] == 1)).mean() > 0.75
    assert ((rows[MEMBER_PREFIX + "xgboost"] >= 0.5) == (rows["y"] == 1)).mean() < 0.6


def test_outcomes_without_news_teach_its_trees_nothing(procedure: Procedure) -> None:
    rows = make_rows()
    without = rows["news_present"].eq(0.0).to_numpy()
    shuffled = rows["y"].to_numpy(copy=True)
    shuffled[without] = np.random.default_rng(3).permutation(shuffled[without])
    X = model_matrix(rows, procedure.inputs)
    alone = replace(procedure, members=("base_rate", CATALYST))  # it starts from the base rate, which is the same
    p, again = (fit(r, alone).members[CATALYST].predict_proba1(X) for r in (rows, rows.assign(y=shuffled)))
    np.testing.assert_array_equal(p, again)


def test_what_holds_for_every_event_it_takes_from_those_without_news(procedure: Procedure) -> None:
    """800 events with news alone would hardly tell it what 3,200 events do."""
    rows = make_training_set(strength=0.7, seed=4).assign(hint=np.nan, story_score=np.nan)
    rows = rows.assign(news_present=(np.arange(len(rows)) % 4 == 0).astype("float64"))
    cautious = replace(procedure, catalyst=replace(procedure.catalyst, reg_lambda=300.0, n_trees=20))
    X = model_matrix(rows, procedure.inputs)
    asked = rows["news_present"].eq(1.0).to_numpy()
    started, alone = (
        fit(rows, p).members[CATALYST].predict_proba1(X)[asked]
        for p in (cautious, replace(cautious, members=("base_rate", CATALYST)))
    )
    signal = rows.loc[asked, "signal"]
    assert np.corrcoef(started, signal)[0, 1] > 0.9
    y = rows.loc[asked, "y"]
    assert log_losses(y, started).mean() < log_losses(y, alone).mean() - 0.01


def test_the_other_members_do_not_change_by_a_bit(
    walked: list[FoldPredictions], procedure: Procedure, steady: Procedure
) -> None:
    alone = walk(make_rows(), steady)
    columns = [MEMBER_PREFIX + name for name in steady.members]
    for one, other in zip(walked, alone, strict=True):
        pd.testing.assert_frame_equal(one.rows[columns], other.rows[columns], check_exact=True)


def test_without_any_news_the_ensemble_is_that_of_the_procedure_without_the_member(
    procedure: Procedure, steady: Procedure
) -> None:
    rows = make_rows(news_share=0.0, strength=1.0).assign(news_present=np.nan)
    ours, theirs = walk(rows, procedure), walk(rows, steady)
    assert all(fold.rows[COLUMN].isna().all() for fold in ours)
    combined, expected = combine_folds(ours, procedure), combine_folds(theirs, steady)
    np.testing.assert_array_equal(combined.record[P_CHALLENGER], expected.record[P_CHALLENGER])
    as_of = rows["label_end"].max()
    final, plain = (
        fit_final(rows, p, c.oof, as_of=as_of, n_threads=1) for p, c in ((procedure, combined), (steady, expected))
    )
    assert tuple(final.members) == tuple(plain.members)
    assert final.n_tree_nodes == plain.n_tree_nodes
    np.testing.assert_array_equal(
        final.predict(model_matrix(rows, procedure.inputs)).p, plain.predict(model_matrix(rows, steady.inputs)).p
    )


def test_with_too_few_events_it_abstains_and_says_how_many_there_are(procedure: Procedure) -> None:
    rows = make_rows(news_share=0.05)
    fitted = fit(rows, procedure)
    n = int(rows["news_present"].sum())
    n_sessions = rows.loc[rows["news_present"] == 1.0, "session"].nunique()
    assert isinstance(fitted.members[CATALYST], SilentMember)
    assert f"{n} events with news in {n_sessions} sessions, 200 in 30 needed" in fitted.abstains
    assert fitted.note == ""
    assert np.isnan(fitted.predict(model_matrix(rows, procedure.inputs))[:, -1]).all()


def test_many_events_of_few_sessions_are_too_few(procedure: Procedure) -> None:
    rows = make_rows(news_share=0.9)
    asked = replace(procedure, catalyst=replace(procedure.catalyst, min_sessions=len(rows["session"].unique()) + 1))
    assert isinstance(fit(rows, asked).members[CATALYST], SilentMember)


def test_a_predictor_that_knows_gets_its_weight_on_rows_with_news_only(
    walked: list[FoldPredictions], procedure: Procedure
) -> None:
    combined = combine_folds(walked, procedure)
    last = combined.steps[-1].weights
    assert last.with_news[CATALYST] > 0.5
    assert sum(last.with_news.values()) == pytest.approx(1.0)
    assert CATALYST not in last.weights
    assert last.with_news["base_rate"] > 0.0
    record = combined.record.assign(p_champion=combined.record[P_CHALLENGER])
    validate_record(record)


def make_oof(*, informative: bool, n_sessions: int = 150) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Base rate, a member that knows nothing, and a catalyst predictor on a fifth of the rows."""
    rng = np.random.default_rng(5)
    session = np.repeat(np.arange(n_sessions), 20)
    z = rng.normal(size=len(session))
    y = (rng.random(len(z)) < 1.0 / (1.0 + np.exp(-z))).astype("int8")
    told = z if informative else rng.normal(size=len(z))
    p_catalyst = np.where(rng.random(len(z)) < 0.2, 1.0 / (1.0 + np.exp(-told)), np.nan)
    return np.column_stack([np.full(len(z), 0.5), np.full(len(z), 0.52), p_catalyst]), y, session


OTHERS = EnsembleWeights({"base_rate": 0.5, "logistic": 0.5}, {}, "equal")
NAMES = ("base_rate", "logistic", CATALYST)


def add(p: np.ndarray, y: np.ndarray, session: np.ndarray) -> EnsembleWeights:
    return add_catalyst(OTHERS, p, NAMES, y, session, ensemble=EnsembleSettings(), settings=CatalystSettings())


def test_a_predictor_that_knows_nothing_has_no_say_and_the_reason_is_given() -> None:
    weights = add(*make_oof(informative=False))
    assert weights.with_news == {}
    assert weights.weights == OTHERS.weights
    assert "not clearly better" in weights.dropped[CATALYST]


def test_it_has_no_say_before_enough_sessions_are_known() -> None:
    weights = add(*make_oof(informative=True, n_sessions=59))
    assert weights.with_news == {}
    assert "known sessions with news, 60 needed" in weights.dropped[CATALYST]


def test_no_known_row_at_all_leaves_it_without_a_say() -> None:
    weights = add(np.empty((0, 3)), np.empty(0), np.empty(0))
    assert "0 known sessions with news" in weights.dropped[CATALYST]


def test_rows_where_it_abstains_are_combined_as_if_it_were_not_there() -> None:
    p, y, session = make_oof(informative=True)
    weights = add(p, y, session)
    assert "catalyst predictor weighs" in weights.reason
    combined = weights.combine(p, NAMES)
    abstains = np.isnan(p[:, 2])
    np.testing.assert_array_equal(combined[abstains], OTHERS.combine(p, NAMES)[abstains])
    expected = p[~abstains] @ np.array([weights.with_news[name] for name in NAMES])
    np.testing.assert_allclose(combined[~abstains], expected)


def test_both_sets_of_weights_survive_json_and_older_versions_have_one() -> None:
    weights = EnsembleWeights({"base_rate": 1.0}, {}, "why", {"base_rate": 0.25, CATALYST: 0.75})
    assert EnsembleWeights.from_dict(weights.to_dict()) == weights
    older = {name: value for name, value in weights.to_dict().items() if name != "with_news"}
    assert EnsembleWeights.from_dict(older).with_news == {}


@pytest.fixture(scope="module")
def final(walked: list[FoldPredictions], procedure: Procedure) -> FittedEnsemble:
    rows = make_rows()
    return fit_final(rows, procedure, combine_folds(walked, procedure).oof, as_of=rows["label_end"].max(), n_threads=1)


def test_the_graph_agrees_with_the_trainer_on_both_branches(final: FittedEnsemble) -> None:
    rows = make_rows(seed=7)
    X = model_matrix(rows, final.procedure.inputs)
    assert isinstance(final.members[CATALYST], CatalystMember)
    certificate = certify(final, export(final), X)
    assert certificate.passed
    assert certificate.max_abs_diff_p < 1e-6
    # Each row with news as it is; of the turned rows, those that had none.
    turned = int(rows["news_present"].tail(2_000).eq(0.0).sum())
    assert certificate.n_rows_with_news == int(rows["news_present"].sum()) + turned


@pytest.mark.parametrize("flag", [0.0, 1.0, np.nan])
def test_the_certificate_covers_both_branches_whatever_the_rows_hold(final: FittedEnsemble, flag: float) -> None:
    rows = make_rows(seed=7).head(50).assign(news_present=flag)
    X = model_matrix(rows, final.procedure.inputs)
    certificate = certify(final, export(final), X)
    assert certificate.passed
    assert 0 < certificate.n_rows_with_news < certificate.n_rows


def test_a_graph_without_the_branch_is_refused_even_on_rows_without_news(final: FittedEnsemble) -> None:
    rows = make_rows(seed=7).head(50).assign(news_present=0.0)
    X = model_matrix(rows, final.procedure.inputs)
    deaf = replace(final, weights=replace(final.weights, with_news={**final.weights.weights, CATALYST: 0.0}))
    assert not certify(final, export(deaf), X).passed


def test_a_final_fit_without_enough_news_leaves_the_member_out(
    walked: list[FoldPredictions], procedure: Procedure
) -> None:
    rows = make_rows()
    needy = replace(procedure, catalyst=replace(procedure.catalyst, min_rows=len(rows)))
    oof = combine_folds(walked, procedure).oof
    fitted = fit_final(rows, needy, oof, as_of=rows["label_end"].max(), n_threads=1)
    assert CATALYST not in fitted.members
    assert "abstains" in fitted.weights.dropped[CATALYST]
    assert certify(fitted, export(fitted), model_matrix(rows.head(50), needy.inputs)).passed


@pytest.mark.parametrize(
    "wrong",
    [
        {"members": ("base_rate", "logistic", "xgboost")},
        {"catalyst_inputs": ()},
        {"catalyst_inputs": ("signal",)},
        {"inputs": (*INPUTS, *NEWS_INPUTS)},
    ],
)
def test_a_procedure_whose_parts_contradict_each_other_is_refused(
    procedure: Procedure, wrong: dict[str, tuple[str, ...]]
) -> None:
    with pytest.raises(ConfigurationError, match="catalyst"):
        replace(procedure, **wrong)


def test_the_member_is_part_of_the_procedures_identity(procedure: Procedure, steady: Procedure) -> None:
    assert procedure.procedure_id != steady.procedure_id
    assert Procedure.from_dict(procedure.to_dict()) == procedure
