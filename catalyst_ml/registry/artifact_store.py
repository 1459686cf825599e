"""Where artifact bytes live: the contract of a store, and the store that is a folder.

A store knows keys and bytes, nothing of versions: what the bytes must be is said by the manifest and
checked by ``versions.load_version``. Nothing read here is ever unpickled.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from pathlib import Path
from typing import Protocol

from catalyst_ml.errors import ArtifactRefused, SourceUnavailable, UnknownVersion
from catalyst_ml.settings import Settings

MAX_ARTIFACT_BYTES = 64 * 1024 * 1024
"""Largest single artifact. A version is about 12 MB; what is far above it is damaged or not ours."""

_MAX_KEY_LENGTH = 512
_TEMPORARY_PREFIX = ".writing-"


class ArtifactStore(Protocol):
    """Keys to bytes.

    ``put_bytes`` is idempotent and may be retried; a reader sees the old bytes or the new ones, never a
    mixture, and when it returns the bytes survive a power cut. ``get_bytes`` raises ``UnknownVersion`` for a
    key that does not exist and ``ArtifactRefused`` for one above ``max_bytes``, without reading it. A store
    that does not answer raises ``SourceUnavailable``, a key that is not a plain relative path
    ``ArtifactRefused``. ``list_keys`` is sorted and never shows a half-written object. ``delete`` is idempotent: a key
    that does not exist is deleted already.
    """

    def put_bytes(self, key: str, data: bytes) -> None: ...

    def get_bytes(self, key: str, *, max_bytes: int = MAX_ARTIFACT_BYTES) -> bytes: ...

    def exists(self, key: str) -> bool: ...

    def list_keys(self, prefix: str) -> list[str]: ...

    def delete(self, key: str) -> None: ...

    def uri(self, key: str) -> str: ...


def open_stores(settings: Settings) -> tuple[ArtifactStore, ...]:
    """Return every store that artifacts go to: the folder below the home, then Spaces if configured.

    The order is the order of reading: the local disk answers before the network is asked.

    Raises
    ------
    ConfigurationError
        If Spaces is configured without its credentials.
    """
    folder = FolderStore(settings.home.path("artifacts"))
    if not settings.spaces.enabled:
        return (folder,)
    from catalyst_ml.registry.spaces import open_spaces  # boto3 costs 0.4 s: only where a bucket is set

    return (folder, open_spaces(settings.spaces))


def check_key(key: str) -> str:
    """Return ``key`` if it is a plain relative path, or raise.

    Segments are separated by ``/``, are not empty, do not begin with a dot and hold neither backslashes,
    colons nor control characters, so that no key can leave the store's folder or prefix on any system.

    Raises
    ------
    ArtifactRefused
        If the key is anything else.
    """
    segments = key.split("/")
    plain = (
        0 < len(key) <= _MAX_KEY_LENGTH
        and key.isprintable()
        and not set(key) & set("\\:")
        and all(segment and not segment.startswith(".") for segment in segments)
    )
    if not plain:
        raise ArtifactRefused(
            f"artifact key {key!r}: expected a relative path such as 'versions/<id>/model.onnx'. "
            "It was written by hand or altered; do not load what it points to."
        )
    return key


class FolderStore:
    """The store that is a folder on this machine's disk."""

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().absolute()

    def put_bytes(self, key: str, data: bytes) -> None:
        """Write ``data`` under ``key``: temporary name, fsync, rename, fsync of the folder.

        Raises
        ------
        SourceUnavailable
            If the disk is full, read-only or failing; nothing half-written stays behind.
        """
        target = self._path(key)
        temporary = target.with_name(f"{_TEMPORARY_PREFIX}{secrets.token_hex(8)}")
        try:
            _make_folders(target.parent, self.root)
            _write_durably(temporary, data)
            temporary.replace(target)
            _sync_folder(target.parent)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise self._failure("write", key, error) from error

    def get_bytes(self, key: str, *, max_bytes: int = MAX_ARTIFACT_BYTES) -> bytes:
        path = self._path(key)
        try:
            # Non-blocking: a pipe that somebody placed there would be waited for at its opening, for ever.
            with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise ArtifactRefused(f"artifact {path}: expected a plain file. Remove it and publish again.")
                # One byte more than allowed shows a file that grew after it was measured.
                data = file.read(max_bytes + 1) if status.st_size <= max_bytes else b""
        except FileNotFoundError:
            raise UnknownVersion(f"artifact {key!r} is not in {self.root}. Publish it again.") from None
        except IsADirectoryError:
            raise ArtifactRefused(f"artifact {path}: expected a plain file. Remove it and publish again.") from None
        except OSError as error:
            raise self._failure("read", key, error) from error
        if max(status.st_size, len(data)) > max_bytes:
            raise ArtifactRefused(
                f"artifact {path}: {max(status.st_size, len(data)):,} bytes, allowed are {max_bytes:,}. "
                "It is damaged or not ours; publish the version again."
            )
        return data

    def exists(self, key: str) -> bool:
        return self._path(key).is_file()

    def list_keys(self, prefix: str) -> list[str]:
        """Keys below the folder ``prefix``, sorted; an absent folder has none."""
        folder = self._path(prefix.rstrip("/"))
        files = (path for path in folder.rglob("*") if path.is_file())
        keys = (path.relative_to(self.root).as_posix() for path in files)
        return sorted(key for key in keys if not Path(key).name.startswith(_TEMPORARY_PREFIX))

    def delete(self, key: str) -> None:
        """Remove the file, and its folder if that is empty then."""
        path = self._path(key)
        try:
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # not empty, or gone already
                if path.parent != self.root:
                    path.parent.rmdir()
        except OSError as error:
            raise self._failure("delete", key, error) from error

    def uri(self, key: str) -> str:
        return self._path(key).as_uri()

    def _path(self, key: str) -> Path:
        path = self.root / check_key(key)
        # A link that somebody placed below the root could lead anywhere.
        if not path.resolve().is_relative_to(self.root.resolve()):
            raise ArtifactRefused(f"artifact {key!r} leads out of {self.root}. Remove the link and publish again.")
        return path

    def _failure(self, action: str, key: str, error: OSError) -> SourceUnavailable:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = "Free space on that disk" if full else "Check the disk and its permissions"
        return SourceUnavailable(
            f"artifact store {self.root}: could not {action} {key!r}: {error.strerror or error}. "
            f"{remedy}, then run again."
        )


def _make_folders(folder: Path, root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    below = [parent for parent in (folder, *folder.parents) if parent.is_relative_to(root)]
    for parent in reversed([parent for parent in below if not parent.exists()]):
        parent.mkdir(exist_ok=True)
        _sync_folder(parent.parent)


def _write_durably(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
