"""The blocks that a prompt is made of."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from edgespike.errors import DataError
from edgespike.prompting.association import learned
from edgespike.prompting.describe import clean, describe
from edgespike.prompting.focus import Line, focus_lines
from edgespike.prompting.intent import learned_intents, weighed
from edgespike.prompting.lexicon import lexicon
from edgespike.prompting.relevance import Relevance, rank, relevance
from edgespike.prompting.statements import statements
from edgespike.prompting.template import Encoder, PromptTemplate, piece
from edgespike.sensing.picture import ChannelView, Picture


@dataclass(frozen=True, slots=True)
class Block:
    """`ids` to feed, the same as readable `text`, and the channels in it and left out of it.

    `statements` are all that can be said to the question in it, where the model was taught to
    choose among them, and how likely its wording makes each, in log odds.
    """

    ids: list[int]
    text: str
    used: tuple[str, ...]
    left_out: tuple[str, ...]
    statements: Mapping[str, float] = field(default_factory=dict)


def load() -> None:
    """Read what the first question would read, some tens of milliseconds."""
    lexicon()
    learned()
    learned_intents()


_LONGEST_PIECE = 64
"""Characters that no token exceeds, generously: SentencePiece's pieces have up to 16 unless they
were trained otherwise, and normalising may shorten a text."""

Prompt = Block
"""A key frame and a turn as one block."""


@dataclass(frozen=True, slots=True)
class _Part:
    """Text and its ids; `text` of a control piece is its name."""

    ids: list[int]
    text: str


def _control(tokenizer: Encoder, name: str, heading: str = "") -> _Part:
    """A control piece, or the heading that stands for it in a plain template."""
    if name:
        return _Part([tokenizer.control(name)], name)
    return _text(tokenizer, heading)


def _text(tokenizer: Encoder, text: str) -> _Part:
    return _Part(tokenizer.encode(text) if text else [], text)


def _joined(parts: Iterable[_Part]) -> _Part:
    chain = list(parts)
    return _Part([i for part in chain for i in part.ids], "".join(part.text for part in chain))


def _reading(tokenizer: Encoder, template: PromptTemplate, line: str) -> _Part:
    if template.reading:
        return _joined((_control(tokenizer, template.reading), _text(tokenizer, line)))
    return _text(tokenizer, f"\n- {line}")


def _question(tokenizer: Encoder, template: PromptTemplate, question: str) -> _Part:
    """A question and the opening of its answer."""
    return _joined(
        (
            _control(tokenizer, template.user, "\n\nQuestion: "),
            _text(tokenizer, " ".join(question.split())),
            _control(tokenizer, template.end_user),
            _control(tokenizer, template.assistant, "\nAnswer:"),
        )
    )


def _readings(
    picture: Picture,
    order: Sequence[int],
    opening: _Part,
    *,
    tokenizer: Encoder,
    template: PromptTemplate,
    room: int,
) -> Block:
    """A system block with the channels `order` that fit into `room` tokens, in the picture's order.

    They are taken until one doesn't fit; that one and all after it are left out.
    """
    closing = _control(tokenizer, template.end_system)
    room -= len(opening.ids) + len(closing.ids)
    chosen: dict[int, _Part] = {}
    for index in order:
        part = _reading(tokenizer, template, describe(picture.channels[index]))
        if len(part.ids) > room:
            break
        room -= len(part.ids)
        chosen[index] = part
    whole = _joined((opening, *(chosen[index] for index in sorted(chosen)), closing))
    return Block(whole.ids, whole.text, *_split(picture, order, chosen))


def _split(
    picture: Picture, order: Sequence[int], chosen: Collection[int]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the chosen channels, and of the others in `order`, as the picture has them."""
    names = [(index in chosen, picture.channels[index].name) for index in sorted(order)]
    return tuple(n for used, n in names if used), tuple(n for used, n in names if not used)


def _opening(tokenizer: Encoder, template: PromptTemplate) -> _Part:
    return _joined(
        (
            _Part([tokenizer.bos_id], ""),
            _control(tokenizer, template.system),
            _text(tokenizer, template.preamble),
        )
    )


def key_frame(
    picture: Picture, *, tokenizer: Encoder, template: PromptTemplate, budget: int
) -> Block:
    """The whole picture to begin a session with: BOS and the readings that fit, alarms first."""
    return _readings(
        picture,
        rank(picture.channels, ""),
        _opening(tokenizer, template),
        tokenizer=tokenizer,
        template=template,
        room=budget,
    )


