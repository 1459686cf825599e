import numpy as np
import pandas as pd
import pytest

from catalyst_ml.errors import DataContractError
from catalyst_ml.trial.books import differences_by_version, keep_books, take_positions
from tests.catalyst_ml.trial.records import COST, make_trial, sessions_of

SIGNALS, MARKS = make_trial(seed=3)


def test_both_arms_stake_the_same_at_every_decision_moment():
    positions = take_positions(SIGNALS)

    by_moment = positions.groupby("ts")[["size_ml", "size_rules", "wanted_ml", "wanted_rules"]].sum()
    np.testing.assert_allclose(by_moment["size_ml"], by_moment["size_rules"])
    np.testing.assert_allclose(by_moment["size_ml"], by_moment[["wanted_ml", "wanted_rules"]].min(axis=1))
    assert 0.15 < positions["wanted_ml"].mean() < 0.25
    assert (
        positions[["size_ml", "size_rules"]].to_numpy() <= positions[["wanted_ml", "wanted_rules"]].to_numpy()
    ).all()


def test_an_arm_that_trades_less_is_not_ahead_by_the_costs_it_saves():
    # Without moves only costs are left: an idle arm would be ahead of a busy one on every day.
    shy = SIGNALS.assign(
        p_ml=np.where(SIGNALS["session"] < sessions_of(60)[-1], SIGNALS["p_ml"], 0.5 * SIGNALS["p_ml"])
    )
    only_costs = MARKS.assign(gross=0.0, net=-MARKS["cost"])

    positions = take_positions(shy)
    books = keep_books(positions, only_costs)

    wanted = positions[["wanted_ml", "wanted_rules"]].sum()
    assert wanted["wanted_ml"] < 0.8 * wanted["wanted_rules"]
    np.testing.assert_allclose(books.difference, 0.0, atol=1e-15)
    assert books.daily["profit_rules"].sum() < 0.0


def test_the_books_equal_a_plain_loop():
    positions = take_positions(SIGNALS)
    books = keep_books(positions, MARKS)

    expected = {}
    held = {(p.symbol, p.ts, p.direction): p for p in positions.itertuples()}
    for mark in MARKS.itertuples():
        position = held.get((mark.symbol, mark.ts, mark.direction))
        if position is not None:
            day = expected.setdefault(mark.session, [0.0, 0.0, 0.0, 0.0])
            day[0] += position.size_ml * mark.net
            day[1] += position.size_rules * mark.net
            day[2] += position.size_ml
            day[3] += position.size_rules
    daily = books.daily.set_index("session")
    for session, (ml, rules, open_ml, open_rules) in expected.items():
        row = daily.loc[session]
        assert row["profit_ml"] == pytest.approx(ml, abs=1e-12)
        assert row["profit_rules"] == pytest.approx(rules, abs=1e-12)
        assert (row["open_ml"], row["open_rules"]) == pytest.approx((open_ml, open_rules))
    assert daily["stake"].sum() == pytest.approx(positions["size_ml"].sum())


def test_a_books_profit_is_the_net_return_of_its_settled_trades():
    positions = take_positions(SIGNALS)
    settled = positions.merge(SIGNALS[["symbol", "ts", "direction", "net_return"]]).dropna()
    only = positions.merge(settled[["symbol", "ts", "direction"]])

    books = keep_books(only, MARKS)

    assert books.daily["profit_ml"].sum() == pytest.approx(float((settled["size_ml"] * settled["net_return"]).sum()))
    assert COST > 0.0


def test_events_that_one_arm_did_not_score_are_nobodys():
    silent = SIGNALS["symbol"].isin(["S001", "S002"])
    positions = take_positions(SIGNALS.assign(p_ml=SIGNALS["p_ml"].where(~silent)))

    assert not positions["symbol"].isin(["S001", "S002"]).any()
    assert take_positions(SIGNALS.assign(p_ml=np.nan)).empty


def test_positions_do_not_change_when_the_future_does():
    cut = sessions_of(70)[-1]
    late = (SIGNALS["session"] > cut).to_numpy()
    altered = SIGNALS.assign(p_ml=np.where(late, 0.99, SIGNALS["p_ml"]), y=0.0, net_return=-1.0)

    before, after = take_positions(SIGNALS), take_positions(altered)

    known = (before["session"] <= cut).to_numpy()
    pd.testing.assert_frame_equal(before[known], after[: known.sum()])


def test_each_versions_difference_is_its_own_and_they_add_up():
    books = keep_books(take_positions(SIGNALS), MARKS)

    versions, split = differences_by_version(books)

    assert versions.tolist() == ["v00", "v01", "v02", "v03", "v04", "v05"]
    np.testing.assert_allclose(split.sum(axis=0), books.difference, atol=1e-12)
    # A version's trades outlive its weeks by the sessions they are held.
    begins = books.daily["session"].searchsorted(SIGNALS.loc[SIGNALS["version_id"] == "v01", "session"].min())
    assert np.flatnonzero(split[1])[[0, -1]].tolist() == [begins + 1, begins + 24]


def test_sessions_that_are_not_asked_for_are_not_dropped_in_silence():
    positions = take_positions(SIGNALS)
    with pytest.raises(DataContractError, match="not among those asked for"):
        keep_books(positions, MARKS, sessions_of(100))
