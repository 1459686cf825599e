"""Moments against plain loops and against markets whose moments are known by construction."""

import math
import statistics

import numpy as np
import pandas as pd
import pytest

from catalyst_ml.errors import DataContractError, InsufficientHistory
from catalyst_ml.frames import BARS, INSTRUMENTS
from catalyst_ml.market.market_moments import market_moments
from catalyst_ml.market.simulator import simulate_market
from tests.catalyst_ml.market.bar_frames import CALENDAR, CLOSES

N = 400


def _frames(night: np.ndarray, day: np.ndarray, *, vix: np.ndarray | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """BARS and INSTRUMENTS from logarithmic returns, (n_sessions, n_stocks); sectors alternate."""
    close = 100.0 * np.exp(np.cumsum(night + day, axis=0))
    opened = close * np.exp(-day)
    parts = [
        pd.DataFrame({"symbol": f"S{i:02d}", "ts": CLOSES[: len(day)], "open": opened[:, i], "close": close[:, i]})
        for i in range(day.shape[1])
    ]
    if vix is not None:
        parts.append(pd.DataFrame({"symbol": "VIX", "ts": CLOSES[: len(day)], "open": vix, "close": vix}))
    bars = pd.concat(parts, ignore_index=True)
    bars = bars.assign(
        high=bars[["open", "close"]].max(axis=1), low=bars[["open", "close"]].min(axis=1), volume=1e6, split_factor=1.0
    ).astype({"symbol": "str"})
    symbols = list(bars["symbol"].unique())
    instruments = pd.DataFrame(
        {
            "symbol": symbols,
            "kind": ["volatility" if s == "VIX" else "stock" for s in symbols],
            "sector": [None if s == "VIX" else ("Energy", "Health")[int(s[1:]) % 2] for s in symbols],
        }
    ).astype({"symbol": "str", "kind": "str", "sector": "str"})
    return BARS.validate(bars[BARS.column_names]), INSTRUMENTS.validate(instruments)


def _correlation(a: list[float], b: list[float]) -> float:
    return statistics.correlation(a, b)


def test_moments_of_returns_equal_those_of_a_plain_loop():
    rng = np.random.default_rng(1)
    night, day = 0.01 * rng.standard_t(5, (2, N, 9))
    moments = market_moments(*_frames(night, day))

    by_stock: dict[str, list[float]] = {"sd": [], "kurtosis": [], "acf5": [], "leverage": [], "overnight": []}
    gaps = 0
    for i in range(9):
        r = [float(night[t, i] + day[t, i]) for t in range(1, N)]
        size = [abs(x) for x in r]
        mean, n = statistics.fmean(r), len(r)
        second, fourth = (sum((x - mean) ** k for x in r) / n for k in (2, 4))
        by_stock["sd"].append(statistics.stdev(r))
        biased = fourth / second**2 - 3.0
        by_stock["kurtosis"].append((n - 1) / ((n - 2) * (n - 3)) * ((n + 1) * biased + 6.0))
        by_stock["acf5"].append(_correlation(size[5:], size[:-5]))
        ahead = [statistics.fmean(size[t + 1 : t + 11]) for t in range(n - 10)]
        by_stock["leverage"].append(_correlation(r[: n - 10], ahead))
        nights, days = statistics.variance(night[1:, i].tolist()), statistics.variance(day[:, i].tolist())
        by_stock["overnight"].append(nights / (nights + days))
        gaps += sum(abs(math.expm1(x)) >= 0.01 for x in night[1:, i].tolist())

    assert moments.return_sd == pytest.approx(statistics.median(by_stock["sd"]))
    assert moments.excess_kurtosis == pytest.approx(statistics.median(by_stock["kurtosis"]))
    assert moments.absolute_acf_5 == pytest.approx(statistics.median(by_stock["acf5"]))
    assert moments.leverage == pytest.approx(statistics.median(by_stock["leverage"]))
    assert moments.overnight_share == pytest.approx(statistics.median(by_stock["overnight"]))
    assert moments.gap_rate == pytest.approx(gaps / (9 * (N - 1)))


def test_what_stocks_share_is_found_in_the_size_it_was_put_in():
    rng = np.random.default_rng(2)
    market, sectors, own = rng.standard_normal((N, 1)), rng.standard_normal((N, 2)), rng.standard_normal((N, 40))
    wildness = np.where(np.arange(N) < N // 2, 1.0, 3.0)[:, None]
    day = 0.005 * (wildness * market + np.sqrt(0.5) * np.tile(sectors, 20) + own)
    moments = market_moments(*_frames(np.zeros_like(day), day))

    # Within a quarter: market 1 or 9, sector 0.5 (half the pairs), own 1; hence 0.5 and 0.88, and 0.69 over both.
    assert moments.pair_correlation == pytest.approx(0.69, abs=0.04)
    assert moments.market_share == pytest.approx(5.25 / 6.5, abs=0.05)
    # Without the market: same sector 0.25 / 1.25 above nothing, other sector as far below it.
    assert moments.sector_pair_excess == pytest.approx(0.4, abs=0.06)


def test_stress_is_the_wildest_quarter_of_the_quarters():
    rng = np.random.default_rng(6)
    wildness = np.repeat(rng.uniform(0.3, 3.0, 8), 63)[:N, None]
    day = 0.005 * (wildness * rng.standard_normal((N, 1)) + rng.standard_normal((N, 8)))
    moments = market_moments(*_frames(np.zeros_like(day), day))

    quarters = []
    for first in range(1, N - 62, 63):
        window = day[first : first + 63]
        pairs = [_correlation(window[:, i].tolist(), window[:, j].tolist()) for i in range(8) for j in range(i)]
        quarters.append((statistics.stdev(window.mean(axis=1).tolist()), statistics.fmean(pairs)))
    calmest, *_, wildest = sorted(quarters)
    assert len(quarters) == 6
    assert moments.pair_correlation == pytest.approx(statistics.fmean(pair for _, pair in quarters))
    assert moments.pair_correlation_in_stress == pytest.approx(wildest[1] - calmest[1])


def test_volatility_that_follows_falls_and_volume_that_follows_size_are_seen():
    market = simulate_market("none", seed=4, n_symbols=16, n_sessions=800, calendar=CALENDAR)
    bars = market.bars.assign(split_factor=1.0)
    moments = market_moments(bars, market.instruments)

    assert moments.volume_size_correlation > 0.2
    assert moments.market_leverage < 0.0 < moments.absolute_acf_1
    flat = market_moments(bars.assign(volume=bars["volume"].where(bars["symbol"] == "VIX", 5.0)), market.instruments)
    assert math.isnan(flat.volume_size_correlation)


def test_the_volatility_index_is_measured_and_its_absence_is_nan():
    rng = np.random.default_rng(3)
    day = 0.01 * rng.standard_normal((N, 8))
    vix = np.where(np.arange(N) % 2 == 0, 10.0, 30.0)

    measured = market_moments(*_frames(np.zeros_like(day), day, vix=vix))
    without = market_moments(*_frames(np.zeros_like(day), day))

    assert (measured.vix_mean, measured.vix_memory) == (20.0, pytest.approx(-1.0))
    assert math.isnan(without.vix_mean)
    assert measured.return_sd == without.return_sd


def test_one_unrecorded_split_moves_no_median():
    rng = np.random.default_rng(5)
    day = 0.01 * rng.standard_normal((N, 9))
    night = np.zeros_like(day)
    clean = market_moments(*_frames(night, day))
    night[200, 0] = -math.log(2.0)
    dirty = market_moments(*_frames(night, day))

    assert dirty.return_sd == pytest.approx(clean.return_sd, rel=0.05)
    assert abs(dirty.excess_kurtosis - clean.excess_kurtosis) < 0.3


def test_bars_that_are_not_adjusted_are_refused():
    bars, instruments = _frames(*np.zeros((2, N, 8)))
    bars.loc[3, "split_factor"] = 2.0

    with pytest.raises(DataContractError, match="1 bars still carry a split factor"):
        market_moments(bars, instruments)


def test_a_market_too_small_to_measure_is_refused():
    with pytest.raises(InsufficientHistory, match="0 of 8 stocks have 250 returns"):
        market_moments(*_frames(*np.full((2, 100, 8), 0.01)))
