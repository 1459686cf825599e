"""Novelty: an honest p-value on rows of the same kind, small on planted strangers, and it names the column."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

from catalyst_ml.errors import DataContractError, InsufficientHistory
from catalyst_ml.quality.novelty import NoveltyModel, fit_novelty, novelty_of_newest, score_novelty

COLUMNS = [f"x{i}" for i in range(10)]
_LOADINGS = np.random.default_rng(0).normal(size=(3, len(COLUMNS)))


def draw(n: int, seed: int) -> pd.DataFrame:
    """Rows of correlated columns: x3 skewed, x4 a coin, x5 a rare flag, x6 a third missing, x7 never there."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3)) @ _LOADINGS + 0.6 * rng.normal(size=(n, len(COLUMNS)))
    x[:, 3], x[:, 4], x[:, 5] = np.exp(x[:, 3] / 2), x[:, 4] > 0, rng.random(n) < 0.02
    x[rng.random(n) < 0.3, 6] = np.nan
    x[:, 7] = np.nan
    return pd.DataFrame(x, columns=COLUMNS)


def shifted(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(x1=rows["x1"] + 6.0)


def torn_apart(rows: pd.DataFrame) -> pd.DataFrame:
    """Every column as usual, their combination not."""
    return rows.apply(lambda column: column.sample(frac=1.0, random_state=int(column.name[1:])).to_numpy())


def blown_up(rows: pd.DataFrame) -> pd.DataFrame:
    return rows * 2.5


def lost(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(x2=np.nan)


@pytest.fixture(scope="module")
def training() -> pd.DataFrame:
    return draw(6_000, seed=1)


@pytest.fixture(scope="module")
def model(training) -> NoveltyModel:
    return fit_novelty(training, COLUMNS)


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
def test_rows_of_the_same_kind_fall_below_alpha_in_about_alpha_of_cases(model, alpha):
    fresh = score_novelty(model, draw(20_000, seed=2))["novelty_p"]

    # Four standard deviations of a share over 3,000 calibration and 20,000 fresh rows.
    assert (fresh <= alpha).mean() == pytest.approx(
        alpha, abs=4 * np.sqrt(alpha * (1 - alpha) * (1 / 3_000 + 1 / 20_000))
    )
    assert fresh.between(0.0, 1.0, inclusive="right").all()


@pytest.mark.parametrize(("plant", "column"), [(shifted, "x1"), (lost, "x2"), (torn_apart, None), (blown_up, None)])
def test_strangers_are_found_at_least_as_well_as_by_an_isolation_forest(training, model, plant, column):
    fresh, strange = draw(4_000, seed=3), plant(draw(400, seed=4))
    is_strange = np.repeat([0, 1], [len(fresh), len(strange)])
    rows = pd.concat([fresh, strange], ignore_index=True)
    # The forest is given the missing values as flags, as it cannot read them.
    known = [frame.fillna(0.0).join(frame.isna().add_suffix("_gone")) for frame in (training, rows)]
    forest = IsolationForest(n_estimators=100, random_state=0).fit(known[0])

    ours = roc_auc_score(is_strange, -score_novelty(model, rows)["novelty_p"])
    theirs = roc_auc_score(is_strange, -forest.score_samples(known[1]))

    assert ours > max(theirs, 0.6)
    if column is not None:
        assert (score_novelty(model, strange)["column"] == column).mean() > 0.95


def test_the_model_is_plain_json_and_comes_back_the_same(model):
    stored = json.loads(json.dumps(model.to_dict(), allow_nan=False))

    assert NoveltyModel.from_dict(stored) == model


def test_fitting_twice_gives_the_same_numbers(training, model):
    assert fit_novelty(training, COLUMNS) == model


def test_columns_without_values_or_without_spread_break_nothing():
    rows = pd.DataFrame({"flat": 1.0, "gone": np.nan, "x": np.arange(400.0)})

    usual, odd = {"flat": 1.0, "gone": np.nan, "x": 200.0}, {"flat": 2.0, "gone": 5.0, "x": 200.0}
    scored = score_novelty(fit_novelty(rows, list(rows)), pd.DataFrame([usual, odd]))

    assert scored["novelty_p"].tolist()[0] > 0.05
    assert scored["novelty_p"].tolist()[1] < 0.01


def test_a_missing_or_infinite_column_and_too_few_rows_are_refused(training, model):
    with pytest.raises(DataContractError, match="x4"):
        score_novelty(model, training.drop(columns="x4"))
    with pytest.raises(DataContractError, match="infinite"):
        score_novelty(model, training.head(2).assign(x0=np.inf))
    with pytest.raises(InsufficientHistory, match="199 training rows"):
        fit_novelty(training.head(199), COLUMNS)


def test_the_newest_week_is_counted_with_its_strangest_events(training):
    newest = draw(50, seed=5).assign(symbol="AAA", ts=pd.Timestamp("2015-03-02 21:00", tz="UTC"), direction=1)
    newest.loc[7, "x1"] = 40.0

    found = novelty_of_newest(training, newest, COLUMNS)

    assert (found.n, found.expected) == (50, 0.01)
    assert found.n_novel >= 1
    assert found.examples[0]["event"] == "AAA 2015-03-02 long"
    assert (found.examples[0]["column"], found.examples[0]["value"]) == ("x1", 40.0)
    assert novelty_of_newest(training.head(50), newest, COLUMNS).n == 0
