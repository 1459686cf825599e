"""What the trial page shows, as one document that the trial's flow writes and this server only reads.

``trial/<dataset>-<timeframe>-<label_version>.json`` in a store or on the disk. It is shown, never acted on: what
answers is decided by the signed pointer alone.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from datetime import date
from typing import Annotated, Literal, Protocol

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from catalyst_ml.errors import CatalystError, UnknownVersion
from catalyst_ml.registry.lines import ModelLine

log = logging.getLogger(__name__)

MAX_BYTES = 2 * 1024 * 1024
KEPT_S = 30.0

Text = Annotated[str, StringConstraints(max_length=500)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class EvidencePoint(_Part):
    """Evidence after one session: the e-value that the model's arm is better, and the one that it is worse."""

    session: date
    e_better: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    e_worse: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None


class EquityPoint(_Part):
    """Sum of net returns of both arms up to a session, as fractions of the stake."""

    session: date
    ml: Finite
    rules: Finite


class StageMove(_Part):
    """A move of the trial's stage, and why."""

    at: AwareDatetime
    stage: Text
    reason: Text


class TrialView(_Part):
    """The trial as people see it."""

    schema_version: Literal[1] = 1
    updated_at: AwareDatetime
    arm_ml: Text = "the weekly procedure"
    arm_rules: Text = "the rules"
    stage: Text = ""
    next_stage_needs: Text = Field(default="", description="In words, e.g. 'E of 3 or more; it is 1.4'.")
    verdict: Text = Field(default="", description="What may be said now, in one sentence.")
    n_sessions: int = Field(default=0, ge=0)
    n_settled: int = Field(default=0, ge=0)
    accuracy: Annotated[float, Field(ge=0, le=1)] | None = None
    base_rate: Annotated[float, Field(ge=0, le=1)] | None = None
    accuracy_rules: Annotated[float, Field(ge=0, le=1)] | None = None
    thresholds: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] = (3.0, 10.0, 20.0)
    evidence: tuple[EvidencePoint, ...] = Field(default=(), max_length=5_000)
    equity: tuple[EquityPoint, ...] = Field(default=(), max_length=5_000)
    moves: tuple[StageMove, ...] = Field(default=(), max_length=200)


class ReadableStore(Protocol):
    """Where the document may lie; see ``ArtifactStore``."""

    def get_bytes(self, key: str, *, max_bytes: int = ...) -> bytes: ...


def trial_key(line: ModelLine) -> str:
    """Key of the trial's document in every store."""
    return f"trial/{line.dataset}-{line.timeframe}-{line.label_version}.json"


class TrialSource:
    """Reads the document from the first store that has it, at most every half minute; never raises."""

    def __init__(self, stores: Sequence[ReadableStore], line: ModelLine) -> None:
        self._stores, self._key = tuple(stores), trial_key(line)
        self._lock = threading.Lock()
        self._read_at: float | None = None
        self._view: TrialView | None = None
        self.problem: str | None = None

    def view(self) -> TrialView | None:
        """The trial, or None with ``problem`` saying why; may block while a store is asked."""
        with self._lock:
            if self._read_at is None or time.monotonic() - self._read_at > KEPT_S:
                self._view, self.problem = self._read()
                self._read_at = time.monotonic()
            return self._view

    @property
    def last_view(self) -> TrialView | None:
        """What was read last, without asking anybody."""
        return self._view

    def _read(self) -> tuple[TrialView | None, str | None]:
        problems = []
        for store in self._stores:
            try:
                return TrialView.model_validate_json(store.get_bytes(self._key, max_bytes=MAX_BYTES)), None
            except UnknownVersion:
                continue
            except CatalystError as error:
                problems.append(str(error))
            except ValidationError as error:
                first = error.errors(include_url=False, include_input=False)[0]
                problems.append(f"{self._key} is no trial document: {first['loc']}: {first['msg']}")
        if problems:
            log.warning("the trial cannot be shown: %s", " | ".join(problems))
            return None, " | ".join(problems)
        return None, "no trial has been written yet"
