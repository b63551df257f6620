"""A barrier between the threads that share one step.

The threads of a step meet some hundred times per token, a few microseconds apart, so they spin;
after a while they yield the core, so that a machine with fewer free cores than threads still makes
progress. Between steps nobody spins: the helper threads sleep (see `engine.workers`).
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from edgespike.kernels.compiler import inlined

SPINS = 4000

sched_yield = types.ExternalFunction("sched_yield", types.int32())


@intrinsic
def _atomic_add(typing_context, array, index, amount):
    """Add to array[index] (int64), sequentially consistent; returns the value before."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        return builder.atomic_rmw("add", builder.gep(data, [args[1]]), args[2], "seq_cst")

    return types.int64(array, types.intp, types.int64), generate


@intrinsic
def _atomic_load(typing_context, array, index):
    """array[index] (int64), with acquire ordering."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        pointer = builder.gep(data, [args[1]])
        return builder.load_atomic(pointer, "acquire", align=8)

    return types.int64(array, types.intp), generate


@intrinsic
def _relax(typing_context):
    """Tell the CPU that this is a spinning loop, where it has an instruction for that."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if builder.module.triple.startswith(("x86_64", "i686")):
            signature = ir.FunctionType(ir.VoidType(), [])
            pause = cgutils.get_or_insert_function(builder.module, signature, "llvm.x86.sse2.pause")
            builder.call(pause, [])
        return context.get_dummy_value()

    return types.void(), generate


@inlined
def wait(counter, threads):
    """Return when all `threads` have called it once more. `counter` is int64 [1], zero at the
    start.

    The counter only grows, so nothing has to be reset and no thread can meet an older generation.
    """
    if threads == 1:
        return
    ticket = _atomic_add(counter, 0, 1)
    target = (ticket // threads + 1) * threads
    spins = 0
    while _atomic_load(counter, 0) < target:
        spins += 1
        if spins < SPINS:
            _relax()
        else:
            sched_yield()
