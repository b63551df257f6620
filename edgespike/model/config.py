"""The shape and constants of a SymbolicLight V1 model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Precision = Literal["int8", "int4", "fp32", "fp32-rowmajor"]
KeyValuePrecision = Literal["fp32", "int16", "int8"]
KEY_VALUE_PRECISIONS: tuple[KeyValuePrecision, ...] = ("fp32", "int16", "int8")
PRECISIONS: tuple[Precision, ...] = ("int8", "int4", "fp32", "fp32-rowmajor")


def default_key_values(precision: Precision) -> KeyValuePrecision:
    """The smallest that keeps the accuracy of the weights.

    On the golden models, beside int8 weights, int16 flips no spike; 12 bits, or a float16, flip
    0.5 % on the largest, and 8 bits 1.5 % (KL 0.002 and 0.01).
    """
    return "fp32" if precision.startswith("fp32") else "int16"


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Facts that fix the arithmetic of a model (arXiv 2605.21333, section 3).

    `active_vocab` counts the pieces of the tokenizer: ids at or above it are never sampled.
    A key at distance `q - k <= window`, or one of the first `anchors` positions, can be attended
    to. `context` is the length that the model was trained on, in tokens.
    """

    vocab_size: int = 57344
    embed_dim: int = 1536
    n_layers: int = 22
    n_heads: int = 24
    head_dim: int = 64
    intermediate_dim: int = 6144
    window: int = 512
    anchors: int = 4
    threshold: float = 1.0
    leak: float = 0.95
    rope_theta: float = 10000.0
    attention: bool = True
    dynamic_prior: bool = True
    active_vocab: int = 57344
    context: int = 2048

    @property
    def prior_dim(self) -> int:
        """Width of the prior network's hidden layer, B = D // 4."""
        return self.embed_dim // 4
