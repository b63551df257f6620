"""What counts as a right answer to a question."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from edgespike.grounding.figures import figures, folded, phrases

Measure = Literal["answer", "accept", "facts", "abstain"]

_ABSTAINS = re.compile(
    r"\bno (?:[\w'-]+ ){0,4}(?:sensor|channel|device)\b(?! (?:is|has|reports|in alarm))"
    r"|\bno such\b|\bno (?:data|information|idea|knowledge)\b|\bunknown\b"
    r"|\b(?:i|we) (?:can't|cannot|can not|couldn't|could not|don't|do not|am not|are not) (?:\w+ )?"
    r"(?:know|have|see|find|tell|say|answer|help|do|make|predict|able|aware)\b"
    r"|\b(?:can't|cannot|can not|unable to|can only) (?:be )?"
    r"(?:know|known|see|find|found|tell|told|say|said|answer|answered|help|read)\b"
    r"|\bnot (?:a|any|one of|among) (?:\w+ ){0,2}(?:sensor|channel|device)s?\b"
    r"|\b(?:doesn't|does not) exist\b|\b(?:isn't|is not) (?:a|any) (?:\w+ ){0,3}sensor\b"
)


def abstains(text: str) -> bool:
    """Whether an answer says that it doesn't know, or that there is no such sensor, in any of the
    usual ways.
    """
    return bool(_ABSTAINS.search(_plain(text)))


def _plain(text: str) -> str:
    return " ".join(folded(text).replace("\u2019", "'").split())


@dataclass(frozen=True, slots=True)
class Expected:
    """A right answer, by one of four measures.

    `answer`: the text, word for word. `accept`: one of `texts`, in any case, whatever the marks.
    `facts`: one of each group of `must` and none of `must_not` occur in it, numbers compared by
    value and words as whole words; the "no" of "there is no sensor called" is none of them.
    `abstain`: it says that it doesn't know, and none of `must_not`.
    """

    measure: Measure
    texts: tuple[str, ...] = ()
    must: tuple[tuple[str, ...], ...] = ()
    must_not: tuple[str, ...] = ()

    def met_by(self, text: str) -> bool:
        """Whether `text` is a right answer."""
        match self.measure:
            case "answer":
                return text in self.texts
            case "accept":
                return _words(text) in {_words(accepted) for accepted in self.texts}
            case "facts" | "abstain":
                said = _Said(text)
                if any(said.has(fact) for fact in self.must_not):
                    return False
                if self.measure == "abstain":
                    return abstains(text)
                return all(any(said.has(fact) for fact in group) for group in self.must)


class _Said:
    def __init__(self, text: str) -> None:
        self._text = _ABSTAINS.sub(" ; ", _plain(text))
        self._values = {figure.value for figure in figures(text) if figure.value is not None}

    def has(self, fact: str) -> bool:
        """Whether `fact`, a number or a phrase, occurs."""
        numbers = [figure for figure in figures(fact) if figure.text == fact]
        if numbers and numbers[0].value is not None:
            return numbers[0].value in self._values
        return bool(phrases([folded(fact)]).search(self._text))


def _words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"[\w.,-]*\w", folded(text)))
