"""Layer normalisation and the threshold that turns a residual stream into spikes."""

from __future__ import annotations

import numpy as np

from edgespike.kernels.compiler import inlined
from edgespike.kernels.simd import float_row

EPSILON = np.float32(1e-5)


@inlined
def layer_norm(y, x, n, floats, weight, bias, ones, cell):
    """x[:n] = (y - mean) / sqrt(variance + 1e-5) * weight + bias; y and x may be the same row.

    `weight` and `bias` are offsets into `floats`; `cell` is float32 [>= 1] working memory. The
    variance is the biased one, of centred values.
    """
    size = np.float32(n)
    float_row(y, 0, 0, ones, 0, 0, n, cell, 0)
    mean = cell[0] / size
    for i in range(n):
        x[i] = y[i] - mean
    float_row(x, 0, 0, x, 0, 0, n, cell, 0)
    scale = np.float32(1.0) / np.sqrt(cell[0] / size + EPSILON)
    for i in range(n):
        x[i] = x[i] * scale * floats[weight + i] + floats[bias + i]


@inlined
def fire(x, n, threshold, index):
    """Write the indices i < n with x[i] >= threshold to `index`; returns how many."""
    count = 0
    for i in range(n):
        index[count] = i
        count += np.int64(x[i] >= threshold)
    return count
