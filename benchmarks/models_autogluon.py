"""AutoGluon against our procedure, at equal and at five times our time, on the rows and folds of ``models.py``.

AutoGluon wants another pandas than we do, so it gets an environment of its own (``.cache/autogluon``, 1.1 GB, no torch,
no CUDA), and rows travel as Parquet. It keeps all its defaults, its validation by a random holdout among them: the
column "promised" is what it believed of itself. Both run on one thread.

No goal beyond that of ``models.py``: AutoGluon is not significantly better than ours in log-loss.

    make bench-autogluon                                # builds the environment once
    python benchmarks/models_autogluon.py --quick       # a small simulated market; builds nothing
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pandas as pd

from benchmarks.support.model_markets import P_TRUE, ModelMarket, real_daily, simulated
from benchmarks.support.model_scores import LEVEL, score
from benchmarks.support.model_walk import walk_ours
from benchmarks.support.score_cells import score_cells
from benchmarks.support.table import Row, finish, machine
from catalyst_ml.evaluation.record import P_BASE_RATE, P_CHALLENGER
from catalyst_ml.evaluation.splits import Fold, test_rows, train_rows

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".cache" / "autogluon"
PACKAGES = ("autogluon.tabular[lightgbm,catboost,xgboost]==1.6.3", "pyarrow")
WORKER = ROOT / "benchmarks" / "support" / "autogluon_worker.py"
TIMES = (1.0, 5.0)
MIDDLE_SEED = 7_200


class Answer(NamedTuple):
    """AutoGluon's probabilities for the record, and what it said and took per fold."""

    p: np.ndarray
    seconds: list[float]
    promised: list[float | None]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small simulated market, under a minute; builds nothing")
    parser.add_argument("--json", metavar="FILE", help="also write the results as JSON")
    parser.add_argument("--build", action="store_true", help="build AutoGluon's environment if it is not there")
    parser.add_argument("--only", choices=["real daily", "middle"], help="one of the two markets")
    arguments = parser.parse_args()
    if arguments.build:
        build_environment()
    if not (ENVIRONMENT / "bin" / "python").exists():
        print("AutoGluon is not shown: its environment is not there; `make bench-autogluon` builds it (1.1 GB).")
        return 0
    os.environ["OMP_NUM_THREADS"] = "1"
    rows: list[Row] = []
    for market in _markets(arguments.quick, arguments.only):
        rows += _compare(market, times=TIMES[:1] if arguments.quick else TIMES)
    title = (
        f"AutoGluon 1.6.3 against ours ({LEVEL:.0%} day-block intervals; seconds of a fold by the clock; {machine()})"
    )
    return finish(title, rows, json_file=arguments.json)


def build_environment() -> None:
    """Create the environment and install AutoGluon; nothing happens if it is complete."""
    stamp = ENVIRONMENT / ".installed"
    if stamp.exists() and stamp.read_text() == "\n".join(PACKAGES):
        return
    print(f"installing AutoGluon into {ENVIRONMENT} (1.1 GB) ...", file=sys.stderr)
    venv.create(ENVIRONMENT, with_pip=True)
    pip = [str(ENVIRONMENT / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *PACKAGES], check=True)
    stamp.write_text("\n".join(PACKAGES))


def _markets(quick: bool, only: str | None) -> list[ModelMarket]:
    if quick:
        return [simulated("middle", seed=7_900, n_symbols=40, record_sessions=40)]
    folder = os.environ.get("CATALYST_MARKET_DATA")
    if not folder:
        print("CATALYST_MARKET_DATA is not set: real bars are not shown.", file=sys.stderr)
    markets = [real_daily(Path(folder))] if folder and only != "middle" else []
    return markets if only == "real daily" else [*markets, simulated("middle", seed=MIDDLE_SEED)]


def _compare(market: ModelMarket, *, times: tuple[float, ...]) -> list[Row]:
    """Lines of one market: the base rate, ours, and AutoGluon at so many times our seconds."""
    started = time.perf_counter()
    combined, _ = walk_ours(market.rows, market.folds, market.procedure)
    our_seconds = (time.perf_counter() - started) / len(market.folds)
    record_folds = [fold for fold in market.folds if fold.kind == "record"]
    record = combined.record
    if P_TRUE in market.rows:
        asked = np.any([test_rows(market.rows, fold) for fold in record_folds], axis=0)
        record = record.assign(**{P_TRUE: market.rows.loc[asked, P_TRUE].to_numpy()})
    names = {"base rate": P_BASE_RATE, "ours": P_CHALLENGER}
    told: dict[str, Answer] = {}
    for factor in times:
        name = f"AutoGluon, {factor:g} x our time"
        print(f"  {market.described}: {name}, {factor * our_seconds:.0f} s a fold", file=sys.stderr)
        told[name] = _ask(market, record_folds, seconds=factor * our_seconds)
        names[name] = f"p_{name}"
        record = record.assign(**{names[name]: told[name].p})
    return [
        _row(market, record, name, column, told.get(name), our_seconds=our_seconds) for name, column in names.items()
    ]


def _ask(market: ModelMarket, folds: list[Fold], *, seconds: float) -> Answer:
    """Hand the folds over as Parquet and read the answers back."""
    inputs = list(market.procedure.inputs)
    with tempfile.TemporaryDirectory(prefix="autogluon-") as name:
        folder = Path(name)
        described: list[dict[str, Any]] = []
        for k, fold in enumerate(folds):
            market.rows.loc[train_rows(market.rows, fold), [*inputs, "y"]].to_parquet(folder / f"known-{k}.parquet")
            market.rows.loc[test_rows(market.rows, fold), inputs].to_parquet(folder / f"asked-{k}.parquet")
            files = {kind: f"{kind}-{k}.parquet" for kind in ("known", "asked", "answer")}
            described.append(files | {"seconds": seconds})
        (folder / "folds.json").write_text(json.dumps(described))
        # -P: the worker's own folder must not shadow modules of the other environment.
        worker = [str(ENVIRONMENT / "bin" / "python"), "-P", str(WORKER), name]
        ended = subprocess.run(worker, capture_output=True, text=True, check=False)
        if ended.returncode:
            sys.exit(f"AutoGluon's worker failed with {ended.returncode}; its last words:\n{ended.stderr[-3000:]}")
        told = json.loads((folder / "told.json").read_text())
        p = np.concatenate([pd.read_parquet(folder / fold["answer"])["p"].to_numpy() for fold in described])
    return Answer(p, [one["seconds"] for one in told], [one["promised"] for one in told])


def _row(
    market: ModelMarket, record: pd.DataFrame, name: str, column: str, told: Answer | None, *, our_seconds: float
) -> Row:
    scores = score(record, column, P_CHALLENGER)
    cells = {"market": f"{market.name} ({len(record):,} rows)", "contender": name} | score_cells(scores)
    seconds = our_seconds if name == "ours" else None
    if told is not None:
        seconds = sum(told.seconds) / len(told.seconds)
        kept = [promise for promise in told.promised if promise is not None]
        cells["promised log-loss"] = f"{sum(kept) / len(kept):.4f}" if kept else "no model in time"
        cells["folds without a model"] = str(len(told.promised) - len(kept))
    cells["s"] = "" if seconds is None else f"{seconds:.1f}"
    high = scores.difference.high
    return Row(cells, missed=told is not None and high is not None and high < 0.0)


if __name__ == "__main__":
    sys.exit(main())
