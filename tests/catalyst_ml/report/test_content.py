"""The contract between run and report."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from catalyst_ml.report.content import EquityCurve, Estimate, ReportContent


def test_content_survives_being_stored_as_json(make_content):
    content = make_content("promote")

    assert ReportContent.model_validate_json(content.model_dump_json()) == content


@pytest.mark.parametrize("nan", [float("nan"), np.float64("nan"), np.float32("nan")])
def test_nan_becomes_a_missing_number(nan):
    assert Estimate(value=nan).value is None


def test_an_infinite_number_is_refused():
    with pytest.raises(ValidationError, match="finite"):
        Estimate(value=float("inf"))


def test_an_unknown_field_is_refused():
    with pytest.raises(ValidationError, match="Extra inputs"):
        Estimate.model_validate({"value": 1.0, "hi": 2.0})


def test_a_curve_needs_one_value_per_session():
    with pytest.raises(ValidationError, match="2 sessions but 1 values"):
        EquityCurve(arm="rules", sessions=["2026-01-02", "2026-01-05"], cumulative=[0.0])
