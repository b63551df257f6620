"""Keeps an answer to one of the statements that can truly be made: the model chooses among them.

A statement is the tokens that it is encoded to, so that all but the choices between statements is
settled beforehand and costs the model nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edgespike.grounding.grounds import Grounds
from edgespike.grounding.masking import Grounded, Vocabulary


def enforcing(
    vocabulary: Vocabulary, grounds: Grounds, statements: Mapping[str, float]
) -> Grounded | Stated:
    """What keeps an answer to `grounds`: to one of the `statements`, if there are any."""
    return Stated(vocabulary, statements) if statements else Grounded(vocabulary, grounds)


class Stated:
    """The constraint of one answer; see `edgespike.engine.constrain.Constraint`."""

    weighs = True

    def __init__(self, vocabulary: Vocabulary, statements: Mapping[str, float]) -> None:
        """`statements`: at least one, none of them empty; with how likely each is by itself, in
        log odds, which are added to the model's.
        """
        self._vocabulary = vocabulary
        self._whole = [
            (tuple(vocabulary.tokenizer.encode(text)), odds) for text, odds in statements.items()
        ]
        self._left = self._whole
        self._at = 0

    def restart(self) -> None:
        """Begin another answer to the same prompt."""
        self._left, self._at = self._whole, 0

    @property
    def settled(self) -> bool:
        """Whether the answer may be cut here: at the end of a statement or of a word."""
        pieces = self._vocabulary.pieces
        return self._complete or any(pieces[token].startswith(b" ") for token in self._next())

    @property
    def forced(self) -> int | None:
        """The only token that may come next, or a token that ends the answer if nothing else may;
        None while there is a choice.
        """
        tokens, ends = self._next(), self._vocabulary.ends
        if not tokens:
            return ends[0] if ends else None
        return tokens.pop() if len(tokens) == 1 and not self._complete else None

    def allows(self, token: int) -> bool:
        """Whether `token` may come next."""
        return token in self._next() or (self._complete and token in self._vocabulary.silent)

    def push(self, token: int) -> None:
        """`token` was chosen."""
        if token not in self._vocabulary.silent:
            at = self._at
            left = self._left
            self._left = [(ids, odds) for ids, odds in left if len(ids) > at and ids[at] == token]
            self._at += 1

    def mask(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """A copy of `logits` [V], -inf for tokens that may not come next; to the others the odds of
        the likeliest statement are added that goes on so.
        """
        odds = self._odds()
        masked = np.full_like(logits, -np.inf)
        known = [token for token in odds if token < logits.size]
        masked[known] = logits[known] + np.array([odds[token] for token in known], logits.dtype)
        return masked

    def _odds(self) -> dict[int, float]:
        """The tokens that may come next, each with the odds of the likeliest that it leads to."""
        found: dict[int, float] = {}
        for ids, odds in self._left:
            going = ids[self._at : self._at + 1] or self._vocabulary.silent
            for token in going:
                found[token] = max(odds, found.get(token, -np.inf))
        return found

    def _next(self) -> set[int]:
        """The tokens with which statements go on."""
        at = self._at
        return {ids[at] for ids, _ in self._left if len(ids) > at}

    @property
    def _complete(self) -> bool:
        return any(len(ids) == self._at for ids, _ in self._left)
