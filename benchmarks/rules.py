"""What the three rule arms say of real daily bars: how often they act, how often that was right, how fast they are.

Reads ``bars_daily.parquet`` in the folder named by CATALYST_MARKET_DATA; without it a simulated market stands in, whose
hit rates say nothing about markets. No news: the bars' own stories are a thin sample of what was published.

Goals: every arm scores 340,000 events within 2 s of CPU time, and the shipped rules never reach their own trade
threshold without a catalyst. Hit rates have no goal.

    python benchmarks/rules.py            # 300 stocks
    python benchmarks/rules.py --quick    # 60 stocks
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pandas as pd

from benchmarks.support.table import Row, finish, machine
from catalyst_ml.evaluation.base_rates import BaseRate
from catalyst_ml.evaluation.intervals import ScoreInterval, mean_interval
from catalyst_ml.frames import BARS, EVENT_KEY, INSTRUMENTS, NEWS
from catalyst_ml.market import corporate_actions, detector, labels, rules
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.simulator import simulate_market
from catalyst_ml.models.rule_arm import RuleCalibration

FIRST = pd.Timestamp("2010-01-01", tz="UTC")
TRAINING = pd.Timedelta(days=730)
MAX_CPU_SECONDS_PER_EVENT = 2.0 / 340_000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="60 stocks, under a minute on two cores")
    parser.add_argument("--json", metavar="FILE", help="also write the results as JSON")
    arguments = parser.parse_args()
    folder = os.environ.get("CATALYST_MARKET_DATA")
    n_symbols = 60 if arguments.quick else 300
    bars, instruments = _real_bars(Path(folder), n_symbols) if folder else _simulated_bars(n_symbols)
    events = detector.detect_events(bars, instruments)
    calendar = TradingCalendar()
    labelled = labels.label_events(events, bars, labels.LabelSpec(), calendar=calendar, as_of=bars["ts"].max()).labels
    scored = {arm.name: _scored(arm, events, bars) for arm in rules.RULE_ARMS.values()}
    settled = _settled(labelled, calendar)
    results = [_judge(arm, scored, settled) for arm in rules.RULE_ARMS.values()]
    what = "real bars" if folder else "a simulated market without an edge"
    n_judged = int((settled["ts"] >= FIRST).sum())
    title = (
        f"Rule arms on {what} ({len(bars):,} bars, {len(events):,} events, {n_judged:,} of them settled and judged in "
        f"{settled.loc[settled['ts'] >= FIRST, 'session'].nunique():,} sessions from {FIRST:%Y} on; 90 % intervals; "
        f"{machine()})"
    )
    return finish(title, [_row(result) for result in results], results=results, json_file=arguments.json)


def _real_bars(folder: Path, n_symbols: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    raw = pd.read_parquet(folder / "bars_daily.parquet").sort_values(["symbol", "date"], ignore_index=True)
    raw = raw[raw["symbol"].isin(raw["symbol"].unique()[:n_symbols])].reset_index(drop=True)
    closes = TradingCalendar().closes(pd.DatetimeIndex(raw["date"]))
    frame = raw.assign(ts=closes, split_factor=raw["split_coefficient"])
    frame = frame.astype({"symbol": "str", "volume": "float64"})[BARS.column_names]
    bars = corporate_actions.adjust_for_splits(BARS.validate(frame), as_of=frame["ts"].max())
    instruments = pd.DataFrame({"symbol": bars["symbol"].unique(), "kind": "stock", "sector": None})
    return bars, INSTRUMENTS.validate(instruments.astype({"symbol": "str", "kind": "str", "sector": "str"}))


def _simulated_bars(n_symbols: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    market = simulate_market("none", seed=1, n_symbols=n_symbols)
    return corporate_actions.adjust_for_splits(market.bars, as_of=market.bars["ts"].max()), market.instruments


def _scored(arm: rules.RuleArm, events: pd.DataFrame, bars: pd.DataFrame) -> pd.DataFrame:
    """RULE_SCORES with the CPU seconds of the second call (the first compiles) in ``attrs``."""
    arm.score_events(events.head(1), bars, NEWS.empty())
    started = time.process_time()
    scores = arm.score_events(events, bars, NEWS.empty())
    scores.attrs["cpu_seconds"] = time.process_time() - started
    return scores


def _settled(labelled: pd.DataFrame, calendar: TradingCalendar) -> pd.DataFrame:
    """Labels with their session and what an event of their side is worth: the base rate of the direction."""
    sessions = calendar.session_of(pd.DatetimeIndex(labelled["ts"]))
    return labelled.assign(session=sessions, row=np.arange(len(labelled)))


def _judge(arm: rules.RuleArm, scored: dict[str, pd.DataFrame], settled: pd.DataFrame) -> dict[str, Any]:
    """Everything said of one arm."""
    key = list(EVENT_KEY)
    scores = scored[arm.name]
    rows = settled.merge(scores, on=key, validate="one_to_one").sort_values("row", ignore_index=True)
    judged = rows[rows["ts"] >= FIRST]
    base = judged.groupby("direction")["y"].mean()
    stance = judged["direction"] * judged["rule_action"]
    trades = (stance > 0) & (judged["rule_score"] >= arm.trade_score)
    default = scored[rules.DEFAULT_RULE_ARM]
    both = scores["rule_score"].notna() & default["rule_score"].notna()
    return {
        "arm": arm.version,
        "cpu_seconds": scores.attrs["cpu_seconds"],
        "n_events": len(scores),
        "n_above_trade_score": int((scores["rule_score"] >= arm.trade_score).sum()),
        "highest_score": float(scores["rule_score"].max()),
        "share_hold": float((judged["rule_action"] == 0).mean()),
        "base_rate": float(judged["y"].mean()),
        "agrees": _hits(judged[stance > 0], base),
        "opposes": _hits(judged[stance < 0], base),
        "trades": _hits(judged[trades], base),
        "same_action": float((scores["rule_action"] == default["rule_action"]).mean()),
        "score_correlation": float(scores["rule_score"][both].corr(default["rule_score"][both])),
        "log_loss_gain": _out_of_time_gain(rows),
    }


def _hits(rows: pd.DataFrame, base: pd.Series) -> dict[str, Any]:
    """Hit rate minus the base rate of the same directions, so that leaning to one side earns nothing."""
    expected = rows["direction"].map(base).to_numpy(dtype="float64")
    excess = mean_interval(rows["y"].to_numpy() - expected, rows["session"])
    return {
        "n": len(rows),
        "sessions": int(rows["session"].nunique()),
        "hit_rate": float(rows["y"].mean()) if len(rows) else None,
        "base_rate": float(expected.mean()) if len(rows) else None,
        "excess": [excess.value, excess.low, excess.high],
    }


def _out_of_time_gain(rows: pd.DataFrame) -> list[float | None]:
    """Log-loss of the base rate minus that of the calibrated arm, each year fitted on the two years before it."""
    gains, sessions = [], []
    for year in sorted(rows.loc[rows["ts"] >= FIRST, "ts"].dt.year.unique()):
        start = pd.Timestamp(year=year, month=1, day=1, tz="UTC")
        known = rows[(rows["label_end"] < start - pd.Timedelta(days=1)) & (rows["ts"] >= start - TRAINING)]
        asked = rows[(rows["ts"] >= start) & (rows["ts"] < start + pd.DateOffset(years=1))]
        if known.empty:
            continue
        weight = np.ones(len(known))
        rate = BaseRate.fit(known, weight)
        p = RuleCalibration.fit(known, weight, base_rate=rate.rate).predict(asked)
        gains.append(_loss(asked["y"], rate.predict(asked)) - _loss(asked["y"], p))
        sessions.append(asked["session"])
    if not gains:
        return [None, None, None]
    gain: ScoreInterval = mean_interval(np.concatenate(gains), pd.concat(sessions))
    return [gain.value, gain.low, gain.high]


def _loss(y: pd.Series, p: np.ndarray) -> np.ndarray:
    return np.where(y == 1, -np.log(p), -np.log1p(-p))


def _row(result: dict[str, Any]) -> Row:
    is_slow = result["cpu_seconds"] > max(1.0, MAX_CPU_SECONDS_PER_EVENT * result["n_events"])
    breaks_ceiling = result["arm"].startswith("rules_shipped") and result["n_above_trade_score"] > 0
    gain = result["log_loss_gain"]
    cells = {
        "arm": result["arm"],
        "CPU s": f"{result['cpu_seconds']:.2f}",
        "highest score": f"{result['highest_score']:.1f}",
        "HOLD": f"{result['share_hold']:.0%}",
        "takes the event's side": _said(result["agrees"]),
        "takes the other side": _said(result["opposes"]),
        "its trader acts": _said(result["trades"]),
        "log-loss gained on the base rate": ""
        if gain[0] is None
        else f"{gain[0]:+.5f} [{gain[1]:+.5f}, {gain[2]:+.5f}]",
        "same action as the default": f"{result['same_action']:.0%}",
        "score correlation": f"{result['score_correlation']:.2f}",
    }
    return Row(cells, missed=is_slow or breaks_ceiling)


def _said(hits: dict[str, Any]) -> str:
    if not hits["n"]:
        return "never"
    value, low, high = hits["excess"]
    interval = "" if low is None else f" [{100 * low:+.1f}, {100 * high:+.1f}]"
    return (
        f"{hits['n']:,} in {hits['sessions']:,} sessions: {hits['hit_rate']:.1%} of base {hits['base_rate']:.1%}, "
        f"{100 * value:+.1f} points{interval}"
    )


if __name__ == "__main__":
    sys.exit(main())
