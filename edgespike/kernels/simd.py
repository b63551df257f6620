"""Vector primitives as LLVM intrinsics.

They use LLVM's portable vector types, never an instruction of one processor: LLVM lowers a 16-lane
vector to one AVX-512, two AVX2, four SSE or NEON registers. The lanes, and the order in which they
are added, are part of the definition, so floats come out the same everywhere. Integer sums are
exact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from edgespike.kernels.compiler import x86_vector_bits

_I16, _I32, _I64 = ir.IntType(16), ir.IntType(32), ir.IntType(64)
_I8, _F32 = ir.IntType(8), ir.FloatType()

LANES = 16
_STEP = 32  # int16 elements per multiply-add: two products go into each of the 16 int32 lanes
# |w| <= 127 and |q| <= 32767: a lane takes two products a step, so 256 steps stay below 2**31.
_FLUSH = 256 * _STEP


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
    bits = x86_vector_bits()
    if not bits:
        return builder.add(acc, _portable_pairs(builder, w, x))
    name, lanes = _PAIR_INSTRUCTION[bits], bits // 16
    vector = ir.VectorType(_I16, lanes)
    signature = ir.FunctionType(ir.VectorType(_I32, lanes // 2), [vector, vector])
    function = cgutils.get_or_insert_function(builder.module, signature, name)
    parts = []
    for start in range(0, _STEP, lanes):
        take = range(start, start + lanes)
        parts.append(
            builder.call(function, [_shuffle(builder, w, take), _shuffle(builder, x, take)])
        )
    while len(parts) > 1:
        parts = [_concatenate(builder, a, b) for a, b in zip(parts[::2], parts[1::2], strict=True)]
    return builder.add(acc, parts[0])


_PAIR_INSTRUCTION = {
    512: "llvm.x86.avx512.pmaddw.d.512",
    256: "llvm.x86.avx2.pmadd.wd",
    128: "llvm.x86.sse2.pmadd.wd",
}


def _concatenate(builder: Any, low: Any, high: Any) -> Any:
    lanes = 2 * low.type.count
    mask = ir.Constant(ir.VectorType(_I32, lanes), list(range(lanes)))
    return builder.shuffle_vector(low, high, mask)


def _portable_pairs(builder: Any, w: Any, x: Any) -> Any:
    wide = ir.VectorType(_I32, LANES)

    def products(first: int) -> Any:
        take = range(first, _STEP, 2)
        left = builder.sext(_shuffle(builder, w, take), wide)
        return builder.mul(left, builder.sext(_shuffle(builder, x, take), wide))

    return builder.add(products(0), products(1))


def _int_tile(rows: int, columns: int, unroll: int) -> Any:
    """Intrinsic: `rows` int8 weight rows times `columns` int16 vectors, exact in int64.

    `unroll` steps go to accumulators of their own, to hide the latency of the multiply-add.
    """

    @intrinsic
    def tile(typing_context, w, w_at, w_stride, x, x_at, x_stride, n, out):
        signature = types.void(
            w, types.intp, types.intp, x, types.intp, types.intp, types.intp, out
        )

        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            w_value, w_first, w_step, x_value, x_first, x_step, size, out_value = args
            wide = ir.VectorType(_I32, LANES)
            w_row = _rows(context, builder, sig.args[0], w_value, w_first, w_step, rows)
            x_row = _rows(context, builder, sig.args[3], x_value, x_first, x_step, columns)
            cells = [(r, c) for r in range(rows) for c in range(columns)]
            totals = [cgutils.alloca_once_value(builder, ir.Constant(_I64, 0)) for _ in cells]
            sums = [[cgutils.alloca_once(builder, wide) for _ in cells] for _ in range(unroll)]

            def steps(first: Any, count: Any, lanes: Sequence[Any]) -> Any:
                """`count` times len(lanes) steps from element `first`; returns where they end."""
                stride = ir.Constant(_I64, _STEP * len(lanes))
                with cgutils.for_range(builder, count) as loop:
                    start = builder.add(first, builder.mul(loop.index, stride))
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
                return builder.add(first, builder.mul(count, stride))

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
                    exact = builder.load(total)
                    for lane in sums:
                        longer = builder.sext(builder.load(lane[index]), ir.VectorType(_I64, LANES))
                        exact = builder.add(exact, _fold(builder, longer, builder.add))
                    builder.store(exact, total)
            with cgutils.for_range(builder, builder.sub(size, covered)) as loop:
                at = builder.add(covered, loop.index)
                for (r, c), total in zip(cells, totals, strict=True):
                    left = builder.sext(builder.load(builder.gep(w_row[r], [at])), _I64)
                    right = builder.sext(builder.load(builder.gep(x_row[c], [at])), _I64)
                    product = builder.mul(left, right)
                    builder.store(builder.add(builder.load(total), product), total)
            for index, total in enumerate(totals):
                place = _pointer(context, builder, sig.args[7], out_value, ir.Constant(_I64, index))
                builder.store(builder.load(total), place)
            return context.get_dummy_value()

        return signature, generate

    return tile


def _float_tile(rows: int, columns: int) -> Any:
    """Intrinsic: `rows` float32 weight rows times `columns` float32 vectors, 16 lanes each."""

    @intrinsic
    def tile(typing_context, w, w_at, w_stride, x, x_at, x_stride, n, out):
        signature = types.void(
            w, types.intp, types.intp, x, types.intp, types.intp, types.intp, out
        )

        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            w_value, w_first, w_step, x_value, x_first, x_step, size, out_value = args
            lanes = ir.VectorType(_F32, LANES)
            w_row = _rows(context, builder, sig.args[0], w_value, w_first, w_step, rows)
            x_row = _rows(context, builder, sig.args[3], x_value, x_first, x_step, columns)
            cells = [(r, c) for r in range(rows) for c in range(columns)]
            sums = [cgutils.alloca_once_value(builder, ir.Constant(lanes, None)) for _ in cells]
            whole, covered = _chunks(builder, size, LANES)
            with cgutils.for_range(builder, whole) as loop:
                at = builder.mul(loop.index, ir.Constant(_I64, LANES))
                xs = [_load(builder, builder.gep(p, [at]), _F32, LANES) for p in x_row]
                for r in range(rows):
                    ws = _load(builder, builder.gep(w_row[r], [at]), _F32, LANES)
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
            for index, total in enumerate(totals):
                place = _pointer(context, builder, sig.args[7], out_value, ir.Constant(_I64, index))
                builder.store(builder.load(total), place)
            return context.get_dummy_value()

        return signature, generate

    return tile


# One weight row against one vector, for decoding: a single stream through memory. (Four rows at
# once read memory at 12 instead of 29 GB/s.) Blocks for several positions load and widen a weight
# once for four of them.
int_tile_1x1 = _int_tile(1, 1, unroll=4)
int_tile_2x4 = _int_tile(2, 4, unroll=1)
float_tile_1x1 = _float_tile(1, 1)
float_tile_2x4 = _float_tile(2, 4)


@intrinsic
def prefetch(typing_context, array, index):
    """Ask for the cache line of array[index] ahead of its use; the index may lie anywhere."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        byte = _I8.as_pointer()
        kinds = [byte, _I32, _I32, _I32]
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), kinds), "llvm.prefetch.p0i8"
        )
        address = _pointer(context, builder, sig.args[0], args[0], args[1])
        read, keep, data = (ir.Constant(_I32, value) for value in (0, 3, 1))
        builder.call(function, [builder.bitcast(address, byte), read, keep, data])
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


@intrinsic
def float_from_bits(typing_context, bits):
    """The float32 whose IEEE 754 bits are the int32 `bits`."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bitcast(args[0], _F32)

    return types.float32(types.int32), generate
