"""The say of the catalyst predictor: weights on rows with news, where it first has to beat the others.

On rows with news three forecasts are mixed: what the other members say together, the base rate, and the catalyst
predictor. Two free numbers, because rows with news are few. Until the mix is clearly better than the others alone on
later sessions, the catalyst predictor has no say anywhere.
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
    The test is that of ``choose_weights``: mixed on the earlier sessions, judged on the later ones by the daily
    log-loss differences (one-sided HAR t-test at ``settings.alpha``), then mixed again on all rows.
    """
    p_catalyst = p_members[:, list(names).index(CATALYST)]
    speaks = ~np.isnan(p_catalyst)
    sessions = np.unique(session[speaks])
    if len(sessions) < settings.min_known_sessions:
        return others.without_news(f"{len(sessions)} known sessions with news, {settings.min_known_sessions} needed")
    base_rate = p_members[:, list(names).index(BASE_RATE)]
    q = np.column_stack([others.combine(p_members, names), base_rate, p_catalyst])[speaks]  # (n_news, 3)
    y, session = y[speaks], session[speaks]
    row_weight = effective_row_weights(session, ensemble)
    is_later = session >= sessions[int(len(sessions) * (1.0 - settings.later_share))]
    early = convex_weights(q[~is_later], y[~is_later], row_weight[~is_later], kl_rows=ensemble.kl_rows)
    gain = log_losses(y[is_later], q[is_later, 0]) - log_losses(y[is_later], q[is_later] @ early)
    _, day = np.unique(session[is_later], return_inverse=True)
    p_value = har_t_test(np.bincount(day, weights=gain)).p_value
    if p_value >= settings.alpha:
        return others.without_news(f"not clearly better than the others on later rows with news (p = {p_value:.2f})")
    mixed = convex_weights(q, y, row_weight, kl_rows=ensemble.kl_rows, start=early)
    with_news = {name: float(mixed[0]) * weight for name, weight in others.weights.items()}
    with_news[BASE_RATE] = with_news.get(BASE_RATE, 0.0) + float(mixed[1])
    reason = f"with news the catalyst predictor weighs {mixed[2]:.2f}: better on later rows (p = {p_value:.3f})"
    return replace(others, with_news={**with_news, CATALYST: float(mixed[2])}, reason=f"{others.reason}; {reason}")
