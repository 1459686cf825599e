"""Schema ``catalyst_ml`` of our database and its migrations (Alembic)."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, Engine, text

SCHEMA = "catalyst_ml"
HEAD = "0008"
"""Newest revision; a constant so that an up-to-date database costs one query and no import of Alembic."""

_LOCK = 0x_CA7A_1157  # any number, the same in every version: key of the advisory lock


def upgrade(engine: Engine) -> bool:
    """Bring the schema to :data:`HEAD`; True if anything was done.

    Safe when several processes start at once: the first migrates in one transaction under an advisory lock
    that lives and dies with it, the others wait and find nothing to do.
    """
    with engine.connect() as connection:
        if current_revision(connection) == HEAD:
            return False
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        if current_revision(connection) == HEAD:
            return False
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
        _run_alembic(connection)
    return True


def current_revision(connection: Connection) -> str | None:
    """Revision found in the database, ``None`` before the first migration."""
    # Asked of the catalogue's rows: to_regclass may answer from what this session knew before it waited.
    known = connection.execute(
        text("SELECT count(*) FROM pg_catalog.pg_tables WHERE schemaname = :schema AND tablename = 'alembic_version'"),
        {"schema": SCHEMA},
    ).scalar()
    if not known:
        return None
    return connection.execute(text(f"SELECT version_num FROM {SCHEMA}.alembic_version")).scalar()  # noqa: S608


def _run_alembic(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
