from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from catalyst_ml.errors import DataContractError
from catalyst_ml.trial.ledger_frames import LEDGER, OUTCOMES
from catalyst_ml.trial.settlement import due_revisions
from tests.catalyst_ml.trial.signal_rows import make_signals, outcomes_of

AS_OF = pd.Timestamp("2025-12-31T21:00", tz="UTC").as_unit("us")


def ledger_of(
    signals: pd.DataFrame, outcomes: pd.DataFrame | None = None, *, until: pd.Timestamp = AS_OF
) -> pd.DataFrame:
    """A ledger of these signals, settled by ``outcomes`` with what was known until a moment."""
    frame = signals.assign(
        signal_id=np.arange(len(signals)) + 100,
        scored_at=signals["ts"],
        is_late=False,
        is_replay=False,
        run_id=pd.Series("r", index=signals.index, dtype="str"),
    )
    settled = LEDGER.empty().iloc[:0][["symbol", "ts", "direction", *OUTCOMES]] if outcomes is None else outcomes
    frame = frame.merge(settled, on=["symbol", "ts", "direction"], how="left")
    has = frame["y"].notna()
    frame = frame.assign(
        revision=np.where(has, 1.0, np.nan), bars_known_until=pd.Series(until, index=frame.index).where(has)
    ).astype({column.name: column.dtype for column in LEDGER.columns})
    return LEDGER.validate(frame.sort_values(list(LEDGER.sort), ignore_index=True))


def test_only_signals_with_an_outcome_are_due_and_foreign_outcomes_do_not_matter() -> None:
    signals = make_signals(3, 4)
    labels = outcomes_of(signals)
    known = labels[labels["symbol"] != "S0002"].reset_index(drop=True)
    ledger = ledger_of(signals[signals["symbol"] != "S0003"].reset_index(drop=True))

    due = due_revisions(ledger, known, as_of=AS_OF)

    assert len(due) == 6
    assert set(due["reason"]) == {"first"}
    assert due["changed"].isna().all()
    names = ledger.set_index("signal_id")["symbol"]
    assert set(names[due["signal_id"]]) == {"S0000", "S0001"}


def test_the_same_outcome_is_not_due_and_a_rounding_of_returns_is_the_same() -> None:
    signals = make_signals()
    labels = outcomes_of(signals)
    before = ledger_of(signals, labels, until=AS_OF - pd.Timedelta(days=1))

    assert due_revisions(before, labels, as_of=AS_OF).empty
    moved = labels.assign(net_return=labels["net_return"] + 1e-12, gross_return=labels["gross_return"] - 1e-12)
    assert due_revisions(before, moved, as_of=AS_OF).empty
    assert due_revisions(before, labels.iloc[:0], as_of=AS_OF).empty, "an outcome that is open again stays"


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("net_return", 0.5),
        ("outcome", "timeout"),
        ("label_end", pd.Timestamp("2025-12-30T21:00", tz="UTC").as_unit("us")),
    ],
)
def test_a_correction_names_the_column_that_changed_and_nothing_else(column: str, value: object) -> None:
    signals = make_signals()
    labels = outcomes_of(signals)
    before = ledger_of(signals, labels, until=AS_OF - pd.Timedelta(days=1))
    corrected = labels.copy()
    corrected.loc[3, column] = value

    (row,) = due_revisions(before, corrected, as_of=AS_OF).to_dict("records")

    assert (row["revision"], row["reason"]) == (2, "correction")
    (changed,) = json.loads(row["changed"]).items()
    held = labels.loc[3, column]
    plain = value.isoformat() if isinstance(value, pd.Timestamp) else value
    assert changed == (column, [held.isoformat() if isinstance(held, pd.Timestamp) else held, plain])


def test_an_older_view_corrects_nothing() -> None:
    signals = make_signals()
    labels = outcomes_of(signals)
    after = ledger_of(signals, labels, until=AS_OF + pd.Timedelta(days=1))

    assert due_revisions(after, labels.assign(net_return=0.5), as_of=AS_OF).empty


def test_an_outcome_of_the_future_is_refused() -> None:
    signals = make_signals()
    labels = outcomes_of(signals)
    with pytest.raises(DataContractError, match=r"12 of 12 outcomes end after as_of 2025-11-28"):
        due_revisions(ledger_of(signals), labels, as_of=pd.Timestamp("2025-11-28T18:00", tz="UTC"))
