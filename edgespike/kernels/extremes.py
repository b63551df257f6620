"""The largest of many floats: independent of the order, so as wide as the processor likes."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from edgespike.kernels.simd import F32, FLOAT_LANES, I32, I64, _fold, chunks, load, shuffle


def _largest(magnitudes: bool) -> Any:
    """Intrinsic: max(x[0], ..., x[n - 1]) of float32 `x`, or of |x|; `least` if that is larger."""

    @intrinsic
    def largest(typing_context, x, n, least):
        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            x_value, size, floor = args
            start = context.make_array(sig.args[0])(context, builder, x_value).data

            def larger(a: Any, b: Any) -> Any:
                return builder.select(builder.fcmp_ordered(">", b, a), b, a)

            def taken(value: Any) -> Any:
                if not magnitudes:
                    return value
                name = f"llvm.fabs.{'f32' if value.type == F32 else f'v{FLOAT_LANES}f32'}"
                signature = ir.FunctionType(value.type, [value.type])
                function = cgutils.get_or_insert_function(builder.module, signature, name)
                return builder.call(function, [value])

            floors = ir.Constant(ir.VectorType(F32, 1), ir.Undefined)
            floors = builder.insert_element(floors, floor, ir.Constant(I32, 0))
            best = cgutils.alloca_once_value(builder, shuffle(builder, floors, [0] * FLOAT_LANES))
            whole, covered = chunks(builder, size, FLOAT_LANES)
            with cgutils.for_range(builder, whole) as loop:
                at = builder.gep(start, [builder.mul(loop.index, ir.Constant(I64, FLOAT_LANES))])
                here = taken(load(builder, at, F32, FLOAT_LANES))
                builder.store(larger(builder.load(best), here), best)
            single = cgutils.alloca_once_value(builder, _fold(builder, builder.load(best), larger))
            with cgutils.for_range(builder, builder.sub(size, covered)) as loop:
                here = builder.load(builder.gep(start, [builder.add(covered, loop.index)]))
                builder.store(larger(builder.load(single), taken(here)), single)
            return builder.load(single)

        return types.float32(x, types.intp, types.float32), generate

    return largest


largest = _largest(magnitudes=False)
largest_magnitude = _largest(magnitudes=True)
