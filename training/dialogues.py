"""Dialogues as the token ids to train on, written with the functions that ask in the daemon."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgespike.prompting import (
    BUNDLED,
    Block,
    PromptTemplate,
    answer_part,
    changes,
    describe,
    key_frame,
    turn,
)
from edgespike.prompting.focus import focus_lines
from edgespike.prompting.relevance import Relevance, relevance
from edgespike.prompting.statements import statements
from edgespike.tokenizer import Tokenizer
from training.scenes import Scene, Split, later, scene
from training.situations import Situated, situations
from training.turns import Asker, Turn, clean_turn

Batch = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]

ANSWER_ROOM = 64
"""Tokens of the training context that a prompt leaves to its answer."""


def scene_size(rng: random.Random) -> int:
    """Channels of a scene: few most of the time, up to 60."""
    return min(60, 1 + int(rng.expovariate(1 / 9)))


SITUATED = 0.5
"""Share of dialogues about a situation that was written by hand."""


def asker_of(rng: random.Random, split: Split) -> Asker:
    """Somebody who asks about a new scene."""
    known = situations()[split]
    while known and rng.random() < SITUATED:
        asker = Situated(rng, split, rng.choice(known))
        if asker.channels:
            return asker
    return Asker(rng, split, scene(rng, split, scene_size(rng)))


def next_turn(asker: Asker, asked: list[Turn]) -> Turn:
    """A question that code finds the facts for, now and then one that leans on the last."""
    return found_turn(asker, asked)[0]


def found_turn(
    asker: Asker, asked: list[Turn]
) -> tuple[Turn, Relevance, dict[str, frozenset[str]]]:
    """The same, with how the channels fit it, and what can be said."""
    previous = [turn.question for turn in asked]
    while True:
        found: Turn | None = None
        if asked and asker.rng.random() < 0.3:
            found = asker.follow(asked[-1])
        found = found or asker.drawn()
        fits = relevance(asker.channels, found.question, previous)
        if not clean_turn(found, fits):
            continue
        said = statements(asker.channels, fits)
        if found.answer in said:
            return found, fits, said


def show(seed: int, count: int) -> Iterator[str]:
    """Turns with their focus, to be read by people."""
    rng = random.Random(seed)
    for _ in range(count):
        asker = asker_of(rng, "train")
        asked: list[Turn] = []
        for _ in range(4):
            asked.append(next_turn(asker, asked))
            previous = [turn.question for turn in asked[:-1]]
            found = relevance(asker.channels, asked[-1].question, previous)
            for lines in focus_lines(asker.channels, found):
                for line in lines:
                    yield "".join(f"<{mark}>{text}" for mark, text in line)
            yield f"  [{asked[-1].family}] {asked[-1].question}  ->  {asked[-1].answer}"
        yield ""


def corpus(rng: random.Random, split: Split) -> Iterator[str]:
    """Endless lines of text as they are encoded one by one: facts, questions and answers."""
    while True:
        asker = asker_of(rng, split)
        yield from (describe(c) for c in asker.channels[:4])
        for _ in range(8):
            found = asker.drawn()
            for lines in focus_lines(asker.channels, relevance(asker.channels, found.question)):
                yield from (text for line in lines for _, text in line if text)
            yield found.question
            yield found.answer


def choices(tokenizer: Tokenizer, said: Sequence[int], statements: Sequence[str]) -> list[bool]:
    """Of the tokens of an answer and its end, which are left open by the `statements` that it is
    one of; all of them where it is none.
    """
    left = [(*tokenizer.encode(text), said[-1]) for text in statements]
    if tuple(said) not in left:
        return [True] * len(said)
    found = []
    for at, token in enumerate(said):
        found.append(len({ids[at] for ids in left}) > 1)
        left = [ids for ids in left if ids[at] == token]
    return found


class Dialogue:
    """Ids of one scene's dialogue, at most `length`, which of them are answers, which of these are
    `choices`, and the families of the answers."""

    def __init__(self, tokenizer: Tokenizer, template: PromptTemplate, length: int) -> None:
        self.tokenizer, self.template, self.length = tokenizer, template, length
        self.ids: list[int] = []
        self.answers: list[bool] = []
        self.choices: list[bool] = []
        self.families: list[str] = []

    def add(self, block: Block, turn: Turn | None = None) -> bool:
        """Takes in a block, and the answer of its turn, if both fit."""
        said = answer_part(self.tokenizer, self.template, turn.answer) if turn else []
        if len(self.ids) + len(block.ids) + len(said) > self.length:
            return False
        self.ids += block.ids + said
        self.answers += [False] * len(block.ids) + [True] * len(said)
        self.choices += [False] * len(block.ids) + choices(self.tokenizer, said, block.statements)
        self.families += [turn.family] if turn else []
        return True


def _begin(rng: random.Random, whole: Dialogue, first: Scene, budget: int) -> Scene:
    """How a session begins: with no picture, a key frame, one that is outdated, or changes since.

    Returns the scene as it is when the first question comes.
    """
    tokenizer, template = whole.tokenizer, whole.template
    style = rng.random()
    room = 3
    if style < 0.2:
        room = min(rng.randrange(40, rng.choice((160, 160, 420))), budget - ANSWER_ROOM)
    whole.add(key_frame(first.picture, tokenizer=tokenizer, template=template, budget=room))
    if style >= 0.1:
        return first
    now = later(rng, first)
    if style < 0.05:
        names = [c.name for c in rng.sample(now.picture.channels, min(3, len(first.parts)))]
        whole.add(changes(now.picture, names, tokenizer=tokenizer, template=template, budget=80))
    return now


def dialogue(
    rng: random.Random,
    split: Split,
    tokenizer: Tokenizer,
    length: int,
    template: PromptTemplate = BUNDLED,
) -> Dialogue:
    """One scene with as many turns as fit into `length` tokens.

    Beside turns as the daemon has them there are *bare* ones, whose focus is still that of the turn
    before: so a context of tokens teaches more answers.
    """
    whole = Dialogue(tokenizer, template, length)
    asker = asker_of(rng, split)
    asker.scene = _begin(rng, whole, asker.scene, length)
    bare = replace(template, focus=0)
    asked: list[Turn] = []
    misses = 0
    while misses < 2:
        found = next_turn(asker, asked)
        previous = [each.question for each in asked]
        block = turn(
            asker.scene.picture,
            found.question,
            tokenizer=tokenizer,
            template=template,
            budget=length,
            previous=previous,
        )
        if not whole.add(block, found):
            misses += 1
            continue
        asked.append(found)
        for _ in range(rng.randrange(6)):
            again = asker.again(found)
            if again is None:
                continue
            block = turn(
                asker.scene.picture,
                again.question,
                tokenizer=tokenizer,
                template=bare,
                budget=length,
            )
            if again.answer not in block.statements:
                continue
            if not whole.add(block, again):
                break
            asked.append(again)
        if rng.random() < 0.3:
            asker.scene = later(rng, asker.scene)
    return whole


def dialogues(
    seed: int, step: int, split: Split, tokenizer: Tokenizer, size: int, length: int
) -> list[Dialogue]:
    """The dialogues of one step; they depend on `seed`, `split` and `step` alone."""
    rng = random.Random(f"{seed}/{split}/{step}")
    return [dialogue(rng, split, tokenizer, length + 1) for _ in range(size)]


COPIED = 0.2
"""Weight of answer tokens that statements leave no choice about: names and numbers to be copied."""


def packed(rows: Sequence[Dialogue], length: int, prompt_weight: float = 0.0) -> Batch:
    """Inputs [n, length], targets [n, length] and loss weights [n, length] of some dialogues.

    Choices in answers weigh 1, their other tokens COPIED, prompt tokens `prompt_weight`, padding 0.
    """
    ids = np.zeros((len(rows), length + 1), np.int64)
    weights = np.zeros((len(rows), length + 1), np.float32)
    for row, each in enumerate(rows):
        ids[row, : len(each.ids)] = each.ids
        weights[row, : len(each.ids)] = np.where(each.answers, COPIED, prompt_weight)
        weights[row, : len(each.ids)][each.choices] = 1.0
    return ids[:, :-1], ids[:, 1:], weights[:, 1:]


def batch(
    seed: int,
    step: int,
    split: Split,
    tokenizer: Tokenizer,
    size: int,
    length: int,
    prompt_weight: float = 0.0,
) -> Batch:
    """What one step trains on: a resumed run sees what it would have seen."""
    return packed(dialogues(seed, step, split, tokenizer, size, length), length, prompt_weight)
