"""Who is champion, and does the challenger beat it: the gate's evidence gathered, its decision kept."""

from __future__ import annotations

import io
import math
from typing import Any

import pandas as pd
from prefect import task
from prefect.artifacts import create_table_artifact

from catalyst_ml.evaluation.catalyst_effect import catalyst_effect
from catalyst_ml.evaluation.catalyst_scores import score_catalyst
from catalyst_ml.evaluation.comparison import compare_false_positives
from catalyst_ml.evaluation.deflation import deflate
from catalyst_ml.evaluation.gate import ChampionInfo, DriftEvidence, GateEvidence, GatePolicy, decide
from catalyst_ml.evaluation.metrics import score_predictions
from catalyst_ml.evaluation.record import ARM_COLUMNS, P_CHALLENGER, P_CHAMPION, P_RULES
from catalyst_ml.evaluation.selective_report import report_selective
from catalyst_ml.evaluation.trading import summarise_trades, trades_at_coverage
from catalyst_ml.frames import EVENT_KEY, PATTERNS, pattern_column
from catalyst_ml.models.champion import champion_probabilities, score_served
from catalyst_ml.models.procedure import Procedure
from catalyst_ml.registry import channels
from catalyst_ml.registry.lines import ModelLine
from catalyst_ml.registry.versions import load_version
from catalyst_ml.trial.ledger import SignalLedger
from tasks.caching import cached
from tasks.connections import artifact_stores, engine, load_bytes, load_frame, store_bytes, store_frame
from tasks.retrying import RETRY_TEMPORARY
from tasks.trials import as_trials

RULES = {"kind": "rules", "version_id": None, "procedure_id": None, "forced": None}


def line_of(scope: dict[str, Any], plan: dict[str, Any]) -> ModelLine:
    """The line this run's versions belong to."""
    return ModelLine(scope["dataset"], scope["timeframe"], plan["label_version"])


@task(name="read-champion", timeout_seconds=600, **RETRY_TEMPORARY)
def read_champion(scope: dict[str, Any], plan: dict[str, Any]) -> dict[str, Any]:
    """Read what was in production as this run may know it, verified.

    A run repeated after its own promotion judges the champion before; so does a backdated run, which may not know
    a champion of its own future.
    """
    held = channels.current(engine(), line_of(scope, plan)).version_id
    while held is not None:
        version = load_version(engine(), artifact_stores(), held)
        manifest = version.manifest
        is_own = (manifest.procedure_id, manifest.data_fingerprint, pd.Timestamp(manifest.as_of)) == (
            plan["procedure_id"],
            scope["fingerprint"],
            pd.Timestamp(scope["as_of"]),
        )
        is_of_the_future = pd.Timestamp(manifest.as_of) > pd.Timestamp(scope["as_of"])
        if not is_own and not is_of_the_future:
            return {
                "kind": "model",
                "version_id": held,
                "procedure_id": manifest.procedure_id,
                "forced": _how_forced(line_of(scope, plan), held),
                "feature_set_version": manifest.feature_set_version,
                "rule_arm": manifest.procedure.get("rule_arm", ""),
                "as_of": manifest.as_of.isoformat(),
                "inputs": list(manifest.inputs),
                "onnx": store_bytes("champion", version.files["model.onnx"], suffix=".onnx"),
                "record": store_frame("champion", pd.read_parquet(io.BytesIO(version.files["record.parquet"]))),
            }
        held = manifest.parent_version_id
    return RULES


@task(name="read-live-forecasts", timeout_seconds=600, **RETRY_TEMPORARY)
def read_live_forecasts(scope: dict[str, Any], plan: dict[str, Any]) -> dict[str, Any] | None:
    """Read what this procedure said of events before their outcome; None if it has not spoken yet."""
    ledger = SignalLedger(engine(), line_of(scope, plan)).read(known_at=pd.Timestamp(scope["as_of"]).to_pydatetime())
    spoke = (ledger["procedure_id"] == plan["procedure_id"]).fillna(False) & ledger["p_ml"].notna()
    if not spoke.any():
        return None
    rows = ledger.loc[spoke.to_numpy(dtype=bool), [*EVENT_KEY, "p_ml"]].reset_index(drop=True)
    return store_frame("live_forecasts", rows)


