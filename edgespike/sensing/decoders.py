"""Payload decoders: bytes of one message -> readings. One function per shape, named by profiles.

A decoder knows the shape of a payload; what its keys mean is in the profile. Decoders raise
ValueError for a payload that isn't of their shape, and nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from edgespike.profiles import Decoder
from edgespike.sensing.values import NumberText, load_json

MAX_READINGS = 256
MAX_DEPTH = 4
MAX_LIST = 16
MAX_KEY_CHARS = 128


class Reading(NamedTuple):
    """One value in a message.

    `key` is the full path by which the profile may know it; `label` the part of it that names it
    when the profile doesn't; `part` tells equal values of one device apart ("DS18B20-1", "2").
    `device` and `at` (seconds since the epoch) are given where the payload says them.
    """

    key: str
    label: str
    raw: str
    part: str = ""
    unit: str | None = None
    device: str | None = None
    at: float | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a message came from: device (levels separated by `/`) and key by its topic."""

    device: str
    key: str


DecoderFunction = Callable[[Origin, bytes, float], list[Reading]]


def decode_json(origin: Origin, payload: bytes, at: float) -> list[Reading]:
    """A JSON object, nested up to 4 levels: one reading per number, truth value or short text.

    A bare scalar is the value of the last level of the topic.
    """
    if payload.lstrip()[:1] not in (b"{", b"["):
        device, _, key = origin.device.rpartition("/")
        return [
            reading._replace(device=device) if not origin.key else reading
            for reading in decode_plain(Origin(device, origin.key or key), payload, at)
            if reading.key and (device or origin.key)
        ]
    body = load_json(payload)
    if not isinstance(body, dict):
        raise ValueError("not a JSON object")
    return _bounded(Reading(key, key, raw) for key, raw in _leaves(body))


def decode_plain(origin: Origin, payload: bytes, at: float) -> list[Reading]:
    """The payload is the value; the topic says of what. JSON on such a topic is something else."""
    text = payload.decode().strip()
    if text[:1] in ("{", "["):
        return []
    if len(text) >= 2 and text[0] == text[-1] == '"':
        text = text[1:-1]
    return [Reading(origin.key, origin.key, text)]


def decode_tasmota(origin: Origin, payload: bytes, at: float) -> list[Reading]:
    """Tasmota's SENSOR, STATE, RESULT and STATUS8/10 objects: sensor objects hold the values.

    A sensor's name becomes part of the channel's when two sensors in the message share a quantity
    (several DS18B20). Units travel as TempUnit, PressureUnit, SpeedUnit.
    """
    body = load_json(payload)
    if not isinstance(body, dict):
        raise ValueError("not a JSON object")
    for wrapper in ("StatusSNS", "StatusSTS"):
        if isinstance(body.get(wrapper), dict):
            body = body[wrapper]
    units = {
        "temperature": _degrees(body.get("TempUnit")),
        "dewpoint": _degrees(body.get("TempUnit")),
        "pressure": body.get("PressureUnit"),
        "seapressure": body.get("PressureUnit"),
        "speed": body.get("SpeedUnit"),
    }
    found: list[tuple[str, str, str]] = []
    for name, value in body.items():
        if name.endswith("Unit") or len(name) > MAX_KEY_CHARS:
            continue
        if isinstance(value, dict):
            found += [(name, leaf, raw) for leaf, raw in _leaves(value)]
        else:
            found += [("", leaf, raw) for leaf, raw in _leaves({name: value})]
    shared = Counter(leaf for _, leaf, _ in found)
    readings = []
    for sensor, leaf, raw in found:
        unit = units.get(leaf.casefold())
        readings.append(
            Reading(
                key=f"{sensor}.{leaf}" if sensor else leaf,
                label=leaf,
                raw=raw,
                part=sensor if shared[leaf] > 1 else "",
                unit=unit if isinstance(unit, str) else None,
            )
        )
    return _bounded(iter(readings))


def decode_shelly(origin: Origin, payload: bytes, at: float) -> list[Reading]:
    """Shelly generation 2: NotifyStatus and NotifyFullStatus, or one component's status.

    `switch:1` is component `switch`, part `1`; a component 0 needs no part.
    """
    body = load_json(payload)
    if not isinstance(body, dict):
        raise ValueError("not a JSON object")
    if "method" in body:
        if body["method"] not in ("NotifyStatus", "NotifyFullStatus"):
            return []
        components = body.get("params")
    else:
        components = {origin.key: body}
    if not isinstance(components, dict):
        raise ValueError("params must be an object")
    return _bounded(_shelly_readings(components))


