"""Synthetic training sets with a known truth, small enough to fit in a second."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from catalyst_ml.evaluation.splits import Fold
from catalyst_ml.frames import PATTERNS, pattern_column
from catalyst_ml.models.procedure import Procedure, default_procedure

INPUTS = ("signal", "noise_a", "noise_b", "sometimes", "constant", "absent")
FIRST_SESSION = "2024-01-01"


def make_training_set(
    *, n_sessions: int = 160, per_session: int = 20, seed: int = 1, strength: float = 0.0
) -> pd.DataFrame:
    """Events on consecutive weekdays; logit P(y=1) = strength · signal; labels known two sessions later."""
    rng = np.random.default_rng(seed)
    sessions = pd.bdate_range(FIRST_SESSION, periods=n_sessions + 2)
    day = np.repeat(np.arange(n_sessions), per_session)
    n = len(day)
    closes = (sessions + pd.Timedelta(hours=21)).tz_localize("UTC").as_unit("us")
    signal = rng.normal(size=n)
    y = (rng.random(n) < 1.0 / (1.0 + np.exp(-strength * signal))).astype("int8")
    sometimes = rng.normal(size=n)
    sometimes[rng.random(n) < 0.2] = np.nan
    score = rng.uniform(0, 100, size=n)
    score[rng.random(n) < 0.1] = np.nan
    frame = {
        "symbol": pd.Series([f"S{k:02d}" for k in np.tile(np.arange(per_session), n_sessions)], dtype="str"),
        "ts": closes[day],
        "direction": rng.choice(np.array([-1, 1], dtype="int8"), size=n),
        "session": sessions.as_unit("us")[day],
        "y": y,
        "net_return": np.where(y == 1, 0.01, -0.01),
        "label_end": closes[day + 2],
        "rule_score": score,
        "rule_action": rng.choice(np.array([-1, 0, 1], dtype="int8"), size=n),
        "signal": signal,
        "noise_a": rng.normal(size=n),
        "noise_b": np.exp(rng.normal(size=n)),
        "sometimes": sometimes,
        "constant": np.ones(n),
        "absent": np.full(n, np.nan),
    }
    patterns = {pattern_column(p): rng.random(n) < 0.2 for p in PATTERNS}
    return pd.DataFrame({**frame, **patterns})


def make_fold(training_set: pd.DataFrame, first: int, last: int, *, kind: str = "record") -> Fold:
    """Fold that tests sessions first..last (numbers) and trains on all before."""
    starts = np.unique(training_set["session"].to_numpy())
    start = pd.Timestamp(starts[first]).tz_localize("UTC")
    end = pd.Timestamp(starts[last]).tz_localize("UTC") + pd.Timedelta(days=1)
    return Fold(
        name=f"{kind}-{first:03d}",
        kind=kind,  # type: ignore[arg-type]
        train_start=start - pd.Timedelta(days=730),
        known_before=start - pd.Timedelta(days=1),
        test_start=start,
        test_end=end,
    )


@pytest.fixture(name="make_training_set")
def _make_training_set() -> Callable[..., pd.DataFrame]:
    return make_training_set


@pytest.fixture(name="make_fold")
def _make_fold() -> Callable[..., Fold]:
    return make_fold


@pytest.fixture
def procedure() -> Procedure:
    """The fast profile on the synthetic inputs."""
    return default_procedure(INPUTS, feature_set_version="test-1", label_version="test-1", profile="fast")
