"""What the daemon measures of itself: memory, temperature, and how fast the latest answers were."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean

from edgespike.messages import Timing

RECENT_ANSWERS = 32
"""Answers that the averages look back on."""

_CPU_SENSORS = ("x86_pkg_temp", "cpu", "soc")
"""Parts of the types of thermal zones that are the processor's, the best first."""
_CPU_CHIPS = ("coretemp", "k10temp", "zenpower", "cpu_thermal")
"""Drivers under hwmon whose first temperature is the processor's: the kernel's hwmon/coretemp and
hwmon/k10temp. AMD's boards have no thermal zone for it."""
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


def temperature_c(
    zones: Path = Path("/sys/class/thermal"), chips: Path = Path("/sys/class/hwmon")
) -> float | None:
    """The processor's temperature in °C: its thermal zone's, else its chip's, else that of the
    hottest zone; None without any. All say millidegrees: sysfs-class-thermal, sysfs-class-hwmon.
    """
    found = _hottest(zones.glob("thermal_zone*"), "type", "temp")
    monitored = _hottest(chips.glob("hwmon*"), "name", "temp1_input")
    for part in _CPU_SENSORS:
        named = [degrees for kind, degrees in found.items() if part in kind]
        if named:
            return round(max(named), 1)
    for chip in _CPU_CHIPS:
        if chip in monitored:
            return round(monitored[chip], 1)
    return round(max(found.values()), 1) if found else None


def _hottest(places: Iterable[Path], name: str, value: str) -> dict[str, float]:
    """The highest plausible temperature of each kind of sensor."""
    found: dict[str, float] = {}
    for place in places:
        try:
            kind = (place / name).read_text().strip().lower()
            degrees = int((place / value).read_text()) / 1000
        except (OSError, ValueError):
            continue  # one that is switched off refuses to be read
        if _PLAUSIBLE_C[0] <= degrees <= _PLAUSIBLE_C[1]:
            found[kind] = max(degrees, found.get(kind, degrees))
    return found


def averages(timings: Iterable[Timing]) -> dict[str, float | int | None]:
    """`answers` (how many), mean, median and 95th percentile of the first token's time, and mean
    `tokens_per_s`; each None if unknown.
    """
    known = list(timings)
    first = sorted(t.first_token_ms for t in known if t.first_token_ms is not None)
    return {
        "answers": len(known),
        "first_token_ms": _mean(t.first_token_ms for t in known),
        "first_token_p50_ms": _percentile(first, 50),
        "first_token_p95_ms": _percentile(first, 95),
        "tokens_per_s": _mean(t.tokens_per_s for t in known),
    }


def _percentile(ordered: Sequence[float], percent: int) -> float | None:
    """The nearest-rank percentile: the smallest value that `percent` of all don't exceed."""
    return ordered[-(-percent * len(ordered) // 100) - 1] if ordered else None


def _mean(values: Iterable[float | None]) -> float | None:
    given = [value for value in values if value is not None]
    return round(fmean(given), 1) if given else None
