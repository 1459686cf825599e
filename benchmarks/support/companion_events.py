"""Do the companions' columns help the ensemble on events? The same folds, members and rows, with and without them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pandas as pd

from benchmarks.support.companion_market import Market
from catalyst_ml.evaluation.comparison import compare_log_loss
from catalyst_ml.evaluation.intervals import auc_within_interval
from catalyst_ml.evaluation.metrics import score_predictions
from catalyst_ml.evaluation.record import P_BASE_RATE, P_CHALLENGER, P_PATTERN_BASE_RATE
from catalyst_ml.evaluation.splits import walk_forward_folds
from catalyst_ml.features.catalysts import add_catalysts
from catalyst_ml.features.companion_columns import ALIGNED_COLUMNS, companions_at_events
from catalyst_ml.features.engine import compute_features
from catalyst_ml.features.events import MODEL_INPUTS, event_inputs, model_input_version
from catalyst_ml.features.training_set import build_training_set
from catalyst_ml.features.universe import add_universe_means
from catalyst_ml.frames import EVENT_KEY
from catalyst_ml.market import detector, labels, rules
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.models.procedure import Procedure
from catalyst_ml.models.walk_forward import combine_folds, fit_fold

WITHOUT, WITH = "p_without", "p_with"
FOLD_SESSIONS = 120
MEMBERS = ("base_rate", "logistic", "xgboost")
"""The honest floor and the strongest single member; forest and net would take ten times as long."""


def event_rows(market: Market, predictions: pd.DataFrame, label: str) -> pd.DataFrame:
    """Training set of events from the first prediction on, with the companions' columns; suspected breaks held out."""
    panel, calendar = market.panel, TradingCalendar()
    events = detector.detect_events(panel.bars, panel.instruments)
    events = events[events["ts"] >= predictions["ts"].min()].reset_index(drop=True)
    seen = events.merge(market.held_out, on=["symbol", "ts"], how="left", indicator=True)["_merge"].to_numpy()
    events = events[seen == "left_only"].reset_index(drop=True)
    settled = labels.label_events(
        events, panel.bars, labels.default_spec("1d", label), calendar=calendar, as_of=panel.bars["ts"].max(),
        instruments=panel.instruments,
    ).labels  # fmt: skip
    scores = rules.score_events(events, panel.bars, panel.news)
    features = compute_features(panel, events[["symbol", "ts"]].drop_duplicates(ignore_index=True))
    inputs = event_inputs(events, add_catalysts(panel, add_universe_means(panel, features)), scores)
    rows = build_training_set(events, settled, scores, inputs, calendar=calendar).rows
    columns = companions_at_events(rows, predictions)
    return rows.assign(**{name: columns[name].to_numpy() for name in ALIGNED_COLUMNS})


def compare_on_events(rows: pd.DataFrame, label: str, *, n_threads: int) -> dict[str, Any]:
    """Walk the procedure forward with and without the columns; every later fold is predicted by both.

    Returns
    -------
    dict
        Log-loss and AUC within day and direction of both, and ``gain``: the paired comparison of their log-losses per
        session (HAR t-test), positive if the columns help; ``without_columns`` and ``with_columns``: each against the
        base rate and the pattern base rate.
    """
    as_of = rows["label_end"].max()
    n_sessions = int(rows["session"].nunique())
    # Two years of training before the first fold, two folds of burn-in for weights and calibration.
    record = (n_sessions - 504 - 3 * FOLD_SESSIONS) // FOLD_SESSIONS * FOLD_SESSIONS
    folds = walk_forward_folds(
        as_of=as_of,
        calendar=TradingCalendar(),
        record_sessions=record,
        record_fold_sessions=FOLD_SESSIONS,
        burn_in_sessions=2 * FOLD_SESSIONS,
        burn_in_fold_sessions=FOLD_SESSIONS,
        history_start=rows["ts"].min(),
    )
    records = {}
    for name, inputs in ((WITHOUT, MODEL_INPUTS), (WITH, (*MODEL_INPUTS, *ALIGNED_COLUMNS))):
        procedure = Procedure(
            inputs=inputs,
            feature_set_version=model_input_version(),
            label_version=labels.default_spec("1d", label).version,
            rule_arm=rules.rule_arm().version,
            members=MEMBERS,
        )
        records[name] = combine_folds([fit_fold(rows, f, procedure, n_threads=n_threads) for f in folds], procedure)
    both = records[WITHOUT].record.rename(columns={P_CHALLENGER: WITHOUT})
    theirs = records[WITH].record
    if not both[list(EVENT_KEY)].equals(theirs[list(EVENT_KEY)]):
        raise AssertionError("the two walks predicted different rows")
    both = both.assign(**{WITH: theirs[P_CHALLENGER].to_numpy()})
    return {
        "label": label,
        "events": len(both),
        "sessions": int(both["session"].nunique()),
        "gain": compare_log_loss(both, WITH, WITHOUT).to_dict(),
        "without_columns": _scores(both, WITHOUT),
        "with_columns": _scores(both, WITH),
        "members": {
            name: compare_log_loss(
                both.assign(**{WITH: theirs[f"p_member_{name}"], WITHOUT: both[f"p_member_{name}"]}), WITH, WITHOUT
            ).to_dict()
            for name in MEMBERS
            if name != "base_rate"
        },
    }


def _scores(record: pd.DataFrame, column: str) -> dict[str, Any]:
    y, p = record["y"].to_numpy(), record[column].to_numpy()
    within = auc_within_interval(y, p, record["session"], record["direction"], level=0.95)
    return {
        "log_loss": score_predictions(y, p, record["session"], record["direction"]).log_loss,
        "auc_within_day_and_direction": asdict(within),
        "against_base_rate": compare_log_loss(record, column, P_BASE_RATE).to_dict(),
        "against_pattern_base_rate": compare_log_loss(record, column, P_PATTERN_BASE_RATE).to_dict(),
    }
