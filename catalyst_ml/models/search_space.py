"""What the search may change of each member, within the deployable size.

Ranges are wide around the standing settings and bounded where they stop making sense: a penalty below one
per cent of the default is no penalty on rows of which 25 are worth one, and trees deeper than ten leave the file
too large.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from catalyst_ml.errors import DataContractError
from catalyst_ml.models.procedure import BoostingSettings, ForestSettings, LogisticSettings, NetSettings, Procedure

MemberSettings = LogisticSettings | BoostingSettings | ForestSettings | NetSettings

ROUNDS: tuple[int, ...] = (25, 50, 100, 150, 250, 400)
"""Boosting rounds looked at within one fit: where an inner block of time would have stopped."""


@dataclass(frozen=True)
class Choice:
    """A setting drawn from ``low`` to ``high``, evenly or by orders of magnitude, or from ``options``."""

    low: float = 0.0
    high: float = 0.0
    by_magnitude: bool = False
    is_whole: bool = False
    options: tuple[Any, ...] = ()


@dataclass(frozen=True)
class MemberSpace:
    """The searched settings of one member and the part of the procedure that they live in."""

    part: str
    choices: dict[str, Choice]


SPACES: dict[str, MemberSpace] = {
    "logistic": MemberSpace("logistic", {"l2": Choice(100.0, 30_000.0, by_magnitude=True)}),
    "xgboost": MemberSpace(
        "boosting",
        {
            "max_depth": Choice(2, 5, is_whole=True),
            "learning_rate": Choice(0.01, 0.1, by_magnitude=True),
            "min_leaf_share": Choice(0.002, 0.05, by_magnitude=True),
            "subsample": Choice(0.3, 0.9),
            "colsample_bytree": Choice(0.2, 0.9),
            "reg_lambda": Choice(10.0, 1_000.0, by_magnitude=True),
        },
    ),
    "forest": MemberSpace(
        "forest",
        {
            "max_depth": Choice(4, 10, is_whole=True),
            "min_leaf_share": Choice(0.0005, 0.02, by_magnitude=True),
            "colsample_bynode": Choice(0.1, 0.7),
            "reg_lambda": Choice(1.0, 100.0, by_magnitude=True),
        },
    ),
    "net": MemberSpace(
        "net",
        {
            "hidden": Choice(options=((16,), (32, 16), (64, 32))),
            "n_steps": Choice(50, 400, by_magnitude=True, is_whole=True),
            "learning_rate": Choice(0.001, 0.01, by_magnitude=True),
            "weight_decay": Choice(0.1, 10.0, by_magnitude=True),
            "dropout": Choice(0.0, 0.4),
        },
    ),
}
"""By member; the base rate has nothing to search."""


_SETTINGS: dict[str, type[Any]] = {
    "logistic": LogisticSettings,
    "boosting": BoostingSettings,
    "forest": ForestSettings,
    "net": NetSettings,
}


def settings_of(procedure: Procedure, member: str) -> MemberSettings:
    """Return the member's part of the procedure."""
    settings: MemberSettings = getattr(procedure, SPACES[member].part)
    return settings


def with_settings(procedure: Procedure, member: str, settings: MemberSettings) -> Procedure:
    """Return the procedure with the member's part replaced: another procedure, with an id of its own."""
    parts: dict[str, Any] = {SPACES[member].part: settings}
    return replace(procedure, **parts)


def settings_from(member: str, stored: Mapping[str, Any]) -> MemberSettings:
    """Return the settings that were kept as JSON, lists as tuples again.

    Raises
    ------
    DataContractError
        If they are not those of the member.
    """
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()}
    try:
        settings: MemberSettings = _SETTINGS[SPACES[member].part](**values)
    except TypeError as error:
        raise DataContractError(
            f"settings of {member}: expected those of {_SETTINGS[SPACES[member].part].__name__}, got {sorted(values)} "
            f"({error}). They were kept by another release; search again."
        ) from error
    return settings


def searched_values(settings: MemberSettings, member: str) -> dict[str, Any]:
    """Return the settings that the search may change, by name, cut to the range it looks at."""
    given = asdict(settings)
    return {name: _within(given[name], choice) for name, choice in SPACES[member].choices.items()}


def drawer(member: str) -> Callable[[Any], dict[str, Any]]:
    """Return a function that lets an Optuna trial draw one configuration of ``member``."""

    def draw(trial: Any) -> dict[str, Any]:
        return {name: _draw(trial, name, choice) for name, choice in SPACES[member].choices.items()}

    return draw


def as_trial(values: dict[str, Any], member: str) -> dict[str, Any]:
    """Return ``values`` as Optuna keeps them: options by their place, because it stores plain numbers only."""
    choices = SPACES[member].choices
    return {
        name: choices[name].options.index(value) if choices[name].options else value for name, value in values.items()
    }


def _draw(trial: Any, name: str, choice: Choice) -> Any:
    if choice.options:
        return choice.options[trial.suggest_int(name, 0, len(choice.options) - 1)]
    if choice.is_whole:
        return trial.suggest_int(name, int(choice.low), int(choice.high), log=choice.by_magnitude)
    return trial.suggest_float(name, choice.low, choice.high, log=choice.by_magnitude)


def _within(value: Any, choice: Choice) -> Any:
    if choice.options:
        return value if value in choice.options else choice.options[0]
    bounded = min(max(value, choice.low), choice.high)
    return int(bounded) if choice.is_whole else float(bounded)
