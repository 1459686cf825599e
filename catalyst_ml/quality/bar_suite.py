"""The suite on stored bars: what must hold before events are looked for in them, and what is set aside.

``check_bars`` answers twice: every rule with what it found (for the report), and the findings row by row (for the
quarantine). A **break**, a suspected missed or bogus corporate action, is set aside: the bar stays where it is, but
no event that sees it is used until a person says what it was. Everything else a market may really do is a warning.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from catalyst_ml.frames import BARS, INSTRUMENTS, TIME_DTYPE
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.price_breaks import BOGUS_FACTOR
from catalyst_ml.quality.bar_checks import MeasuredBars, measure_bars
from catalyst_ml.quality.expectations import between, one_of, run_rules
from catalyst_ml.quality.exposure import exposure_of
from catalyst_ml.quality.validation import Rule, RuleResult, ValidationResult

logger = logging.getLogger(__name__)

FINDING_COLUMNS = ("rule", "severity", "symbol", "ts", "detail", "row_values")
MAX_FINDINGS_PER_RULE = 1_000
"""Of warnings; a rule that fires more often is a property of the source, and its count says so."""

MAX_EXPOSED_SHARE = 0.05
MIN_SYMBOLS_OF_A_FLOOD = 3
"""One split among ten stocks exposes a tenth of a short history; that is what holding out is for, no broken feed."""

MIN_NEWEST_SHARE = 0.5
MIN_TRADING_DAYS_FOR_SURVIVORSHIP = 500
MAX_SHARE_OFF_TICK = 0.1
_VALUES = ("open", "high", "low", "close", "volume", "split_factor")


def _flag(name: str, column: str, severity: Any) -> Rule:
    return one_of(name, column, [False], severity=severity)


BAR_RULES: tuple[Rule, ...] = (
    Rule("bar_key_is_unique", "critical", "ExpectCompoundColumnsToBeUnique", {"column_list": ["symbol", "ts"]}),
    _flag("bars_are_in_time_order", "follows_no_earlier_bar", "critical"),
    _flag("numbers_are_finite", "bad_number", "critical"),
    _flag("prices_and_factors_are_positive", "not_positive", "critical"),
    _flag("high_is_the_highest_price", "high_too_low", "critical"),
    _flag("low_is_the_lowest_price", "low_too_high", "critical"),
    _flag("volume_is_never_negative", "negative_volume", "critical"),
    _flag("price_scale_holds_overnight", "missed_action", "quarantine"),
    _flag("recorded_split_shows_in_the_price", "bogus_factor", "quarantine"),
    _flag("price_scale_holds_within_the_bar", "in_bar_break", "quarantine"),
    _flag("adjusted_close_moves_with_the_price", "adjusted_close_disagrees", "quarantine"),
    _flag("bar_closes_with_a_session", "not_of_a_session", "warning"),
    _flag("move_is_smaller_than_a_missed_split", "large_move", "warning"),
    _flag("close_rises_below_100_falls_below_60_percent", "extreme_move", "warning"),
    _flag("volume_is_above_zero", "no_volume", "warning"),
    _flag("volume_outside_regular_hours_is_above_zero", "no_volume_outside_hours", "warning"),
    _flag("bar_is_in_regular_hours", "outside_hours", "warning"),
    _flag("high_is_above_low", "no_range", "warning"),
    _flag("bar_is_no_copy_of_the_bar_before", "copy", "warning"),
    _flag("price_is_between_1_cent_and_100000_dollars", "odd_dollars", "warning"),
)
"""Judged bar by bar."""

SYMBOL_RULES: tuple[Rule, ...] = (
    between("prices_are_raw_quotes", "share_off_tick", None, MAX_SHARE_OFF_TICK, severity="warning"),
    _flag("symbol_is_traded_from_the_start", "starts_late", "warning"),
    between("history_has_no_missing_session", "n_missing", None, 0, severity="warning"),
    between("session_has_most_of_its_bars", "n_thin", None, 0, severity="warning"),
)
"""Judged symbol by symbol."""

_SURVIVORSHIP = Rule(
    "some_symbol_stops_trading", "warning", "ExpectColumnMaxToBeBetween", {"column": "stopped", "min_value": 1}
)
"""Over years some companies die; a dataset in which none does was chosen by who survived."""

DATASET_RULES: tuple[Rule, ...] = (
    between("there_are_bars", "n_bars", 1, None),
    between("newest_session_has_most_stocks", "newest_share", MIN_NEWEST_SHARE, None),
    between("few_stock_days_see_a_break", "exposed_share", None, MAX_EXPOSED_SHARE),
)
"""Judged once. The last is a warning while fewer than three symbols have a break."""

_RESTATED = between("values_were_never_restated", "n_restated", None, 0, severity="warning")
_MEMBERS = between("index_members_have_bars", "share_of_members", 0.9, None, severity="warning")

QUARANTINE_RULES: tuple[str, ...] = tuple(rule.name for rule in BAR_RULES if rule.severity == "quarantine")
"""Rules whose findings are breaks."""


@dataclass(frozen=True)
class BarCheck:
    """Results of all rules, and the findings: ``FINDING_COLUMNS``, sorted by severity, rule, symbol and ts.

    ``row_values`` is JSON with sorted keys: what the row held when it was found, so that a release can be told from
    a later change.
    """

    result: ValidationResult
    findings: pd.DataFrame

    @property
    def breaks(self) -> pd.DataFrame:
        """The findings that are set aside, one per rule and bar even where a bar stands in the frame twice."""
        found = self.findings[self.findings["severity"] == "quarantine"]
        return found.drop_duplicates(["rule", "symbol", "ts"], ignore_index=True)


def check_bars(
    bars: pd.DataFrame,
    instruments: pd.DataFrame,
    calendar: TradingCalendar,
    *,
    minutes: int | None = None,
    adjusted_close: pd.Series | None = None,
    n_restated: int | None = None,
    members: pd.DataFrame | None = None,
    released: pd.DataFrame | None = None,
    only: Collection[str] | None = None,
) -> BarCheck:
    """Check raw bars; nothing is raised for bad values, see ``validation.require_valid``.

    Parameters
    ----------
    bars : DataFrame
        Columns of BARS, raw prices with their split factors. Order and values are judged, dtypes are not.
    instruments : INSTRUMENTS
    minutes : int or None
        Length of an intraday bar; None for daily bars.
    adjusted_close : Series, optional
        The vendor's adjusted close, aligned with ``bars``: a second witness of missed actions.
    n_restated : int, optional
        Rows of the store that correct an earlier one; only their number is named.
    members : DataFrame, optional
        ``symbol``, ``start_date``, ``end_date`` of an index, to say how many members have no bars at all.
    released : DataFrame, optional
        ``symbol`` and ``ts`` of the bars that a person has released as real: still found, but no stock-day counts as
        lost for them.
    only : collection of str, optional
        Names of the rules to judge; all by default. Findings are not narrowed.

    Returns
    -------
    BarCheck
        Of each warning rule at most 1,000 findings; the rule's result counts all.
    """
    frame = bars.reset_index(drop=True)
    measured = measure_bars(frame, instruments, calendar=calendar, minutes=minutes, adjusted_close=adjusted_close)
    findings = _findings(frame, measured)
    dataset, dataset_rules = _dataset(
        frame, instruments, measured, _held(findings, released), calendar, n_restated, members
    )
    examples = _examples(findings)
    bar_rules = tuple(rule for rule in BAR_RULES if _applies(rule, minutes, adjusted_close))
    parts: tuple[tuple[pd.DataFrame, tuple[Rule, ...], tuple[str, ...]], ...] = (
        (measured.bars, bar_rules, ("symbol", "ts")),
        (measured.symbols, _symbol_rules(measured, minutes), ("symbol",)),
        (dataset, dataset_rules, ()),
    )
    results: list[RuleResult] = []
    for judged, rules, key in parts:
        wanted = [rule for rule in rules if only is None or rule.name in only]
        results += run_rules(judged, wanted, key=key, examples=examples)
    outcome = ValidationResult.of("bars", results)
    logger.info("%d bars: %s", len(frame), outcome.summary().splitlines()[0])
    return BarCheck(outcome, findings)


def validated_bars(bars: pd.DataFrame, instruments: pd.DataFrame) -> None:
    """Raise if the frames themselves break their schemas; the suite judges values, not types."""
    BARS.validate(bars)
    INSTRUMENTS.validate(instruments)


def _applies(rule: Rule, minutes: int | None, adjusted_close: pd.Series | None) -> bool:
    intraday_only = {
        "price_scale_holds_within_the_bar",
        "volume_outside_regular_hours_is_above_zero",
        "bar_is_in_regular_hours",
    }
    if rule.name == "adjusted_close_moves_with_the_price":
        return adjusted_close is not None
    return minutes is not None or rule.name not in intraday_only


def _symbol_rules(measured: MeasuredBars, minutes: int | None) -> tuple[Rule, ...]:
    left_out = "session_has_most_of_its_bars" if minutes is None else "history_has_no_missing_session"
    rules = tuple(rule for rule in SYMBOL_RULES if rule.name != left_out)
    symbols = measured.symbols
    span = (symbols["last"].max() - symbols["first"].min()).days if len(symbols) else 0
    is_long = span * 252 / 365 >= MIN_TRADING_DAYS_FOR_SURVIVORSHIP and len(symbols) >= 20
    return (*rules, _SURVIVORSHIP) if is_long else rules


def _dataset(
    frame: pd.DataFrame,
    instruments: pd.DataFrame,
    measured: MeasuredBars,
    breaks: pd.DataFrame,
    calendar: TradingCalendar,
    n_restated: int | None,
    members: pd.DataFrame | None,
) -> tuple[pd.DataFrame, tuple[Rule, ...]]:
    """The one-row frame of the dataset, and the rules that apply to it."""
    dataset = measured.dataset.assign(exposed_share=_exposed_share(frame, instruments, breaks, calendar))
    is_flood = breaks["symbol"].nunique() >= MIN_SYMBOLS_OF_A_FLOOD
    rules = DATASET_RULES if is_flood else (*DATASET_RULES[:-1], replace(DATASET_RULES[-1], severity="warning"))
    if n_restated is not None:
        dataset, rules = dataset.assign(n_restated=n_restated), (*rules, _RESTATED)
    if members is not None and len(frame):
        dataset, rules = dataset.assign(share_of_members=_share_of_members(frame, members)), (*rules, _MEMBERS)
    return dataset, rules


def _held(findings: pd.DataFrame, released: pd.DataFrame | None) -> pd.DataFrame:
    """Places of the breaks that nobody has released."""
    breaks = findings.loc[findings["severity"] == "quarantine", ["symbol", "ts"]].drop_duplicates()
    if released is None or released.empty or breaks.empty:
        return breaks
    free = pd.MultiIndex.from_frame(released[["symbol", "ts"]])
    return breaks[~pd.MultiIndex.from_frame(breaks).isin(free)]


def _exposed_share(
    frame: pd.DataFrame, instruments: pd.DataFrame, breaks: pd.DataFrame, calendar: TradingCalendar
) -> float:
    """Share of the stock-days in whose history or horizon a break lies."""
    stocks = set(instruments.loc[instruments["kind"] == "stock", "symbol"])
    rows = frame.loc[frame["symbol"].isin(stocks), ["symbol", "ts"]]
    if rows.empty:
        return 0.0
    touched = rows[rows["symbol"].isin(breaks["symbol"].unique())]
    return float((exposure_of(touched, breaks, frame, calendar=calendar)["where"] != "").sum() / len(rows))


def _share_of_members(frame: pd.DataFrame, members: pd.DataFrame) -> float:
    """Share of the index's members during the span of the bars that have any bar."""
    first, last = (moment.tz_localize(None) for moment in (frame["ts"].min(), frame["ts"].max()))
    ended = pd.to_datetime(members["end_date"]).fillna(pd.Timestamp.max.as_unit("us"))
    of_span = members[(pd.to_datetime(members["start_date"]) <= last) & (ended >= first)]["symbol"].unique()
    return float(np.isin(of_span, frame["symbol"].unique()).mean()) if len(of_span) else 1.0


