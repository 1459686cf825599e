"""Ed25519 signatures: who made a manifest or a pointer, checked by servers that pinned the public key.

A signature is detached and covers exactly the stored bytes, so that any other tool can check it too. A signature file
is text: one base64 line each, the newest first. It may carry the signature of what was signed before, so that a
document and its signature can be replaced one after the other while readers always find a pair.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from catalyst_ml.errors import ArtifactRefused, ConfigurationError
from catalyst_ml.settings import Settings

SIGNATURE_SUFFIX = ".sig"
MAX_SIGNATURE_BYTES = 1_024
"""A signature file holds at most two lines of 88 characters."""

_PREFIX = "ed25519:"
_KEY_BYTES, _SIGNATURE_BYTES = 32, 64
_MAX_KEY_FILE_BYTES = 16_384
_MAX_LINES = 2


@dataclass(frozen=True)
class PublicKeys:
    """The keys a reader believes, usually one; two while the old one is being replaced."""

    raw: tuple[bytes, ...]

    @classmethod
    def parse(cls, text: str, *, name: str = "SIGNING_PUBLIC_KEY") -> Self:
        """Read ``ed25519:<base64>``, several separated by commas, as ``catalyst-ml keys show`` prints it.

        Raises
        ------
        ConfigurationError
            If it is anything else; names ``name``.
        """
        return cls(tuple(_raw_key(part.strip(), name) for part in text.split(",")))

    def __str__(self) -> str:
        return ",".join(_PREFIX + base64.b64encode(key).decode() for key in self.raw)

    @property
    def fingerprint(self) -> str:
        """Eight hex digits of each key's SHA-256, for people to compare."""
        return ", ".join(hashlib.sha256(key).hexdigest()[:8] for key in self.raw)

    def verifies(self, data: bytes, signature: bytes) -> bool:
        """True if one of the keys made ``signature`` over exactly ``data``."""
        for key in self.raw:
            with contextlib.suppress(InvalidSignature):
                Ed25519PublicKey.from_public_bytes(key).verify(signature, data)
                return True
        return False


@dataclass(frozen=True)
class Signer:
    """Signs for this machine; its key is in memory only as long as the process."""

    _key: Ed25519PrivateKey

    @property
    def public_keys(self) -> PublicKeys:
        """What servers pin."""
        return PublicKeys((self._key.public_key().public_bytes_raw(),))

    def sign(self, data: bytes) -> bytes:
        """Return the 64-byte signature over ``data``; the same data gives the same signature."""
        return self._key.sign(data)


def key_path(settings: Settings) -> Path:
    """Where the private key of this machine lies: SIGNING_PRIVATE_KEY_FILE, or ``keys/signing.pem`` below the home."""
    configured = settings.signing.private_key_file
    return configured.expanduser() if configured else settings.home.path("keys", "signing.pem")


