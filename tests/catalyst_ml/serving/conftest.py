"""Keys, stores and real servers of the signal server's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from catalyst_ml.registry.artifact_store import FolderStore
from catalyst_ml.registry.signatures import Signer, create_key
from tests.catalyst_ml.serving.small_versions import Promoter
from tests.fakes.redis_server import RedisServer
from tests.fakes.s3_server import S3Server


@pytest.fixture(scope="session")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return create_key(tmp_path_factory.mktemp("keys") / "signing.pem")


@pytest.fixture
def promoter(signer: Signer) -> Promoter:
    return Promoter(signer)


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as running:
        yield running


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with S3Server(tmp_path_factory.mktemp("s3") / "server.log") as running:
        yield running
