"""Tiles of integer products: rows of 8- or 4-bit weights times int16 vectors, each an intrinsic.

A tile adds products of int16 pairs in int32 lanes, folds the lanes exactly and scales the totals
once, so its results depend neither on the instruction set nor on the shape of the tile.

Its vectors have to be zero from n up to the next multiple of `STEP`, and as much behind 8-bit
weights has to be readable: the last step of a row reads on into what follows and multiplies it by
zero. Rows of 4-bit weights are whole chunks (see `model.tensors`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from edgespike.kernels.compiler import x86_vector_bits
from edgespike.kernels.simd import F32, I8, I16, I32, I64, addresses, load, pointer, shuffle

# An integer step takes one vector register of int32 sums; two int16 products go into each lane.
INT_LANES = max(x86_vector_bits(), 128) // 32
STEP = 2 * INT_LANES
_HALF_CHUNK = 32
# Rows of a tile for several positions: as many as the registers hold sums for.
# (3 rows by 4 vectors spill 256-bit registers; rows widened once to int16, or 6 or 8 rows, gained
# nothing over 4 by 4.)
TILE_ROWS = 4 if x86_vector_bits() == 512 else 2
TILE_COLUMNS = 4
# |w| <= 127 and |q| <= 32767: the products of so many inputs, added up in four int32 lanes in equal
# parts, stay below 2**31.
_BLOCK = 2048
_QUARTER = 4
# Tiles fetch weights into the second-level cache so many bytes ahead, in the order in which they
# lie in memory, because four rows read side by side keep the processor from seeing a stream, and
# into the first-level cache when they are near. Measured with four positions, GB/s: on Zen 4 with
# 512-bit vectors 8.5 without, 18 at 6144, 26 at 12288, not measured with near ones; on Zen 3, where
# reading alone reaches 17.2, 12.4 at 12288 without near ones, 13.2 with them, 13.6 at 4096.
_AHEAD, _NEAR = (12288, 0) if x86_vector_bits() == 512 else (4096, 512)
# A tile for one position is a single stream, which processors fetch ahead by themselves, but not
# far enough (measured on Zen 3, of 18.3 GB/s that reading alone reaches: 14.3 without, 15.5 with
# 768 bytes, 16.3 with 1024, 14.6 into both cache levels). Packed weights: 11.7, and 15.6 with 2048.
_STREAM_AHEAD, _PACKED_AHEAD = 1024, 2048
_CACHE_LINE = 64


def _multiply_add(builder: Any, acc: Any, w: Any, x: Any) -> Any:
    """acc[i] += w[2i] * x[2i] + w[2i+1] * x[2i+1] for int16 w and x, widened to int32.

    x86 has one instruction for it, whose name differs by width; LLVM does not find it in the
    portable form (measured: multiplies in 32 bits, a third of the speed). Its result is exact here,
    because no product is (-32768) * (-32768). With VNNI, LLVM fuses the addition as well.
    """
    if not x86_vector_bits():
        return builder.add(acc, _portable_pairs(builder, w, x))
    name = {
        512: "llvm.x86.avx512.pmaddw.d.512",
        256: "llvm.x86.avx2.pmadd.wd",
        128: "llvm.x86.sse2.pmadd.wd",
    }[x86_vector_bits()]
    signature = ir.FunctionType(acc.type, [w.type, x.type])
    function = cgutils.get_or_insert_function(builder.module, signature, name)
    return builder.add(acc, builder.call(function, [w, x]))


def _portable_pairs(builder: Any, w: Any, x: Any) -> Any:
    wide = ir.VectorType(I32, INT_LANES)

    def products(first: int) -> Any:
        take = range(first, STEP, 2)
        left = builder.sext(shuffle(builder, w, take), wide)
        return builder.mul(left, builder.sext(shuffle(builder, x, take), wide))

    return builder.add(products(0), products(1))


def _prefetch(builder: Any, address: Any, level: int) -> None:
    """Fetch a cache line into the cache of a level, 1 or 2."""
    byte = I8.as_pointer()
    signature = ir.FunctionType(ir.VoidType(), [byte, I32, I32, I32])
    function = cgutils.get_or_insert_function(builder.module, signature, "llvm.prefetch.p0i8")
    read, locality, data = (ir.Constant(I32, value) for value in (0, 4 - level, 1))
    builder.call(function, [builder.bitcast(address, byte), read, locality, data])


def _halve(builder: Any, vectors: list[Any], lanes: int) -> list[Any]:
    """Fold the sums in `vectors` from 2 * lanes lanes each to `lanes`, two vectors into one."""

    def folded(first: Any, second: Any) -> Any:
        width = first.type.count if second is None else 2 * first.type.count
        low = [lane for lane in range(width) if lane % (2 * lanes) < lanes]
        high = [lane + lanes for lane in low]
        left = shuffle(builder, first, low, second)
        return builder.add(left, shuffle(builder, first, high, second))

    if len(vectors) == 1:
        return [folded(vectors[0], None)]
    return [folded(a, b) for a, b in zip(vectors[::2], vectors[1::2], strict=True)]


def _totals(builder: Any, sums: list[Any]) -> tuple[list[Any], list[Any]]:
    """Fold vectors of int32 lanes, one for each sum, to totals = 65536 * high + low, in order.

    Exact: four lanes of a sum hold the products of `_BLOCK` inputs, and the halves of an int32
    can be added thousands of times.
    """
    lanes = INT_LANES
    while lanes > _QUARTER:
        lanes //= 2
        sums = _halve(builder, sums, lanes)

    def constant(value: int) -> Any:
        return ir.Constant(sums[0].type, [value] * sums[0].type.count)

    high = [builder.ashr(s, constant(16)) for s in sums]
    low = [builder.and_(s, constant(65535)) for s in sums]
    while lanes > 1:
        lanes //= 2
        high, low = _halve(builder, high, lanes), _halve(builder, low, lanes)
    return high, low


def _joined(builder: Any, vectors: list[Any]) -> Any:
    while len(vectors) > 1:
        every = range(2 * vectors[0].type.count)
        pairs = zip(vectors[::2], vectors[1::2], strict=True)
        vectors = [shuffle(builder, a, every, b) for a, b in pairs]
    return vectors[0]


def _halves(builder: Any, packed: Any) -> tuple[Any, Any]:
    """The weights in the low and in the high halves of the bytes of an int16 vector."""
    four, twelve = (ir.Constant(packed.type, [n] * STEP) for n in (4, 12))
    return builder.ashr(builder.shl(packed, twelve), twelve), builder.ashr(packed, four)


def _int_tile(rows: int, columns: int, *, apart: bool = False, packed: bool = False) -> Any:
    """Intrinsic: `rows` weight rows times `columns` int16 vectors, both powers of two.

    Weights are int8, or `packed`: two of 4 bits in each byte, with n counting bytes. w_stride bytes
    lie between rows.

    out[c * out_stride + r] = the product of row r and vector c, exact, rounded to float32, times
    column_scale[c], times row_scale[r]; n is below 2**17. Rows are passed over side by side, or
    `apart`: one after the other, with two accumulators each to hide the latency of multiply-adds.
    """
    cells = [(r, c) for c in range(columns) for r in range(rows)]
    wide = ir.VectorType(I32, INT_LANES)
    floats = ir.VectorType(F32, len(cells))
    groups: list[Sequence[int]] = [[r] for r in range(rows)] if apart else [range(rows)]
    unroll = 2 if apart else 1
    stream_ahead = _PACKED_AHEAD if packed else _STREAM_AHEAD
    # One iteration passes over whole cache lines, so that none is fetched twice; with four columns
    # the lines of all rows together (of each row: a tenth slower). Rows apart, whose iterations may
    # be half a line, gain nothing by whole ones (15.7 to 16.4 GB/s, and 16.6 as it is).
    repeat = unroll if apart else max(1, _CACHE_LINE // (STEP * (rows if columns > 2 else 1)))

    @intrinsic
    def tile(
        typing_context, w, w_at, w_stride, x, x_at, x_stride, n,
        row_scale, row_at, column_scale, column_at, out, out_at, out_stride,
    ):  # fmt: skip
        at = types.intp
        signature = types.void(
            w, at, at, x, at, at, at, row_scale, at, column_scale, at, out, at, at
        )  # fmt: skip

        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            def constant(value: int) -> Any:
                return ir.Constant(I64, value)

            def place(index: int) -> Any:
                """Address of what the argument `index` and the one behind it say."""
                return pointer(context, builder, sig.args[index], args[index], args[index + 1])

            size, out_stride = args[6], args[13]
            w_row = addresses(context, builder, sig.args[0], args[0], args[1], args[2], rows)
            x_row = addresses(context, builder, sig.args[3], args[3], args[4], args[5], columns)
            sums = [[cgutils.alloca_once(builder, wide) for _ in cells] for _ in range(unroll)]
            ahead = builder.gep(w_row[0], [ir.Constant(I64, _AHEAD)])

            def inputs(at: Any) -> list[Any]:
                """Where the inputs of the weights at byte `at` of a row begin."""
                if not packed:
                    return [at]
                first = builder.add(at, builder.and_(at, constant(-_HALF_CHUNK)))
                return [first, builder.add(first, constant(_HALF_CHUNK))]

            def step(at: Any, number: int, group: Sequence[int]) -> None:
                starts = inputs(at)
                xs = [
                    [load(builder, builder.gep(p, [i]), I16, STEP) for p in x_row] for i in starts
                ]
                for r in group:
                    narrow = load(builder, builder.gep(w_row[r], [at]), I8, STEP)
                    ws = builder.sext(narrow, ir.VectorType(I16, STEP))
                    parts = _halves(builder, ws) if packed else [ws]
                    for index, part in enumerate(parts):
                        lane = sums[(number * len(parts) + index) % unroll]
                        for c in range(columns):
                            cell = lane[cells.index((r, c))]
                            total = builder.load(cell)
                            total = _multiply_add(builder, total, part, xs[index][c])
                            builder.store(total, cell)

            def steps(first: Any, count: Any, many: int, group: Sequence[int]) -> Any:
                """`count` times `many` steps from element `first`; returns where they end."""
                length = ir.Constant(I64, STEP * many)
                with cgutils.for_range(builder, count) as loop:
                    start = builder.add(first, builder.mul(loop.index, length))
                    if apart:
                        for offset in range(0, STEP * many, _CACHE_LINE):
                            far = builder.add(start, constant(offset + stream_ahead))
                            _prefetch(builder, builder.gep(w_row[group[0]], [far]), 1)
                    else:
                        line = builder.mul(start, ir.Constant(I64, rows))
                        for offset in range(0, rows * STEP * many, _CACHE_LINE):
                            far = builder.add(line, ir.Constant(I64, offset))
                            _prefetch(builder, builder.gep(ahead, [far]), 2)
                        for r in group if _NEAR else ():
                            near = builder.add(start, constant(_NEAR))
                            _prefetch(builder, builder.gep(w_row[r], [near]), 1)
                    for index in range(many):
                        at = builder.add(start, ir.Constant(I64, STEP * index))
                        step(at, index, group)
                return builder.add(first, builder.mul(count, length))

            def block(start: Any, end: Any) -> tuple[Any, Any]:
                """The totals of inputs start to end, at most `_BLOCK`."""
                for lane in sums:
                    for cell in lane:
                        builder.store(ir.Constant(wide, None), cell)
                count = builder.sub(end, start)
                count = builder.add(count, constant(STEP - 1))
                count = builder.sdiv(count, constant(STEP))
                whole = builder.sdiv(count, constant(repeat))
                rest = builder.sub(count, builder.mul(whole, constant(repeat)))
                for group in groups:
                    steps(steps(start, whole, repeat, group), rest, 1, group)
                lanes = zip(*sums, strict=True)
                added = [reduce(builder.add, map(builder.load, lane)) for lane in lanes]
                high, low = _totals(builder, added)
                return _joined(builder, high), _joined(builder, low)

            total = ir.VectorType(I32, len(cells))
            highs, lows = (
                cgutils.alloca_once_value(builder, ir.Constant(total, None)) for _ in range(2)
            )
            blocks = builder.sdiv(builder.add(size, constant(_BLOCK - 1)), constant(_BLOCK))
            with cgutils.for_range(builder, blocks) as loop:
                start = builder.mul(loop.index, constant(_BLOCK))
                end = builder.add(start, constant(_BLOCK))
                end = builder.select(builder.icmp_signed("<", end, size), end, size)
                high, low = block(start, end)
                low = builder.add(low, builder.load(lows))
                carry = builder.ashr(low, ir.Constant(total, [16] * len(cells)))
                high = builder.add(builder.add(high, carry), builder.load(highs))
                builder.store(high, highs)
                builder.store(builder.and_(low, ir.Constant(total, [65535] * len(cells))), lows)

            # Both parts are exact in float32, so only the addition rounds.
            high = builder.sitofp(builder.load(highs), floats)
            value = builder.fmul(high, ir.Constant(floats, [65536.0] * len(cells)))
            value = builder.fadd(value, builder.sitofp(builder.load(lows), floats))
            by_column = load(builder, place(9), F32, columns)
            value = builder.fmul(value, shuffle(builder, by_column, [c for _, c in cells]))
            by_row = load(builder, place(7), F32, rows)
            value = builder.fmul(value, shuffle(builder, by_row, [r for r, _ in cells]))
            for c in range(columns):
                row = shuffle(builder, value, range(c * rows, (c + 1) * rows))
                target = builder.gep(place(11), [builder.mul(out_stride, constant(c))])
                builder.store(row, builder.bitcast(target, row.type.as_pointer()), align=4)
            return context.get_dummy_value()

        return signature, generate

    return tile


# Rows against one vector, for decoding: a single stream, which the processor itself fetches ahead
# (side by side: 20 instead of 31 GB/s). Tiles for several positions; two need less arithmetic.
ROWS_APART = 4
int_rows = _int_tile(ROWS_APART, 1, apart=True)
int_pair = _int_tile(TILE_ROWS, 2)
int_block = _int_tile(TILE_ROWS, TILE_COLUMNS)
int4_rows = _int_tile(ROWS_APART, 1, apart=True, packed=True)
int4_pair = _int_tile(TILE_ROWS, 2, packed=True)
int4_block = _int_tile(TILE_ROWS, TILE_COLUMNS, packed=True)
