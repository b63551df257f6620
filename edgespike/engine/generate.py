"""Prefill a prompt, then decode: a stream of pieces of text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgespike.engine.constrain import Constraint, Transcript
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
    """What to continue, and how. See `Model.generate`. `seen` is what the session has read before,
    as far as it is worth drafting from.
    """

    prompt: Sequence[int]
    max_tokens: int
    sampling: Sampling
    stop_tokens: frozenset[int]
    lookup: bool
    constraint: Constraint | None = None
    seen: Sequence[int] = ()

    def __post_init__(self) -> None:
        if self.max_tokens < 0:
            raise UsageError(f"max_tokens is {self.max_tokens}; it can't be negative")
        if len(self.prompt) == 0:
            raise UsageError("the prompt is empty: give at least one token")


class Generation:
    """One answer in the making, driven from outside: `feed` goes to the session, the logits that
    come of it to `take`, until `next` has a piece. So several can share each step of a model.
    """

    def __init__(self, model: Model, session: Session, request: Request) -> None:
        self.session = session
        self._request = request
        self._sampler = Sampler(request.sampling, model.config.active_vocab, request.constraint)
        self._lookup = Lookup((*request.seen, *request.prompt)) if request.lookup else None
        stream = model.tokenizer.stream() if model.has_tokenizer else None
        self._text = Transcript(stream, request.constraint)
        self._forced = self._force()
        self._left = request.max_tokens
        self._rows: list[NDArray[np.float32]] = []
        self._chosen: list[int] = []
        self._draft: list[int] = []
        self._drafted = 0
        self._foreseen: list[int] = []
        self.read = 0

    @property
    def reading(self) -> bool:
        """Whether some of the prompt is still to be fed; `read` tokens of it were."""
        return self.read < len(self._request.prompt)

    @property
    def hungry(self) -> bool:
        """Whether the session must be fed before there is a next piece."""
        decided = not self._left or self._forced is not None
        return self.reading or (bool(self._chosen) and not decided)

    @property
    def unfed(self) -> list[int]:
        """Tokens of a finished answer that the session hasn't been fed: its last ones, or none."""
        return list(self._chosen)

    def feed(self, most: int) -> tuple[list[int], bool]:
        """The tokens to feed now, at most `most` of the prompt's, and whether the logits of all of
        them are wanted rather than the last one's.
        """
        if self.reading:
            return list(self._request.prompt[self.read : self.read + most]), False
        if self._lookup is not None and len(self._chosen) == 1:
            self._draft = self._lookup.propose(min(self._left - 1, LOOKAHEAD))
        return [*self._chosen, *self._draft], bool(self._draft)

    def take(self, logits: NDArray[np.float32], fed: int) -> None:
        """The logits of what was just fed, `fed` tokens: [V] or [m, V], as `feed` wanted them."""
        if self.reading:
            self.read += fed
            self._rows = [] if self.reading else [logits]
        else:
            self._rows = list(logits) if logits.ndim == 2 else [logits]
            self._chosen, self._drafted = [], len(self._draft)

    def next(self) -> Piece:
        """The next piece; only when not hungry. The one with a `finish_reason` is the last."""
        if not self._left:
            return self.end("length")
        self._foreseen = []
        token = self._forced if self._forced is not None else self._sampler(self._rows[0])
        if token is None or token in self._request.stop_tokens:
            return self.end("stop")
        self._left -= 1
        if self._lookup is not None:
            self._lookup.add(token)
        if self._draft and self._draft[0] == token:
            # It is in the session already, to be taken back if the answer ends here.
            self._foreseen = [token]
            del self._draft[0], self._rows[0]
        else:
            self.settle()
            self._chosen.append(token)
        text = self._text.push(token)
        self._forced = self._force()
        return Piece(text, token)

    def end(self, reason: str) -> Piece:
        """Finish now; the last piece."""
        self.settle()
        return Piece(self._text.flush(), None, reason)

    def settle(self) -> None:
        """Take back what was drafted and not chosen, so that the session holds what was chosen
        before the latest token.
        """
        wrong = len(self._draft)
        if self._drafted:
            if self._lookup is not None:
                self._lookup.learn(self._drafted, self._drafted - wrong)
            self.session.take_back(wrong + len(self._foreseen))
            self._chosen += self._foreseen
        self._draft, self._foreseen, self._drafted = [], [], 0

    def _force(self) -> int | None:
        """What comes next without a choice: it is fed together with what follows from one."""
        constraint = self._request.constraint
        return None if constraint is None else constraint.forced


def generate(
    model: Model,
    session: Session,
    request: Request,
    interrupt: Interrupt | None,
    on_prefill: Progress | None,
) -> Iterator[Piece]:
    """See `Model.generate`."""
    made = Generation(model, session, request)
    try:
        while True:
            asked = interrupt() if interrupt else None
            if asked is not None:
                yield made.end(asked)
                return
            reading = made.reading
            if made.hungry:
                tokens, everything = made.feed(model.step_positions)
                made.take(session.advance(tokens, all_logits=everything), len(tokens))
            if reading:
                if on_prefill:
                    on_prefill(made.read, len(request.prompt))
                continue
            piece = made.next()
            yield piece
            if piece.finish_reason is not None:
                return
    finally:
        made.settle()
