"""Prompt lookup: what drafts from the prompt's own words are worth in answers about sensors.

The bundled model gives the text and so the share of the drafts that is right; the same answers are
then replayed at the shape in question for the time. What a token is costs nothing there: the model
is fed the answer that was recorded, whatever it would have said.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
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
from edgespike.evaluate.questions import bundled_questions, load_questions
from edgespike.model.bundled import bundled_model
from edgespike.prompting import render

_MAX_TOKENS = 64
_CONTEXT = 256
_FEW_WORDS = 48

Answer = tuple[list[int], list[int]]
"""Prompt and answer, as tokens."""


def lookup(model: str, answers: int, threads: int = 1) -> dict[str, Any]:
    """Seconds for the tokens of that many answers, without drafts over with drafts.

    `nothing_to_copy` is the same for random words of which few exist, so that runs of them recur
    and every draft is wrong.
    """
    recorded, identical = _recorded(answers)
    engine = edgespike.load(model, threads=threads, verify=False)
    session = engine.session()
    session.advance(random_ids(engine, _CONTEXT))
    start = session.snapshot()
    few = np.random.default_rng(0).integers(0, _FEW_WORDS, (2, _CONTEXT))
    noise = [(few[0].tolist(), few[1, : 2 * _MAX_TOKENS].tolist())]
    _replay(engine, start, recorded[0], drafts=True)
    return {
        "speedup": _speedup(engine, start, recorded),
        "nothing_to_copy": _speedup(engine, start, noise * 2),
        "identical_text": identical,
        "answers": len(recorded),
        "answer_tokens": sum(len(answer) for _, answer in recorded) / len(recorded),
    }


def _recorded(count: int) -> tuple[list[Answer], bool]:
    """Answers of the bundled model to questions from all of its test set, and whether they are the
    same with and without drafts."""
    engine = edgespike.load(bundled_model(), verify=False)
    template = template_of(engine)
    stop = [engine.tokenizer.eos_id]
    if template.stop:
        stop.append(engine.tokenizer.control(template.stop))
    asked = list(load_questions(bundled_questions()))
    recorded, identical = [], True
    for question in asked[:: max(1, len(asked) // count)][:count]:
        ids = render(
            question.picture,
            question.question,
            tokenizer=engine.tokenizer,
            template=template,
            budget=template.budget,
        ).ids
        plain, drafted = (
            [
                piece.token
                for piece in engine.generate(
                    ids, max_tokens=_MAX_TOKENS, stop_tokens=stop, lookup=drafts
                )
                if piece.token is not None
            ]
            for drafts in (False, True)
        )
        identical = identical and plain == drafted
        recorded.append((ids, [*plain, stop[-1]]))
    return recorded, identical


def _speedup(engine: Model, start: Snapshot, answers: Sequence[Answer]) -> float:
    """Total time without drafts over total time with them, in turns."""
    plain = drafted = 0.0
    for answer in answers:
        plain += _replay(engine, start, answer, drafts=False)
        drafted += _replay(engine, start, answer, drafts=True)
    return plain / drafted


def _replay(engine: Model, start: Snapshot, answer: Answer, *, drafts: bool) -> float:
    """Seconds to decode the tokens of an answer after its prompt."""
    vocab = engine.config.active_vocab
    prompt, tokens = ([token % vocab for token in part] for part in answer)
    session = engine.session()
    session.restore(start)
    request = Request(
        prompt=prompt[-1:],
        max_tokens=len(tokens),
        sampling=Sampling(),
        stop_tokens=frozenset(),
        lookup=drafts,
        constraint=_Dictated(tokens),
        seen=prompt[:-1],
    )
    began = time.perf_counter()
    for _piece in generate(engine, session, request, None, None):
        pass
    return time.perf_counter() - began


class _Dictated:
    """Has an answer consist of these tokens."""

    settled = True

    def __init__(self, tokens: Sequence[int]) -> None:
        self._tokens = deque(tokens)

    def allows(self, token: int) -> bool:
        return token == self._tokens[0]

    def mask(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        masked = np.full_like(logits, -np.inf)
        masked[self._tokens[0]] = 0.0
        return masked

    def push(self, token: int) -> None:
        self._tokens.popleft()