# --- findings ---------------------------------------------------------------------------------------------


def _findings(frame: pd.DataFrame, measured: MeasuredBars) -> pd.DataFrame:
    parts = [
        _bar_findings(frame, measured, rule)
        for rule in BAR_RULES
        if rule.kind == "ExpectColumnValuesToBeInSet" and measured.bars[rule.arguments["column"]].any()
    ]
    symbols = measured.symbols
    told: tuple[tuple[str, pd.DataFrame, str, Callable[[Any], str]], ...] = (
        (
            "prices_are_raw_quotes",
            symbols[symbols["share_off_tick"] > MAX_SHARE_OFF_TICK],
            "last",
            lambda r: f"{r.share_off_tick:.0%} of the opens lie on no tick: restated for later splits or dividends",
        ),
        (
            "symbol_is_traded_from_the_start",
            symbols[symbols["starts_late"]],
            "first",
            lambda r: f"first traded {r.first:%Y-%m-%d}",
        ),
        (
            "history_has_no_missing_session",
            measured.holes,
            "ts",
            lambda r: f"{r.n_missing} sessions missing before {r.ts:%Y-%m-%d}",
        ),
        (
            "session_has_most_of_its_bars",
            measured.thin,
            "ts",
            lambda r: f"{r.n_bars} of {r.n_expected} bars on {r.session:%Y-%m-%d}",
        ),
    )
    for rule, rows, moment, tell in told:
        shown = rows.head(MAX_FINDINGS_PER_RULE)
        if len(shown):
            details = [tell(row) for row in shown.itertuples()]
            parts.append(_part(rule, "warning", shown["symbol"], shown[moment], details, ["{}"] * len(shown)))
    if not parts:
        return empty_findings()
    order = {"critical": 0, "quarantine": 1, "warning": 2}
    found = pd.concat(parts, ignore_index=True)
    return found.sort_values(
        ["severity", "rule", "symbol", "ts"],
        key=lambda column: column.map(order) if column.name == "severity" else column,
        ignore_index=True,
    )


