"""The one place that talks to Numba about how to compile.

The instruction set of a process is chosen once, before the first kernel module is imported, because
Numba's code generator is a process-wide singleton. No kernel uses fastmath: float reductions run in
a fixed order, so that every instruction set gives the same bits.

Loops that matter run over `range(n)` on a slice, never over `range(first, last)`: an index that
could be negative costs Numba's wrap-around test, which LLVM then vectorises as a gather (measured
with AVX-512: reading memory at 4.5 instead of 25 GB/s).
"""

from __future__ import annotations

import atexit
import ctypes
import hashlib
import logging
import mmap
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from edgespike.errors import UnavailableError, UsageError

Isa = Literal["native", "avx2", "generic"]
ISAS: tuple[Isa, ...] = ("native", "avx2", "generic")

# LLVM's names. Haswell is the first processor with AVX2, FMA and BMI2: the level called x86-64-v3.
_LLVM_CPU: dict[str, str | None] = {"native": None, "avx2": "haswell", "generic": "generic"}


_parts: list[Any] = []


def configure(isa: str) -> None:
    """Choose the instruction set of this process and the folder of compiled kernels.

    Raises UnavailableError if this host lacks the instructions (LLVM would abort the process, which
    nothing can catch), UsageError if kernels were already loaded for another instruction set.
    """
    if isa not in _LLVM_CPU:
        raise UsageError(f"unknown instruction set {isa!r}: choose one of {', '.join(ISAS)}")
    import llvmlite.binding as llvm
    from numba.core import config

    features = llvm.get_host_cpu_features()
    if isa == "avx2" and not (features.get("avx2") and features.get("fma")):
        raise UnavailableError("this CPU has no AVX2 instructions: use isa 'generic'")
    if f"{__package__}.step" in sys.modules:
        if _LLVM_CPU[isa] != config.CPU_NAME:
            raise UsageError(
                f"kernels for another instruction set are loaded: start a new process for {isa!r}"
            )
        return
    config.CPU_NAME = _LLVM_CPU[isa]
    config.CPU_FEATURES = None if isa == "native" else ""
    config.CACHE_DIR = str(cache_folder())
    # Intel's vector library, where it is installed, rounds differently from width to width.
    config.DISABLE_INTEL_SVML = True


def x86_vector_bits() -> int:
    """Width in bits of the integer vectors that this process compiles for; 0 if not for x86."""
    import llvmlite.binding as llvm
    from numba.core import config

    if not llvm.get_process_triple().startswith("x86_64"):
        return 0
    if _LLVM_CPU["generic"] == config.CPU_NAME:
        return 128
    if _LLVM_CPU["avx2"] == config.CPU_NAME:
        return 256
    features = llvm.get_host_cpu_features()
    return 512 if features.get("avx512bw") else 256 if features.get("avx2") else 128


def cache_folder() -> Path:
    """Where compiled kernels are kept; created if need be.

    The name carries a digest of the kernels' source, because Numba notices changes in the file of a
    function but not in the files that it imports. Falls back to a folder that ends with the process
    when nothing is writable (a read-only system without CacheDirectory).
    """
    import numba

    digest = hashlib.sha256(numba.__version__.encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    name = f"kernels-{digest.hexdigest()[:16]}"
    for base in _cache_bases():
        folder = base / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    folder = Path(tempfile.mkdtemp(prefix="edgespike-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    logging.getLogger(__name__).warning(
        "no folder for compiled kernels can be written: they are compiled anew at each start; "
        "set CACHE_DIRECTORY or NUMBA_CACHE_DIR"
    )
    return folder


def _cache_bases() -> list[Path]:
    candidates = [
        os.environ.get("NUMBA_CACHE_DIR"),
        os.environ.get("CACHE_DIRECTORY", "").split(":")[0],
        os.environ.get("XDG_CACHE_HOME") and os.environ["XDG_CACHE_HOME"] + "/edgespike",
        os.environ.get("HOME") and os.environ["HOME"] + "/.cache/edgespike",
    ]
    return [Path(c) for c in candidates if c]


def forget_compiler() -> None:
    """Let go of the memory of LLVM's code, 60 MB, which loaded kernels don't need; it is read from
    its file again should another kernel be compiled.
    """
    maps = Path("/proc/self/maps")
    if not maps.exists():
        return
    libc = ctypes.CDLL(None)
    for line in maps.read_text().splitlines():
        # Only code, which is never written to: the linker changes pages of the other parts.
        if "libllvmlite" in line and line.split()[1] == "r-xp":
            first, last = (int(part, 16) for part in line.split()[0].split("-"))
            libc.madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), mmap.MADV_DONTNEED)


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile for a call from Python: releases the GIL, kept on disk."""
    import numba

    compiled: Callable[..., Any] = numba.njit(
        nogil=True, cache=True, error_model="numpy", fastmath=False
    )(function)
    return compiled


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile as a part of the kernels that call it; kept on disk with them."""
    import numba

    part: Callable[..., Any] = numba.njit(nogil=True, error_model="numpy", fastmath=False)(function)
    _parts.append(part)
    return part


def compiled() -> tuple[int, int]:
    """How many kernels this process has compiled so far, and of how many; none when they come from
    the cache. The last one is the whole that has all others as its parts.
    """
    return sum(bool(part.overloads) for part in _parts), len(_parts) + 1
