"""Small trials for the tests of this folder: signals and marks without bars."""

import numpy as np
import pandas as pd

from catalyst_ml.evaluation.record import SESSION_DTYPE
from catalyst_ml.frames import TIME_DTYPE

HELD = 5
COST = 0.001


def sessions_of(n):
    return pd.bdate_range("2024-01-01", periods=n).as_unit("us")


def close_of(sessions):
    return (pd.DatetimeIndex(sessions) + pd.Timedelta(hours=21)).tz_localize("UTC").as_unit("us")


def make_trial(*, n_sessions=120, events_a_day=30, edge=0.0, sd=0.01, seed=0, weeks_a_version=4):
    """Signals in time order and the marks of their trades; every trade is held five sessions.

    ``edge`` (number or one per session) is what an event earns per session and sd of the model's score.
    """
    rng = np.random.default_rng(seed)
    sessions = sessions_of(n_sessions)
    later = sessions_of(n_sessions + HELD)
    edge = np.broadcast_to(np.asarray(edge, dtype="float64"), n_sessions)
    day = np.repeat(np.arange(n_sessions), events_a_day)
    n = len(day)
    z = rng.standard_normal((2, n))
    moves = sd * rng.standard_normal((n, HELD)) + (edge[day] * z[0])[:, None]
    net = moves.sum(axis=1) - COST
    over = day + HELD < n_sessions
    signals = pd.DataFrame(
        {
            "symbol": pd.Series([f"S{i % events_a_day:03d}" for i in range(n)], dtype="str"),
            "ts": close_of(sessions)[day],
            "direction": np.where(rng.random(n) < 0.5, 1, -1).astype("int8"),
            "session": sessions[day],
            "fold": pd.Series([f"W{d // 5:03d}" for d in day], dtype="str"),
            "version_id": pd.Series([f"v{d // (5 * weeks_a_version):02d}" for d in day], dtype="str"),
            "p_ml": 1 / (1 + np.exp(-0.3 * z[0])),
            "p_rules": 1 / (1 + np.exp(-0.2 * z[1])),
            "y": np.where(over, net > 0, np.nan),
            "net_return": np.where(over, net, np.nan),
            "label_end": pd.Series(close_of(later)[day + HELD]).where(over),
        }
    ).astype({"session": SESSION_DTYPE})
    at = day[:, None] + 1 + np.arange(HELD)
    keep = (at < n_sessions).ravel()
    of = np.repeat(np.arange(n), HELD)[keep]
    at, moves = at.ravel()[keep], moves.ravel()[keep]
    cost = np.where(at == day[of] + 1, COST, 0.0)
    marks = signals[["symbol", "ts", "direction"]].iloc[of].reset_index(drop=True)
    marks = marks.assign(session=sessions[at], mark_ts=close_of(sessions)[at], gross=moves, cost=cost, net=moves - cost)
    return signals, marks.astype({"session": SESSION_DTYPE, "mark_ts": TIME_DTYPE})
