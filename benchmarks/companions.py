"""What the two companion models are worth: size of the move against ATR, order of the day against LightGBM.

All stock-days of the daily bars in the folder named by CATALYST_MARKET_DATA (with earnings, without news), refitted
every quarter on all that was known before it; without the variable a simulated market of 60 stocks stands in, whose
planted edge lies in patterns. Every prediction is out-of-fold. LightGBM with default parameters gets the same rows,
inputs and folds (of quarterly ones every second) and is compared there.

Goals: AUC within the day of the size of moves significantly above that of ATR alone; daily IC at least that of LightGBM
on ranked returns (the 95 % interval of the paired daily difference must not lie below zero) for both horizons; with
outcomes permuted within the day an IC of zero; graph and trainer within 1e-4.

    python benchmarks/companions.py --keep /tmp/companions    # 300 stocks; an hour of processor time with --events
    python benchmarks/companions.py --quick                   # 40 stocks, yearly refits, under a minute on idle cores
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.support.companion_events import compare_on_events, event_rows
from benchmarks.support.companion_market import (
    Market,
    is_member,
    lightgbm_scores,
    make_market,
    permute_targets,
    read_market,
)
from benchmarks.support.table import Row, finish, machine
from catalyst_ml.evaluation.intervals import ScoreInterval
from catalyst_ml.evaluation.move_metrics import compare_moves, score_moves
from catalyst_ml.evaluation.rank_metrics import MeanTest, compare_ic, daily_ic, newey_west, score_ranking
from catalyst_ml.evaluation.splits import test_rows
from catalyst_ml.features.stock_days import target_column
from catalyst_ml.models.companion_evaluation import LAGS
from catalyst_ml.models.companion_graph import certify_companions, export_companions
from catalyst_ml.models.companion_settings import CompanionSettings
from catalyst_ml.models.companions import (
    companion_folds,
    companion_matrix,
    default_companion_settings,
    fit_companions,
    predict_fold,
)

PRESET = "middle"
FEW_REFITS = 52
"""Weeks between refits from which on LightGBM is fitted in every fold, and not in every second."""

FEW_FOLDS = 4
"""With more folds than this the walk with permuted outcomes is refitted every two years only."""

LABELS = ("symmetric", "market_neutral")
SEARCHED = ("2009-01-01", "2013-01-01")
"""Settings were chosen on these years (docs/decisions/0022); the rest is shown apart."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few stocks, yearly refits, no events")
    parser.add_argument(
        "--events", action="store_true", help="also the ensemble on events, with and without the columns"
    )
    parser.add_argument("--weeks", type=int, default=13, help="between refits; 13 is what the settings say")
    parser.add_argument("--keep", metavar="FOLDER", type=Path, help="keep folds there, and go on from what is there")
    parser.add_argument("--threads", type=int, help="one with --quick, otherwise all cores")
    parser.add_argument("--json", metavar="FILE", help="also write the results as JSON")
    arguments = parser.parse_args()
    started = time.perf_counter()
    folder = os.environ.get("CATALYST_MARKET_DATA")
    n_stocks = (40 if folder else 24) if arguments.quick else (300 if folder else 60)
    settings = replace(default_companion_settings(), refit_weeks=52 if arguments.quick else arguments.weeks)
    # Two threads of a trainer on so few rows wait for each other longer than they work (docs/decisions/0020).
    n_threads = arguments.threads or (1 if arguments.quick else len(os.sched_getaffinity(0)))
    found = Study(folder, n_stocks, settings, arguments.keep, n_threads).run()
    rows = [*move_rows(found), *rank_rows(found), *check_rows(found)]
    if folder:
        rows += [*part_rows(found, Path(folder)), *year_rows(found)]
    events = []
    if arguments.events:
        events = [
            compare_on_events(event_rows(found.market, found.rows, label), label, n_threads=n_threads)
            for label in LABELS
        ]
        rows += [event_row(result) for result in events]
    title = (
        f"Companion models on {found.name}: {len(found.rows):,} out-of-fold stock-days, {found.n_folds} folds, "
        f"settings {settings.settings_id} ({machine()}; {time.perf_counter() - started:.0f} s)"
    )
    results = {"seconds": found.seconds, "events": events, "settings": settings.to_dict()}
    return finish(title, rows, results=results, json_file=arguments.json)


