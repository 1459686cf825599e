"""What both arms say of a session's events, and what would be traded on: one row of the ledger each.

Frames and fitted arms in, a frame out. The rules answer as calibrated in the version that spoke; where none did, as
calibrated on the outcomes known at the close.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from catalyst_ml.errors import ArtifactRefused, InsufficientHistory
from catalyst_ml.evaluation.base_rates import BaseRate
from catalyst_ml.evaluation.record import P_BASE_RATE, P_PATTERN_BASE_RATE, P_RULES
from catalyst_ml.evaluation.weights import sample_weights
from catalyst_ml.models.floor_arms import FloorArms
from catalyst_ml.models.onnx_graph import INPUT, OUTPUT_P, OUTPUT_P_MEMBERS
from catalyst_ml.models.parity import single_thread_session
from catalyst_ml.models.preprocessing import model_matrix
from catalyst_ml.models.procedure import Procedure
from catalyst_ml.models.rule_arm import RuleCalibration
from catalyst_ml.quality.novelty import MIN_ROWS, NOVEL_BELOW, fit_novelty, score_novelty
from catalyst_ml.registry.channels import PRODUCTION
from catalyst_ml.trial.blending import blend_probabilities, member_spread
from catalyst_ml.trial.ledger_frames import LEDGER_SORT, SIGNALS, validate_signals
from catalyst_ml.trial.sizing import MAX_SHARE, base_shares, disagreement_factors

NO_VERSION = "no version of this line stood in a channel before the event"
OTHER_INPUTS = "the version was trained on features or rules that today's code no longer computes; train again"


@dataclass(frozen=True)
class MlArm:
    """The version that speaks. ``unusable``: why it cannot be asked about today's rows; empty if it can."""

    version_id: str
    procedure_id: str
    channel: str
    as_of: pd.Timestamp
    inputs: tuple[str, ...]
    onnx: bytes
    training_days: int
    half_life_days: float
    unusable: str = ""


@dataclass(frozen=True)
class Moment:
    """The session scored: its exchange date, its close, the next open, and the stage in force during it."""

    session: pd.Timestamp
    close: pd.Timestamp
    entry_due: pd.Timestamp
    stage_share: float

    @property
    def fold(self) -> str:
        """ISO week of the session, e.g. ``2026-W47``: thresholds stay as they are within it."""
        year, week, _ = self.session.isocalendar()
        return f"{year}-W{week:02d}"


def fit_floors(training: pd.DataFrame, *, as_of: pd.Timestamp, training_days: int, half_life_days: float) -> FloorArms:
    """Fit the arms without a model on what was known at ``as_of``, weighted as the members are.

    Raises
    ------
    InsufficientHistory
        If no outcome was known.
    """
    is_recent = training["ts"] >= as_of - pd.Timedelta(days=training_days)
    known = training[(is_recent & (training["label_end"] <= as_of)).to_numpy()]
    if known.empty:
        raise InsufficientHistory(
            f"no outcome was known at {as_of.isoformat()}: the rules cannot be calibrated. Import earlier bars, or "
            "begin the evaluation later."
        )
    return FloorArms.fit(known, sample_weights(known, as_of=as_of, half_life_days=half_life_days))


def served_floors(onnx: bytes, floors: FloorArms) -> FloorArms:
    """Return ``floors`` with the rules and the base rate that are written into the version's own graph.

    Raises
    ------
    ArtifactRefused
        If the graph does not carry them.
    """
    metadata = single_thread_session(onnx).get_modelmeta().custom_metadata_map
    if not {"rules", "base_rate"} <= metadata.keys():
        raise ArtifactRefused(
            f"the graph of the version that speaks carries {sorted(metadata)}; expected rules and base_rate, "
            "as in every version. Train again, and roll back to another version meanwhile."
        )
    return replace(
        floors,
        rules=RuleCalibration.from_dict(json.loads(metadata["rules"])),
        base_rate=BaseRate.from_dict(json.loads(metadata["base_rate"])),
    )


