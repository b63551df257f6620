"""Perplexity of a text, comparable between models and between tokenizers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgespike.engine.model import Model
from edgespike.errors import DataError, UsageError

_STEP = 64  # positions whose logits are held at once


@dataclass(frozen=True, slots=True)
class Perplexity:
    """`perplexity` per token, `bits_per_byte` of UTF-8 text, over `tokens` tokens in `windows`."""

    perplexity: float
    bits_per_byte: float
    tokens: int
    bytes: int
    windows: int
    context: int


def _surprise(logits: NDArray[np.float32], targets: NDArray[np.int64]) -> float:
    """Sum over positions of -log p(target) in nats: logits [m, V], targets [m]."""
    wide = logits.astype(np.float64)
    top = wide.max(axis=1, keepdims=True)
    total = top[:, 0] + np.log(np.exp(wide - top).sum(axis=1))
    return float((total - wide[np.arange(len(targets)), targets]).sum())


def perplexity(
    model: Model,
    text: str,
    *,
    context: int | None = None,
    limit: int | None = None,
    on_window: Callable[[int, int], None] | None = None,
) -> Perplexity:
    """Perplexity in windows that don't overlap; BOS opens each, so that every token counts once.

    `context` is the length of a window, BOS included; default: the training context. `limit` uses
    the first tokens only. `on_window` is told windows done and their number. Ids that may never be
    sampled take no part in the softmax. Raises UsageError for a context below 2, DataError for an
    empty text.
    """
    length = model.config.context if context is None else context
    if length < 2:
        raise UsageError("the context must be at least 2 tokens")
    tokenizer = model.tokenizer
    ids = tokenizer.encode(text)[:limit]
    if not ids:
        raise DataError("the text is empty: there is nothing to predict")
    size = len(text.encode()) if limit is None else len(tokenizer.decode(ids).encode())
    nats = 0.0
    starts = range(0, len(ids), length - 1)
    for done, start in enumerate(starts, 1):
        targets = np.array(ids[start : start + length - 1], np.int64)
        inputs = [tokenizer.bos_id, *targets[:-1].tolist()]
        session = model.session()
        for at in range(0, len(inputs), _STEP):
            logits = session.advance(inputs[at : at + _STEP], all_logits=True)
            nats += _surprise(logits[:, : model.config.active_vocab], targets[at : at + _STEP])
        if on_window is not None:
            on_window(done, len(starts))
    return Perplexity(
        perplexity=math.exp(min(nats / len(ids), 700.0)),
        bits_per_byte=nats / math.log(2) / max(size, 1),
        tokens=len(ids),
        bytes=size,
        windows=len(starts),
        context=length,
    )
