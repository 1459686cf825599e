"""Gradient boosting: shallow XGBoost trees, many, slow and strongly regularised."""

from __future__ import annotations

from catalyst_ml.models.member import TrainingSide
from catalyst_ml.models.procedure import BoostingSettings
from catalyst_ml.models.trees import TreeMember, leaf_weight


def fit_boosting(side: TrainingSide, settings: BoostingSettings) -> TreeMember:
    """Boost ``n_trees`` trees one after another; no early stopping, so no inner block is spent on it."""
    parameters = {
        "max_depth": settings.max_depth,
        "eta": settings.learning_rate,
        "min_child_weight": leaf_weight(side, settings.min_leaf_share),
        "subsample": settings.subsample,
        "colsample_bytree": settings.colsample_bytree,
        "reg_lambda": settings.reg_lambda,
        "max_bin": settings.max_bin,
    }
    return TreeMember.fit(side, parameters, n_rounds=settings.n_trees)
