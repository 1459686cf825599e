"""The one place that chooses real implementations: which database, folder and bucket a run talks to.

Tasks ask here; the library is handed what it needs. Nothing is opened at import. References travel between
tasks as plain dicts, because that is what Prefect keeps as JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

import pandas as pd
from sqlalchemy import Engine

from catalyst_ml.registry.artifact_store import ArtifactStore, open_stores
from catalyst_ml.registry.outbox import Outbox, open_outbox
from catalyst_ml.registry.signatures import Signer, open_signer
from catalyst_ml.settings import Settings
from catalyst_ml.store.engine import open_engine
from catalyst_ml.store.snapshots import BytesRef, FrameRef, SnapshotStore


@cache
def settings() -> Settings:
    """Settings of this process, read once."""
    return Settings()


@cache
def engine() -> Engine:
    """Engine on our own schema, migrated; starts the embedded server if no DATABASE_URL is set."""
    return open_engine(settings())


@cache
def snapshots() -> SnapshotStore:
    """Frames and files that tasks hand each other."""
    return SnapshotStore(settings().home.path("snapshots"))


@cache
def artifact_stores() -> Sequence[ArtifactStore]:
    """Where versions go: the folder of this machine, and Spaces if it is configured."""
    return open_stores(settings())


@cache
def signer() -> Signer:
    """Who signs manifests and pointers here; the first run makes the key."""
    return open_signer(settings())


@cache
def outbox() -> Outbox:
    """What a store did not take yet."""
    return open_outbox(settings())


def forget() -> None:
    """Read the settings and open everything anew at the next use, as after the environment has changed."""
    for opened in (settings, engine, snapshots, artifact_stores, signer, outbox):
        opened.cache_clear()


_APART: ContextVar[str] = ContextVar("folder of frames", default="")


@contextmanager
def frames_apart(name: str | None) -> Iterator[None]:
    """Store frames in folders of their own meanwhile, so that ``snapshots().discard(name)`` removes these and no other.

    In the common folders (again with None) equal frames are one file, whoever stored them.
    """
    before = _APART.set(f"{name}." if name else "")
    try:
        yield
    finally:
        _APART.reset(before)


def store_frame(name: str, frame: pd.DataFrame) -> dict[str, Any]:
    """Keep a frame and return its reference."""
    return snapshots().put(_APART.get() + name, frame.reset_index(drop=True)).model_dump()


def load_frame(reference: dict[str, Any]) -> pd.DataFrame:
    """Return the frame behind a reference, verified."""
    return snapshots().get(FrameRef.model_validate(reference))


def store_bytes(name: str, content: bytes, *, suffix: str) -> dict[str, Any]:
    """Keep bytes and return their reference."""
    return snapshots().put_bytes(name, content, suffix=suffix).model_dump()


def load_bytes(reference: dict[str, Any]) -> bytes:
    """Return the bytes behind a reference, verified."""
    return snapshots().get_bytes(BytesRef.model_validate(reference))
