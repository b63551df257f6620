"""Keeps an answer to one of the statements that can truly be made: the model chooses among them.

Tokens are judged by the bytes that they add, so that any vocabulary will do.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgespike.grounding.grounds import Grounds
from edgespike.grounding.masking import Grounded, Vocabulary

_SPACE = ord(" ")


def enforcing(
    vocabulary: Vocabulary, grounds: Grounds, statements: Sequence[str]
) -> Grounded | Stated:
    """What keeps an answer to `grounds`: to one of the `statements`, if there are any."""
    return Stated(vocabulary, statements) if statements else Grounded(vocabulary, grounds)


class Stated:
    """The constraint of one answer; see `edgespike.engine.constrain.Constraint`.

    `refusals` counts how often the likeliest token was none that may come.
    """

    def __init__(self, vocabulary: Vocabulary, statements: Sequence[str]) -> None:
        """`statements`: at least one, none of them empty."""
        self._vocabulary = vocabulary
        self._whole = [vocabulary.written(text) for text in statements]
        self._left = self._whole
        self._at = 0
        self.refusals = 0

    def restart(self) -> None:
        """Begin another answer to the same prompt."""
        self._left, self._at = self._whole, 0

    @property
    def settled(self) -> bool:
        """Whether the answer may be cut here: at the end of a statement or of a word."""
        at = self._at
        return any(len(text) == at or text[at] == _SPACE for text in self._left)

    def allows(self, token: int) -> bool:
        """Whether `token` may come next."""
        pieces, at = self._vocabulary.pieces, self._at
        piece = pieces[token] if token < len(pieces) else None
        if piece is not None and (
            any(text.startswith(piece, at) for text in self._left) if piece else self._complete
        ):
            return True
        self.refusals += 1
        return False

    def push(self, token: int) -> None:
        """`token` was chosen."""
        piece = self._vocabulary.pieces[token]
        self._left = [text for text in self._left if text.startswith(piece, self._at)]
        self._at += len(piece)

    def mask(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """A copy of `logits` [V], -inf for tokens that may not come next."""
        vocabulary, at = self._vocabulary, self._at
        allowed = list(vocabulary.spelt.get(b"", ())) if self._complete else []
        nexts = {text[at : at + vocabulary.longest] for text in self._left}
        for piece in {text[:end] for text in nexts for end in range(1, len(text) + 1)}:
            allowed += vocabulary.spelt.get(piece, ())
        masked = np.full_like(logits, -np.inf)
        known = [token for token in allowed if token < logits.size]
        masked[known] = logits[known]
        return masked

    @property
    def _complete(self) -> bool:
        return any(len(text) == self._at for text in self._left)
