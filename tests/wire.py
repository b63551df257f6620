"""Writers of CBOR and Sparkplug B, for what the decoders read."""

from __future__ import annotations

import struct
from typing import Any


class Single(float):
    """A float that is written in four bytes."""


class Half(float):
    """A float that is written in two bytes."""


def cbor(value: Any) -> bytes:
    """RFC 8949: whole numbers, floats, texts, bytes, truth values, None, lists and mappings."""
    match value:
        case bool():
            return b"\xf5" if value else b"\xf4"
        case None:
            return b"\xf6"
        case int():
            return _head(0, value) if value >= 0 else _head(1, -1 - value)
        case Half():
            return b"\xf9" + struct.pack(">e", value)
        case Single():
            return b"\xfa" + struct.pack(">f", value)
        case float():
            return b"\xfb" + struct.pack(">d", value)
        case str():
            return _head(3, len(value.encode())) + value.encode()
        case bytes():
            return _head(2, len(value)) + value
        case list():
            return _head(4, len(value)) + b"".join(map(cbor, value))
        case dict():
            items = (cbor(key) + cbor(item) for key, item in value.items())
            return _head(5, len(value)) + b"".join(items)
    raise TypeError(value)


def _head(major: int, number: int) -> bytes:
    if number < 24:
        return bytes([major << 5 | number])
    size = next(size for size in (1, 2, 4, 8) if number < 1 << 8 * size)
    return bytes([major << 5 | 23 + size.bit_length()]) + number.to_bytes(size)


def varint(number: int) -> bytes:
    """A whole number as in Protocol Buffers."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes((*out, number))


def proto(number: int, value: int | bytes | float | str) -> bytes:
    """One field: a float in four bytes, where it is a Single, else in eight."""
    match value:
        case Single():
            return varint(number << 3 | 5) + struct.pack("<f", value)
        case float():
            return varint(number << 3 | 1) + struct.pack("<d", value)
        case int():
            return varint(number << 3) + varint(value & (1 << 64) - 1)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


INT8, INT32, INT64, UINT64, FLOAT, DOUBLE, BOOLEAN, STRING = 1, 3, 4, 8, 9, 10, 11, 12
_FIELD = {FLOAT: 12, DOUBLE: 13, BOOLEAN: 14, STRING: 15, INT64: 11, UINT64: 11}


def metric(
    value: Any,
    kind: int,
    name: str = "",
    *,
    alias: int | None = None,
    time: float | None = None,
    unit: str = "",
    typed: bool = True,
    historical: bool = False,
) -> bytes:
    """One metric of a payload; without a value when that is None."""
    data = proto(1, name) if name else b""
    data += proto(2, alias) if alias is not None else b""
    data += proto(3, int(time * 1000)) if time is not None else b""
    data += proto(4, kind) if typed else b""
    data += proto(5, 1) if historical else b""
    if unit:
        data += proto(9, proto(1, "engUnit") + proto(2, proto(1, STRING) + proto(8, unit)))
    if value is None:
        data += proto(7, 1)
    elif kind == FLOAT:
        data += proto(12, Single(value))
    elif kind in (INT8, INT32):
        data += proto(10, value & 0xFFFFFFFF)
    else:
        data += proto(_FIELD[kind], value)
    return proto(2, data)


def payload(*metrics: bytes, seq: int = 0, time: float = 1_700_000_000.0) -> bytes:
    """A Sparkplug B payload."""
    return proto(1, int(time * 1000)) + b"".join(metrics) + proto(3, seq)
