"""What it costs to keep numbers and names to the picture while an answer is decoded.

The bundled model, because the cost is that of the host's work beside a token: the faster the model,
the more it weighs.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median
from typing import Any

import edgespike
from benchmarks.lookup import asked_of
from edgespike.engine.model import Model
from edgespike.engine.sample import Sampler, Sampling
from edgespike.evaluate.questions import bundled_questions, load_questions
from edgespike.grounding import Grounded, Grounds, Vocabulary
from edgespike.model.bundled import bundled_model


def grounding(answers: int, repeats: int = 5) -> dict[str, Any]:
    """Seconds a token with the grounding over those without, less one (`cost`): the right answers
    of the test set, token by token, as where statements don't settle them. `refused` counts tokens
    that were not allowed: none, where the grounding does what it should.
    """
    engine = edgespike.load(bundled_model(), verify=False)
    vocabulary = Vocabulary(engine.tokenizer)
    asked = [q for q in load_questions(bundled_questions()) if q.expected.texts]
    some = asked[:: max(1, len(asked) // answers)][:answers]
    plain, enforced, refused = [], [], 0
    for question in some:
        said = engine.tokenizer.encode(question.expected.texts[0])
        grounds = Grounds.of([asked_of(engine, question)])
        for _ in range(repeats):
            plain.append(_decode(engine, said, None)[0])
            seconds, changed = _decode(engine, said, Grounded(vocabulary, grounds))
            enforced.append(seconds)
            refused += changed
    cost = median(b / a for a, b in zip(plain, enforced, strict=True)) - 1
    found = {"cost": cost, "microseconds": 1e6 * median(plain)}
    return {**found, "answers": len(some), "refused": refused}


def _decode(engine: Model, said: Sequence[int], constraint: Grounded | None) -> tuple[float, int]:
    """Seconds a token to say these tokens, each chosen from the logits of the one before, and how
    many were not allowed.
    """
    refused = 0
    session = engine.session()
    logits = session.advance(said[:1])
    sampler = Sampler(Sampling(), engine.config.active_vocab, constraint)
    began = time.perf_counter()
    for token in said:
        logits[token] = logits.max() + 1  # whatever the model would have said
        refused += sampler(logits) != token
        if constraint is not None:
            constraint.push(token)
        logits = session.advance([token])
    return (time.perf_counter() - began) / len(said), refused
