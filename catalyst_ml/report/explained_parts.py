"""From what the explanations measured to the parts of the report: leaderboard, drivers, slices, mistakes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from catalyst_ml.report import content, explained_content, typeset
from catalyst_ml.report.assembly import MEMBER_TITLES

_LEADERBOARD_TITLES = MEMBER_TITLES | {"ensemble": "Ensemble, calibrated"}
_SLICE_WORDS = {
    ("catalyst", "yes"): "with news",
    ("catalyst", "no"): "without news",
    ("volatility", "calm"): "VIX low for its last year",
    ("volatility", "usual"): "VIX usual for its last year",
    ("volatility", "nervous"): "VIX high for its last year",
    ("trend", "rising"): "SPY above its 50-day mean",
    ("trend", "falling"): "SPY below its 50-day mean",
    ("novelty", "usual"): "like events before the record",
    ("novelty", "novel"): "unlike events before the record",
}
"""What a part is called, and in which order; others by their own name."""


def leaderboard_part(board: Mapping[str, Any]) -> explained_content.Leaderboard:
    """The ensemble and its members with scores, weights and costs."""
    return explained_content.Leaderboard(
        rows=[_leaderboard_row(row) for row in board["rows"]],
        correlated=[_LEADERBOARD_TITLES.get(name, name) for name in board["varying"]],
        correlation=board["correlation"],
        rows_judged=board["n_rows"],
        sessions=board["n_sessions"],
    )


def leaderboard_table(board: explained_content.Leaderboard) -> list[dict[str, str]]:
    """The leaderboard as rows of text, for a table outside the report."""
    return [
        {
            "member": row.title,
            "log-loss": typeset.estimate_text(row.log_loss, "loss"),
            "vs base rate": typeset.estimate_text(row.log_loss_vs_base, "difference"),
            "AUC within day and direction": typeset.estimate_text(row.auc_within, "score"),
            "weight": typeset.number(row.weight, "percent"),
            "fit": typeset.duration(row.fit_seconds),
            "predict 1,000": typeset.milliseconds(row.predict_ms),
            "size": typeset.file_size(row.onnx_bytes),
            "left out": row.dropped,
            "correlation": _spoken_correlation(board, row.title),
        }
        for row in board.rows
    ]


def importance_parts(explained: Mapping[str, Any]) -> list[content.Importance]:
    """Permutation importances, each with its interval over sessions, under the names that the drivers have."""
    words = {group["group"]: group["words"].partition(" relative to")[0] for group in explained["drivers"]["groups"]}
    return [
        content.Importance(
            feature=words.get(group["group"], group["group"]),
            importance=content.Estimate(
                value=group["importance"], low=group["low"], high=group["high"], level=group["level"]
            ),
        )
        for group in explained["importance"]["groups"]
    ]


def importance_method(explained: Mapping[str, Any]) -> str:
    """One sentence on the rows the importances were measured on."""
    measured = explained["importance"]
    return f"Rise in log-loss when a feature’s columns are shuffled together, on {_rows_asked(measured)}."


def driver_parts(explained: Mapping[str, Any]) -> list[explained_content.Driver]:
    """Groups of inputs by how far they move the forecast."""
    return [
        explained_content.Driver(
            words=group["words"],
            size=content.Estimate(value=group["mean_abs"], low=group["low"], high=group["high"], level=group["level"]),
            when_low=group["when_low"],
            when_high=group["when_high"],
            by_member={MEMBER_TITLES.get(name, name): size for name, size in group["by_member"].items()},
        )
        for group in explained["drivers"]["groups"]
    ]


def drivers_method(explained: Mapping[str, Any]) -> str:
    """What the contributions are, and on which rows."""
    measured = explained["drivers"]
    return (
        f"Shapley values of the ensemble in log-odds, sampled over {measured['n_pairs']} other events of the same "
        f"session each, on {_rows_asked(measured)}. What all events of a day share moves none of them apart."
    )


def event_parts(newest: Mapping[str, Any]) -> list[explained_content.ExplainedEvent]:
    """The newest week's surest events, each with what sets it apart."""
    return [
        explained_content.ExplainedEvent(
            title=f"{event['symbol']} {event['direction']}, {typeset.day(pd.Timestamp(event['session']))}",
            p=event["p"],
            day=event["day"],
            drivers=[
                explained_content.EventDriver(words=d["words"], contribution=d["contribution"], error=d["error"])
                for d in event["drivers"]
            ],
            rest=event["rest"],
        )
        for event in newest["events"]
    ]


