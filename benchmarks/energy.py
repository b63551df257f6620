"""Energy of the processor packages, from the counters that Linux shows (RAPL: Intel and AMD)."""

from __future__ import annotations

from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


class Meter:
    """Reads the energy of all packages; the whole machine's, so nothing else should run."""

    def __init__(self, root: Path = POWERCAP) -> None:
        # intel-rapl:0 is a package, intel-rapl:0:1 a part of it.
        packages = sorted(p for p in root.glob("intel-rapl:*") if p.name.count(":") == 1)
        self._counters = [p / "energy_uj" for p in packages]
        self._ranges = [p / "max_energy_range_uj" for p in packages]
        self.problem: str | None = None
        if not packages:
            self.problem = f"no RAPL counters under {root} (usual in virtual machines)"
        else:
            try:
                self._read()
            except OSError as error:
                self.problem = f"RAPL counters can't be read ({error.strerror}): try as root"
        if self.problem is None:
            self.start()

    def start(self) -> None:
        """Begin to count."""
        self._before = self._read() if self.problem is None else []

    def joules(self) -> float | None:
        """Since `start`, None where it can't be known. A counter may have wrapped once."""
        if self.problem is not None:
            return None
        total = 0
        for before, after, limit in zip(self._before, self._read(), self._ranges, strict=True):
            total += after - before if after >= before else after - before + int(limit.read_text())
        return total / 1e6

    def per_token(self, tokens: int) -> float | None:
        """Joules per token since `start`."""
        joules = self.joules()
        return None if joules is None else joules / tokens

    def _read(self) -> list[int]:
        return [int(counter.read_text()) for counter in self._counters]
