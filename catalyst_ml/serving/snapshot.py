"""What answers at one moment: one immutable object, taken once per request, so that no answer mixes two versions."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from catalyst_ml.market.rules import DEFAULT_RULE_ARM, RULE_ARMS, RuleArm
from catalyst_ml.models.rule_arm import RuleCalibration
from catalyst_ml.serving.companions import ServedCompanions
from catalyst_ml.serving.graph import ServedGraph

Place = Literal["redis", "disk", "spaces", "last good", "rules"]
"""Where the version that answers came from, in the order they are asked; ``rules`` means no version answers."""

STAGES: tuple[tuple[float, str], ...] = ((0.0, "shadow"), (0.1, "10 %"), (0.3, "30 %"), (0.7, "70 %"), (1.0, "100 %"))


@dataclass(frozen=True)
class Step:
    """One place that was asked for the production version, and what it said."""

    place: str
    ok: bool
    reason: str

    def to_dict(self) -> dict[str, Any]:
        return {"place": self.place, "ok": self.ok, "reason": self.reason}


@dataclass(frozen=True)
class Snapshot:
    """Everything that decides an answer but the request.

    ``graph`` None means that the rules answer: by decision, with ``fallback`` None, or because no version could be
    loaded, with the reason in ``fallback``. ``rules`` calibrates the rules' score; it may come from an earlier version
    (``rules_from``) and is None if no version was ever seen. ``share`` is the most the model may weigh at its stage.
    ``companions`` are those of the same version as ``graph``, None where it has none.
    """

    version_id: str | None
    sequence: int
    stage: str
    share: float
    place: Place
    fallback: str | None
    graph: ServedGraph | None
    rules: RuleCalibration | None
    rules_from: str | None
    rule_arm_name: str
    as_of: datetime | None
    loaded_at: datetime
    steps: tuple[Step, ...] = ()
    metrics: dict[str, Any] = field(default_factory=dict)
    companions: ServedCompanions | None = None

    @property
    def rule_arm(self) -> RuleArm:
        return RULE_ARMS.get(self.rule_arm_name, RULE_ARMS[DEFAULT_RULE_ARM])


def rules_only(reason: str | None, *, now: datetime, steps: tuple[Step, ...] = (), sequence: int = 0) -> Snapshot:
    """The floor: no version, no calibration, the rules as they are."""
    return Snapshot(
        version_id=None,
        sequence=sequence,
        stage="rules",
        share=0.0,
        place="rules",
        fallback=reason,
        graph=None,
        rules=None,
        rules_from=None,
        rule_arm_name=DEFAULT_RULE_ARM,
        as_of=None,
        loaded_at=now,
        steps=steps,
    )
