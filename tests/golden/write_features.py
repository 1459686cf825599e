"""Write the golden vectors of the features anew: windows of bars, and what every feature says of their last bar.

    python tests/golden/write_features.py

Values that changed under an unchanged feature set version are refused: raise the ``version`` of the declarations
concerned first, so that nothing trained on the old values meets the new ones.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from catalyst_ml.features.catalogue import CATALOGUE, INPUTS, FeatureSpec, feature_set_version
from catalyst_ml.features.extended import EXTENDED
from catalyst_ml.features.extended_inputs import EXTENDED_INPUTS
from catalyst_ml.features.serving import WINDOW_BARS, features_of_last_bar

HERE = Path(__file__).resolve().parent
BAR_NAMES = ("open", "high", "low", "close", "volume")
ABSENT = ("options_volume",)
RTOL = 1e-12
"""Plain arithmetic gives the same bits everywhere; logarithms come from the machine's mathematical library."""

SETS: dict[str, tuple[FeatureSpec, ...]] = {"catalogue": CATALOGUE, "extended": EXTENDED}


def golden_file(name: str) -> Path:
    return HERE / f"features-{name}.json"


def compute(event: dict[str, Any], catalogue: tuple[FeatureSpec, ...]) -> dict[str, float | None]:
    """Features of one stored event; None for missing, JSON has no NaN."""
    window = {name: np.array(values) for name, values in event["window"].items()}
    context = {name: np.array(values) for name, values in event["context"].items()}
    values = features_of_last_bar(window, context, catalogue=catalogue)
    return {name: None if np.isnan(value) else value for name, value in values.items()}


def is_same(a: float | None, b: float | None) -> bool:
    if a is None or b is None:
        return a is b
    return abs(a - b) <= RTOL * max(abs(a), abs(b), 1e-3)


def make_event(seed: int, catalogue: tuple[FeatureSpec, ...]) -> dict[str, Any]:
    """A window and its context, rounded as a data source rounds them; a walk, a jumpy one, one with flat bars."""
    rng = np.random.default_rng(seed)
    moves = rng.normal(0, 0.015, WINDOW_BARS)
    if seed == 2:
        moves[rng.integers(0, WINDOW_BARS, 20)] += 0.2
        moves[rng.integers(0, WINDOW_BARS, 20)] -= 0.2
    close = (40.0 * seed * np.exp(np.cumsum(moves))).round(2)
    if seed == 3:
        close[-120:-90] = close[-120]
    open_ = np.concatenate((close[:1], close[:-1])) * (1 + rng.normal(0, 0.004, WINDOW_BARS))
    open_ = np.where(np.concatenate(([0.0], np.diff(close))) == 0.0, close, open_).round(2)
    reach = np.where(open_ == close, 0.0, np.abs(rng.normal(0, 0.006, WINDOW_BARS)))
    window = {
        "open": open_,
        "high": (np.maximum(open_, close) * (1 + reach)).round(2),
        "low": (np.minimum(open_, close) * (1 - reach)).round(2),
        "close": close,
        "volume": rng.lognormal(12, 0.6, WINDOW_BARS).round(),
    }
    wanted = {name for name in (*INPUTS, *EXTENDED_INPUTS) if name not in (*BAR_NAMES, *ABSENT)}
    asked = {name for spec in catalogue for name in spec.inputs}
    context = {"market_close": (400 * np.exp(np.cumsum(rng.normal(0, 0.01, WINDOW_BARS)))).round(2)}
    context |= {name: rng.uniform(0, 1, WINDOW_BARS).round(3) for name in sorted(wanted & asked - {"market_close"})}
    return {
        "window": {name: values.tolist() for name, values in window.items()},
        "context": {name: values.tolist() for name, values in context.items()},
    }


def main() -> int:
    refused = False
    for name, catalogue in SETS.items():
        path, version = golden_file(name), feature_set_version(catalogue)
        events = [make_event(seed, catalogue) for seed in (1, 2, 3)]
        if path.exists():
            old = json.loads(path.read_text())
            events = [{"window": e["window"], "context": e["context"]} for e in old["events"]]
            before = [event["features"] for event in old["events"]]
        new = [compute(event, catalogue) for event in events]
        if path.exists():
            changed = sorted(
                {
                    f
                    for a, b in zip(before, new, strict=True)
                    for f in {*a, *b}
                    if f not in a or not is_same(a[f], b.get(f))
                }
            )
            if not changed:
                print(f"{path.name}: no value changed, left as it is")
                continue
            if old["feature_set_version"] == version:
                print(f"{path.name}: REFUSED, {changed} changed under version {version}: raise their version first")
                refused = True
                continue
            print(f"{path.name}: {changed} changed")
        document = {
            "feature_set_version": version,
            "events": [event | {"features": own} for event, own in zip(events, new, strict=True)],
        }
        path.write_text(json.dumps(document) + "\n")
        print(f"{path.name}: written, version {version}")
    return int(refused)


if __name__ == "__main__":
    sys.exit(main())
