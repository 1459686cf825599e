"""The say of the catalyst predictor: weights on rows with news, where it first has to beat the others.

On rows with news three forecasts are mixed: what the other members say together, the base rate, and the catalyst
predictor. Two free numbers, because rows with news are few. Until a mix is clearly better than the others alone, the
catalyst predictor has no say anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from catalyst_ml.evaluation.record import log_losses
from catalyst_ml.evaluation.significance import har_t_test
from catalyst_ml.models.ensemble import BASE_RATE, EnsembleWeights, convex_weights, effective_row_weights
from catalyst_ml.models.procedure import CATALYST, CatalystSettings, EnsembleSettings


def add_catalyst(
    others: EnsembleWeights,
    p_members: np.ndarray,
    names: Sequence[str],
    y: np.ndarray,
    session: np.ndarray,
    *,
    ensemble: EnsembleSettings,
    settings: CatalystSettings,
) -> EnsembleWeights:
    """Return ``others`` with weights on rows with news, or with the reason why the catalyst predictor has no say.

    Parameters
    ----------
    others
        Weights of the members that never abstain, learned on all rows.
    p_members
        OOF probabilities (n_rows, n_members), columns ``names``, NaN where the catalyst predictor abstains; every
        outcome known.
    y, session
        Outcomes 0/1 and sessions (n_rows,), rows in any order.

    Notes
    -----
    Tested is an equal mix of the others and the catalyst predictor against the others alone, by the daily log-loss
    differences over all known sessions with news (one-sided HAR t-test at ``settings.alpha``). An equal mix has nothing
    to be fitted, so no later block has to be kept for the test: rows with news are too few to be divided.
    """
    p_catalyst = p_members[:, list(names).index(CATALYST)]
    speaks = ~np.isnan(p_catalyst)
    sessions = np.unique(session[speaks])
    if len(sessions) < settings.min_known_sessions:
        return others.without_news(f"{len(sessions)} known sessions with news, {settings.min_known_sessions} needed")
    base_rate = p_members[:, list(names).index(BASE_RATE)]
    q = np.column_stack([others.combine(p_members, names), base_rate, p_catalyst])[speaks]  # (n_news, 3)
    y, session = y[speaks], session[speaks]
    gain = log_losses(y, q[:, 0]) - log_losses(y, 0.5 * (q[:, 0] + p_catalyst[speaks]))
    _, day = np.unique(session, return_inverse=True)
    p_value = har_t_test(np.bincount(day, weights=gain)).p_value
    if p_value >= settings.alpha:
        return others.without_news(f"not clearly better than the others on known rows with news (p = {p_value:.2f})")
    mixed = convex_weights(q, y, effective_row_weights(session, ensemble), kl_rows=ensemble.kl_rows)
    with_news = {name: float(mixed[0]) * weight for name, weight in others.weights.items()}
    with_news[BASE_RATE] = with_news.get(BASE_RATE, 0.0) + float(mixed[1])
    reason = f"with news the catalyst predictor weighs {mixed[2]:.2f}: better on known rows (p = {p_value:.3f})"
    return replace(others, with_news={**with_news, CATALYST: float(mixed[2])}, reason=f"{others.reason}; {reason}")
