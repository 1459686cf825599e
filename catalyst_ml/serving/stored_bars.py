"""The bar table of our database as the process for bars reads it, and that process's reader put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from catalyst_ml.features.panel import MarketPanel
from catalyst_ml.market.corporate_actions import adjust_for_splits
from catalyst_ml.market.timeframes import DAILY
from catalyst_ml.registry.lines import ModelLine
from catalyst_ml.serving.bars_reader import BarsReader
from catalyst_ml.serving.logs import set_up_logs
from catalyst_ml.serving.market_context import HISTORY, ContextSource
from catalyst_ml.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Engine


def reader_of(settings: Settings, line: ModelLine) -> BarsReader:
    """The reader of a line: with the bar table, if the database is set and the line's bars are daily.

    Called in the process for bars, which logs as the server does.
    """
    set_up_logs(settings.log)
    if line.timeframe != DAILY:
        absent = f"bars of {line.timeframe} are not read from the bar table; send them"
        return BarsReader(line, ContextSource(None, absent=absent))
    if settings.database.url is None:
        return BarsReader(line, ContextSource(None))
    # Half of a request's time is left to answer without the table; a slow one is read to its end all the same.
    patience_s = settings.serving.timeout_s / 2
    return BarsReader(line, ContextSource(StoredBars(settings, line), patience_s=patience_s))


class StoredBars:
    """The bar table of a line, as the weekly training extracts it; opened at the first use, again after a failure."""

    def __init__(self, settings: Settings, line: ModelLine) -> None:
        self._settings, self._line = settings, line
        self._opened: Engine | None = None

    def newest_close(self) -> pd.Timestamp:
        from catalyst_ml.store.bars import newest_bar

        return newest_bar(self._engine(), dataset=self._line.dataset, timeframe=self._line.timeframe)

    def panel_at(self, close: pd.Timestamp) -> MarketPanel:
        from catalyst_ml.store import bars as bar_store

        engine, of = self._engine(), {"dataset": self._line.dataset, "start": close - HISTORY}
        # Known now, not at the close: a bar is imported some time after it closed.
        known_at = max(pd.Timestamp.now("UTC"), close)
        raw = bar_store.extract_bars(engine, timeframe=self._line.timeframe, as_of=known_at, **of)
        bars = adjust_for_splits(raw[raw["ts"] <= close].reset_index(drop=True), as_of=close)
        instruments = bar_store.extract_instruments(engine, dataset=self._line.dataset)
        return MarketPanel(bars, instruments, bar_store.extract_news(engine, as_of=close, **of))

    def released_bars(self) -> pd.DataFrame:
        from catalyst_ml.store.quarantine import released_bars

        return released_bars(self._engine(), dataset=self._line.dataset, timeframe=self._line.timeframe)

    def _engine(self) -> Engine:
        if self._opened is None:
            from catalyst_ml.store.engine import open_engine

            self._opened = open_engine(self._settings)
        return self._opened
