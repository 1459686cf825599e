import doctest
import subprocess
import sys

import numpy as np
import pytest

from catalyst_ml.trial import sizing
from catalyst_ml.trial.sizing import base_shares, disagreement, disagreement_factors, suggest_size


def test_upstreams_rule_is_two_percent_times_twice_the_confidence_at_most_once():
    assert base_shares(np.array([0.0, 0.25, 0.5, 0.9, np.nan])) == pytest.approx([0.0, 0.01, 0.02, 0.02, 0.0])


@pytest.mark.parametrize(
    ("p_ml", "p_rules", "verdict"),
    [
        (0.62, 0.58, "full"),
        (0.70, 0.60, "halved"),  # 10 points apart, both for the trade
        (0.52, 0.49, "full"),  # on different sides, but hardly apart
        (0.53, 0.48, "halved"),
        (0.60, 0.45, "abstain"),
        (0.40, 0.60, "abstain"),
        (0.80, 0.55, "halved"),  # far apart, but both for the trade
        (0.50, 0.70, "halved"),  # one half is nobody's side
    ],
)
def test_arms_that_disagree_halve_the_stake_or_end_it(p_ml, p_rules, verdict):
    found = disagreement(p_ml, p_rules)

    assert found.verdict == verdict
    assert disagreement_factors(p_ml, p_rules) == {"full": 1.0, "halved": 0.5, "abstain": 0.0}[verdict]
    assert f"model {p_ml:.2f}, rules {p_rules:.2f}" in found.reason


def test_one_arm_alone_disagrees_with_nobody():
    assert disagreement(None, 0.6).verdict == "full"
    assert disagreement(0.6, float("nan")).gap is None


def test_a_suggestion_stays_below_the_rules_caps(monkeypatch):
    monkeypatch.setattr(sizing, "BASE_SHARE", 0.5)

    assert suggest_size(0.9).share == 0.20
    assert suggest_size(0.9, is_pre_market=True).share == 0.10
    assert suggest_size(0.9, p_ml=0.9, p_rules=0.7).share == 0.10


def test_no_confidence_and_no_free_place_mean_no_stake():
    assert suggest_size(None).share == 0.0
    assert suggest_size(float("nan")).share == 0.0
    assert suggest_size(0.9, open_positions=5).share == 0.0
    assert suggest_size(0.9, open_positions=4).share == 0.02
    with pytest.raises(ValueError, match="confidence 64"):
        suggest_size(64.0)
    with pytest.raises(ValueError, match="-1 open positions"):
        suggest_size(0.6, open_positions=-1)


def test_the_server_gets_blending_and_sizing_without_pandas():
    asked = "import sys, catalyst_ml.trial.blending, catalyst_ml.trial.sizing; print('pandas' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)

    assert said.stdout.strip() == "False"


def test_the_examples_in_the_docstrings_are_true():
    assert doctest.testmod(sys.modules[sizing.__name__]).failed == 0


def test_one_suggestion_is_that_of_many_at_once():
    rng = np.random.default_rng(0)
    p = np.round(rng.random((500, 3)), 2)  # on the hundredths, where the bounds lie

    alone = [suggest_size(confidence, p_ml=ml, p_rules=rules).share for confidence, ml, rules in p.tolist()]

    assert alone == pytest.approx((base_shares(p[:, 0]) * disagreement_factors(p[:, 1], p[:, 2])).tolist(), abs=1e-15)
