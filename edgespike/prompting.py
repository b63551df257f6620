"""A question and a picture of the sensors -> the token ids to answer, within a token budget.

Pure: no clock, no files, the same input gives the same prompt. Text from outside (names, values,
questions) is encoded piece by piece as ordinary characters, so that it can't forge the control
pieces that mark where a reading, a question or an answer begins. The generator of the training
data writes its dialogues with these same functions: a model must be asked as it was trained.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Protocol

from edgespike.errors import DataError
from edgespike.sensing.picture import ChannelView, Picture

MAX_NAME = 64
"""Characters of a name, value or unit that reach the prompt; the rest is cut off."""

_WORD = re.compile(r"[^\W_]+")


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


@dataclass(frozen=True, slots=True)
class Prompt:
    """`ids` to feed, the same as readable `text`, and the channels in it and left out of it."""

    ids: list[int]
    text: str
    used: tuple[str, ...]
    left_out: tuple[str, ...]


def describe_age(seconds: float) -> str:
    """An age in its largest whole unit: "4 s", "12 min", "3 h", "2 days"."""
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {'day' if unit == 'days' and count == 1 else unit}"
    return f"{max(0, int(seconds))} s"


def clean(text: str) -> str:
    """One line of printable characters, at most MAX_NAME of them."""
    printable = "".join(c if c.isprintable() else " " for c in text[: 4 * MAX_NAME])
    return " ".join(printable.split())[:MAX_NAME]


def describe(channel: ChannelView) -> str:
    """One reading as a line: "kitchen temperature: 21.5 °C rising, ok 18 to 24, 4 s ago"."""
    name = clean(channel.name)
    if channel.text is None:
        return f"{name}: no reading"
    line = f"{name}: {clean(channel.text)}"
    if channel.unit:
        line += f" {clean(channel.unit)}"
    if channel.trend:
        line += f" {channel.trend}"
    low, high = clean(channel.low or ""), clean(channel.high or "")
    if channel.limit == "high":
        line += f", HIGH above {high}" if high else ", HIGH"
    elif channel.limit == "low":
        line += f", LOW below {low}" if low else ", LOW"
    elif channel.limit == "ok" and low and high:
        line += f", ok {low} to {high}"
    elif channel.limit == "ok" and (low or high):
        line += f", ok below {high}" if high else f", ok above {low}"
    if channel.stale:
        line += ", stale"
    if channel.age_s is not None:
        line += f", {describe_age(channel.age_s)} ago"
    return line


def rank(channels: Sequence[ChannelView], question: str) -> list[int]:
    """Indices of `channels`, the most relevant to `question` first, ties in their given order.

    A channel that the question names in full comes first, then alarms, then the others by the
    share of their name that the question mentions; a word counts the more, the fewer carry it.
    """
    asked = set(_WORD.findall(question.casefold()))
    words = [frozenset(_WORD.findall(channel.name.casefold())) for channel in channels]
    frequency = Counter(word for name in words for word in name)

    def key(index: int) -> tuple[bool, bool, float, int]:
        name, limit = words[index], channels[index].limit
        mentioned = name & asked
        share = 0.0
        if mentioned:
            share = sum(1 / frequency[w] for w in sorted(mentioned))
            share /= share + sum(1 / frequency[w] for w in sorted(name - asked))
        alarm = limit is not None and limit != "ok"
        return not (mentioned and mentioned == name), not alarm, -share, index

    return sorted(range(len(channels)), key=key)


@dataclass(frozen=True, slots=True)
class _Part:
    """Text and its ids; `text` of a control piece is its name."""

    ids: list[int]
    text: str


def _control(tokenizer: Encoder, name: str, heading: str = "") -> _Part:
    """A control piece, or the heading that stands for it in a plain template."""
    if name:
        return _Part([tokenizer.control(name)], name)
    return _Part(tokenizer.encode(heading) if heading else [], heading)


def _text(tokenizer: Encoder, text: str) -> _Part:
    return _Part(tokenizer.encode(text) if text else [], text)


def reading_part(tokenizer: Encoder, template: PromptTemplate, line: str) -> tuple[list[int], str]:
    """Ids and text of one reading."""
    if template.reading:
        return [tokenizer.control(template.reading), *tokenizer.encode(line)], (
            f"{template.reading}{line}"
        )
    return tokenizer.encode(f"\n- {line}"), f"\n- {line}"


def question_parts(
    tokenizer: Encoder, template: PromptTemplate, question: str
) -> tuple[list[int], str]:
    """Ids and text of a question and of the opening of its answer."""
    parts = (
        _control(tokenizer, template.user, "\n\nQuestion: "),
        _text(tokenizer, " ".join(question.split())),
        _control(tokenizer, template.end_user),
        _control(tokenizer, template.assistant, "\nAnswer:"),
    )
    return [i for part in parts for i in part.ids], "".join(part.text for part in parts)


def answer_part(tokenizer: Encoder, template: PromptTemplate, answer: str) -> list[int]:
    """Ids of an answer with its end, as a model is trained to continue `question_parts`."""
    return [*tokenizer.encode(answer), *_control(tokenizer, template.stop).ids]


def render(
    picture: Picture,
    question: str,
    *,
    tokenizer: Encoder,
    template: PromptTemplate,
    budget: int,
) -> Prompt:
    """The prompt for `question`: the readings most relevant to it that fit, in the picture's order.

    Readings are taken by `rank` until one doesn't fit into `budget` tokens; that one and all below
    it are named in `left_out`. Raises DataError when the question alone exceeds the budget: a
    question is never cut. Cost: one pass over the names, and encoding the readings that fit.
    """
    opening = (
        _Part([tokenizer.bos_id], ""),
        _control(tokenizer, template.system),
        _text(tokenizer, template.preamble),
    )
    closing = _control(tokenizer, template.end_system)
    asked = question_parts(tokenizer, template, question)
    fixed = sum(len(part.ids) for part in opening) + len(closing.ids) + len(asked[0])
    if fixed > budget:
        raise DataError(
            f"the question needs {fixed} tokens, the prompt may have {budget}: ask a shorter one"
        )
    room = budget - fixed
    chosen: dict[int, tuple[list[int], str]] = {}
    for index in rank(picture.channels, question):
        part = reading_part(tokenizer, template, describe(picture.channels[index]))
        if len(part[0]) > room:
            break
        room -= len(part[0])
        chosen[index] = part
    ids = [i for part in opening for i in part.ids]
    text = "".join(part.text for part in opening)
    for index in sorted(chosen):
        ids += chosen[index][0]
        text += chosen[index][1]
    channels = picture.channels
    return Prompt(
        ids=[*ids, *closing.ids, *asked[0]],
        text=text + closing.text + asked[1],
        used=tuple(channels[i].name for i in sorted(chosen)),
        left_out=tuple(c.name for i, c in enumerate(channels) if i not in chosen),
    )
