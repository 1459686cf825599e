"""Kernels against TA-Lib, against numpy, and on the edges where charts go flat."""

import numpy as np
import pytest
import talib

from catalyst_ml.indicators import kernels, one_pass

N_BARS = 3_000


def make_prices(shape: str, *, seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """High, low and close of a random walk, of one with flat stretches, or of one with 30 % jumps."""
    rng = np.random.default_rng(seed)
    moves = rng.normal(0, 0.01, N_BARS)
    if shape == "flat_stretches":
        moves[(np.arange(N_BARS) // 60) % 3 == 1] = 0.0
    if shape == "jumpy":
        moves[rng.integers(0, N_BARS, 40)] += rng.choice([-0.3, 0.3], 40)
    close = 50.0 * np.exp(np.cumsum(moves))
    reach = np.abs(rng.normal(0, 0.005, (2, N_BARS)))
    if shape == "flat_stretches":
        reach[:, (np.arange(N_BARS) // 60) % 3 == 1] = 0.0
    prior = np.concatenate(([close[0]], close[:-1]))
    return np.maximum(close, prior) * (1 + reach[0]), np.minimum(close, prior) * (1 - reach[1]), close


def worst_relative_difference(ours: np.ndarray, theirs: np.ndarray, *, scale: np.ndarray | float = 0.0) -> float:
    """Largest |a - b| / max(|b|, scale); both must be unknown at the same bars."""
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs))
    known = ~np.isnan(ours)
    size = np.maximum(np.abs(theirs), scale)[known]
    return float(np.max(np.abs(ours - theirs)[known] / np.maximum(size, 1e-300), initial=0.0))


@pytest.mark.parametrize("shape", ["walk", "flat_stretches", "jumpy"])
def test_indicators_agree_with_talib_to_1e_9(shape):
    high, low, close = make_prices(shape)

    worst = {
        "sma": worst_relative_difference(kernels.sma(close, 20), talib.SMA(close, 20)),
        "ema": worst_relative_difference(kernels.ema(close, 12), talib.EMA(close, 12)),
        "rsi": worst_relative_difference(kernels.rsi(close, 14), talib.RSI(close, 14), scale=1.0),
        "atr": worst_relative_difference(kernels.atr(high, low, close, 14), talib.ATR(high, low, close, 14)),
        "adx": worst_relative_difference(kernels.adx(high, low, close, 14), talib.ADX(high, low, close, 14)),
        "true_range": worst_relative_difference(
            kernels.true_range(high, low, close), talib.TRANGE(high, low, close), scale=1e-3 * close
        ),
    }
    # MACD is a difference of prices: its error is judged against the price, a value near 0 would not do.
    for name, ours, theirs in zip(
        ("macd", "macd_signal", "macd_histogram"),
        kernels.macd(close, 12, 26, 9),
        talib.MACD(close),
        strict=True,
    ):
        worst[name] = worst_relative_difference(ours, theirs, scale=1e-3 * close)

    print(shape, {name: f"{value:.1e}" for name, value in worst.items()})
    assert max(worst.values()) < 1e-9, worst


def test_bollinger_bands_agree_with_talib_to_1e_9():
    _, _, close = make_prices("walk")

    middle, upper, lower = kernels.bollinger(close, 20, 2.0)

    for ours, theirs in zip((upper, middle, lower), talib.BBANDS(close, 20, 2.0, 2.0), strict=True):
        assert worst_relative_difference(ours, theirs) < 1e-9


def test_deviation_agrees_with_numpy_where_running_sums_cancel():
    # One million plus cents: E[x^2] - E[x]^2 keeps no correct digit here.
    x = 1e6 + np.random.default_rng(3).normal(0, 1e-4, 200)

    ours = kernels.rolling_std(x, 20)

    expected = [np.std(x[i - 19 : i + 1]) for i in range(19, 200)]
    np.testing.assert_allclose(ours[19:], expected, rtol=1e-9)


def test_constant_prices_give_zero_deviation_and_bands_on_the_price():
    close = np.full(100, 0.1)

    middle, upper, lower = kernels.bollinger(close, 20, 2.0)

    assert (kernels.rolling_std(close, 20)[19:] == 0.0).all()
    np.testing.assert_array_equal(upper[19:], lower[19:])
    np.testing.assert_allclose(middle[19:], 0.1, rtol=1e-15)


def test_flat_prices_give_rsi_and_adx_zero_as_talib():
    flat = np.full(60, 12.5)

    np.testing.assert_array_equal(kernels.rsi(flat, 14), talib.RSI(flat, 14))
    np.testing.assert_array_equal(kernels.adx(flat, flat, flat, 14), talib.ADX(flat, flat, flat, 14))
    assert kernels.rsi(flat, 14)[14] == 0.0


def test_correlation_agrees_with_numpy_and_is_unknown_where_one_side_stands_still():
    rng = np.random.default_rng(5)
    x = rng.normal(size=300)
    y = 0.6 * x + rng.normal(size=300)
    y[100:180] = 1.0

    ours = kernels.rolling_corr(x, y, 60)

    for end in (60, 99, 120, 200, 300):
        assert ours[end - 1] == pytest.approx(np.corrcoef(x[end - 60 : end], y[end - 60 : end])[0, 1], rel=1e-9)
    assert np.isnan(ours[:59]).all()
    assert np.isnan(ours[159:180]).all()


def test_values_of_window_kernels_do_not_depend_on_earlier_history():
    _, _, close = make_prices("jumpy")

    for kernel in (lambda x: kernels.sma(x, 20), lambda x: kernels.rolling_std(x, 20)):
        np.testing.assert_array_equal(kernel(close)[1_000:], kernel(close[981:].copy())[19:])


def test_a_missing_value_stays_in_its_window_but_stops_recursive_indicators():
    high, low, close = make_prices("walk")
    close[100] = np.nan

    assert np.flatnonzero(np.isnan(kernels.sma(close, 20)[19:])).tolist() == list(range(81, 101))
    assert np.isfinite(kernels.true_range(high, low, close)[102:]).all()
    for values in (
        kernels.ema(close, 10),
        kernels.rsi(close, 14),
        kernels.macd(close, 12, 26, 9)[2],
        kernels.atr(high, low, close, 14),
        kernels.adx(high, low, close, 14),
    ):
        assert np.isfinite(values[99])
        assert np.isnan(values[101:]).all()


def test_leading_missing_values_only_delay_the_warm_up():
    high, low, close = make_prices("walk")
    pad = np.full(7, np.nan)
    padded = [np.concatenate((pad, x)) for x in (high, low, close)]

    pairs = [
        (kernels.ema(padded[2], 10), kernels.ema(close, 10)),
        (kernels.rsi(padded[2], 14), kernels.rsi(close, 14)),
        (kernels.macd(padded[2], 12, 26, 9)[2], kernels.macd(close, 12, 26, 9)[2]),
        (kernels.atr(*padded, 14), kernels.atr(high, low, close, 14)),
        (kernels.adx(*padded, 14), kernels.adx(high, low, close, 14)),
    ]
    for late, early in pairs:
        np.testing.assert_array_equal(late[7:], early)


@pytest.mark.parametrize("n_bars", [0, 1, 13])
def test_histories_shorter_than_the_warm_up_are_all_missing(n_bars):
    x = np.linspace(1.0, 2.0, n_bars)

    for values in (
        kernels.sma(x, 14),
        kernels.ema(x, 14),
        kernels.rsi(x, 14),
        *kernels.macd(x, 12, 26, 9),
        *kernels.bollinger(x, 20, 2.0),
        kernels.atr(x, x, x, 14),
        kernels.adx(x, x, x, 14),
        kernels.rolling_corr(x, x, 60),
    ):
        assert values.shape == x.shape
        assert np.isnan(values).all()


@pytest.mark.parametrize("shape", ["walk", "flat_stretches", "jumpy"])
def test_one_pass_gives_the_bits_of_the_single_indicators(shape):
    high, low, close = make_prices(shape)

    for n_bars in (1, 2, 14, 15, 27, 28, 29, 33, 34, 35, N_BARS):
        own = [values[:n_bars].copy() for values in (high, low, close)]
        rsi, histogram, adx, atr = one_pass.oscillators(*own, 14, 12, 26, 9)
        np.testing.assert_array_equal(rsi, kernels.rsi(own[2], 14))
        np.testing.assert_array_equal(histogram, kernels.macd(own[2], 12, 26, 9)[2])
        np.testing.assert_array_equal(adx, kernels.adx(*own, 14))
        np.testing.assert_array_equal(atr, kernels.atr(*own, 14))


def test_in_one_pass_a_missing_price_leaves_all_four_unknown_from_there_on():
    prices = [values.copy() for values in make_prices("walk")]
    prices[0][100] = np.nan

    for line in one_pass.oscillators(*prices, 14, 12, 26, 9):
        assert np.isnan(line[100:]).all()
        assert not np.isnan(line[99])


@pytest.mark.parametrize(
    ("n_bars", "n"),
    [*((n_bars, 20) for n_bars in (19, 20, 255, 275, 276, 600)), (300, 1), (300, 2), (300, 3), (300, 21), (300, 22)],
)
def test_windows_side_by_side_have_the_bits_of_a_plain_loop(n_bars, n):
    _, _, close = make_prices("jumpy")
    close = close[:n_bars].copy()
    mean, deviation = np.full(n_bars, np.nan), np.full(n_bars, np.nan)
    for end in range(n, n_bars + 1):
        window = [float(value) for value in close[end - n : end]]
        total = shift = squares = 0.0
        for value in window:
            total += value
            shift += value - window[0]
        shift /= n
        for value in window:
            squares += (value - window[0] - shift) * (value - window[0] - shift)
        mean[end - 1], deviation[end - 1] = total / n, np.sqrt(squares / n)

    middle, upper, lower = kernels.bollinger(close, n, 2.0)

    for ours, expected in (
        (kernels.sma(close, n), mean),
        (kernels.rolling_std(close, n), deviation),
        (middle, mean),
        (upper, mean + 2.0 * deviation),
        (lower, mean - 2.0 * deviation),
    ):
        np.testing.assert_array_equal(ours, expected)


def test_ratios_say_what_a_zero_below_means():
    top, below = np.array([1.0, 0.0, np.nan, 3.0]), np.array([2.0, 0.0, 0.0, np.nan])

    np.testing.assert_array_equal(kernels.ratio(top, below, 7.0), [0.5, 7.0, 7.0, np.nan])
    np.testing.assert_array_equal(kernels.distance(top, below), [-0.5, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(kernels.position(top, below * 0, below, 0.5), [0.5, 0.5, 0.5, np.nan])


@pytest.mark.parametrize("n", [1, 2, 7, 20])
def test_products_of_windows_side_by_side_have_the_bits_of_a_plain_loop(n):
    rng = np.random.default_rng(8)
    x, y = rng.normal(size=300), rng.normal(size=300)

    ours = kernels.rolling_products(x, y, n)

    for end in range(n, 301):
        of_x, of_y = ([float(value) for value in values[end - n : end]] for values in (x, y))
        mean_x = mean_y = xx = yy = xy = 0.0
        for a, b in zip(of_x, of_y, strict=True):
            mean_x, mean_y = mean_x + (a - of_x[0]), mean_y + (b - of_y[0])
        for a, b in zip(of_x, of_y, strict=True):
            dx, dy = a - of_x[0] - mean_x / n, b - of_y[0] - mean_y / n
            xx, yy, xy = xx + dx * dx, yy + dy * dy, xy + dx * dy
        assert [values[end - 1] for values in ours] == [xx, yy, xy]
