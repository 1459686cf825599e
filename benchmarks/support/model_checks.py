"""Checks on the comparison itself: permuted outcomes through every stage, and the leak contrast on the same rows."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.support.model_markets import ModelMarket
from benchmarks.support.model_walk import stage_columns, stages, walk_ours
from catalyst_ml.evaluation.intervals import ScoreInterval, auc_interval, auc_within_interval
from catalyst_ml.evaluation.permutation import permute_outcomes
from catalyst_ml.models.leak_contrast import LeakContrast, LeakRow, leak_contrast

SEED = 5
LEVEL = 1.0 - 0.05 / 16
"""Eight stages, two ways of dealing: one false alarm in twenty for the whole table."""


@dataclass(frozen=True)
class StageAuc:
    """AUC of one stage on outcomes dealt anew: within day and direction, and over all rows."""

    stage: str
    within: ScoreInterval
    overall: ScoreInterval


@dataclass(frozen=True)
class Checks:
    """Stages on permuted outcomes, and the leak contrast on outcomes as they fell and on permuted ones."""

    stages: tuple[StageAuc, ...]
    leaks: LeakContrast
    leaks_permuted: LeakContrast

    @property
    def judged(self) -> str:
        """The rows that the leak contrast judges, in words."""
        rate = f"base rate {self.leaks.base_rate:.1%}, its log-loss {self.leaks.base_rate_log_loss:.3f}"
        return f"newest {self.leaks.n_sessions} sessions, {self.leaks.n_rows:,} rows, {rate}"

    def keep(self, file: Path) -> None:
        """Write everything as JSON; `kept` reads it back."""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(asdict(self)))

    @classmethod
    def kept(cls, file: Path) -> Checks | None:
        """Read what `keep` wrote; None if it did not."""
        if not file.exists():
            return None
        stored = json.loads(file.read_text())
        stages = tuple(
            StageAuc(s["stage"], ScoreInterval(**s["within"]), ScoreInterval(**s["overall"])) for s in stored["stages"]
        )
        return cls(stages, *(_leak_contrast(stored[name]) for name in ("leaks", "leaks_permuted")))


def check(market: ModelMarket) -> Checks:
    """Run both checks on the rows of one market.

    The leak contrast judges one flexible model with the answers in its training set, with shuffled folds, and purged.
    """
    permuted = permute_outcomes(market.rows, seed=SEED)
    leaks, leaks_permuted = (leak_contrast(rows, market.procedure, n_threads=1) for rows in (market.rows, permuted))
    return Checks(tuple(permuted_stages(market)), leaks, leaks_permuted)


def permuted_stages(market: ModelMarket) -> list[StageAuc]:
    """Walk our procedure through permuted outcomes, dealt in two ways.

    Within session and direction the days keep their luck, which a model may rightly know something of: it is the AUC
    within day and direction that must be 0.5. Over all rows nothing is left to know, and the plain AUC must be.
    """
    dealt = {}
    for name, within in (("within", ("session", "direction")), ("overall", ())):
        rows = permute_outcomes(market.rows, within=within, seed=SEED)
        dealt[name] = stages(walk_ours(rows, market.folds, market.procedure)[0], market.procedure)
    of_groups, of_all = dealt["within"], dealt["overall"]
    return [
        StageAuc(
            stage,
            auc_within_interval(
                of_groups["y"], of_groups[column], of_groups["session"], of_groups["direction"], level=LEVEL
            ),
            auc_interval(of_all["y"], of_all[column], of_all["session"], level=LEVEL),
        )
        for stage, column in stage_columns(of_groups).items()
    ]


def _leak_contrast(stored: dict[str, Any]) -> LeakContrast:
    return LeakContrast(**(stored | {"rows": tuple(LeakRow(**row) for row in stored["rows"])}))
