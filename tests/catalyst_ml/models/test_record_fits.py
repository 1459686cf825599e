"""Refits are the record's own fits, spread over it, and look at nothing they have learned from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from catalyst_ml.errors import DataContractError, InsufficientHistory
from catalyst_ml.evaluation.record import P_CHALLENGER
from catalyst_ml.frames import EVENT_KEY
from catalyst_ml.models.preprocessing import model_matrix
from catalyst_ml.models.procedure import Procedure
from catalyst_ml.models.record_fits import RecordFit, refit_record, require_unseen
from tests.catalyst_ml.models.walks import Walk, walk


@pytest.fixture(scope="module")
def walked() -> Walk:
    from catalyst_ml.models.procedure import default_procedure
    from tests.catalyst_ml.models.conftest import INPUTS

    fast = default_procedure(INPUTS, feature_set_version="test-1", label_version="test-1", profile="fast")
    return walk(fast, strength=0.8)


@pytest.fixture(scope="module")
def fits(walked: Walk) -> tuple[RecordFit, ...]:
    return refit_record(walked.rows, walked.folds, walked.procedure, walked.combined.oof, n_threads=2)


def test_a_refit_says_of_its_folds_rows_what_the_record_says(walked: Walk, fits: tuple[RecordFit, ...]) -> None:
    for fit in fits:
        own = fit.rows[(fit.rows["ts"] < fit.fold.test_end).to_numpy()]
        recorded = own[list(EVENT_KEY)].merge(walked.combined.record, on=list(EVENT_KEY), validate="one_to_one")

        p = fit.fitted.predict(model_matrix(own, walked.procedure.inputs)).p

        assert len(own) == 100
        assert p == pytest.approx(recorded[P_CHALLENGER].to_numpy(), abs=1e-12)


def test_fits_span_the_record_and_their_rows_come_after_them(walked: Walk, fits: tuple[RecordFit, ...]) -> None:
    record = walked.combined.record
    assert len(fits) == 4
    assert fits[0].rows["ts"].min() == record["ts"].min()
    assert fits[-1].rows["ts"].max() == record["ts"].max()
    assert [fit.rows["session"].nunique() for fit in fits] == [20] * 4
    for fit in fits:
        learned = walked.rows.loc[(walked.rows["label_end"] < fit.fold.known_before).to_numpy()]
        assert not set(learned.index) & set(fit.rows.index)
    require_unseen(fits)


def test_rows_a_fit_may_have_seen_are_refused(walked: Walk, fits: tuple[RecordFit, ...]) -> None:
    seen = walked.rows.loc[(walked.rows["ts"] <= fits[0].fitted.as_of).to_numpy()].tail(5)

    with pytest.raises(DataContractError, match="decided after the fit"):
        require_unseen([replace(fits[0], rows=seen)])
    with pytest.raises(DataContractError, match="decided after the fit"):
        require_unseen([replace(fits[0], rows=seen.head(0))])


def test_many_rows_are_drawn_from_and_a_short_record_has_fewer_fits(walked: Walk) -> None:
    cheap = replace(walked.procedure, members=("base_rate", "logistic"))
    some = refit_record(walked.rows, walked.folds, cheap, walked.combined.oof, n_fits=2, max_rows=50, n_threads=1)
    short = refit_record(walked.rows, walked.folds[:5], cheap, walked.combined.oof, n_threads=1)

    assert [len(fit.rows) for fit in some] == [50, 50]
    assert all(fit.rows["ts"].is_monotonic_increasing for fit in some)
    assert len(short) == 1
    assert short[0].rows["session"].nunique() == 15


def test_a_record_without_settled_rows_is_refused(walked: Walk, procedure: Procedure) -> None:
    with pytest.raises(InsufficientHistory, match="0 record folds"):
        refit_record(walked.rows, walked.folds[:2], procedure, walked.combined.oof, n_threads=1)
    early = walked.rows.head(500)
    with pytest.raises(InsufficientHistory, match="no settled row"):
        refit_record(early, walked.folds, procedure, walked.combined.oof, n_threads=1)


def test_members_left_out_of_the_ensemble_are_kept_for_their_costs(walked: Walk, fits: tuple[RecordFit, ...]) -> None:
    assert tuple(fits[0].members.members) == walked.procedure.members
    assert np.all([set(fit.fitted.members) <= set(fit.members.members) for fit in fits])
