"""Everything that differs between environments, one model per subsystem.

Read at the start of a run and handed down; the core reads no environment. Secrets have no default:
what needs one says its name when it is missing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, BaseModel, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class HomeSettings(BaseSettings):
    """Where this machine keeps its database, snapshots, results, artifacts and reports."""

    model_config = SettingsConfigDict(env_prefix="CATALYST_", extra="ignore")

    home: Path = Field(
        default=Path("~/.catalyst-ml"), description="Folder of everything this machine keeps (CATALYST_HOME)."
    )

    def path(self, *parts: str) -> Path:
        """Absolute path below the home; nothing is created."""
        return self.home.expanduser().absolute().joinpath(*parts)


class DatabaseSettings(BaseSettings):
    """Our own schema ``catalyst_ml``: a server of yours, or the embedded one when no URL is set."""

    model_config = SettingsConfigDict(env_prefix="DATABASE_", extra="ignore")

    url: SecretStr | None = Field(
        default=None,
        description="PostgreSQL URL (DATABASE_URL); unset means the embedded server below CATALYST_HOME.",
    )
    connect_timeout_s: int = Field(default=10, ge=1, le=300, description="Seconds to wait for a connection.")


class TunnelSettings(BaseSettings):
    """SSH tunnel to the databases; off while none of its places is set (a VPN, or a tunnel that is open already)."""

    model_config = SettingsConfigDict(env_prefix="TUNNEL_", extra="ignore", env_ignore_empty=True)

    host: str | None = Field(default=None, description="SSH server, name or address (TUNNEL_HOST).")
    port: int = Field(default=22, ge=1, le=65535, description="Its port (TUNNEL_PORT).")
    user: str | None = Field(default=None, description="Account on it; needs no shell (TUNNEL_USER).")
    key_file: Path | None = Field(default=None, description="Private key, readable by you alone (TUNNEL_KEY_FILE).")
    known_hosts_file: Path | None = Field(
        default=None, description="File with the server's host key; no other is believed (TUNNEL_KNOWN_HOSTS_FILE)."
    )
    carries: Literal["both", "database", "source"] = Field(
        default="both", description="DATABASE_URL, SOURCE_DATABASE_URL or both (TUNNEL_CARRIES)."
    )
    remote_host: str | None = Field(
        default=None, description="Database as the SSH server reaches it; unset: the URL's host (TUNNEL_REMOTE_HOST)."
    )
    remote_port: int | None = Field(
        default=None, ge=1, le=65535, description="Likewise; unset: the URL's port (TUNNEL_REMOTE_PORT)."
    )
    local_port: int | None = Field(
        default=None, ge=1024, le=65535, description="Port on this machine; unset: any free one (TUNNEL_LOCAL_PORT)."
    )
    keep_alive_s: int = Field(
        default=15, ge=1, le=300, description="A server silent for three times as long is lost (TUNNEL_KEEP_ALIVE_S)."
    )
    connect_timeout_s: int = Field(
        default=20, ge=1, le=300, description="Seconds until the tunnel must be open (TUNNEL_CONNECT_TIMEOUT_S)."
    )

    @property
    def enabled(self) -> bool:
        """True if any place is configured; half a configuration is refused by name, not ignored."""
        return any((self.host, self.user, self.key_file, self.known_hosts_file))

    def is_for(self, variable: str) -> bool:
        """True if the database named by ``DATABASE_URL`` or ``SOURCE_DATABASE_URL`` is reached through the tunnel."""
        chosen = {"DATABASE_URL": "database", "SOURCE_DATABASE_URL": "source"}[variable]
        return self.enabled and self.carries in ("both", chosen)


class SourceSettings(BaseSettings):
    """The trading system's database, which is read and, but for one table if asked, never written to."""

    model_config = SettingsConfigDict(env_prefix="SOURCE_", extra="ignore")

    database_url: SecretStr | None = Field(
        default=None, description="PostgreSQL URL of the trading system, of a role that may read (SOURCE_DATABASE_URL)."
    )
    sslmode: Literal["disable", "prefer", "require", "verify-ca", "verify-full"] | None = Field(
        default=None,
        description="TLS towards the source, e.g. verify-full; unset leaves it to the URL (SOURCE_SSLMODE).",
    )
    sslrootcert: Path | None = Field(
        default=None, description="File of the authority that verify-ca and verify-full trust (SOURCE_SSLROOTCERT)."
    )
    connect_timeout_s: int = Field(default=15, ge=1, le=300, description="Seconds to wait for a connection.")
    statement_timeout_s: int = Field(
        default=1_800,
        ge=1,
        le=86_400,
        description="Longest query the source is asked for (SOURCE_STATEMENT_TIMEOUT_S).",
    )
    timezone: str = Field(
        default="UTC",
        description="What times without a zone are in; upstream's containers run in UTC (SOURCE_TIMEZONE).",
    )
    write_performance: bool = Field(
        default=False,
        description="Write one row a version into its ml_model_performance, the only write there; the role needs the "
        "right to (SOURCE_WRITE_PERFORMANCE).",
    )
    recheck_hours: float = Field(
        default=24.0,
        ge=0,
        description="How long old days count as unchanged before all are compared again (SOURCE_RECHECK_HOURS).",
    )


