"""Earnings, sectors, index members and other names of symbols out of CSV and Parquet files: small, read whole.

Each reader returns the good rows with their row numbers, the refused ones with the rule they broke, and remarks on
what is odd but kept. Column names are found by :data:`EARNINGS_ALIASES` and its like, case and spaces do not matter.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from catalyst_ml.errors import ConfigurationError, DataContractError
from catalyst_ml.market.bar_tables import RawBatch
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.judged_tables import (
    NamedTable,
    RowJudge,
    TimeColumn,
    malformed_rows,
    numbers_of,
    open_table,
    survey_times,
    symbols_of,
    texts_of,
)
from catalyst_ml.market.publication import known_after_release
from catalyst_ml.refused_rows import RefusedRow

_SYMBOL = ("symbol", "ticker", "sym")
EARNINGS_ALIASES: dict[str, tuple[str, ...]] = {
    "symbol": _SYMBOL,
    "date": ("date", "reportdate", "reporteddate", "earningsdate"),
    "release_time": ("releasetime", "time", "when"),
    "eps": ("eps", "reportedeps", "epsactual", "actual"),
    "eps_estimate": ("epsest", "epsestimate", "estimatedeps", "estimate", "consensus"),
    "quarter": ("quarterraw", "quarter", "qtr", "fiscalquarter", "period"),
}
SECTORS_ALIASES: dict[str, tuple[str, ...]] = {
    "symbol": _SYMBOL,
    "sector": ("sector", "gicssector"),
    "industry": ("industry", "gicssubindustry", "subindustry"),
    "name": ("name", "company", "security", "companyname"),
    "taxonomy": ("taxonomy",),
    "as_of": ("asof", "asofdate", "date"),
}
MEMBERS_ALIASES: dict[str, tuple[str, ...]] = {
    "symbol": _SYMBOL,
    "start_date": ("startdate", "start", "from", "added", "dateadded"),
    "end_date": ("enddate", "end", "to", "removed", "dateremoved"),
}
NAMES_ALIASES: dict[str, tuple[str, ...]] = {
    "alias": ("alias", "oldsymbol", "old", "from"),
    "symbol": ("symbol", "newsymbol", "ticker", "new", "to"),
}

PRE_WORDS = frozenset({"pre", "bmo", "before", "before open", "before market open", "before market", "pre-market"})
POST_WORDS = frozenset({"post", "amc", "after", "after close", "after market close", "after market", "after hours"})
SUSPECT_EPS = 100.0
"""Dollars. Beyond it stand histories multiplied by later reverse splits (README of the data, "known dirt")."""
LONG_GAP_DAYS = 200
_ANY_ZONE = "UTC"
"""Only the date of these columns counts, so a time without a zone in them is no reason to ask."""
_MONTH_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTHS = {name: i for i, name in enumerate(_MONTH_NAMES, start=1)}
_QUARTER = re.compile(r"(?:(?P<year>\d{2})-(?P<month>[A-Za-z]{3})|(?P<month2>[A-Za-z]{3})-(?P<year2>\d{2}))")


@dataclass(frozen=True)
class ReferenceFile:
    """One file as read: ``n_read = len(rows) + n_repeated + len(refused)``."""

    name: str
    sha256: str
    rows: pd.DataFrame
    refused: tuple[RefusedRow, ...]
    n_read: int
    n_repeated: int
    notes: tuple[str, ...]


def read_earnings(
    path: Path, *, now: pd.Timestamp, calendar: TradingCalendar, date_format: str | None = None
) -> ReferenceFile:
    """Read reports of results.

    Returns
    -------
    ReferenceFile
        ``rows`` in the columns of ``frames.EARNINGS`` plus ``row``. Dates that are no session (weekends, holidays) and
        EPS beyond :data:`SUSPECT_EPS` are kept and counted in the notes.

    Raises
    ------
    DataContractError
        If the file is no table, lacks symbol, date or EPS, or its dates are ambiguous.
    """
    table = open_table(
        path,
        EARNINGS_ALIASES,
        required=[("symbol",), ("date",), ("eps", "eps_estimate")],
        of="earnings; expected columns for symbol, report date and EPS",
    )
    days = _dates(table, "date", date_format)
    raw = table.whole()
    date = days.read_dates(raw.table)
    date_text, time_text = texts_of(raw.table, "date"), texts_of(raw.table, "release_time")
    eps_text, estimate_text = texts_of(raw.table, "eps"), texts_of(raw.table, "eps_estimate")
    eps, estimate = numbers_of(eps_text), numbers_of(estimate_text)
    judge = RowJudge(table.name, raw.row, symbols_of(raw.table), lambda i: str(date_text[i]))
    judge.refuse("date_is_readable", np.asarray(date.isna()), lambda i: f"got {date_text[i]!r}")
    judge.refuse("eps_is_a_number", np.isnan(eps) & (eps_text != ""), lambda i: f"eps = {eps_text[i]!r}")
    judge.refuse(
        "eps_is_a_number", np.isnan(estimate) & (estimate_text != ""), lambda i: f"estimate = {estimate_text[i]!r}"
    )
    judge.refuse("eps_is_finite", np.isinf(eps) | np.isinf(estimate), lambda i: f"eps {eps[i]}, estimate {estimate[i]}")
    release = np.array([_release_time(text) for text in time_text], dtype=object)
    known = known_after_release(date, release, calendar)
    judge.refuse(
        "report_is_not_in_the_future",
        np.asarray(known > now),
        lambda i: f"it counts from {known[i]:%Y-%m-%d %H:%M} UTC, after now ({now:%Y-%m-%d %H:%M} UTC)",
    )
    quarter = [_quarter(text, day) for text, day in zip(texts_of(raw.table, "quarter"), date, strict=True)]
    repeated = judge.refuse_contradictions(
        [judge.symbol, date.asi8], [release, eps, estimate, np.array(quarter, dtype=object)]
    )
    rows = pd.DataFrame(
        {
            "symbol": pd.Series(judge.symbol, dtype="str"),
            "report_date": date,
            "release_time": pd.Series(release, dtype="str"),
            "known_at": known,
            "eps": eps,
            "eps_estimate": estimate,
            "quarter": pd.Series(quarter, dtype="str"),
            "is_suspect": (np.abs(eps) > SUSPECT_EPS) | (np.abs(estimate) > SUSPECT_EPS),
            "row": raw.row,
        }
    )[judge.good]
    return _file(table, raw, judge, rows, repeated, _earnings_notes(rows, calendar))


def read_sectors(
    path: Path,
    *,
    now: pd.Timestamp,
    taxonomy: str | None = None,
    as_of: pd.Timestamp | None = None,
    date_format: str | None = None,
) -> ReferenceFile:
    """Read a map from symbols to sectors.

    Parameters
    ----------
    taxonomy, as_of : str and naive date, or None
        For files that do not say them. Where a column stands in the file, it counts.

    Returns
    -------
    ReferenceFile
        ``rows`` in the columns of ``frames.SECTORS`` plus ``row``; a symbol has one row per taxonomy and day.

    Raises
    ------
    ConfigurationError
        If neither file nor caller names the taxonomy and the day the map describes.
    DataContractError
        If the file is no table, lacks symbol or sector, or its dates are ambiguous.
    """
    table = open_table(
        path,
        SECTORS_ALIASES,
        required=[("symbol",), ("sector",)],
        of="sectors; expected columns for symbol and sector",
    )
    if "taxonomy" not in table.columns and not taxonomy:
        raise ConfigurationError(f"{path.name}: whose sector names are these? Give --taxonomy, e.g. --taxonomy GICS.")
    if "as_of" not in table.columns and as_of is None:
        raise ConfigurationError(
            f"{path.name}: which day does this map describe? Give --as-of: companies change their sector, and a map of "
            "today used for the past looks ahead."
        )
    days = survey_times(table, "as_of", date_format=date_format, timezone=_ANY_ZONE)
    raw = table.whole()
    day_text = texts_of(raw.table, "as_of")
    if days is None:
        dates = pd.DatetimeIndex([pd.NaT if as_of is None else as_of] * raw.table.num_rows).as_unit("us")
    else:
        dates = days.read_dates(raw.table)
    sector = texts_of(raw.table, "sector")
    given = texts_of(raw.table, "taxonomy")
    names = np.where(given == "", taxonomy or "", given)
    judge = RowJudge(table.name, raw.row, symbols_of(raw.table), lambda i: str(day_text[i]))
    judge.refuse("sector_is_given", sector == "", lambda i: "the sector is empty")
    judge.refuse("taxonomy_is_given", names == "", lambda i: "the taxonomy is empty")
    judge.refuse("date_is_readable", np.asarray(dates.isna()), lambda i: f"got {day_text[i]!r}")
    judge.refuse(
        "map_is_not_of_the_future", dates > now.tz_convert("UTC").tz_localize(None), lambda i: f"{dates[i]:%Y-%m-%d}"
    )
    industry, name = _or_none(texts_of(raw.table, "industry")), _or_none(texts_of(raw.table, "name"))
    repeated = judge.refuse_contradictions([judge.symbol, names, dates.asi8], [sector, industry, name])
    rows = pd.DataFrame(
        {
            "symbol": pd.Series(judge.symbol, dtype="str"),
            "sector": pd.Series(sector, dtype="str"),
            "industry": pd.Series(industry, dtype="str"),
            "name": pd.Series(name, dtype="str"),
            "taxonomy": pd.Series(names, dtype="str"),
            "as_of": dates,
            "row": raw.row,
        }
    )[judge.good]
    return _file(table, raw, judge, rows, repeated, _sector_notes(rows))


def read_members(path: Path, *, date_format: str | None = None) -> ReferenceFile:
    """Read spells of membership in an index: first day inside, first day outside (empty: still a member).

    Returns
    -------
    ReferenceFile
        ``rows`` in the columns of ``frames.INDEX_MEMBERS`` plus ``row``. A symbol may enter more than once; overlapping
        spells are the store's to refuse, which knows the earlier ones.

    Raises
    ------
    DataContractError
        If the file is no table, lacks symbol or start, or its dates are ambiguous.
    """
    table = open_table(
        path,
        MEMBERS_ALIASES,
        required=[("symbol",), ("start_date",)],
        of="index members; expected columns for symbol, start and end date",
    )
    starts, ends = (
        _dates(table, "start_date", date_format),
        survey_times(table, "end_date", date_format=date_format, timezone=_ANY_ZONE),
    )
    raw = table.whole()
    start, start_text = starts.read_dates(raw.table), texts_of(raw.table, "start_date")
    end_text = texts_of(raw.table, "end_date")
    no_end = pd.DatetimeIndex([pd.NaT] * raw.table.num_rows).as_unit("us")
    end = no_end if ends is None else ends.read_dates(raw.table)
    judge = RowJudge(table.name, raw.row, symbols_of(raw.table), lambda i: str(start_text[i]))
    judge.refuse("date_is_readable", np.asarray(start.isna()), lambda i: f"start {start_text[i]!r}")
    judge.refuse("date_is_readable", np.asarray(end.isna()) & (end_text != ""), lambda i: f"end {end_text[i]!r}")
    judge.refuse("spell_ends_after_its_start", np.asarray(end <= start), lambda i: f"{start_text[i]} to {end_text[i]}")
    repeated = judge.refuse_contradictions([judge.symbol, start.asi8], [end.asi8])
    rows = pd.DataFrame(
        {
            "symbol": pd.Series(judge.symbol, dtype="str"),
            "start_date": start,
            "end_date": end,
            "row": raw.row,
        }
    )[judge.good]
    still = int(rows["end_date"].isna().sum())
    again = int(rows.duplicated("symbol").sum())
    notes = (f"{still:,} spells are still open, {again:,} are a further entry of the same symbol",)
    return _file(table, raw, judge, rows, repeated, notes)


def read_names(path: Path) -> ReferenceFile:
    """Read other names of symbols: each ``alias`` (a ticker of the time) stands for one ``symbol`` (that of the bars).

    Returns
    -------
    ReferenceFile
        ``rows`` with ``alias``, ``symbol`` and ``row``.

    Raises
    ------
    DataContractError
        If the file is no table with columns alias and symbol.
    """
    table = open_table(
        path,
        NAMES_ALIASES,
        required=[("alias",), ("symbol",)],
        of="other names; expected columns alias and symbol",
    )
    raw = table.whole()
    alias, symbol = symbols_of(raw.table, "alias"), symbols_of(raw.table, "symbol")
    judge = RowJudge(table.name, raw.row, alias, lambda i: str(symbol[i]))
    judge.refuse("symbol_is_given", symbol == "", lambda i: "the symbol is empty")
    odd = np.array([len(name) > 16 or any(c.isspace() or c == "\0" for c in name) for name in symbol], dtype=bool)
    judge.refuse("symbol_is_a_ticker", odd, lambda i: f"got {symbol[i]!r}")
    judge.refuse("alias_is_another_name", alias == symbol, lambda i: "alias and symbol are the same")
    repeated = judge.refuse_contradictions([alias], [symbol])
    rows = pd.DataFrame(
        {"alias": pd.Series(alias, dtype="str"), "symbol": pd.Series(symbol, dtype="str"), "row": raw.row}
    )[judge.good]
    return _file(table, raw, judge, rows, repeated, ())


# --- one value -------------------------------------------------------------------------------------------


def _release_time(text: str) -> str | None:
    word = " ".join(text.lower().split())
    if word in PRE_WORDS:
        return "pre"
    return "post" if word in POST_WORDS else None


def _quarter(text: str, report_date: pd.Timestamp) -> str | None:
    """``13-Jan`` (January 2013, as a spreadsheet mangles it) as ``2013-01``; other labels as found.

    Only if that month ended at most a year before the report and did not begin after it; else ``13-Jan`` may be
    the 13th of January and stays as it is.
    """
    match = _QUARTER.fullmatch(text)
    month = _MONTHS.get((match["month"] or match["month2"]).lower()) if match else None
    if match is None or month is None or pd.isna(report_date):
        return text or None
    year = 2000 + int(match["year"] or match["year2"])
    months_ago = (report_date.year - year) * 12 + report_date.month - month
    return f"{year}-{month:02d}" if 0 <= months_ago <= 12 else text


def _or_none(texts: np.ndarray) -> np.ndarray:
    return np.array([text or None for text in texts], dtype=object)


# --- one file --------------------------------------------------------------------------------------------


def _dates(table: NamedTable, name: str, date_format: str | None) -> TimeColumn:
    days = survey_times(table, name, date_format=date_format, timezone=_ANY_ZONE)
    if days is None:
        raise DataContractError(f"{table.name}: column {table.columns[name]!r} is empty; expected a date in every row.")
    return days


def _file(
    table: NamedTable,
    raw: RawBatch,
    judge: RowJudge,
    rows: pd.DataFrame,
    repeated: int,
    notes: tuple[str, ...],
) -> ReferenceFile:
    broken = malformed_rows(table.name, raw)
    refused = tuple(sorted((*broken, *judge.refused), key=lambda r: r.row))
    unused = (f"not used: {', '.join(table.unused)}",) if table.unused else ()
    n_read = len(judge.row) + len(broken)
    return ReferenceFile(
        table.name, table.sha256, rows.reset_index(drop=True), refused, n_read, repeated, (*notes, *unused)
    )


def _earnings_notes(rows: pd.DataFrame, calendar: TradingCalendar) -> tuple[str, ...]:
    dates = pd.DatetimeIndex(rows["report_date"])
    weekend = dates.dayofweek >= 5
    holiday = ~weekend & ~calendar.is_session(dates)
    ordered = rows.sort_values(["symbol", "report_date"])
    gaps = ordered.groupby("symbol")["report_date"].diff().dt.days
    counts = {
        "reports dated on a weekend (known from the end of that day)": int(weekend.sum()),
        "reports dated on a holiday of the exchange (known from the end of that day)": int(holiday.sum()),
        "reports without pre or post (known from the end of that day)": int(rows["release_time"].isna().sum()),
        f"reports with EPS beyond {SUSPECT_EPS:.0f} dollars, restated for later reverse splits: flagged, never a level "
        "to use": int((rows["eps"].abs() > SUSPECT_EPS).sum()),
        "further ones with such an estimate, flagged too": int(
            (rows["is_suspect"] & ~(rows["eps"].abs() > SUSPECT_EPS)).sum()
        ),
        f"gaps of more than {LONG_GAP_DAYS} days between reports of a company": int((gaps > LONG_GAP_DAYS).sum()),
        "quarter labels kept as found": int(
            rows["quarter"].notna().sum() - rows["quarter"].str.match(r"\d{4}-\d\d$").sum()
        ),
    }
    return tuple(f"{count:,} {what}" for what, count in counts.items() if count)


def _sector_notes(rows: pd.DataFrame) -> tuple[str, ...]:
    maps = rows.groupby(["taxonomy", "as_of"], sort=True)["symbol"].size().reset_index()
    return tuple(
        f"{row.taxonomy} as of {row.as_of:%Y-%m-%d}: {row.symbol:,} symbols; used before that day it looks ahead"
        for row in maps.itertuples()
    )
