"""Vector primitives as LLVM intrinsics.

They use LLVM's portable vector types, never an instruction of one processor: LLVM lowers a 16-lane
vector to one AVX-512, two AVX2, four SSE or NEON registers. The lanes, and the order in which they
are added, are part of the definition, so floats come out the same everywhere. Integer sums are
exact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from edgespike.kernels.compiler import x86_vector_bits

_I16, _I32, _I64 = ir.IntType(16), ir.IntType(32), ir.IntType(64)
_I8, _F32 = ir.IntType(8), ir.FloatType()

FLOAT_LANES = 16
# An integer step takes one vector register of int32 sums; two int16 products go into each lane.
INT_LANES = max(x86_vector_bits(), 128) // 32
_STEP = 2 * INT_LANES
# |w| <= 127 and |q| <= 32767: a lane takes two products a step, so 256 steps stay below 2**31, also
# when they are spread over several accumulators that are added in the end.
_FLUSH = 256 * _STEP
_CACHE_LINE = 64
# Rows of a block for several positions: as many as the registers hold sums for, times four.
TILE_ROWS = 4 if x86_vector_bits() == 512 else 2
TILE_COLUMNS = 4


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    """Address of element `index` of a one-dimensional array."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [index])


def _rows(
    context: Any, builder: Any, array_type: Any, array: Any, first: Any, step: Any, count: int
) -> list[Any]:
    """Addresses of elements first, first + step, ... of a one-dimensional array."""
    at = [builder.add(first, builder.mul(step, ir.Constant(_I64, i))) for i in range(count)]
    return [_pointer(context, builder, array_type, array, index) for index in at]


def _load(builder: Any, address: Any, element: Any, lanes: int) -> Any:
    vector = builder.bitcast(address, ir.VectorType(element, lanes).as_pointer())
    value = builder.load(vector)
    value.align = element.width // 8 if isinstance(element, ir.IntType) else 4
    return value


def _shuffle(builder: Any, value: Any, indices: Sequence[int]) -> Any:
    mask = ir.Constant(ir.VectorType(_I32, len(indices)), list(indices))
    return builder.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), mask)


def _fold(builder: Any, value: Any, combine: Callable[[Any, Any], Any]) -> Any:
    """Combine all lanes: the upper half onto the lower half until one is left."""
    lanes = value.type.count
    while lanes > 1:
        lanes //= 2
        low = _shuffle(builder, value, range(lanes))
        high = _shuffle(builder, value, range(lanes, 2 * lanes))
        value = combine(low, high)
    return builder.extract_element(value, ir.Constant(_I32, 0))


def _chunks(builder: Any, n: Any, step: int) -> tuple[Any, Any]:
    """How many whole steps fit into n, and how many elements they cover."""
    whole = builder.sdiv(n, ir.Constant(_I64, step))
    return whole, builder.mul(whole, ir.Constant(_I64, step))


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
    wide = ir.VectorType(_I32, INT_LANES)

    def products(first: int) -> Any:
        take = range(first, _STEP, 2)
        left = builder.sext(_shuffle(builder, w, take), wide)
        return builder.mul(left, builder.sext(_shuffle(builder, x, take), wide))

    return builder.add(products(0), products(1))


def _prefetch(builder: Any, address: Any) -> None:
    byte = _I8.as_pointer()
    signature = ir.FunctionType(ir.VoidType(), [byte, _I32, _I32, _I32])
    function = cgutils.get_or_insert_function(builder.module, signature, "llvm.prefetch.p0i8")
    read, keep, data = (ir.Constant(_I32, value) for value in (0, 3, 1))
    builder.call(function, [builder.bitcast(address, byte), read, keep, data])


