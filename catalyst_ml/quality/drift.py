"""Drift: is what the model meets today still what it was trained on?

Compares the newest month of events with the reference, feature by feature (``drift_features``) and together
(``drift_relations``); ``drift_alarms`` says what an alarm is and what all of them may cost. Feeds are judged by
``drift_feeds``, outcomes by ``catalyst_ml.evaluation.calibration_drift``.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from catalyst_ml.errors import DataContractError
from catalyst_ml.quality import drift_features, drift_relations
from catalyst_ml.quality.drift_alarms import ADVICE, DriftReport, Finding, budget
from catalyst_ml.quality.drift_null import MIN_REFERENCE, N_WINDOW
from catalyst_ml.quality.drift_profile import learn_scale, profile_sessions, read_values


def watch_features(
    reference: pd.DataFrame,
    recent: pd.DataFrame,
    columns: Sequence[str],
    *,
    rows_per_session: int = 120,
) -> DriftReport:
    """Compare the newest ``N_WINDOW`` sessions of ``recent`` with ``reference``, feature by feature and together.

    Parameters
    ----------
    reference, recent : DataFrame
        ``session`` (naive midnight dates) and ``columns`` (numeric, NaN = missing); every session of ``recent`` lies
        after all of ``reference``.
    rows_per_session : int
        Relations and classifier read at most so many rows of a session, evenly spread in its order.

    Returns
    -------
    DriftReport
        Without findings, and with the reason in ``unjudged``, where sessions are too few.

    Raises
    ------
    DataContractError
        If a column is missing, holds infinite numbers, or a recent session is not after the reference.
    """
    if not columns or len(set(columns)) != len(columns):
        raise DataContractError(f"drift: expected distinct columns to compare, got {list(columns)[:10]}. Name them.")
    values, session = _sorted_values(reference, columns, "reference")
    newest, newest_session = _sorted_values(recent, columns, "recent rows")
    sessions, recent_sessions = np.unique(session), np.unique(newest_session)
    if len(sessions) and len(recent_sessions) and recent_sessions[0] <= sessions[-1]:
        raise DataContractError(
            f"drift: recent sessions begin {_day(recent_sessions[0])}, the reference ends {_day(sessions[-1])}; "
            "expected them to be later. Cut the recent rows at the reference's end."
        )
    facts = {
        "reference_sessions": len(sessions),
        "reference": f"{_day(sessions[0])} to {_day(sessions[-1])}" if len(sessions) else "none",
        "recent_sessions": min(len(recent_sessions), N_WINDOW),
        "recent": f"{_day(recent_sessions[-N_WINDOW:][0])} to {_day(recent_sessions[-1])}"
        if len(recent_sessions)
        else "none",
    }
    too_few = _too_few(len(sessions), len(recent_sessions))
    if too_few:
        return DriftReport(unjudged=(f"features: {too_few}",), facts=facts)
    in_window = newest_session >= recent_sessions[-N_WINDOW]
    newest, newest_session = newest[in_window], newest_session[in_window]
    since = _day(recent_sessions[-N_WINDOW])

    scale = learn_scale(values, columns)
    nulls = drift_features.fit_feature_nulls(profile_sessions(values, session, scale))
    window = drift_features.recent_window(profile_sessions(newest, newest_session, scale))
    single = _feature_findings(nulls, window, columns, since)

    old_z, old_starts = _thinned(scale.standardise(values), session, rows_per_session)
    new_z, new_starts = _thinned(scale.standardise(newest), newest_session, rows_per_session)
    joint = _joint_findings((old_z, old_starts), (new_z, new_starts), nulls.windows, columns, since)
    facts["independent_windows"] = {name: round(float(n), 1) for name, n in zip(columns, nulls.windows, strict=True)}
    return DriftReport((*single, *joint), (), facts)


def _feature_findings(
    nulls: drift_features.FeatureNulls, window: drift_features.Window, columns: Sequence[str], since: str
) -> list[Finding]:
    alpha = budget("feature", len(columns) * len(drift_features.STATISTICS))
    distance = nulls.distances(window)
    p, bound = nulls.p_values(distance), nulls.bounds(alpha)
    missing, missing_before = (part.missing / part.rows for part in (window, nulls.reference))
    findings = []
    for i, statistic in enumerate(drift_features.STATISTICS):
        for f, name in enumerate(columns):
            # Squared inside; people read KS and means in their own unit.
            power = 1.0 if statistic == "psi" else 0.5
            value = float(distance[i, f] ** power)
            usual = float(nulls.nulls[statistic].scale[f] ** power)
            meaning = _meaning(statistic, name, value, usual)
            if missing[f] != missing_before[f]:
                meaning += f"; missing in {missing[f]:.1%} of rows, before in {missing_before[f]:.1%}"
            finding = Finding(
                kind="feature",
                what=name,
                statistic=statistic,
                value=0.0 if np.isnan(value) else value,
                usual=usual,
                bound=float(bound[i, f] ** power),
                p=float(p[i, f]),
                alpha=alpha,
                since=since,
                meaning=meaning,
                advice=ADVICE["feature"],
            )
            findings.append(finding)
    return findings


def _meaning(statistic: str, name: str, value: float, usual: float) -> str:
    if np.isnan(value):
        return f"{name} has no known value to compare"
    seen = f"{value:.3g}, where {usual:.3g} is usual between a month and the rest"
    return {
        "psi": f"The distribution of {name} differs from the reference's by a PSI of {seen}",
        "ks": f"Shares below some value of {name} differ by up to {seen}",
        "level": f"The mean of {name} lies {seen} robust standard deviations off",
        "spread": f"The spread of {name} (mean logarithm of its distance from the centre) is off by {seen}",
    }[statistic]


def _joint_findings(
    reference: tuple[np.ndarray, np.ndarray],
    recent: tuple[np.ndarray, np.ndarray],
    windows: np.ndarray,
    columns: Sequence[str],
    since: str,
) -> list[Finding]:
    (old, old_starts), (new, new_starts) = reference, recent
    findings = []
    if len(columns) > 1:
        alpha = budget("relation", 1)
        pairs = drift_relations.fit_pair_nulls(drift_relations.session_products(old, old_starts), windows)
        products = drift_relations.session_products(new, new_starts).sum(axis=0)
        now = drift_relations.correlations(products, pairs.first, pairs.second)
        largest, p, at = pairs.judge(now)
        names = f"{columns[pairs.first[at]]} and {columns[pairs.second[at]]}"
        finding = Finding(
            kind="relation",
            what="all pairs",
            statistic="largest change of a correlation, in its usual size",
            value=float(np.sqrt(largest)),
            usual=float(np.sqrt(pairs.null.scale[0])),
            bound=float(np.sqrt(pairs.null.bound(alpha)[0])),
            p=float(p),
            alpha=alpha,
            since=since,
            meaning=f"The correlation of {names} is {now[at]:+.2f}, in the reference {pairs.usual[at]:+.2f}",
            advice=ADVICE["relation"],
        )
        findings.append(finding)
    alpha = budget("classifier", 1)
    null = drift_relations.fit_classifier_null(drift_relations.classifier_columns(old), old_starts, windows)
    auc, p_auc = null.judge(drift_relations.classifier_columns(new), new_starts)
    usual, bound = (min(0.5 + 0.5 * float(np.sqrt(x[0])), 1.0) for x in (null.null.scale, null.null.bound(alpha)))
    finding = Finding(
        kind="classifier",
        what="all features",
        statistic="AUC recent against reference",
        value=auc,
        usual=usual,
        bound=bound,
        p=p_auc,
        alpha=alpha,
        since=since,
        meaning=f"A classifier tells recent events from the reference's with AUC {auc:.3f}; {usual:.3f} is usual",
        advice=ADVICE["classifier"],
    )
    return [*findings, finding]


def _too_few(n_reference: int, n_recent: int) -> str:
    if n_reference < MIN_REFERENCE:
        return f"not enough to judge: {n_reference} sessions of reference, {MIN_REFERENCE} are needed"
    if n_recent < N_WINDOW:
        return f"not enough to judge: {n_recent} sessions since the reference, {N_WINDOW} are needed"
    return ""


def _sorted_values(rows: pd.DataFrame, columns: Sequence[str], who: str) -> tuple[np.ndarray, np.ndarray]:
    values = read_values(rows, [*columns], who=who)
    if "session" not in rows.columns:
        raise DataContractError(f"drift, {who}: column 'session' is missing, got {list(rows.columns)[:10]}. Add it.")
    session = pd.DatetimeIndex(rows["session"])
    if session.tz is not None or session.hasnans:
        raise DataContractError(
            f"drift, {who}: sessions are naive midnight dates without gaps, got {session.dtype} with "
            f"{np.count_nonzero(session.isna())} missing. Take them from the trading calendar."
        )
    order = np.argsort(session.to_numpy(), kind="stable")
    return values[order], session.to_numpy()[order]


def _thinned(z: np.ndarray, session: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """At most ``most`` rows of each session, evenly spread, and the first row of each."""
    starts = np.concatenate([[0], np.flatnonzero(session[1:] != session[:-1]) + 1, [len(session)]])
    sizes = np.diff(starts)
    taken = np.minimum(sizes, most)
    first = np.concatenate([[0], np.cumsum(taken)])
    within = np.arange(first[-1]) - np.repeat(first[:-1], taken)
    chosen = np.repeat(starts[:-1], taken) + (within * np.repeat(sizes, taken)) // np.repeat(taken, taken)
    return z[chosen], first


def _day(session: Any) -> str:
    day: date = pd.Timestamp(session).date()
    return day.isoformat()
