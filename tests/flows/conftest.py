"""A real Prefect server for the tests of the flows."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """Prefect's own server with an empty database, in a process of its own."""
    from prefect.settings import PREFECT_SERVER_ANALYTICS_ENABLED, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    with (
        temporary_settings({PREFECT_SERVER_ANALYTICS_ENABLED: False}),
        # A first start takes 16-21 s on two busy cores.
        prefect_test_harness(server_startup_timeout=120),
    ):
        yield


@pytest.fixture(autouse=True)
def _handlers_stay() -> Iterator[None]:
    """Undo what a test does to the handlers of the root logger."""
    root = logging.getLogger()
    before = [(handler, handler.formatter, list(handler.filters)) for handler in root.handlers]
    yield
    for handler, formatter, filters in before:
        handler.formatter, handler.filters = formatter, filters
