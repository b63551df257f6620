"""What it is worth in answers about sensors that tokens are known before the model is asked: those
that statements leave no choice about, and drafts from the prompt's own words (prompt lookup).

The bundled model gives the text, and so the choices and the share of the drafts that is right; the
same answers are then replayed at the shape in question for the time. What a token is costs nothing
there: the model is fed the answer that was recorded, whatever it would have said.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import edgespike
from benchmarks.engine import random_ids
from edgespike.engine.generate import Request, generate
from edgespike.engine.model import Model
from edgespike.engine.sample import Sampling
from edgespike.engine.session import Snapshot
from edgespike.evaluate.qa import template_of
from edgespike.evaluate.questions import Question, bundled_questions, load_questions
from edgespike.grounding import Stated, Vocabulary
from edgespike.model.bundled import bundled_model
from edgespike.prompting import Block, render

_MAX_TOKENS = 64
_CONTEXT = 256
_FEW_WORDS = 48


@dataclass(frozen=True, slots=True)
class Recorded:
    """Prompt and answer, as tokens, and which of the answer's the statements left open."""

    prompt: list[int]
    answer: list[int]
    choices: list[bool]


class _Stepwise(Stated):
    """The same, but the model is asked for every token."""

    forced = None


def lookup(model: str, answers: int, threads: int = 1) -> dict[str, Any]:
    """Seconds for the tokens of that many answers one by one, over those as the daemon makes them
    (`speedup`), and over those with prompt lookup alone (`drafts`), as where answers are free.

    `nothing_to_copy` is the second for random words of which few exist, so that runs of them recur
    and every draft is wrong.
    """
    recorded, identical = _recorded(answers)
    engine = edgespike.load(model, threads=threads, verify=False)
    session = engine.session()
    session.advance(random_ids(engine, _CONTEXT))
    start = session.snapshot()
    few = np.random.default_rng(0).integers(0, _FEW_WORDS, (2, _CONTEXT))
    said = few[1, : 2 * _MAX_TOKENS].tolist()
    noise = [Recorded(few[0].tolist(), said, [True] * len(said))]
    _replay(engine, start, recorded[0], drafts=True, stated=False)
    tokens = sum(len(each.answer) for each in recorded)
    return {
        "speedup": _speedup(engine, start, recorded, stated=True),
        "drafts": _speedup(engine, start, recorded, stated=False),
        "nothing_to_copy": _speedup(engine, start, noise * 2, stated=False),
        "identical_text": identical,
        "answers": len(recorded),
        "answer_tokens": tokens / len(recorded),
        "choices": sum(sum(each.choices) for each in recorded) / tokens,
    }


def _recorded(count: int) -> tuple[list[Recorded], bool]:
    """Answers of the bundled model to questions from all of its test set, and whether they are the
    same token by token."""
    engine = edgespike.load(bundled_model(), verify=False)
    template = template_of(engine)
    stop = [engine.tokenizer.control(name) for name in template.controls()]
    vocabulary = Vocabulary(engine.tokenizer, stop)
    asked = list(load_questions(bundled_questions()))
    recorded, identical = [], True
    for question in asked[:: max(1, len(asked) // count)][:count]:
        block = asked_of(engine, question)
        plain, quick = (
            [
                piece.token
                for piece in engine.generate(
                    block.ids,
                    max_tokens=_MAX_TOKENS,
                    stop_tokens=stop,
                    lookup=known is Stated,
                    constraint=known(vocabulary, block.statements),
                )
                if piece.token is not None
            ]
            for known in (_Stepwise, Stated)
        )
        identical = identical and plain == quick
        stated = Stated(vocabulary, block.statements)
        said = [*plain, engine.tokenizer.control(template.stop)]
        choices = []
        for token in said:
            choices.append(stated.forced is None)
            stated.push(token)
        recorded.append(Recorded(block.ids, said, choices))
    return recorded, identical


def asked_of(engine: Model, question: Question) -> Block:
    """What the model reads when it is asked that."""
    template = template_of(engine)
    return render(
        question.picture,
        question.question,
        tokenizer=engine.tokenizer,
        template=template,
        budget=template.budget,
    )


def _speedup(engine: Model, start: Snapshot, answers: Sequence[Recorded], *, stated: bool) -> float:
    """Total time token by token over total time without, in turns."""
    plain = quick = 0.0
    for answer in answers:
        plain += _replay(engine, start, answer, drafts=False, stated=False)
        quick += _replay(engine, start, answer, drafts=True, stated=stated)
    return plain / quick


def _replay(engine: Model, start: Snapshot, said: Recorded, *, drafts: bool, stated: bool) -> float:
    """Seconds to decode the tokens of an answer after its prompt."""
    vocab = engine.config.active_vocab
    prompt, tokens = ([token % vocab for token in part] for part in (said.prompt, said.answer))
    session = engine.session()
    session.restore(start)
    request = Request(
        prompt=prompt[-1:],
        max_tokens=len(tokens),
        sampling=Sampling(),
        stop_tokens=frozenset(),
        lookup=drafts,
        constraint=_Dictated(tokens, said.choices if stated else [True] * len(tokens)),
        seen=prompt[:-1],
    )
    began = time.perf_counter()
    for _piece in generate(engine, session, request, None, None):
        pass
    return time.perf_counter() - began


class _Dictated:
    """Has an answer consist of these tokens, some of which are `choices`."""

    settled = True
    weighs = False

    def __init__(self, tokens: Sequence[int], choices: Sequence[bool]) -> None:
        self._tokens, self._choices = tokens, choices
        self._at = 0

    @property
    def forced(self) -> int | None:
        if self._at == len(self._tokens) or self._choices[self._at]:
            return None
        return self._tokens[self._at]

    def allows(self, token: int) -> bool:
        return token == self._tokens[self._at]

    def mask(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        masked = np.full_like(logits, -np.inf)
        masked[self._tokens[self._at]] = 0.0
        return masked

    def push(self, token: int) -> None:
        self._at += 1
