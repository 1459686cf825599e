from __future__ import annotations

import pytest
from sqlalchemy import Engine

from catalyst_ml.cli import features as command
from catalyst_ml.errors import ConfigurationError
from catalyst_ml.features.catalogue import CATALOGUE, FEATURE_NAMES
from tests.catalyst_ml.cli.command_line import catalyst
from tests.catalyst_ml.features.planted_leaks import PLANTED_FEATURES
from tests.flows.small_market import write_market


def run(*arguments: str) -> tuple[int, str]:
    result = catalyst("features", *arguments)
    return result.exit_code, result.output


@pytest.fixture
def stored(database: Engine, environment: None) -> str:
    write_market(database, dataset="small", preset="none", n_symbols=24, n_sessions=560)
    return "small"


def test_every_feature_is_listed_and_said_to_be_in_the_models_or_not() -> None:
    code, output = run("list")

    listed = {line.split()[0]: line.split()[-1] for line in output.splitlines() if line.strip().endswith(("yes", "no"))}
    assert code == 0
    assert {name for name, in_models in listed.items() if in_models == "yes"} >= set(FEATURE_NAMES) - {
        "options_activity"
    }


def test_a_feature_is_shown_with_its_inputs_source_and_formula() -> None:
    code, output = run("show", "unusual_volume")

    assert code == 0
    assert "21 bars, its own included" in output
    assert "def unusual_volume(" in output
    assert "def relative_volume(" in output


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match="did you mean rsi_14"):
        run("show", "rsi14")


@pytest.mark.server
def test_clean_features_pass_and_a_leak_makes_the_exit_code_1(stored: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clean, said = run("check", "--dataset", stored, "--feature", "rsi_14", "--cuts", "2", "--symbols", "10")
    monkeypatch.setattr(command, "_declared", lambda: (*CATALOGUE, PLANTED_FEATURES["shift_minus_1"]))
    leaking, complaint = run("check", "--dataset", stored, "--feature", "shift_minus_1", "--cuts", "2")

    assert (clean, leaking) == (0, 1)
    assert "0 alarms" in said
    assert "shift_minus_1 of S0" in complaint
    assert "without the future missing" in complaint
