"""Several answers in the making, one step at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgespike.engine.generate import Generation

if TYPE_CHECKING:
    from edgespike.engine.model import Model

READ_BESIDE = 8
"""Tokens of a prompt that are read in a step in which another answer gets its next token: at the
0.8B shape such a step takes about three times as long as one that only decodes, where a full one
takes ten times as long, and reads hardly fewer tokens a second."""


def step(model: Model, generations: Sequence[Generation]) -> None:
    """Feed all generations that are hungry, in one step of their sessions' pool.

    Each gets what it would have got alone, to the last bit.
    """
    hungry = [each for each in generations if each.hungry]
    if not hungry:
        return
    readers = sum(each.reading for each in hungry)
    most = READ_BESIDE if readers < len(hungry) else model.step_positions // readers
    feeds = [each.feed(max(1, most)) for each in hungry]
    logits = model.advance_together(
        [(each.session, tokens) for each, (tokens, _) in zip(hungry, feeds, strict=True)],
        [everything for _, everything in feeds],
    )
    for each, rows, (tokens, _) in zip(hungry, logits, feeds, strict=True):
        each.take(rows, len(tokens))
