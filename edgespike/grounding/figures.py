"""Numbers and names with digits, as they stand in a text.

A *figure* is a whole word that holds a digit: "121.5" is one figure, and "21.5" no part of it. One
that is written as a number has a value, so that "21.50" and "21,5" are the same; any other is an
identifier (`pump-07`, `0x00158d`, `1.5e-05`, a date) and is the same only where it is written the
same. Number words are words, but for "minus 3".
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache
from unicodedata import category, digit, normalize

HYPHENS = "-\u2010\u2011\u2012\u2013\u2212\ufe63\uff0d"
"""What people write for a hyphen or a minus sign."""

NEGATIONS = ("minus", "negative")
"""Words that stand for a minus sign."""

_HYPHEN = f"[{re.escape(HYPHENS)}]"
_SEPARATOR = r"[.,:/'\u2019]"
_JOINT = rf"(?:(?<=\d){_SEPARATOR}(?=\d)|\.(?=\d)|{_HYPHEN}(?=\w))"
_WORD = re.compile(rf"(?P<sign>(?<!\w){_HYPHEN})?(?P<word>(?:(?<!\w)\.(?=\d))?\w+(?:{_JOINT}\w+)*)")
_CORE = rf"\.?\d+(?:{_SEPARATOR}\d+)*"
_NUMBER = re.compile(rf"(?P<core>{_CORE})(?P<unit>(?:[^\W\d_]|{_HYPHEN}(?=[^\W\d_]))*)")
_RANGE = re.compile(rf"(?P<low>{_CORE}){_HYPHEN}(?P<high>{_CORE})[^\W\d_]*")
_HYPHENATED = str.maketrans(dict.fromkeys(HYPHENS, "-"))
_FINAL_SIGMA = str.maketrans("ς", "σ")  # the one letter whose lower case hangs on others


@dataclass(frozen=True, slots=True)
class Figure:
    """`text`, and of a number its `digits`, both as written, `negative`, and its `value`, which is
    None for an identifier.
    """

    text: str
    digits: str
    negative: bool
    value: str | None


def with_hyphens(text: str) -> str:
    """`text` with a plain hyphen for all that looks like one, character by character."""
    return text.translate(_HYPHENATED)


def folded(text: str) -> str:
    """`text` in lower case and with plain hyphens."""
    return with_hyphens(text.lower()).translate(_FINAL_SIGMA)


@lru_cache(1024)
def is_digit(char: str) -> bool:
    """Whether `char` is a digit, a fraction or another sign with a number in it, of any script."""
    return any(category(c)[0] == "N" for c in (char, *normalize("NFKD", char)))


def has_digit(text: str) -> bool:
    """Whether there is a digit in `text`."""
    if text.isascii() and text.isalpha():  # most words
        return False
    return any(map(is_digit, text))


def figures(text: str) -> Iterator[Figure]:
    """All figures of `text`, in order."""
    before, end = "", 0
    for match in _WORD.finditer(text):
        word = match["word"]
        negated = before.lower() in NEGATIONS and text[end : match.start()].isspace()
        before, end = word, match.end()
        if not has_digit(word):
            continue
        negative = negated or bool(match["sign"])
        written = (match["sign"] or "") + word
        # \d is a decimal digit of any script; what has another sign for a number is no number.
        plain = not any(category(c) in ("No", "Nl") for c in word)
        if plain and (found := _NUMBER.fullmatch(word)):
            yield _number(written, found["core"], negative)
        elif plain and (found := _RANGE.fullmatch(word)):
            yield _number(found["low"], found["low"], negative)
            yield _number(found["high"], found["high"], negative=False)
        else:
            yield Figure(word, "", negative=False, value=None)


def phrases(texts: Collection[str]) -> re.Pattern[str]:
    """Finds any of the folded `texts` as whole words, in any case, the longest first."""
    if not texts:
        return re.compile(r"(?!)")
    longest = sorted(texts, key=lambda phrase: (-len(phrase), phrase))
    either = "|".join(re.escape(phrase) for phrase in longest)
    return re.compile(
        rf"(?<!\w)(?<!\w-)(?:{either})(?!\w)(?![.,:/'\u2019]\d)(?!-\w)", re.IGNORECASE
    )


def _number(written: str, core: str, negative: bool) -> Figure:
    value = _value("".join(str(digit(c)) if c.isdecimal() else c for c in core))
    return Figure(written, core, negative, f"-{value}" if negative and value != "0" else value)


def _value(digits: str) -> str:
    """The number in one way of writing; as it is written where it can be read in two ways.

    "1,234" is such a number: 1234 to some, 1.234 to others.
    """
    separators = re.findall(r"\D", digits)
    whole, fraction = digits, ""
    if separators and set(separators) <= {".", ","}:
        groups = re.split(r"\D", digits)
        last = separators[-1]
        thousands = all(len(group) == 3 for group in groups[1:-1]) and 0 < len(groups[0]) <= 3
        if len(separators) == 1:
            if last == "," and len(groups[1]) == 3 and thousands and groups[0] != "0":
                return digits
            whole, fraction = groups
        elif len(set(separators)) == 1 and thousands and len(groups[-1]) == 3:
            whole = "".join(groups)
        elif separators.count(last) == 1 and len(set(separators)) == 2 and thousands:
            whole, fraction = "".join(groups[:-1]), groups[-1]
        else:
            return digits
    elif separators:
        return digits
    whole, fraction = whole.lstrip("0") or "0", fraction.rstrip("0")
    return f"{whole}.{fraction}" if fraction else whole
