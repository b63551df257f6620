"""The machine: Python and its packages, processor, memory, clock."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
import os
import platform
import re
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from edgespike.config import Config
from edgespike.doctor.findings import Finding, fail, ok, warn
from edgespike.errors import EdgespikeError

_OLDEST_PYTHON = (3, 11)
_RELEASED = 2026
"""No clock was right before this program existed."""
_TIME_ERROR = 5
_TIMEX_BYTES = 512
_NO_LIMIT = 1 << 60
_MIB = 1 << 20


def python() -> Finding:
    """The interpreter."""
    shown = f"Python {platform.python_version()}, {sys.executable}"
    if sys.version_info < _OLDEST_PYTHON:
        return fail("python", shown, "edgespike needs Python 3.11 or later")
    return ok("python", shown)


def packages(requirements: list[str] | None = None) -> Finding:
    """The packages that the daemon needs, with their least versions; `requirements` as in package
    metadata, edgespike's own unless given."""
    wanted = importlib.metadata.requires("edgespike") if requirements is None else requirements
    shown, wrong = [], []
    for requirement in wanted or []:
        if ";" in requirement:
            continue  # an extra
        found = re.match(r"([\w.-]+)(?:.*?>=([\d.]+))?", requirement)
        assert found is not None
        name, least = found.groups()
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{name} is missing")
            continue
        shown.append(f"{name} {version}")
        if least and _parts(version) < _parts(least):
            wrong.append(f"{name} {version} is older than {least}")
    if wrong:
        return fail("packages", "; ".join(wrong), "install edgespike again, with pip")
    return ok("packages", ", ".join(shown))


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(digits) for digits in re.findall(r"\d+", version)[:3])


def processor(settings: Config) -> Finding:
    """Whether the CPU has the instructions that the board's kernels need. Chooses the instruction
    set of this process."""
    from edgespike.kernels.compiler import configure, x86_vector_bits

    isa = settings.isa
    try:
        configure(isa)
    except EdgespikeError as error:
        return fail(
            "processor",
            str(error),
            "choose a board profile with `isa: generic`, such as generic-any-cpu",
            error.exit_code,
        )
    bits = x86_vector_bits()
    if isa == "native" and bits == 128:
        return warn(
            "processor",
            "isa native: no AVX2 on this CPU, so kernels use 128-bit vectors",
            "expect a fraction of the usual speed",
        )
    width = f"{bits}-bit vectors" if bits else f"{platform.machine()}, as its compiler can"
    return ok("processor", f"isa {isa}: {width}")


def cores(settings: Config, allowed: set[int] | None = None) -> Finding:
    """Whether there is a CPU for each thread, and those to pin to may be used. `allowed` are the
    CPUs of this process unless given."""
    cpus = os.sched_getaffinity(0) if allowed is None else allowed
    board, threads = settings.board, settings.threads
    shown = f"{len(cpus)} CPUs for {threads} thread(s), board {board.name}"
    missing = sorted(set(board.pin) - cpus)
    if missing:
        return warn(
            "cores",
            f"{shown}: it pins to {list(board.pin)}, of which {missing} can't be used here",
            "choose another board profile, or CPUAffinity= in the unit",
        )
    if threads > len(cpus):
        return warn(
            "cores",
            f"{shown}: threads will wait for each other",
            f"set `model: {{threads: {len(cpus)}}}`, or allow more CPUs",
        )
    return ok("cores", shown)


def memory(settings: Config, needed: int, available: Mapping[str, int] | None = None) -> Finding:
    """Whether `needed` bytes fit into the machine, its cgroup and the board's budget. `available`
    has `total`, `free` and `limit` in bytes as far as they are known; read here unless given."""
    known = dict(_memory()) if available is None else available
    budget = settings.board.memory_mb * _MIB
    shown = f"needs {needed // _MIB} MiB with the model"
    for key, what in (("total", "this machine has"), ("limit", "the cgroup's limit is")):
        if known.get(key, needed) < needed:
            return fail(
                "memory",
                f"{shown}; {what} {known[key] // _MIB} MiB",
                "use a smaller model, or raise the limit (MemoryMax= in the unit)",
            )
    if needed > budget:
        return warn(
            "memory",
            f"{shown}; the board {settings.board.name} allows {budget // _MIB} MiB",
            "use a smaller model, or a board profile with a larger memory_mb",
        )
    if known.get("free", needed) < needed:
        return warn(
            "memory",
            f"{shown}; {known['free'] // _MIB} MiB are free now",
            "end other programs, or weights will be read from the disk again and again",
        )
    parts = [
        f"{known[key] // _MIB} MiB {key}" for key in ("free", "total", "limit") if key in known
    ]
    return ok("memory", f"{shown}: {', '.join(parts)}")


def _memory() -> Iterator[tuple[str, int]]:
    yield "total", os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.M)
    except OSError:
        found = None  # hidden by ProcSubset=pid
    if found:
        yield "free", int(found[1]) * 1024
    limit = cgroup_limit()
    if limit is not None:
        yield "limit", limit


def cgroup_limit(
    membership: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")
) -> int | None:
    """The least memory limit in bytes of the cgroups that this process is in (cgroups(7), version 2
    and 1), None if there is none."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return None
    limits: list[int] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top, name = (
            (root / "memory", "memory.limit_in_bytes") if controllers else (root, "memory.max")
        )
        here = top / path.strip("/")
        for folder in (here, *here.parents):
            # No such file outside a container's view; "max" where there is no limit.
            with contextlib.suppress(OSError, ValueError):
                limits.append(int((folder / name).read_text()))
            if folder == top:
                break
    known = [limit for limit in limits if limit < _NO_LIMIT]
    return min(known) if known else None


def clock(now: float | None = None, synchronised: bool | None = None) -> Finding:
    """Whether the time can be right. `now`, in seconds since the epoch, and whether the kernel's
    clock is `synchronised` are read here unless `now` is given."""
    if now is None:
        now, synchronised = time.time(), kernel_synchronised()
    shown = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    if time.gmtime(now).tm_year < _RELEASED:
        return fail(
            "clock",
            f"it is said to be {shown}",
            "set the clock (timedatectl set-ntp true): ages of values and certificates are wrong",
        )
    if synchronised is False:
        return warn(
            "clock",
            f"{shown}, not synchronised",
            "start a time service such as systemd-timesyncd: timestamps may drift",
        )
    return ok("clock", shown + (", synchronised" if synchronised else ""))


def kernel_synchronised() -> bool | None:
    """Whether a time service keeps the kernel's clock, by adjtimex(2); None: unknown."""
    try:
        # All zeros ask and change nothing. The buffer is larger than any version of the structure.
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != _TIME_ERROR
