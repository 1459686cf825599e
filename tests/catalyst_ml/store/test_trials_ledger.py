"""The ledger as judge of the best of many: noise is refused, and a restart of the server forgets nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Engine

from catalyst_ml.errors import DataContractError
from catalyst_ml.evaluation.deflation import Trial, deflate
from catalyst_ml.evaluation.significance import probabilistic_sharpe_ratio
from catalyst_ml.settings import DatabaseSettings, HomeSettings, Settings
from catalyst_ml.store.attempts import AttemptLine, KeptTrial, NewAttempt
from catalyst_ml.store.embedded import EmbeddedServer
from catalyst_ml.store.engine import open_engine

pytestmark = pytest.mark.server
DAYS = pd.bdate_range("2024-01-01", periods=260)
START = datetime(2024, 1, 1, tzinfo=UTC)


def attempt(name: str, seed: int, *, sharpe_of: float = 0.0, week: int = 0) -> NewAttempt:
    daily = np.random.default_rng(seed).normal(sharpe_of * 0.01, 0.01, len(DAYS))
    return NewAttempt(
        kind="idea",
        subject=name,
        configuration={"formula": name},
        data_fingerprint=f"week {week}",
        first_tested=START,
        ended=START + timedelta(days=370 + 7 * week),
        metric="log_loss_gain_over_base_rate",
        value=0.0,
        n_rows=26_000,
        n_sessions=len(DAYS),
        sharpe=float(daily.mean() / daily.std(ddof=1)),
        daily_profit={f"{day:%Y-%m-%d}": float(v) for day, v in zip(DAYS, daily, strict=True)},
    )


def as_trial(kept: KeptTrial) -> Trial:
    daily = pd.Series(kept.daily_profit)
    return Trial(kept.subject, kept.sharpe, pd.Series(daily.to_numpy(), pd.DatetimeIndex(daily.index)))


@pytest.fixture
def settings() -> Iterator[Settings]:
    with tempfile.TemporaryDirectory(prefix="catalyst-test-", ignore_cleanup_errors=True) as folder:
        yield Settings(home=HomeSettings(home=Path(folder)), database=DatabaseSettings(url=None))
        EmbeddedServer(Path(folder)).stop()


def test_the_best_of_200_attempts_of_noise_is_refused_and_a_restart_forgets_none(settings: Settings) -> None:
    line = AttemptLine(open_engine(settings), "t", "1d", "symmetric")
    assert line.write([attempt(f"idea {k}", k) for k in range(200)], run_id="r") == 200
    line.engine.dispose()
    assert EmbeddedServer(settings.home.home).stop()

    line = AttemptLine(open_engine(settings), "t", "1d", "symmetric")
    trials = [as_trial(kept) for kept in line.trials()]
    line.engine.dispose()

    assert len(trials) == 200
    best = max(trials, key=lambda trial: trial.sharpe)
    found = deflate(best.daily, [trial for trial in trials if trial is not best])
    assert probabilistic_sharpe_ratio(best.daily.to_numpy()) > 0.95
    assert found.probability > 0.95
    assert found.deflated < 0.95
    assert found.n_trials == 200


def test_a_skilled_attempt_among_the_noise_still_passes(database: Engine) -> None:
    line = AttemptLine(database, "t", "1d", "symmetric")
    line.write([attempt(f"idea {k}", k) for k in range(50)] + [attempt("skilled", 99, sharpe_of=0.45)], run_id="r")
    trials = [as_trial(kept) for kept in line.trials()]

    skilled = next(trial for trial in trials if trial.name == "skilled")
    assert deflate(skilled.daily, [trial for trial in trials if trial is not skilled]).deflated > 0.95


def test_the_same_idea_week_after_week_is_one_trial_with_its_newest_profits(database: Engine) -> None:
    line = AttemptLine(database, "t", "1d", "symmetric")
    weeks = [attempt("idea", 10 + week, week=week) for week in range(3)]
    line.write([weeks[2], weeks[0], weeks[1]], run_id="r")
    line.write([replace(weeks[0], kind="search", subject="forest", sharpe=None, daily_profit=None)], run_id="r")
    replace(line, dataset="other").write([attempt("elsewhere", 1)], run_id="r")

    (kept,) = line.trials()
    assert (kept.subject, kept.times, kept.sharpe) == ("idea", 3, weeks[2].sharpe)
    assert kept.daily_profit == weeks[2].daily_profit
    assert line.counts() == {"idea": 3, "search": 1}


def test_a_profit_that_is_not_finite_is_refused(database: Engine) -> None:
    line = AttemptLine(database, "t", "1d", "symmetric")
    with pytest.raises(DataContractError, match="Nothing was written"):
        line.write([replace(attempt("idea", 1), daily_profit={"2024-01-02": float("nan")})], run_id="r")
    assert line.trials() == []
