"""The ``catalyst-ml`` command."""