def score_events(
    rows: pd.DataFrame,
    left_out: pd.Series,
    training: pd.DataFrame,
    ml: MlArm | None,
    floors: FloorArms,
    moment: Moment,
    *,
    rule_arm: str,
    columns: tuple[str, ...],
) -> pd.DataFrame:
    """Let both arms speak of every event of a session.

    Parameters
    ----------
    rows : DataFrame (n_rows,)
        EVENTS with ``rule_score``, ``rule_action`` and the models' inputs, as known at the close.
    left_out : Series (n_rows,) of str
        Why the models may not be asked about a row (too little history); missing where they may.
    training : DataFrame
        Training rows: those of the version's window (or of one up to the close) say what is novel.
    ml : MlArm or None
    floors : FloorArms
        Fitted on what the version knew, or at the close if there is none.
    moment : Moment
    rule_arm : str
        Version of the rules behind ``rule_score``.
    columns : tuple of str
        Inputs that novelty looks at.

    Returns
    -------
    DataFrame
        ``SIGNALS``, in its order. The stage counts only where production's version spoke, and not for novel events.
    """
    if rows.empty:
        return SIGNALS.empty()
    silent = left_out.map(lambda reason: f"the model is not asked: {reason}", na_action="ignore").astype("object")
    if ml is None:
        silent[:] = NO_VERSION
    elif ml.unusable:
        silent[:] = ml.unusable
    asked = silent.isna().to_numpy()
    p_ml, spread = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    if ml is not None and asked.any():
        p_ml[asked], spread[asked] = _ask(ml, rows[asked])
    stage_share = moment.stage_share if ml is not None and ml.channel == PRODUCTION else 0.0
    answers = floors.predict(rows)
    p_rules = answers[P_RULES]
    before, days = (moment.close, Procedure.training_days) if ml is None else (ml.as_of, ml.training_days)
    usual = training["ts"].between(before - pd.Timedelta(days=days), before, inclusive="left")
    novelty = _novelty(training[usual.to_numpy()], rows, columns)
    # As the server has it: an event unlike those of training is answered by the rules, whatever the model says.
    heard = np.where(novelty < NOVEL_BELOW, np.nan, p_ml)
    p_blend, weight = blend_probabilities(heard, p_rules, stage_share=stage_share, spread=spread)
    spoke = {name: getattr(ml, name, None) for name in ("channel", "version_id", "procedure_id")}
    signals = rows[["symbol", "ts", "direction", "rule_score", "rule_action"]].assign(
        session=pd.Series(moment.session, index=rows.index).astype("datetime64[us]"),
        fold=_text(moment.fold, rows),
        **{name: _text(value, rows) for name, value in spoke.items()},
        p_ml=p_ml,
        p_spread=spread,
        p_rules=p_rules,
        p_base_rate=answers[P_BASE_RATE],
        p_pattern_base_rate=answers[P_PATTERN_BASE_RATE],
        stage_share=stage_share,
        weight=weight,
        p_blend=p_blend,
        rule_arm=_text(rule_arm, rows),
        novelty_p=novelty,
        position_size=np.minimum(base_shares(p_blend), MAX_SHARE) * disagreement_factors(p_ml, p_rules),
        abstain_reason=silent.astype("str"),
        entry_due=pd.Series(moment.entry_due, index=rows.index).astype("datetime64[us, UTC]"),
    )
    return validate_signals(signals[SIGNALS.column_names].sort_values(list(LEDGER_SORT), ignore_index=True))


def _ask(ml: MlArm, rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Probability and spread of the members (n_rows,) of the served graph; float64."""
    session = single_thread_session(ml.onnx)
    p, members = session.run([OUTPUT_P, OUTPUT_P_MEMBERS], {INPUT: model_matrix(rows, ml.inputs)})
    return np.asarray(p, dtype="float64").reshape(-1), member_spread(np.asarray(members, dtype="float64"))


def _novelty(training: pd.DataFrame, rows: pd.DataFrame, columns: tuple[str, ...]) -> np.ndarray:
    """Share of training-like events that are as unlike as each row (n_rows,); NaN with too few to judge by."""
    if len(training) < MIN_ROWS:
        return np.full(len(rows), np.nan)
    scored = score_novelty(fit_novelty(training, columns), rows.reset_index(drop=True))
    return scored["novelty_p"].to_numpy()


def _text(value: str | None, rows: pd.DataFrame) -> pd.Series:
    return pd.Series(value, index=rows.index, dtype="str")
