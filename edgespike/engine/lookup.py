"""Drafts from what was already said: the tokens that followed the same words before.

Answers about sensors copy names and numbers from the prompt, so the continuation of an earlier
occurrence of the last few tokens is often right (prompt lookup decoding). A wrong draft costs time,
so drafts grow while they are right, shrink when they are not, and pause when they keep failing.
"""

from __future__ import annotations

from collections.abc import Iterable

from edgespike.model.arrays import LOOKAHEAD

_LONGEST, _SHORTEST = 3, 2  # tokens that must agree
# A step of four positions takes a third longer than one, so a draft has three tokens at least, and
# one may be wrong before there is a pause. Replaying 40 answers of the bundled model, and random
# words of which few exist, gives 1.35 and 0.985 times as many tokens in the time; 1.37 and 0.980
# with one token that must agree and three failures, 1.27 and 0.994 with drafts of one token.
_LEAST = LOOKAHEAD // 2
_FREE_FAILURES = 1
_LONGEST_PAUSE = 64


class Lookup:
    """Remembers where each short run of tokens last ended, and proposes what followed."""

    def __init__(self, tokens: Iterable[int] = ()) -> None:
        self._tokens: list[int] = []
        self._after: dict[tuple[int, ...], int] = {}
        self._length = _LEAST
        self._pause = 0
        self._failures = 0
        for token in tokens:
            self.add(token)

    def add(self, token: int) -> None:
        """A token that was read or chosen."""
        # A run is entered when the token after it comes, so that a run never finds itself.
        end = len(self._tokens)
        for length in range(_SHORTEST, min(_LONGEST, end) + 1):
            self._after[tuple(self._tokens[end - length :])] = end
        self._tokens.append(token)

    def propose(self, limit: int) -> list[int]:
        """Up to `limit` tokens that may come next; often none."""
        if self._pause:
            self._pause -= 1
            return []
        for length in range(min(_LONGEST, len(self._tokens)), _SHORTEST - 1, -1):
            start = self._after.get(tuple(self._tokens[len(self._tokens) - length :]))
            if start is not None:
                return self._tokens[start : start + min(self._length, limit)]
        return []

    def learn(self, drafted: int, taken: int) -> None:
        """Of a draft of `drafted` tokens `taken` were right."""
        if taken == drafted:
            self._length = min(self._length + 1, LOOKAHEAD)
        else:
            self._length = max(taken, _LEAST)
        if taken:
            self._failures = 0
        else:
            self._failures += 1
            beyond = self._failures - _FREE_FAILURES
            self._pause = min(2**beyond, _LONGEST_PAUSE) if beyond > 0 else 0
