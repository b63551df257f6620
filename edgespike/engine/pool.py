"""Sessions whose state lies side by side, so that one step can advance several of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgespike.engine.session import Session, Tokens
from edgespike.errors import UnavailableError, UsageError
from edgespike.model.arrays import LOOKAHEAD, State, Step, Trail
from edgespike.model.state import new_state, new_trail

if TYPE_CHECKING:
    from edgespike.engine.model import Model

MAX_SESSIONS = 256

Work = Sequence[tuple[Session, Tokens]]


class SessionPool:
    """Room for a fixed number of sessions. Memory that no session has used yet costs nothing."""

    def __init__(self, model: Model, size: int) -> None:
        if not 1 <= size <= MAX_SESSIONS:
            raise UsageError(f"a pool is for 1 to {MAX_SESSIONS} sessions, not {size}")
        self.model = model
        self.size = size
        self._state = new_state(model.config, model.kv, size)
        self._trail = new_trail(model.config, size)
        self._free = list(reversed(range(size)))

    def session(self) -> Session:
        """A new, empty session. Raises UnavailableError when all places are taken."""
        if not self._free:
            raise UnavailableError(
                f"all {self.size} sessions of the pool are in use: close one first"
            )
        return Session(self, self._free.pop())

    def memory(self, slot: int) -> tuple[State, Trail]:
        """The part that belongs to one session, as views with a first axis of one."""
        here = slice(slot, slot + 1)
        return (
            State._make(array[here] for array in self._state),
            Trail._make(array[here] for array in self._trail),
        )

    def release(self, slot: int) -> None:
        """Forget what was there, and give the place to the next session."""
        state, _ = self.memory(slot)
        for array in state:
            array.fill(0)
        self._free.append(slot)

    def advance(
        self, work: Work, all_logits: bool | Sequence[bool] = False
    ) -> list[NDArray[np.float32]]:
        """See `Model.advance_together`."""
        given = self._checked(work)
        every = [all_logits] * len(work) if isinstance(all_logits, bool) else all_logits
        runs = [
            _Run(session, tokens, everything)
            for (session, _), tokens, everything in zip(work, given, every, strict=True)
        ]
        tokens = np.concatenate(given)
        owners = np.concatenate([np.full(run.size, run.session.slot) for run in runs])
        positions = np.concatenate([run.session.position + np.arange(run.size) for run in runs])
        wanted = np.concatenate([run.wanted for run in runs])
        trail_rows = np.concatenate([run.trail_rows for run in runs])
        logits = np.empty((int(wanted.sum()), self.model.config.vocab_size), np.float32)
        by_slot = {run.session.slot: run.session for run in runs}
        filled = 0
        for start in range(0, tokens.size, self.model.step_positions):
            part = slice(start, start + self.model.step_positions)
            here = wanted[part]
            rows = logits[filled : filled + int(here.sum())]
            step = Step(
                tokens=tokens[part],
                owners=owners[part],
                positions=positions[part],
                logit_row=np.where(here, np.cumsum(here) - 1, -1),
                logits=rows,
                prior_logits=np.empty_like(rows),
                trail_row=trail_rows[part],
            )
            self.model.step(self._state, self._trail, step)
            filled += len(rows)
            for slot, row in zip(step.owners.tolist(), step.trail_row.tolist(), strict=True):
                by_slot[slot].moved(row)
        parts = np.split(logits, np.cumsum([run.wanted.sum() for run in runs])[:-1])
        return [part if run.every else part[0] for run, part in zip(runs, parts, strict=True)]

    def _checked(self, work: Work) -> list[NDArray[np.int64]]:
        """The tokens of each session, when all of the work can be done."""
        sessions = [session for session, _ in work]
        if any(session.pool is not self for session in sessions):
            raise UsageError("sessions that advance together are of one pool")
        if len(set(sessions)) < len(sessions):
            raise UsageError("a session is there twice: give it all its tokens at once")
        for session in sessions:
            session.check_open()
        return [_token_ids(tokens, self.model.config.vocab_size) for _, tokens in work]


class _Run:
    """One session's part of a step."""

    def __init__(self, session: Session, tokens: NDArray[np.int64], every: bool) -> None:
        self.session = session
        self.size = tokens.size
        self.every = every
        self.wanted = np.full(self.size, every)
        self.wanted[-1] = True
        keeps = 1 < self.size <= LOOKAHEAD + 1
        self.trail_rows = np.arange(self.size) if keeps else np.full(self.size, -1)


def _token_ids(tokens: Tokens, vocab: int) -> NDArray[np.int64]:
    given = np.asarray(tokens)
    if given.size and not np.issubdtype(given.dtype, np.integer):
        raise UsageError(f"token ids are whole numbers, not {given.dtype}")
    ids = given.astype(np.int64)
    if ids.ndim != 1 or ids.size == 0:
        raise UsageError("advance needs at least one token, in a flat sequence")
    if ids.min() < 0 or ids.max() >= vocab:
        bad = int(ids[(ids < 0) | (ids >= vocab)][0])
        raise UsageError(f"token id {bad} is outside the vocabulary of {vocab}")
    return ids
