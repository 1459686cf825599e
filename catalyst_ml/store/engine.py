"""One place that opens our database: a server of yours through ``DATABASE_URL``, else the embedded one.

Works behind a transaction-mode pooler: no session settings, no session locks, no prepared statements; every
name in our SQL carries its schema.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, create_engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError

from catalyst_ml.errors import CatalystError, ConfigurationError, SourceUnavailable
from catalyst_ml.settings import Settings
from catalyst_ml.store.embedded import EmbeddedServer, is_disk_full

_DISK_FULL = "53100"
_HOME_OPTION = "catalyst_home"


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
        If the server does not answer; names host and port, never the password.
    ConfigurationError
        If the URL is none of PostgreSQL.
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


def describe(engine: Engine) -> str:
    """Where the engine leads, in words without secrets."""
    home = engine.get_execution_options().get(_HOME_OPTION)
    if home is not None:
        return f"embedded PostgreSQL in {home}"
    url = engine.url
    return (
        f"PostgreSQL at {url.host or url.query.get('host', 'local socket')}:{url.port or 5432}, database {url.database}"
    )


@contextmanager
def database_errors(engine: Engine) -> Iterator[None]:
    """Turn the database's failures into one clear message; what was being written is rolled back.

    Raises
    ------
    SourceUnavailable
        For a lost or refused connection, and for a full disk.
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
        if _is_lost(error):
            reason = " ".join(str(cause).split()).rstrip(".") or type(cause).__name__
            raise SourceUnavailable(
                f"{describe(engine)} did not answer: {_without_password(reason, engine.url)}. Check that it runs and "
                "that DATABASE_URL is right; nothing was written."
            ) from None
        raise


def _engine_of_url(settings: Settings) -> Engine:
    assert settings.database.url is not None
    url = _parse_url(settings.database.url.get_secret_value())
    connect_args = {} if "connect_timeout" in url.query else {"connect_timeout": settings.database.connect_timeout_s}
    return create_engine(url, pool_size=2, max_overflow=3, pool_pre_ping=True, connect_args=connect_args)


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
    return url.set(drivername="postgresql+psycopg2")


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
