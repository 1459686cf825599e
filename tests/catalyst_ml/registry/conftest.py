"""One S3 server for all tests of the registry: starting it takes seconds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes.s3_server import S3Server


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with S3Server(tmp_path_factory.mktemp("s3") / "server.log") as running:
        yield running
