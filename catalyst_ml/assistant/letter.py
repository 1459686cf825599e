"""The letter: what Claude may say, how its sentences are checked, and how our numbers get into it.

A number appears only as ``{metric_id}`` and is rendered from the run's own value, so no figure in the report
can be invented. Names such as ``rsi_14`` may stand as they are if they are on the run's list of names. Any
other digit or number word refuses the whole letter, with the sentence named.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Paragraph = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=900)]
Points = Annotated[list[Paragraph], Field(max_length=6)]

_PLACEHOLDER = re.compile(r"\{([A-Za-z][A-Za-z0-9_.]*)\}")
_NAME = re.compile(r"[^\W\d]\w*", re.ASCII)
_WORD = re.compile(r"[a-z]+")
_NUMBER_GOES_ON = re.compile(r"[.,][^\s\"')\]”’]|\s*\{")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
_MAY_PRECEDE = frozenset(" \n\t([\"'“‘:;,/")
_MAY_FOLLOW = frozenset(" \n\t.,;:!?)]\"'”’—/")

_CARDINALS = (
    "zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|"
    "seventeen|eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|"
    "hundred|thousand|million|billion|trillion"
)
_ORDINALS = (
    "third|fourth|fifth|sixth|seventh|eighth|ninth|twelfth|"
    "twentieth|thirtieth|fortieth|fiftieth|sixtieth|seventieth|eightieth|ninetieth"
)
_NUMBER_WORD = re.compile(rf"(?:{_CARDINALS}|{_ORDINALS})+(?:s|th|ths|fold)?")
_QUANTITY_WORD = re.compile(
    r"hal(?:f|ves|ved|ving)|quarters?|dozens?|twice|thrice|(?:doubl|tripl|quadrupl)(?:e|es|ed|ing)|percents?|minus"
)
_PRONOUNS = frozenset({"ones"})
"""``the weaker ones`` counts nothing; ``first`` and ``second`` order arguments and are on no list here."""


class LetterDraft(BaseModel):
    """The structured answer asked of Claude. Text only; every figure is a ``{metric_id}``."""

    model_config = ConfigDict(extra="forbid")

    verdict_comment: Paragraph = Field(description="What this week's verdict means for the trader.")
    what_worked: Points = Field(description="What worked, each point with its metric.")
    what_failed: Points = Field(description="What failed, each point with its metric.")
    error_patterns: Points = Field(description="What the wrong predictions have in common.")
    feature_suggestions: Points = Field(description="Features worth trying, in words.")
    model_suggestions: Points = Field(description="Changes to models or training worth trying.")
    strategy_suggestions: Points = Field(description="Changes to how signals are used worth trying.")
    risks: Points = Field(description="What could make these numbers misleading.")


@dataclass(frozen=True)
class Metric:
    """A number of the run: value (None = not available), unit and what it measures, in words.

    ``unit`` is ``fraction`` (shown in per cent), ``count``, ``probability``, ``bp``, ``usd``, or any other
    word, which is printed after the number; empty for a plain number.
    """

    value: float | None
    unit: str
    label: str

    def text(self) -> str:
        """The number as printed everywhere, e.g. ``57.3 %``.

        >>> Metric(0.5731, "fraction", "accuracy").text(), Metric(12345, "count", "events").text()
        ('57.3 %', '12,345')
        """
        if self.value is None or not math.isfinite(self.value):
            return "not available"
        if self.unit == "fraction":
            return f"{100 * self.value:.1f} %"
        if self.unit == "count":
            return f"{self.value:,.0f}"
        if self.unit == "probability":
            return f"{self.value:.3f}"
        if self.unit == "bp":
            return f"{self.value:+.1f} bp"
        if self.unit == "usd":
            return f"${self.value:,.2f}" if self.value >= 0 else f"−${-self.value:,.2f}"
        return f"{self.value:.4g} {self.unit}".rstrip()


@dataclass(frozen=True)
class Letter:
    """The checked and rendered letter: plain text, ready to be escaped into the report."""

    verdict_comment: str
    what_worked: tuple[str, ...] = ()
    what_failed: tuple[str, ...] = ()
    error_patterns: tuple[str, ...] = ()
    feature_suggestions: tuple[str, ...] = ()
    model_suggestions: tuple[str, ...] = ()
    strategy_suggestions: tuple[str, ...] = ()
    risks: tuple[str, ...] = ()
    cited_metrics: tuple[str, ...] = field(default=())

    def paragraphs(self) -> tuple[str, ...]:
        """The letter as plain paragraphs: the comment first, then each part under its own words."""
        parts = (
            ("What worked", self.what_worked),
            ("What did not", self.what_failed),
            ("Patterns in the errors", self.error_patterns),
            ("Features to try", self.feature_suggestions),
            ("For the models", self.model_suggestions),
            ("For the strategy", self.strategy_suggestions),
            ("Risks", self.risks),
        )
        return (self.verdict_comment, *(f"{title}: {' '.join(lines)}" for title, lines in parts if lines))


@dataclass(frozen=True)
class LetterRefusal:
    """Why a letter is not shown: the sentence as Claude wrote it, and what is wrong with it."""

    sentence: str
    problem: str

    def __str__(self) -> str:
        return f"{self.problem}, in: “{self.sentence}”"


def check_letter(draft: LetterDraft, *, metrics: Mapping[str, Metric], names: frozenset[str]) -> Letter | LetterRefusal:
    """Return the rendered letter, or the first sentence that breaks a rule.

    Parameters
    ----------
    metrics : mapping of str to Metric
        The only numbers that may be cited, by id.
    names : frozenset of str
        Identifiers that may stand as they are although they hold digits, e.g. ``rsi_14``.

    Notes
    -----
    A metric must stand free: touching letters, digits, another metric or a sign would make a new number of
    it. Characters outside the Latin script and invisible ones are refused, because they can spell digits.
    """
    cited: dict[str, None] = {}
    rendered: dict[str, str | tuple[str, ...]] = {}
    for section, content in draft.model_dump().items():
        texts = [content] if isinstance(content, str) else content
        for sentence in (part for text in texts for part in _SENTENCE_END.split(text)):
            problem = _problem(sentence, metrics=metrics, names=names)
            if problem:
                return LetterRefusal(sentence=sentence, problem=f"{section}: {problem}")
            cited.update(dict.fromkeys(_PLACEHOLDER.findall(sentence)))
        filled = tuple(_PLACEHOLDER.sub(lambda match: metrics[match[1]].text(), text) for text in texts)
        rendered[section] = filled[0] if isinstance(content, str) else filled
    return Letter(**rendered, cited_metrics=tuple(cited))  # type: ignore[arg-type]


def _problem(sentence: str, *, metrics: Mapping[str, Metric], names: frozenset[str]) -> str | None:
    for match in _PLACEHOLDER.finditer(sentence):
        if match[1] not in metrics:
            return f"unknown metric {match[0]}"
        rest = sentence[match.end() :]
        before, after = sentence[: match.start()][-1:], rest[:1]
        if before not in _MAY_PRECEDE | {""} or after not in _MAY_FOLLOW | {""} or _NUMBER_GOES_ON.match(rest):
            return f"{match[0]} must stand free of signs, letters and other numbers"
    prose = _PLACEHOLDER.sub(" ", sentence)
    prose = _NAME.sub(lambda match: " " if match[0] in names else match[0], prose)
    return _bad_character(prose) or _number_word(prose)


def _bad_character(prose: str) -> str | None:
    # As written and as it would be read: the one shows a Roman numeral sign, the other a full-width digit.
    for character in prose + unicodedata.normalize("NFKC", prose):
        if character in "{}":
            return "braces that hold no metric"
        if character.isnumeric():
            return f"a number that is not a metric ({character!r})"
        category = unicodedata.category(character)
        if category[0] == "C" and character not in "\n\t":
            return f"an invisible character (U+{ord(character):04X})"
        if category[0] in "LM" and not unicodedata.name(character, "").startswith("LATIN"):
            return f"a character outside the Latin script ({character!r})"
    return None


def _number_word(prose: str) -> str | None:
    folded = unicodedata.normalize("NFKD", prose).casefold()
    for word in _WORD.findall(folded):
        if word not in _PRONOUNS and (_QUANTITY_WORD.fullmatch(word) or _NUMBER_WORD.fullmatch(word)):
            return f"a number in words ({word!r})"
    return None
