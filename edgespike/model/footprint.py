"""How much memory a daemon with a model needs."""

from __future__ import annotations

from pathlib import Path

from edgespike.model.container import Container
from edgespike.model.state import new_state

RUNTIME_BYTES = 400 << 20
"""Python, Numba and LLVM while they compile kernels (365 MB measured), and the sensor window."""

SESSIONS = 2
"""Sessions that a daemon may hold at a time."""


def memory_needed(container: Container) -> int:
    """Bytes: the mapped file, which counts as file cache of the unit that reads it, the sessions,
    and the runtime.
    """
    # Pages of zeros that nobody writes to cost nothing.
    state = sum(array.nbytes for array in new_state(container.config))
    return Path(container.path).stat().st_size + SESSIONS * state + RUNTIME_BYTES
