"""How much memory a daemon with a model needs."""

from __future__ import annotations

from pathlib import Path

from edgespike.model.config import KeyValuePrecision, default_key_values
from edgespike.model.container import Container
from edgespike.model.state import new_state

RUNTIME_BYTES = 400 << 20
"""Python, Numba and LLVM while they compile kernels (365 MB measured), and the sensor window."""

SESSIONS = 3
"""Sessions that a daemon holds at a time unless told to hold more: two for prompts, of which one is
the warm one, and a dialogue's."""


def memory_needed(container: Container, kv: KeyValuePrecision | None = None) -> int:
    """Bytes: the mapped file, which counts as file cache of the unit that reads it, the sessions
    with keys and values in the precision `kv` or the model's own, and the runtime.
    """
    # Pages of zeros that nobody writes to cost nothing.
    kept = kv or default_key_values(container.precision)
    state = sum(int(array.nbytes) for array in new_state(container.config, kept))
    return Path(container.path).stat().st_size + SESSIONS * state + RUNTIME_BYTES
