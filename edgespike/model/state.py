"""Memory of sessions and of a step: allocated once, its size known from the configuration."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgespike.model.arrays import LANES, LOOKAHEAD, STRIP, Scratch, State, Trail
from edgespike.model.config import KeyValuePrecision, ModelConfig

_BYTES: dict[KeyValuePrecision, int] = {"fp32": 4, "int16": 2, "int8": 1}


def slots(config: ModelConfig) -> int:
    """Attention slots of a session: anchors, window, the position itself, and the lookahead."""
    return config.anchors + config.window + 1 + LOOKAHEAD


def padded_slots(config: ModelConfig) -> int:
    """`slots` rounded up to whole vectors."""
    return _padded(slots(config), LANES)


def _padded(n: int, step: int) -> int:
    return -(-n // step) * step


def new_state(config: ModelConfig, kv: KeyValuePrecision, sessions: int = 1) -> State:
    """Zeroed state of `sessions` sessions that keep keys and values in the precision `kv`."""
    S, L, D = sessions, config.n_layers, config.embed_dim
    H, d, R = config.n_heads, config.head_dim, padded_slots(config)
    if not config.attention:
        H = R = 0
    wide = 2 * d if kv == "fp32" else _padded(d, 8) + _padded(d, STRIP)
    return State(
        membrane=np.zeros((S, D), np.float32),
        memory=np.zeros((S, L, D), np.float32),
        cache=np.zeros((S, L, H, R * wide * _BYTES[kv]), np.int8),
        slots=np.zeros((S, L, H, 2, R), np.float32),
        spikes=np.zeros((S, 2 * L + 1), np.int64),
    )


def new_trail(config: ModelConfig, sessions: int = 1) -> Trail:
    """Room for what can be taken back of `sessions` sessions."""
    S, M, L, D = sessions, LOOKAHEAD + 1, config.n_layers, config.embed_dim
    return Trail(
        membrane=np.zeros((S, M, D), np.float32),
        memory=np.zeros((S, M, L, D), np.float32),
        spikes=np.zeros((S, M, 2 * L + 1), np.int64),
    )


def new_scratch(config: ModelConfig, positions: int, threads: int) -> Scratch:
    """Working memory for steps of up to `positions` positions by `threads` threads."""
    # Blocks of four positions are computed whole: activations have a multiple of four rows.
    M, T, D, F = -(-positions // 4) * 4, threads, config.embed_dim, config.intermediate_dim
    B, half, R = config.prior_dim, config.head_dim // 2, padded_slots(config)

    def quantised(width: int) -> NDArray[np.int16]:
        # Zeros up to a whole cache line, behind what an integer product reads of them.
        return _on_cache_lines(M, -(-width // 64) * 64)

    def floats(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return np.zeros(shape, np.float32)

    return Scratch(
        x=floats(M, D),
        y=floats(M, D),
        mixed=floats(M, D),
        k=floats(M, D),
        v=floats(M, D),
        up=floats(M, F),
        prior=floats(M, B),
        q=quantised(D),
        q_scale=floats(M),
        q_prior=quantised(B),
        q_prior_scale=floats(M),
        head_x=floats(M, D),
        spike_index=np.zeros((M, D), np.int32),
        spike_count=np.zeros(M, np.int64),
        up_index=np.zeros((M, F), np.int32),
        up_count=np.zeros((T, M), np.int64),
        sum16=np.zeros((T, D), np.int16),
        sum32=np.zeros((T, D), np.int32),
        sums=floats(T, D),
        scores=floats(T, R),
        query16=np.zeros((T, _padded(config.head_dim, 8)), np.int16),
        weight16=np.zeros((T, R), np.int16),
        attended=floats(T, _padded(config.head_dim, STRIP)),
        cosine=floats(M, half),
        sine=floats(M, half),
        tile_float=floats(T, 16),
        ones=np.ones(max(D, R), np.float32),
    )


def _on_cache_lines(rows: int, width: int) -> NDArray[np.int16]:
    """Zeros that start on a 64-byte boundary: a load across two lines takes twice as long."""
    raw = np.zeros(rows * width + 32, np.int16)
    start = -raw.ctypes.data % 64 // 2
    return raw[start : start + rows * width].reshape(rows, width)
