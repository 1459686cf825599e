"""Two books on the same events: what each arm holds in each session, and what it earned there.

Each arm wants the events it is surest of, at the same coverage, by thresholds frozen before each week
(``evaluation.trading``). Then their stakes are *matched*: at every decision moment both books stake the same total, so
the arm that wants more has each of its stakes cut in proportion, and if one wants nothing there, neither trades. Both
then pay the same costs, and no arm is ahead for trading less, or for being in the market on more days; what is left is
which events were chosen. Only events that both have scored count, from the first week on in which both have a
threshold. What is in a book was decided before the session it is marked in.

Why matched: docs/decisions/0031-trial.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from catalyst_ml.errors import DataContractError
from catalyst_ml.evaluation.trading import trades_at_coverage
from catalyst_ml.frames import EVENT_KEY

P_ML, P_RULES = "p_ml", "p_rules"
COVERAGE = 0.2
_SIZES = ("wanted_ml", "wanted_rules", "size_ml", "size_rules")


@dataclass(frozen=True)
class Books:
    """Both books, session by session.

    ``daily``: session (rising), ``stake`` (notional that each arm decided on in it), and for ml and rules each
    ``profit_`` (net, in notionals), ``wanted_`` (what it would have staked unmatched) and ``open_`` (notional marked in
    the session). ``positions``: see `take_positions`. ``mark_position``, ``mark_session`` and ``mark_net`` (n_marks,):
    of each mark that belongs to a position, the row of the position, that of the session in ``daily``, and what it
    earned.
    """

    daily: pd.DataFrame
    positions: pd.DataFrame
    mark_position: np.ndarray
    mark_session: np.ndarray
    mark_net: np.ndarray

    @property
    def difference(self) -> np.ndarray:
        """Profit of ML minus that of the rules in each session, in notionals (n_sessions,)."""
        return (self.daily["profit_ml"] - self.daily["profit_rules"]).to_numpy()


def take_positions(signals: pd.DataFrame, *, coverage: float = COVERAGE) -> pd.DataFrame:
    """Size each arm's position in every event that both arms scored and had a threshold for.

    Parameters
    ----------
    signals
        Event key, session, fold, version_id, p_ml and p_rules, in time order; p is missing where an arm had no answer.

    Returns
    -------
    DataFrame
        Event key, session, version_id, wanted_ml, wanted_rules (notional in [0, 1] that each arm would take) and
        size_ml, size_rules (after matching), in the order given.
    """
    both = signals[(signals[P_ML].notna() & signals[P_RULES].notna()).to_numpy()].reset_index(drop=True)
    if both.empty:
        # The thresholds want at least one fold.
        return both[[*EVENT_KEY, "session", "version_id"]].assign(**dict.fromkeys(_SIZES, 0.0))
    wanted, judged = {}, np.ones(len(both), dtype=bool)
    # What became of the trades is not asked here, so nothing that is known later can enter.
    asked = both.assign(y=0, net_return=0.0)
    for arm, column in (("ml", P_ML), ("rules", P_RULES)):
        trades = trades_at_coverage(asked, column, coverage=coverage)
        wanted[f"wanted_{arm}"] = trades.rows["size"].to_numpy()
        judged &= trades.judged
    positions = both[[*EVENT_KEY, "session", "version_id"]].assign(**wanted)
    return _matched(positions[judged].reset_index(drop=True))


def _matched(positions: pd.DataFrame) -> pd.DataFrame:
    """Cut the larger book of each decision moment to the stake of the smaller one.

    By moment and not by session: within a day, what an arm will want later is not known yet.
    """
    moment = pd.factorize(positions["ts"])[0]
    total = {arm: np.bincount(moment, weights=positions[f"wanted_{arm}"]) for arm in ("ml", "rules")}
    smaller = np.minimum(total["ml"], total["rules"])
    cut = {arm: np.divide(smaller, total[arm], out=np.zeros(len(smaller)), where=total[arm] > 0.0) for arm in total}
    return positions.assign(
        **{f"size_{arm}": positions[f"wanted_{arm}"].to_numpy() * cut[arm][moment] for arm in total}
    )


def keep_books(positions: pd.DataFrame, marks: pd.DataFrame, sessions: pd.DatetimeIndex | None = None) -> Books:
    """Add up each session's marks of what the arms hold.

    Parameters
    ----------
    positions
        From `take_positions`.
    marks : MARKS
        Those of events without a position are passed over.
    sessions : DatetimeIndex, optional
        Sessions to report, rising; by default those with a decision or a mark. Earlier ones than the first position's
        are left out.
    """
    key = list(EVENT_KEY)
    numbered = positions[key].assign(row=np.arange(len(positions)))
    held = marks[[*key, "session", "net"]].merge(numbered, on=key, how="inner", validate="many_to_one")
    row, net = held["row"].to_numpy(), held["net"].to_numpy()
    if sessions is None:
        sessions = pd.DatetimeIndex(np.union1d(positions["session"].to_numpy(), held["session"].to_numpy()))
    if len(positions):
        sessions = sessions[sessions >= positions["session"].min()]
    at_mark, at_decision = sessions.get_indexer(held["session"]), sessions.get_indexer(positions["session"])
    if (at_mark < 0).any() or (at_decision < 0).any():
        raise DataContractError("books: positions or marks lie in sessions that are not among those asked for.")
    n = len(sessions)
    stake = np.bincount(at_decision, weights=positions["size_ml"].to_numpy(), minlength=n)
    daily = pd.DataFrame({"session": sessions, "stake": stake})
    for arm in ("ml", "rules"):
        size = positions[f"size_{arm}"].to_numpy()[row]
        wanted = positions[f"wanted_{arm}"].to_numpy()
        daily[f"profit_{arm}"] = np.bincount(at_mark, weights=size * net, minlength=n)
        daily[f"wanted_{arm}"] = np.bincount(at_decision, weights=wanted, minlength=n)
        daily[f"open_{arm}"] = np.bincount(at_mark, weights=size, minlength=n)
    return Books(daily, positions, row, at_mark, net)


def differences_by_version(books: Books) -> tuple[np.ndarray, np.ndarray]:
    """Split each session's difference by the model version that had decided.

    Returns
    -------
    versions : array (n_versions,) of str
        In order of their first decision; events without a version are nobody's.
    differences : array (n_versions, n_sessions)
        On the sessions of ``books.daily``: marks of the ML positions that the version took, minus those of the rules'
        positions taken beside them.
    """
    positions = books.positions
    code, versions = pd.factorize(positions["version_id"])
    lead = (positions["size_ml"] - positions["size_rules"]).to_numpy()
    owner = code[books.mark_position]
    owned = owner >= 0
    n_sessions = len(books.daily)
    place = owner[owned] * n_sessions + books.mark_session[owned]
    earned = (lead[books.mark_position] * books.mark_net)[owned]
    split = np.bincount(place, weights=earned, minlength=len(versions) * n_sessions)
    return np.asarray(versions), split.reshape(len(versions), n_sessions)
