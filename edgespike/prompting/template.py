"""How a model wants to be asked: its control pieces and budgets, carried by its container."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Protocol

from edgespike.errors import DataError

MARKS = (
    *("match", "before", "maybe", "unknown", "group", "all", "alarms", "silent", "kinds", "alarm"),
    *("stale", "value", "old", "none", "ok", "high", "low", "trend", "age", "since", "min", "max"),
    *("mean", "unit", "count", "state", "same", "more", "diff"),
)
"""What opens the lines of a focus and their facts; see `edgespike.prompting.focus`."""


class Encoder(Protocol):
    """What prompting needs of a tokenizer."""

    @property
    def bos_id(self) -> int: ...

    def encode(self, text: str) -> list[int]: ...

    def control(self, name: str) -> int: ...


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """How a model wants to be asked; a container carries its own as JSON.

    `system`, `end_system`, ... name control pieces; all of them empty means plain text with
    headings. `reading` is the control piece before each sensor line, or "" for lines that start
    with a dash. `preamble` is said before the readings. `budget` is the number of prompt tokens
    that the model was trained to read, `focus` how many of them may tell, right before a question,
    what matters to it, `frame` how many may show the whole picture before a single question.
    `marks`: the focus has the lines and control pieces of `edgespike.prompting.focus`; without,
    it is the channels that the question names.
    """

    system: str = "<|system|>"
    end_system: str = "<|endofsystem|>"
    user: str = "<|user|>"
    end_user: str = "<|endofuser|>"
    assistant: str = "<|assistant|>"
    stop: str = "<|endofassistant|>"
    reading: str = ""
    preamble: str = "Answer briefly, only from these sensor readings:"
    budget: int = 448
    focus: int = 25
    frame: int = 65536
    marks: bool = False

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> PromptTemplate:
        """Raises DataError when `text` is not a template."""
        try:
            facts = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"the prompt template is not JSON: {error}") from error
        known = {f.name: type(f.default) for f in fields(cls)}
        if not isinstance(facts, dict):
            raise DataError("the prompt template must be a JSON object")
        for name, value in facts.items():
            if name not in known:
                raise DataError(f"the prompt template has an unknown entry {name!r}")
            if type(value) is not known[name]:
                raise DataError(f"{name!r} in the prompt template must be a {known[name].__name__}")
        return cls(**facts)

    def controls(self) -> tuple[str, ...]:
        """The control pieces that this template needs."""
        named = (self.system, self.end_system, self.user, self.end_user, self.assistant, self.stop)
        marks = tuple(map(piece, MARKS)) if self.marks else ()
        return tuple(name for name in (*named, self.reading, *marks) if name)


def piece(mark: str) -> str:
    """The control piece of a mark."""
    return f"<|{mark}|>"


BUNDLED = PromptTemplate(
    reading="<|spike|>", preamble="", budget=320, focus=240, frame=0, marks=True
)
"""The template that `training` teaches: all that a question needs is in its focus."""

PLAIN = PromptTemplate(system="", end_system="", user="", end_user="", assistant="", stop="")
"""Headings in plain text, for models whose tokenizer has no chat pieces."""


def default_template(tokenizer: Encoder) -> PromptTemplate:
    """The template of a model that brings none: the public chat pieces, or else plain text."""
    template = PromptTemplate()
    try:
        for name in template.controls():
            tokenizer.control(name)
    except DataError:
        return PLAIN
    return template
