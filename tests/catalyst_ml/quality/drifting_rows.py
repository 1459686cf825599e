"""Rows of sessions that remember: small frames for the tests of the drift watch."""

from __future__ import annotations

import numpy as np
import pandas as pd

COLUMNS = ("calm", "lively", "daily", "flag")
N_REFERENCE, N_RECENT = 400, 20


def make_rows(seed: int, *, n_sessions: int = N_REFERENCE + N_RECENT, n_events: int = 25) -> pd.DataFrame:
    """``session`` and four features that follow their day more (daily: altogether) or less, with AR(1) days."""
    rng = np.random.default_rng(seed)
    sessions = pd.bdate_range("2020-01-01", periods=n_sessions).astype("datetime64[us]")
    share = np.array([0.05, 0.3, 1.0, 0.05])
    memory = np.array([0.5, 0.9, 0.95, 0.5])
    day = np.zeros((n_sessions + 100, 4))
    for s in range(1, len(day)):
        day[s] = memory * day[s - 1] + np.sqrt(1 - memory**2) * rng.standard_normal(4)
    own = rng.standard_normal((n_sessions, n_events, 4))
    values = np.sqrt(share) * day[100:, None] + np.sqrt(1 - share) * own
    values[:, :, 3] = values[:, :, 3] > 1.5
    frame = pd.DataFrame(values.reshape(-1, 4), columns=list(COLUMNS))
    return frame.assign(session=np.repeat(sessions, n_events))


def split(rows: pd.DataFrame, n_reference: int = N_REFERENCE) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Reference and what came after it."""
    last = np.sort(rows["session"].unique())[n_reference - 1]
    return rows[rows["session"] <= last], rows[rows["session"] > last].copy()
