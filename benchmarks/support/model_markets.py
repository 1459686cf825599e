"""The markets models are compared on: real daily and intraday bars, and simulated ones whose truth is known.

Each gives training rows and folds; what is a row, an input or a fold is the library's own business.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.support.market_measures import known_outcomes, real_market
from benchmarks.support.weekly_procedure import PreparedEvents, prepare_events
from catalyst_ml.evaluation.splits import Fold, walk_forward_folds
from catalyst_ml.features.line_inputs import input_version, model_inputs
from catalyst_ml.frames import BARS, INSTRUMENTS, NEWS
from catalyst_ml.market import rules
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.label_specs import AnyLabelSpec, default_spec
from catalyst_ml.market.news_files import open_news_file
from catalyst_ml.market.simulator import simulate_market
from catalyst_ml.models.procedure import Procedure, default_procedure

P_TRUE = "p_true"
FOLD_SESSIONS, INTRADAY_FOLD_SESSIONS = 40, 20
"""Eight and four weeks: as honest as the weekly run's folds, since training still ends before each, at a fraction of
the cost. Models grow older than in the weekly run, all contenders alike."""
INTRADAY_SOURCE, INTRADAY_MINUTES = "alert_overlay", 5
INTRADAY_TRAINING_DAYS = 90
"""The plan's 2,160 hours."""
INTRADAY_BURN_IN_SESSIONS, INTRADAY_RECORD_SESSIONS, INTRADAY_MIN_TRAINING_SESSIONS = 40, 60, 20
FUNDS = frozenset(
    ["QQQ", "SPY", "SMH", "XBI", "XLB", "XLC", "XLE", "XLF", "XLI", "XLK", "XLP", "XLRE", "XLU", "XLV", "XLY"]
)
"""They stand for the market or a sector: context, no universe to be compared with."""


@dataclass(frozen=True)
class ModelMarket:
    """Labelled rows of one market and the folds to walk through them.

    ``rows`` carry ``p_true`` where the market is simulated: the probability of success given what was on the screen.
    """

    name: str
    described: str
    rows: pd.DataFrame
    folds: tuple[Fold, ...]
    procedure: Procedure


def simulated(preset: str, *, seed: int, n_symbols: int = 120, record_sessions: int = 260) -> ModelMarket:
    """Simulate one market of 1,250 sessions; its newest sessions are the record."""
    market = simulate_market(preset, seed=seed, n_symbols=n_symbols)
    prepared = prepare_events(market.bars, market.instruments, market.news)
    spec = default_spec("1d")
    truth = known_outcomes(market, prepared.events[["symbol", "ts", "direction"]]).rename(columns={"p": P_TRUE})
    rows = prepared.labelled(spec)
    rows = rows.merge(truth[["symbol", "ts", "direction", P_TRUE]], how="left", validate="one_to_one")
    return ModelMarket(
        preset, f"preset {preset}, seed {seed}, {n_symbols} stocks", rows,
        _folds(prepared, rows, record_sessions=record_sessions), procedure_of(spec),
    )  # fmt: skip


def prepare_real_daily(folder: Path, *, n_stocks: int | None = None) -> PreparedEvents:
    """Stocks of the S&P 500, 2005 to 2016, with SPY, VIX, sectors and the stories of the file of news."""
    calendar = TradingCalendar()
    bars, instruments = real_market(folder, calendar=calendar)
    if n_stocks is not None:
        stocks = instruments[instruments["kind"] == "stock"].head(n_stocks)
        instruments = instruments[(instruments["kind"] != "stock") | instruments["symbol"].isin(stocks["symbol"])]
        instruments = instruments.reset_index(drop=True)
        bars = bars[bars["symbol"].isin(instruments["symbol"])].reset_index(drop=True)
    return prepare_events(bars, instruments, real_news(folder, calendar=calendar))


def real_daily(folder: Path, *, record_sessions: int = 260, n_stocks: int | None = None) -> ModelMarket:
    """The newest sessions of the real daily bars with the default label."""
    prepared = prepare_real_daily(folder, n_stocks=n_stocks)
    spec = default_spec("1d")
    rows = prepared.labelled(spec)
    folds = _folds(prepared, rows, record_sessions=record_sessions)
    return ModelMarket("real daily", "S&P 500 stocks, daily bars", rows, folds, procedure_of(spec))


