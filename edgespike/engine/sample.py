"""Choosing a token from logits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgespike.engine.constrain import Constraint
from edgespike.errors import UsageError


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to choose. Temperature 0 takes the most likely; `seed` makes the rest repeatable."""

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.0 <= self.temperature <= 100.0:
            raise UsageError(f"temperature is {self.temperature}; it must be from 0 to 100")
        if not 0.0 < self.top_p <= 1.0:
            raise UsageError(f"top_p is {self.top_p}; it must be above 0 and at most 1")
        if self.seed < 0:
            raise UsageError(f"seed is {self.seed}; it can't be negative")


class Sampler:
    """Draws tokens one after another. Ids at or above `active_vocab` are never drawn."""

    def __init__(
        self, sampling: Sampling, active_vocab: int, constraint: Constraint | None = None
    ) -> None:
        self._sampling = sampling
        self._active = active_vocab
        self._constraint = constraint
        self._random = np.random.default_rng(sampling.seed)

    def __call__(self, logits: NDArray[np.float32]) -> int | None:
        """A token id for logits [V]; None when the constraint leaves none."""
        constraint = self._constraint
        logits = logits[: self._active]
        if self._sampling.temperature == 0.0:
            best = int(logits.argmax())
            # To mask first would cost a copy of the logits; the likeliest token is nearly always
            # allowed, and then it is the likeliest of those that are.
            if constraint is None or (not constraint.weighs and constraint.allows(best)):
                return best
        if constraint is not None:
            logits = constraint.mask(logits)
            if logits.max() == -np.inf:
                return None
        if self._sampling.temperature == 0.0:
            return int(logits.argmax())
        return self._draw(logits)

    def _draw(self, logits: NDArray[np.float32]) -> int:
        scaled = logits.astype(np.float64) / self._sampling.temperature
        weights = np.exp(scaled - scaled.max())
        order = np.argsort(-weights, kind="stable")
        cumulative = np.cumsum(weights[order])
        # Nucleus sampling (Holtzman et al. 2020, section 3.1): the smallest set that reaches top_p.
        kept = 1 + int(np.searchsorted(cumulative, self._sampling.top_p * cumulative[-1]))
        kept = min(kept, order.size)
        if kept == 1:  # no draw, so that a token without a choice is the same as one not asked for
            return int(order[0])
        draw = self._random.random() * cumulative[kept - 1]
        return int(order[min(int(np.searchsorted(cumulative, draw, side="right")), kept - 1)])