def changes(
    picture: Picture,
    names: Collection[str],
    *,
    tokenizer: Encoder,
    template: PromptTemplate,
    budget: int,
) -> Block:
    """The channels `names` as they are now, alarms first where not all fit."""
    wanted = set(names)
    return _readings(
        picture,
        [i for i in rank(picture.channels, "") if picture.channels[i].name in wanted],
        _control(tokenizer, template.system, "\n\nNow:"),
        tokenizer=tokenizer,
        template=template,
        room=budget,
    )


def turn(
    picture: Picture,
    question: str,
    *,
    tokenizer: Encoder,
    template: PromptTemplate,
    budget: int,
    previous: Sequence[str] = (),
) -> Block:
    """What a question is asked with: the readings that matter to it, itself, its answer's opening.

    `previous` are the earlier questions of the dialogue. Raises DataError when the question alone
    exceeds the budget: a question is never cut.
    """
    if len(question) > _LONGEST_PIECE * max(0, budget):
        # Encoding it would take the time that other prompts have deadlines in.
        raise DataError(f"the question has {len(question)} characters {_room(budget)}")
    asked = _question(tokenizer, template, question)
    if len(asked.ids) > budget:
        raise DataError(f"the question needs {len(asked.ids)} tokens {_room(budget)}")
    found = relevance(picture.channels, question, previous, picture.refused)
    focus, used = _focus(
        picture.channels,
        found,
        tokenizer=tokenizer,
        template=template,
        room=min(template.focus, budget - len(asked.ids)),
    )
    whole = _joined((focus, asked))
    names = [channel.name for channel in picture.channels]
    return Block(
        whole.ids,
        whole.text,
        tuple(name for name in names if name in used),
        tuple(name for name in names if name not in used),
        _statements(picture.channels, found) if template.marks else {},
    )


def _statements(channels: Sequence[ChannelView], found: Relevance) -> Mapping[str, float]:
    return weighed(statements(channels, found), found, learned_intents())


def _room(budget: int) -> str:
    return f"and has room for {max(0, budget)} tokens: ask a shorter one"


def _focus(
    channels: Sequence[ChannelView],
    found: Relevance,
    *,
    tokenizer: Encoder,
    template: PromptTemplate,
    room: int,
) -> tuple[_Part, set[str]]:
    """The system block before a question, empty when nothing fits, and the channels in it."""
    opening = _control(tokenizer, template.system, "\n\nNow:")
    closing = _control(tokenizer, template.end_system)
    room -= len(opening.ids) + len(closing.ids)
    parts: list[_Part] = []
    used: set[str] = set()
    if template.marks:
        by_name = {clean(channel.name): channel.name for channel in channels}
        for lines in focus_lines(channels, found):
            for line in lines:
                part = _marked(tokenizer, line)
                if len(part.ids) <= room:
                    room -= len(part.ids)
                    parts.append(part)
                    used |= {by_name[text] for _, text in line if text in by_name}
    else:
        for index in (*found.match, *found.before):
            part = _reading(tokenizer, template, describe(channels[index]))
            if len(part.ids) <= room:
                room -= len(part.ids)
                parts.append(part)
                used.add(channels[index].name)
    return (_joined((opening, *parts, closing)) if parts else _Part([], "")), used


def _marked(tokenizer: Encoder, line: Line) -> _Part:
    return _joined(
        part
        for mark, text in line
        for part in (_control(tokenizer, piece(mark)), _text(tokenizer, text))
    )


def answer_part(tokenizer: Encoder, template: PromptTemplate, answer: str) -> list[int]:
    """Ids of an answer with its end: what a dialogue has after a `turn`."""
    return [*tokenizer.encode(answer), *_control(tokenizer, template.stop).ids]


def render(
    picture: Picture,
    question: str,
    *,
    tokenizer: Encoder,
    template: PromptTemplate,
    budget: int,
    previous: Sequence[str] = (),
) -> Prompt:
    """A question asked of a new session: the readings that fit, the most relevant first, and its
    turn.

    Raises DataError when the question alone exceeds the budget. Cost: one pass over the names, and
    encoding the readings that fit.
    """
    opening = _opening(tokenizer, template)
    fixed = len(opening.ids) + len(_control(tokenizer, template.end_system).ids)
    asked = turn(
        picture,
        question,
        tokenizer=tokenizer,
        template=template if template.marks else replace(template, focus=0),
        budget=budget - fixed,
        previous=previous,
    )
    frame = _readings(
        picture,
        rank(picture.channels, question) if template.frame else (),
        opening,
        tokenizer=tokenizer,
        template=template,
        room=fixed + min(template.frame, budget - len(asked.ids) - fixed),
    )
    shown = {*frame.used, *asked.used}
    names = [channel.name for channel in picture.channels]
    return Block(
        frame.ids + asked.ids,
        frame.text + asked.text,
        tuple(name for name in names if name in shown),
        tuple(name for name in names if name not in shown),
        asked.statements,
    )