class SpacesSettings(BaseSettings):
    """DigitalOcean Spaces (or any S3 endpoint) for artifacts; off while neither endpoint nor bucket is set."""

    model_config = SettingsConfigDict(env_prefix="SPACES_", extra="ignore")

    endpoint: str | None = Field(default=None, description="https://<region>.digitaloceanspaces.com (SPACES_ENDPOINT).")
    bucket: str | None = Field(default=None, description="Bucket name (SPACES_BUCKET).")
    prefix: str = Field(default="catalyst-ml", description="Key prefix inside the bucket (SPACES_PREFIX).")
    region: str = Field(default="us-east-1", description="Region for signing (SPACES_REGION).")
    key: SecretStr | None = Field(default=None, description="Access key (SPACES_KEY).")
    secret: SecretStr | None = Field(default=None, description="Secret key (SPACES_SECRET).")
    timeout_s: float = Field(
        default=60.0, gt=0, le=600, description="Seconds to wait for an answer, a sixth to connect (SPACES_TIMEOUT_S)."
    )

    @property
    def enabled(self) -> bool:
        """True if an endpoint or a bucket is configured; half a configuration is refused by name, not ignored."""
        return bool(self.endpoint or self.bucket)


class SigningSettings(BaseSettings):
    """Who signs manifests and pointers (the trainer), and whose signature is believed (the server)."""

    model_config = SettingsConfigDict(env_prefix="SIGNING_", extra="ignore", env_ignore_empty=True)

    private_key_file: Path | None = Field(
        default=None,
        description="Private key of this machine; unset: keys/signing.pem below the home, made at the first use "
        "(SIGNING_PRIVATE_KEY_FILE).",
    )
    public_key: str | None = Field(
        default=None,
        description="Public key to believe, as `catalyst-ml keys show` prints it; a server needs it "
        "(SIGNING_PUBLIC_KEY).",
    )


class AssistantSettings(BaseSettings):
    """Claude's analysis of the week; skipped, visibly, without a key."""

    model_config = SettingsConfigDict(env_prefix="ANTHROPIC_", extra="ignore")

    api_key: SecretStr | None = Field(default=None, description="Key of the Messages API (ANTHROPIC_API_KEY).")
    base_url: str | None = Field(default=None, description="Other endpoint, e.g. a gateway (ANTHROPIC_BASE_URL).")
    model: str = Field(default="claude-sonnet-5", description="Model name (ANTHROPIC_MODEL).")
    max_tokens: int = Field(default=2_000, ge=256, le=16_000, description="Answer budget (ANTHROPIC_MAX_TOKENS).")
    timeout_s: float = Field(default=60.0, gt=0, le=600, description="Seconds per request (ANTHROPIC_TIMEOUT_S).")


class CostSettings(BaseSettings):
    """What electricity and the alternative cost, for the key figure "cost saved"."""

    model_config = SettingsConfigDict(env_prefix="COST_", extra="ignore")

    tariff_per_kwh: float = Field(
        default=0.20, ge=0, le=10, description="Price of electricity, dollars per kWh (COST_TARIFF_PER_KWH)."
    )
    pc_watts: float = Field(
        default=150.0,
        ge=0,
        le=5_000,
        description="Power of the PC without its graphics card while it works, watts (COST_PC_WATTS).",
    )
    cloud_per_month: float = Field(
        default=48.0,
        ge=0,
        description="Rent of a graphics card elsewhere, dollars a month (COST_CLOUD_PER_MONTH).",
    )


