"""Our readers and writers through a real pgbouncer in transaction mode, and logins that must be refused."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import Engine, make_url, text

from catalyst_ml.errors import ConfigurationError
from catalyst_ml.market.simulator import simulate_market
from catalyst_ml.settings import DatabaseSettings, Settings, SourceSettings
from catalyst_ml.store.bar_import import SIMULATED_SOURCE, write_bars
from catalyst_ml.store.bars import bar_coverage, extract_bars, extract_instruments, write_instruments
from catalyst_ml.store.engine import open_engine
from catalyst_ml.store.source_engine import open_source, reading
from catalyst_ml.store.tunnel_routes import close_tunnels
from tests.fakes.pooler import TLS_NAME, Pooler
from tests.fakes.postgres_server import PostgresServer
from tests.fakes.ssh_server import SshServer

pytestmark = pytest.mark.server

NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def pooled(postgres_server: PostgresServer, pooler: Pooler) -> Iterator[Engine]:
    """Engine of a fresh database behind the pooler, migrated through it."""
    engine = open_url(postgres_server.url(postgres_server.new_database(), port=pooler.port), migrate=True)
    yield engine
    engine.dispose()


def test_what_is_written_through_a_transaction_pooler_is_read_through_it_by_many_at_once(pooled: Engine) -> None:
    market = simulate_market("none", seed=1, n_symbols=8, n_sessions=60)
    line = {"dataset": "t", "timeframe": "1d"}
    write_bars(pooled, market.bars, **line, source=SIMULATED_SOURCE, name="none", now=pd.Timestamp(NOW))
    write_instruments(pooled, market.instruments, dataset="t")

    # More readers than the pooler has connections to give: each transaction lands on whichever is free.
    with ThreadPoolExecutor(5) as pool:
        frames = list(pool.map(lambda _: extract_bars(pooled, **line, as_of=NOW), range(10)))

    wanted = market.bars.sort_values(["symbol", "ts"], ignore_index=True)
    for frame in frames:
        assert frame["ts"].tolist() == wanted["ts"].tolist()
        assert frame["close"].tolist() == wanted["close"].tolist()
    assert set(extract_instruments(pooled, dataset="t")["symbol"]) == set(market.instruments["symbol"])
    assert [line.n_bars for line in bar_coverage(pooled)] == [len(wanted)]


def test_the_pooler_hands_its_connections_on_after_each_transaction(pooled: Engine) -> None:
    """Guards the tests here: behind a pooler in session mode they would show nothing."""
    with pooled.connect() as first, pooled.connect() as second, pooled.connect() as third:
        backends = set()
        for connection in (first, second, third):  # three clients at once, and two connections to give
            backends.add(connection.execute(text("SELECT pg_backend_pid()")).scalar())
            connection.commit()
    assert len(backends) <= 2


def test_tls_with_the_right_authority_and_name_is_used(postgres_server: PostgresServer, pooler: Pooler) -> None:
    engine = open_url(secured_url(postgres_server, pooler))
    with engine.connect() as connection:
        info = connection.connection.driver_connection.info
        assert info.ssl_in_use
        assert info.host == TLS_NAME
        assert connection.execute(text("SELECT 1")).scalar() == 1
    engine.dispose()


def test_the_trading_system_is_read_through_tunnel_pooler_and_tls_at_once(
    ssh_server: SshServer, postgres_server: PostgresServer, pooler: Pooler
) -> None:
    url = make_url(postgres_server.url("postgres")).set(host=TLS_NAME, port=5432).render_as_string(hide_password=False)
    source = SourceSettings(database_url=url, sslmode="verify-full", sslrootcert=pooler.ca_file)
    tunnel = ssh_server.settings(remote_host="127.0.0.1", remote_port=pooler.port, carries="source")
    engine = open_source(Settings(source=source, tunnel=tunnel))
    for _ in range(2):
        with reading(engine) as connection:
            assert connection.execute(text("SHOW transaction_read_only")).scalar() == "on"
        ssh_server.cut()  # the next one finds its connection dead
    engine.dispose()
    close_tunnels()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"host": "other.internal"}, "does not match host name"),
        ({"sslrootcert": "other_ca"}, "certificate verify failed"),
        ({"sslrootcert": "/nonexistent/ca.crt"}, "does not exist"),
        ({"sslmode": "certainly"}, "invalid sslmode"),
        ({"port": "plain"}, "does not support SSL"),
        ({"password": "Wr0ng-pass"}, "authentication failed"),
        ({"user": "nobody"}, "authentication failed|no such user"),
        ({"database": "none_such"}, r"database \"none_such\" does not exist|no such database"),
        ({"no_such_option": "1"}, "invalid connection option"),
        ({"options": "-csearch_path=x"}, "unsupported startup parameter"),
    ],
    ids=lambda value: "-".join(f"{name}={text}" for name, text in value.items()) if isinstance(value, dict) else "",
)  # fmt: skip
def test_what_no_retry_can_mend_is_a_setting_to_mend(
    postgres_server: PostgresServer, pooler: Pooler, change: dict[str, str], said: str
) -> None:
    url = secured_url(postgres_server, pooler, **change)
    with pytest.raises(ConfigurationError, match=f"^PostgreSQL at .* cannot be used: .*({said})") as caught:
        open_url(url)
    message = str(caught.value)
    assert message.endswith(".")
    assert not [secret for secret in (postgres_server.password, "Wr0ng-pass") if secret in message]
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("change", [{"user": "nobody"}, {"database": "none_such"}, {"password": "Wr0ng-pass"}])
def test_the_servers_own_refusals_are_recognised_without_a_pooler(
    postgres_server: PostgresServer, change: dict[str, str]
) -> None:
    url = make_url(postgres_server.url("postgres"))
    changed = url.set(
        username=change.get("user", url.username),
        password=change.get("password", url.password),
        database=change.get("database", url.database),
    )
    with pytest.raises(ConfigurationError, match="cannot be used"):
        open_url(changed.render_as_string(hide_password=False))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://joe:s3c@ret@db.example.com/db",
        "postgresql://joe:@s3cret@db.example.com/db",
        "postgresql://joe:s3cret@db.example.com:fivefour/db",
        "postgresql://joe:s3cret@[::1/db",
        "s3cret",
        "://s3cret@",
        "mysql://joe:s3cret@db/db",
        "postgres//joe:s3cret@db/db",
    ],
)
def test_a_url_that_cannot_be_read_is_refused_without_repeating_any_of_it(url: str) -> None:
    with pytest.raises(ConfigurationError, match="DATABASE_URL") as caught:
        open_url(url)
    assert not [piece for piece in ("s3c", "ret@", "joe") if piece in str(caught.value)]


def open_url(url: str, *, migrate: bool = False) -> Engine:
    return open_engine(Settings(database=DatabaseSettings(url=url)), migrate=migrate)


def secured_url(server: PostgresServer, pooler: Pooler, **change: Any) -> str:
    """The pooler by its name in the certificate, TLS checked; ``change`` replaces parts or adds options."""
    ports = {"plain": server.port}
    options = {
        "hostaddr": "127.0.0.1",
        "sslmode": change.pop("sslmode", "verify-full"),
        "sslrootcert": {"other_ca": str(pooler.other_ca_file)}.get(
            change.get("sslrootcert", ""), change.get("sslrootcert", str(pooler.ca_file))
        ),
    }
    change.pop("sslrootcert", None)
    url = make_url(server.url(change.pop("database", "postgres"), port=ports.get(change.pop("port", ""), pooler.port)))
    url = url.set(
        host=change.pop("host", TLS_NAME),
        username=change.pop("user", url.username),
        password=change.pop("password", url.password),
        query={**options, **change},
    )
    return url.render_as_string(hide_password=False)
