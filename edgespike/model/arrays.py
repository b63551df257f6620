"""What the step kernel is given: weights, constants, session state and scratch memory.

All arrays are C-contiguous and allocated once. Symbols: D embed_dim, L layers, H heads, d head_dim,
F intermediate_dim, B prior_dim, V vocabulary, S sessions, M positions in one step, T threads,
R = anchors + window + 1 + LOOKAHEAD attention slots, padded to RP, a multiple of 16.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# Columns of Weights.layers: the offset of a tensor in the data section, in elements of its type
# (bytes for int8, float32 elsewhere). A scale's offset follows its matrix in the same order.
TCAM, QUERY, KEY, VALUE, OUT, UP, DOWN = range(7)
MATRICES = 7
TCAM_NORM, TCAM_BIAS, FFN_NORM, FFN_BIAS = range(2 * MATRICES, 2 * MATRICES + 4)
LAYER_COLUMNS = 2 * MATRICES + 4

# Entries of Weights.ends: tensors outside the layers, and the scales of the matrices among them.
EMBED, HEAD, PRIOR_IN, PRIOR_OUT = range(4)
END_SCALES = 4
EMBED_NORM, EMBED_BIAS, LOG_PRIOR = range(8, 11)
END_ENTRIES = 11

# Positions of a step that can be taken back, when drafted tokens turn out wrong.
LOOKAHEAD = 7

# Elements of a vector in attention, and dimensions of integer values that lie together.
LANES, STRIP = 16, 64

# Rows of State.slots
KEY, VALUE = range(2)

# Shape.kv
KV_FP32, KV_INT16, KV_INT8 = range(3)

# Weights.precision
FP32, FP32_ROWMAJOR, INT8, INT4 = range(4)  # from INT8 on, activations enter as integers


class Weights(NamedTuple):
    """The model in its map; nothing here is a copy but the few derived vectors at the end."""

    bytes8: NDArray[np.int8]  # the data section, read as int8
    floats: NDArray[np.float32]  # the data section, read as float32
    layers: NDArray[np.int64]  # [L, LAYER_COLUMNS]
    ends: NDArray[np.int64]  # [END_ENTRIES]
    decay: NDArray[np.float32]  # [L, H] sigmoid(decay_raw)
    gate: NDArray[np.float32]  # [L] sigmoid(attn_gate)
    inverse_frequency: NDArray[np.float64]  # [d // 2] theta ** (-2j / d)
    precision: int


class Shape(NamedTuple):
    """Constants of the model."""

    dim: int
    layers: int
    heads: int
    head_dim: int
    hidden: int
    prior: int
    vocab: int
    window: int
    anchors: int
    attention: bool
    dynamic_prior: bool
    threshold: np.float32
    leak: np.float32
    prior_weight: np.float32
    kv: int


class State(NamedTuple):
    """What S sessions remember: everything that the next position depends on."""

    membrane: NDArray[np.float32]  # [S, D]
    memory: NDArray[np.float32]  # [S, L, D] decay memory h
    # Bytes of a head's keys and values: float32 [d, RP] and [RP, d], so that both are passes over
    # contiguous memory; for integers see kernels.compact.
    cache: NDArray[np.int8]  # [S, L, H, bytes]
    # Scales of a slot's key and value, 1 for float32; that of the key is -1 where the slot's
    # position did not fire.
    slots: NDArray[np.float32]  # [S, L, H, 2, RP]
    spikes: NDArray[np.int64]  # [S, 2L + 1] spikes since the start: encoder, layers, feed-forwards


class Trail(NamedTuple):
    """What the state of S sessions was after each of their latest positions.

    Keys, values and masks need no trail: what a position overwrites was out of sight before.
    """

    membrane: NDArray[np.float32]  # [S, LOOKAHEAD + 1, D]
    memory: NDArray[np.float32]  # [S, LOOKAHEAD + 1, L, D]
    spikes: NDArray[np.int64]  # [S, LOOKAHEAD + 1, 2L + 1]


class Scratch(NamedTuple):
    """Working memory of a step of at most M positions."""

    x: NDArray[np.float32]  # [M, D] residual stream
    y: NDArray[np.float32]  # [M, D] a sublayer's output before its norm
    mixed: NDArray[np.float32]  # [M, D] q, later attention and decay mixed
    k: NDArray[np.float32]  # [M, D]
    v: NDArray[np.float32]  # [M, D]
    up: NDArray[np.float32]  # [M, F] feed-forward pre-activations
    prior: NDArray[np.float32]  # [M, B]
    q: NDArray[np.int16]  # [M, D up to a multiple of 64] quantised activations, then zeros
    q_scale: NDArray[np.float32]  # [M]
    q_prior: NDArray[np.int16]  # [M, B up to a multiple of 64]
    q_prior_scale: NDArray[np.float32]  # [M]
    head_x: NDArray[np.float32]  # [M, D] the positions whose logits are wanted
    spike_index: NDArray[np.int32]  # [M, D] fired inputs of the current layer
    spike_count: NDArray[np.int64]  # [M]
    up_index: NDArray[np.int32]  # [M, F] fired feed-forward neurons, one segment per thread
    up_count: NDArray[np.int64]  # [T, M]
    sum16: NDArray[np.int16]  # [T, D]
    sum32: NDArray[np.int32]  # [T, D]
    sums: NDArray[np.float32]  # [T, D]
    scores: NDArray[np.float32]  # [T, RP]
    query16: NDArray[np.int16]  # [T, d rounded up to 8]
    weight16: NDArray[np.int16]  # [T, RP]
    attended: NDArray[np.float32]  # [T, d rounded up to STRIP]
    cosine: NDArray[np.float32]  # [M, d // 2]
    sine: NDArray[np.float32]  # [M, d // 2]
    tile_float: NDArray[np.float32]  # [T, 16]
    ones: NDArray[np.float32]  # [max(D, RP)]


class Step(NamedTuple):
    """One step: m positions, each belonging to a session."""

    tokens: NDArray[np.int64]  # [m]
    owners: NDArray[np.int64]  # [m] session of the position
    positions: NDArray[np.int64]  # [m] its place in that session
    logit_row: NDArray[np.int64]  # [m] row of `logits` it fills, -1 for none; rows ascend
    logits: NDArray[np.float32]  # [rows, V]
    prior_logits: NDArray[np.float32]  # [rows, V] working memory
    trail_row: NDArray[np.int64]  # [m] row of its session's trail it fills, -1 for none