@task(
    name="judge",
    timeout_seconds=900,
    **cached("catalyst_ml.evaluation", "catalyst_ml.models.champion", "tasks.trials", packages=("onnxruntime",)),
)
def judge(
    rows: dict[str, Any],
    combined: dict[str, Any],
    champion: dict[str, Any],
    model: dict[str, Any],
    plan: dict[str, Any],
    quality: dict[str, Any],
    drift: dict[str, Any],
    trials: dict[str, Any],
    live: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Put champion and challenger on the same rows and let the gate decide.

    ``live`` is what the procedure forecast of the same events before their outcome; None if it never did, or in a
    replay.
    """
    training = load_frame(rows["training"])
    record, newest = _record_with_champion(load_frame(combined["record"]), training, champion, model, plan)
    # First, for it refuses an empty record in words.
    scores = {
        column.removeprefix("p_"): score_predictions(
            record["y"], record[column], record["session"], record["direction"]
        ).to_dict()
        for column in ARM_COLUMNS
        if column != P_CHAMPION or not record[P_CHAMPION].equals(record[P_RULES])
    }
    policy = GatePolicy()
    traded = {
        column: trades_at_coverage(record, column, coverage=policy.coverage) for column in (P_CHALLENGER, P_RULES)
    }
    deflation = deflate(traded[P_CHALLENGER].judged_profit(), as_trials(trials))
    decision = decide(
        record,
        policy=policy,
        champion=ChampionInfo(
            champion["kind"], champion["version_id"], champion["procedure_id"], champion.get("forced")
        ),
        challenger_procedure_id=plan["procedure_id"],
        evidence=GateEvidence(
            # A certificate fails for more than p: members, raw weights, flipped decisions.
            parity_max_abs_diff=model["parity"]["max_abs_diff_p"] if model["parity"]["passed"] else math.inf,
            latency_p99_ms=model["parity"]["latency_p99_ms"],
            validation_passed=quality["passed"],
            drift=DriftEvidence(drift["questions"], tuple(drift["alarms"]), tuple(drift["unjudged"])),
            deflation=deflation,
            newest_block=newest,
            live_shadow=None if live is None else _beside_live(record, load_frame(live)),
        ),
    )
    predictor = score_catalyst(record)
    false_positives = compare_false_positives(traded[P_CHALLENGER], traded[P_RULES])
    return {
        "record": store_frame("judged", record),
        "decision": decision.to_dict(),
        "scores": scores,
        "trading": {
            "coverage": policy.coverage,
            "arms": {column.removeprefix("p_"): summarise_trades(arm).to_dict() for column, arm in traded.items()},
            "deflation": deflation.to_dict() | {"searched": trials["searched"]},
        },
        "selective": report_selective(record).to_dict()
        | {"false_positives": None if false_positives is None else false_positives.to_dict()},
        "catalysts": {
            "effect": catalyst_effect(training).to_dict(),
            "predictor": None if predictor is None else predictor.to_dict(),
        },
    }


@task(name="show-decision")
def show_decision(judged: dict[str, Any]) -> None:
    """Write the gate's checks as a table into the Prefect UI."""
    decision = judged["decision"]
    table = [
        {
            "check": check["title"],
            "result": {True: "passed", False: "failed", None: "not judged"}[check["passed"]],
            "measured": _short(check["value"]),
            "bound": _short(check["bound"]),
            "decides": "yes" if check["decisive"] else "no",
            "reason": check["reason"],
        }
        for check in decision["checks"]
    ]
    create_table_artifact(table, key="gate-decision", description=f"**{decision['headline']}**. {decision['summary']}")


def _beside_live(record: pd.DataFrame, live: pd.DataFrame) -> pd.DataFrame:
    """Rows of the record that were forecast live too: session, y, p_record, p_live."""
    both = record.merge(live, on=list(EVENT_KEY), how="inner", validate="one_to_one")
    return both[["session", "y", P_CHALLENGER, "p_ml"]].rename(columns={P_CHALLENGER: "p_record", "p_ml": "p_live"})


def _how_forced(line: ModelLine, version_id: str) -> str | None:
    """When, by whom and why a version came into production without the gate's consent; None if it had it."""
    moves = [m for m in channels.history(engine(), line, channel=channels.PRODUCTION) if m.version_id == version_id]
    promotions = [move for move in moves if move.action == "promote"]
    if not promotions or not promotions[-1].forced:
        return None
    last = promotions[-1]
    return f"{last.reason} ({last.actor}, {last.at:%Y-%m-%d})"


def inputs_mean_the_same(champion: dict[str, Any], procedure: dict[str, Any]) -> bool:
    """True if the champion may be asked about this run's rows.

    Inputs of another feature set or rule arm carry the same names and mean something else: its own record only.
    """
    return all(champion[name] == procedure[name] for name in ("feature_set_version", "rule_arm"))


def _record_with_champion(
    record: pd.DataFrame,
    training: pd.DataFrame,
    champion: dict[str, Any],
    model: dict[str, Any],
    plan: dict[str, Any],
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Add the champion's column and what slices and costs need; the newest block only for a refit."""
    key = list(EVENT_KEY)
    inputs = Procedure.from_dict(plan["procedure"]).inputs
    shown = ["gross_return", *(pattern_column(name) for name in PATTERNS), *inputs]
    extra = [name for name in dict.fromkeys(shown) if name not in record.columns]
    full = record.merge(training[[*key, *extra]], on=key, how="left", validate="one_to_one")
    newest = None
    if champion["kind"] == "rules" or champion["procedure_id"] == plan["procedure_id"]:
        # The procedure's own earlier fit is no rival on the record: it is the same arm. The rules are.
        full[P_CHAMPION] = full[P_RULES]
    else:
        is_same = inputs_mean_the_same(champion, plan["procedure"])
        full[P_CHAMPION] = champion_probabilities(
            full,
            champion_record=load_frame(champion["record"]),
            onnx_bytes=load_bytes(champion["onnx"]),
            inputs=tuple(champion["inputs"]),
            champion_as_of=pd.Timestamp(champion["as_of"]) if is_same else full["ts"].max(),
        )
        full = full.dropna(subset=[P_CHAMPION])
    if champion["kind"] == "model" and champion["procedure_id"] == plan["procedure_id"]:
        newest = _newest_block(training, champion, model, inputs)
    kept = [column for column in full.columns if column not in inputs or column in record or column == "news_present"]
    return full[kept].reset_index(drop=True), newest


def _newest_block(
    training: pd.DataFrame, champion: dict[str, Any], model: dict[str, Any], inputs: tuple[str, ...]
) -> pd.DataFrame:
    """Rows whose outcome became known after the champion was fitted, scored by both fits."""
    block = training[(training["label_end"] > pd.Timestamp(champion["as_of"])).to_numpy()]
    return pd.DataFrame(
        {
            "y": block["y"].to_numpy(),
            "p_refit": score_served(load_bytes(model["onnx"]), block, inputs),
            "p_deployed": score_served(load_bytes(champion["onnx"]), block, tuple(champion["inputs"])),
        }
    )


def _short(figure: float | None) -> str:
    return "" if figure is None else f"{figure:.3g}"
