"""Attention over the slots of a session: the anchors, then a ring of the last window + 1 positions.

Keys are stored with the slots last, values with the slots first, so that scores and the weighted
sum are both passes over contiguous memory without a horizontal sum. A slot whose position did not
fire keeps whatever it held before and weighs nothing.
"""

from __future__ import annotations

import math

import numpy as np

from edgespike.kernels.compiler import inlined
from edgespike.kernels.extremes import largest
from edgespike.kernels.simd import float_from_bits, float_row
from edgespike.model.arrays import KEY, LANES, LOOKAHEAD

_LOG2_E = np.float32(1.4426950408889634)
_LN2_HIGH = np.float32(0.693359375)
_LN2_LOW = np.float32(-2.12194440e-4)
_LOWEST = np.float32(-87.0)
_UNSEEN = np.float32(-1e30)
_ZERO = np.float32(0.0)


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
def used_slots(position, count):
    """How many slots of `count` were ever written, whole vectors: at a full window, hardly more
    than are seen.
    """
    return (min(position + 1, count) + LANES - 1) // LANES * LANES


@inlined
def soften(scores, used, scale, key_row, position, window, anchors, ones, cell):
    """scores[:used] = exp(scale * score - the largest), 0 in slots that `position` doesn't see or
    that did not fire; returns the sum. `used` is a multiple of 16, `scale` is times the slot's own
    in `key_row`.
    """
    for j in range(used):
        scores[j] = scores[j] * (scale * key_row[j]) if key_row[j] >= _ZERO else _UNSEEN
    # What lies between the visible parts.
    _, anchored = visible_part(0, position, window, anchors)
    first, last = visible_part(1, position, window, anchors)
    wrapped, end = visible_part(2, position, window, anchors)
    for start, stop in ((anchored, wrapped), (end, first), (last, used)):
        gap = scores[start:stop]
        for j in range(gap.size):
            gap[j] = _UNSEEN
    highest = largest(scores, used, _UNSEEN)
    for j in range(used):
        scores[j] = exp32(scores[j] - highest)
    float_row(scores, 0, 0, ones, 0, 0, used, cell, 0)
    return cell[0]


@inlined
def _score(q, keys, scores):
    """scores = q K."""
    dim, n = q.size, scores.size
    for j in range(n):
        scores[j] = _ZERO
    c = 0
    while c + 4 <= dim:
        q0, q1, q2, q3 = q[c], q[c + 1], q[c + 2], q[c + 3]
        k0, k1, k2, k3 = keys[c], keys[c + 1], keys[c + 2], keys[c + 3]
        for j in range(n):
            scores[j] = (((scores[j] + q0 * k0[j]) + q1 * k1[j]) + q2 * k2[j]) + q3 * k3[j]
        c += 4
    while c < dim:
        row = keys[c]
        for j in range(n):
            scores[j] += q[c] * row[j]
        c += 1


@inlined
def _weigh(weights, values, out):
    """out = weights V."""
    n, dim = weights.size, out.size
    for c in range(dim):
        out[c] = _ZERO
    j = 0
    while j + 4 <= n:
        w0, w1, w2, w3 = weights[j], weights[j + 1], weights[j + 2], weights[j + 3]
        v0, v1, v2, v3 = values[j], values[j + 1], values[j + 2], values[j + 3]
        for c in range(dim):
            out[c] = (((out[c] + w0 * v0[c]) + w1 * v1[c]) + w2 * v2[c]) + w3 * v3[c]
        j += 4


@inlined
def _keys_values(cache, dim):
    """Float32 [d, RP] and [RP, d] from the bytes of a head."""
    floats = cache.view(np.float32)
    half = floats.size // 2
    count = half // dim
    return floats[:half].reshape(dim, count), floats[half:].reshape(count, dim)


@inlined
def keep(cache, slots, slot, k, v):
    """Write k and v, float32 [d], into a slot.

    `cache` has the bytes of a head's keys and values, `slots` is float32 [2, RP], the scales of
    keys and values.
    """
    keys, values = _keys_values(cache, k.size)
    slots[KEY, slot] = np.float32(1.0)
    for i in range(k.size):
        keys[i, slot] = k[i]
        values[slot, i] = v[i]


@inlined
def attend(q, cache, slots, position, window, anchors, scratch, thread):
    """q = softmax(q K / sqrt(d)) V over the slots that `position` sees and that fired.

    q float32 [d]; the others as in `keep`. The position itself fired.
    """
    keys, values = _keys_values(cache, q.size)
    used = used_slots(position, slots.shape[1])
    scores, cell = scratch.scores[thread, :used], scratch.tile_float[thread]
    _score(q, keys[:, :used], scores)
    scale = np.float32(1.0) / np.float32(math.sqrt(q.size))
    total = soften(scores, used, scale, slots[KEY], position, window, anchors, scratch.ones, cell)
    inverse = np.float32(1.0) / total
    for j in range(used):
        scores[j] *= inverse
    _weigh(scores, values[:used], q)
