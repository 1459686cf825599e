"""Redis as a cache of signed documents and as the bell that tells servers of a promotion.

Never the truth: what lies here is verified like everything else, may be evicted at any time, and is written again by
whoever finds it missing. One hash per folder, so that a shared Redis is never scanned; all keys begin with ``ml:``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from catalyst_ml.errors import ArtifactRefused, CatalystError, ConfigurationError, SourceUnavailable, UnknownVersion
from catalyst_ml.registry.artifact_store import MAX_ARTIFACT_BYTES, check_key
from catalyst_ml.settings import RedisSettings

if TYPE_CHECKING:
    import redis

log = logging.getLogger(__name__)

PREFIX = "ml:"
BELL = f"{PREFIX}promotions"
"""Channel of PUBLISH; a message says that some pointer moved, never where to: the pointer itself is read and proved."""

KEPT_S = 30 * 86_400
"""Folders that nobody wrote to for so long are forgotten."""


class RedisStore:
    """The half of an ``ArtifactStore`` that following a channel needs, and ``put_bytes`` to fill the cache."""

    def __init__(self, client: redis.Redis, *, address: str) -> None:
        self._client = client
        self._address = address

    def put_bytes(self, key: str, data: bytes) -> None:
        folder, name = _split(key)
        with self._errors("write", key):
            pipe = self._client.pipeline(transaction=True)
            pipe.hset(folder, name, data)
            pipe.expire(folder, KEPT_S)
            pipe.execute()

    def get_bytes(self, key: str, *, max_bytes: int = MAX_ARTIFACT_BYTES) -> bytes:
        folder, name = _split(key)
        with self._errors("read", key):
            size = int(self._client.hstrlen(folder, name))
            if size > max_bytes:
                raise ArtifactRefused(f"{self.uri(key)}: {size:,} bytes, allowed are {max_bytes:,}.")
            data: Any = self._client.hget(folder, name)
        if data is None:
            raise UnknownVersion(f"{self.uri(key)} is not there (never cached, or evicted).")
        if len(data) > max_bytes:
            raise ArtifactRefused(f"{self.uri(key)}: it grew beyond the allowed {max_bytes:,} bytes while it was read.")
        return bytes(data)

    def list_keys(self, prefix: str) -> list[str]:
        """Keys directly in the folder ``prefix``, sorted."""
        folder = check_key(prefix.rstrip("/"))
        with self._errors("list", prefix):
            names: Any = self._client.hkeys(f"{PREFIX}{folder}")
        return sorted(f"{folder}/{name.decode('utf-8', 'replace')}" for name in names)

    def uri(self, key: str) -> str:
        return f"redis://{self._address}/{PREFIX}{key}"

    def announce(self, documents: Mapping[str, bytes]) -> int:
        """Cache a pointer's documents, then ring the bell; return how many servers heard it."""
        for key, data in reversed(list(documents.items())):
            self.put_bytes(key, data)
        return self.ring()

    def ring(self) -> int:
        """Tell servers that some pointer moved; return how many heard it."""
        with self._errors("announce", BELL):
            return int(self._client.publish(BELL, "moved"))

    def heard(self, timeout_s: float) -> Iterator[bool]:
        """Yield True at once (subscribed) and for each ring, False after ``timeout_s`` without; ends never.

        Raises
        ------
        SourceUnavailable
            If Redis does not answer (any more).
        """
        with self._errors("listen", BELL), self._client.pubsub(ignore_subscribe_messages=True) as bell:
            bell.subscribe(BELL)
            yield True
            while True:
                yield bell.get_message(timeout=timeout_s) is not None

    def ping(self) -> None:
        """Raise ``SourceUnavailable`` unless Redis answers."""
        with self._errors("reach", ""):
            self._client.ping()

    @contextmanager
    def _errors(self, action: str, key: str) -> Iterator[None]:
        import redis

        try:
            yield
        except redis.AuthenticationError as error:
            raise ConfigurationError(f"Redis at {self._address} refuses the password. Check REDIS_URL.") from error
        except (redis.RedisError, OSError) as error:
            raise SourceUnavailable(
                f"Redis at {self._address}: could not {action} {key!r}: {type(error).__name__}. It is a cache; "
                "servers go on without it."
            ) from error


def open_redis(settings: RedisSettings) -> RedisStore | None:
    """Return the store, without a request yet; None if Redis is not configured.

    Raises
    ------
    ConfigurationError
        If REDIS_URL is no Redis URL.
    """
    if not settings.enabled:
        return None
    import redis  # 10 MB: only where one is configured

    limits: dict[str, Any] = {
        "socket_timeout": settings.timeout_s,
        "socket_connect_timeout": settings.timeout_s,
        "retry": None,
        "health_check_interval": 15,
    }
    try:
        if settings.url is not None:
            client = redis.Redis.from_url(settings.url.get_secret_value(), **limits)
        else:
            password = settings.password.get_secret_value() if settings.password else None
            client = redis.Redis(host=str(settings.host), port=settings.port, password=password, **limits)
    except ValueError as error:
        raise ConfigurationError("REDIS_URL is no Redis URL; expected redis://[:password@]host:port/0.") from error
    given = client.connection_pool.connection_kwargs
    return RedisStore(client, address=f"{given.get('host', 'socket')}:{given.get('port', '')}")


def ring_bell(settings: RedisSettings) -> str | None:
    """Ring after a pointer was issued; without Redis servers find it by themselves, some seconds later.

    Returns what went wrong in words, None if nothing did or no Redis is configured: a promotion never fails for it.
    """
    try:
        store = open_redis(settings)
        if store is not None:
            store.ring()
    except (CatalystError, ImportError) as error:
        log.warning("servers were not told over Redis, they will find the pointer by polling: %s", error)
        return str(error)
    return None


def _split(key: str) -> tuple[str, str]:
    folder, _, name = check_key(key).rpartition("/")
    return f"{PREFIX}{folder}", name
