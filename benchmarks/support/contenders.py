"""What a user would pick instead of our procedure, each behind one interface: rows in, probabilities out.

All take the models' inputs as they are, NaN where something is missing, and the outcomes known before the fold. None
gets our row weights, offsets or member settings: they are part of what is compared. "Defaults" means the library's
own; only the thread count, the seed and the silence of the log are set.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy.optimize import minimize_scalar

SEED = 42
"""The plan's ``random_state``."""
PLAN_TREES, PLAN_DEPTH = 500, 20


class FittedContender(Protocol):
    """Pure: the same rows give the same answer."""

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Probability of success (n_rows,) for a float32 matrix (n_rows, n_inputs) with NaN."""
        ...


class Contender(Protocol):
    """One way to turn rows with known outcomes into a forecaster."""

    @property
    def name(self) -> str: ...

    def fit(self, X: np.ndarray, y: np.ndarray) -> FittedContender:
        """Fit on a float32 matrix (n_rows, n_inputs) with NaN and outcomes 0/1 (n_rows,), in time order."""
        ...


@dataclass(frozen=True)
class _FittedClassifier:
    model: Any

    def predict(self, X: np.ndarray) -> np.ndarray:
        return np.asarray(self.model.predict_proba(X)[:, 1], dtype="float64")


@dataclass(frozen=True)
class Classifier:
    """Any estimator with scikit-learn's grammar."""

    name: str
    build: Callable[[], Any]

    def fit(self, X: np.ndarray, y: np.ndarray) -> FittedContender:
        return _FittedClassifier(self.build().fit(X, y))


@dataclass(frozen=True)
class _FittedPlan:
    forest: FittedContender
    boosting: FittedContender
    forest_weight: float

    def predict(self, X: np.ndarray) -> np.ndarray:
        return self.forest_weight * self.forest.predict(X) + (1.0 - self.forest_weight) * self.boosting.predict(X)


@dataclass(frozen=True)
class PlanRecipe:
    """The trader's plan (step 2 and ``train_random_forest``): forest and XGBoost, weights from training predictions.

    Forest of 500 trees, depth 20, √n columns; XGBoost as it comes (``gpu_hist`` is the ``hist`` of today). The plan's
    ``optimize_weights`` has no body; here it minimises the log-loss on the rows it is given, which are those the models
    were trained on. The plan's net has no architecture and is left out. ``n_trees`` below 500 saves time.
    """

    n_trees: int = PLAN_TREES
    n_threads: int = 1

    @property
    def name(self) -> str:
        return "the plan's recipe"

    def fit(self, X: np.ndarray, y: np.ndarray) -> FittedContender:
        forest = Classifier("forest", self._forest).fit(X, y)
        boosting = Classifier("xgboost", lambda: _xgboost(self.n_threads)).fit(X, y)
        weight = in_sample_weight(y, forest.predict(X), boosting.predict(X))
        return _FittedPlan(forest, boosting, weight)

    def _forest(self) -> Any:
        from sklearn.ensemble import RandomForestClassifier

        return RandomForestClassifier(
            n_estimators=self.n_trees,
            max_depth=PLAN_DEPTH,
            max_features="sqrt",
            random_state=SEED,
            n_jobs=self.n_threads,
        )


def in_sample_weight(y: np.ndarray, p_first: np.ndarray, p_second: np.ndarray) -> float:
    """Weight of the first of two forecasts that minimises the log-loss of their mixture on these rows."""
    q = [np.clip(np.where(y == 1, p, 1.0 - p), 1e-6, 1.0) for p in (p_first, p_second)]
    found = minimize_scalar(lambda w: -np.log(w * q[0] + (1.0 - w) * q[1]).mean(), bounds=(0.0, 1.0), method="bounded")
    return float(found.x)


def contenders(*, plan_trees: int = PLAN_TREES, n_threads: int = 1) -> tuple[Contender, ...]:
    """Return the peers that learn from the inputs, in the order of the table."""
    return (
        Classifier("logistic", _logistic),
        Classifier("scikit-learn forest", lambda: _forest(n_threads)),
        Classifier("XGBoost", lambda: _xgboost(n_threads)),
        Classifier("LightGBM", lambda: _lightgbm(n_threads)),
        PlanRecipe(plan_trees, n_threads),
    )


def _logistic() -> Any:
    """Scikit-learn's defaults; it takes no NaN and needs comparable scales, so the usual two steps come before it."""
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # A column that is missing throughout stays, as zeros: options activity has no source yet.
    return make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler(), LogisticRegression(max_iter=1_000)
    )


def _forest(n_threads: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(random_state=SEED, n_jobs=n_threads)


def _xgboost(n_threads: int) -> Any:
    from xgboost import XGBClassifier

    return XGBClassifier(random_state=SEED, n_jobs=n_threads)


def _lightgbm(n_threads: int) -> Any:
    from lightgbm import LGBMClassifier

    return LGBMClassifier(random_state=SEED, n_jobs=n_threads, verbose=-1)
