"""Prefill a prompt, then decode: a stream of pieces of text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgespike.engine.sample import Sampler, Sampling
from edgespike.errors import UsageError

if TYPE_CHECKING:
    from edgespike.engine.model import Model
    from edgespike.engine.session import Session

Interrupt = Callable[[], str | None]
Progress = Callable[[int, int], None]

__all__ = ["Interrupt", "Piece", "Progress", "Sampling", "generate"]


@dataclass(frozen=True, slots=True)
class Piece:
    """A token and the text that it completes, which may be empty.

    The last piece has no token; it carries the `finish_reason`: "stop", "length", or what
    `interrupt` returned.
    """

    text: str
    token: int | None
    finish_reason: str | None = None


def generate(
    model: Model,
    session: Session,
    prompt: Sequence[int],
    max_tokens: int,
    sampling: Sampling,
    stop_tokens: frozenset[int],
    interrupt: Interrupt | None,
    on_prefill: Progress | None,
) -> Iterator[Piece]:
    """See `Model.generate`. Checks its arguments at once, not at the first piece."""
    if max_tokens < 0:
        raise UsageError(f"max_tokens is {max_tokens}; it can't be negative")
    if len(prompt) == 0:
        raise UsageError("the prompt is empty: give at least one token")
    return _pieces(model, session, prompt, max_tokens, sampling, stop_tokens, interrupt, on_prefill)


def _pieces(
    model: Model,
    session: Session,
    prompt: Sequence[int],
    max_tokens: int,
    sampling: Sampling,
    stop_tokens: frozenset[int],
    interrupt: Interrupt | None,
    on_prefill: Progress | None,
) -> Iterator[Piece]:
    total = len(prompt)
    logits = np.empty(0, np.float32)
    for start in range(0, total, model.step_positions):
        reason = interrupt() if interrupt else None
        if reason is not None:
            yield Piece("", None, reason)
            return
        logits = session.advance(prompt[start : start + model.step_positions])
        if on_prefill:
            on_prefill(min(start + model.step_positions, total), total)

    sampler = Sampler(sampling, model.config.active_vocab)
    text = model.tokenizer.stream() if model.has_tokenizer else None
    reason = "length"
    for count in range(max_tokens):
        asked = interrupt() if interrupt else None
        if asked is not None:
            reason = asked
            break
        token = sampler(logits)
        if token in stop_tokens:
            reason = "stop"
            break
        yield Piece(text.push(token) if text else "", token)
        if count + 1 < max_tokens:
            logits = session.advance([token])
    yield Piece(text.flush() if text else "", None, reason)
