"""Questions and their one right answer over a scene, and dialogues as the token ids to train on."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgespike.prompting import (
    BUNDLED,
    Encoder,
    PromptTemplate,
    answer_part,
    describe,
    describe_age,
    render,
)
from edgespike.prompting import turn as ask
from edgespike.sensing.picture import ChannelView, Picture
from training.phrasings import OPENERS, TEMPLATES, THANKS, THINGS
from training.scenes import QUANTITIES, STATES, Split, scene, subject

OTHER_ANSWER = "I can only answer questions about the sensors."
WEIGHTS = {
    "value": 24, "unknown": 24, "status": 9, "too_high": 6, "too_low": 5, "unit": 4, "trend": 6,
    "age": 6, "state": 6, "highest": 4, "lowest": 3, "alarms": 12, "stale": 5, "other": 4,
}  # fmt: skip
"""How often each family is asked, where a scene allows it."""

ANSWER_ROOM = 64
"""Tokens of the training context that a prompt leaves to its answer."""

MAX_LISTED = 3
"""Sensors that one answer lists at most."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One question of a family and its right answer."""

    family: str
    question: str
    answer: str


def _amount(c: ChannelView) -> str:
    return f"{c.text} {c.unit}".strip()


def _bound(c: ChannelView, text: str | None) -> str:
    return f"{text} {c.unit}".strip()


def _limits(c: ChannelView) -> str:
    """How the value of `c` lies to its limits."""
    if c.limit == "high":
        return f"above its limit of {_bound(c, c.high)}"
    if c.limit == "low":
        return f"below its limit of {_bound(c, c.low)}"
    if c.low and c.high:
        return f"within its limits of {c.low} to {_bound(c, c.high)}"
    if c.high:
        return f"below its limit of {_bound(c, c.high)}"
    return f"above its limit of {_bound(c, c.low)}"


def _silent(c: ChannelView) -> str:
    return f"The {c.name} has not reported yet."


def _ago(c: ChannelView) -> str:
    return f"{describe_age(c.age_s or 0.0)} ago"


def _value(c: ChannelView) -> str:
    if c.text is None:
        return _silent(c)
    if c.stale:
        when = f" {_ago(c)}" if c.age_s is not None else ""
        return f"The {c.name} was {_amount(c)}{when}, the reading is stale."
    return f"The {c.name} is {_amount(c)}."


def _verdict(c: ChannelView, yes: bool) -> str:
    if c.text is None:
        return _silent(c)
    if c.limit is None:
        return f"The {c.name} is {_amount(c)}, it has no limits."
    return f"{'Yes' if yes else 'No'}, the {c.name} is {_amount(c)}, {_limits(c)}."


def _unit(c: ChannelView) -> str:
    return f"The {c.name} is measured in {c.unit}." if c.unit else f"The {c.name} has no unit."


def _trend(c: ChannelView) -> str:
    if c.text is None:
        return _silent(c)
    if c.trend is None:
        return f"The {c.name} is {_amount(c)}, its trend is not known."
    return f"The {c.name} is {c.trend}, now {_amount(c)}."


def _age(c: ChannelView) -> str:
    if c.text is None:
        return _silent(c)
    if c.age_s is None:
        return f"The age of the {c.name} is not known."
    return f"The {c.name} was read {_ago(c)}."


def _listed(parts: Sequence[str]) -> str:
    text = "; ".join(parts[:MAX_LISTED])
    more = len(parts) - MAX_LISTED
    text = text[0].upper() + text[1:]
    return f"{text}; and {more} more." if more > 0 else f"{text}."


def _alarms(channels: Sequence[ChannelView]) -> str:
    raised = [c for c in channels if c.limit in ("high", "low")]
    if not raised:
        return "No alarms, all readings are within their limits."
    return _listed([f"the {c.name} is {_amount(c)}, {_limits(c)}" for c in raised])


def _stale(channels: Sequence[ChannelView]) -> str:
    old = [c for c in channels if c.stale]
    if not old:
        return "No sensor is stale."
    return _listed(
        [
            f"the {c.name} is stale" + (f", last read {_ago(c)}" if c.age_s is not None else "")
            for c in old
        ]
    )


def _extreme(
    rng: random.Random, channels: Sequence[ChannelView], word: str
) -> tuple[str, str] | None:
    """A quantity that at least two channels measure in one unit, and the answer."""
    groups: dict[tuple[str, str], list[ChannelView]] = {}
    for c in channels:
        if c.number is not None and c.quantity:
            groups.setdefault((c.quantity, c.unit), []).append(c)
    quantities = [q for q, _ in groups]
    choices = [
        (q, group)
        for (q, _), group in groups.items()
        if len(group) > 1 and quantities.count(q) == 1
    ]
    if not choices:
        return None
    quantity, group = rng.choice(choices)
    ordered = sorted(group, key=lambda c: c.number or 0.0, reverse=word == "highest")
    if ordered[0].number == ordered[1].number:
        return None
    return quantity, f"The {ordered[0].name} is {word} with {_amount(ordered[0])}."


