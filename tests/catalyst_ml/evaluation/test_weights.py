import numpy as np
import pandas as pd
import pytest

from catalyst_ml.evaluation.weights import (
    design_effect,
    effective_sample_size,
    recency_weights,
    sample_weights,
    uniqueness_weights,
)

DAYS = pd.date_range("2024-01-01 21:00", periods=40, tz="UTC")


def make_labels(seed: int, n: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    start = rng.integers(0, 30, size=n)
    return pd.DataFrame(
        {
            "symbol": rng.choice(["A", "B", "C"], size=n),
            "ts": DAYS[start],
            "label_end": DAYS[start + rng.integers(1, 6, size=n)],
        }
    )


def uniqueness_by_loops(labels: pd.DataFrame) -> list[float]:
    """Second opinion: count, bar by bar, who else of the symbol is alive."""
    weights = []
    for row in labels.itertuples():
        others = labels[labels["symbol"] == row.symbol]
        bars = [t for t in DAYS if row.ts < t <= row.label_end]
        shares = [1.0 / sum((o.ts < t) and (t <= o.label_end) for o in others.itertuples()) for t in bars]
        weights.append(float(np.mean(shares)))
    return weights


@pytest.mark.parametrize("seed", range(3))
def test_uniqueness_agrees_with_counting_bar_by_bar(seed):
    labels = make_labels(seed)

    weights = uniqueness_weights(labels["ts"], labels["label_end"], labels["symbol"], bar_times=DAYS)

    np.testing.assert_allclose(weights, uniqueness_by_loops(labels), rtol=1e-12)


def test_labels_that_follow_each_other_are_unique_and_twins_share():
    labels = pd.DataFrame(
        {
            "symbol": ["A", "A", "B", "B"],
            "ts": DAYS[[0, 2, 0, 0]],
            "label_end": DAYS[[2, 4, 2, 2]],
        }
    )

    weights = uniqueness_weights(labels["ts"], labels["label_end"], labels["symbol"])

    np.testing.assert_allclose(weights, [1.0, 1.0, 0.5, 0.5])


def test_a_row_one_half_life_old_counts_half():
    weights = recency_weights(pd.Series(DAYS[[0, 10]]), DAYS[10], half_life_days=10)

    np.testing.assert_allclose(weights, [0.5, 1.0])


def test_sample_weights_have_mean_one_and_multiply_both_ideas():
    labels = make_labels(5)
    as_of = DAYS[-1]

    weights = sample_weights(labels, as_of=as_of, half_life_days=20)

    unique = uniqueness_weights(labels["ts"], labels["label_end"], labels["symbol"])
    product = unique * recency_weights(labels["ts"], as_of, 20)
    assert weights.mean() == pytest.approx(1.0)
    np.testing.assert_allclose(weights / weights[0], product / product[0])


def test_rows_that_repeat_their_session_are_worth_one_each():
    session = np.repeat(np.arange(30), 20)
    values = np.repeat(np.random.default_rng(0).standard_normal(30), 20)

    effect = design_effect(values, session)

    assert effect.intra_session_correlation == pytest.approx(1.0)
    assert effect.n_eff == pytest.approx(30)


def test_independent_rows_keep_nearly_their_number():
    session = np.repeat(np.arange(200), 20)
    values = np.random.default_rng(1).standard_normal(4_000)

    assert effective_sample_size(values, session) > 3_400


def test_the_effective_size_predicts_the_real_error_of_a_mean():
    rng = np.random.default_rng(2)
    session = np.repeat(np.arange(60), 50)
    draws = rng.standard_normal((400, 60)).repeat(50, axis=1) * 0.4 + rng.standard_normal((400, 3_000))

    predicted = np.median([draws[k].var() / effective_sample_size(draws[k], session) for k in range(60)])

    assert predicted == pytest.approx(draws.mean(axis=1).var(), rel=0.25)


def test_nothing_is_worth_nothing():
    empty = make_labels(0, n=1).iloc[:0]

    assert len(sample_weights(empty, as_of=DAYS[-1])) == 0
    assert effective_sample_size(np.array([]), np.array([])) == 0.0