def empty_findings() -> pd.DataFrame:
    """A frame of findings without rows."""
    return _part("", "", pd.Series(dtype="str"), pd.Series(dtype=TIME_DTYPE), [], [])


def _bar_findings(frame: pd.DataFrame, measured: MeasuredBars, rule: Rule) -> pd.DataFrame:
    rows = np.flatnonzero(measured.bars[rule.arguments["column"]].to_numpy())
    if rule.severity == "warning":
        rows = rows[:MAX_FINDINGS_PER_RULE]
    shown = pd.concat([frame.iloc[rows], measured.moves.iloc[rows]], axis=1)
    tell = _TELLERS.get(rule.name, _tell_values)
    breaks = {(b.symbol, b.ts): b for b in measured.breaks.itertuples()}
    details = [tell(row, breaks.get((row.symbol, row.ts))) for row in shown.itertuples()]
    previous = np.where(rows > 0, frame["close"].to_numpy()[rows - 1], np.nan)
    kept = [*_VALUES, "previous_close"]
    shown = shown.assign(previous_close=previous)
    values = ["{}"] * len(shown)
    if rule.severity == "quarantine":
        values = [
            json.dumps({name: _plain(getattr(row, name)) for name in kept}, sort_keys=True)
            for row in shown.itertuples()
        ]
    return _part(rule.name, rule.severity, shown["symbol"], shown["ts"], details, values)


