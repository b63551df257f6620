"""Question sets: scenes with questions and their right answers, as JSON lines.

A line is one scene: `{"taken_at": s, "channels": [...], "questions": [{"family", "question",
"answer"}]}`. An entry of `channels` has the fields of ChannelView that differ from its defaults.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NoReturn, get_type_hints

from edgespike.errors import DataError, MissingInputError
from edgespike.sensing.picture import ChannelView, Picture

MAX_LINE_BYTES = 1 << 20
"""Bytes of one scene; a longer line is refused before it is parsed."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question about a picture, the family it belongs to and its right answer."""

    picture: Picture
    family: str
    question: str
    answer: str


def bundled_questions() -> Path:
    """The test set that ships: names, phrasings and scenes that training never showed."""
    return Path(__file__).parent.parent / "data" / "qa-test.jsonl"


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
        family, question, answer = (
            _entry(asked, name, (str,), at) for name in ("family", "question", "answer")
        )
        yield Question(picture, family, question, answer)


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
    if name == "number" or name.endswith("_s"):
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return value is None or (number and math.isfinite(value))
    if name in ("unit", "quantity"):
        return isinstance(value, str)
    return value is None or isinstance(value, str)
