"""Keeps an answer within its grounds: masks tokens that would form an unsupported number or name.

Tokens are judged by their text, so that any vocabulary will do: pieces of several digits, of
letters and digits, and single bytes. An answer can't leave a figure that it has begun before that
is complete. Should a vocabulary have no token to complete it, the answer ends, without it.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from edgespike.grounding.automaton import DEAD, LONE, Automaton
from edgespike.grounding.figures import folded, has_digit
from edgespike.grounding.grounds import Grounds
from edgespike.tokenizer import Tokenizer, decode_complete

_BROKEN = "\N{REPLACEMENT CHARACTER}"
_MAX_MASKS = 64  # remembered for one answer: a byte per token and state


class Vocabulary:
    """The tokens of a tokenizer, sorted by what they can do to a number. Made once for a model."""

    def __init__(self, tokenizer: Tokenizer, ends: Collection[int] = ()) -> None:
        """`ends` are the tokens that end an answer."""
        self.tokenizer = tokenizer
        self.ends = tuple(ends)
        self.pieces = [tokenizer.text_bytes(token) for token in range(tokenizer.size)]
        """What each token adds to a text, in UTF-8; nothing for one that ends it."""
        for token in ends:
            self.pieces[token] = b""
        self.silent = {token for token, piece in enumerate(self.pieces) if not piece}
        """The tokens that add nothing."""
        self.texts: list[str | None] = [None] * tokenizer.size
        """Folded text of each token; None for a part of a character."""
        self.parts: list[int] = []
        self.digits: dict[str, list[int]] = {}
        """Tokens that hold a digit or "_", by their first character."""
        self.plain: dict[str, NDArray[np.int64]] = {}
        """The other tokens, by their first character; "" for those without text."""
        plain: dict[str, list[int]] = {}
        for token, piece in enumerate(self.pieces):
            text, rest = decode_complete(piece)
            if rest or (piece and text == _BROKEN):
                self.parts.append(token)
                continue
            text = self.texts[token] = folded(text)
            group = self.digits if "_" in text or has_digit(text) else plain
            group.setdefault(text[:1], []).append(token)
        self.plain = {first: np.array(tokens) for first, tokens in plain.items()}
        self.free: NDArray[np.bool_] = np.zeros(tokenizer.size, np.bool_)
        """Whether a token is plain, bool [V]."""
        for tokens in self.plain.values():
            self.free[tokens] = True
        self._bare = Automaton({})
        self._jumps: list[dict[int, int]] = [{} for _ in range(LONE)]

    def jump(self, state: int, token: int, text: str) -> int:
        """The state after `token`, in which no figure begins, from a lone state: in any automaton.

        Remembered for the life of the model, so that most tokens of an answer cost one look-up.
        """
        after = self._jumps[state].get(token)
        if after is None:
            after = self._jumps[state][token] = self._bare.walk(state, text)
        return after


_Place = tuple[int, bytes]
"""Where an answer is: a state of the automaton, and the bytes of an unfinished character."""


class Grounded:
    """The constraint of one answer; see `edgespike.engine.constrain.Constraint`."""

    forced = None
    weighs = False

    def __init__(self, vocabulary: Vocabulary, grounds: Grounds) -> None:
        self._vocabulary = vocabulary
        self._automaton = Automaton(grounds.patterns())
        self._place = (self._automaton.start, b"")
        self._latest: tuple[int, _Place] | None = None
        self._masks: dict[_Place, NDArray[np.bool_]] = {}

    def restart(self) -> None:
        """Begin another answer to the same prompt."""
        self._place, self._latest = (self._automaton.start, b""), None

    @property
    def settled(self) -> bool:
        """Whether the answer may end here."""
        return self._automaton.settled[self._place[0]]

    def allows(self, token: int) -> bool:
        """Whether `token` may come next."""
        after = self._after(self._place, token)
        self._latest = (token, after)
        return self._alive(after) and (self.settled or after != self._place)

    def push(self, token: int) -> None:
        """`token` was chosen. Raises DataError for a token without a piece."""
        if self._latest is not None and self._latest[0] == token:
            self._place = self._latest[1]
        else:
            self._place = self._after(self._place, token)
        self._latest = None

    def mask(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """A copy of `logits` [V], -inf for tokens that may not come next."""
        allowed = self._masks.get(self._place)
        if allowed is None:
            if len(self._masks) >= _MAX_MASKS:
                self._masks.clear()
            allowed = self._masks[self._place] = self._allowed(self._place)
        masked = np.full_like(logits, -np.inf)
        known = min(allowed.size, logits.size)
        np.copyto(masked[:known], logits[:known], where=allowed[:known])
        return masked

    def _after(self, place: _Place, token: int) -> _Place:
        texts = self._vocabulary.texts
        text = texts[token] if token < len(texts) else None
        state, part = place
        if text is not None and not part:
            if state < LONE and self._automaton.beginnings.isdisjoint(text):
                return self._vocabulary.jump(state, token, text), part
            return self._automaton.walk(state, text), part
        data = part + self._vocabulary.tokenizer.text_bytes(token)
        text, part = decode_complete(data)
        return self._automaton.walk(state, folded(text)), part

    def _alive(self, place: _Place) -> bool:
        state, part = place
        if state == DEAD or not part:
            return state != DEAD
        broken = self._automaton.walk(state, _BROKEN)
        return broken != DEAD or self._automaton.awaits(state, part)

    def _allowed(self, place: _Place) -> NDArray[np.bool_]:
        """Which tokens may come next, bool [V]."""
        vocabulary, automaton = self._vocabulary, self._automaton
        # Before a token that doesn't complete it, an unfinished character becomes a broken one.
        state = automaton.walk(place[0], _BROKEN if place[1] else "")
        allowed = np.zeros(vocabulary.tokenizer.size, np.bool_)
        if state != DEAD:
            if automaton.free[state]:
                allowed |= vocabulary.free
            else:
                self._allow_plain(state, allowed)
            for first, tokens in vocabulary.digits.items():
                if automaton.walk(state, first) != DEAD:
                    allowed[[t for t in tokens if self._reads(state, t)]] = True
        for token in vocabulary.parts:
            allowed[token] = self._alive(self._after(place, token))
        return allowed

    def _allow_plain(self, state: int, allowed: NDArray[np.bool_]) -> None:
        """Mark the plain tokens that may come in `state`, which is not free."""
        automaton = self._automaton
        for first, tokens in self._vocabulary.plain.items():
            if not first:
                allowed[tokens] = automaton.settled[state]
                continue
            after = automaton.walk(state, first)
            if after != DEAD and automaton.free[after]:
                allowed[tokens] = True
            elif after != DEAD:
                allowed[[int(t) for t in tokens if self._reads(state, int(t))]] = True

    def _reads(self, state: int, token: int) -> bool:
        return self._automaton.walk(state, self._vocabulary.texts[token] or "") != DEAD
