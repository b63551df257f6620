"""The header of a safetensors file, read as hostile input.

Format: 8-byte little-endian header length, JSON padded with spaces, then the tensors' bytes, which
leave no holes and don't overlap (https://github.com/huggingface/safetensors, "Format").
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from edgespike.errors import DataError, MissingInputError

LENGTH_BYTES = 8
MAX_HEADER_BYTES = 16 << 20
_MAX_RANK = 8

ELEMENT_BYTES: Mapping[str, int] = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1,
    "U16": 2, "I16": 2, "F16": 2, "BF16": 2,
    "U32": 4, "I32": 4, "F32": 4,
    "U64": 8, "I64": 8, "F64": 8,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of the table; `offset` in bytes from the start of the data section."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Header:
    """A checked header: `entries` lie in file order; `raw` is length and JSON as they stand."""

    raw: bytes
    metadata: Mapping[str, str]
    entries: tuple[Entry, ...]

    @property
    def data_start(self) -> int:
        """Bytes before the data section."""
        return len(self.raw)


def printable(text: str, limit: int = 120) -> str:
    """`text` fit for an error message: one line, bounded, no control characters."""
    clean = "".join(c if c.isprintable() else "?" for c in text[:limit])
    return clean + "..." if len(text) > limit else clean


def describe(value: object) -> str:
    """A value from outside for an error message; never recurses into it, never long."""
    if isinstance(value, str):
        return repr(printable(value))
    if type(value) is int and abs(value) >= 1 << 63:
        return f"a number of {value.bit_length()} bits"
    if value is None or isinstance(value, (bool, int, float)):
        return repr(value)
    if isinstance(value, (list, tuple)) and len(value) <= _MAX_RANK and are_counts(value):
        return repr(list(value))
    return f"a {type(value).__name__}"


def are_counts(value: object) -> bool:
    """Whether `value` is a list or tuple of whole numbers that fit 62 bits."""
    return isinstance(value, (list, tuple)) and all(
        type(n) is int and 0 <= n < 1 << 62 for n in value
    )


def open_input(path: Path) -> BinaryIO:
    """Open a regular file for reading, or raise MissingInputError saying why not."""
    try:
        file = open(path, "rb", opener=_opener)  # noqa: SIM115 - the caller closes it
    except OSError as error:
        raise MissingInputError(f"{path}: can't be read: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise MissingInputError(f"{path}: is not a regular file")
    return file


def _opener(path: str, flags: int) -> int:
    # Without O_NONBLOCK, opening a FIFO would wait for somebody to write into it.
    return os.open(path, flags | os.O_NONBLOCK)


def strict_json(text: str | bytes, what: str) -> Any:
    """Parse JSON without duplicate keys, NaN or endless nesting; DataError names `what`."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, value in pairs:
            if key in result:
                raise DataError(f"{what}: the key {printable(key)!r} occurs twice")
            result[key] = value
        return result

    def refuse(constant: str) -> NoReturn:
        raise DataError(f"{what}: {constant} is not JSON")

    try:
        return json.loads(text, object_pairs_hook=unique, parse_constant=refuse)
    except RecursionError:
        raise DataError(f"{what}: nested too deeply") from None
    except ValueError as error:  # malformed JSON, UTF-8, or a number of absurd length
        raise DataError(f"{what}: not valid JSON ({printable(str(error))})") from None


def read_header(file: BinaryIO, path: Path) -> Header:
    """Read and check the header of a safetensors file opened at its start.

    Raises DataError naming the field or tensor: header length, JSON, types, shapes against byte
    counts, holes, overlaps, and a data section that isn't exactly as long as the table says.
    """
    size = os.fstat(file.fileno()).st_size
    prefix = file.read(LENGTH_BYTES)
    if len(prefix) < LENGTH_BYTES:
        raise DataError(f"{path}: {size} bytes are too few for a safetensors file")
    length = int.from_bytes(prefix, "little")
    if length > MAX_HEADER_BYTES:
        raise DataError(
            f"{path}: header length {length} is above {MAX_HEADER_BYTES}; not a safetensors file"
        )
    if LENGTH_BYTES + length > size:
        raise DataError(f"{path}: header length {length} reaches past the end: truncated")
    body = file.read(length)
    if len(body) != length:
        raise DataError(f"{path}: header can't be read to its end: truncated")
    table = strict_json(body, f"{path}: header")
    if not isinstance(table, dict):
        raise DataError(f"{path}: header is not a JSON object")
    metadata = table.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise DataError(f"{path}: __metadata__ is not a map of strings")
    entries = sorted(
        (_entry(path, name, fact) for name, fact in table.items()), key=lambda e: e.offset
    )
    position = 0
    for entry in entries:
        if entry.offset != position:
            problem = "overlaps the one before it" if entry.offset < position else "leaves a hole"
            raise DataError(
                f"{path}: tensor {printable(entry.name)}: data_offsets start at {entry.offset} "
                f"where {position} is due: it {problem}"
            )
        position += entry.nbytes
    available = size - LENGTH_BYTES - length
    if position != available:
        problem = "truncated" if position > available else "bytes follow the last tensor"
        raise DataError(
            f"{path}: the tensors take {position} bytes and the file holds {available}: {problem}"
        )
    return Header(prefix + body, metadata, tuple(entries))


def _entry(path: Path, name: str, fact: object) -> Entry:
    where = f"{path}: tensor {printable(name)}"
    if not isinstance(fact, dict) or fact.keys() != {"dtype", "shape", "data_offsets"}:
        raise DataError(f"{where}: must have dtype, shape and data_offsets")
    dtype, shape, offsets = fact["dtype"], fact["shape"], fact["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ELEMENT_BYTES:
        raise DataError(f"{where}: unknown dtype {describe(dtype)}")
    if not are_counts(shape) or len(shape) > _MAX_RANK:
        raise DataError(f"{where}: shape {describe(shape)} is not a list of whole numbers")
    if not are_counts(offsets) or len(offsets) != 2 or offsets[1] < offsets[0]:
        raise DataError(f"{where}: data_offsets {describe(offsets)} are not a range")
    nbytes = offsets[1] - offsets[0]
    if math.prod(shape) * ELEMENT_BYTES[dtype] != nbytes:
        raise DataError(f"{where}: {dtype} of shape {describe(shape)} doesn't take {nbytes} bytes")
    return Entry(name, dtype, tuple(shape), offsets[0], nbytes)
