"""Secrets planted in the settings of a run, and everything that is kept of it: where they must not be found."""

from __future__ import annotations

from urllib.parse import quote

from prefect.client.orchestration import get_client
from sqlalchemy import make_url, text

from tasks import connections

SECRETS = {
    "DATABASE_URL": "pl4nted-database/w@rd",
    "SPACES_SECRET": "pl4nted+spaces/secret",
    "ANTHROPIC_API_KEY": "sk-ant-pl4nted-claude-key",
    "SOURCE_DATABASE_URL": "pl4nted-source:w@rd",
}
_PAGE = 200


def settings_with_secrets(database_url: str) -> dict[str, str]:
    """Every variable with its secret, whole; the embedded server takes any password."""
    own = make_url(database_url).set(password=SECRETS["DATABASE_URL"])
    source = make_url("postgresql://reader@127.0.0.1:9/catalyst").set(password=SECRETS["SOURCE_DATABASE_URL"])
    urls = {"DATABASE_URL": own, "SOURCE_DATABASE_URL": source}
    return SECRETS | {name: url.render_as_string(hide_password=False) for name, url in urls.items()}


def secrets_in(kept: str) -> list[str]:
    """Variables whose secret stands in a text, as it is or as in a URL; a part is as bad as the whole."""
    found = [
        name
        for name, secret in SECRETS.items()
        if any(spelling in kept for spelling in (secret, quote(secret), quote(secret, safe="")))
    ]
    return found or ["a part of one"] * ("pl4nted" in kept)


def kept_by_prefect() -> str:
    """What the server keeps of the runs: parameters, states with their messages, logs, artifacts, newest events."""
    kinds = ("flow_runs", "task_runs", "logs", "artifacts", "deployments", "events")
    with get_client(sync_client=True) as client:
        kept: dict[str, list[str]] = {kind: [] for kind in kinds}
        for kind in kinds[:-1]:
            while len(kept[kind]) * _PAGE < 20_000:
                asked = {"limit": _PAGE, "offset": len(kept[kind]) * _PAGE}
                kept[kind].append(client._client.post(f"/{kind}/filter", json=asked).raise_for_status().text)
                if kept[kind][-1] == "[]":
                    break
        asked_events = {"filter": {"event": {"exclude_prefix": ["nothing-like-this"]}}, "limit": 50}
        kept["events"].append(client._client.post("/events/filter", json=asked_events).raise_for_status().text)
    assert sum(map(len, kept["task_runs"])) > 1000
    return "\n".join(page for pages in kept.values() for page in pages)


def kept_in_the_database() -> str:
    """Every table of ours but the bars."""
    with connections.engine().connect() as connection:
        tables = connection.execute(
            text("SELECT table_name FROM information_schema.tables WHERE table_schema = 'catalyst_ml'")
        ).scalars()
        rows = [
            row
            for table in tables
            if table not in ("bars", "bar_values")
            for row in connection.execute(text(f'SELECT t::text FROM catalyst_ml."{table}" t')).scalars()
        ]
    return "\n".join(rows)
