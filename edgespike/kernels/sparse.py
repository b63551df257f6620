"""Spike-fed projections: only the weights of inputs that fired are read."""

from __future__ import annotations

import numpy as np

from edgespike.kernels.compiler import inlined
from edgespike.model.arrays import FP32_ROWMAJOR, INT8

# 127 * 256 < 2**15: as many int8 rows add up in int16 without overflow.
_ROWS_IN_INT16 = 256


@inlined
def clear(weights, first, last, scratch, thread):
    """Begin a sum over [first, last): zero this thread's accumulators."""
    if weights.precision == INT8:
        scratch.sum32[thread, first:last] = 0
    else:
        scratch.sums[thread, first:last] = np.float32(0.0)


@inlined
def _add_int8(w, offset, stride, index, count, sum16, sum32):
    n = sum16.size
    start = 0
    while start < count:
        stop = min(start + _ROWS_IN_INT16, count)
        for j in range(n):
            sum16[j] = 0
        k = start
        while k + 4 <= stop:
            at = offset + index[k] * stride
            a = w[at : at + n]
            at = offset + index[k + 1] * stride
            b = w[at : at + n]
            at = offset + index[k + 2] * stride
            c = w[at : at + n]
            at = offset + index[k + 3] * stride
            d = w[at : at + n]
            for j in range(n):
                sum16[j] = np.int16(sum16[j] + a[j] + b[j] + c[j] + d[j])
            k += 4
        while k < stop:
            at = offset + index[k] * stride
            a = w[at : at + n]
            for j in range(n):
                sum16[j] = np.int16(sum16[j] + a[j])
            k += 1
        for j in range(n):
            sum32[j] += np.int32(sum16[j])
        start = stop


@inlined
def _add_float(w, offset, stride, index, count, sums):
    n = sums.size
    for k in range(count):
        at = offset + index[k] * stride
        row = w[at : at + n]
        for j in range(n):
            sums[j] += row[j]


@inlined
def _gather_float(w, offset, inputs, index, count, sums):
    for j in range(sums.size):
        total = sums[j]
        row = w[offset + j * inputs : offset + (j + 1) * inputs]
        for k in range(count):
            total += row[index[k]]
        sums[j] = total


@inlined
def accumulate(weights, offset, inputs, outputs, index, count, first, last, scratch, thread):
    """Add the columns of the fired inputs `index[:count]` to outputs [first, last).

    `inputs` and `outputs` are the matrix's dimensions. The fired inputs are added in ascending
    order in every layout, so the float layouts agree to the last bit; the integers are exact.
    """
    if weights.precision == INT8:
        sum16 = scratch.sum16[thread, first:last]
        sum32 = scratch.sum32[thread, first:last]
        _add_int8(weights.bytes8, offset + first, outputs, index, count, sum16, sum32)
    elif weights.precision == FP32_ROWMAJOR:
        sums = scratch.sums[thread, first:last]
        _gather_float(weights.floats, offset + first * inputs, inputs, index, count, sums)
    else:
        sums = scratch.sums[thread, first:last]
        _add_float(weights.floats, offset + first, outputs, index, count, sums)


@inlined
def finish(weights, scale_offset, first, last, scratch, thread):
    """End a sum: returns it as float32 [last - first]."""
    sums = scratch.sums[thread, first:last]
    if weights.precision == INT8:
        total = scratch.sum32[thread, first:last]
        scale = weights.floats[scale_offset + first : scale_offset + last]
        for j in range(sums.size):
            sums[j] = np.float32(total[j]) * scale[j]
    return sums
