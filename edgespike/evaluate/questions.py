"""Question sets: scenes with questions and what counts as a right answer, as JSON lines.

A line is one scene: `{"taken_at": s, "channels": [...], "questions": [...]}`. An entry of
`channels` has the fields of ChannelView that differ from its defaults. A question is an object:

    "family"     what kind of question it is: scores are given for each
    "question"   its text
    "follows"    true: it goes on with the dialogue of the question before it (optional)

and one of these says what is right (see `Expected`):

    "answer"     the one right text, word for word
    "accept"     a list of right texts, whatever their case and marks
    "facts"      {"must": [...], "must_not": [...]}: numbers and phrases; an entry of `must` may be
                 a list of alternatives
    "abstain"    true: no sensor can tell, and the answer must say so; may be given with
                 {"facts": {"must_not": [...]}}
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NoReturn, get_type_hints

from edgespike.errors import DataError, MissingInputError
from edgespike.evaluate.expected import Expected
from edgespike.sensing.picture import ChannelView, Picture

_QUESTION = ("family", "question", "follows", "answer", "accept", "facts", "abstain")

MAX_LINE_BYTES = 1 << 20
"""Bytes of one scene; a longer line is refused before it is parsed."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question about a picture, the family it belongs to and what is right.

    `follows`: it goes on with the dialogue of the question before it.
    """

    picture: Picture
    family: str
    question: str
    expected: Expected
    follows: bool = False


SETS = {
    "test": "qa-test.jsonl",
    "others": "qa-others.jsonl",
    "everyday": "qa-everyday.jsonl",
}
"""The sets that ship: names, phrasings and scenes that training never showed, made by the same
program; and two written by hand, without knowledge of that program, the second in everyday words
about homes, farms, boats, plants and public places.
"""


def bundled_questions(name: str = "test") -> Path:
    """A set that ships, by its name in SETS."""
    return Path(__file__).parent.parent / "data" / SETS[name]


def load_questions(path: Path) -> Iterator[Question]:
    """Questions of a set, in its order.

    Raises MissingInputError, or DataError naming the file, the line and what is wrong in it.
    """
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                if line.strip():
                    yield from _scene(line, f"{path}:{number}")
    except OSError as error:
        raise MissingInputError(f"{path}: can't read the questions: {error.strerror}") from error


def _scene(line: bytes, where: str) -> Iterator[Question]:
    if len(line) > MAX_LINE_BYTES:
        raise DataError(f"{where}: longer than {MAX_LINE_BYTES} bytes")

    def refuse(constant: str) -> NoReturn:
        raise DataError(f"{where}: {constant} is not a value")

    try:
        facts = json.loads(line, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON: {error}") from error
    taken_at = _entry(facts, "taken_at", (int, float), where)
    channels = _entry(facts, "channels", (list,), where)
    questions = _entry(facts, "questions", (list,), where)
    if not math.isfinite(taken_at):
        raise DataError(f"{where}: taken_at must be a finite number of seconds")
    picture = Picture(
        taken_at=float(taken_at),
        channels=tuple(_channel(c, f"{where}: channel {i}") for i, c in enumerate(channels)),
    )
    for index, asked in enumerate(questions):
        at = f"{where}: question {index}"
        family, question = (_entry(asked, name, (str,), at) for name in ("family", "question"))
        unknown = [name for name in asked if name not in _QUESTION]
        if unknown:
            raise DataError(
                f"{at}: unknown entry {unknown[0][:40]!r}; known are {', '.join(_QUESTION)}"
            )
        follows = _flag(asked, "follows", at)
        if follows and index == 0:
            raise DataError(f"{at}: the first question of a scene follows none")
        yield Question(picture, family, question, _expected(asked, at), follows)


def _expected(asked: Any, where: str) -> Expected:
    abstain = _flag(asked, "abstain", where)
    given = [name for name in ("answer", "accept", "facts") if name in asked]
    if len(given) != (0 if abstain else 1) and not (abstain and given == ["facts"]):
        raise DataError(f"{where}: give one of answer, accept, facts, or abstain: true")
    if given == ["answer"]:
        return Expected("answer", texts=(_entry(asked, "answer", (str,), where),))
    if given == ["accept"]:
        return Expected("accept", texts=_texts(asked["accept"], f"{where}: accept"))
    facts = asked.get("facts", {})
    must, must_not = _facts(facts, f"{where}: facts")
    if not must and not abstain:
        raise DataError(f"{where}: facts: must needs at least one entry")
    return Expected("abstain" if abstain else "facts", must=must, must_not=must_not)


def _facts(facts: Any, where: str) -> tuple[tuple[tuple[str, ...], ...], tuple[str, ...]]:
    if not isinstance(facts, dict):
        raise DataError(f"{where}: must be a JSON object")
    for name in facts:
        if name not in ("must", "must_not"):
            raise DataError(f"{where}: unknown entry {name[:40]!r}; known are must, must_not")
    must = facts.get("must", [])
    if not isinstance(must, list):
        raise DataError(f"{where}: must: has to be a list")
    groups = tuple(
        (entry,) if isinstance(entry, str) and entry else _texts(entry, f"{where}: must")
        for entry in must
    )
    return groups, _texts(facts.get("must_not", []), f"{where}: must_not", least=0)


def _texts(value: Any, where: str, least: int = 1) -> tuple[str, ...]:
    if (
        not isinstance(value, list)
        or len(value) < least
        or not all(isinstance(text, str) and text for text in value)
    ):
        raise DataError(f"{where}: must be a list of texts, none of them empty")
    return tuple(value)


def _flag(facts: Any, name: str, where: str) -> bool:
    value = facts.get(name, False)
    if not isinstance(value, bool):
        raise DataError(f"{where}: {name} must be true or false")
    return value


def _entry(facts: Any, name: str, kinds: tuple[type, ...], where: str) -> Any:
    if not isinstance(facts, dict):
        raise DataError(f"{where}: must be a JSON object")
    value = facts.get(name)
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise DataError(f"{where}: {name} must be of type {kinds[-1].__name__}")
    return value


_CHANNEL_TYPES = get_type_hints(ChannelView)


def _channel(facts: Any, where: str) -> ChannelView:
    _entry(facts, "name", (str,), where)
    for name, value in facts.items():
        if name not in _CHANNEL_TYPES:
            known = ", ".join(field.name for field in fields(ChannelView))
            raise DataError(f"{where}: unknown entry {name[:40]!r}; known are {known}")
        if not _fits(name, value):
            raise DataError(f"{where}: {name} has the wrong type or value")
    return ChannelView(**facts)


def _fits(name: str, value: Any) -> bool:
    if name == "trend":
        return value in (None, "rising", "falling", "steady")
    if name == "limit":
        return value in (None, "ok", "low", "high")
    if name == "stale":
        return isinstance(value, bool)
    if name == "changes":
        return value is None or (isinstance(value, int) and not isinstance(value, bool))
    if name == "number" or name.endswith("_s"):
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return value is None or (number and math.isfinite(value))
    if name in ("unit", "quantity"):
        return isinstance(value, str)
    return value is None or isinstance(value, str)
