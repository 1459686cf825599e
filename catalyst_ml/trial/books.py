"""Two books on the same events: what each arm holds in each session, and what it earned there.

Both arms stake one notional on the events they are surest of, at the same coverage, by thresholds frozen before each
week (``evaluation.trading``). Only events that both have scored count, and only from the first week on in which both
have a threshold. What is in a book was decided before the session it is marked in.
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


@dataclass(frozen=True)
class Books:
    """Both books, session by session.

    ``daily``: session (rising), and for ml and rules each: ``profit_`` (net, in notionals), ``gross_``, ``stake_``
    (notional decided at this session's close or during it), ``open_`` (notional marked in this session).
    ``positions``: event key, session, version_id, size_ml and size_rules of every event that both arms could trade.
    """

    daily: pd.DataFrame
    positions: pd.DataFrame

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
        Event key, session, version_id, size_ml, size_rules, in the order given.
    """
    both = signals[(signals[P_ML].notna() & signals[P_RULES].notna()).to_numpy()].reset_index(drop=True)
    sizes, judged = {}, np.ones(len(both), dtype=bool)
    # What became of the trades is not asked here, so nothing that is known later can enter.
    asked = both.assign(y=0, net_return=0.0)
    for arm, column in (("ml", P_ML), ("rules", P_RULES)):
        trades = trades_at_coverage(asked, column, coverage=coverage)
        sizes[f"size_{arm}"] = trades.rows["size"].to_numpy()
        judged &= trades.judged
    positions = both[[*EVENT_KEY, "session", "version_id"]].assign(**sizes)
    return positions[judged].reset_index(drop=True)


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
    row, held = _marks_of_positions(positions, marks)
    if sessions is None:
        sessions = pd.DatetimeIndex(np.union1d(positions["session"].to_numpy(), held["session"].to_numpy()))
    if len(positions):
        sessions = sessions[sessions >= positions["session"].min()]
    at_mark, at_decision = sessions.get_indexer(held["session"]), sessions.get_indexer(positions["session"])
    if (at_mark < 0).any() or (at_decision < 0).any():
        raise DataContractError("books: positions or marks lie in sessions that are not among those asked for.")
    daily = pd.DataFrame({"session": sessions})
    for arm in ("ml", "rules"):
        size = positions[f"size_{arm}"].to_numpy()
        of_mark = size[row]
        for name, where, values in (
            (f"profit_{arm}", at_mark, of_mark * held["net"].to_numpy()),
            (f"gross_{arm}", at_mark, of_mark * held["gross"].to_numpy()),
            (f"stake_{arm}", at_decision, size),
            (f"open_{arm}", at_mark, of_mark),
        ):
            daily[name] = np.bincount(where, weights=values, minlength=len(sessions))
    return Books(daily, positions)


def differences_by_version(books: Books, marks: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
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
    row, held = _marks_of_positions(positions, marks)
    code, versions = pd.factorize(positions["version_id"])
    at_mark = pd.DatetimeIndex(books.daily["session"]).get_indexer(held["session"])
    net = (positions["size_ml"] - positions["size_rules"]).to_numpy()[row] * held["net"].to_numpy()
    n_sessions, owned = len(books.daily), code[row] >= 0
    place = code[row][owned] * n_sessions + at_mark[owned]
    split = np.bincount(place, weights=net[owned], minlength=len(versions) * n_sessions)
    return np.asarray(versions), split.reshape(len(versions), n_sessions)


def _marks_of_positions(positions: pd.DataFrame, marks: pd.DataFrame) -> tuple[np.ndarray, pd.DataFrame]:
    """Row of the position behind each mark, and those marks."""
    key = list(EVENT_KEY)
    numbered = positions[key].assign(row=np.arange(len(positions)))
    held = marks[[*key, "session", "gross", "net"]].merge(numbered, on=key, how="inner", validate="many_to_one")
    return held["row"].to_numpy(), held
