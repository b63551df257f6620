"""Attention over the slots of a session: the anchors, then a ring of the last window + 1 positions.

Keys are stored with the slots last, values with the slots first, so that scores and the weighted
sum are both passes over contiguous memory without a horizontal sum. A slot whose position did not
fire keeps whatever it held before and weighs nothing.
"""

from __future__ import annotations

import math

import numpy as np

from edgespike.kernels.compiler import inlined
from edgespike.kernels.simd import float_from_bits, float_row
from edgespike.model.arrays import LOOKAHEAD

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
    """Where a position is kept: anchors never move, the others share a ring.

    The ring is longer than the window by `LOOKAHEAD`, so that as many positions can be taken back:
    what they overwrote was out of sight before they came.
    """
    if position < anchors:
        return position
    return anchors + (position - anchors) % (window + 1 + LOOKAHEAD)


@inlined
def visible_part(part, position, window, anchors):
    """Slots [first, last) that `position` sees: part 0 anchors, 1 the ring, 2 its wrapped end."""
    if part == 0:
        return 0, min(position + 1, anchors)
    oldest = max(anchors, position - window)
    count = max(position - oldest + 1, 0)
    ring = window + 1 + LOOKAHEAD
    first = (oldest - anchors) % ring
    if part == 1:
        return anchors + first, anchors + min(first + count, ring)
    return anchors, anchors + max(first + count - ring, 0)


@inlined
def _score(q, scale, keys, mask, first, last, scores):
    """scores = mask + scale * q K for slots [first, last)."""
    dim, n = q.size, last - first
    closed = mask[first:last]
    for j in range(n):
        scores[j] = closed[j]
    c = 0
    while c + 4 <= dim:
        q0, q1, q2, q3 = q[c] * scale, q[c + 1] * scale, q[c + 2] * scale, q[c + 3] * scale
        k0, k1 = keys[c, first:last], keys[c + 1, first:last]
        k2, k3 = keys[c + 2, first:last], keys[c + 3, first:last]
        for j in range(n):
            scores[j] = (((scores[j] + q0 * k0[j]) + q1 * k1[j]) + q2 * k2[j]) + q3 * k3[j]
        c += 4
    while c < dim:
        scaled, row = q[c] * scale, keys[c, first:last]
        for j in range(n):
            scores[j] += scaled * row[j]
        c += 1


@inlined
def _weigh(weights, values, out):
    """out += weights V for one part of the slots."""
    n, dim = weights.size, out.size
    j = 0
    while j + 4 <= n:
        w0, w1, w2, w3 = weights[j], weights[j + 1], weights[j + 2], weights[j + 3]
        v0, v1, v2, v3 = values[j], values[j + 1], values[j + 2], values[j + 3]
        for c in range(dim):
            out[c] = (((out[c] + w0 * v0[c]) + w1 * v1[c]) + w2 * v2[c]) + w3 * v3[c]
        j += 4
    while j < n:
        weight, row = weights[j], values[j]
        for c in range(dim):
            out[c] += weight * row[c]
        j += 1


@inlined
def attend(q, keys, values, mask, position, window, anchors, scores, ones, cell):
    """q = softmax(q K / sqrt(d)) V over the slots that `position` sees and that are not masked.

    q float32 [d], keys float32 [d, RP], values float32 [RP, d], mask float32 [RP], 0 or MASKED;
    the position's own slot is not masked. `scores` float32 [RP] is working memory.
    """
    scale = np.float32(1.0) / np.float32(math.sqrt(q.size))
    largest = MASKED
    for part in range(3):
        first, last = visible_part(part, position, window, anchors)
        here = scores[first:last]
        _score(q, scale, keys, mask, first, last, here)
        for j in range(here.size):
            largest = max(largest, here[j])
    total = np.float32(0.0)
    for part in range(3):
        first, last = visible_part(part, position, window, anchors)
        here = scores[first:last]
        for j in range(here.size):
            here[j] = exp32(here[j] - largest)
        float_row(here, 0, 0, ones, 0, 0, here.size, cell, 0)
        total += cell[0]
    inverse = np.float32(1.0) / total
    for c in range(q.size):
        q[c] = np.float32(0.0)
    for part in range(3):
        first, last = visible_part(part, position, window, anchors)
        here = scores[first:last]
        for j in range(here.size):
            here[j] *= inverse
        _weigh(here, values[first:last], q)
