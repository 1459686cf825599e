"""Fits AutoGluon on the folds of a folder; runs in AutoGluon's own environment, which knows nothing of catalyst_ml.

    python -P autogluon_worker.py FOLDER

``FOLDER/folds.json`` lists folds: ``known`` and ``asked`` (Parquet files of the inputs, the first with ``y``),
``answer`` (Parquet file to write, column ``p``) and ``seconds``. Everything else is AutoGluon's default.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path

import pandas as pd
from autogluon.tabular import TabularPredictor


def main(folder: Path) -> None:
    folds = json.loads((folder / "folds.json").read_text())
    told = []
    for fold in folds:
        known, asked = pd.read_parquet(folder / fold["known"]), pd.read_parquet(folder / fold["asked"])
        started = time.perf_counter()
        promised, p = _fit_and_predict(known, asked, folder / "models", fold["seconds"])
        told.append({"seconds": time.perf_counter() - started, "promised": promised})
        pd.DataFrame({"p": p}).to_parquet(folder / fold["answer"])
        shutil.rmtree(folder / "models", ignore_errors=True)
    (folder / "told.json").write_text(json.dumps(told))


def _fit_and_predict(
    known: pd.DataFrame, asked: pd.DataFrame, path: Path, seconds: float
) -> tuple[float | None, pd.Series]:
    """Promised log-loss (None if no model came about in time) and the probabilities of the asked rows."""
    predictor = TabularPredictor("y", problem_type="binary", eval_metric="log_loss", path=str(path), verbosity=0)
    try:
        predictor.fit(known, time_limit=seconds, num_cpus=1, num_gpus=0)
    except RuntimeError as error:
        if "No models were trained" not in str(error):
            raise
        return None, pd.Series(float(known["y"].mean()), index=asked.index)
    promised = -float(predictor.leaderboard()["score_val"].max())
    return promised, predictor.predict_proba(asked)[1]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
