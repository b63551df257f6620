"""Payloads of no particular firmware: JSON objects, bare values, online or offline."""

from __future__ import annotations

from itertools import islice

from edgespike.sensing.decoders.reading import MAX_READINGS, Origin, Reading, leaves
from edgespike.sensing.values import load_json


def decode_json(origin: Origin, payload: bytes, at: float) -> list[Reading]:
    """A JSON object, nested up to 4 levels: one reading per number, truth value or short text.

    Items of a list, also of one at the top, are numbered from 1. Where the topic names a key, the
    object belongs to it. A bare scalar is the value of the key, or of the last level of the topic.
    """
    start = payload.lstrip()[:1]
    if start not in (b"{", b"["):
        device, _, key = origin.device.rpartition("/")
        return [
            reading._replace(device=device) if not origin.key else reading
            for reading in decode_plain(Origin(device, origin.key or key), payload, at)
            if reading.key and (device or origin.key)
        ]
    body = load_json(payload)
    if isinstance(body, list):
        body = {str(number): item for number, item in enumerate(body, 1)}
    prefix = f"{origin.key}." if origin.key else ""
    return [Reading(key, key, raw) for key, raw in islice(leaves(body, prefix), MAX_READINGS)]


def decode_plain(origin: Origin, payload: bytes, at: float) -> list[Reading]:
    """The payload is the value; the topic says of what. JSON on such a topic is something else."""
    text = payload.decode().strip()
    if text[:1] in ("{", "["):
        return []
    if len(text) >= 2 and text[0] == text[-1] == '"':
        text = text[1:-1]
    return [Reading(origin.key, origin.key, text)]


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
    return _AVAILABLE.get(text.casefold().strip('"'))
