"""The pointer of a channel: one small signed document that tells servers without a database what to serve.

``channels/<dataset>-<timeframe>-<label_version>-<channel>.json`` and its ``.sig`` lie in every store. Who issues
pointers is ``registry.pointer``; this module only knows the document, so that a server need not load a database driver.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from catalyst_ml.errors import ArtifactRefused
from catalyst_ml.registry.lines import ModelLine
from catalyst_ml.registry.manifest import Name, Sha256, UtcTime, canonical_json
from catalyst_ml.registry.signatures import PublicKeys, require_signature

MAX_POINTER_BYTES = 8_192
MAX_SEQUENCE = 2**53 - 1
"""Largest whole number that every reader of JSON agrees on."""
MAX_REASON = 500

Stage = Literal["shadow", "10", "30", "70", "100"]

CEILINGS: dict[Stage, float] = {"shadow": 0.0, "10": 0.1, "30": 0.3, "70": 0.7, "100": 1.0}
"""Largest share of the decision that the model may have at each stage."""


class Pointer(BaseModel):
    """What ``channel`` of a line holds, from ``issued_at`` on, and why.

    ``version_id`` None means the rules; the stage is ``shadow`` and the share 0 then. ``sequence`` rises by at least
    one with every pointer of the channel. ``share`` is the largest weight the model may have, at most the stage's.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    dataset: Name
    timeframe: Name
    label_version: Name
    channel: Name
    version_id: Name | None
    manifest_sha256: Sha256 | None
    sequence: int = Field(ge=1, le=MAX_SEQUENCE)
    stage: Stage
    share: float = Field(ge=0.0, le=1.0)
    issued_at: UtcTime
    reason: str = Field(min_length=1, max_length=MAX_REASON)

    @property
    def line(self) -> ModelLine:
        """The line whose channel it is."""
        return ModelLine(self.dataset, self.timeframe, self.label_version)

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        if (self.version_id is None) != (self.manifest_sha256 is None):
            raise ValueError("version_id and manifest_sha256 go together")
        if self.version_id is None and self.stage != "shadow":
            raise ValueError("the rules have no stage of their own: expected shadow")
        if self.share > CEILINGS[self.stage]:
            raise ValueError(f"share {self.share} is above that of stage {self.stage}")
        return self


def pointer_key(line: ModelLine, channel: str) -> str:
    """Key of the pointer of a channel in every store."""
    return f"channels/{line.dataset}-{line.timeframe}-{line.label_version}-{channel}.json"


def pointer_bytes(pointer: Pointer) -> bytes:
    """Return the canonical bytes that are stored and signed."""
    return canonical_json(pointer.model_dump(mode="json"))


def read_pointer(data: bytes, signature: bytes, public_keys: PublicKeys, line: ModelLine, *, channel: str) -> Pointer:
    """Check the signature, then parse, then check that it is the pointer that was asked for.

    Raises
    ------
    ArtifactRefused
        If the signature is not one of ``public_keys`` over these bytes; if they are not the one spelling of a pointer
        of a schema we know (so no key occurs twice and nothing unknown hides in it); or if it is the pointer of
        another line or channel.
    """
    key = pointer_key(line, channel)
    require_signature(key, data, signature, public_keys)
    try:
        pointer = Pointer.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "document"
        raise ArtifactRefused(
            f"{key}: {error.error_count()} problems, first at {place}: {first['msg']}. "
            "It was written by another release; update the reader, or issue the pointer again."
        ) from error
    if pointer_bytes(pointer) != data:
        raise ArtifactRefused(f"{key}: not spelled as we spell it (a key twice, spaces, other numbers). Never use it.")
    if (pointer.line, pointer.channel) != (line, channel):
        raise ArtifactRefused(
            f"{key}: it is the pointer of channel {pointer.channel} of {pointer.line}, "
            f"asked for was channel {channel} of {line}. Somebody moved the file; issue the pointer again."
        )
    return pointer
