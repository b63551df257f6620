"""SenML packs in JSON and CBOR (RFC 8428)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from itertools import islice
from typing import Any

from edgespike.sensing.decoders.cbor import load_cbor
from edgespike.sensing.decoders.reading import (
    MAX_KEY_CHARS,
    MAX_READINGS,
    Origin,
    Reading,
)
from edgespike.sensing.values import NumberText, load_json

# Unit symbols (RFC 8428, section 12.1; RFC 8798) that people write otherwise.
_UNITS = {
    "Cel": "°C",
    "%RH": "%",
    "%EL": "%",
    "/100": "%",
    "/": "",
    "1": "",
    "m2": "m²",
    "m3": "m³",
    "m3/s": "m³/s",
    "m/s2": "m/s²",
    "W/m2": "W/m²",
    "ug/m3": "µg/m³",
    "deg": "°",
}
# What a record measures whose name is only that of a device.
_MEASURED = {
    "Cel": "temperature",
    "K": "temperature",
    "%RH": "humidity",
    "%EL": "battery",
    "Pa": "pressure",
    "hPa": "pressure",
    "lx": "illuminance",
    "V": "voltage",
    "A": "current",
    "W": "power",
    "J": "energy",
    "Wh": "energy",
    "kWh": "energy",
    "Hz": "frequency",
    "m3/s": "flow",
    "lat": "latitude",
    "lon": "longitude",
}
_DEVICE = re.compile(r"urn:dev:\w+:[\w-]+")
"""A device's URN without a component (RFC 9039)."""

_ZERO = NumberText(0)
_BASE = ("bn", "bt", "bu", "bv", "bs", "bver")
# The labels of the fields in CBOR (RFC 8428, table 4).
_LABELS = dict(enumerate(("bs", "bv", "bu", "bt", "bn", "bver"), -6)) | dict(
    enumerate(("n", "u", "v", "vs", "vb", "s", "t", "ut", "vd"))
)
_FIELDS = {str(label): field for label, field in _LABELS.items()}


def decode_senml(origin: Origin, payload: bytes, at: float) -> list[Reading]:
    """A SenML pack in JSON or CBOR: base fields resolved, times absolute, sums as `... total`.

    A pack of a version above 10, or with a field that must be understood (its name ends in `_`), is
    refused, as section 4.4 demands. Times under 2^28 are relative to `at` (section 4.5.3).
    """
    # A JSON text never starts with the byte of a CBOR array.
    is_cbor = payload[:1] and payload[0] >> 5 == 4
    pack = load_cbor(payload) if is_cbor else load_json(payload)
    if not isinstance(pack, list):
        raise ValueError("a SenML pack is an array")
    return list(islice(_readings(origin, pack, at), MAX_READINGS))


def _fields(record: Any) -> dict[str, Any]:
    """A record with the names of its fields, for the numbers that stand for them in CBOR."""
    if not isinstance(record, dict):
        raise ValueError("a SenML record is an object")
    return {
        _FIELDS.get(key, key) if isinstance(key, NumberText) else key: value
        for key, value in record.items()
    }


def _readings(origin: Origin, pack: list[Any], at: float) -> Iterator[Reading]:
    base: dict[str, Any] = {}
    for record in map(_fields, pack[:MAX_READINGS]):
        unknown = [field for field in record if field.endswith("_")]
        if unknown:
            raise ValueError(f"field {unknown[0][:20]!a} must be understood and isn't")
        base.update((field, record[field]) for field in _BASE if field in record)
        if float(_decimal(base.get("bver", NumberText(10)))) > 10:
            raise ValueError("SenML version above 10")
        name = _text(base.get("bn")) + _text(record.get("n"))
        unit = _text(record.get("u", base.get("bu")))
        device, key = _split_name(name or origin.device, unit)
        seconds = float(_decimal(base.get("bt", _ZERO)) + _decimal(record.get("t", _ZERO)))
        time = at + seconds if seconds < 2**28 else seconds
        unit = _UNITS.get(unit, unit)
        for field, suffix in (("v", ""), ("s", " total")):
            if field in record or (field == "v" and "bv" in base and not _valued(record)):
                raw = _added(base.get("b" + field), record.get(field))
                yield Reading(key + suffix, key + suffix, raw, "", unit, device, min(time, at))
        other = record.get("vb", record.get("vs"))
        if isinstance(other, bool):
            yield Reading(key, key, str(other).lower(), "", unit, device, min(time, at))
        elif isinstance(other, str):
            yield Reading(key, key, other, "", unit, device, min(time, at))


def _valued(record: dict[str, Any]) -> bool:
    return any(field in record for field in ("vb", "vs", "vd", "s"))


def _split_name(name: str, unit: str) -> tuple[str, str]:
    """`urn:dev:ow:10e2:temperature` -> (`urn:dev:ow:10e2`, `temperature`)."""
    if _DEVICE.fullmatch(name):
        return name, _MEASURED.get(unit, "value")
    at = max(name.rfind(separator) for separator in "/:.")
    return name[: max(at, 0)], name[at + 1 :]


def _added(base: Any, value: Any) -> NumberText:
    """`bv + v` with all its digits; the text of `v` itself when there is no base."""
    if base is None or not isinstance(value, NumberText):
        return _as_number(base if value is None else value)
    return NumberText(_decimal(base) + _decimal(value))


def _as_number(value: Any) -> NumberText:
    if not isinstance(value, NumberText):
        raise ValueError("a SenML value must be a number")
    return value


def _decimal(value: Any) -> Decimal:
    try:
        number = Decimal(value) if isinstance(value, NumberText) else Decimal("NaN")
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or abs(number.adjusted()) > 30:
        raise ValueError("a SenML field must be a number")
    return number


def _text(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or isinstance(value, NumberText) or len(value) > MAX_KEY_CHARS:
        raise ValueError(
            f"a SenML name or unit must be a text of at most {MAX_KEY_CHARS} characters"
        )
    return value
