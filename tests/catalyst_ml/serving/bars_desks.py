"""Readers for the process for bars that wait, die or fail when a test wants it; made in the process itself."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from catalyst_ml.errors import ConfigurationError
from catalyst_ml.features.panel import MarketPanel
from catalyst_ml.serving.bars_messages import Question, Reading
from catalyst_ml.serving.bars_process import BarsProcess
from catalyst_ml.serving.bars_reader import BarsReader
from catalyst_ml.serving.market_context import ContextSource
from tests.catalyst_ml.serving.small_versions import LINE


class FileTable:
    """A bar table in three Parquet files of a folder."""

    def __init__(self, folder: Path) -> None:
        frames = (pd.read_parquet(folder / f"{name}.parquet") for name in ("bars", "instruments", "news"))
        self.bars, self.instruments, self.news = frames

    def newest_close(self) -> pd.Timestamp:
        return self.bars["ts"].max()

    def panel_at(self, close: pd.Timestamp) -> MarketPanel:
        return MarketPanel(self.bars, self.instruments, self.news)

    def released_bars(self) -> pd.DataFrame:
        return pd.DataFrame({"symbol": [], "ts": []})


def read_table(folder: Path) -> BarsReader:
    return BarsReader(LINE, ContextSource(FileTable(folder)))


class Troubled(BarsReader):
    """Waits at a symbol GATE until the file ``gate`` is there, dies of DIES and of the first ONCE, fails at ODD,
    and has no memory left at FULL."""

    def __init__(self, folder: Path) -> None:
        super().__init__(LINE, ContextSource(None))
        self._folder = folder

    def warm(self) -> None:
        """These tests ask about single bars: no kernel is needed."""

    def read(self, question: Question) -> Reading:
        raw = question.raw
        if b'"GATE"' in raw:
            (self._folder / "reached").touch()
            while not (self._folder / "gate").exists():
                time.sleep(0.005)
        if b'"DIES"' in raw or (b'"ONCE"' in raw and not (self._folder / "died").exists()):
            (self._folder / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if b'"FULL"' in raw:
            raise MemoryError
        if b'"ODD"' in raw:
            raise ZeroDivisionError("nobody's business")
        return super().read(question)


def cannot_start(folder: Path) -> BarsReader:
    with (folder / "starts").open("a") as file:
        file.write("x")
    raise ConfigurationError("a setting contradicts itself. Mend it.")


def dies_starting(folder: Path) -> BarsReader:
    with (folder / "starts").open("a") as file:
        file.write("x")
    os._exit(7)


def starts_behind_gate(folder: Path) -> Troubled:
    while not (folder / "gate").exists():
        time.sleep(0.005)
    return Troubled(folder)


def process(make: Any, folder: Path, **options: Any) -> BarsProcess:
    """A process for bars with the reader ``make(folder)``."""
    return BarsProcess(partial(make, folder), **{"timeout_s": 30.0, "idle_s": 0.0, **options})
