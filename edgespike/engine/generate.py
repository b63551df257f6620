"""Prefill a prompt, then decode: a stream of pieces of text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgespike.engine.lookup import Lookup
from edgespike.engine.sample import Sampler, Sampling
from edgespike.errors import UsageError
from edgespike.model.arrays import LOOKAHEAD

if TYPE_CHECKING:
    from edgespike.engine.model import Model
    from edgespike.engine.session import Session

Interrupt = Callable[[], str | None]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Piece:
    """A token and the text that it completes, which may be empty.

    The last piece has no token; it carries the `finish_reason`: "stop", "length", or what
    `interrupt` returned.
    """

    text: str
    token: int | None
    finish_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What to continue, and how. See `Model.generate`."""

    prompt: Sequence[int]
    max_tokens: int
    sampling: Sampling
    stop_tokens: frozenset[int]
    lookup: bool

    def __post_init__(self) -> None:
        if self.max_tokens < 0:
            raise UsageError(f"max_tokens is {self.max_tokens}; it can't be negative")
        if len(self.prompt) == 0:
            raise UsageError("the prompt is empty: give at least one token")


class Decoder:
    """Logits for one token after another, several of them from one step where a draft was right."""

    def __init__(
        self, session: Session, logits: NDArray[np.float32], lookup: Lookup | None
    ) -> None:
        self._session = session
        self._rows = [logits]
        self._draft: list[int] = []
        self._drafted = 0
        self._lookup = lookup

    @property
    def logits(self) -> NDArray[np.float32]:
        """Float32 [V], for the next token."""
        return self._rows[0]

    def feed(self, token: int, limit: int) -> None:
        """`token` was chosen; up to `limit` further tokens are wanted after it."""
        if self._lookup is not None:
            self._lookup.add(token)
        if self._draft and self._draft[0] == token:
            del self._draft[0], self._rows[0]
            return
        self.settle()
        draft = self._lookup.propose(min(limit - 1, LOOKAHEAD)) if self._lookup else []
        if draft:
            self._rows = list(self._session.advance([token, *draft], all_logits=True))
        else:
            self._rows = [self._session.advance([token])]
        self._draft, self._drafted = draft, len(draft)

    def settle(self) -> None:
        """Take back what was drafted and not chosen, so that the session holds chosen tokens."""
        if self._drafted:
            if self._lookup is not None:
                self._lookup.learn(self._drafted, self._drafted - len(self._draft))
            self._session.take_back(len(self._draft))
        self._draft, self._drafted = [], 0


def generate(
    model: Model,
    session: Session,
    request: Request,
    interrupt: Interrupt | None,
    on_prefill: Progress | None,
) -> Iterator[Piece]:
    """See `Model.generate`."""
    prompt, total = request.prompt, len(request.prompt)
    logits = np.empty(0, np.float32)
    for start in range(0, total, model.step_positions):
        reason = interrupt() if interrupt else None
        if reason is not None:
            yield Piece("", None, reason)
            return
        logits = session.advance(prompt[start : start + model.step_positions])
        if on_prefill:
            on_prefill(min(start + model.step_positions, total), total)

    sampler = Sampler(request.sampling, model.config.active_vocab)
    decoder = Decoder(session, logits, Lookup(prompt) if request.lookup else None)
    text = model.tokenizer.stream() if model.has_tokenizer else None
    reason = "length"
    try:
        for left in range(request.max_tokens, 0, -1):
            asked = interrupt() if interrupt else None
            if asked is not None:
                reason = asked
                break
            token = sampler(decoder.logits)
            if token in request.stop_tokens:
                reason = "stop"
                break
            yield Piece(text.push(token) if text else "", token)
            if left > 1:
                decoder.feed(token, left - 1)
    finally:
        decoder.settle()
    yield Piece(text.flush() if text else "", None, reason)
