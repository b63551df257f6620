"""Payloads of no particular firmware: JSON objects, bare values, online or offline."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from edgespike.sensing.decoders.reading import (
    MAX_DEPTH,
    MAX_KEY_CHARS,
    MAX_LIST,
    MAX_READINGS,
    Origin,
    Reading,
    leaves,
    scalar,
)
from edgespike.sensing.values import MAX_NAME_CHARS, load_json, load_text

# What may stand beside `value` in an object that is a single value.
_BESIDE = frozenset(
    ("unit", "units", "uom", "unit_of_measurement", "time", "ts", "timestamp", "date", "type",
     "label", "name", "status", "quality", "sensor", "nodeId", "nodeName", "nodeLocation")
)  # fmt: skip
_UNITS = ("unit", "units", "uom", "unit_of_measurement")
# Uplinks of LoRaWAN networks: where the values are, and who sent them. What is around them is about
# the network. ChirpStack 4 and 3, The Things Stack, The Things Network 2.
_ENVELOPES = (
    (("object",), ("deviceInfo", "deviceName")),
    (("object",), ("deviceName",)),
    (("uplink_message", "decoded_payload"), ("end_device_ids", "device_id")),
    (("payload_fields",), ("dev_id",)),
)


def decode_json(origin: Origin, payload: bytes, at: float) -> list[Reading]:
    """A JSON object, nested up to 4 levels: one reading per number, truth value or short text.

    Items of a list, also of one at the top, are numbered from 1, or called by their `name`. Where
    the topic names a key, the object belongs to it. A bare scalar is the value of the key, or of
    the last level of the topic; so is `{"value": 21.5, "unit": "°C"}`, and within an object such a
    one is the value of its key. Uplinks of LoRaWAN networks belong to the device that they name,
    and so does what a receiver of many sensors sends with their `model` and `id` (rtl_433).
    """
    start = payload.lstrip()[:1]
    if start not in (b"{", b"["):
        device, key = _above(origin)
        return [
            reading._replace(device=device)
            for reading in decode_plain(Origin(device, key), payload, at)
            if reading.key and (device or origin.key)
        ]
    body = load_json(payload)
    if isinstance(body, list):
        body = _items(body)
    enveloped = _enveloped(body)
    if enveloped is not None:
        return list(islice(enveloped, MAX_READINGS))
    if _is_one_value(body):
        return list(islice(_one_value(origin, body), MAX_READINGS))
    prefix = f"{origin.key}." if origin.key else ""
    return list(islice(_readings(body, prefix, _sender(origin, body)), MAX_READINGS))


def _above(origin: Origin) -> tuple[str, str]:
    """Device and key where the topic's last level is the key, unless it names one."""
    device, _, last = origin.device.rpartition("/")
    return (origin.device, origin.key) if origin.key else (device, last)


def _readings(
    body: dict[str, Any], prefix: str = "", device: str | None = None, depth: int = 1
) -> Iterator[Reading]:
    """As `leaves`, with the units that stand beside values."""
    for name, value in body.items():
        if len(name) > MAX_KEY_CHARS:
            continue
        raw, unit = scalar(value), None
        if raw is None and depth < MAX_DEPTH:
            if isinstance(value, list):
                yield from _readings(_items(value), f"{prefix}{name}_", device, depth + 1)
            elif isinstance(value, dict) and not _is_one_value(value):
                yield from _readings(value, f"{prefix}{name}.", device, depth + 1)
            elif isinstance(value, dict):
                raw, unit = scalar(value["value"]), _unit(value)
        if raw is not None:
            key = prefix + name
            yield Reading(key, key, raw, "", unit, device)


def _sender(origin: Origin, body: dict[str, Any]) -> str | None:
    """Which of the sensors that share a topic this is; None where the topic says it."""
    if "model" not in body or "id" not in body:
        return None
    model, number = body["model"], body["id"]
    if not (isinstance(model, str) and isinstance(number, str) and model and number):
        return None
    said = _alphanumeric(number) in _alphanumeric(origin.device)
    name = f"{model}/{number}"
    return None if said or len(name) > MAX_KEY_CHARS else name


def _alphanumeric(text: str) -> str:
    return "".join(filter(str.isalnum, text)).casefold()


def _items(values: list[Any]) -> dict[str, Any]:
    """The items of a list by number, or by their name where they have one."""
    items: dict[str, Any] = {}
    for number, item in enumerate(values[:MAX_LIST], 1):
        name = item.get("name") if isinstance(item, dict) else None
        if isinstance(name, str) and 0 < len(name) <= MAX_NAME_CHARS and name not in items:
            items[name] = {key: value for key, value in item.items() if key != "name"}
        else:
            items[str(number)] = item
    return items


def _is_one_value(body: dict[str, Any]) -> bool:
    return "value" in body and all(
        key == "value" or value is None or key in _BESIDE for key, value in body.items()
    )


def _one_value(origin: Origin, body: dict[str, Any]) -> Iterator[Reading]:
    device, key = _above(origin)
    raw = scalar(body["value"])
    if raw is not None and key:
        yield Reading(key, key, raw, "", _unit(body), device)
    for name, text in leaves({name: value for name, value in body.items() if name != "value"}):
        yield Reading(name, name, text, device=device, aside=True)


def _unit(body: dict[str, Any]) -> str | None:
    unit = next((body[key] for key in _UNITS if key in body), None)
    return unit if isinstance(unit, str) and len(unit) <= MAX_KEY_CHARS else None


def _enveloped(body: dict[str, Any]) -> Iterator[Reading] | None:
    for path, naming in _ENVELOPES:
        values, name = _at(body, path), _at(body, naming)
        if isinstance(values, dict) and isinstance(name, str) and 0 < len(name) <= MAX_KEY_CHARS:
            return _unwrapped(body, path[0], values, name)
    return None


def _unwrapped(
    body: dict[str, Any], around: str, values: dict[str, Any], device: str
) -> Iterator[Reading]:
    yield from _readings(values, device=device)
    for key, raw in leaves({key: value for key, value in body.items() if key != around}):
        yield Reading(key, key, raw, device=device, aside=True, exact=True)


def _at(body: dict[str, Any], path: tuple[str, ...]) -> Any:
    found: Any = body
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return found


def decode_plain(origin: Origin, payload: bytes, at: float) -> list[Reading]:
    """The payload is the value; the topic says of what. JSON on such a topic is something else.

    A key that begins with `$` is about the device (Homie's attributes).
    """
    text = load_text(payload)
    if text[:1] in ("{", "["):
        return []
    if len(text) >= 2 and text[0] == text[-1] == '"':
        text = text[1:-1]
    return [Reading(origin.key, origin.key, text, aside=origin.key.startswith("$"))]


_AVAILABLE = {
    **dict.fromkeys(("online", "true", "1", "on", "available", "ready"), True),
    **dict.fromkeys(("sleeping", "alert", "alive", "awake", "asleep"), True),
    **dict.fromkeys(("offline", "false", "0", "off", "unavailable"), False),
    **dict.fromkeys(("lost", "disconnected", "dead"), False),
}


def decode_availability(payload: bytes) -> bool | None:
    """Whether a device is online: a word, a truth value, `{"state": ...}` or `{"value": ...}`;
    None: unclear."""
    try:
        text = load_text(payload[:1024])
        if text.startswith("{"):
            body = load_json(payload)
            known = next((body[key] for key in ("state", "value") if key in body), "")
            text = str(known)
    except ValueError:
        return None
    return _AVAILABLE.get(text.casefold().strip('"'))
