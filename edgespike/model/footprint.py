"""How much memory a daemon with a model needs."""

from __future__ import annotations

from pathlib import Path

from edgespike.errors import UnavailableError
from edgespike.model.config import KeyValuePrecision, ModelConfig, Precision, default_key_values
from edgespike.model.container import Container
from edgespike.model.state import new_state

RUNTIME_BYTES = 400 << 20
"""Python, Numba and LLVM while they compile kernels (365 MB measured), and the sensor window."""

READY_BYTES = 80 << 20
"""Python and Numba once the kernels are loaded."""

SESSIONS = 3
"""Sessions that a daemon holds at a time unless told to hold more: two for prompts, of which one is
the warm one, and a dialogue's."""


def memory_needed(container: Container, kv: KeyValuePrecision | None = None) -> int:
    """Bytes: the mapped file, which counts as file cache of the unit that reads it, the sessions
    with keys and values in the precision `kv` or the model's own, and the runtime.
    """
    state = _session_bytes(container.config, kv or default_key_values(container.precision))
    return Path(container.path).stat().st_size + SESSIONS * state + RUNTIME_BYTES


def check_budget(
    config: ModelConfig, precision: Precision, size: int, kv: KeyValuePrecision | None, budget: int
) -> None:
    """Raises UnavailableError when a file of `size` bytes can't run in `budget` bytes, even with
    one session and kernels that were compiled before.
    """
    state = _session_bytes(config, kv or default_key_values(precision))
    needed = size + state + READY_BYTES
    if needed > budget:
        raise UnavailableError(
            f"the model needs {needed >> 20} MiB of memory, and the board allows {budget >> 20}: "
            "use a smaller model or precision, or raise memory_mb"
        )


def _session_bytes(config: ModelConfig, kv: KeyValuePrecision) -> int:
    # Pages of zeros that nobody writes to cost nothing.
    return sum(int(array.nbytes) for array in new_state(config, kv))
