"""The companion models beside the weekly training: walked forward over all stock-days, judged, and fitted to deploy."""

from __future__ import annotations

import os
from typing import Any

import pandas as pd
from prefect import task

from tasks.caching import cached
from tasks.connections import load_frame, store_bytes, store_frame
from tasks.dataset import market_panel

ROOMS = (
    "catalyst_ml.models",
    "catalyst_ml.evaluation",
    "catalyst_ml.features",
    "catalyst_ml.market",
    "catalyst_ml.indicators",
    "catalyst_ml.frames",
    "catalyst_ml.quality.exposure",
)
PARITY_ROWS = 5_000
"""Newest stock-days on which the graph and the trainer are compared."""


@task(name="companions", timeout_seconds=3600, **cached(*ROOMS, packages=("xgboost", "onnx"), ignore=("threads",)))
def companions(
    market: dict[str, Any], breaks: dict[str, Any], as_of: str, seed: int, threads: int | None
) -> dict[str, Any]:
    """Predict every stock-day out of its fold; return the evaluation and the newest day's stocks, best rank first.

    The graph to deploy (``onnx``) is of a fit on all outcomes known at ``as_of``; None if it differs from that fit, as
    ``parity`` then says. A history too short for companions is a result, with its reason: the run goes on without.
    """
    from catalyst_ml.errors import InsufficientHistory
    from catalyst_ml.features.stock_days import build_stock_days
    from catalyst_ml.market.calendar import TradingCalendar
    from catalyst_ml.models import companion_evaluation
    from catalyst_ml.models.companion_graph import certify_companions, export_companions
    from catalyst_ml.models.companions import (
        companion_matrix,
        default_companion_settings,
        fit_companions,
        walk_companions,
    )
    from catalyst_ml.quality.exposure import exposed_bars

    panel = market_panel(market)
    calendar, n_threads = TradingCalendar(), threads or os.cpu_count() or 1
    try:
        if panel.calendar is not None:
            raise InsufficientHistory(f"companions are models of stock-days; bars of {market['timeframe']} have none")
        stock_days = build_stock_days(
            panel,
            calendar=calendar,
            as_of=pd.Timestamp(as_of),
            held_out=exposed_bars(panel.bars, panel.stocks, load_frame(breaks), calendar=calendar),
            n_threads=n_threads,
        ).rows
        settings = default_companion_settings(seed=seed)
        predictions = walk_companions(stock_days, settings, n_threads=n_threads)
        judged = companion_evaluation.evaluate_companions(predictions, stock_days)
        fitted = fit_companions(stock_days, settings, n_threads=n_threads)
    except InsufficientHistory as too_short:
        nothing = {"evaluation": None, "stocks": [], "predictions": None, "settings_id": "", "onnx": None}
        return {"reason": str(too_short), "parity": None, **nothing}
    onnx = export_companions(fitted, metadata={"as_of": as_of})
    newest = companion_matrix(stock_days.tail(PARITY_ROWS), settings.inputs)
    parity = certify_companions(fitted, onnx, newest)
    return {
        "reason": "",
        "evaluation": judged.to_dict(),
        "stocks": companion_evaluation.newest_stocks(predictions),
        "predictions": store_frame("companions", predictions),
        "settings_id": settings.settings_id,
        "onnx": store_bytes("companion-graph", onnx, suffix=".onnx") if parity.passed else None,
        "parity": parity.to_dict(),
    }
