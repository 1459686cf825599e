"""The worst mistakes of a record, each with its trade as it went, to be drawn and read by a person.

Prices are split-adjusted as known at ``as_of``, like the labels. Nothing is trained on what is shown here.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from catalyst_ml.errors import DataContractError
from catalyst_ml.evaluation.record import P_BASE_RATE, P_CHALLENGER, log_losses
from catalyst_ml.frames import EVENT_KEY, PATTERNS, pattern_column
from catalyst_ml.indicators import kernels
from catalyst_ml.market.label_specs import AnyLabelSpec, LabelSpec

N_MISTAKES = 10
BARS_BEFORE = 24
BARS_AFTER = 4
OUTCOME_COLUMNS = ("outcome", "gross_return", "entry_ts")


@dataclass(frozen=True)
class Mistake:
    """One event, what was said of it, and its trade. Prices in US dollars; ``bars`` hold ts, open, high, low, close.

    ``stop`` and ``target`` are None for labels without barriers; ``decided``, ``entered`` and ``left`` are numbers of
    ``bars``.
    """

    symbol: str
    ts: str
    direction: int
    p: float
    base_rate: float
    won: bool
    log_loss: float
    net_return: float
    outcome: str
    patterns: tuple[str, ...]
    entry: float
    exit: float
    stop: float | None
    target: float | None
    bars: tuple[tuple[str, float, float, float, float], ...]
    decided: int
    entered: int
    left: int

    def to_dict(self) -> dict[str, Any]:
        """Return the mistake as JSON."""
        return asdict(self) | {"patterns": list(self.patterns), "bars": [list(bar) for bar in self.bars]}


def worst_rows(record: pd.DataFrame, n: int = N_MISTAKES) -> pd.DataFrame:
    """The ``n`` rows of largest log-loss of the challenger, the worst first; ties in the order of the record."""
    loss = log_losses(record["y"], record[P_CHALLENGER])
    worst = np.argsort(-loss, kind="stable")[:n]
    return record.iloc[worst].assign(log_loss=loss[worst])


def tell_mistakes(worst: pd.DataFrame, bars: pd.DataFrame, spec: AnyLabelSpec) -> tuple[Mistake, ...]:
    """Look up the trade of each row of ``worst``.

    Parameters
    ----------
    worst
        Rows of `worst_rows` with their pattern columns and ``outcome``, ``gross_return``, ``entry_ts``, ``label_end``
        of the same label version.
    bars : BARS
        Split-adjusted bars that the labels were made of, sorted by symbol and ts.
    spec
        The label version.

    Raises
    ------
    DataContractError
        If a row's decision or entry bar is not among ``bars``.
    """
    by_symbol = {symbol: own for symbol, own in bars[bars["symbol"].isin(worst["symbol"])].groupby("symbol")}
    return tuple(_tell(row, by_symbol.get(row["symbol"], bars.head(0)), spec) for row in worst.to_dict("records"))


def _tell(row: dict[str, Any], bars: pd.DataFrame, spec: AnyLabelSpec) -> Mistake:
    moments = pd.DatetimeIndex(bars["ts"])
    decided, entered = (int(k) for k in moments.get_indexer([row["ts"], row["entry_ts"]]))
    if min(decided, entered) < 0:
        key = {name: row[name] for name in EVENT_KEY}
        raise DataContractError(
            f"mistakes: the bars hold no decision and entry of {key} (entered {row['entry_ts']}). "
            "Hand in the bars that the labels were made of."
        )
    left = max(int(moments.searchsorted(row["label_end"], side="right")) - 1, entered)
    side, entry = int(row["direction"]), float(bars["open"].iloc[entered])
    stop: float | None = None
    target: float | None = None
    if isinstance(spec, LabelSpec):
        stop, target = _barriers(bars, decided, entry, side, spec)
        left_at = entry * (1.0 + side * float(row["gross_return"]))
    else:
        # A market-neutral return is the stock's beyond its universe's; the trade itself ends at the bar's close.
        left_at = float(bars["close"].iloc[left])
    first = max(decided - BARS_BEFORE, 0)
    shown = bars.iloc[first : left + 1 + BARS_AFTER]
    return Mistake(
        symbol=str(row["symbol"]),
        ts=row["ts"].isoformat(),
        direction=side,
        p=float(row[P_CHALLENGER]),
        base_rate=float(row[P_BASE_RATE]),
        won=bool(row["y"] == 1),
        log_loss=float(row["log_loss"]),
        net_return=float(row["net_return"]),
        outcome=str(row["outcome"]),
        patterns=tuple(name for name in PATTERNS if row.get(pattern_column(name))),
        entry=entry,
        exit=left_at,
        stop=stop,
        target=target,
        bars=tuple(
            (moment.isoformat(), *map(float, prices))
            for moment, *prices in shown[["ts", "open", "high", "low", "close"]].itertuples(index=False)
        ),
        decided=decided - first,
        entered=entered - first,
        left=left - first,
    )


def _barriers(bars: pd.DataFrame, decided: int, entry: float, side: int, spec: LabelSpec) -> tuple[float, float]:
    known = bars.iloc[: decided + 1]
    high, low, close = (known[column].to_numpy(dtype="float64") for column in ("high", "low", "close"))
    atr = float(kernels.atr(high, low, close, spec.atr_period)[-1])
    return entry - side * spec.barrier_atr * atr, entry + side * spec.target_atr * atr
