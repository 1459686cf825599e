"""One table per benchmark: printed as Markdown, kept as JSON, and an exit code that says whether a goal was missed."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Row:
    """Cells of one line by column, and whether its goal was missed."""

    cells: dict[str, Any]
    missed: bool = False


def machine() -> str:
    """The machine in a few words, for the head of a table."""
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return f"{os.cpu_count()} x {model}, Python {platform.python_version()}"


def finish(title: str, rows: Sequence[Row], *, results: Any = None, json_file: str | None = None) -> int:
    """Print the table, write the JSON if asked, and return the exit code: 1 if a goal was missed."""
    columns = list(dict.fromkeys(name for row in rows for name in row.cells))
    print(f"\n{title}\n")
    print("| " + " | ".join([*columns, "result"]) + " |")
    print("|" + "---|" * (len(columns) + 1))
    for row in rows:
        cells = [str(row.cells.get(name, "")) for name in columns]
        print("| " + " | ".join([*cells, "missed" if row.missed else "ok"]) + " |")
    if json_file:
        document = {"title": title, "rows": [row.cells | {"missed": row.missed} for row in rows], "results": results}
        Path(json_file).write_text(json.dumps(document, indent=1, default=str) + "\n")
    return int(any(row.missed for row in rows))
