"""A loaded model: the map, the tokenizer, the threads, and the one primitive `step`."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from edgespike.engine.constrain import Constraint
from edgespike.engine.generate import Interrupt, Piece, Progress, Request, generate
from edgespike.engine.pool import SessionPool, Work
from edgespike.engine.sample import Sampling
from edgespike.engine.session import Session
from edgespike.engine.workers import Workers
from edgespike.errors import DataError
from edgespike.kernels.compiler import configure, forget_compiler
from edgespike.model.arrays import State, Step, Trail
from edgespike.model.config import KeyValuePrecision, ModelConfig, Precision, default_key_values
from edgespike.model.container import Container, open_container
from edgespike.model.footprint import check_budget
from edgespike.model.state import new_scratch
from edgespike.model.tensors import EMBEDDING, PRIOR_WEIGHT, TOKENIZER
from edgespike.model.weights import map_weights, model_shape
from edgespike.tokenizer import Tokenizer

# Positions in one call of the kernel: enough that reading a weight costs less than using it, few
# enough that a prefill can be interrupted several times a second at the 0.8B shape.
STEP_POSITIONS = 32


class Model:
    """A container that is ready to run; its sessions take turns with its one set of threads."""

    def __init__(
        self,
        container: Container,
        *,
        threads: int = 1,
        isa: str = "native",
        kv: KeyValuePrecision | None = None,
    ) -> None:
        """See `load`."""
        configure(isa)
        from edgespike.kernels.step import advance

        self.container = container
        self.config = container.config
        self.threads = threads
        self.isa = isa
        self.kv = kv or default_key_values(container.precision)
        self.step_positions = STEP_POSITIONS
        self._advance = advance
        self._weights = map_weights(container)
        self._shape = model_shape(self.config, container.array(PRIOR_WEIGHT)[0], self.kv)
        self._scratch = new_scratch(self.config, STEP_POSITIONS, threads)
        self._workers = Workers(threads)
        self._lock = threading.Lock()
        self._ran = False

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer in the container; DataError if it has none."""
        data = self.container.tokenizer
        if data is None:
            raise DataError(
                f"{self.container.path}: the model has no tokenizer: "
                "convert it again with --tokenizer, or use token ids"
            )
        return Tokenizer(data)

    @property
    def has_tokenizer(self) -> bool:
        """Whether the container carries a tokenizer."""
        return TOKENIZER in self.container.tensors

    @cached_property
    def fingerprint(self) -> str:
        """Names the weights and the configuration: a session fits no other model."""
        facts = self.container.metadata
        text = repr(sorted((key, facts[key]) for key in facts if key.startswith("edgespike.")))
        return hashlib.sha256(text.encode()).hexdigest()

    def session(self) -> Session:
        """A new, empty session with memory of its own."""
        return self.pool(1).session()

    def pool(self, size: int) -> SessionPool:
        """Room for `size` sessions that can share a step."""
        return SessionPool(self, size)

    def advance_together(
        self, work: Work, all_logits: bool | Sequence[bool] = False
    ) -> list[NDArray[np.float32]]:
        """Append to each of several sessions of one pool its own tokens, in as few steps as can be.

        `work` has pairs of a session and its tokens; the result has for each what
        `Session.advance` would have returned, to the last bit. `all_logits` may differ from
        session to session. Raises UsageError as `Session.advance` does, when sessions are of
        different pools, or when one is there twice; all sessions are then unchanged.
        """
        return work[0][0].pool.advance(work, all_logits) if work else []

    def step(self, state: State, trail: Trail, step: Step) -> None:
        """Run one step of at most `step_positions` positions."""

        def work(thread: int, threads: int, counter: NDArray[np.int64]) -> None:
            self._advance(
                self._weights,
                self._shape,
                state,
                trail,
                self._scratch,
                step,
                thread,
                threads,
                counter,
            )

        with self._lock:
            self._workers.run(work)
            # A token reads one row; the system maps its neighbours as well.
            self.container.forget(EMBEDDING)
            if not self._ran:
                self._ran = True
                forget_compiler()

    def generate(
        self,
        prompt: str | Sequence[int],
        *,
        max_tokens: int = 64,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
        session: Session | None = None,
        stop_tokens: Sequence[int] = (),
        interrupt: Interrupt | None = None,
        on_prefill: Progress | None = None,
        lookup: bool = True,
        constraint: Constraint | None = None,
    ) -> Iterator[Piece]:
        """Continue `prompt`, piece by piece.

        A string is encoded as outside text, with BOS in a new session; ids are taken as they are.
        `session` continues a dialogue (default: a new one). `interrupt` is asked between chunks of
        the prefill and between tokens; what it returns, unless None, ends the answer and becomes
        its `finish_reason`. `constraint` (one for this answer alone) decides which tokens may come.
        Raises UsageError for arguments out of range.
        """
        sampling = Sampling(temperature=temperature, top_p=top_p, seed=seed)
        active = session if session is not None else self.session()
        if isinstance(prompt, str):
            ids: Sequence[int] = self.tokenizer.encode(prompt, bos=active.position == 0)
        else:
            ids = prompt
        request = Request(ids, max_tokens, sampling, frozenset(stop_tokens), lookup, constraint)
        return generate(self, active, request, interrupt, on_prefill)

    def close(self) -> None:
        """End the helper threads; the model can't be used afterwards."""
        self._workers.close()


def load(
    path: str | os.PathLike[str],
    *,
    threads: int = 1,
    isa: str = "native",
    kv: KeyValuePrecision | None = None,
    verify: bool = True,
    budget: int | None = None,
    lock: bool = False,
    huge_pages: bool = False,
) -> Model:
    """Map a container and make it ready.

    `kv` is the precision of keys and values; by default what keeps the accuracy of the weights:
    fp32 for float weights, else int16. `verify` compares the digests of all tensors, which reads
    the whole file once. `budget` is the memory in bytes that the model may take with one session,
    checked before anything is mapped; `lock` keeps the file in memory, `huge_pages` asks for those.
    Raises MissingInputError, DataError (naming the tensor) or UnavailableError (instructions
    missing, more than the budget, what the system does not allow).
    """

    def admit(config: ModelConfig, precision: Precision, size: int) -> None:
        if budget is not None:
            check_budget(config, precision, size, kv, budget)

    container = open_container(path, verify=verify, admit=admit)
    if huge_pages:
        container.file_map.use_huge_pages()
    if lock:
        container.file_map.lock()
    return Model(container, threads=threads, isa=isa, kv=kv)