def real_intraday(folder: Path) -> ModelMarket:
    """Five-minute bars of 40 stocks in 157 sessions of 2025, regular hours, VIX as it had closed."""
    calendar = TradingCalendar()
    prepared = prepare_events(*_intraday_market(folder, calendar), NEWS.empty(), timeframe=f"{INTRADAY_MINUTES}m")
    spec = default_spec(f"{INTRADAY_MINUTES}m")
    rows = prepared.labelled(spec)
    folds = walk_forward_folds(
        as_of=prepared.as_of,
        calendar=calendar,
        record_sessions=INTRADAY_RECORD_SESSIONS,
        record_fold_sessions=INTRADAY_FOLD_SESSIONS,
        burn_in_sessions=INTRADAY_BURN_IN_SESSIONS,
        burn_in_fold_sessions=INTRADAY_FOLD_SESSIONS,
        training_days=INTRADAY_TRAINING_DAYS,
        label_sessions=1,
        history_start=rows["ts"].min(),
        min_training_sessions=INTRADAY_MIN_TRAINING_SESSIONS,
    )
    procedure = procedure_of(spec, timeframe=f"{INTRADAY_MINUTES}m", training_days=INTRADAY_TRAINING_DAYS)
    return ModelMarket("real intraday", "40 stocks, 5-minute bars", rows, folds, procedure)


def real_news(folder: Path, *, calendar: TradingCalendar) -> pd.DataFrame:
    """Stories of ``news.parquet`` as NEWS; those that name only a day count from its end."""
    file = open_news_file(folder / "news.parquet", now=pd.Timestamp.now("UTC"), calendar=calendar)
    stories = pd.concat([batch.stories for batch in file.batches()], ignore_index=True)
    stories = stories.drop_duplicates(list(NEWS.key)).sort_values(list(NEWS.key), ignore_index=True)
    return NEWS.validate(stories[NEWS.column_names])


def procedure_of(spec: AnyLabelSpec, *, timeframe: str = "1d", training_days: int = 730) -> Procedure:
    """Return the standing procedure of a line."""
    return default_procedure(
        model_inputs(timeframe),
        feature_set_version=input_version(timeframe),
        label_version=spec.version,
        rule_arm=rules.rule_arm().version,
        training_days=training_days,
    )


def _folds(prepared: PreparedEvents, rows: pd.DataFrame, *, record_sessions: int) -> tuple[Fold, ...]:
    return walk_forward_folds(
        as_of=prepared.as_of,
        calendar=TradingCalendar(),
        record_sessions=record_sessions,
        record_fold_sessions=FOLD_SESSIONS,
        burn_in_fold_sessions=FOLD_SESSIONS,
        history_start=rows["ts"].min(),
    )


def _intraday_market(folder: Path, calendar: TradingCalendar) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Bars of regular hours stamped at their close, and the daily closes of VIX, known from each close on."""
    raw = pd.read_parquet(folder / "bars_intraday.parquet")
    raw = raw[(raw["source"] == INTRADAY_SOURCE) & (raw["interval_min"] == INTRADAY_MINUTES)]
    ts = pd.DatetimeIndex(raw["ts"]).as_unit("us") + pd.Timedelta(minutes=INTRADAY_MINUTES)
    bars = raw.assign(ts=ts, split_factor=1.0)
    moments = pd.DatetimeIndex(bars["ts"].unique())
    session = calendar.session_of(moments)
    is_regular = ~np.asarray(session.isna())
    # session_of says which day; the bar must also have begun at the open or later.
    is_regular[is_regular] = moments[is_regular] > calendar.opens(session[is_regular])
    bars = bars[bars["ts"].isin(moments[is_regular])]
    index = pd.read_parquet(folder / "index_daily.parquet")
    # VIX is quoted on some days on which the exchange is closed.
    days = calendar.sessions(date(2025, 1, 2), bars["ts"].max().date())
    vix = index[(index["symbol"] == "VIX") & pd.to_datetime(index["date"]).isin(days)]
    closes = calendar.closes(pd.DatetimeIndex(pd.to_datetime(vix["date"])))
    bars = pd.concat([bars, vix.assign(ts=closes, split_factor=1.0, volume=0.0)], ignore_index=True)
    bars = bars.astype({column.name: column.dtype for column in BARS.columns})
    bars = BARS.validate(bars.sort_values(list(BARS.key), ignore_index=True)[BARS.column_names])
    symbols = pd.Series(bars["symbol"].unique())
    sectors = pd.read_parquet(folder / "sectors.parquet")
    sector = sectors[sectors["taxonomy"] == "GICS"].drop_duplicates("symbol").set_index("symbol")["sector"]
    kind = symbols.map({"VIX": "volatility"} | dict.fromkeys(FUNDS, "index")).fillna("stock")
    instruments = pd.DataFrame({"symbol": symbols, "kind": kind, "sector": symbols.map(sector)})
    return bars, INSTRUMENTS.validate(instruments.astype({c.name: c.dtype for c in INSTRUMENTS.columns}))