class Study:
    """Everything that is computed once: out-of-fold predictions of ours and of LightGBM, beside their outcomes."""

    def __init__(
        self, folder: str | None, n_stocks: int, settings: CompanionSettings, keep: Path | None, n_threads: int
    ) -> None:
        self.folder, self.n_stocks = folder, n_stocks
        self.settings, self.keep, self.n_threads = settings, keep, n_threads
        self.name = f"{n_stocks} stocks of {'real bars' if folder else f'a simulated market, edge {PRESET!r}'}"
        self.seconds: dict[str, float] = {}
        self.rows = pd.DataFrame()
        self.n_folds = 0

    def run(self) -> Study:
        """Build, walk and join; with ``keep`` what is there already is read."""
        started = time.process_time()
        self.stock_days = self.kept("stock-days", lambda: self.market.stock_days().rows)
        self.seconds["stock-days"] = time.process_time() - started
        folds = [f for f in companion_folds(self.stock_days, self.settings) if test_rows(self.stock_days, f).any()]
        self.n_folds = len(folds)
        ours, theirs = [], []
        for number, fold in enumerate(folds):
            ours.append(self.kept(f"ours-{fold.name}", lambda fold=fold: self._ours(fold)))
            if self.settings.refit_weeks >= FEW_REFITS or number % 2 == 1:
                theirs.append(self.kept(f"lightgbm-{fold.name}", lambda fold=fold: self._lightgbm(fold)))
        predictions = pd.concat(ours, ignore_index=True).merge(
            pd.concat(theirs, ignore_index=True), on=["symbol", "ts"], how="left"
        )
        outcomes = [target_column(1), target_column(5), "placed_return_1", "volatility_realised"]
        volatility = self.stock_days["log_volatility_realised_20"]
        asked = self.stock_days.assign(volatility_realised=np.exp(volatility))[["symbol", "ts", *outcomes]]
        self.rows = predictions.merge(asked, on=["symbol", "ts"], how="left", validate="one_to_one")
        return self

    @cached_property
    def market(self) -> Market:
        """Bars, read or simulated at first use."""
        if self.folder:
            return read_market(Path(self.folder), n_stocks=self.n_stocks)
        return make_market(PRESET, seed=4_200, n_stocks=self.n_stocks)

    def column(self, name: str) -> np.ndarray:
        """One column as float64."""
        return self.rows[name].to_numpy(dtype=np.float64)

    @property
    def moves(self) -> np.ndarray:
        """Sizes of the moves that came."""
        return np.abs(self.column(target_column(5)))

    def kept(self, name: str, make: Any) -> pd.DataFrame:
        """Read what an earlier run of the same settings kept under the name, or make it and keep it."""
        path = None if self.keep is None else self.keep / f"{self.settings.settings_id}-{name}.parquet"
        if path is not None and path.exists():
            return pd.read_parquet(path)
        frame = make()
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            frame.to_parquet(path.with_suffix(".new"))
            path.with_suffix(".new").rename(path)
        return frame

    def _ours(self, fold: Any) -> pd.DataFrame:
        started = time.process_time()
        predicted = predict_fold(self.stock_days, fold, self.settings, n_threads=self.n_threads)
        self.seconds[f"ours {fold.name}"] = time.process_time() - started
        return predicted

    def _lightgbm(self, fold: Any) -> pd.DataFrame:
        started = time.process_time()
        scores = {
            f"lightgbm_{h}": lightgbm_scores(
                self.stock_days, [fold], self.settings, sessions=h, n_threads=self.n_threads
            )
            for h in (1, 5)
        }
        self.seconds[f"lightgbm {fold.name}"] = time.process_time() - started
        frame = self.stock_days[["symbol", "ts"]].assign(**scores)
        return frame[test_rows(self.stock_days, fold)].reset_index(drop=True)


