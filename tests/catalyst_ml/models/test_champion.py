"""The champion's word on each row: from its own record, from its file after it was fitted, else none."""

import numpy as np
import pandas as pd

from catalyst_ml.evaluation.record import P_CHALLENGER
from catalyst_ml.frames import EVENT_KEY
from catalyst_ml.models.champion import champion_probabilities, score_served
from catalyst_ml.models.final_fit import fit_final
from catalyst_ml.models.onnx_graph import export
from catalyst_ml.models.preprocessing import model_matrix
from catalyst_ml.models.walk_forward import combine_folds, fit_fold


def served(make_training_set, make_fold, procedure):
    rows = make_training_set()
    sessions = np.sort(rows["session"].unique())
    middle = len(sessions) // 2
    fold = make_fold(rows, middle, middle + 5)
    combined = combine_folds([fit_fold(rows, fold, procedure, n_threads=1)], procedure)
    as_of = rows.loc[(rows["session"] == sessions[middle + 20]).to_numpy(), "ts"].max()
    fitted = fit_final(rows, procedure, combined.oof, as_of=as_of, n_threads=1)
    return rows, combined.record, fitted, export(fitted), as_of


def test_rows_come_from_the_record_or_from_the_file_and_never_from_rows_it_was_trained_on(
    make_training_set, make_fold, procedure
):
    rows, record, fitted, graph, as_of = served(make_training_set, make_fold, procedure)

    p = champion_probabilities(
        rows, champion_record=record, onnx_bytes=graph, inputs=procedure.inputs, champion_as_of=as_of
    )

    in_record = rows[list(EVENT_KEY)].merge(record[[*EVENT_KEY, P_CHALLENGER]], on=list(EVENT_KEY), how="left")
    is_recorded = in_record[P_CHALLENGER].notna().to_numpy()
    is_fresh = (rows["ts"] > as_of).to_numpy()
    assert is_recorded.any()
    assert is_fresh.any()
    np.testing.assert_allclose(p[is_recorded], in_record.loc[is_recorded, P_CHALLENGER])
    expected = fitted.predict(model_matrix(rows[is_fresh], procedure.inputs)).p
    np.testing.assert_allclose(p[is_fresh], expected, atol=1e-5)
    assert np.isnan(p[~is_recorded & ~is_fresh]).all()


def test_no_rows_need_no_session():
    assert score_served(b"not a graph", pd.DataFrame(), ("a",)).shape == (0,)
