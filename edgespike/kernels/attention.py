"""Attention over the slots of a session: the anchors, then a ring of the last window + 1 positions.

Keys are stored with the slots last, values with the slots first, so that scores and the weighted
sum are both passes over contiguous memory without a horizontal sum. A slot whose position did not
fire keeps whatever it held before and weighs nothing.
"""

from __future__ import annotations

import math

import numpy as np

from edgespike.kernels.compiler import inlined
from edgespike.kernels.simd import float_from_bits, float_tile_1x1

_LOG2_E = np.float32(1.4426950408889634)
_LN2_HIGH = np.float32(0.693359375)
_LN2_LOW = np.float32(-2.12194440e-4)
_LOWEST = np.float32(-87.0)
MASKED = np.float32(-1e30)  # added to the score of a slot whose position did not fire


@inlined
def exp32(x):
    """exp(x) in float32 for x <= 0, relative error below 2e-7; 0 below -87.

    Written out because libm's is a call per element and differs between builds of libm. Range
    reduction by ln 2 in two parts, then the Taylor polynomial of degree 7 on [-ln2/2, ln2/2].
    """
    kept = max(x, _LOWEST)
    power = np.int32(kept * _LOG2_E - np.float32(0.5))
    n = np.float32(power)
    r = (kept - n * _LN2_HIGH) - n * _LN2_LOW
    p = np.float32(1.0 / 5040.0)
    p = p * r + np.float32(1.0 / 720.0)
    p = p * r + np.float32(1.0 / 120.0)
    p = p * r + np.float32(1.0 / 24.0)
    p = p * r + np.float32(1.0 / 6.0)
    p = p * r + np.float32(0.5)
    p = p * r + np.float32(1.0)
    p = p * r + np.float32(1.0)
    scaled = p * float_from_bits(np.int32((power + np.int32(127)) << np.int32(23)))
    return scaled if x >= _LOWEST else np.float32(0.0)


@inlined
def rotary(inverse_frequency, position, cosine, sine):
    """cos and sin of position * theta**(-2j/d), computed in float64, for j < d // 2."""
    for j in range(inverse_frequency.size):
        angle = position * inverse_frequency[j]
        cosine[j] = np.float32(math.cos(angle))
        sine[j] = np.float32(math.sin(angle))


@inlined
def rotate(vector, half, cosine, sine):
    """RoPE in place on one head [d]: pair j is (element j, element j + d/2)."""
    for j in range(half):
        low, high = vector[j], vector[j + half]
        vector[j] = low * cosine[j] - high * sine[j]
        vector[j + half] = high * cosine[j] + low * sine[j]


@inlined
def slot_of(position, window, anchors):
    """Where a position is kept: anchors never move, the others share a ring."""
    if position < anchors:
        return position
    return anchors + (position - anchors) % (window + 1)


@inlined
def attend(q, keys, values, mask, used, dim, scores, ones, cell):
    """q[:dim] = softmax(q K / sqrt(dim)) V over the unmasked slots among the first `used`.

    keys float32 [dim, RP], values float32 [RP, dim], mask float32 [RP], 0 or MASKED;
    at least one slot is not masked.
    """
    root = np.float32(1.0) / np.float32(math.sqrt(dim))
    scores = scores[:used]
    for j in range(used):
        scores[j] = mask[j]
    for c in range(dim):
        scaled = q[c] * root
        row = keys[c]
        for j in range(used):
            scores[j] += scaled * row[j]
    largest = MASKED
    for j in range(used):
        largest = max(largest, scores[j])
    for j in range(used):
        scores[j] = exp32(scores[j] - largest)
    float_tile_1x1(scores, 0, 0, ones, 0, 0, used, cell)
    inverse = np.float32(1.0) / cell[0]
    for c in range(dim):
        q[c] = np.float32(0.0)
    for j in range(used):
        weight = scores[j] * inverse
        row = values[j]
        for c in range(dim):
            q[c] += weight * row[c]
