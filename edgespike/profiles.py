"""Firmware profiles: what a sensor firmware publishes, and what a board can carry. Data, not code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgespike.declared import setting
from edgespike.model.config import Precision

Isa = Literal["native", "avx2", "generic"]


@dataclass(frozen=True, slots=True)
class BoardProfile:
    """What a device can carry. The configuration may override each of these."""

    name: str = setting("Name to choose it by.", "")
    description: str = setting("What device this is, for people.", "")
    cores: int = setting("Cores that the daemon may use.", 1, low=1, high=256)
    threads: int = setting("Inference threads.", 1, low=1, high=256)
    pin: tuple[int, ...] = setting(
        "CPU numbers to pin inference to; empty: wherever the kernel puts it.", ()
    )
    isa: Isa = setting("Instruction set of the kernels.", "native")
    precision: Precision = setting("Precision of the weights that it should run.", "int8")
    memory_mb: int = setting(
        "Memory budget of the daemon, mapped weights included, in MiB.", 2048, low=64
    )
    keepalive_s: int = setting("MQTT keep-alive, in seconds.", 30, low=5, high=65535)
    watchdog_s: int = setting(
        "Longest time without progress before the daemon counts as stuck, in seconds.", 60, low=5
    )
    sources: tuple[str, ...] = setting("Where the facts above come from.", ())