def _unknown_name(rng: random.Random, split: Split, picture: Picture) -> str:
    """A name that the picture lacks; often one of its places with another quantity."""
    known = {c.name.casefold() for c in picture.channels}
    while True:
        quantity = rng.choice(rng.choice(QUANTITIES).names)
        if rng.random() < 0.15:
            quantity = rng.choice(rng.choice(STATES)[0])
        place = subject(rng, split)
        if rng.random() < 0.4:
            # Names end in their quantity: what stands before the last word is a place.
            other = rng.choice(picture.channels).name
            place = other.rsplit(" ", 1)[0] if " " in other else other.rsplit("_", 1)[0]
        elif rng.random() < 0.4:
            other = rng.choice(picture.channels).name
            quantity = other.rsplit(" ", 1)[-1]
        name = f"{place} {quantity}"
        folded = name.casefold()
        if not any(folded in k or k in folded for k in known):
            return name


_MEASURED = sorted({n for q in QUANTITIES for n in q.names}, key=lambda n: (-len(n), n))


def _spoken(rng: random.Random, name: str) -> str:
    """How people say a name: as it is, or "temperature in the kitchen", or in lower case."""
    style = rng.random()
    if style < 0.15:
        for quantity in _MEASURED:
            if name.endswith(f" {quantity}"):
                place = name[: -len(quantity) - 1]
                return f"{quantity} {rng.choice(('in the', 'of the', 'of', 'in', 'at'))} {place}"
    elif style < 0.30:
        return name.lower()
    elif style < 0.37:
        return name.replace("_", " ")
    return name


def _typo(rng: random.Random, template: str) -> str:
    """One letter of a longer word dropped, doubled or swapped with the next; never in a name."""
    words = template.split(" ")
    places = [i for i, word in enumerate(words) if len(word) > 3 and "{" not in word]
    if not places:
        return template
    place = rng.choice(places)
    word = words[place]
    at = rng.randrange(1, len(word) - 2)
    words[place] = rng.choice(
        (
            word[:at] + word[at + 1 :],
            word[:at] + word[at] + word[at:],
            word[:at] + word[at + 1] + word[at] + word[at + 2 :],
        )
    )
    return " ".join(words)


def _ask(rng: random.Random, split: Split, family: str, **fill: str) -> str:
    """A phrasing of `family`, roughened as people type."""
    template = rng.choice(TEMPLATES[family][split])
    if rng.random() < 0.06:
        template = _typo(rng, template)
    style = rng.random()
    if style < 0.12 and not template.startswith("{"):
        template = template[0].lower() + template[1:]
    elif style < 0.22:
        template = template.rstrip("?.")
    elif style < 0.30:
        template = rng.choice(OPENERS) + template[0].lower() + template[1:]
    elif style < 0.35 and template[-1] in "?.":
        template = f"{template[:-1]}, please{template[-1]}"
    elif style < 0.38:
        template += rng.choice(THANKS)
    question = template.format(**fill)
    return question[0].upper() + question[1:] if 0.38 <= style < 0.6 else question


def turn(rng: random.Random, split: Split, picture: Picture, family: str) -> Turn | None:
    """A question of `family` that this picture can answer, or None when it can't."""

    def named(c: ChannelView, template: str, answer: str) -> Turn:
        return Turn(family, _ask(rng, split, template, n=_spoken(rng, c.name)), answer)

    channels = picture.channels
    numeric = [c for c in channels if c.quantity or c.unit]
    worded = [c for c in channels if c.text is not None and c.number is None]
    if family == "unknown":
        name = _unknown_name(rng, split, picture)
        template = rng.choice(("value", "value", "status", "too_high", "trend", "age", "unit"))
        spoken = _spoken(rng, name) if name.islower() and "_" not in name else name
        return Turn(
            family, _ask(rng, split, template, n=spoken), f"There is no sensor called {name}."
        )
    if family == "other":
        thing = rng.choice(THINGS[split])
        return Turn(family, _ask(rng, split, family, x=thing), OTHER_ANSWER)
    if family == "alarms":
        return Turn(family, _ask(rng, split, family), _alarms(channels))
    if family == "stale":
        return Turn(family, _ask(rng, split, family), _stale(channels))
    if family in ("highest", "lowest"):
        found = _extreme(rng, channels, family)
        return found and Turn(family, _ask(rng, split, family, q=found[0]), found[1])
    if family == "state":
        if not worded:
            return None
        c = rng.choice(worded)
        states = next(v for _, v in STATES if c.text in v)
        state = rng.choice(states)
        answer = f"{'Yes' if state == c.text else 'No'}, the {c.name} is {c.text}."
        spoken = _spoken(rng, c.name)
        return Turn(family, _ask(rng, split, family, n=spoken, s=state), answer)
    if family == "value":
        c = rng.choice(channels)
        return named(c, family, _value(c))
    if family == "age":
        c = rng.choice(channels)
        return named(c, family, _age(c))
    if not numeric:
        return None
    c = rng.choice(numeric)
    if family == "unit":
        return named(c, family, _unit(c))
    if family == "trend":
        return named(c, family, _trend(c))
    yes = {"status": c.limit == "ok", "too_high": c.limit == "high", "too_low": c.limit == "low"}
    return named(c, family, _verdict(c, yes[family]))


