from __future__ import annotations

import numpy as np
import pandas as pd

from catalyst_ml.evaluation.permutation import permute_outcomes


def make_rows(n: int = 400, seed: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, size=n).astype("int8")
    return pd.DataFrame(
        {
            "session": rng.integers(0, 8, size=n),
            "direction": rng.choice([-1, 1], size=n),
            "y": y,
            "net_return": np.where(y == 1, 0.02, -0.01) + 1e-6 * np.arange(n),
            "label_end": np.arange(n),
            "signal": rng.normal(size=n),
        }
    )


def test_outcomes_move_within_their_group_only_and_none_is_lost() -> None:
    rows = make_rows()
    dealt = permute_outcomes(rows, seed=3)
    keys = ["session", "direction"]
    for key, group in rows.groupby(keys):
        mine = dealt[(dealt[keys] == list(key)).all(axis=1)]
        assert sorted(mine["net_return"]) == sorted(group["net_return"])
    assert (dealt["y"] != rows["y"]).mean() > 0.3


def test_an_outcome_takes_its_money_along_and_everything_else_stays() -> None:
    rows = make_rows()
    dealt = permute_outcomes(rows, seed=3)
    assert ((dealt["net_return"] > 0) == (dealt["y"] == 1)).all()
    pd.testing.assert_frame_equal(dealt.drop(columns=["y", "net_return"]), rows.drop(columns=["y", "net_return"]))


def test_without_groups_outcomes_cross_days_and_directions() -> None:
    rows = make_rows()
    dealt = permute_outcomes(rows, within=(), seed=3)
    assert dealt["y"].sum() == rows["y"].sum()
    successes = rows.groupby("session")["y"].sum()
    assert (dealt.groupby("session")["y"].sum() != successes).any()


def test_a_row_is_as_likely_to_keep_its_place_as_to_take_any_other() -> None:
    rows = pd.DataFrame({"session": [1, 1, 1], "direction": [1, 1, 1], "y": [0, 0, 1]})
    places = [int(permute_outcomes(rows, seed=seed)["y"].to_numpy().argmax()) for seed in range(600)]
    counts = np.bincount(places, minlength=3)
    assert counts.min() > 150  # 200 expected each, standard deviation 12