def _shelly_readings(components: dict[str, Any]) -> Iterator[Reading]:
    for component, status in components.items():
        kind, _, number = component.partition(":")
        if not isinstance(status, dict) or len(component) > MAX_KEY_CHARS:
            continue
        for leaf, raw in _leaves(status):
            if leaf != "id":
                yield Reading(f"{kind}.{leaf}", f"{kind} {leaf}", raw, number.lstrip("0"))


# SenML's unit symbols (RFC 8428, section 12.1) that people write otherwise.
_SENML_UNITS = {
    "Cel": "°C",
    "%RH": "%",
    "%EL": "%",
    "/": "",
    "1": "",
    "ppm": "ppm",
    "lx": "lx",
    "m3": "m³",
    "m3/s": "m³/s",
    "m/s2": "m/s²",
    "W/m2": "W/m²",
    "deg": "°",
}


_ZERO = NumberText(0)
_SENML_BASE = ("bn", "bt", "bu", "bv", "bs", "bver")


def decode_senml(origin: Origin, payload: bytes, at: float) -> list[Reading]:
    """A SenML pack in JSON (RFC 8428): base fields resolved, times absolute, sums as `... total`.

    A pack of a version above 10, or with a field that must be understood (its name ends in `_`), is
    refused, as section 4.4 demands. Times under 2^28 are relative to `at` (section 4.5.3).
    """
    pack = load_json(payload)
    if not isinstance(pack, list):
        raise ValueError("a SenML pack is a JSON array")
    return _bounded(_senml_readings(origin, pack, at))


def _senml_readings(origin: Origin, pack: list[Any], at: float) -> Iterator[Reading]:
    base: dict[str, Any] = {}
    for record in pack[:MAX_READINGS]:
        if not isinstance(record, dict):
            raise ValueError("a SenML record is an object")
        unknown = [field for field in record if field.endswith("_")]
        if unknown:
            raise ValueError(f"field {unknown[0][:20]!a} must be understood and isn't")
        base.update((field, record[field]) for field in _SENML_BASE if field in record)
        if float(_decimal(base.get("bver", NumberText(10)))) > 10:
            raise ValueError("SenML version above 10")
        name = _text(base.get("bn")) + _text(record.get("n"))
        device, key = _split_name(name or origin.device)
        seconds = float(_decimal(base.get("bt", _ZERO)) + _decimal(record.get("t", _ZERO)))
        time = at + seconds if seconds < 2**28 else seconds
        unit = _text(record.get("u", base.get("bu")))
        unit = _SENML_UNITS.get(unit, unit)
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


def _split_name(name: str) -> tuple[str, str]:
    """`urn:dev:ow:10e2:temperature` -> (`urn:dev:ow:10e2`, `temperature`)."""
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


_AVAILABLE = dict.fromkeys(("online", "true", "1", "on", "available"), True) | dict.fromkeys(
    ("offline", "false", "0", "off", "unavailable", "lost"), False
)


def decode_availability(payload: bytes) -> bool | None:
    """Whether a device is online: a word, a truth value or `{"state": ...}`; None: unclear."""
    try:
        text = payload[:1024].decode().strip()
        if text.startswith("{"):
            body = load_json(payload)
            text = str(body.get("state", "")) if isinstance(body, dict) else ""
    except ValueError:
        return None
    return _AVAILABLE.get(text.casefold())


DECODERS: dict[Decoder, DecoderFunction] = {
    "json": decode_json,
    "plain": decode_plain,
    "tasmota": decode_tasmota,
    "shelly": decode_shelly,
    "senml": decode_senml,
}


def _degrees(unit: Any) -> str | None:
    return f"°{unit}" if unit in ("C", "F") else None


def _leaves(body: dict[str, Any], prefix: str = "", depth: int = 1) -> Iterator[tuple[str, str]]:
    """(path, text) of the scalars in an object: `a.b`, and `a_1`, `a_2` for a list's items.

    What has an absurdly long name is left out: names are remembered.
    """
    for name, value in body.items():
        path = prefix + name
        if len(name) > MAX_KEY_CHARS:
            continue
        if isinstance(value, str):
            yield path, value
        elif isinstance(value, bool):
            yield path, "true" if value else "false"
        elif depth < MAX_DEPTH and isinstance(value, dict):
            yield from _leaves(value, path + ".", depth + 1)
        elif depth < MAX_DEPTH and isinstance(value, list):
            items = {str(number): item for number, item in enumerate(value[:MAX_LIST], 1)}
            yield from _leaves(items, path + "_", depth + 1)


def _bounded(readings: Iterator[Reading]) -> list[Reading]:
    result = []
    for reading in readings:
        result.append(reading)
        if len(result) == MAX_READINGS:
            break
    return result
