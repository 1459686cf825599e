"""Alembic's environment: runs inside the transaction that :func:`upgrade` holds open."""

from alembic import context

from catalyst_ml.store.migrations import SCHEMA

context.configure(connection=context.config.attributes["connection"], version_table_schema=SCHEMA)
context.run_migrations()
