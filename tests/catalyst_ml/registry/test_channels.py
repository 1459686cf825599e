"""Channels: one pointer, one order of moves, a history that nobody rewrites."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from catalyst_ml.errors import CatalystError, ConfigurationError, UnknownVersion
from catalyst_ml.registry import channels
from catalyst_ml.registry.channels import ChannelMove
from catalyst_ml.registry.lines import ModelLine
from tests.catalyst_ml.registry.registered_versions import GATE, LINE, published

pytestmark = pytest.mark.server


@pytest.fixture
def ids(database: Engine, tmp_path: Path) -> list[str]:
    """Three registered versions of one line."""
    return [published(database, tmp_path, seed=seed) for seed in range(3)]


def promote(engine: Engine, version_id: str, **changes: Any) -> ChannelMove:
    arguments: dict[str, Any] = {"reason": "weekly run", "actor": "test", "gate": GATE}
    return channels.promote(engine, LINE, version_id, **{**arguments, **changes})


def rollback(engine: Engine, to: str | None = None) -> ChannelMove:
    return channels.rollback(engine, LINE, reason="it lost money", actor="test", to=to)


def test_a_line_that_never_moved_is_on_the_rules(database: Engine) -> None:
    state = channels.current(database, LINE)
    assert (state.version_id, state.holder, state.sequence, state.updated_at) == (None, "rules", 0, None)
    assert channels.history(database) == []


def test_a_promotion_moves_the_pointer_and_keeps_who_why_and_the_gate(database: Engine, ids: list[str]) -> None:
    move = promote(database, ids[0], actor="weekly-training")
    assert (move.changed, move.previous_version_id, move.state.sequence) == (True, None, 1)
    assert channels.current(database, LINE) == move.state
    (entry,) = channels.history(database, LINE)
    assert (entry.version_id, entry.previous_version_id, entry.action) == (ids[0], None, "promote")
    assert (entry.reason, entry.actor, entry.forced, entry.gate) == ("weekly run", "weekly-training", False, GATE)
    assert entry.at == move.state.updated_at


@pytest.mark.parametrize("gate", [None, {}, {"verdict": "stay"}, {"verdict": "not_enough_evidence"}])
def test_without_the_gates_verdict_only_force_with_a_reason_promotes(
    database: Engine, ids: list[str], gate: dict[str, Any] | None
) -> None:
    with pytest.raises(ConfigurationError, match="a promotion needs 'promote'"):
        promote(database, ids[0], gate=gate)
    with pytest.raises(ConfigurationError, match="needs a reason"):
        promote(database, ids[0], gate=gate, forced=True, reason="  ")
    assert channels.history(database) == []
    assert promote(database, ids[0], gate=gate, forced=True, reason="the trader insists").changed
    (entry,) = channels.history(database)
    assert (entry.forced, entry.reason, entry.gate) == (True, "the trader insists", gate)


def test_force_that_was_not_needed_is_not_recorded_as_force(database: Engine, ids: list[str]) -> None:
    promote(database, ids[0], forced=True)
    assert [entry.forced for entry in channels.history(database)] == [False]


def test_promoting_what_is_there_already_changes_nothing_and_says_so(database: Engine, ids: list[str]) -> None:
    promote(database, ids[0])
    move = promote(database, ids[0])
    assert (move.changed, move.state.sequence) == (False, 1)
    assert "already" in move.message
    assert len(channels.history(database)) == 1


@pytest.mark.parametrize("other", [{"dataset": "catalyst"}, {"timeframe": "5m"}, {"label_version": "atr2"}])
def test_a_version_of_another_line_is_refused(
    database: Engine, tmp_path: Path, ids: list[str], other: dict[str, str]
) -> None:
    stranger = published(database, tmp_path, **other)
    with pytest.raises(ConfigurationError, match="belongs to"):
        promote(database, stranger)
    assert channels.current(database, LINE).sequence == 0
    assert channels.current(database, LINE._replace(**other)).version_id is None


def test_an_unknown_version_is_refused(database: Engine, ids: list[str]) -> None:
    with pytest.raises(UnknownVersion, match="Did you mean"):
        promote(database, ids[0][:-1])


def test_rolling_back_again_goes_further_back_until_the_rules(database: Engine, ids: list[str]) -> None:
    for version_id in ids:
        promote(database, version_id)
    held = [rollback(database).state.holder for _ in range(3)]
    assert held == [ids[1], ids[0], "rules"]
    last = rollback(database)
    assert (last.changed, last.state.sequence) == (False, 6)
    promote(database, ids[2])
    assert rollback(database).state.holder == "rules"


def test_rolling_back_to_a_named_version_or_the_rules(database: Engine, ids: list[str]) -> None:
    for version_id in ids:
        promote(database, version_id)
    assert rollback(database, ids[0]).state.holder == ids[0]
    assert rollback(database, "rules").state.holder == "rules"
    assert [entry.action for entry in channels.history(database)][3:] == ["rollback", "rollback"]


def test_a_version_that_never_was_in_production_is_no_rollback_target(database: Engine, ids: list[str]) -> None:
    promote(database, ids[0])
    with pytest.raises(ConfigurationError, match="never was in production"):
        rollback(database, ids[1])


def test_history_tells_who_was_in_production_at_any_moment(database: Engine, ids: list[str]) -> None:
    first = promote(database, ids[0]).state.updated_at
    second = rollback(database, "rules").state.updated_at
    assert first is not None
    assert second is not None
    assert channels.holder_at(database, LINE, first - timedelta(microseconds=1)) is None
    for moment, holder in ((first, ids[0]), (second - timedelta(microseconds=1), ids[0]), (second, None)):
        entry = channels.holder_at(database, LINE, moment)
        assert entry is not None
        assert entry.version_id == holder
    assert channels.holder_at(database, LINE._replace(dataset="catalyst"), second) is None
    with pytest.raises(ConfigurationError, match="no time zone"):
        channels.holder_at(database, LINE, datetime(2026, 6, 7))  # noqa: DTZ001 - the mistake under test


def test_shadow_is_a_channel_of_its_own_and_asks_no_gate(database: Engine, ids: list[str]) -> None:
    channels.enter_shadow(database, LINE, ids[0], reason="challenger", actor="test", gate={"verdict": "stay"})
    assert channels.current(database, LINE, channel="shadow").version_id == ids[0]
    assert channels.current(database, LINE).version_id is None
    assert [entry.action for entry in channels.history(database, LINE, channel="shadow")] == ["shadow"]
    assert [state.channel for state in channels.current_channels(database)] == ["shadow"]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE catalyst_ml.channel_history SET reason = 'nothing happened'",
        "DELETE FROM catalyst_ml.channel_history",
        "TRUNCATE catalyst_ml.channel_history",
    ],
)
def test_history_cannot_be_rewritten(database: Engine, ids: list[str], statement: str) -> None:
    promote(database, ids[0])
    with pytest.raises(DBAPIError, match="append-only"), database.begin() as connection:
        connection.execute(text(statement))
    assert len(channels.history(database)) == 1


def test_concurrent_promoters_make_one_chain_of_moves(database: Engine, ids: list[str]) -> None:
    def move(number: int) -> ChannelMove | None:
        try:
            return rollback(database) if number % 5 == 4 else promote(database, ids[number % 3])
        except CatalystError:
            return None

    with ThreadPoolExecutor(8) as pool:
        moves = [made for made in pool.map(move, range(60)) if made is not None]
    entries = channels.history(database, LINE)
    made = sorted(made.state.sequence for made in moves if made.changed)
    assert len(moves) == 60
    assert made == list(range(1, len(entries) + 1))
    held = [None, *(entry.version_id for entry in entries)]
    assert [entry.previous_version_id for entry in entries] == held[:-1]
    assert channels.current(database, LINE).version_id == held[-1]
    times = [entry.at for entry in entries]
    assert times == sorted(times)
    assert times[0].tzinfo is UTC


def test_the_first_move_of_a_line_is_safe_under_concurrent_promoters(database: Engine, ids: list[str]) -> None:
    with ThreadPoolExecutor(6) as pool:
        moves = list(pool.map(lambda _: promote(database, ids[0]), range(6)))
    assert [move.changed for move in moves].count(True) == 1
    assert len(channels.history(database)) == 1


def test_lines_do_not_see_each_other(database: Engine, tmp_path: Path, ids: list[str]) -> None:
    other = ModelLine("catalyst", "1d", LINE.label_version)
    promote(database, ids[0])
    assert channels.current(database, other).version_id is None
    assert channels.history(database, other) == []


def test_of_promoters_that_were_judged_against_the_same_holder_one_wins_and_the_others_say_so(
    database: Engine, ids: list[str]
) -> None:
    def compete(version_id: str) -> ChannelMove:
        return promote(database, version_id, actor=version_id, judged_against="rules")

    with ThreadPoolExecutor(3) as pool:
        moves = list(pool.map(compete, ids))
    winners = [move for move in moves if move.changed]
    losers = [move for move in moves if not move.changed]
    assert len(winners) == 1
    held = channels.current(database, LINE)
    assert (held.version_id, held.sequence) == (winners[0].state.version_id, 1)
    (entry,) = channels.history(database, LINE)
    assert (entry.version_id, entry.actor) == (held.version_id, held.version_id)
    assert {move.message for move in losers} == {
        f"not promoted: it was judged against rules, production holds {held.version_id}"
    }


def test_a_repeated_promotion_is_nothing_new_whatever_it_was_judged_against(database: Engine, ids: list[str]) -> None:
    promote(database, ids[0], judged_against="rules")
    again = promote(database, ids[0], judged_against="rules")
    assert (again.changed, again.state.version_id) == (False, ids[0])
    assert "already holds" in again.message


def test_promoters_and_rollbacks_at_once_are_recorded_in_the_order_in_which_they_held(
    database: Engine, ids: list[str]
) -> None:
    """Whatever the order was, each move starts where the one before it ended, and times rise with it."""

    def move(n: int) -> ChannelMove:
        return promote(database, ids[n % 3]) if n % 2 else rollback(database, "rules")

    with ThreadPoolExecutor(4) as pool:
        made = [one for one in pool.map(move, range(24)) if one.changed]
    entries = channels.history(database, LINE)
    assert len(entries) == len(made) == channels.current(database, LINE).sequence
    assert all(after.previous_version_id == before.version_id for before, after in pairwise(entries))
    assert all(before.at < after.at for before, after in pairwise(entries))
    assert entries[-1].version_id == channels.current(database, LINE).version_id
