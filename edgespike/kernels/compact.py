"""Attention over keys and values kept as 16-bit or 8-bit integers, with a scale for each slot.

Elements lie in runs of 32: 16 lanes of two neighbours each, as the widening multiply-add takes
them. The lanes are slots for keys (two neighbouring dimensions of each) and dimensions for values
(of two neighbouring slots), so that neither scores nor the weighted sum add across lanes. Values
follow keys, and the heads of a layer each other, so that a full window is one pass through memory,
which processors foresee (prefetching 2 kB ahead made it a fifth slower):

    keys    [RP / 16, d / 2, 16 slots, 2]                d rounded up to a multiple of 8
    values  [d / 64, RP / 2, 64 dimensions, 2]           d rounded up to a multiple of 64

Products of two pairs are exact; they are added up as float32, 16 lanes in a fixed order, so the
bits are the same for every instruction set.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from edgespike.kernels.attention import soften, used_slots
from edgespike.kernels.compiler import inlined
from edgespike.kernels.extremes import largest, largest_magnitude
from edgespike.kernels.int_tiles import INT_LANES, _multiply_add
from edgespike.kernels.simd import F32, I16, I32, I64, load, shuffle
from edgespike.model.arrays import KEY, KV_INT8, LANES, STRIP, VALUE

_RUN = 2 * LANES
_RUNS = 4  # at a time, each with sums of its own: hides the latency of the addition
_LIMIT, _ZERO = np.float32(32767.0), np.float32(0.0)
_ROUND = np.float32(12582912.0)  # 1.5 * 2**23: adding and subtracting it rounds half to even


def _start(context: Any, builder: Any, array_type: Any, array: Any, element: Any) -> Any:
    """Address of a one-dimensional array, taken as elements of that type."""
    pointer = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(pointer, element.as_pointer())


def _pair_products(builder: Any, w: Any, x: Any) -> Any:
    """w[2i] * x[2i] + w[2i + 1] * x[2i + 1] as int32, in pieces that fill a register."""
    nothing = ir.Constant(ir.VectorType(I32, INT_LANES), None)
    pieces = []
    for first in range(0, _RUN, 2 * INT_LANES):
        part = range(first, first + 2 * INT_LANES)
        left, right = (shuffle(builder, value, part) for value in (w, x))
        pieces.append(_multiply_add(builder, nothing, left, right))
    while len(pieces) > 1:
        joined = range(2 * pieces[0].type.count)
        pieces = [
            shuffle(builder, low, joined, high)
            for low, high in zip(pieces[::2], pieces[1::2], strict=True)
        ]
    return pieces[0]


def _runs(bits: int, *, values: bool) -> Any:
    """Intrinsic: multiply `count` times four runs by pairs of `x`, and add up.

    The runs lie one after another in the bytes of `data` (int8), as integers of `bits` bits, from
    element `at`; `x` is int16, `out` float32. For keys, each run has a pair of its own, and the
    sums of all are 16 scores, out[out_at : out_at + 16]. With `values`, four runs share a pair, and
    each of the four has its sums, in out[out_at : out_at + 64].
    """
    element = ir.IntType(bits)
    lanes = ir.VectorType(F32, LANES)

    @intrinsic
    def runs(typing_context, data, at, count, x, out, out_at):
        signature = types.void(data, types.intp, types.intp, x, out, types.intp)

        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            data_value, first, size, x_value, out_value, out_first = args
            start = _start(context, builder, sig.args[0], data_value, element)
            start = builder.gep(start, [first])
            pairs = _start(context, builder, sig.args[3], x_value, I32)
            nothing = ir.Constant(lanes, None)
            sums = [cgutils.alloca_once_value(builder, nothing) for _ in range(_RUNS)]
            for cell in sums:
                builder.store(nothing, cell)

            def spread(index: Any) -> Any:
                pair = builder.load(builder.gep(pairs, [index]))
                pair.align = 2
                alone = ir.Constant(ir.VectorType(I32, 1), ir.Undefined)
                alone = builder.insert_element(alone, pair, ir.Constant(I32, 0))
                every = shuffle(builder, alone, [0] * LANES)
                return builder.bitcast(every, ir.VectorType(I16, _RUN))

            with cgutils.for_range(builder, size) as loop:
                turn = builder.mul(loop.index, ir.Constant(I64, _RUNS))
                here = builder.gep(start, [builder.mul(turn, ir.Constant(I64, _RUN))])
                for lane, cell in enumerate(sums):
                    run = builder.gep(here, [ir.Constant(I64, lane * _RUN)])
                    w = load(builder, run, element, _RUN)
                    if bits < 16:
                        w = builder.sext(w, ir.VectorType(I16, _RUN))
                    index = loop.index if values else builder.add(turn, ir.Constant(I64, lane))
                    product = builder.sitofp(_pair_products(builder, w, spread(index)), lanes)
                    builder.store(builder.fadd(builder.load(cell), product), cell)
            results = [builder.load(cell) for cell in sums]
            if not values:
                low, high = (builder.fadd(*results[i : i + 2]) for i in (0, 2))
                results = [builder.fadd(low, high)]
            place = builder.gep(_start(context, builder, sig.args[4], out_value, F32), [out_first])
            for lane, result in enumerate(results):
                target = builder.gep(place, [ir.Constant(I64, lane * LANES)])
                builder.store(result, builder.bitcast(target, lanes.as_pointer())).align = 4
            return context.get_dummy_value()

        return signature, generate

    return runs


_score8, _score16 = _runs(8, values=False), _runs(16, values=False)
_weigh8, _weigh16 = _runs(8, values=True), _runs(16, values=True)


@inlined
def rounded(x, n, limit, q):
    """q[:n] = rint(x[:n] / scale) as int16, with |q| <= limit; returns the scale."""
    peak = largest_magnitude(x, n, _ZERO)
    if peak == _ZERO:
        for i in range(n):
            q[i] = 0
        return peak
    inverse = limit / peak
    for i in range(n):
        q[i] = np.int16((x[i] * inverse + _ROUND) - _ROUND)
    return peak / limit


@inlined
def _padded(n, step):
    return (n + step - 1) // step * step


@inlined
def keep_compact(kv, cache, slots, slot, k, v, scratch, thread):
    """Write k and v, float32 [d], into a slot.

    `cache` has the bytes of a head's keys and values, `slots` is float32 [2, RP], the scales of
    keys and values.
    """
    q, d, count = scratch.query16[thread], k.size, slots.shape[1]
    limit = np.float32(127.0) if kv == KV_INT8 else _LIMIT
    slots[KEY, slot] = rounded(k, d, limit, q)
    at = slot // LANES * (_padded(d, 8) * LANES) + slot % LANES * 2
    wide = cache.view(np.int16)
    if kv == KV_INT8:
        for c in range(d):
            cache[at + (c >> 1) * _RUN + (c & 1)] = np.int8(q[c])
    else:
        for c in range(d):
            wide[at + (c >> 1) * _RUN + (c & 1)] = q[c]
    slots[VALUE, slot] = rounded(v, d, limit, q)
    at = _padded(d, 8) * count + (slot >> 1) * (2 * STRIP) + (slot & 1)
    for c in range(d):
        place = at + c // STRIP * (STRIP * count) + c % STRIP * 2
        if kv == KV_INT8:
            cache[place] = np.int8(q[c])
        else:
            wide[place] = q[c]


@inlined
def attend_compact(kv, q, cache, slots, position, window, anchors, scratch, thread):
    """q = softmax(q K / sqrt(d)) V over the slots that `position` sees and that fired.

    q float32 [d]; the others as in `keep_compact`. The position itself fired.
    """
    scores, weights = scratch.scores[thread], scratch.weight16[thread]
    sums, query = scratch.attended[thread], scratch.query16[thread]
    d, wide, count = q.size, _padded(q.size, 8), slots.shape[1]
    used = used_slots(position, count)
    scale = rounded(q, d, _LIMIT, query) / np.float32(math.sqrt(d))
    for c in range(d, wide):
        query[c] = 0
    for first in range(0, used, LANES):
        if kv == KV_INT8:
            _score8(cache, first * wide, wide // 8, query, scores, first)
        else:
            _score16(cache, first * wide, wide // 8, query, scores, first)
    total = soften(scores, used, scale, slots[KEY], position, window, anchors, scratch.ones, sums)
    value_scale = slots[VALUE]
    for j in range(used):
        scores[j] *= value_scale[j]
    heaviest = largest(scores, used, _ZERO)
    inverse = _LIMIT / heaviest if heaviest > _ZERO else _ZERO
    for j in range(used):
        weights[j] = np.int16((scores[j] * inverse + _ROUND) - _ROUND)
    for at in range(0, d, STRIP):
        if kv == KV_INT8:
            _weigh8(cache, (wide + at) * count, used // 2, weights, sums, at)
        else:
            _weigh16(cache, (wide + at) * count, used // 2, weights, sums, at)
    scale = heaviest / _LIMIT / total
    for c in range(d):
        q[c] = sums[c] * scale
