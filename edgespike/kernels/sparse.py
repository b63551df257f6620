"""Spike-fed projections: only the weights of inputs that fired are read."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from edgespike.kernels.compiler import inlined
from edgespike.kernels.int_tiles import _CACHE_LINE, _prefetch
from edgespike.kernels.simd import I8, I16, I64, load, pointer
from edgespike.model.arrays import FP32_ROWMAJOR, INT8

# 127 * 256 < 2**15: as many int8 rows add up in int16 without overflow.
_ROWS_IN_INT16 = 256
# Fired rows lie apart, which no processor foresees: while some are added, as many are fetched
# (measured with rows of 1.5 kB: 15 GB/s; four at a time 13, without fetching 12).
_ROWS = 8


@intrinsic
def _add_rows(typing_context, w, offset, stride, index, k, last, n, sums):
    """sums[j] += the rows index[k : k + 8] of int8 `w`, as int16, and fetch the eight after them.

    For j below the largest multiple of 64 in n, which is returned; `last` is the last of `index`.
    """

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        w_value, first, step, index_value, start, final, size, sums_value = args

        def row(number: Any) -> Any:
            at = pointer(context, builder, sig.args[3], index_value, number)
            fired = builder.sext(builder.load(at), I64)
            place = builder.add(first, builder.mul(fired, step))
            return pointer(context, builder, sig.args[0], w_value, place)

        here, ahead = [], []
        for r in range(_ROWS):
            here.append(row(builder.add(start, ir.Constant(I64, r))))
            later = builder.add(start, ir.Constant(I64, _ROWS + r))
            within = builder.icmp_signed("<", later, final)
            ahead.append(row(builder.select(within, later, final)))
        line = ir.Constant(I64, _CACHE_LINE)
        lines = builder.sdiv(size, line)
        zero = ir.Constant(I64, 0)
        total = pointer(context, builder, sig.args[7], sums_value, zero)
        with cgutils.for_range(builder, lines) as loop:
            at = builder.mul(loop.index, line)
            for later in ahead:
                _prefetch(builder, builder.gep(later, [at]), 2)
            cell = builder.gep(total, [at])
            added = load(builder, cell, I16, _CACHE_LINE)
            for weights in here:
                narrow = load(builder, builder.gep(weights, [at]), I8, _CACHE_LINE)
                added = builder.add(added, builder.sext(narrow, added.type))
            builder.store(added, builder.bitcast(cell, added.type.as_pointer())).align = 2
        return builder.mul(lines, line)

    t = types.intp
    return t(w, t, t, index, t, t, t, sums), generate


@inlined
def clear(weights, first, last, scratch, thread):
    """Begin a sum over [first, last): zero this thread's accumulators."""
    if weights.precision >= INT8:
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
        while k + _ROWS <= stop:
            done = _add_rows(w, offset, stride, index, k, count - 1, n, sum16)
            for row in range(k, k + _ROWS if done < n else k):
                at = offset + index[row] * stride
                rest, a = sum16[done:], w[at + done : at + n]
                for j in range(rest.size):
                    rest[j] = np.int16(rest[j] + a[j])
            k += _ROWS
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
    if weights.precision >= INT8:
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
    if weights.precision >= INT8:
        total = scratch.sum32[thread, first:last]
        scale = weights.floats[scale_offset + first : scale_offset + last]
        for j in range(sums.size):
            sums[j] = np.float32(total[j]) * scale[j]
    return sums
