"""Facts about the machine and the software, to judge figures by."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
import time
from pathlib import Path
from typing import Any

from benchmarks.energy import Meter
from benchmarks.processes import ROOT

_FLAGS = ("avx2", "fma", "avx512f", "avx512bw", "avx512_vnni", "avx_vnni", "asimd", "asimddp")
_PACKAGES = ("edgespike", "numba", "llvmlite", "numpy")


def facts() -> dict[str, Any]:
    """Processor, memory, load, versions and commit; nothing that names the host or its users."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "instructions": _instructions(),
        "caches": _caches(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "virtual": "hypervisor" in _cpuinfo("flags").split(),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "commit": _commit(),
        "energy": Meter().problem or "RAPL",
        "load_before": round(os.getloadavg()[0], 2),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def slug(machine: dict[str, Any]) -> str:
    """A short name for a folder: "amd-epyc-2-cores"."""
    words = re.sub(r"\(.*?\)|@.*|\bprocessor\b|\bcpu\b", " ", machine["cpu"].lower())
    name = re.sub(r"[^a-z0-9]+", "-", words).strip("-") or "unknown"
    return f"{name[:40]}-{machine['cores']}-cores"


def _cpu() -> str:
    return _cpuinfo("model name") or _cpuinfo("Model") or platform.machine()


def _cpuinfo(name: str) -> str:
    for line in (_read("/proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def _instructions() -> list[str]:
    known = (_cpuinfo("flags") or _cpuinfo("Features")).split()
    return [flag for flag in _FLAGS if flag in known]


def _caches() -> dict[str, str]:
    found = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        kind, level = _read(index / "type"), _read(index / "level")
        if kind != "Instruction":
            found[f"L{level}"] = _read(index / "size") or "?"
    return found


def _commit() -> str:
    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
        return done.stdout.strip()

    try:
        head = git("rev-parse", "--short", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "edgespike")
    except OSError:
        return "unknown"
    return head + (" with changes" if changed else "") if head else "unknown"


def _read(path: str | Path) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return None
