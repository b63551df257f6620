"""Everything that fixes a training run besides the code."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgespike.model.config import ModelConfig


@dataclass(frozen=True, slots=True)
class Recipe:
    """A run is planned by `steps`, or by `minutes` of training time when `steps` is 0.

    The learning rate rises over `warmup` steps to `rate` and falls on a cosine to a twentieth of it
    at the end of the plan. `length` is the training context in tokens, `window` the reach of
    attention. Tokens of prompts weigh `prompt_weight` in the loss, those of answers 1: predicting
    prompts teaches to copy, but once that is learned it is mostly noise, because names and values
    are random, and a resumed run may set it to 0.

    `kind` is "spiking" or "dense", its twin to compare with. `threshold`, `leak` and `surrogate`
    (how steep the gradient falls beside the threshold) make the spikes; `firing_penalty` times the
    mean firing rate is added to the loss.
    """

    width: int = 192
    layers: int = 4
    heads: int = 4
    hidden: int = 768
    pieces: int = 1024
    kind: str = "spiking"
    threshold: float = 1.0
    leak: float = 0.95
    surrogate: float = 2.0
    firing_penalty: float = 0.0
    window: int = 512
    anchors: int = 4
    batch: int = 12
    length: int = 384
    rate: float = 2e-3
    warmup: int = 100
    decay: float = 0.05
    prompt_weight: float = 0.1
    seed: int = 1
    steps: int = 0
    minutes: float = 70.0

    def model(self) -> ModelConfig:
        return ModelConfig(
            vocab_size=self.pieces,
            embed_dim=self.width,
            n_layers=self.layers,
            n_heads=self.heads,
            head_dim=self.width // self.heads,
            intermediate_dim=self.hidden,
            window=self.window,
            anchors=self.anchors,
            threshold=self.threshold,
            leak=self.leak,
            active_vocab=self.pieces,
            context=self.length,
        )

    def progress(self, step: int, elapsed_s: float) -> float:
        """Share of the plan that is done, 0 to 1."""
        done = step / self.steps if self.steps else elapsed_s / (60 * self.minutes)
        return min(1.0, done)

    def rate_at(self, step: int, elapsed_s: float) -> float:
        """Learning rate of step `step`."""
        cosine = 0.5 * (1 + math.cos(math.pi * self.progress(step, elapsed_s)))
        return self.rate * min(1.0, (step + 1) / self.warmup) * (0.05 + 0.95 * cosine)


SIZES = {
    "1m": {"width": 128, "layers": 4, "heads": 4, "hidden": 512},
    "2m": {"width": 192, "layers": 4, "heads": 4, "hidden": 768},
    "4m": {"width": 256, "layers": 4, "heads": 4, "hidden": 1024},
    "30m": {"width": 512, "layers": 8, "heads": 8, "hidden": 2048},
}
"""Shapes by their millions of parameters, about."""
