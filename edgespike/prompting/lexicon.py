"""What people call things: terms that mean the same, and words that hint at a sensor.

`edgespike/data/lexicon.txt` was written by hand, a line a fact:

    = starboard, stbd
    = lounge, living room, sitting room
    ~ salinity: salty salt saline
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from edgespike.prompting.words import FUNCTION, common, ordinary, singular

Term = tuple[str, ...]
"""The words of a term, without plural endings."""

MAX_TERM = 3
"""Words of the longest term."""

_NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Lexicon:
    """`same`: the terms that a term may stand for; `hints`: the words of names that a word of a
    question hints at; `words`: all that stand in it, none of which is a typing error.
    """

    same: Mapping[Term, frozenset[Term]]
    hints: Mapping[str, frozenset[str]]
    words: frozenset[str] = _NOTHING

    def hinted(self, word: str) -> frozenset[str]:
        """What a word of a question, without its plural ending, hints at."""
        return self.hints.get(word, _NOTHING)

    def passes(self, word: str) -> bool:
        """Whether a word of a question names nothing: it is ordinary, and no real word that is
        merely written like an ordinary one ("tank" for "thank").
        """
        return ordinary(word) and (
            word in FUNCTION or common(word) or singular(word) not in self.words
        )


def read(lines: Iterable[str]) -> Lexicon:
    """The lexicon of some lines. Raises ValueError for a line that is neither kind."""
    same: dict[Term, set[Term]] = {}
    hints: dict[str, set[str]] = {}
    for line in lines:
        mark, _, rest = line.strip().partition(" ")
        if mark == "=":
            written = [tuple(term.split()) for term in rest.split(",")]
            terms = [tuple(map(singular, term)) for term in written]
            for said, term in zip(written, terms, strict=True):
                if _stands_out(said):
                    same.setdefault(term, set()).update(t for t in terms if t != term)
        elif mark == "~":
            head, _, words = rest.partition(":")
            for word in words.split():
                hints.setdefault(singular(word), set()).add(singular(head.strip()))
        elif mark and not mark.startswith("#"):
            raise ValueError(f"no line of a lexicon: {line}")
    heads = {head for some in hints.values() for head in some}
    return Lexicon(
        {term: frozenset(others) for term, others in same.items()},
        {word: frozenset(heads) for word, heads in hints.items()},
        frozenset({*hints, *heads, *(word for term in same for word in term)}),
    )


def _stands_out(words: Sequence[str]) -> bool:
    """Whether a question that has these words means something by them."""
    return not all(word in FUNCTION or common(word) for word in words)


@cache
def lexicon() -> Lexicon:
    """The lexicon that comes with the package."""
    text = (resources.files("edgespike") / "data" / "lexicon.txt").read_text("utf-8")
    return read(text.splitlines())
