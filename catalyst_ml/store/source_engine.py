"""The trading system's database: opened to be read, never to be written.

Works behind a transaction-mode pooler: every statement belongs to a transaction that says itself that it only reads,
and all settings end with it. No prepared statements, no session state, no cursors that outlive a transaction.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError

from catalyst_ml.errors import CatalystError, ConfigurationError, DataContractError, SourceUnavailable
from catalyst_ml.settings import Settings
from catalyst_ml.store.engine import describe
from catalyst_ml.store.tunnel_routes import through_tunnel

_VARIABLE = "SOURCE_DATABASE_URL"
_EXPECTED = "expected postgresql://user:password@host:5432/database, signs like @ : / # % of the password as %40, ..."
_KEEP_ALIVE = {"keepalives": 1, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
_REFUSED = re.compile(
    r"authentication failed|no password supplied|no pg_hba\.conf entry|no such user"
    r"|(role|database) \".*\" does not exist|no such database|is not permitted|certificate|does not support SSL"
    r"|invalid (dsn|sslmode|integer value)"
)
_CANCELLED, _NOT_ALLOWED, _READ_ONLY, _DATA_EXCEPTION = "57014", "42501", "25006", "22"


def open_source(settings: Settings) -> Engine:
    """Open the source, through the SSH tunnel if one is set; nothing is asked of it before the first :func:`reading`.

    Raises
    ------
    ConfigurationError
        If ``SOURCE_DATABASE_URL`` is unset or no PostgreSQL URL; its text is never repeated.
    """
    source = settings.source
    if source.database_url is None:
        raise ConfigurationError(
            f"SOURCE_DATABASE_URL is not set, so there is no trading system to read from; {_EXPECTED} "
            "A role for it is in deployments/sql/source_role.sql."
        )
    url = _parse(source.database_url.get_secret_value())
    arguments: dict[str, Any] = {**_KEEP_ALIVE, "connect_timeout": source.connect_timeout_s}
    if source.sslmode is not None:
        arguments["sslmode"] = source.sslmode
    if source.sslrootcert is not None:
        arguments["sslrootcert"] = str(source.sslrootcert.expanduser())
    # The URL may say it too; what is said in a setting of its own is the stricter intention.
    kept = {name: value for name, value in url.query.items() if name not in arguments or name == "connect_timeout"}
    if "connect_timeout" in kept:
        arguments.pop("connect_timeout")
    engine = create_engine(url.set(query=kept), pool_size=1, max_overflow=2, pool_pre_ping=True, connect_args=arguments)
    return through_tunnel(engine, settings.tunnel, variable=_VARIABLE)


@contextmanager
def reading(engine: Engine, *, timeout_s: int = 1_800) -> Iterator[Connection]:
    """One transaction that reads, and sees one state of the database throughout.

    Inside it times are printed in UTC and names without a schema are PostgreSQL's own.

    Raises
    ------
    SourceUnavailable
        If the database does not answer, drops the connection or takes longer than ``timeout_s`` for a statement.
    ConfigurationError
        If the server refuses the login, shows another certificate, or the role may not read what is asked for.
    DataContractError
        If the server cannot compute a value, as in a view that divides by zero.
    """
    with source_errors(engine), engine.connect() as opened:
        connection = opened.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        with connection.begin():
            connection.execute(
                text(
                    "SELECT set_config('statement_timeout', :timeout, true), set_config('timezone', 'UTC', true), "
                    "set_config('datestyle', 'ISO, YMD', true), set_config('extra_float_digits', '1', true), "
                    "set_config('bytea_output', 'hex', true), set_config('search_path', 'pg_catalog', true)"
                ),
                {"timeout": f"{timeout_s}s"},
            )
            yield connection


@contextmanager
def source_errors(engine: Engine) -> Iterator[None]:
    """Turn the source's failures into one message without secrets. Raises like :func:`reading`."""
    try:
        yield
    except CatalystError:
        raise
    except Exception as error:
        # psycopg2 raises its own classes where COPY bypasses SQLAlchemy; both are sorted by what they carry.
        cause = error.orig if isinstance(error, DBAPIError) else error
        failure = _failure(engine, cause)
        if failure is None:
            raise
        raise failure from None  # the chain would show the statement, and with it the driver's own arguments


def _failure(engine: Engine, cause: BaseException | None) -> CatalystError | None:
    import psycopg2

    if not isinstance(cause, psycopg2.Error):
        return None
    where, reason = f"source {describe(engine)}", without_secrets(" ".join(str(cause).split()).rstrip("."), engine.url)
    code = cause.pgcode
    if code == _CANCELLED:
        return SourceUnavailable(
            f"{where}: a query was cancelled ({reason}). If it took too long raise SOURCE_STATEMENT_TIMEOUT_S; what "
            "was finished is kept."
        )
    if code == _NOT_ALLOWED:
        return ConfigurationError(
            f"{where}: the role may not read this ({reason}). Grant it: deployments/sql/source_role.sql."
        )
    if code == _READ_ONLY:
        return ConfigurationError(f"{where}: refused a write ({reason}); this project only reads there. Report it.")
    if code is not None and code.startswith(_DATA_EXCEPTION):
        return DataContractError(
            f"{where}: a value cannot be computed ({reason}). Mend the table, or the view that computes it."
        )
    if code is None and _REFUSED.search(reason):
        return ConfigurationError(
            f"{where} cannot be used: {reason}. Check user, password, database and TLS in {_VARIABLE}, and "
            "SOURCE_SSLMODE."
        )
    if isinstance(cause, psycopg2.OperationalError | psycopg2.InterfaceError) or code is None:
        return SourceUnavailable(
            f"{where} did not answer, or was lost: {reason or type(cause).__name__}. Check that it runs, that the "
            "tunnel is up and that SOURCE_DATABASE_URL is right; run again, what was finished is kept."
        )
    return SourceUnavailable(f"{where} refused a query: {reason}. Its tables may just have changed; run again.")


def without_secrets(message: str, url: URL) -> str:
    """The message with the password of ``url``, as written or quoted, taken out."""
    password = str(url.password) if url.password else ""
    for secret in {password, url.render_as_string(hide_password=False).partition("://")[2].rpartition("@")[0]}:
        if secret and (len(secret) > 3 or secret == password):
            message = message.replace(secret, "***")
    return message


def _parse(written: str) -> URL:
    stripped = re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", written.strip())
    authority = re.split(r"[/?#]", stripped.partition("://")[2], maxsplit=1)[0]
    try:
        url = make_url(stripped)
    except (ArgumentError, ValueError):
        raise ConfigurationError(f"SOURCE_DATABASE_URL is no URL; {_EXPECTED}") from None
    if not stripped.startswith("postgresql://"):
        raise ConfigurationError(f"SOURCE_DATABASE_URL is none of PostgreSQL; {_EXPECTED}")
    # An unquoted @ or / of a password would end up in the host's name, and from there in every message.
    if authority.count("@") > 1 or "@" in (url.host or "") or "@" in (url.database or ""):
        raise ConfigurationError(f"SOURCE_DATABASE_URL has more than one @ before the host; {_EXPECTED}")
    return url.set(drivername="postgresql+psycopg2")