def move_rows(found: Study) -> list[Row]:
    """Size of the move: ours, ATR alone, realised volatility alone."""
    session = found.rows["ts"]
    rows = []
    for name, column in (("size of move", "expected_move"), ("ATR alone", "expected_move_atr"),
                         ("realised volatility alone", "volatility_realised")):  # fmt: skip
        scores = score_moves(found.column(column), found.moves, session)
        cells = {"what": name, "AUC within day": _interval(scores.auc)}
        if column != "volatility_realised":  # a volatility is no forecast of a move
            cells |= {
                "realised / expected": _interval(scores.ratio),
                "by tenth": f"{min(scores.tenths):.2f} to {max(scores.tenths):.2f}",
                "mean absolute error": f"{1e4 * scores.mean_absolute_error:.1f} bp",
            }
        rows.append(Row(cells))
    against = compare_moves(found.column("expected_move"), found.column("expected_move_atr"), found.moves, session)
    rows[0].cells["against the baseline"] = f"{_interval(against)} of AUC over ATR alone; goal: above 0"
    rows[0] = replace(rows[0], missed=not (against.low is not None and against.low > 0.0))
    return rows


def rank_rows(found: Study) -> list[Row]:
    """Order of the day for both horizons: ours, one-day reversal, LightGBM on its folds and ours on the same."""
    rows = []
    for h, column in ((1, "rank"), (5, "rank_5")):
        outcome, session = found.column(target_column(h)), found.rows["ts"]
        has_rival = np.isfinite(found.column(f"lightgbm_{h}"))
        arms = {
            f"{column}: {h} session{'s' if h > 1 else ''} ahead": found.column(column),
            "one-day reversal": -found.column("placed_return_1"),
            "LightGBM, defaults, its folds": found.column(f"lightgbm_{h}"),
            f"{column} on the same folds": np.where(has_rival, found.column(column), np.nan),
        }
        own = []
        for name, score in arms.items():
            scores = score_ranking(score, outcome, session, lags=LAGS[h])
            own.append(
                Row(
                    {
                        "what": name,
                        "AUC within day": _interval(scores.auc),
                        "IC": f"{_mean(scores.ic)}, t {scores.ic.t:.1f}",
                        "spread of tenths": f"{1e4 * scores.spread.mean:+.1f} bp, t {scores.spread.t:.1f}",
                        "break-even a side": f"{scores.break_even_bps:.1f} bp",
                    }
                )
            )
        against = compare_ic(found.column(column), found.column(f"lightgbm_{h}"), outcome, session, lags=LAGS[h])
        own[-1].cells["against the baseline"] = f"{_mean(against)} of IC over LightGBM; goal: not below 0"
        own[-1] = replace(own[-1], missed=against.high < 0.0)
        rows += own
    return rows


def check_rows(found: Study) -> list[Row]:
    """Nothing is found where nothing is; the served graph says what the trainer says."""
    weeks = found.settings.refit_weeks if found.n_folds <= FEW_FOLDS else max(found.settings.refit_weeks, 104)
    settings = replace(found.settings, refit_weeks=weeks)
    mixed = permute_targets(found.stock_days, seed=1)
    parts = [
        found.kept(
            f"permuted-{settings.refit_weeks}-{f.name}",
            lambda f=f: predict_fold(mixed, f, settings, n_threads=found.n_threads),
        )
        for f in companion_folds(mixed, settings)
        if test_rows(mixed, f).any()
    ]
    predicted = pd.concat(parts, ignore_index=True).merge(
        mixed[["symbol", "ts", target_column(1), target_column(5)]], on=["symbol", "ts"]
    )
    rows = []
    for h, column in ((1, "rank"), (5, "rank_5")):
        ic = newey_west(
            daily_ic(predicted[column].to_numpy(), predicted[target_column(h)].to_numpy(), predicted["ts"]),
            lags=LAGS[h],
        )
        cells = {"what": f"{column}, outcomes permuted within the day", "IC": f"{_mean(ic)}, t {ic.t:.1f}"}
        rows.append(Row(cells, missed=not ic.low <= 0.0 <= ic.high))
    recent = found.stock_days.tail(60_000)
    fitted = fit_companions(recent, found.settings, n_threads=found.n_threads)
    graph = export_companions(fitted)
    parity = certify_companions(fitted, graph, companion_matrix(recent.tail(10_000), found.settings.inputs))
    worst = max(parity.max_abs_diff.values())
    cells = {
        "what": f"graph against trainer, {parity.n_rows:,} rows",
        "against the baseline": f"largest difference {worst:.1e}, {parity.n_bytes / 1e6:.2f} MB, "
        f"{fitted.n_tree_nodes:,} nodes; goal: 1e-4",
    }
    return [*rows, Row(cells, missed=not parity.passed)]


