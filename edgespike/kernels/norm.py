"""Layer normalisation and the threshold that turns a residual stream into spikes."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from edgespike.kernels.compiler import inlined
from edgespike.kernels.simd import F32, I32, I64, float_row, load, pointer, shuffle

_BITS = 64
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


@intrinsic
def _reaching(typing_context, x, at, threshold):
    """The bits i < 64 of an int64 with x[at + i] >= threshold."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        here = pointer(context, builder, sig.args[0], args[0], args[1])
        alone = ir.Constant(ir.VectorType(F32, 1), ir.Undefined)
        alone = builder.insert_element(alone, args[2], ir.Constant(I32, 0))
        limit = shuffle(builder, alone, [0] * _BITS)
        reached = builder.fcmp_ordered(">=", load(builder, here, F32, _BITS), limit)
        return builder.bitcast(reached, I64)

    return types.int64(x, types.intp, types.float32), generate


@intrinsic
def _lowest(typing_context, bits):
    """Number of the lowest bit that is set, of at least one."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), generate


@inlined
def fire(x, n, threshold, index):
    """Write the indices i < n with x[i] >= threshold to `index`; returns how many.

    Few of them do: 64 are looked at together.
    """
    count, whole = 0, n // _BITS * _BITS
    for start in range(0, whole, _BITS):
        bits = _reaching(x, start, threshold)
        while bits:
            index[count] = start + _lowest(bits)
            bits &= bits - 1
            count += 1
    for i in range(whole, n):
        index[count] = i
        count += np.int64(x[i] >= threshold)
    return count
