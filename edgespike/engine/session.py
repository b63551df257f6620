"""A session: one sequence of tokens and all that the model remembers of it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgespike.errors import DataError, UsageError
from edgespike.model.arrays import State

if TYPE_CHECKING:
    from edgespike.engine.pool import SessionPool

Tokens = Sequence[int] | NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a session at one position, for the model with that fingerprint."""

    fingerprint: str
    kv: str
    position: int
    state: State


@dataclass(frozen=True, slots=True, eq=False)
class Mark:
    """A position of a session to come back to, and what the keys and values don't tell of it."""

    position: int
    membrane: NDArray[np.float32]
    memory: NDArray[np.float32]
    spikes: NDArray[np.int64]


class Session:
    """State of fixed size, advanced token by token or many at once with the same result."""

    def __init__(self, pool: SessionPool, slot: int) -> None:
        """A place in a pool, as `SessionPool.session` gives it."""
        self.model = pool.model
        self.pool = pool
        self.slot = slot
        self._state, self._trail = pool.memory(slot)
        self._position = 0
        self._kept = 0
        self._open = True

    @property
    def position(self) -> int:
        """Tokens so far."""
        return self._position

    @property
    def nbytes(self) -> int:
        """Bytes of state; they don't grow."""
        return sum(array.nbytes for array in self._state)

    @property
    def spike_rates(self) -> dict[str, Any]:
        """Share of neurons that fired since the start.

        {"encoder": float, "layers": [float], "feed_forward": [float]}: spikes that leave the
        encoder and each layer, and those inside each layer's feed-forward network.
        """
        config = self.model.config
        counts = self._state.spikes[0] / max(1, self._position)
        rates = (counts[: 1 + config.n_layers] / config.embed_dim).tolist()
        hidden = (counts[1 + config.n_layers :] / config.intermediate_dim).tolist()
        return {"encoder": rates[0], "layers": rates[1:], "feed_forward": hidden}

    def advance(self, tokens: Tokens, all_logits: bool = False) -> NDArray[np.float32]:
        """Append `tokens`; returns logits float32 [V] of the last, or [m, V] of all positions.

        How tokens are divided among calls changes no bit of the result. Raises UsageError when
        `tokens` is empty or holds an id outside the vocabulary; the session is then unchanged.
        """
        return self.pool.advance([(self, tokens)], all_logits)[0]

    def take_back(self, count: int) -> None:
        """Forget the last `count` of the tokens that were appended together, never all of them.

        Only what the latest call appended can be taken back, if that was at most 8 tokens: drafts
        that turned out wrong. Raises UsageError for anything else.
        """
        if count == 0:
            return
        if not 0 < count < self._kept:
            raise UsageError(f"can't take back {count} tokens of the {self._kept} that were kept")
        row = self._kept - count - 1
        for array, kept in (
            (self._state.membrane, self._trail.membrane),
            (self._state.memory, self._trail.memory),
            (self._state.spikes, self._trail.spikes),
        ):
            np.copyto(array, kept[:, row])
        self._position -= count
        self._kept = 0

    def mark(self) -> Mark:
        """Here, to come back to. Costs little: keys and values stay where they are."""
        state = self._state
        return Mark(self._position, state.membrane.copy(), state.memory.copy(), state.spikes.copy())

    @property
    def room(self) -> int:
        """Tokens that can be appended before keys and values are overwritten that an earlier
        position may see: while there is room, every earlier mark of this session is good.
        """
        config = self.model.config
        return config.anchors + config.window + 1 - self._position

    def rewind(self, mark: Mark) -> None:
        """Return to a mark of this session. Raises UsageError when there was no `room` left."""
        if self.room < 0 or mark.position > self._position:
            raise UsageError("what the session was at that mark has been overwritten")
        for array, kept in (
            (self._state.membrane, mark.membrane),
            (self._state.memory, mark.memory),
            (self._state.spikes, mark.spikes),
        ):
            np.copyto(array, kept)
        self._position = mark.position
        self._kept = 0

    def snapshot(self) -> Snapshot:
        """A copy of the state, to come back to."""
        self.check_open()
        state = State._make(array.copy() for array in self._state)
        return Snapshot(self.model.fingerprint, self.model.kv, self._position, state)

    def restore(self, snapshot: Snapshot) -> None:
        """Return to `snapshot`, of this session or another. Raises UsageError if it belongs to
        another model or has keys and values in another precision.
        """
        self.check_open()
        if snapshot.fingerprint != self.model.fingerprint:
            raise UsageError("the snapshot belongs to another model")
        if snapshot.kv != self.model.kv:
            raise UsageError(
                f"the snapshot has keys and values in {snapshot.kv}, the model in {self.model.kv}"
            )
        self._become(snapshot.state, snapshot.position)

    def fork(self, pool: SessionPool | None = None, mark: Mark | None = None) -> Session:
        """Another session that continues from here on its own, or from a `mark` that would do for
        `rewind`; in `pool` or in memory of its own.

        Raises UnavailableError when that pool is full, UsageError when it is of another model.
        """
        self.check_open()
        if pool is not None and pool.model is not self.model:
            raise UsageError("the pool belongs to another model")
        other = (pool or self.model.pool(1)).session()
        other._become(self._state, self._position)
        if mark is not None:
            other.rewind(mark)
        return other

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the session to `path` (replaced at once, or left as it was)."""
        from edgespike.engine.session_file import write_snapshot

        write_snapshot(Path(path), self.snapshot())

    def load(self, path: str | os.PathLike[str]) -> None:
        """Continue from a file that `save` wrote.

        Raises MissingInputError or DataError; the session is then unchanged.
        """
        from edgespike.engine.session_file import read_snapshot

        snapshot = read_snapshot(Path(path), self._state, self.model.kv)
        if snapshot.fingerprint != self.model.fingerprint:
            raise DataError(f"{path}: the session belongs to another model")
        self.restore(snapshot)

    def close(self) -> None:
        """Give the place back to the pool; the session can't be used afterwards."""
        if self._open:
            self._open = False
            self.pool.release(self.slot)

    def check_open(self) -> None:
        """Raises UsageError when the session was closed."""
        if not self._open:
            raise UsageError("the session is closed")

    def moved(self, trail_row: int) -> None:
        """One token was appended; what followed from it is kept in that row of the trail, or -1."""
        self._position += 1
        self._kept = trail_row + 1

    def _become(self, state: State, position: int) -> None:
        pairs: Iterable[tuple[NDArray[Any], NDArray[Any]]] = zip(self._state, state, strict=True)
        for here, there in pairs:
            np.copyto(here, there)
        self._position = position
        self._kept = 0
