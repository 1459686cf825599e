"""The weekly procedure in memory, from a market to the gate's decision: what the flow does, without Prefect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pandas as pd

from catalyst_ml.evaluation.deflation import deflate
from catalyst_ml.evaluation.gate import ChampionInfo, DriftEvidence, GateDecision, GateEvidence, GatePolicy, decide
from catalyst_ml.evaluation.record import P_CHALLENGER, P_CHAMPION, P_RULES
from catalyst_ml.evaluation.splits import walk_forward_folds
from catalyst_ml.evaluation.trading import trades_at_coverage
from catalyst_ml.features.catalysts import add_catalysts
from catalyst_ml.features.engine import compute_features
from catalyst_ml.features.events import MODEL_INPUTS, model_input_version
from catalyst_ml.features.line_inputs import line_catalogue, line_event_inputs
from catalyst_ml.features.panel import MarketPanel
from catalyst_ml.features.training_set import build_training_set
from catalyst_ml.features.universe import add_universe_means
from catalyst_ml.frames import EVENT_KEY
from catalyst_ml.market import corporate_actions, detector, labels, rules
from catalyst_ml.market.calendar import TradingCalendar
from catalyst_ml.market.simulator import SimulatedMarket, simulate_market
from catalyst_ml.models.procedure import default_procedure
from catalyst_ml.models.walk_forward import combine_folds, fit_fold


@dataclass(frozen=True)
class ProcedureRun:
    """Record and decision of one market."""

    record: pd.DataFrame
    decision: GateDecision


def run_on_simulator(
    preset: str, *, seed: int, n_symbols: int = 120, profile: Literal["full", "fast"] = "fast", n_threads: int = 1
) -> ProcedureRun:
    """Simulate a market, walk the procedure forward through it and let the gate decide. Champion: the rules."""
    return run_procedure(simulate_market(preset, seed=seed, n_symbols=n_symbols), profile=profile, n_threads=n_threads)


def run_procedure(market: SimulatedMarket, *, profile: Literal["full", "fast"], n_threads: int) -> ProcedureRun:
    """Walk the procedure forward through ``market`` up to its last bar."""
    rows, as_of = training_rows(market.bars, market.instruments, market.news)
    procedure = default_procedure(
        MODEL_INPUTS,
        feature_set_version=model_input_version(),
        label_version=labels.LabelSpec().version,
        rule_arm=rules.rule_arm().version,
        profile=profile,
    )
    folds = walk_forward_folds(as_of=as_of, calendar=TradingCalendar())
    record = combine_folds([fit_fold(rows, fold, procedure, n_threads=n_threads) for fold in folds], procedure).record
    record = record.assign(**{P_CHAMPION: record[P_RULES]})
    decision = decide(
        record,
        policy=GatePolicy(),
        champion=ChampionInfo("rules"),
        challenger_procedure_id=procedure.procedure_id,
        # No graph is exported and no drift is planted: those are granted, only the statistics are on trial.
        evidence=GateEvidence(
            parity_max_abs_diff=0.0,
            latency_p99_ms=0.0,
            validation_passed=True,
            drift=DriftEvidence(questions=1),
            deflation=deflate(trades_at_coverage(record, P_CHALLENGER).daily_profit()),
        ),
    )
    return ProcedureRun(record, decision)


@dataclass(frozen=True)
class PreparedEvents:
    """Everything of a market's events that does not depend on the label: bars, events, rule scores, model inputs."""

    bars: pd.DataFrame
    instruments: pd.DataFrame
    events: pd.DataFrame
    scores: pd.DataFrame
    inputs: pd.DataFrame
    as_of: pd.Timestamp

    def labelled(self, spec: labels.AnyLabelSpec) -> pd.DataFrame:
        """Training rows with the outcomes of one label version that were settled at ``as_of``."""
        calendar = TradingCalendar()
        labelled = labels.label_events(
            self.events, self.bars, spec, calendar=calendar, as_of=self.as_of, instruments=self.instruments
        )
        columns = [name for name in self.inputs.columns if name not in EVENT_KEY]
        return build_training_set(
            self.events, labelled.labels, self.scores, self.inputs, calendar=calendar, columns=columns
        ).rows


def prepare_events(
    bars: pd.DataFrame, instruments: pd.DataFrame, news: pd.DataFrame, *, timeframe: str = "1d"
) -> PreparedEvents:
    """Raw bars to events with the models' inputs, as known at the last bar."""
    as_of = bars["ts"].max()
    bars = corporate_actions.adjust_for_splits(bars, as_of=as_of)
    events = detector.detect_events(bars, instruments, timeframe=timeframe)
    scores = rules.score_events(events, bars, news, timeframe=timeframe)
    calendar = None if timeframe == "1d" else TradingCalendar()
    panel = MarketPanel(bars=bars, instruments=instruments, news=news, calendar=calendar)
    rows = events[["symbol", "ts"]].drop_duplicates(ignore_index=True)
    features = compute_features(panel, rows, catalogue=line_catalogue(timeframe))
    inputs = line_event_inputs(events, add_catalysts(panel, add_universe_means(panel, features)), scores)
    return PreparedEvents(bars, instruments, events, scores, inputs, as_of)


def training_rows(
    bars: pd.DataFrame, instruments: pd.DataFrame, news: pd.DataFrame
) -> tuple[pd.DataFrame, pd.Timestamp]:
    """Bars to labelled training rows; returns them with the moment of the last bar."""
    prepared = prepare_events(bars, instruments, news)
    return prepared.labelled(labels.LabelSpec()), prepared.as_of
