"""``catalyst-ml attempts`` on a real database."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from sqlalchemy import Engine

from catalyst_ml.store.attempts import AttemptLine
from tests.catalyst_ml.cli.command_line import printed
from tests.catalyst_ml.store.test_attempts import TRIED

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("environment")]


def run(*arguments: str) -> str:
    return printed("attempts", *arguments)


def test_an_empty_ledger_says_how_it_fills() -> None:
    assert "Nothing was tried yet" in run("list")
    assert json.loads(run("list", "--json")) == []


def test_what_was_tried_is_listed_newest_first_with_what_was_adopted(database: Engine) -> None:
    line = AttemptLine(database, "demo", "1d", "symmetric")
    line.write([TRIED, replace(TRIED, configuration={"l2": 9.0}, is_adopted=True)], run_id="a")
    line.write([replace(TRIED, kind="record", subject="e8bfd0de78b5", sharpe=0.1)], run_id="b")

    rows = json.loads(run("list", "--json"))
    assert [(row["kind"], row["is_adopted"], row["configuration"]) for row in rows] == [
        ("record", False, {"l2": 300.0}),
        ("search", True, {"l2": 9.0}),
        ("search", False, {"l2": 300.0}),
    ]
    assert len(json.loads(run("list", "--kind", "search", "--limit", "1", "--json"))) == 1
    assert json.loads(run("list", "--dataset", "other", "--json")) == []
    shown = run("list")
    assert "e8bfd0de78b5" in shown
    assert "yes" in shown
