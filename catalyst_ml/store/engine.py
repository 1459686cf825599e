"""One place that opens our database: a server of yours through ``DATABASE_URL``, else the embedded one.

A configured SSH tunnel is opened at the first connection and closed with the process. Works behind a
transaction-mode pooler: no session settings, no session locks, no prepared statements; every name in our SQL carries
its schema.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, create_engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError

from catalyst_ml.errors import CatalystError, ConfigurationError, SourceUnavailable
from catalyst_ml.settings import Settings
from catalyst_ml.store.embedded import EmbeddedServer, is_disk_full
from catalyst_ml.store.tunnel import Tunnel
from catalyst_ml.store.tunnel_routes import TUNNEL_OPTION, through_tunnel, tunnel_to

_DISK_FULL = "53100"
_HOME_OPTION = "catalyst_home"

# A refused login carries no SQLSTATE through psycopg2, only the server's words (or libpq's, for TLS).
_REFUSALS = (
    (
        r"authentication failed|no password supplied|no pg_hba\.conf entry|no such user"
        r"|role \".*\" (does not exist|is not permitted)",
        "Check user and password in the URL (signs like @ : / # % percent-encoded), and the server's pg_hba.conf",
    ),
    (r"database \".*\" does not exist|no such database", "Check the name after the last / of the URL, or create it"),
    (
        r"certificate|does not support SSL",
        "TLS does not hold: compare sslmode, sslrootcert and the host in the URL with the certificate of the server",
    ),
    (r"invalid (dsn|sslmode|integer value)|connection option", "Check what stands after ? in the URL"),
    (r"unsupported startup parameter", "A pooler stands before the database: take ?options= out of the URL"),
)


def open_engine(settings: Settings, *, migrate: bool = True) -> Engine:
    """Open our database, starting the embedded server if no ``DATABASE_URL`` is set.

    Parameters
    ----------
    settings : Settings
        Its ``database`` and ``home``.
    migrate : bool
        Bring schema ``catalyst_ml`` to the newest version first; costs one query when it is there already.

    Returns
    -------
    Engine
        It has answered once. Connections are tested before use, so a restarted server is survived.

    Raises
    ------
    SourceUnavailable
        If the server, or the SSH tunnel to it, does not answer; names host and port, never the password.
    ConfigurationError
        If the URL is none of PostgreSQL, or if the server refuses user, password, database or its certificate is not
        the one asked for.
    """
    engine = _engine_of_url(settings) if settings.database.url is not None else _engine_of_home(settings)
    with database_errors(engine):
        with engine.connect():
            pass
        if migrate:
            from catalyst_ml.store.migrations import upgrade

            upgrade(engine)
    return engine


def database_url(settings: Settings) -> str:
    """URL with password for ``psql``; the embedded server must be running."""
    if settings.database.url is not None:
        return (
            _parse_url(settings.database.url.get_secret_value())
            .set(drivername="postgresql")
            .render_as_string(hide_password=False)
        )
    return EmbeddedServer(settings.home.path()).url()


def tunnel_to_database(settings: Settings) -> Tunnel | None:
    """The SSH tunnel that ``DATABASE_URL`` is reached through, unopened; ``None`` if it is reached without one."""
    if settings.database.url is None or not settings.tunnel.is_for("DATABASE_URL"):
        return None
    url = _parse_url(settings.database.url.get_secret_value())
    return tunnel_to(url, settings.tunnel, variable="DATABASE_URL")


def describe(engine: Engine) -> str:
    """Where the engine leads, in words without secrets."""
    home = engine.get_execution_options().get(_HOME_OPTION)
    if home is not None:
        return f"embedded PostgreSQL in {home}"
    url, tunnel = engine.url, engine.get_execution_options().get(TUNNEL_OPTION)
    place = f"{url.host or url.query.get('host', 'local socket')}:{url.port or 5432}"
    return f"PostgreSQL at {place}, database {url.database}" + (f", through the {tunnel}" if tunnel else "")


@contextmanager
def database_errors(engine: Engine) -> Iterator[None]:
    """Turn the database's failures into one clear message; what was being written is rolled back.

    Raises
    ------
    SourceUnavailable
        For a lost connection or one that nobody accepts, and for a full disk.
    ConfigurationError
        For a login that the server refuses, or a server that does not show the certificate asked for.
    """
    try:
        yield
    except CatalystError:
        raise
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise SourceUnavailable(_disk_full_message(engine)) from error
    except Exception as error:
        # psycopg2 raises its own classes where COPY bypasses SQLAlchemy; both are sorted by what they carry.
        cause = error.orig if isinstance(error, DBAPIError) else error
        if not _is_database_error(cause):
            raise
        if getattr(cause, "pgcode", None) == _DISK_FULL or (_is_lost(error) and _home_is_full(engine)):
            raise SourceUnavailable(_disk_full_message(engine)) from None
        reason = _without_password(" ".join(str(cause).split()).rstrip(".") or type(cause).__name__, engine.url)
        remedy = _remedy_of_refusal(cause, reason)
        if remedy is not None:
            raise ConfigurationError(f"{describe(engine)} cannot be used: {reason}. {remedy}.") from None
        if _is_lost(error):
            raise SourceUnavailable(
                f"{describe(engine)} did not answer: {reason}. Check that it runs and that DATABASE_URL is right; "
                "nothing was written."
            ) from None
        raise


def _engine_of_url(settings: Settings) -> Engine:
    assert settings.database.url is not None
    url = _parse_url(settings.database.url.get_secret_value())
    connect_args = {} if "connect_timeout" in url.query else {"connect_timeout": settings.database.connect_timeout_s}
    engine = create_engine(url, pool_size=2, max_overflow=3, pool_pre_ping=True, connect_args=connect_args)
    return through_tunnel(engine, settings.tunnel, variable="DATABASE_URL")


def _engine_of_home(settings: Settings) -> Engine:
    import psycopg2

    home = settings.home.path()
    server = EmbeddedServer(home)
    server.ensure_running()

    def connect() -> Any:
        for last in (False, True):
            try:
                status = server.status()
                return psycopg2.connect(host=str(status.socket_folder), user="postgres", dbname="postgres")
            except psycopg2.OperationalError:
                # Crashed or stopped since: start it again, once.
                if last:
                    raise
                server.ensure_running()
        raise AssertionError("unreachable")

    return create_engine(
        "postgresql+psycopg2://",
        creator=connect,
        pool_size=2,
        max_overflow=3,
        pool_pre_ping=True,
        execution_options={_HOME_OPTION: str(home)},
    )


def _parse_url(text: str) -> URL:
    try:
        url = make_url(text.strip().replace("postgres://", "postgresql://", 1))
    except (ArgumentError, ValueError):
        raise ConfigurationError(
            "DATABASE_URL is no URL; expected postgresql://user:password@host:5432/database."
        ) from None
    if not url.drivername.startswith("postgresql"):
        raise ConfigurationError(
            f"DATABASE_URL names {url.drivername!r}; expected postgresql://user:password@host:5432/database."
        )
    if url.host is not None and "@" in url.host:
        # The rest of a password would be taken for the host, and shown as such.
        raise ConfigurationError("DATABASE_URL has an @ too many: write an @ inside the password as %40.")
    return url.set(drivername="postgresql+psycopg2")


def _remedy_of_refusal(cause: BaseException | None, reason: str) -> str | None:
    """What to do about a login that trying again cannot mend; None for everything that happens after a login."""
    if getattr(cause, "pgcode", None) is not None:
        return None
    return next((remedy for pattern, remedy in _REFUSALS if re.search(pattern, reason)), None)


def _is_database_error(error: BaseException | None) -> bool:
    import psycopg2

    return isinstance(error, psycopg2.Error)


def _is_lost(error: Exception) -> bool:
    import psycopg2

    if isinstance(error, DBAPIError):
        return error.connection_invalidated or isinstance(error, OperationalError)
    return isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError)


def _home_is_full(engine: Engine) -> bool:
    home = engine.get_execution_options().get(_HOME_OPTION)
    return home is not None and is_disk_full(Path(home))


def _disk_full_message(engine: Engine) -> str:
    return (
        f"{describe(engine)}: the disk is full. What was being written is rolled back, nothing is half-written; "
        "free some space and run the same command again."
    )


def _without_password(text: str, url: URL) -> str:
    return text.replace(str(url.password), "***") if url.password else text
