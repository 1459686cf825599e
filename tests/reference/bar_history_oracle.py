"""What an import must leave behind, in plain loops over one bar at a time; shares no code with ``store.bar_import``."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta

Bar = tuple[str, datetime]
"""Symbol and close."""

Row = tuple[int, str, datetime, "datetime | None", float]
"""Row in the file, symbol, close, since when it is known (``None``: the file does not say), closing price."""


@dataclass
class BarHistory:
    """All that was ever known of each bar, as (since when, closing price) in this order."""

    known: dict[Bar, list[tuple[datetime, float]]] = field(default_factory=dict)

    def take(self, rows: list[Row], now: datetime) -> Counter[str]:
        """Import one file; returns how many rows were new, corrected, unchanged, repeated and refused."""
        counts: Counter[str] = Counter()
        of_bar: dict[Bar, list[Row]] = defaultdict(list)
        for row in rows:
            of_bar[row[1], row[2]].append(row)
        for bar, own in of_bar.items():
            counts += self._take_bar(bar, own, now)
        return counts

    def _take_bar(self, bar: Bar, rows: list[Row], now: datetime) -> Counter[str]:
        counts: Counter[str] = Counter()
        said: dict[datetime | None, float] = {}
        for moment in {row[3] for row in rows}:
            values = [row[4] for row in rows if row[3] == moment]
            if len(set(values)) > 1:
                counts["refused"] += len(values)
            else:
                said[moment] = values[0]
                counts["repeated"] += len(values) - 1
        stored = list(self.known.get(bar, []))
        for moment, price in sorted(said.items(), key=lambda item: (item[0] is not None, item[0])):
            clash = moment is not None and any(since == moment and old != price for since, old in stored)
            if not clash:
                continue
            del said[moment]
            if price == stored[-1][1]:
                counts["unchanged"] += 1
            elif moment == stored[-1][0] and not any(other > moment for other in said):
                said[None] = price
            else:
                counts["refused"] += 1
        merged = [(since, 0, price) for since, price in stored]
        for moment, price in said.items():
            since = moment
            if since is None:
                since = max(now, stored[-1][0] + timedelta(microseconds=1)) if stored else bar[1]
            merged.append((since, 1, price))
        history: list[tuple[datetime, float]] = []
        for since, is_staged, price in sorted(merged):
            before = history[-1][1] if history else None
            if is_staged and price == before:
                counts["unchanged" if stored else "repeated"] += 1
                continue
            if is_staged:
                counts["corrected" if stored or before is not None else "new"] += 1
            history.append((since, price))
        if history:
            self.known[bar] = history
        return counts
