"""PostgreSQL and files: engines, embedded server, migrations, extraction, own tables, frame snapshots."""
