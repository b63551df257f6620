"""Filling the kernel cache before anybody waits for it."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from edgespike.kernels.compiler import cache_folder, configure
from edgespike.model.arrays import END_ENTRIES, INT8, LAYER_COLUMNS, Step, Weights
from edgespike.model.config import ModelConfig
from edgespike.model.state import new_scratch, new_state, new_trail
from edgespike.model.weights import model_shape

_SMALLEST = ModelConfig(
    vocab_size=8,
    embed_dim=8,
    n_layers=1,
    n_heads=1,
    head_dim=8,
    intermediate_dim=8,
    window=1,
    anchors=0,
    active_vocab=8,
)


def warm_up(isa: str) -> tuple[Path, float]:
    """Compile the kernels for `isa`, or load them; returns the cache folder and the seconds it
    took.

    One compiled step serves every shape and precision, so a step of the smallest model, all zeros,
    fills the cache. Raises UnavailableError when this CPU lacks the instructions.
    """
    start = time.perf_counter()
    configure(isa)
    from edgespike.kernels.step import advance

    config = _SMALLEST
    advance(
        _zero_weights(config),
        model_shape(config, np.float32(0.0), "int16"),
        new_state(config, "int16"),
        new_trail(config),
        new_scratch(config, 1, 1),
        Step(
            tokens=np.zeros(1, np.int64),
            owners=np.zeros(1, np.int64),
            positions=np.zeros(1, np.int64),
            logit_row=np.zeros(1, np.int64),
            logits=np.zeros((1, config.vocab_size), np.float32),
            prior_logits=np.zeros((1, config.vocab_size), np.float32),
            trail_row=np.full(1, -1, np.int64),
        ),
        0,
        1,
        np.zeros(1, np.int64),
    )
    return cache_folder(), time.perf_counter() - start


def _zero_weights(config: ModelConfig) -> Weights:
    """Every tensor at offset 0 of a map of zeros, read-only as a real map is."""
    data = np.zeros(4 * config.embed_dim * config.embed_dim, np.uint8)
    data.flags.writeable = False
    return Weights(
        bytes8=data.view(np.int8),
        floats=data.view(np.float32),
        layers=np.zeros((config.n_layers, LAYER_COLUMNS), np.int64),
        ends=np.zeros(END_ENTRIES, np.int64),
        decay=np.zeros((config.n_layers, config.n_heads), np.float32),
        gate=np.zeros(config.n_layers, np.float32),
        inverse_frequency=np.zeros(config.head_dim // 2, np.float64),
        precision=INT8,
    )
