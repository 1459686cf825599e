"""Counters and gauges in Prometheus' text format; no library, for there are few and they are read rarely."""

from __future__ import annotations

import math
import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from catalyst_ml.serving.judgement import Signal

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
PREFIX = "catalyst_ml_"
Labels = tuple[tuple[str, str], ...]


class Meters:
    """What this process has done since it started."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._signals: Counter[Labels] = Counter()
        self._requests: Counter[Labels] = Counter()
        self._seconds: dict[str, list[int]] = {}
        self._sum_s: Counter[str] = Counter()
        self._swaps = 0

    def count_signals(self, signals: Iterable[Signal]) -> None:
        """Count answers by arm and action."""
        with self._lock:
            for signal in signals:
                self._signals[("arm", signal.arm), ("action", signal.action)] += 1

    def count_request(self, path: str, status: int, seconds: float) -> None:
        """Count a finished request; ``path`` must be one of the server's own, or there would be no end of them."""
        with self._lock:
            self._requests[("path", path), ("status", str(status))] += 1
            buckets = self._seconds.setdefault(path, [0] * (len(BUCKETS_S) + 1))
            buckets[bisect_left(BUCKETS_S, seconds)] += 1
            self._sum_s[path] += seconds  # type: ignore[assignment]

    def count_swap(self) -> None:
        with self._lock:
            self._swaps += 1

    def text(self, gauges: Mapping[str, tuple[str, float | None]], *, extra: Sequence[str] = ()) -> str:
        """Return everything as text; a gauge that is None is not known and left out.

        Parameters
        ----------
        gauges : mapping
            Full name to help and value.
        """
        with self._lock:
            lines = [
                *_counter("signals_total", "answers by arm and action", self._signals),
                *_counter("requests_total", "requests by path and status", self._requests),
                *_histogram("request_seconds", "time from first byte to answer", self._seconds, self._sum_s),
                *_counter("swaps_total", "changes of what answers", {(): self._swaps}),
            ]
        for name, (about, value) in gauges.items():
            if value is not None and not math.isnan(value):
                lines += [f"# HELP {name} {about}", f"# TYPE {name} gauge", f"{name} {value:.10g}"]
        return "\n".join([*lines, *extra]) + "\n"


def _counter(name: str, about: str, counts: Mapping[Labels, int]) -> list[str]:
    full = PREFIX + name
    return [
        f"# HELP {full} {about}",
        f"# TYPE {full} counter",
        *(f"{full}{_labels(labels)} {n}" for labels, n in sorted(counts.items())),
    ]


def _histogram(name: str, about: str, counts: Mapping[str, list[int]], sums: Mapping[str, float]) -> list[str]:
    full = PREFIX + name
    lines = [f"# HELP {full} {about}", f"# TYPE {full} histogram"]
    for path, buckets in sorted(counts.items()):
        so_far = 0
        for bound, n in zip((*map(str, BUCKETS_S), "+Inf"), buckets, strict=True):
            so_far += n
            lines.append(f"{full}_bucket{_labels((('path', path), ('le', bound)))} {so_far}")
        lines.append(f"{full}_sum{_labels((('path', path),))} {sums[path]:.6f}")
        lines.append(f"{full}_count{_labels((('path', path),))} {so_far}")
    return lines


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    quoted = (value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") for _, value in labels)
    pairs = (f'{name}="{value}"' for (name, _), value in zip(labels, quoted, strict=True))
    return "{" + ",".join(pairs) + "}"
