"""The command line of the flow: parameters in, one message out."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from catalyst_ml.cli.main import build_app
from catalyst_ml.errors import ConfigurationError, DataContractError
from flows import cli
from flows.cli import parse_parameters, run_flow
from flows.parameters import BacktestParameters, WeeklyTrainingParameters


def test_values_are_read_by_the_type_of_their_parameter_and_nothing_given_is_the_documented_procedure() -> None:
    given = parse_parameters(["dataset=demo", "seed=7", "promote=false", "cost_bps_per_side=2.5", "threads=none"])

    assert (given.dataset, given.seed, given.promote, given.cost_bps_per_side) == ("demo", 7, False, 2.5)
    assert given.threads is None
    assert parse_parameters([]) == WeeklyTrainingParameters()


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("dataset", r"--param 'dataset': expected NAME=VALUE"),
        ("datset=demo", r"--param 'datset' is unknown; expected one of dataset, timeframe, as_of"),
        ("record_sessions=10", r"--param record_sessions='10': .*greater than or equal to 65.*--show-params"),
        ("seed=many", r"--param seed='many': .*valid integer"),
        ("as_of=2025-12-05T21:00:00", r"--param as_of=.*timezone"),
        ("dataset=Demo Market", r"--param dataset='Demo Market'"),
        ("dataset=", r"--param dataset=None"),
        ("refresh_from=sleep", r"--param refresh_from='sleep': .*'judge'"),
    ],
)
def test_a_wrong_parameter_is_named_with_what_was_expected(pair: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        parse_parameters([pair])


def test_a_parameter_that_must_be_given_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"`catalyst-ml backtest` needs --param since=VALUE"):
        parse_parameters([], model=BacktestParameters, command="backtest")


def test_every_parameter_is_explained_with_its_default() -> None:
    shown = CliRunner().invoke(build_app(), ["train", "--show-params"], env={"COLUMNS": "200"})

    assert shown.exit_code == 0
    assert all(name in shown.output for name in WeeklyTrainingParameters.model_fields)
    assert "in basis points of the price" in re.sub(r"[│\s]+", " ", shown.output)


REBUILT: dict[str, Any] = {
    "version_id": "demo-1d-20260605-1a2b3c4d",
    "threads": 2,
    "identical": False,
    "files": [{"name": "model.onnx", "expected": "ab" * 32, "got": "cd" * 32, "same": False}],
    "differences": ["package xgboost: 3.1.0 then, 3.2.0 now"],
    "largest_difference": 3.2e-7,
    "folder": "/home/rebuilt",
}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "predictions differ by at most 3.2e-07. The differences above may be why"),
        ({"largest_difference": None}, "the stored model is gone"),
        ({"differences": []}, "Code, packages and threads are the same"),
        ({"identical": True}, "Byte for byte the recorded version."),
    ],
)
def test_a_rebuilt_version_is_explained(
    changes: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    cli._print_rebuilt(REBUILT | changes)
    shown = capsys.readouterr().out
    assert said in shown
    assert ("differs: package xgboost: 3.1.0 then, 3.2.0 now" in shown) == ("differences" not in changes)


def test_rebuilding_stands_among_the_commands_of_models() -> None:
    shown = CliRunner().invoke(build_app(), ["models", "--help"], env={"COLUMNS": "200"})
    assert "Train a version again from what was recorded" in shown.output


class FailedFlow:
    """Ends as Prefect's flows do: with a state whose result raises."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __call__(self, parameters: object, *, return_state: bool) -> FailedFlow:
        return self

    def result(self) -> object:
        raise self._error


def test_an_error_of_ours_comes_out_as_itself_even_if_another_wraps_it() -> None:
    ours, foreign = DataContractError("two bars for one day"), KeyError("close")
    wrapped = RuntimeError("task failed")
    wrapped.__cause__ = ours

    for raised, expected in ((ours, ours), (wrapped, ours), (foreign, foreign)):
        with pytest.raises(type(expected)) as caught:
            run_flow(FailedFlow(raised), None)
        assert caught.value is expected


@pytest.mark.server
@pytest.mark.usefixtures("prefect_server")
def test_a_run_that_fails_ends_with_one_message_and_no_traceback(database_url: str, tmp_path: Path) -> None:
    from prefect.settings import PREFECT_API_URL

    result = subprocess.run(
        [sys.executable, "-c", "from catalyst_ml.cli.main import run; run()", "train", "-p", "dataset=nothing-here"],
        capture_output=True,
        text=True,
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
            "CATALYST_HOME": str(tmp_path),
            "DATABASE_URL": database_url,
            "PREFECT_API_URL": PREFECT_API_URL.value(),
            "COLUMNS": "200",
        },
        cwd=Path(__file__).parents[2],
    )

    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert re.search(r"^ +\d+\.\d s  resolve-scope failed$", result.stderr, flags=re.MULTILINE)
    assert result.stderr.count("dataset 'nothing-here'") == 1
    assert result.stderr.splitlines()[-1].startswith("Error: ")
