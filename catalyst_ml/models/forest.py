"""Random forest in XGBoost's forest mode; docs/decisions/0007 holds the comparison with scikit-learn's."""

from __future__ import annotations

from catalyst_ml.models.member import TrainingSide
from catalyst_ml.models.procedure import ForestSettings
from catalyst_ml.models.trees import TreeMember, leaf_weight


def fit_forest(side: TrainingSide, settings: ForestSettings) -> TreeMember:
    """Grow ``n_trees`` trees side by side, each on its own sample of rows and, per node, of columns.

    Notes
    -----
    One boosting round with learning rate 1: each tree makes a Newton step from the base rate, and
    XGBoost divides every leaf by the number of trees. The forest therefore averages log-odds, not votes.
    """
    parameters = {
        "num_parallel_tree": settings.n_trees,
        "max_depth": settings.max_depth,
        "eta": 1.0,
        "min_child_weight": leaf_weight(side, settings.min_leaf_share),
        "subsample": settings.max_samples,
        "colsample_bynode": settings.colsample_bynode,
        "reg_lambda": settings.reg_lambda,
        "max_bin": settings.max_bin,
    }
    return TreeMember.fit(side, parameters, n_rounds=1)
