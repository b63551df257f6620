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
from edgespike.model.arrays import LOOKAHEAD, State
from edgespike.model.state import new_state

if TYPE_CHECKING:
    from edgespike.engine.model import Model


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a session at one position, for the model with that fingerprint."""

    fingerprint: str
    position: int
    state: State


class Session:
    """State of fixed size, advanced token by token or many at once with the same result."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self._state = new_state(model.config)
        self._position = 0
        self._drafted = 0

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

    def advance(
        self, tokens: Sequence[int] | NDArray[np.integer[Any]], all_logits: bool = False
    ) -> NDArray[np.float32]:
        """Append `tokens`; returns logits float32 [V] of the last, or [m, V] of all positions.

        How tokens are divided among calls changes no bit of the result. Raises UsageError when
        `tokens` is empty or holds an id outside the vocabulary; the session is then unchanged.
        """
        ids = self._checked(tokens)
        self._drafted = 0
        wanted = np.arange(ids.size) if all_logits else np.array([ids.size - 1])
        logits = np.empty((wanted.size, self.model.config.vocab_size), np.float32)
        filled = 0
        for start in range(0, ids.size, self.model.step_positions):
            chunk = ids[start : start + self.model.step_positions]
            here = wanted[(wanted >= start) & (wanted < start + chunk.size)] - start
            rows = np.full(chunk.size, -1, np.int64)
            rows[here] = np.arange(here.size)
            positions = np.arange(self._position, self._position + chunk.size, dtype=np.int64)
            self.model.step(
                self._state, chunk, positions, rows, logits[filled : filled + here.size]
            )
            self._position += chunk.size
            filled += here.size
        return logits if all_logits else logits[0]

    def draft(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """Append 1 to 8 tokens, the last of which may be taken back; logits float32 [m, V]."""
        if not 1 <= len(tokens) <= LOOKAHEAD + 1:
            raise UsageError(f"a draft has from 1 to {LOOKAHEAD + 1} tokens, not {len(tokens)}")
        ids = self._checked(tokens)
        logits = np.empty((ids.size, self.model.config.vocab_size), np.float32)
        positions = np.arange(self._position, self._position + ids.size, dtype=np.int64)
        self.model.step(self._state, ids, positions, np.arange(ids.size), logits, trail=True)
        self._position += ids.size
        self._drafted = ids.size
        return logits

    def take_back(self, count: int) -> None:
        """Forget the last `count` tokens, of which the first of the `draft` just made is none.

        Raises UsageError when there is no such draft.
        """
        if not 0 <= count < self._drafted:
            raise UsageError(f"can't take back {count} tokens of a draft of {self._drafted}")
        if count:
            self.model.take_back(self._state, self._drafted - count)
            self._position -= count
        self._drafted = 0

    def snapshot(self) -> Snapshot:
        """A copy of the state, to come back to."""
        state = State._make(array.copy() for array in self._state)
        return Snapshot(self.model.fingerprint, self._position, state)

    def restore(self, snapshot: Snapshot) -> None:
        """Return to `snapshot`. Raises UsageError if it belongs to another model."""
        if snapshot.fingerprint != self.model.fingerprint:
            raise UsageError("the snapshot belongs to another model")
        _copy_state(snapshot.state, self._state)
        self._position = snapshot.position
        self._drafted = 0

    def fork(self) -> Session:
        """Another session that continues from here on its own."""
        other = Session(self.model)
        _copy_state(self._state, other._state)
        other._position = self._position
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

        snapshot = read_snapshot(Path(path), self._state)
        if snapshot.fingerprint != self.model.fingerprint:
            raise DataError(f"{path}: the session belongs to another model")
        self.restore(snapshot)

    def _checked(self, tokens: Sequence[int] | NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        given = np.asarray(tokens)
        if given.size and not np.issubdtype(given.dtype, np.integer):
            raise UsageError(f"token ids are whole numbers, not {given.dtype}")
        ids = given.astype(np.int64)
        if ids.ndim != 1 or ids.size == 0:
            raise UsageError("advance needs at least one token, in a flat sequence")
        vocab = self.model.config.vocab_size
        if ids.min() < 0 or ids.max() >= vocab:
            bad = int(ids[(ids < 0) | (ids >= vocab)][0])
            raise UsageError(f"token id {bad} is outside the vocabulary of {vocab}")
        return ids


def _copy_state(source: State, target: State) -> None:
    arrays: Iterable[tuple[NDArray[Any], NDArray[Any]]] = zip(source, target, strict=True)
    for here, there in arrays:
        np.copyto(there, here)
