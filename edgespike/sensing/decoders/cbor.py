"""A bounded reader of CBOR (RFC 8949), for what sensors send.

Numbers become NumberText as in JSON, in the shortest form that gives the same float of the width
that was sent: a sensor that sends 21.4 in four bytes says 21.4 here and not 21.399999618530273,
which a general library would make of it.
"""

from __future__ import annotations

import math
import struct
from decimal import Decimal
from typing import Any

from edgespike.sensing.values import NumberText

MAX_DEPTH = 16
_INDEFINITE = 31
_BREAK = object()
_DECIMAL_FRACTION = 4
_MAX_EXPONENT = 300


def load_cbor(data: bytes) -> Any:
    """The one item in `data`: NumberText, str, bytes, bool, None, list, or dict.

    Tags other than decimal fractions are passed over. Raises ValueError for anything malformed,
    nested deeper than 16, with repeated or compound keys, and for NaN and infinities.
    """
    reader = _Reader(data)
    value = reader.item(0)
    if value is _BREAK or reader.at != len(data):
        raise ValueError("not one CBOR item")
    return value


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def item(self, depth: int) -> Any:
        """The next item, or _BREAK."""
        if depth > MAX_DEPTH:
            raise ValueError("CBOR is nested too deeply")
        initial = self._take(1)[0]
        major, minor = initial >> 5, initial & 31
        if major == 7:
            return self._simple(minor)
        if minor == _INDEFINITE and major in (2, 3, 4, 5):
            return self._indefinite(major, depth)
        number = self._argument(minor)
        match major:
            case 0:
                return NumberText(number)
            case 1:
                return NumberText(-1 - number)
            case 2:
                return self._take(number)
            case 3:
                return _text(self._take(number))
            case 4:
                self._fits(number)
                return [self._inner(depth) for _ in range(number)]
            case 5:
                self._fits(2 * number)
                return _mapping([self._inner(depth) for _ in range(2 * number)])
        return _tagged(number, self._inner(depth))

    def _inner(self, depth: int) -> Any:
        value = self.item(depth + 1)
        if value is _BREAK:
            raise ValueError("CBOR ends where nothing began")
        return value

    def _indefinite(self, major: int, depth: int) -> Any:
        items: list[Any] = []
        while (value := self.item(depth + 1)) is not _BREAK:
            items.append(value)
        if major == 4:
            return items
        if major == 5:
            return _mapping(items)
        kind = bytes if major == 2 else str
        if any(type(item) is not kind for item in items):
            raise ValueError("a CBOR string has another kind of piece in it")
        return kind().join(items)

    def _simple(self, minor: int) -> Any:
        match minor:
            case 20 | 21:
                return minor == 21
            case 22 | 23:
                return None
            case 25 | 26 | 27:
                size = 1 << (minor - 24)
                return float_text(self._take(size))
            case 31:
                return _BREAK
        raise ValueError("an unknown simple value in CBOR")

    def _argument(self, minor: int) -> int:
        if minor < 24:
            return minor
        if minor > 27:
            raise ValueError("reserved bits in CBOR")
        return int.from_bytes(self._take(1 << (minor - 24)))

    def _fits(self, items: int) -> None:
        if items > len(self._data) - self.at:
            raise ValueError("CBOR ends too early")

    def _take(self, size: int) -> bytes:
        end = self.at + size
        if end > len(self._data):
            raise ValueError("CBOR ends too early")
        taken = self._data[self.at : end]
        self.at = end
        return taken


def float_text(data: bytes) -> NumberText:
    """The shortest text of a big-endian float of 2, 4 or 8 bytes. ValueError if it isn't finite."""
    code, digits = {2: (">e", 5), 4: (">f", 9), 8: (">d", 17)}[len(data)]
    (number,) = struct.unpack(code, data)
    if not math.isfinite(number):
        raise ValueError("a number isn't finite")
    # A float of four bytes tells whole numbers apart up to here.
    if number.is_integer() and abs(number) < 1 << 24:
        return NumberText(int(number))
    for precision in range(1, digits + 1):
        short = float(f"{number:.{precision}g}")
        if _packed(code, short) == data:
            number = short
            break
    return NumberText(repr(number).removesuffix(".0"))


def _packed(code: str, number: float) -> bytes | None:
    try:
        return struct.pack(code, number)
    except OverflowError:  # rounded up, beyond the largest of this width
        return None


def _text(data: bytes) -> str:
    return data.decode()


def _mapping(items: list[Any]) -> dict[Any, Any]:
    keys, values = items[::2], items[1::2]
    if len(keys) != len(values):
        raise ValueError("a CBOR map has a key without a value")
    if not all(isinstance(key, str) for key in keys):
        raise ValueError("a CBOR key is a text or a whole number")
    result = dict(zip(keys, values, strict=True))
    if len(result) != len(keys):
        raise ValueError("a CBOR key is given twice")
    return result


def _tagged(tag: int, value: Any) -> Any:
    if tag != _DECIMAL_FRACTION:
        return value
    pair = [part for part in value if _whole(part)] if isinstance(value, list) else []
    if len(pair) != 2:
        raise ValueError("a decimal fraction in CBOR has two whole numbers")
    exponent, mantissa = map(int, pair)
    if abs(exponent) > _MAX_EXPONENT:
        raise ValueError("a decimal fraction in CBOR has an absurd exponent")
    return NumberText(f"{Decimal(mantissa).scaleb(exponent):f}")


def _whole(value: Any) -> bool:
    return isinstance(value, NumberText) and value.lstrip("-").isdigit()
