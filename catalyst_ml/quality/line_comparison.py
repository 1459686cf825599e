"""Two lines of one dataset side by side: the same sessions seen in short and in long bars.

They agree or one of them is not what it seems: a line of one trading venue has a few percent of the volume, a line
adjusted for a later split has other prices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.price_breaks import sessions_of
from catalyst_ml.quality.bar_checks import is_regular
from catalyst_ml.quality.expectations import between, run_rules
from catalyst_ml.quality.validation import Rule, ValidationResult

MIN_SHARED_SESSIONS = 5
CLOSE_TOLERANCE = 0.005
"""A closing auction and the last minute differ by less."""

RULES: tuple[Rule, ...] = (
    between("both_lines_have_the_volume_of_the_market", "volume_ratio", 0.5, 2.0, severity="warning"),
    between("closes_of_both_lines_agree", "share_apart", None, 0.05, severity="warning"),
)


@dataclass(frozen=True)
class LineComparison:
    """Results of the rules, and one row per symbol.

    ``symbols``: symbol, n_sessions (shared), ``volume_ratio`` (median of short / long), ``close_ratio`` (median) and
    ``share_apart`` (sessions whose closes differ by more than 0.5 %).
    """

    result: ValidationResult
    symbols: pd.DataFrame


def compare_lines(
    short: pd.DataFrame,
    long: pd.DataFrame,
    *,
    calendar: TradingCalendar,
    short_minutes: int,
    long_minutes: int | None,
) -> LineComparison:
    """Compare raw BARS of two lengths by symbol over the sessions that both hold, in regular hours.

    ``long_minutes`` is None for daily bars. Symbols with fewer than five shared sessions are left out; a volume of
    nothing on either side leaves its ratio missing.
    """
    both = _by_session(short, calendar, short_minutes).join(
        _by_session(long, calendar, long_minutes), how="inner", lsuffix="_short", rsuffix="_long"
    )
    close_ratio = both["close_short"] / both["close_long"]
    volume_ratio = (both["volume_short"] / both["volume_long"]).where(
        (both["volume_short"] > 0.0) & (both["volume_long"] > 0.0)
    )
    grouped = pd.DataFrame(
        {
            "close_ratio": close_ratio,
            "volume_ratio": volume_ratio,
            "share_apart": ((close_ratio - 1.0).abs() > CLOSE_TOLERANCE).astype(np.float64),
        }
    ).groupby(level="symbol", sort=True)
    symbols = grouped.agg(
        n_sessions=("close_ratio", "size"),
        volume_ratio=("volume_ratio", "median"),
        close_ratio=("close_ratio", "median"),
        share_apart=("share_apart", "mean"),
    ).reset_index()
    symbols = symbols[symbols["n_sessions"] >= MIN_SHARED_SESSIONS].reset_index(drop=True)
    results = run_rules(symbols, RULES, key=("symbol", "n_sessions")) if len(symbols) else ()
    return LineComparison(ValidationResult.of("two lines", results), symbols)


def _by_session(bars: pd.DataFrame, calendar: TradingCalendar, minutes: int | None) -> pd.DataFrame:
    """Last close and summed volume of the regular hours, by symbol and exchange date."""
    regular = bars[is_regular(bars["ts"], calendar, minutes)].reset_index(drop=True)
    rolled = regular if minutes is None else sessions_of(regular, calendar=calendar)
    date = rolled["ts"].dt.tz_convert(calendar.zone).dt.normalize()
    return rolled.assign(date=date).set_index(["symbol", "date"])[["close", "volume"]]