def _part(
    rule: str, severity: str, symbol: pd.Series, ts: pd.Series, details: list[str], values: list[str]
) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "rule": pd.Series([rule] * len(symbol), dtype="str"),
            "severity": pd.Series([severity] * len(symbol), dtype="str"),
            "symbol": symbol.to_numpy(),
            "ts": pd.DatetimeIndex(ts).as_unit("us"),
            "detail": pd.Series(details, dtype="str"),
            "row_values": pd.Series(values, dtype="str"),
        }
    ).astype({"symbol": "str", "ts": TIME_DTYPE})


def _tell_break(row: Any, found: Any) -> str:
    """Say what was measured of a break, and which plain ratio would explain it."""
    gap = f"opened at {found.open:g} after a close of {found.previous_close:g} ({np.expm1(found.gap):+.1%}"
    booked = f" beyond the booked factor {found.split_factor:g})" if found.split_factor != 1.0 else ")"
    if found.kind == BOGUS_FACTOR:
        return f"{gap}{booked}: the price did not follow the factor; without it nothing happened"
    calm = f"then traded calmly (range {found.range_to_gap:.0%} of the gap"
    turnover = "" if np.isnan(found.turnover_ratio) else f", {found.turnover_ratio:.1f} x the usual dollars"
    fits = "no plain ratio fits" if np.isnan(found.suggested_factor) else f"a factor of {found.suggested_factor:g} fits"
    return f"{gap}{booked}, {calm}{turnover}); {fits}"


def _tell_move(row: Any, _: Any) -> str:
    shares = f"overnight {np.expm1(row.gap):+.0%}, within the bar {np.expm1(row.inside):+.0%}"
    return (
        f"{np.expm1(row.move):+.0%} from close to close ({shares}); it moved or turned over too much for a missed split"
    )


def _tell_in_bar(row: Any, _: Any) -> str:
    return f"opened at {row.open:g} and closed at {row.close:g} within one bar, and the next bar stays there"


def _tell_values(row: Any, _: Any) -> str:
    return ", ".join(f"{name} {getattr(row, name):g}" for name in _VALUES)


_TELLERS: dict[str, Callable[[Any, Any], str]] = {
    "price_scale_holds_overnight": _tell_break,
    "recorded_split_shows_in_the_price": _tell_break,
    "price_scale_holds_within_the_bar": _tell_in_bar,
    "move_is_smaller_than_a_missed_split": _tell_move,
    "close_rises_below_100_falls_below_60_percent": _tell_move,
}


def _examples(findings: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    told: dict[str, tuple[str, ...]] = {}
    for row in findings.groupby("rule", sort=False).head(3).itertuples():
        told[str(row.rule)] = (*told.get(str(row.rule), ()), f"{row.symbol} {row.ts:%Y-%m-%d %H:%M}: {row.detail}")
    return told


def _plain(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
