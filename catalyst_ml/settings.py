"""Everything that differs between environments, one model per subsystem.

Read at the start of a run and handed down; the core reads no environment. Secrets have no default:
what needs one says its name when it is missing.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field, SecretStr
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


class SpacesSettings(BaseSettings):
    """DigitalOcean Spaces (or any S3 endpoint) for artifacts; off while neither endpoint nor bucket is set."""

    model_config = SettingsConfigDict(env_prefix="SPACES_", extra="ignore")

    endpoint: str | None = Field(default=None, description="https://<region>.digitaloceanspaces.com (SPACES_ENDPOINT).")
    bucket: str | None = Field(default=None, description="Bucket name (SPACES_BUCKET).")
    prefix: str = Field(default="catalyst-ml", description="Key prefix inside the bucket (SPACES_PREFIX).")
    region: str = Field(default="us-east-1", description="Region for signing (SPACES_REGION).")
    key: SecretStr | None = Field(default=None, description="Access key (SPACES_KEY).")
    secret: SecretStr | None = Field(default=None, description="Secret key (SPACES_SECRET).")

    @property
    def enabled(self) -> bool:
        """True if an endpoint or a bucket is configured; half a configuration is refused by name, not ignored."""
        return bool(self.endpoint or self.bucket)


class AssistantSettings(BaseSettings):
    """Claude's analysis of the week; skipped, visibly, without a key."""

    model_config = SettingsConfigDict(env_prefix="ANTHROPIC_", extra="ignore")

    api_key: SecretStr | None = Field(default=None, description="Key of the Messages API (ANTHROPIC_API_KEY).")
    base_url: str | None = Field(default=None, description="Other endpoint, e.g. a gateway (ANTHROPIC_BASE_URL).")
    model: str = Field(default="claude-sonnet-5", description="Model name (ANTHROPIC_MODEL).")
    max_tokens: int = Field(default=2_000, ge=256, le=16_000, description="Answer budget (ANTHROPIC_MAX_TOKENS).")
    timeout_s: float = Field(default=60.0, gt=0, le=600, description="Seconds per request (ANTHROPIC_TIMEOUT_S).")


class Settings(BaseModel):
    """The whole tree. ``Settings()`` reads the environment once.

    Each subsystem reads its own prefix; the tree itself reads nothing, or the variable ``HOME`` would be
    taken for the field ``home``.
    """

    home: HomeSettings = Field(default_factory=HomeSettings)
    database: DatabaseSettings = Field(default_factory=DatabaseSettings)
    spaces: SpacesSettings = Field(default_factory=SpacesSettings)
    assistant: AssistantSettings = Field(default_factory=AssistantSettings)
