"""How a model wants to be asked: its control pieces and budgets, carried by its container."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Protocol

from edgespike.errors import DataError


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
    that the model was trained to read.
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

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> PromptTemplate:
        """Raises DataError when `text` is not a template."""
        try:
            facts = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"the prompt template is not JSON: {error}") from error
        known = {f.name: int if f.name == "budget" else str for f in fields(cls)}
        if not isinstance(facts, dict):
            raise DataError("the prompt template must be a JSON object")
        for name, value in facts.items():
            if name not in known:
                raise DataError(f"the prompt template has an unknown entry {name!r}")
            if not isinstance(value, known[name]) or isinstance(value, bool):
                raise DataError(f"{name!r} in the prompt template must be a {known[name].__name__}")
        return cls(**facts)

    def controls(self) -> tuple[str, ...]:
        """The control pieces that this template needs."""
        named = (self.system, self.end_system, self.user, self.end_user, self.assistant, self.stop)
        return tuple(name for name in (*named, self.reading) if name)


BUNDLED = PromptTemplate(reading="<|spike|>", preamble="")
"""The template that `training` teaches: every reading opens with a control piece."""

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
