"""The slow, obvious judge of an answer: it shares nothing with `edgespike.grounding`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from itertools import pairwise
from unicodedata import normalize

_HYPHENS = r"\-‐‑‒–−"
_MARK = re.compile(
    rf"(?<!\d)[.,:'’/](?!\d)|(?<=\d)[.,:'’/](?!\d)|(?<!\d)[,:'’/](?=\d)|[^\w\s.,:'’/{_HYPHENS}]"
)
_SIGNED = re.compile(rf"([{_HYPHENS}]?)(\d+(?:[.,]\d+)?)\D*")


def _words(text: str) -> list[str]:
    """Words in lower case; a mark between them is the word "·"."""
    plain = normalize("NFKC", text).lower()
    return re.sub(f"[{_HYPHENS}]", "-", _MARK.sub(" · ", plain)).split()


def _number(word: str) -> Decimal | None:
    found = _SIGNED.fullmatch(word)
    if found is None:
        return None
    size = Decimal(found[2].replace(",", "."))
    return -size if found[1] else size


def _is_figure(word: str) -> bool:
    return any(c.isnumeric() and not c.isalpha() for c in word)


def _is_lettered(word: str) -> bool:
    return any(c.isalpha() for c in word)


def invented(answer: str, shown: str, names: Iterable[str]) -> Iterator[str]:
    """Words of `answer` with a digit that stand neither in `shown` nor in `names`."""
    known, pairs = set(), set()
    for name in names:
        shown = shown.replace(name, " · ")
        known |= {word for word in _words(name) if _is_lettered(word)}
        pairs |= set(pairwise(_words(name)))
    figures = {word for word in _words(shown) if _is_figure(word)}
    numbers = {_number(word) for word in figures}
    known |= {word for word in figures if _number(word) is None}
    words = _words(answer)
    said = [word.rstrip("-") for word in words]
    for before, word, after in zip(["", *words], said, [*said[1:], ""], strict=False):
        if not _is_figure(word) or word.strip("-") in known:
            continue
        if (before, word) in pairs or (word, after) in pairs:
            continue
        number = _number(word)
        if number is not None and before == "minus":
            number = -number
        if number is None or number not in numbers:
            yield word
