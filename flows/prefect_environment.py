"""Prefect's settings for a run on this machine, chosen before Prefect is imported.

Everything lives below CATALYST_HOME and nothing leaves the machine. What the user set wins.
"""

from __future__ import annotations

import os
import tomllib
import urllib.error
import urllib.request
from pathlib import Path

from catalyst_ml.settings import HomeSettings


def prepare(home: HomeSettings) -> str:
    """Set Prefect's environment and return one line that says which server will keep the run.

    ``PREFECT_API_URL`` (environment, or the profile that ``make deploy`` wrote) is used if it answers;
    otherwise Prefect's temporary server, which needs no set-up and forgets part of its history at exit.
    Must be called before anything imports Prefect.
    """
    prefect_home = Path(os.environ.get("PREFECT_HOME") or home.path("prefect"))
    defaults = {
        "PREFECT_HOME": str(prefect_home),
        "PREFECT_LOCAL_STORAGE_PATH": str(home.path("results")),
        "PREFECT_LOGGING_EXTRA_LOGGERS": "catalyst_ml",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        # A first start takes 16-21 s on two cores and the default patience is 20 s.
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        # Waiting threads of a trainer sleep instead of spinning: beside another busy program a fit that
        # takes 3 s took 60 s. Read once, when OpenMP is loaded.
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    # Prefect makes the last folder only, and its server then fails with "unable to open database file".
    prefect_home.mkdir(parents=True, exist_ok=True)
    url = os.environ.get("PREFECT_API_URL") or _url_in_profile(prefect_home)
    if url and _answers(url):
        os.environ["PREFECT_API_URL"] = url
        return f"Prefect server: {url}"
    # Prefect's own profile for a temporary server; an empty PREFECT_API_URL would break its event stream instead.
    os.environ.pop("PREFECT_API_URL", None)
    os.environ["PREFECT_PROFILE"] = "ephemeral"
    # `prefect config set` of `make deploy` writes into the profile that is active, which is that very one.
    os.environ["PREFECT_PROFILES_PATH"] = str(prefect_home / "without-a-server.toml")
    if url:
        return f"Prefect server: {url} does not answer, using a temporary one"
    return "Prefect server: temporary (make deploy starts one that stays, with the UI)"


def _url_in_profile(prefect_home: Path) -> str | None:
    try:
        profiles = tomllib.loads((prefect_home / "profiles.toml").read_text())
    except (OSError, tomllib.TOMLDecodeError):
        return None
    active = profiles.get("profiles", {}).get(profiles.get("active", ""), {})
    return active.get("PREFECT_API_URL")


def _answers(url: str) -> bool:
    if not url.startswith(("http://", "https://")):
        return False
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=3) as answer:  # noqa: S310 - scheme checked
            return answer.status == 200
    except (urllib.error.URLError, TimeoutError, OSError):
        return False
