"""Does the search for members' settings pay? Standing settings against searched ones, in markets with a known edge.

In each market every member is searched on events that were over before the record, and both procedures walk through
the same record, which no search has seen. Goals: where there is an edge the searched procedure is not significantly
worse in log-loss, over all markets together; without an edge at most one member in four is changed.

    python benchmarks/search.py            # four markets of presets middle and strong, two without an edge
    python benchmarks/search.py --quick    # one small market each; fails only if the interval excludes the goal
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

# One trainer, one thread: beside other work two spin on each other. Before numpy and XGBoost are loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pandas as pd

from benchmarks.support.table import Row, finish, machine
from benchmarks.support.weekly_procedure import training_rows
from catalyst_ml.evaluation.record import P_BASE_RATE, P_CHALLENGER, daily_sums, log_losses
from catalyst_ml.evaluation.significance import binomial_interval, har_t_test
from catalyst_ml.evaluation.splits import Fold, search_end, walk_forward_folds
from catalyst_ml.features.events import MODEL_INPUTS, model_input_version
from catalyst_ml.market import labels, rules
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.simulator import simulate_market
from catalyst_ml.models.procedure import Procedure, default_procedure
from catalyst_ml.models.search import SearchBudget, search_settings
from catalyst_ml.models.walk_forward import combine_folds, fit_fold

MARKETS = (("middle", 7_101), ("middle", 7_102), ("strong", 7_103), ("strong", 7_104), ("none", 7_105), ("none", 7_106))
QUICK_MARKETS = (("strong", 7_103), ("none", 7_105))
N_CONFIGURATIONS, QUICK_CONFIGURATIONS = 10, 2
MAX_CHANGED_SHARE = 0.25
ALPHA = 0.05


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small markets and budgets, under a minute on two cores")
    parser.add_argument("--json", metavar="FILE", help="also write the figures as JSON")
    arguments = parser.parse_args()
    markets = QUICK_MARKETS if arguments.quick else MARKETS
    results = [run_one(preset, seed, quick=arguments.quick) for preset, seed in markets]
    rows = [_row(result) for result in results] + [_over_all(results), _changed(results, quick=arguments.quick)]
    title = f"Search against standing settings ({results[0]['configurations']} configurations a member; {machine()})"
    return finish(title, rows, results=results, json_file=arguments.json)


def run_one(preset: str, seed: int, *, quick: bool) -> dict[str, Any]:
    """Search in one market and walk both procedures through its record."""
    n_configurations = QUICK_CONFIGURATIONS if quick else N_CONFIGURATIONS
    market = simulate_market(preset, seed=seed, n_symbols=24 if quick else 120)
    rows, as_of = training_rows(market.bars, market.instruments, market.news)
    # Four weeks a fold instead of one: the same for both sides, and a quarter of the time.
    folds = walk_forward_folds(as_of=as_of, calendar=TradingCalendar(), record_fold_sessions=20)
    standing = default_procedure(
        MODEL_INPUTS,
        feature_set_version=model_input_version(),
        label_version=labels.LabelSpec().version,
        rule_arm=rules.rule_arm().version,
        profile="fast" if quick else "full",
    )
    started = time.perf_counter()
    outcome = search_settings(
        rows, standing, before=search_end(folds), budget=SearchBudget(n_configurations), n_threads=1
    )
    seconds = time.perf_counter() - started
    before = _record(rows, folds, standing)
    after = before if outcome.procedure == standing else _record(rows, folds, outcome.procedure)
    losses = [log_losses(record["y"], record[P_CHALLENGER]) for record in (before, after)]
    base = log_losses(before["y"], before[P_BASE_RATE])
    return {
        "preset": preset,
        "seed": seed,
        "configurations": n_configurations,
        "adopted": [choice.member for choice in outcome.choices if choice.is_adopted],
        "searched": len(outcome.choices),
        "gain_standing": float((base - losses[0]).mean()),
        "gain_searched": float((base - losses[1]).mean()),
        "daily": daily_sums(losses[0] - losses[1], before["session"]).tolist(),
        "rows": len(before),
        "seconds": seconds,
    }


def _record(rows: pd.DataFrame, folds: tuple[Fold, ...], procedure: Procedure) -> pd.DataFrame:
    return combine_folds([fit_fold(rows, fold, procedure, n_threads=1) for fold in folds], procedure).record


def _row(result: dict[str, Any]) -> Row:
    is_same = not result["adopted"]
    cells = {
        "market": f"{result['preset']} {result['seed']}",
        "adopted": ", ".join(result["adopted"]) or "nothing",
        "gain over the base rate, standing": f"{result['gain_standing']:+.5f}",
        "searched": f"{result['gain_searched']:+.5f}",
        "t of the difference": "" if is_same else f"{har_t_test(np.array(result['daily'])).t:.2f}",
        "search, s": f"{result['seconds']:.0f}",
    }
    return Row(cells, missed=False)


def _over_all(results: list[dict[str, Any]]) -> Row:
    """The difference over all markets with an edge, market after market."""
    daily = np.concatenate([np.array(result["daily"]) for result in results if result["preset"] != "none"])
    test = har_t_test(daily)
    cells = {
        "market": "all with an edge",
        "t of the difference": f"{test.t:.2f}",
        "goal": f"t at least {-test.critical_value(ALPHA):.2f}",
    }
    return Row(cells, missed=test.t < -test.critical_value(ALPHA))


def _changed(results: list[dict[str, Any]], *, quick: bool) -> Row:
    """How many members were changed where there was nothing to find."""
    own = [result for result in results if result["preset"] == "none"]
    changed, searched = sum(len(result["adopted"]) for result in own), sum(result["searched"] for result in own)
    low = binomial_interval(changed, searched).low
    cells = {
        "market": "all without an edge",
        "adopted": f"{changed} of {searched} members",
        "goal": f"at most {MAX_CHANGED_SHARE:.0%}",
    }
    return Row(cells, missed=low > MAX_CHANGED_SHARE if quick else changed > MAX_CHANGED_SHARE * searched)


if __name__ == "__main__":
    sys.exit(main())
