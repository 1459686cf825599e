"""What servers are told of production: the version that the channel holds, and how far the trial lets it speak.

A version that the gate promoted, or a person forced, speaks with the share of the trial's stage and no other. Before
the trial has moved, that is none: the rules answer, and the server shows what the model would have said.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Engine

from catalyst_ml.registry import channels
from catalyst_ml.registry.artifact_store import ArtifactStore
from catalyst_ml.registry.lines import ModelLine
from catalyst_ml.registry.outbox import Outbox
from catalyst_ml.registry.pointer import IssuedPointer, issue_pointer
from catalyst_ml.registry.pointer_document import CEILINGS, Stage
from catalyst_ml.registry.signatures import Signer
from catalyst_ml.trial.stage_history import StageHistory

_STAGE_OF_SHARE: dict[float, Stage] = {share: stage for stage, share in CEILINGS.items()}


def standing_stage(engine: Engine, line: ModelLine) -> Stage:
    """Return the stage that the newest trial of ``line`` has reached, in the words of the pointer."""
    history = StageHistory(engine, line)
    trials = history.trials()
    moves = history.moves(number=trials[-1].number) if trials else []
    return _STAGE_OF_SHARE[moves[-1].to_share] if moves else "shadow"


def point_production(
    engine: Engine,
    stores: Sequence[ArtifactStore],
    signer: Signer,
    line: ModelLine,
    *,
    reason: str,
    outbox: Outbox | None = None,
) -> IssuedPointer:
    """Tell every store what production holds and which stage it has; idempotent. Raises as `issue_pointer`."""
    return issue_pointer(
        engine, stores, signer, line, channel=channels.PRODUCTION, stage=standing_stage(engine, line), reason=reason,
        outbox=outbox,
    )  # fmt: skip
