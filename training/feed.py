"""Batches made ahead by another process, so that training never waits for them."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path

from edgespike.tokenizer import Tokenizer
from training.dialogues import Batch, batch
from training.recipe import Recipe

AHEAD = 6


@cache
def _tokenizer(path: Path) -> Tokenizer:
    return Tokenizer.from_file(path)


def _make(recipe: Recipe, vocabulary: Path, step: int) -> Batch:
    r = recipe
    tokenizer = _tokenizer(vocabulary)
    return batch(r.seed, step, "train", tokenizer, r.batch, r.length, r.prompt_weight)


class Feed:
    """The batches of the steps from `step` on, in order. Use as a context manager."""

    def __init__(self, recipe: Recipe, vocabulary: Path, step: int) -> None:
        self._recipe, self._vocabulary, self._next = recipe, vocabulary, step
        self._pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        self._waiting: deque[Future[Batch]] = deque()

    def __enter__(self) -> Feed:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def take(self) -> Batch:
        """The next batch; waits for it where it isn't ready."""
        while len(self._waiting) < AHEAD:
            made = self._pool.submit(_make, self._recipe, self._vocabulary, self._next)
            self._waiting.append(made)
            self._next += 1
        return self._waiting.popleft().result()
