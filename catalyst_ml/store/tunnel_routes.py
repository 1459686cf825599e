"""Which connections go through an SSH tunnel: an engine is routed once, the tunnel opens at its first connection.

One tunnel per process, server and database, whoever asks for it; all are closed when the process ends.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from typing import Any

from sqlalchemy import URL, Engine, event

from catalyst_ml.errors import ConfigurationError
from catalyst_ml.settings import TunnelSettings
from catalyst_ml.store.tunnel import LOOPBACK, Tunnel

TUNNEL_OPTION = "catalyst_tunnel"
"""Execution option of an engine that is routed: the tunnel in words."""


def through_tunnel(engine: Engine, settings: TunnelSettings, *, variable: str) -> Engine:
    """Let every new connection of ``engine`` go through the tunnel, if one is configured for this database.

    Opened at the first connection. The URL keeps naming the database as the SSH server reaches it. Only the address of
    the connection changes (libpq's ``hostaddr``), so that TLS ``verify-full`` goes on comparing the certificate with
    the host in the URL.

    Parameters
    ----------
    engine : Engine
        PostgreSQL through psycopg2, made from a URL.
    variable : str
        ``DATABASE_URL`` or ``SOURCE_DATABASE_URL``: where the URL came from.

    Returns
    -------
    Engine
        The same.

    Raises
    ------
    ConfigurationError
        See :func:`tunnel_to`. A connection raises it too, or ``SourceUnavailable``, if the tunnel cannot be opened.
    """
    if not settings.is_for(variable):
        return engine
    engine.update_execution_options(**{TUNNEL_OPTION: str(tunnel_to(engine.url, settings, variable=variable))})

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, _record: Any, cargs: Any, cparams: dict[str, Any]) -> Any:
        # Looked up each time: a forked process has none yet and opens its own.
        tunnel = tunnel_to(engine.url, settings, variable=variable)
        for last in (False, True):
            local_port, process, asked = tunnel.open(), tunnel.pid, time.monotonic()
            try:
                return dialect.connect(*cargs, **{**cparams, "hostaddr": LOOPBACK, "port": local_port})
            except dialect.dbapi.OperationalError:
                problem = tunnel.forward_problem(since=asked)
                if problem is not None:
                    raise problem from None
                # The tunnel died under this very attempt: nothing was asked yet, so asking again is safe.
                if last or tunnel.pid == process:
                    raise
        raise AssertionError("unreachable")

    return engine


def tunnel_to(url: URL, settings: TunnelSettings, *, variable: str) -> Tunnel:
    """The tunnel to the database of ``url``; not opened by asking for it.

    One per process, settings and database, shared by all who ask; closed at the end of the process or by
    :func:`close_tunnels`.

    Raises
    ------
    ConfigurationError
        If the URL leaves open which host and port the SSH server shall connect to, or the settings are not whole.
    """
    elsewhere = {"host", "hostaddr", "port", "service"} & set(url.query)
    if not url.host or elsewhere or "," in url.host:
        raise ConfigurationError(
            f"{variable}: through an SSH tunnel it must name one host between @ and /, as in "
            "postgresql://user:password@host:5432/database, where host and port are as the SSH server reaches them; "
            f"{f'?{min(elsewhere)}= cannot be followed' if elsewhere else 'no single host was found'}. "
            "Mend the URL, or set TUNNEL_CARRIES to the other database if this one is reached directly."
        )
    key = settings.model_dump_json(), url.host, url.port or 5432
    with _sharing:
        if key not in _shared:
            _shared[key] = Tunnel(settings, host=key[1], port=key[2])
        return _shared[key]


def close_tunnels() -> None:
    """Close every tunnel of this process; the next connection opens its own again."""
    with _sharing:
        tunnels = [*_shared.values()]
        _shared.clear()
    for tunnel in tunnels:
        tunnel.close()


_shared: dict[tuple[str, str, int], Tunnel] = {}
_sharing = threading.Lock()


def _begin_anew() -> None:
    """In a forked child: its parent's tunnels are not its own to use or close, and the lock may be held by nobody."""
    global _sharing
    _shared.clear()
    _sharing = threading.Lock()


atexit.register(close_tunnels)
os.register_at_fork(after_in_child=_begin_anew)
