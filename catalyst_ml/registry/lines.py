"""What a champion belongs to, and where its bytes lie; known to a server that has no database."""

from __future__ import annotations

from typing import NamedTuple

from catalyst_ml.registry.manifest import Manifest


class ModelLine(NamedTuple):
    """What a champion belongs to; versions of different lines never meet."""

    dataset: str
    timeframe: str
    label_version: str

    def __str__(self) -> str:
        return f"{self.dataset}/{self.timeframe}/{self.label_version}"


def line_of(manifest: Manifest) -> ModelLine:
    """The line a version belongs to."""
    return ModelLine(manifest.dataset, manifest.timeframe, manifest.label_version)


def version_key(version_id: str, name: str = "") -> str:
    """Key of a version's folder in every store, or of one file in it."""
    return f"versions/{version_id}/{name}".rstrip("/")
