"""The one place that puts the server together from settings: stores, follower, ledger, bar table, application."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from catalyst_ml.errors import CatalystError, ConfigurationError
from catalyst_ml.market.label_specs import default_spec
from catalyst_ml.market.timeframes import DAILY
from catalyst_ml.registry.artifact_store import FolderStore
from catalyst_ml.registry.lines import ModelLine
from catalyst_ml.registry.redis_store import RedisStore, open_redis
from catalyst_ml.registry.signatures import PublicKeys, load_signer
from catalyst_ml.serving.bars_messages import BarsDesk
from catalyst_ml.serving.bars_process import BarsProcess, Reader
from catalyst_ml.serving.following import ChannelFollower, StorePlace
from catalyst_ml.serving.guard import Guard, is_loopback
from catalyst_ml.serving.judgement import Judge
from catalyst_ml.serving.ledger import Ledger
from catalyst_ml.serving.meters import Meters
from catalyst_ml.serving.service import SignalService
from catalyst_ml.serving.spool import Spool
from catalyst_ml.serving.trial_view import TrialSource
from catalyst_ml.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

log = logging.getLogger(__name__)

SWITCH_INTERVAL_S = 0.001
"""A thread that judges a universe computes for some 5 ms; by Python's default quick requests would wait as long."""


class Server(NamedTuple):
    """A server that has started to follow and to drain; ``stop`` ends both, and is called when the app ends."""

    app: Guard
    service: SignalService
    stop: Callable[[], None]


def assemble(settings: Settings) -> Server:
    """Build everything and look for the model once; returns with an answer to give, be it the rules'.

    Raises
    ------
    ConfigurationError
        If the server would listen beyond loopback without a key, or a setting contradicts itself.
    """
    from catalyst_ml.serving.app import build_app

    sys.setswitchinterval(SWITCH_INTERVAL_S)
    serving = settings.serving
    if not is_loopback(serving.host) and serving.api_key is None:
        raise ConfigurationError(
            f"SERVE_HOST is {serving.host}, which others can reach, and SERVE_API_KEY is not set. Set a key of 16 "
            "characters or more, or listen on 127.0.0.1."
        )
    line = served_line(settings)
    redis = open_redis(settings.redis)
    places = _places(settings, redis)
    meters = Meters()
    home = settings.home.path("serving")
    follower = ChannelFollower(
        line,
        places,
        public_key=_public_key(settings),
        channel=serving.channel,
        last_good=FolderStore(home / "last_good"),
        redis=redis,
        poll_s=serving.poll_s,
        on_swap=lambda _: meters.count_swap(),
    )
    database = _Database(settings) if settings.database.url is not None else None
    ledger = Ledger(
        Spool(home / "spool", max_bytes=serving.spool_bytes),
        line,
        channel=serving.channel,
        write=database.write if database else None,
    )
    service = SignalService(
        line,
        follower,
        ledger,
        bars_process(settings, line),
        meters,
        judge=Judge(min_probability=serving.min_probability),
        max_data_age_s=serving.max_data_age_s,
    )
    local = [FolderStore(home), FolderStore(settings.home.path("artifacts"))]
    remote = [place.store for place in places if place.name == "spaces"]
    trial = TrialSource([*local, *remote], line)
    follower.start()
    ledger.start()

    def stop() -> None:
        follower.stop()
        service.bars.stop()
        ledger.stop()

    return Server(build_app(service, trial, serving, stop=stop), service, stop)


def from_environment() -> Guard:
    """Factory for the web server's worker processes."""
    from catalyst_ml.serving.logs import set_up_logs

    settings = with_upstream_names(Settings())
    set_up_logs(settings.log)
    return assemble(settings).app


def served_line(settings: Settings) -> ModelLine:
    """The line that is followed."""
    serving = settings.serving
    label = serving.label_version or default_spec(serving.timeframe).version
    return ModelLine(serving.dataset, serving.timeframe, label)


def with_upstream_names(settings: Settings, environment: dict[str, str] | None = None) -> Settings:
    """Fill DATABASE_URL from DATABASE_HOST or DB_HOST and their siblings, as upstream's services are configured."""
    if settings.database.url is not None:
        return settings
    names = environment if environment is not None else dict(os.environ)
    for prefix in ("DATABASE", "DB"):
        host = names.get(f"{prefix}_HOST")
        if not host:
            continue
        from pydantic import SecretStr
        from sqlalchemy import URL

        url = URL.create(
            "postgresql",
            username=names.get(f"{prefix}_USER") or None,
            password=names.get(f"{prefix}_PASSWORD") or None,
            host=host,
            port=_port(names.get(f"{prefix}_PORT"), f"{prefix}_PORT"),
            database=names.get(f"{prefix}_NAME") or "catalyst_trading",
            query={"sslmode": names["DB_SSLMODE"]} if names.get("DB_SSLMODE") else {},
        )
        secret = SecretStr(url.render_as_string(hide_password=False))
        return settings.model_copy(update={"database": settings.database.model_copy(update={"url": secret})})
    return settings


class _Database:
    """Opens our database at the first use and again after a failure; the server never waits for it to start."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._engine: Engine | None = None

    def engine(self) -> Engine:
        if self._engine is None:
            from catalyst_ml.store.engine import open_engine

            self._engine = open_engine(self._settings)
        return self._engine

    def write(self, answers: Any) -> int:
        from catalyst_ml.store.served_signals import write_served

        return write_served(self.engine(), answers)


def bars_process(settings: Settings, line: ModelLine) -> BarsDesk:
    """The desk for bars of a line; its process starts when the first bars come."""
    if line.timeframe != DAILY:
        known = f"bars of {line.timeframe} are not read from the bar table; send them"
    else:
        known = "not asked yet" if settings.database.url is not None else "DATABASE_URL is not set"
    serving = settings.serving
    make = partial(_make_reader, settings, line)
    return BarsProcess(make, timeout_s=serving.timeout_s, idle_s=serving.bars_idle_s, bar_table=known)


def _make_reader(settings: Settings, line: ModelLine) -> Reader:
    """Called in the process for bars: only there are frames and kernels loaded."""
    from catalyst_ml.serving.stored_bars import reader_of

    return reader_of(settings, line)


def _places(settings: Settings, redis: RedisStore | None) -> list[StorePlace]:
    """Redis, the server's own cache, this machine's artifacts if it trains too, Spaces: in the order they are asked."""
    places = [StorePlace("redis", redis, is_cache=True)] if redis is not None else []
    places.append(StorePlace("disk", FolderStore(settings.home.path("serving", "cache")), is_cache=True))
    artifacts: Path = settings.home.path("artifacts")
    if artifacts.is_dir():
        places.append(StorePlace("disk", FolderStore(artifacts)))
    if settings.spaces.enabled:
        from catalyst_ml.registry.spaces import open_spaces

        places.append(StorePlace("spaces", open_spaces(settings.spaces)))
    return places


def _public_key(settings: Settings) -> PublicKeys | None:
    """The pinned key; on the machine that trains, that of its own signing key."""
    if settings.signing.public_key:
        return PublicKeys.parse(settings.signing.public_key)
    own = settings.home.path("keys", "signing.pem")
    if not own.exists():
        return None
    try:
        return load_signer(own).public_keys
    except CatalystError as error:
        log.warning("this machine's signing key cannot be used: %s", error)
        return None


def _port(text: str | None, name: str) -> int | None:
    if not text:
        return None
    if not text.isdigit() or not 0 < int(text) < 65_536:
        raise ConfigurationError(f"environment variable {name}: expected a port, got {text!r}. Mend it or unset it.")
    return int(text)
