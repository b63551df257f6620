"""What the daemon measures of itself: memory, temperature, and how fast the latest answers were."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean

from edgespike.messages import Timing

RECENT_ANSWERS = 32
"""Answers that the averages look back on."""

_CPU_SENSORS = ("x86_pkg_temp", "cpu", "soc")
"""Parts of the types of thermal zones that are the processor's, the best first."""
_PLAUSIBLE_C = (-40.0, 150.0)


def memory_mb(statm: Path = Path("/proc/self/statm")) -> float | None:
    """Resident memory of this process in MiB, mapped weights included; None where it is hidden.

    The second field of proc_pid_statm(5), in pages.
    """
    try:
        pages = int(statm.read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)


def temperature_c(zones: Path = Path("/sys/class/thermal")) -> float | None:
    """The processor's temperature in °C; the hottest zone's where none is called the processor's;
    None where there is no zone. Zones say millidegrees: sysfs-class-thermal.
    """
    found: dict[str, float] = {}
    for zone in zones.glob("thermal_zone*"):
        try:
            kind = (zone / "type").read_text().strip().lower()
            degrees = int((zone / "temp").read_text()) / 1000
        except (OSError, ValueError):
            continue  # a zone that is switched off refuses to be read
        if _PLAUSIBLE_C[0] <= degrees <= _PLAUSIBLE_C[1]:
            found[kind] = max(degrees, found.get(kind, degrees))
    for part in _CPU_SENSORS:
        named = [degrees for kind, degrees in found.items() if part in kind]
        if named:
            return round(max(named), 1)
    return round(max(found.values()), 1) if found else None


def averages(timings: Iterable[Timing]) -> dict[str, float | int | None]:
    """`answers` (how many), mean `first_token_ms` and mean `tokens_per_s`, each None if unknown."""
    known = list(timings)
    return {
        "answers": len(known),
        "first_token_ms": _mean(t.first_token_ms for t in known),
        "tokens_per_s": _mean(t.tokens_per_s for t in known),
    }


def _mean(values: Iterable[float | None]) -> float | None:
    given = [value for value in values if value is not None]
    return round(fmean(given), 1) if given else None
