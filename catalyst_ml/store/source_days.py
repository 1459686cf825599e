"""Rows of the source by day: sorted into the files of their days as they come, counted with their traces."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from catalyst_ml.store.source_manifest import TRACE_MODULUS, Day
from catalyst_ml.store.source_partitions import NO_DAY, UNDATED, PartitionWriter, day_name, day_number, day_numbers
from catalyst_ml.store.source_tables import SourceColumn

MAX_STRETCHES = 32


class DayTally:
    """Rows as they come: to the file of their day, and counted with their traces."""

    def __init__(
        self, time: SourceColumn | None, part_of: Mapping[str, str], writers: Mapping[str, PartitionWriter]
    ) -> None:
        self.time = time if UNDATED not in part_of else None
        self.part_of = {NO_DAY if day == UNDATED else day_number(day): part for day, part in part_of.items()}
        self.writers = writers
        self._days: dict[int, tuple[int, int]] = {}

    def take(self, batch: pa.RecordBatch) -> int:
        """Take a batch whose last column holds the traces; returns how many of its rows were wanted."""
        traces = np.asarray(batch.column(batch.num_columns - 1))
        rows = batch.select(list(range(batch.num_columns - 1)))
        days = day_numbers(rows.column(self.time.name)) if self.time else np.full(len(traces), NO_DAY)
        order = np.argsort(days, kind="stable")
        numbers, starts = np.unique(days[order], return_index=True)
        sums = np.add.reduceat(traces[order], starts)  # wraps like the server's sum modulo 2^64
        counts = np.diff(np.append(starts, len(days)))
        of_part: dict[str, list[int]] = {}
        n_taken = 0
        for number, count, total in zip(numbers.tolist(), counts.tolist(), sums.tolist(), strict=True):
            part = self.part_of.get(number)
            if part is not None:
                of_part.setdefault(part, []).append(number)
                n, trace = self._days.get(number, (0, 0))
                self._days[number] = (n + count, (trace + total) % TRACE_MODULUS)
                n_taken += count
        for part, mine in of_part.items():
            is_all = len(mine) == len(numbers)
            self.writers[part].add(rows if is_all else rows.filter(pa.array(np.isin(days, mine))))
        return n_taken

    def days(self) -> dict[str, Day]:
        """What came, by day."""
        return {
            UNDATED if number == NO_DAY else day_name(number): Day(rows=rows, trace=trace)
            for number, (rows, trace) in self._days.items()
        }


def stretches_of(wanted: Mapping[str, Day], everything: Mapping[str, Day]) -> list[tuple[str, str]]:
    """First and last day of each stretch of wanted days; one stretch of all, others between, if there are too many."""
    stretches: list[tuple[str, str]] = []
    is_open = False
    for day in sorted(set(everything) - {UNDATED}):
        if day in wanted and is_open:
            stretches[-1] = (stretches[-1][0], day)
        elif day in wanted:
            stretches.append((day, day))
        is_open = day in wanted
    return stretches if len(stretches) <= MAX_STRETCHES else [(stretches[0][0], stretches[-1][1])]
