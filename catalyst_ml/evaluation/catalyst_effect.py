"""Do patterns with news succeed more often? Success rates with news against without, on the same day and side.

Upstream's hypothesis is "patterns with catalysts succeed twice as often". News comes in seasons and on wild days, and
rows of one day move together; so every event with news is compared with the events of the same session and direction
that have none. Only rows count for which a news source was listening: where none was, an absent story says nothing.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from catalyst_ml.errors import DataContractError
from catalyst_ml.evaluation.intervals import MIN_SESSIONS, ScoreInterval, mean_interval
from catalyst_ml.evaluation.metrics import CATALYST_COLUMN
from catalyst_ml.evaluation.weights import effective_sample_size
from catalyst_ml.features.catalysts import NEWS_COVERED

HYPOTHESIS_RATIO = 2.0
"""Upstream reference, section 5: "patterns with catalysts succeed twice as often"."""


@dataclass(frozen=True)
class CatalystEffect:
    """Success with news against success without, matched by session and direction; intervals at ``level``.

    ``n_with``: covered events with news that have at least one peer, worth ``n_eff`` independent ones; ``sessions``
    in which they lie. ``n_without``: their peers. ``n_unmatched``: covered events with news but without a peer;
    ``n_uncovered``: events left out because no source was listening. ``rate_without`` is the mean of the peers' rate,
    one for each event with news. ``difference`` in shares (0.02 is two points), ``ratio`` without unit,
    ``net_difference`` in fractions of the entry price. Values are None where nothing could be matched, bounds below 20
    sessions.
    """

    n_with: int
    n_eff: float
    n_without: int
    n_unmatched: int
    n_uncovered: int
    sessions: int
    rate_with: float | None
    rate_without: float | None
    difference: ScoreInterval
    ratio: ScoreInterval
    net_difference: ScoreInterval

    @property
    def words(self) -> str:
        """What the intervals say of "more often" and of "twice as often"."""
        low, high = self.ratio.low, self.ratio.high
        if low is None or high is None or self.difference.low is None or self.difference.high is None:
            return (
                f"not enough evidence: {self.n_with} events with news in {self.sessions} sessions can be compared, "
                f"{MIN_SESSIONS} sessions are needed"
            )
        if self.difference.low > 0.0:
            more = "events with news succeed more often"
        elif self.difference.high < 0.0:
            more = "events with news succeed less often"
        else:
            more = "no difference can be told from chance"
        twice = "is ruled out" if high < HYPOTHESIS_RATIO else "is not ruled out"
        return f"{more}; twice as often {twice}"

    def to_dict(self) -> dict[str, Any]:
        """Return the effect and its words as JSON."""
        return {**asdict(self), "words": self.words}


def catalyst_effect(
    rows: pd.DataFrame, *, has_news: np.ndarray | pd.Series | None = None, level: float = 0.90
) -> CatalystEffect:
    """Compare success with and without news on settled rows.

    Parameters
    ----------
    rows
        Columns session, direction, y, net_return, ``news_covered`` and ``news_present``; one row per event.
    has_news
        Mask (n_rows,) of another treatment than ``news_present``, e.g. one kind of news. Rows with news that are not
        in it are no peers either: peers have no news at all.

    Raises
    ------
    DataContractError
        If a column is missing.

    Notes
    -----
    Difference: mean over events with news of y − ȳ', where ȳ' is the rate of the peers. Ratio: R = Σy/Σȳ', by its
    linearisation (y − R·ȳ')/mean ȳ'. Both are means over events clustered by session, with the long-run variance of
    `intervals.mean_interval`: labels overlap for five sessions.
    """
    needed = ("session", "direction", "y", "net_return", NEWS_COVERED, CATALYST_COLUMN)
    absent = [name for name in needed if name not in rows.columns]
    if absent:
        raise DataContractError(f"catalyst effect: columns {absent} are missing. Hand in rows of the training set.")
    is_covered = rows[NEWS_COVERED].to_numpy() > 0.0
    any_news = rows[CATALYST_COLUMN].to_numpy() > 0.0
    treated = any_news if has_news is None else np.asarray(has_news, dtype=bool)
    known = rows.loc[is_covered, ["session", "direction", "y", "net_return"]]
    treated, is_peer = treated[is_covered], ~(any_news | treated)[is_covered]
    peers = known[is_peer].groupby(["session", "direction"])[["y", "net_return"]]
    means = peers.mean().assign(n_peers=peers.size()).rename(columns={"y": "y_peers", "net_return": "net_peers"})
    pairs = known[treated].merge(means, left_on=["session", "direction"], right_index=True, how="inner")
    y, y_peers = pairs["y"].to_numpy(dtype="float64"), pairs["y_peers"].to_numpy()
    session = pairs["session"]
    rate_with, rate_without = (float(v.mean()) if len(v) else None for v in (y, y_peers))
    compared = pairs.drop_duplicates(["session", "direction"])
    return CatalystEffect(
        n_with=len(pairs),
        n_eff=effective_sample_size(y - y_peers, session),
        n_without=int(compared["n_peers"].sum()),
        n_unmatched=int(treated.sum()) - len(pairs),
        n_uncovered=int((~is_covered).sum()),
        sessions=int(session.nunique()),
        rate_with=rate_with,
        rate_without=rate_without,
        difference=mean_interval(y - y_peers, session, level=level),
        ratio=_ratio(y, y_peers, session, level),
        net_difference=mean_interval((pairs["net_return"] - pairs["net_peers"]).to_numpy(), session, level=level),
    )


def _ratio(y: np.ndarray, y_peers: np.ndarray, session: pd.Series, level: float) -> ScoreInterval:
    if len(y) == 0 or y_peers.sum() == 0.0:
        return ScoreInterval(None, None, None, level)
    ratio = float(y.sum() / y_peers.sum())
    return mean_interval(ratio + (y - ratio * y_peers) / y_peers.mean(), session, level=level)
