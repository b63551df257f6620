"""Float matrices -> the stored form of a precision."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgespike.errors import DataError
from edgespike.model.container import ContainerWriter
from edgespike.model.tensors import is_spike_fed, scale_name

_BLOCK_ELEMENTS = 1 << 22  # 16 MB of float32 at a time


def quantise_rows(
    weights: NDArray[np.float32],
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Symmetric int8 per row: weights [out, in] -> q [out, in] in -127..127, scale [out].

    scale = max|row| / 127 and q = rint(w / scale), so |w - q * scale| <= scale / 2. A row of zeros
    has scale 0. Raises DataError when a row holds NaN or infinity.
    """
    rows, columns = weights.shape
    q = np.empty((rows, columns), np.int8)
    scale = np.empty(rows, np.float32)
    step = max(1, _BLOCK_ELEMENTS // columns)
    for start in range(0, rows, step):
        block = weights[start : start + step]
        peak = np.maximum(block.max(axis=1), -block.min(axis=1))
        if not np.isfinite(peak).all():
            row = start + int(np.flatnonzero(~np.isfinite(peak))[0])
            raise DataError(f"row {row} holds NaN or infinity")
        scale[start : start + step] = s = peak / np.float32(127)
        # A scale that underflows to a subnormal is inexact; the clip keeps such rows in range.
        units = block / np.where(s > 0, s, np.float32(1))[:, None]
        np.rint(units, out=units)
        np.clip(units, -127, 127, out=units)
        q[start : start + step] = units
    return q, scale


def store(writer: ContainerWriter, name: str, values: NDArray[np.float32]) -> None:
    """Write one tensor of a checkpoint ([out, in] or a vector) as the writer's precision has it."""
    if values.ndim == 1:
        writer.write(name, values)
        return
    stored: NDArray[np.float32] | NDArray[np.int8] = values
    if writer.precision == "int8":
        try:
            stored, scale = quantise_rows(values)
        except DataError as error:
            raise DataError(f"tensor {name}: {error}") from None
        writer.write(scale_name(name), scale)
    if writer.precision != "fp32-rowmajor" and is_spike_fed(name):
        stored = stored.T
    writer.write(name, stored)
