from __future__ import annotations

from dataclasses import replace

import pytest

from catalyst_ml.errors import ConfigurationError
from catalyst_ml.models.procedure import NetSettings, Procedure, default_procedure


def test_the_id_survives_json_and_changes_with_any_parameter(procedure: Procedure) -> None:
    assert Procedure.from_dict(procedure.to_dict()) == procedure
    variants = [
        procedure,
        replace(procedure, seed=1),
        replace(procedure, inputs=procedure.inputs[::-1]),
        replace(procedure, net=NetSettings(hidden=(8,))),
        replace(procedure, label_version="other"),
        replace(procedure, rule_arm="other"),
    ]
    assert len({v.procedure_id for v in variants}) == len(variants)


def test_full_and_fast_profiles_are_different_procedures() -> None:
    full, fast = (
        default_procedure(("a",), feature_set_version="1", label_version="1", profile=p) for p in ("full", "fast")
    )
    assert full.procedure_id != fast.procedure_id
    assert full.members == fast.members


@pytest.mark.parametrize("members", [("logistic",), ("base_rate", "oracle"), ("base_rate", "base_rate")])
def test_members_without_a_base_rate_unknown_or_repeated_are_refused(
    procedure: Procedure, members: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigurationError, match="expected distinct names"):
        replace(procedure, members=members)


def test_repeated_inputs_are_refused(procedure: Procedure) -> None:
    with pytest.raises(ConfigurationError, match="each named once"):
        replace(procedure, inputs=("a", "a"))


def test_a_procedure_kept_from_before_the_rule_arm_was_recorded_can_be_read(procedure: Procedure) -> None:
    stored = procedure.to_dict()
    del stored["rule_arm"]
    assert Procedure.from_dict(stored).rule_arm == ""
