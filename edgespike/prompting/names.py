"""The names of channels as words that a question may mean."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from edgespike.prompting.association import CACHED
from edgespike.prompting.lexicon import lexicon
from edgespike.prompting.words import FUNCTION, common, cut, meanings, shortened


@dataclass(frozen=True, slots=True)
class Name:
    """Words of a name, and of what is known beside it (its quantity), as sets of meanings."""

    words: tuple[str, ...]
    needed: tuple[frozenset[str], ...]
    extra: frozenset[str]


NOWHERE = Name((), (), frozenset())


@lru_cache(maxsize=CACHED)
def name_of(name: str, quantity: str) -> Name:
    cuts = [w for w, _, _ in cut(name)]
    ends = {"in", "out"}.intersection((cuts[0], cuts[-1])) if len(cuts) > 1 else ()
    words = tuple(w for w in cuts if w not in FUNCTION or len(w) == 1 or w in ends) or tuple(cuts)
    extra = frozenset(m for w, _, _ in cut(quantity) for m in meanings(w))
    return Name(words, tuple(meanings(w) for w in words), extra)


def may_stand_for(name: str, word: str) -> bool:
    """Whether a word of a name that people don't say is short for `word`, or a compound that ends
    with it ("mosttank" for "tank").
    """
    compound = len(word) >= 4 and len(name) >= len(word) + 3 and name.endswith(word)
    if not compound and not shortened(word, name):
        return False
    return not common(name) and name not in FUNCTION and name not in lexicon().words


def glued(names: Iterable[Name]) -> dict[str, frozenset[str]]:
    """Neighbouring words of names written as one -> the words."""
    return {
        one + two: frozenset((one, two))
        for name in names
        for one, two in zip(name.words, name.words[1:], strict=False)
        if one.isalpha() and two.isalpha()
    }
