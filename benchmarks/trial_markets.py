"""Do books kept on real bars behave as the trial takes for granted, and what does matching their stakes bring?

In each simulated market the whole weekly procedure makes a year's record; both arms' books are kept on its bars. Goals:
the marks of every settled trade sum up to its net return; marked differences do not go on as they began (mean
autocorrelation of the first five lags: its 95 % interval does not lie above zero). Printed beside it: the same for
settled differences, whose days overlap, and for books whose stakes are not matched. Presets share the noise of a seed,
so the interval is over seeds.

    python benchmarks/trial_markets.py            # ten markets of 120 stocks, about a minute each
    python benchmarks/trial_markets.py --quick    # one of 24 stocks, under 30 s
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pandas as pd
from scipy import special

from benchmarks.support.table import Row, finish, machine
from benchmarks.support.weekly_procedure import prepare_events, run_procedure
from catalyst_ml.frames import EVENT_KEY
from catalyst_ml.market import labels
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.simulator import simulate_market
from catalyst_ml.trial.books import keep_books, take_positions
from catalyst_ml.trial.marks import mark_trades
from catalyst_ml.trial.sequential import GAIN_CAP, LOSS_CAP, bet_on, predictable_scale

YEAR = 252
LAGS = range(1, 6)
MARKETS = [
    *(("none", seed) for seed in (4200, 4201, 4202)),
    *(("weak", seed) for seed in (4200, 4201, 4202)),
    *(("middle", seed) for seed in (4200, 4201, 4202, 4203)),
]
QUICK_MARKETS = [("none", 4200)]
MAX_SUM_ERROR = 1e-12
KEY = list(EVENT_KEY)


@dataclass(frozen=True)
class Book:
    """One way to keep the books of one market: differences by session, and by decision day once settled."""

    marked: np.ndarray
    settled: np.ndarray
    wanted: tuple[float, float]


def market_books(preset: str, seed: int, *, n_symbols: int) -> tuple[float, dict[str, Book]]:
    """Largest error of a trade's marks, and the books of a market with and without matched stakes."""
    market = simulate_market(preset, seed=seed, n_symbols=n_symbols)
    record = run_procedure(market, profile="fast", n_threads=1).record
    prepared = prepare_events(market.bars, market.instruments, market.news)
    calendar = TradingCalendar()
    labelled = labels.label_events(
        prepared.events, prepared.bars, labels.LabelSpec(), calendar=calendar, as_of=prepared.as_of
    )
    marks = mark_trades(labelled.labels, labelled.pending, prepared.bars, calendar=calendar, as_of=prepared.as_of)
    total = marks.groupby(KEY)["net"].sum().reset_index().merge(labelled.labels, on=KEY)
    error = float((total["net"] - total["net_return"]).abs().max())
    signals = record.assign(p_ml=record["p_challenger"], version_id=record["fold"])
    matched = take_positions(signals)
    unmatched = matched.assign(size_ml=matched["wanted_ml"], size_rules=matched["wanted_rules"])
    books = {name: _book(kept, signals, marks) for name, kept in (("matched", matched), ("unmatched", unmatched))}
    return error, books


def _book(positions: pd.DataFrame, signals: pd.DataFrame, marks: pd.DataFrame) -> Book:
    books = keep_books(positions, marks)
    earned = positions.merge(signals[[*KEY, "net_return"]], on=KEY)
    difference = (earned["size_ml"] - earned["size_rules"]) * earned["net_return"]
    at = pd.DatetimeIndex(books.daily["session"]).get_indexer(earned["session"])
    settled = np.bincount(at, weights=difference, minlength=len(books.daily))
    return Book(books.difference, settled, (books.daily["wanted_ml"].mean(), books.daily["wanted_rules"].mean()))


def autocorrelation(d: np.ndarray) -> float:
    """Mean of the first five lags."""
    return float(np.mean([np.corrcoef(d[:-lag], d[lag:])[0, 1] for lag in LAGS]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one small market, under 30 s")
    parser.add_argument("--json", metavar="FILE", help="also write the results as JSON")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    markets, n_symbols = (QUICK_MARKETS, 24) if arguments.quick else (MARKETS, 120)
    rows, found = [], {"matched": [], "unmatched": []}
    beyond = np.zeros(2)
    for preset, seed in markets:
        error, books = market_books(preset, seed, n_symbols=n_symbols)
        for name, book in books.items():
            d = book.marked
            found[name].append((seed, autocorrelation(d), autocorrelation(book.settled)))
            cells = {
                "market": f"{preset} {seed}",
                "stakes": name,
                "sessions": len(d),
                "sd": f"{d.std():.2f}",
                "Sharpe": f"{np.sqrt(YEAR) * d.mean() / d.std():.1f}",
                "highest e": f"{np.exp(bet_on(d).log_e.max()):.3g}",
                "wanted ml, rules": f"{book.wanted[0]:.1f}, {book.wanted[1]:.1f}",
                "autocorrelation marked": f"{found[name][-1][1]:+.3f}",
                "settled": f"{found[name][-1][2]:+.3f}",
                "kurtosis": f"{((d - d.mean()) ** 4).mean() / d.var() ** 2:.0f}",
            }
            rows.append(Row(cells, missed=error > MAX_SUM_ERROR))
        in_scales = books["matched"].marked / predictable_scale(books["matched"].marked)
        beyond += np.nansum([np.maximum(-LOSS_CAP - in_scales, 0.0), np.maximum(in_scales - GAIN_CAP, 0.0)], axis=1)
        print(f"  {preset} {seed}: marks off by {error:.1e} at most", file=sys.stderr)
    for name, values in found.items():
        rows.append(_mean_row(name, values, n_sessions=len(books[name].marked)))
    print(f"beyond the caps, in scales, all markets: losses {beyond[0]:.2f}, gains {beyond[1]:.2f}")
    title = f"Both arms' books in simulated markets ({n_symbols} stocks; {machine()})"
    return finish(title, rows, json_file=arguments.json)


def _mean_row(name: str, values: list[tuple[int, float, float]], *, n_sessions: int) -> Row:
    """Mean over seeds; the goal is that of marked differences with matched stakes."""
    by_seed = pd.DataFrame(values, columns=["seed", "marked", "settled"]).groupby("seed").mean().to_numpy()
    mean, n = by_seed.mean(axis=0), len(by_seed)
    one = np.full(2, 1.96 / np.sqrt(len(LAGS) * n_sessions))
    half = one if n == 1 else special.stdtrit(n - 1, 0.975) * by_seed.std(axis=0, ddof=1) / np.sqrt(n)
    low, high = mean - half, mean + half
    cells = {
        "market": "mean of all", "stakes": name,
        "autocorrelation marked": f"{mean[0]:+.3f} [{low[0]:+.3f}, {high[0]:+.3f}]",
        "settled": f"{mean[1]:+.3f} [{low[1]:+.3f}, {high[1]:+.3f}]",
    }  # fmt: skip
    return Row(cells, missed=name == "matched" and low[0] > 0.0)


if __name__ == "__main__":
    sys.exit(main())