def slice_parts(slices: Mapping[str, Any]) -> list[content.Slice]:
    """The challenger on parts of the record, each with what is left of its p-value beside all others."""
    place = {known: k for k, known in enumerate(_SLICE_WORDS)}
    return [
        content.Slice(
            group=part["by"],
            value=_SLICE_WORDS.get((part["by"], part["value"]), part["value"]),
            n=part["n"],
            n_eff=part["n_eff"],
            base_rate=content.Estimate(**part["base_rate"]),
            log_loss_vs_base=content.Estimate(**part["difference"]),
            accuracy=content.Estimate(**part["accuracy"]),
            auc_within=content.Estimate(**part["auc_within"]),
            p_adjusted=part["p_adjusted"],
            stands_out=part["stands_out"],
        )
        for part in sorted(slices["parts"], key=lambda part: place.get((part["by"], part["value"]), -1))
    ]


def slice_test(slices: Mapping[str, Any]) -> explained_content.SliceTest:
    """How many parts were tested together."""
    return explained_content.SliceTest(n_tested=slices["n_tested"], alpha=slices["alpha"])


def mistake_parts(mistakes: Sequence[Mapping[str, Any]]) -> list[explained_content.Mistake]:
    """The worst mistakes with their bars, trade and the headlines known then."""
    return [
        explained_content.Mistake(
            **{name: mistake[name] for name in _MISTAKE_FIELDS},
            direction="long" if mistake["direction"] > 0 else "short",
            headlines=[story["text"] for story in mistake["headlines"]],
            bars=[
                explained_content.PriceBar(ts=ts, open=open_, high=high, low=low, close=close)
                for ts, open_, high, low, close in mistake["bars"]
            ],
        )
        for mistake in mistakes
    ]


_MISTAKE_FIELDS = (
    "symbol", "ts", "p", "base_rate", "won", "net_return", "outcome", "patterns", "entry", "exit", "stop", "target",
    "decided", "entered", "left",
)  # fmt: skip


def _leaderboard_row(row: Mapping[str, Any]) -> explained_content.LeaderboardRow:
    cost = row["cost"] or {}
    return explained_content.LeaderboardRow(
        title=_LEADERBOARD_TITLES.get(row["name"], row["name"]),
        log_loss=content.Estimate(**row["log_loss"]),
        log_loss_vs_base=content.Estimate()
        if row["name"] == "base_rate"
        else content.Estimate(**row["log_loss_vs_base"]),
        auc=content.Estimate(**row["auc"]),
        auc_within=content.Estimate(**row["auc_within"]),
        weight=row["weight"],
        dropped=row["dropped"],
        fit_seconds=row["fit_seconds"],
        predict_ms=1e3 * cost["predict_seconds"] if cost else None,
        tree_nodes=cost.get("tree_nodes"),
        onnx_bytes=cost.get("onnx_bytes"),
    )


def _spoken_correlation(board: explained_content.Leaderboard, title: str) -> str:
    """Correlations of one member with the others, as text; nothing for those that have none."""
    if title not in board.correlated:
        return ""
    own = board.correlation[board.correlated.index(title)]
    pairs = zip(board.correlated, own, strict=True)
    return ", ".join(f"{other} {value:.2f}".replace("-", "−") for other, value in pairs if other != title)


def _rows_asked(measured: Mapping[str, Any]) -> str:
    fits = "one fit" if measured["n_fits"] == 1 else f"{measured['n_fits']} fits spread over the record"
    return (
        f"{typeset.count(measured['n_rows'])} events of {typeset.count(measured['n_sessions'])} sessions that "
        f"{fits} had not seen"
    )