def random_turn(rng: random.Random, split: Split, picture: Picture) -> Turn:
    """A turn of a family drawn by WEIGHTS."""
    while True:
        family = rng.choices(tuple(WEIGHTS), tuple(WEIGHTS.values()))[0]
        found = turn(rng, split, picture, family)
        if found is not None:
            return found


def scene_size(rng: random.Random) -> int:
    """Channels of a scene: few most of the time, up to 20."""
    return min(20, 1 + int(rng.expovariate(1 / 6)))


def show(seed: int, count: int) -> Iterator[str]:
    """Scenes with their turns, to be read by people."""
    rng = random.Random(seed)
    for _ in range(count):
        picture = scene(rng, "train", scene_size(rng))
        yield from (describe(c) for c in picture.channels)
        for _ in range(6):
            found = random_turn(rng, "train", picture)
            yield f"  [{found.family}] {found.question}  ->  {found.answer}"
        yield ""


def corpus(rng: random.Random, split: Split) -> Iterator[str]:
    """Endless lines of text as they are encoded one by one: readings, questions and answers."""
    while True:
        picture = scene(rng, split, scene_size(rng))
        yield from (describe(c) for c in picture.channels)
        for _ in range(6):
            found = random_turn(rng, split, picture)
            yield from (found.question, found.answer)


def dialogue(
    rng: random.Random,
    split: Split,
    tokenizer: Encoder,
    length: int,
    template: PromptTemplate = BUNDLED,
) -> tuple[list[int], list[bool]]:
    """Ids [n] of one scene with as many turns as fit into `length` tokens, and which are answers.

    The scene and the first question are exactly what `render` gives when the daemon is asked.
    """
    while True:
        picture = scene(rng, split, scene_size(rng))
        first = random_turn(rng, split, picture)
        prompt = render(
            picture, first.question, tokenizer=tokenizer, template=template, budget=length
        )
        answer = answer_part(tokenizer, template, first.answer)
        if not prompt.left_out and len(prompt.ids) + len(answer) <= length:
            break
    ids = prompt.ids + answer
    answers = [False] * len(prompt.ids) + [True] * len(answer)
    asked = {first.question}
    for _ in range(3 * len(picture.channels) + 4):
        found = random_turn(rng, split, picture)
        if found.question in asked:
            continue
        asked.add(found.question)
        question = ask(
            picture, found.question, tokenizer=tokenizer, template=template, budget=length
        ).ids
        answer = answer_part(tokenizer, template, found.answer)
        if len(ids) + len(question) + len(answer) > length:
            break
        ids += question + answer
        answers += [False] * len(question) + [True] * len(answer)
    return ids, answers


def batch(
    seed: int,
    step: int,
    split: Split,
    tokenizer: Encoder,
    size: int,
    length: int,
    prompt_weight: float = 0.0,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Inputs [size, length], targets [size, length] and loss weights [size, length] of one step.

    A step depends on `seed` and its number alone: a resumed run sees what it would have seen.
    Answer tokens weigh 1, prompt tokens `prompt_weight`, padding 0.
    """
    rng = random.Random(f"{seed}/{split}/{step}")
    ids = np.zeros((size, length + 1), np.int64)
    weights = np.zeros((size, length + 1), np.float32)
    for row in range(size):
        tokens, answers = dialogue(rng, split, tokenizer, length + 1)
        ids[row, : len(tokens)] = tokens
        weights[row, : len(tokens)] = np.where(answers, 1.0, prompt_weight)
    return ids[:, :-1], ids[:, 1:], weights[:, 1:]
