"""Versions, channels and history in PostgreSQL; artifacts in a folder or in Spaces."""