class RedisSettings(BaseSettings):
    """Redis beside the trading system: cache of the served model and news of promotions; off while no place is set."""

    model_config = SettingsConfigDict(env_prefix="REDIS_", extra="ignore", env_ignore_empty=True)

    url: SecretStr | None = Field(default=None, description="redis:// or rediss:// URL (REDIS_URL).")
    host: str | None = Field(default=None, description="Host, where no URL is set (REDIS_HOST).")
    port: int = Field(default=6379, ge=1, le=65535, description="Its port (REDIS_PORT).")
    password: SecretStr | None = Field(default=None, description="Its password (REDIS_PASSWORD).")
    timeout_s: float = Field(default=1.0, gt=0, le=30, description="Seconds to wait for an answer (REDIS_TIMEOUT_S).")

    @property
    def enabled(self) -> bool:
        """True if a URL or a host is set."""
        return bool(self.url or self.host)


class ServingSettings(BaseSettings):
    """The signal server. ``SERVE_PORT`` may also be called ``SERVICE_PORT`` or ``PORT``, as upstream's services do."""

    model_config = SettingsConfigDict(env_prefix="SERVE_", extra="ignore", env_ignore_empty=True, populate_by_name=True)

    host: str = Field(default="127.0.0.1", description="Address to listen on; another than loopback needs a key.")
    port: int = Field(
        default=5012,
        ge=1,
        le=65535,
        validation_alias=AliasChoices("SERVE_PORT", "SERVICE_PORT", "PORT"),
        description="Port; 5012 is free beside upstream's services (SERVE_PORT, SERVICE_PORT or PORT).",
    )
    api_key: SecretStr | None = Field(
        default=None, min_length=16, description="Key that callers send as X-API-Key or Bearer (SERVE_API_KEY)."
    )
    dataset: str = Field(default="catalyst", description="Line that is served: data lineage (SERVE_DATASET).")
    timeframe: str = Field(default="1d", description="Line that is served: length of the bars (SERVE_TIMEFRAME).")
    label_version: str | None = Field(
        default=None,
        description="Line that is served: label version; unset: the default label's (SERVE_LABEL_VERSION).",
    )
    channel: str = Field(default="production", description="Channel that is followed (SERVE_CHANNEL).")
    poll_s: float = Field(
        default=10.0, gt=0, le=3600, description="Seconds between looks at the stores (SERVE_POLL_S)."
    )
    min_probability: float = Field(
        default=0.5, ge=0, le=1, description="Probability of success below which to abstain (SERVE_MIN_PROBABILITY)."
    )
    max_request_bytes: int = Field(
        default=32 * 1024 * 1024, ge=1024, description="Largest request; 500 symbols of 500 bars are 25 MB."
    )
    timeout_s: float = Field(default=20.0, gt=0, le=600, description="Longest time for one answer (SERVE_TIMEOUT_S).")
    bars_idle_s: float = Field(
        default=600.0,
        ge=0,
        description="Seconds without bars after which the process for bars ends; 0: never (SERVE_BARS_IDLE_S).",
    )
    rate_per_s: float = Field(default=500.0, gt=0, description="Requests a second, per caller (SERVE_RATE_PER_S).")
    burst: int = Field(default=1000, ge=1, description="Requests at once before the rate counts (SERVE_BURST).")
    spool_bytes: int = Field(
        default=256 * 1024 * 1024, ge=65_536, description="Most that answers not yet in PostgreSQL may take on disk."
    )
    max_data_age_s: float | None = Field(
        default=None, gt=0, description="Older bars are answered with HOLD; unset: any age is answered, and shown."
    )


class LogSettings(BaseSettings):
    """Names that upstream's services share."""

    model_config = SettingsConfigDict(env_prefix="LOG_", extra="ignore", env_ignore_empty=True)

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(default="INFO", description="LOG_LEVEL.")
    path: Path | None = Field(default=None, description="Folder for a log file beside standard output (LOG_PATH).")


class Settings(BaseModel):
    """The whole tree. ``Settings()`` reads the environment once.

    Each subsystem reads its own prefix; the tree itself reads nothing, or the variable ``HOME`` would be
    taken for the field ``home``.
    """

    home: HomeSettings = Field(default_factory=HomeSettings)
    database: DatabaseSettings = Field(default_factory=DatabaseSettings)
    tunnel: TunnelSettings = Field(default_factory=TunnelSettings)
    source: SourceSettings = Field(default_factory=SourceSettings)
    spaces: SpacesSettings = Field(default_factory=SpacesSettings)
    signing: SigningSettings = Field(default_factory=SigningSettings)
    assistant: AssistantSettings = Field(default_factory=AssistantSettings)
    cost: CostSettings = Field(default_factory=CostSettings)
    redis: RedisSettings = Field(default_factory=RedisSettings)
    serving: ServingSettings = Field(default_factory=ServingSettings)
    log: LogSettings = Field(default_factory=LogSettings)
