"""Reads an answer character by character and knows at any moment which characters may follow.

Text without digits is free. A digit may come only where a supported figure begins, at the start of
a word, or goes on; and a figure that has begun must be ended as it is written: with "21.5"
supported, "2" must go on to "21.5", and neither "121.5" nor "21.54" nor "-21.5" can be said.

The answer is read in several ways at once (threads of a nondeterministic automaton): as free text,
and at one or more places in the tree of supported figures. It is dead when no way is left. What
follows a state is worked out when it is first asked for, and remembered.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import cast

from edgespike.grounding.figures import HYPHENS, NEGATIONS, is_digit

DEAD = -1
"""The state from which no text leads on."""

# The free threads, by what may follow: anything; after a sign or mark, no digit; within a word, no
# digit (with the part of a word for minus that was read); after a number and its unit, neither
# digit nor "_", which would make it a name; after a name and a hyphen, no word; after "minus ", no
# number but a negative one.
_START, _BLOCKED, _WORD, _UNIT = "start", "blocked", "word ", "unit"
_HYPHENED, _NEGATED = "hyphened", "negated"

_FREE = (
    _START, _BLOCKED, _UNIT, _HYPHENED, _NEGATED, f"{_WORD}-",
    *(f"{_WORD}{word[:end]}" for word in NEGATIONS for end in range(1, len(word) + 1)),
)  # fmt: skip

LONE = len(_FREE)
"""States below are one kind of free text each, the same in every automaton: only where a figure may
begin can they lead to others.
"""

_SPACES = " \n\t\r"
_OPENING = "([{<>\"'“‘«=~≈≤≥+*|$€£¥"

_Thread = str | int  # a kind of free text, or a place in the tree


class Automaton:
    """States are small integers, or DEAD."""

    def __init__(self, patterns: Mapping[str, bool]) -> None:
        """`patterns`: folded figures, and whether each is a number, which its unit may follow."""
        self._children: list[dict[str, int]] = [{}]
        self._ends: dict[int, bool] = {}
        for text, number in patterns.items():
            self._ends[self._place(text)] = number
        self._states: list[frozenset[_Thread]] = []
        self._numbered: dict[frozenset[_Thread], int] = {}
        self._next: list[dict[str, int]] = []
        self.settled: list[bool] = []
        """Of each state, whether the text may end there: in no figure that needs to go on."""
        self.free: list[bool] = []
        """Of each state, whether any text without digits and "_" may follow."""
        for thread in _FREE:
            self._number({thread})
        self.start = self._number({_START})
        self.beginnings = frozenset(self._children[0])
        """First characters of all figures."""

    def walk(self, state: int, text: str) -> int:
        """The state after the folded `text`."""
        for char in text:
            if state == DEAD:
                break
            after = self._next[state].get(char)
            if after is None:
                after = self._step(state, char)
            state = after
        return state

    def awaits(self, state: int, part: bytes) -> bool:
        """Whether a figure goes on with a character whose UTF-8 begins with `part`."""
        return any(
            char.encode().startswith(part)
            for thread in self._states[state]
            if isinstance(thread, int)
            for char in self._children[thread]
        )

    def _place(self, text: str) -> int:
        place = 0
        for char in text:
            place = self._children[place].setdefault(char, len(self._children))
            if place == len(self._children):
                self._children.append({})
        return place

    def _number(self, threads: Iterable[_Thread]) -> int:
        """The state that consists of these threads."""
        state = frozenset(threads)
        if not state:
            return DEAD
        number = self._numbered.get(state)
        if number is None:
            number = self._numbered[state] = len(self._states)
            free = settled = False
            for thread in state:
                if isinstance(thread, str):
                    settled, free = True, free or thread != _HYPHENED
                else:
                    settled = settled or thread in self._ends
            self._states.append(state)
            self._next.append({})
            self.settled.append(settled)
            self.free.append(free)
        return number

    def _step(self, state: int, char: str) -> int:
        follow: set[_Thread | None] = set()
        for thread in self._states[state]:
            if isinstance(thread, int):
                follow.add(self._children[thread].get(char))
                if thread in self._ends:
                    follow.add(_after_figure(self._ends[thread], char))
            else:
                follow.add(_in_free_text(thread, char))
                if char in self.beginnings and _may_begin(thread, char):
                    follow.add(self._children[0][char])
        follow.discard(None)
        after = self._number(cast("set[_Thread]", follow))
        self._next[state][char] = after
        return after


def _may_begin(thread: str, char: str) -> bool:
    """Whether a figure may begin with `char`."""
    return thread == _START or (thread in (_BLOCKED, _NEGATED) and _kind(char) in ("letter", "_"))


@lru_cache(1024)
def _after_figure(number: bool, char: str) -> str | None:
    """How free text goes on with `char` after a complete figure, if it may."""
    kind = _kind(char)
    if kind in ("digit", "_") or (kind == "letter" and not number):
        return None
    if kind in ("letter", "hyphen"):
        return _UNIT if number else _HYPHENED
    return _START if kind == "space" else _BLOCKED


@lru_cache(4096)
def _in_free_text(thread: str, char: str) -> str | None:
    """How free text goes on after `char`, if it may."""
    kind = _kind(char)
    if kind == "digit":
        return None
    if thread in (_UNIT, _HYPHENED):
        if kind == "_" or (thread == _HYPHENED and kind == "letter"):
            return None
        if kind == "hyphen" or (thread == _UNIT and kind == "letter"):
            return thread
    elif kind in ("letter", "_"):
        return _word(thread.removeprefix(_WORD) + char if thread.startswith(_WORD) else char)
    elif thread.startswith(_WORD):
        if kind == "hyphen":
            return f"{_WORD}-"
        if kind in ("space", "gap") and thread.removeprefix(_WORD) in NEGATIONS:
            return _NEGATED
    elif thread == _NEGATED and kind in ("space", "gap"):
        return _NEGATED
    elif thread == _START and kind == "opening":
        return _START
    return _START if kind == "space" else _BLOCKED


def _word(letters: str) -> str:
    """The thread in a word of which `letters` were read."""
    return _WORD + letters if any(n.startswith(letters) for n in NEGATIONS) else f"{_WORD}-"


@lru_cache(1024)
def _kind(char: str) -> str:
    if is_digit(char):
        return "digit"
    if char.isalnum():
        return "letter"
    if char == "_":
        return "_"
    if char in _SPACES:
        return "space"
    if char.isspace():
        return "gap"
    if char in HYPHENS:
        return "hyphen"
    return "opening" if char in _OPENING else "other"