def _int_tile(rows: int, columns: int, *, unroll: int, fetch: bool) -> Any:
    """Intrinsic: `rows` int8 weight rows times `columns` int16 vectors, exact in int64.

    The products go to out[out_at : out_at + rows * columns], row by row. `unroll` steps go to
    accumulators of their own, to hide the latency of the multiply-add. With `fetch`, the weights
    that lie `ahead` elements further on are prefetched.
    """

    @intrinsic
    def tile(typing_context, w, w_at, w_stride, x, x_at, x_stride, n, out, out_at, ahead):
        index = types.intp
        signature = types.void(w, index, index, x, index, index, index, out, index, index)

        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            w_value, w_first, w_step, x_value, x_first, x_step, size, *target, far = args
            out_value, out_first = target
            wide = ir.VectorType(_I32, INT_LANES)
            w_row = _rows(context, builder, sig.args[0], w_value, w_first, w_step, rows)
            x_row = _rows(context, builder, sig.args[3], x_value, x_first, x_step, columns)
            cells = [(r, c) for r in range(rows) for c in range(columns)]
            totals = [cgutils.alloca_once_value(builder, ir.Constant(_I64, 0)) for _ in cells]
            sums = [[cgutils.alloca_once(builder, wide) for _ in cells] for _ in range(unroll)]

            def steps(first: Any, count: Any, lanes: Sequence[Any]) -> Any:
                """`count` times len(lanes) steps from element `first`; returns where they end."""
                length = _STEP * len(lanes)
                with cgutils.for_range(builder, count) as loop:
                    start = builder.add(first, builder.mul(loop.index, ir.Constant(_I64, length)))
                    if fetch:
                        for r in range(rows):
                            for line in range(0, max(length, _CACHE_LINE), _CACHE_LINE):
                                at = builder.add(start, builder.add(far, ir.Constant(_I64, line)))
                                _prefetch(builder, builder.gep(w_row[r], [at]))
                    for offset, cell in enumerate(lanes):
                        at = builder.add(start, ir.Constant(_I64, _STEP * offset))
                        xs = [_load(builder, builder.gep(p, [at]), _I16, _STEP) for p in x_row]
                        for r in range(rows):
                            narrow = _load(builder, builder.gep(w_row[r], [at]), _I8, _STEP)
                            ws = builder.sext(narrow, ir.VectorType(_I16, _STEP))
                            for c in range(columns):
                                place = cell[r * columns + c]
                                added = _multiply_add(builder, builder.load(place), ws, xs[c])
                                builder.store(added, place)
                return builder.add(first, builder.mul(count, ir.Constant(_I64, length)))

            _, covered = _chunks(builder, size, _STEP)
            flush = ir.Constant(_I64, _FLUSH)
            blocks = builder.sdiv(builder.add(covered, ir.Constant(_I64, _FLUSH - 1)), flush)
            with cgutils.for_range(builder, blocks) as block:
                start = builder.mul(block.index, flush)
                left = builder.sub(covered, start)
                length = builder.select(builder.icmp_signed("<", left, flush), left, flush)
                for lane in sums:
                    for cell in lane:
                        builder.store(ir.Constant(wide, None), cell)
                whole, _ = _chunks(builder, length, _STEP * unroll)
                at = steps(start, whole, sums)
                if unroll > 1:
                    rest = builder.sub(builder.add(start, length), at)
                    steps(at, builder.sdiv(rest, ir.Constant(_I64, _STEP)), sums[:1])
                for index, total in enumerate(totals):
                    lanes = [builder.load(lane[index]) for lane in sums]
                    longer = builder.sext(
                        reduce(builder.add, lanes), ir.VectorType(_I64, INT_LANES)
                    )
                    folded = _fold(builder, longer, builder.add)
                    builder.store(builder.add(builder.load(total), folded), total)
            with cgutils.for_range(builder, builder.sub(size, covered)) as loop:
                at = builder.add(covered, loop.index)
                for (r, c), total in zip(cells, totals, strict=True):
                    left = builder.sext(builder.load(builder.gep(w_row[r], [at])), _I64)
                    right = builder.sext(builder.load(builder.gep(x_row[c], [at])), _I64)
                    product = builder.mul(left, right)
                    builder.store(builder.add(builder.load(total), product), total)
            place = _pointer(context, builder, sig.args[7], out_value, out_first)
            for index, total in enumerate(totals):
                cell = builder.gep(place, [ir.Constant(_I64, index)])
                builder.store(builder.load(total), cell)
            return context.get_dummy_value()

        return signature, generate

    return tile


def _float_tile(rows: int, columns: int) -> Any:
    """Intrinsic: `rows` float32 weight rows times `columns` float32 vectors, 16 lanes each.

    The products go to out[out_at : out_at + rows * columns], row by row.
    """

    @intrinsic
    def tile(typing_context, w, w_at, w_stride, x, x_at, x_stride, n, out, out_at):
        index = types.intp
        signature = types.void(w, index, index, x, index, index, index, out, index)

        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            w_value, w_first, w_step, x_value, x_first, x_step, size, out_value, out_first = args
            lanes = ir.VectorType(_F32, FLOAT_LANES)
            w_row = _rows(context, builder, sig.args[0], w_value, w_first, w_step, rows)
            x_row = _rows(context, builder, sig.args[3], x_value, x_first, x_step, columns)
            cells = [(r, c) for r in range(rows) for c in range(columns)]
            sums = [cgutils.alloca_once_value(builder, ir.Constant(lanes, None)) for _ in cells]
            whole, covered = _chunks(builder, size, FLOAT_LANES)
            with cgutils.for_range(builder, whole) as loop:
                at = builder.mul(loop.index, ir.Constant(_I64, FLOAT_LANES))
                xs = [_load(builder, builder.gep(p, [at]), _F32, FLOAT_LANES) for p in x_row]
                for r in range(rows):
                    ws = _load(builder, builder.gep(w_row[r], [at]), _F32, FLOAT_LANES)
                    for c in range(columns):
                        cell = sums[r * columns + c]
                        product = builder.fmul(ws, xs[c])
                        builder.store(builder.fadd(builder.load(cell), product), cell)
            totals = [
                cgutils.alloca_once_value(builder, _fold(builder, builder.load(s), builder.fadd))
                for s in sums
            ]
            with cgutils.for_range(builder, builder.sub(size, covered)) as loop:
                at = builder.add(covered, loop.index)
                for (r, c), total in zip(cells, totals, strict=True):
                    left = builder.load(builder.gep(w_row[r], [at]))
                    product = builder.fmul(left, builder.load(builder.gep(x_row[c], [at])))
                    builder.store(builder.fadd(builder.load(total), product), total)
            place = _pointer(context, builder, sig.args[7], out_value, out_first)
            for index, total in enumerate(totals):
                cell = builder.gep(place, [ir.Constant(_I64, index)])
                builder.store(builder.load(total), cell)
            return context.get_dummy_value()

        return signature, generate

    return tile


# One weight row against one vector, for decoding: a single stream through memory (four rows at once
# read it at 12 instead of 29 GB/s). One row against four, for short steps such as verifying a
# draft, where memory still counts; and blocks for long ones, where only arithmetic does.
int_row = _int_tile(1, 1, unroll=4, fetch=False)
int_row4 = _int_tile(1, TILE_COLUMNS, unroll=1, fetch=False)
int_block = _int_tile(TILE_ROWS, TILE_COLUMNS, unroll=1, fetch=True)
float_row = _float_tile(1, 1)
float_block = _float_tile(2, TILE_COLUMNS)


@intrinsic
def float_from_bits(typing_context, bits):
    """The float32 whose IEEE 754 bits are the int32 `bits`."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bitcast(args[0], _F32)

    return types.float32(types.int32), generate
