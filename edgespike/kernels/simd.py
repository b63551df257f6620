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

I8, I16, I32, I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
F32 = ir.FloatType()

FLOAT_LANES = 16
FLOAT_COLUMNS = 4


def pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    """Address of element `index` of a C-contiguous array, counted through all its dimensions."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [index])


def addresses(
    context: Any, builder: Any, array_type: Any, array: Any, first: Any, step: Any, count: int
) -> list[Any]:
    """Addresses of elements first, first + step, ... of a C-contiguous array."""
    at = [builder.add(first, builder.mul(step, ir.Constant(I64, i))) for i in range(count)]
    return [pointer(context, builder, array_type, array, index) for index in at]


def load(builder: Any, address: Any, element: Any, lanes: int) -> Any:
    """A vector of `lanes` elements from an address that need not be aligned."""
    vector = builder.bitcast(address, ir.VectorType(element, lanes).as_pointer())
    value = builder.load(vector)
    value.align = element.width // 8 if isinstance(element, ir.IntType) else 4
    return value


def shuffle(builder: Any, value: Any, indices: Sequence[int], other: Any = None) -> Any:
    """The lanes `indices` of `value`, or of `value` and `other` one behind the other."""
    mask = ir.Constant(ir.VectorType(I32, len(indices)), list(indices))
    second = ir.Constant(value.type, ir.Undefined) if other is None else other
    return builder.shuffle_vector(value, second, mask)


def chunks(builder: Any, n: Any, step: int) -> tuple[Any, Any]:
    """How many whole steps fit into n, and how many elements they cover."""
    whole = builder.sdiv(n, ir.Constant(I64, step))
    return whole, builder.mul(whole, ir.Constant(I64, step))


def _fold(builder: Any, value: Any, combine: Callable[[Any, Any], Any]) -> Any:
    """Combine all lanes: the upper half onto the lower half until one is left."""
    lanes = value.type.count
    while lanes > 1:
        lanes //= 2
        low = shuffle(builder, value, range(lanes))
        high = shuffle(builder, value, range(lanes, 2 * lanes))
        value = combine(low, high)
    return builder.extract_element(value, ir.Constant(I32, 0))


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
            lanes = ir.VectorType(F32, FLOAT_LANES)
            w_row = addresses(context, builder, sig.args[0], w_value, w_first, w_step, rows)
            x_row = addresses(context, builder, sig.args[3], x_value, x_first, x_step, columns)
            cells = [(r, c) for r in range(rows) for c in range(columns)]
            sums = [cgutils.alloca_once_value(builder, ir.Constant(lanes, None)) for _ in cells]
            whole, covered = chunks(builder, size, FLOAT_LANES)
            with cgutils.for_range(builder, whole) as loop:
                at = builder.mul(loop.index, ir.Constant(I64, FLOAT_LANES))
                xs = [load(builder, builder.gep(p, [at]), F32, FLOAT_LANES) for p in x_row]
                for r in range(rows):
                    ws = load(builder, builder.gep(w_row[r], [at]), F32, FLOAT_LANES)
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
            place = pointer(context, builder, sig.args[7], out_value, out_first)
            for index, total in enumerate(totals):
                cell = builder.gep(place, [ir.Constant(I64, index)])
                builder.store(builder.load(total), cell)
            return context.get_dummy_value()

        return signature, generate

    return tile


float_row = _float_tile(1, 1)
float_block = _float_tile(2, FLOAT_COLUMNS)


@intrinsic
def float_from_bits(typing_context, bits):
    """The float32 whose IEEE 754 bits are the int32 `bits`."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bitcast(args[0], F32)

    return types.float32(types.int32), generate
