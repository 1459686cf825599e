"""Is the simulated market like the real one, and does its truth hold? Moments side by side, and the oracle's scores.

One function measures real bars (folder in ``CATALYST_MARKET_DATA``; without it the column says "not shown") and
simulated ones. The ranges of the daily success rate's spread, of the design effect and of the oracle's AUC are the
design's, at about 100 events a day; the others were set around what real five-year stretches show.

    python benchmarks/simulator.py            # six seeds
    python benchmarks/simulator.py --quick    # two seeds; fails only if the interval excludes the range
    python benchmarks/simulator.py --fit      # fit the map of known probabilities again and print it
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

from benchmarks.support.market_measures import known_outcomes, measure_market, oracle_statistics, real_market
from benchmarks.support.table import Row, finish, machine
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.simulated_probability import ProbabilityMap, screen_terms
from catalyst_ml.market.simulated_tables import VOLATILITY_SYMBOL
from catalyst_ml.market.simulator import PRESETS, SimulatedMarket, simulate_market

N_SYMBOLS = 220
"""Gives about 100 events a day, the number the design's ranges are stated for."""
SEEDS, QUICK_SEEDS, FIT_SEEDS = range(5_000, 5_006), range(5_000, 5_002), range(9_000, 9_006)
"""The seeds that fit the map of probabilities are no seeds that judge it."""
AUC_TOLERANCE = 0.01
SLOPE_RANGE, LARGEST_CALIBRATION_ERROR = (0.9, 1.1), 0.02
QUICK_WIDTH = 2.6
"""Half-width of the quick form's interval, in standard errors over seeds."""


class Range(NamedTuple):
    """What a statistic may be."""

    low: float
    high: float
    source: str = "near real"


