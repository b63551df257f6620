"""The wire format of Protocol Buffers, without a schema (protobuf.dev, "Encoding")."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

Field: TypeAlias = tuple[int, int | bytes]
"""Number of a field, and its value: a whole number without sign, or the bytes as they came."""

_MAX_VARINT_BYTES = 10


def fields(data: bytes) -> Iterator[Field]:
    """The fields of a message in order. Raises ValueError for what isn't one.

    Numbers of 4 and 8 bytes come as bytes: whether they are floats, only a schema knows.
    """
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if not 0 < number < 1 << 29:
            raise ValueError("a field has an impossible number")
        if kind == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == 2:
            size, at = _varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError("a field of an unknown kind")
        if size > end - at:
            raise ValueError("a message ends too early")
        yield number, data[at : at + size]
        at += size


def field_number(number: int, value: int) -> bytes:
    """A field with a whole number, which must not be negative."""
    return _written(number << 3) + _written(value)


def field_bytes(number: int, value: bytes) -> bytes:
    """A field with bytes, a text or a message."""
    return _written(number << 3 | 2) + _written(len(value)) + value


def _written(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes((*out, value))


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    for byte in data[at : at + _MAX_VARINT_BYTES]:
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & (1 << 64) - 1, at
        shift += 7
    raise ValueError("a number doesn't end")