def create_key(path: Path) -> Signer:
    """Make a key pair and store its private half in ``path``, readable by this user alone.

    Two creators at once: one makes the key, the other is refused, none is overwritten.

    Raises
    ------
    ConfigurationError
        If the file exists: what it signed could not be verified with another key. If it cannot be written there.
    """
    key = Ed25519PrivateKey.generate()
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    temporary = path.with_name(f".{path.name}-{os.getpid()}-{os.urandom(4).hex()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        # A link, not a rename: it fails where a file is, so no key is ever replaced; and it is whole when it appears.
        os.link(temporary, path)
    except OSError as error:
        if path.exists():
            raise ConfigurationError(
                f"signing key {path} exists and is not overwritten: servers have pinned its public half. "
                "Use it, or move it away first if you mean to replace it everywhere."
            ) from None
        raise ConfigurationError(
            f"signing key {path} cannot be made: {error.strerror}. Check the folder and the disk, or set "
            "SIGNING_PRIVATE_KEY_FILE to a key elsewhere."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    return Signer(key)


def load_signer(path: Path) -> Signer:
    """Read the private key that ``create_key`` wrote.

    Raises
    ------
    ConfigurationError
        If there is none, if others may read it, or if it is no Ed25519 key.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(_MAX_KEY_FILE_BYTES)
    except FileNotFoundError:
        raise ConfigurationError(
            f"signing key {path} does not exist. Make one with `catalyst-ml keys create`, "
            "or set SIGNING_PRIVATE_KEY_FILE to the one you have."
        ) from None
    except OSError as error:
        raise ConfigurationError(f"signing key {path} cannot be read: {error.strerror}. Check the file.") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigurationError(
            f"signing key {path} is open to others (mode {stat.S_IMODE(mode):03o}, expected 600). "
            f"Run: chmod 600 {path}; if others could read it, make a new one."
        )
    try:
        key = load_pem_private_key(text, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigurationError(f"signing key {path}: expected an unencrypted Ed25519 key in PEM. Restore the file.")
    return Signer(key)


def open_signer(settings: Settings) -> Signer:
    """Return the signer of this machine; its key is made at the first use, unless one was configured.

    Raises
    ------
    ConfigurationError
        If a configured file is missing, as ``load_signer``, or if SIGNING_PUBLIC_KEY pins another key: what this
        machine signs would be refused everywhere.
    """
    path = key_path(settings)
    if settings.signing.private_key_file is None and not path.exists():
        try:
            create_key(path)
        except ConfigurationError:
            if not path.exists():  # otherwise somebody else made it meanwhile
                raise
    signer = load_signer(path)
    if settings.signing.public_key:
        pinned = PublicKeys.parse(settings.signing.public_key)
        if not set(signer.public_keys.raw) <= set(pinned.raw):
            raise ConfigurationError(
                f"signing key {path} is {signer.public_keys}, SIGNING_PUBLIC_KEY pins {pinned}. "
                "What this machine signs would be refused: mend SIGNING_PUBLIC_KEY or SIGNING_PRIVATE_KEY_FILE."
            )
    return signer


def signature_file(signatures: Sequence[bytes]) -> bytes:
    """Return the stored text of one or two signatures, the newest first."""
    return b"".join(base64.b64encode(signature) + b"\n" for signature in signatures[:_MAX_LINES])


def read_signatures(name: str, data: bytes) -> tuple[bytes, ...]:
    """Parse a signature file.

    Raises
    ------
    ArtifactRefused
        If it is not one or two lines of base64, 64 bytes each.
    """
    lines = data.split(b"\n")
    if not 2 <= len(lines) <= _MAX_LINES + 1 or lines[-1]:
        raise ArtifactRefused(f"{name}: {len(lines)} pieces, expected one or two lines. It is no signature of ours.")
    try:
        signatures = tuple(base64.b64decode(line, validate=True) for line in lines[:-1])
    except (binascii.Error, ValueError):
        signatures = ()
    if not signatures or any(len(signature) != _SIGNATURE_BYTES for signature in signatures):
        raise ArtifactRefused(f"{name}: expected base64 of {_SIGNATURE_BYTES} bytes a line. It is no signature.")
    return signatures


def require_signature(name: str, data: bytes, signature: bytes, keys: PublicKeys) -> None:
    """Check that ``signature`` (a file's bytes) holds a signature of a believed key over exactly ``data``.

    Raises
    ------
    ArtifactRefused
        If none does; nothing of ``data`` may be used then.
    """
    name_of_signature = name + SIGNATURE_SUFFIX
    if not any(keys.verifies(data, one) for one in read_signatures(name_of_signature, signature)):
        raise ArtifactRefused(
            f"{name_of_signature}: not made over these bytes by the pinned key ({keys.fingerprint}). "
            f"{name} was altered, or signed with another key; never use it. If the key was replaced on purpose, "
            "pin the new one in SIGNING_PUBLIC_KEY."
        )


def _raw_key(text: str, name: str) -> bytes:
    try:
        raw = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if not text.startswith(_PREFIX) or len(raw) != _KEY_BYTES:
        raise ConfigurationError(
            f"{name}: expected {_PREFIX} and 44 characters of base64, as `catalyst-ml keys show` prints, "
            f"got {len(text)} characters that begin with {text[:12]!r}."
        )
    return raw
