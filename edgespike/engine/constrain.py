"""What an answer may say: the hook by which something outside the engine decides token by token."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgespike.tokenizer import StreamDecoder


class Constraint(Protocol):
    """Follows one answer, and says which tokens may come next in it.

    It depends on nothing but the tokens pushed, so that drafts, seeds and other sessions in the
    same step change no answer.
    """

    @property
    def settled(self) -> bool:
        """Whether the answer may end here."""

    @property
    def forced(self) -> int | None:
        """The token that comes next whatever the model says; None while there is a choice."""

    @property
    def weighs(self) -> bool:
        """Whether `mask` changes which of the tokens that may come is the likeliest."""

    def allows(self, token: int) -> bool:
        """Whether `token` may come next. Asked of the likeliest token, most of the time in vain."""

    def mask(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """A copy of `logits` [V], -inf at what may not come; all -inf: it ends. Where the
        constraint `weighs`, something may be added to the others.
        """

    def push(self, token: int) -> None:
        """`token` was chosen."""


class Transcript:
    """The text of an answer as its tokens are chosen.

    What may not end the answer is held back until it is settled: an answer that is cut short, by
    its length or by a deadline, loses the number that it was in the middle of.
    """

    def __init__(self, stream: StreamDecoder | None, constraint: Constraint | None = None) -> None:
        """`stream` None: there is no tokenizer, and no text."""
        self._stream = stream
        self._constraint = constraint
        self._held = ""

    def push(self, token: int) -> str:
        """Text that can be shown after `token`."""
        if self._constraint is not None:
            self._constraint.push(token)
        self._held += self._stream.push(token) if self._stream else ""
        return self._release()

    def flush(self) -> str:
        """What is left at the end: nothing when the answer may not end here."""
        if self._held or not self._stream:
            return ""
        return self._stream.flush()

    def _release(self) -> str:
        if self._constraint is not None and not self._constraint.settled:
            return ""
        text, self._held = self._held, ""
        return text
