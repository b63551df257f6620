"""Spike-fed projections: only the weights of inputs that fired are read."""

from __future__ import annotations

import numpy as np

from edgespike.model.arrays import FP32_ROWMAJOR, INT8
from edgespike.kernels.compiler import inlined

# 127 * 256 < 2**15: as many int8 rows add up in int16 without overflow.
_ROWS_IN_INT16 = 256


@inlined
def clear(weights, first, last, scratch, thread):  # type: ignore[no-untyped-def]
    """Begin a sum over [first, last): zero this thread's accumulators."""
    if weights.precision == INT8:
        scratch.sum32[thread, first:last] = 0
    else:
        scratch.sums[thread, first:last] = np.float32(0.0)


@inlined
def _add_int8(w, offset, stride, index, count, first, last, sum16, sum32):  # type: ignore[no-untyped-def]
    start = 0
    while start < count:
        stop = min(start + _ROWS_IN_INT16, count)
        sum16[first:last] = 0
        k = start
        while k + 4 <= stop:
            a = w[offset + index[k] * stride : offset + index[k] * stride + last]
            b = w[offset + index[k + 1] * stride : offset + index[k + 1] * stride + last]
            c = w[offset + index[k + 2] * stride : offset + index[k + 2] * stride + last]
            d = w[offset + index[k + 3] * stride : offset + index[k + 3] * stride + last]
            for j in range(first, last):
                sum16[j] = np.int16(sum16[j] + a[j] + b[j] + c[j] + d[j])
            k += 4
        while k < stop:
            a = w[offset + index[k] * stride : offset + index[k] * stride + last]
            for j in range(first, last):
                sum16[j] = np.int16(sum16[j] + a[j])
            k += 1
        for j in range(first, last):
            sum32[j] += np.int32(sum16[j])
        start = stop


@inlined
def _add_float(w, offset, stride, index, count, first, last, sums):  # type: ignore[no-untyped-def]
    for k in range(count):
        row = w[offset + index[k] * stride : offset + index[k] * stride + last]
        for j in range(first, last):
            sums[j] += row[j]


@inlined
def _gather_float(w, offset, inputs, index, count, first, last, sums):  # type: ignore[no-untyped-def]
    for j in range(first, last):
        total = sums[j]
        row = offset + j * inputs
        for k in range(count):
            total += w[row + index[k]]
        sums[j] = total


@inlined
def accumulate(weights, offset, inputs, outputs, index, count, first, last, scratch, thread):  # type: ignore[no-untyped-def]
    """Add the columns of the fired inputs `index[:count]` to outputs [first, last).

    `inputs` and `outputs` are the matrix's dimensions. The fired inputs are added in ascending order in
    every layout, so the float layouts agree to the last bit; the integers are exact.
    """
    if weights.precision == INT8:
        _add_int8(
            weights.bytes8,
            offset,
            outputs,
            index,
            count,
            first,
            last,
            scratch.sum16[thread],
            scratch.sum32[thread],
        )
    elif weights.precision == FP32_ROWMAJOR:
        _gather_float(
            weights.floats, offset, inputs, index, count, first, last, scratch.sums[thread]
        )
    else:
        _add_float(weights.floats, offset, outputs, index, count, first, last, scratch.sums[thread])


@inlined
def finish(weights, scale_offset, first, last, scratch, thread):  # type: ignore[no-untyped-def]
    """End a sum: `scratch.sums[thread, first:last]` holds it as float32. Returns that row."""
    sums = scratch.sums[thread]
    if weights.precision == INT8:
        total, scale = scratch.sum32[thread], weights.floats
        for j in range(first, last):
            sums[j] = np.float32(total[j]) * scale[scale_offset + j]
    return sums