def part_rows(found: Study, folder: Path) -> list[Row]:
    """The years that settings were chosen on, the others, and stocks only while they were index members."""
    first, last = (pd.Timestamp(day, tz="UTC") for day in SEARCHED)
    searched = ((found.rows["ts"] >= first) & (found.rows["ts"] < last)).to_numpy()
    parts = {
        f"{SEARCHED[0][:4]} to 2012, where settings were chosen": searched,
        "all other days": ~searched,
        "only while in the index": is_member(found.rows, folder),
    }
    return [_part_row(found, name, keep) for name, keep in parts.items()]


def year_rows(found: Study) -> list[Row]:
    """Calendar years: is the level of the expected move right, does the order hold?"""
    year = found.rows["ts"].dt.year.to_numpy()
    return [_part_row(found, str(y), year == y) for y in np.unique(year)]


def _part_row(found: Study, name: str, keep: np.ndarray) -> Row:
    session = found.rows["ts"]

    def only(values: np.ndarray) -> np.ndarray:
        return np.where(keep, values, np.nan)

    scores = score_moves(only(found.column("expected_move")), found.moves, session)
    ics = {
        h: score_ranking(only(found.column(column)), found.column(target_column(h)), session, lags=LAGS[h])
        for h, column in ((1, "rank"), (5, "rank_5"))
    }
    return Row(
        {
            "what": name,
            "AUC within day": f"size {_interval(scores.auc)}",
            "IC": "; ".join(f"{h}: {_mean(r.ic)}, t {r.ic.t:.1f}" for h, r in ics.items()),
            "spread of tenths": f"{1e4 * ics[1].spread.mean:+.1f} bp, t {ics[1].spread.t:.1f}",
            "break-even a side": f"{ics[1].break_even_bps:.1f} bp",
            "realised / expected": _interval(scores.ratio),
            "by tenth": f"{min(scores.tenths):.2f} to {max(scores.tenths):.2f}",
        }
    )


def event_row(result: dict[str, Any]) -> Row:
    """Events: log-loss with the companions' columns against without, paired."""
    gain = result["gain"]
    with_, without = result["with_columns"], result["without_columns"]
    text = f"log-loss gain {gain['gain']:+.5f} [{gain['low']:+.5f}, {gain['high']:+.5f}], HAR t {gain['t']:.2f}"
    members = ", ".join(f"{name} {test['gain']:+.5f} (t {test['t']:.2f})" for name, test in result["members"].items())
    aucs = [ScoreInterval(**part["auc_within_day_and_direction"]) for part in (without, with_)]
    cells = {
        "what": f"columns at {result['events']:,} events, {result['label']}",
        "AUC within day": f"{_interval(aucs[0])} without, {_interval(aucs[1])} with",
        "against the baseline": f"{text}; {members}; log-loss {with_['log_loss']:.5f}, gain over the base rate "
        f"{with_['against_base_rate']['gain']:+.5f} (t {with_['against_base_rate']['t']:.2f})",
    }
    return Row(cells)


def _interval(score: ScoreInterval, digits: int = 3) -> str:
    if score.value is None or score.low is None:
        return "too few days"
    return f"{score.value:.{digits}f} [{score.low:.{digits}f}, {score.high:.{digits}f}]"


def _mean(test: MeanTest) -> str:
    return f"{test.mean:+.4f} [{test.low:+.4f}, {test.high:+.4f}]"


if __name__ == "__main__":
    sys.exit(main())