DESIGN = "design 13"
WANTED: dict[str, Range] = {
    "return_sd": Range(0.015, 0.027),
    "excess_kurtosis": Range(3.0, 10.0),
    "skew": Range(-0.30, 0.15),
    "absolute_acf_1": Range(0.10, 0.27),
    "absolute_acf_5": Range(0.08, 0.27),
    "absolute_acf_20": Range(0.05, 0.20),
    "overnight_share": Range(0.23, 0.32),
    "gap_rate": Range(0.13, 0.26),
    "leverage": Range(-0.10, -0.04),
    "volume_size_correlation": Range(0.28, 0.40),
    "pair_correlation": Range(0.30, 0.48),
    "pair_correlation_in_stress": Range(0.18, 0.35),
    "market_share": Range(0.35, 0.52),
    "sector_pair_excess": Range(0.10, 0.17),
    "market_sd": Range(0.010, 0.019),
    "market_leverage": Range(-0.16, -0.06),
    "vix_mean": Range(16.0, 26.0),
    "vix_sd": Range(5.0, 13.0),
    "vix_memory": Range(0.955, 0.99),
    "events_per_day": Range(85.0, 125.0),
    "events_per_stock_day": Range(0.38, 0.52),
    "hammer_rate": Range(0.025, 0.05),
    "shooting_star_rate": Range(0.025, 0.045),
    "engulfing_rate": Range(0.05, 0.085),
    "doji_rate": Range(0.07, 0.115),
    "three_white_soldiers_rate": Range(0.04, 0.07),
    "three_black_crows_rate": Range(0.035, 0.06),
    "gap_up_rate": Range(0.045, 0.085),
    "gap_down_rate": Range(0.045, 0.085),
    "volume_surge_rate": Range(0.025, 0.045),
    "base_rate": Range(0.47, 0.51),
    "base_rate_long": Range(0.48, 0.54),
    "base_rate_short": Range(0.44, 0.51),
    "timeout_share": Range(0.12, 0.18),
    "daily_sd": Range(0.12, 0.15, DESIGN),
    "design_effect": Range(10.0, 35.0, DESIGN),
    "design_effect_one_side": Range(10.0, 35.0, DESIGN),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two seeds, under a minute")
    parser.add_argument("--json", metavar="FILE", help="also write the results as JSON")
    parser.add_argument("--fit", action="store_true", help="fit the map of known probabilities and print it")
    arguments = parser.parse_args()
    calendar = TradingCalendar()
    if arguments.fit:
        return _fit(calendar)
    seeds = QUICK_SEEDS if arguments.quick else SEEDS
    real = _real(calendar)
    simulated = pd.DataFrame([_simulated(preset, seed, calendar) for preset in PRESETS for seed in seeds])
    size = f"{N_SYMBOLS} stocks, 1,250 sessions, mean of {len(seeds)} seeds; {machine()}"
    moments = [_moment_row(name, wanted, real, simulated, arguments.quick) for name, wanted in WANTED.items()]
    truths = [_truth_row(preset, simulated[simulated["preset"] == preset], arguments.quick) for preset in PRESETS]
    results = {"real": real, "simulated": simulated.to_dict("records")}
    is_unlike = finish(f"Simulated and real markets ({size})", moments)
    is_untrue = finish("What the oracle knows", truths, results=results | {"moments": [r.cells for r in moments]},
                       json_file=arguments.json)  # fmt: skip
    seconds = simulated["seconds"].median()
    print(f"\nOne market of this size is simulated in {seconds:.1f} s, measured in a few more.")
    return max(is_unlike, is_untrue)


def _real(calendar: TradingCalendar) -> dict[str, float] | None:
    """Measure the real bars, if there are any."""
    folder = os.environ.get("CATALYST_MARKET_DATA")
    if not folder:
        print("CATALYST_MARKET_DATA is not set: the real column is not shown.", file=sys.stderr)
        return None
    print("  real bars", file=sys.stderr)
    return measure_market(*real_market(Path(folder), calendar=calendar), calendar=calendar).statistics


def _simulated(preset: str, seed: int, calendar: TradingCalendar) -> dict[str, float | str]:
    """Simulate one market and measure it."""
    print(f"  {preset} {seed}", file=sys.stderr)
    started = time.perf_counter()
    market = simulate_market(preset, seed=seed, n_symbols=N_SYMBOLS, calendar=calendar)
    seconds = time.perf_counter() - started
    statistics, labels = measure_market(market.bars, market.instruments, calendar=calendar)
    oracle = oracle_statistics(known_outcomes(market, labels))
    return {"preset": preset, "seed": seed, "seconds": seconds} | statistics | oracle


def _moment_row(name: str, wanted: Range, real: dict[str, float] | None, simulated: pd.DataFrame, quick: bool) -> Row:
    by_preset = simulated.groupby("preset")[name]
    missed = any(_is_outside(values, wanted.low, wanted.high, quick) for _, values in by_preset)
    cells = {"statistic": name.replace("_", " "), "real 2005-2016": "not shown" if real is None else _short(real[name])}
    cells |= {preset: _short(by_preset.get_group(preset).mean()) for preset in PRESETS}
    low, high = _short(wanted.low), _short(wanted.high)
    return Row(cells | {"wanted": f"{low} to {high} ({wanted.source})"}, missed=missed)


def _truth_row(preset: str, own: pd.DataFrame, quick: bool) -> Row:
    goal = PRESETS[preset].oracle_auc
    # Without an edge the signal is still there, and ranks nothing; the probabilities hold the base rate of a side.
    missed = _is_outside(own["oracle_auc"], goal - AUC_TOLERANCE, goal + AUC_TOLERANCE, quick)
    missed |= _is_outside(own["calibration_error"], 0.0, LARGEST_CALIBRATION_ERROR, quick)
    if PRESETS[preset].strength > 0.0:
        missed |= _is_outside(own["calibration_slope"], *SLOPE_RANGE, quick)
        missed |= _is_outside(own["log_loss_gain"], 0.0, 1.0, quick)
    mean = own.mean(numeric_only=True)
    cells = {
        "preset": preset,
        "oracle AUC": f"{mean['oracle_auc']:.3f}",
        "goal": f"{goal:.2f} ± {AUC_TOLERANCE:g}",
        "before the change": f"{mean['auc_before_change']:.3f}",
        "after it": f"{mean['auc_after_change']:.3f}",
        "old relation after it": f"{mean['stale_auc_after_change']:.3f}",
        "base-rate log-loss": f"{mean['base_log_loss']:.4f}",
        "oracle log-loss": f"{mean['oracle_log_loss']:.4f}",
        "gain": f"{mean['log_loss_gain']:.4f}",
        "calibration slope": f"{mean['calibration_slope']:.2f}",
        "calibration error": f"{mean['calibration_error']:.4f}",
    }
    return Row(cells, missed=bool(missed))


def _is_outside(values: pd.Series, low: float, high: float, quick: bool) -> bool:
    """Whether the mean over seeds lies outside; in the quick form, whether its whole interval does."""
    slack = QUICK_WIDTH * values.std() / np.sqrt(len(values)) if quick else 0.0
    return bool(values.mean() + slack < low or values.mean() - slack > high)


def _short(value: float) -> str:
    return f"{value:.1f}" if abs(value) >= 5.0 else f"{value:.3f}".removesuffix("0")


def _fit(calendar: TradingCalendar) -> int:
    """Fit the map on markets of all presets that nothing else looks at."""
    parts = []
    for i, preset in enumerate(PRESETS):
        for seed in FIT_SEEDS:
            market = simulate_market(preset, seed=seed + 100 * i, calendar=calendar)
            _, labels = measure_market(market.bars, market.instruments, calendar=calendar)
            parts.append(_terms(market, known_outcomes(market, labels)))
            print(f"  {preset} {seed + 100 * i}", file=sys.stderr)
    rows = pd.concat(parts)
    fitted = LogisticRegression(C=1e6, tol=1e-10, max_iter=1_000).fit(rows.drop(columns="y").to_numpy(), rows["y"])
    print(ProbabilityMap(*(round(float(w), 4) for w in (fitted.intercept_[0], *fitted.coef_[0]))))
    return 0


def _terms(market: SimulatedMarket, rows: pd.DataFrame) -> pd.DataFrame:
    bars = market.bars
    vix = bars.loc[bars["symbol"] == VOLATILITY_SYMBOL].set_index("ts")["close"]
    sided = (rows["score"] * rows["direction"]).to_numpy()
    terms = screen_terms(sided, rows["sessions_left"].to_numpy(), vix.reindex(rows["ts"]).to_numpy())
    names = ProbabilityMap._fields[2:]
    return (
        pd.DataFrame(dict(zip(names, terms.T, strict=True)))
        .assign(y=rows["y"].to_numpy())
        .pipe(lambda frame: pd.concat([pd.Series(rows["direction"].to_numpy(), name="long_side"), frame], axis=1))
    )


if __name__ == "__main__":
    sys.exit(main())
