"""Shelly devices of generation 2 and later: notifications and the status of components."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from edgespike.sensing.decoders.reading import (
    MAX_KEY_CHARS,
    MAX_READINGS,
    Origin,
    Reading,
    leaves,
)
from edgespike.sensing.values import load_json


def decode_shelly(origin: Origin, payload: bytes, at: float) -> list[Reading]:
    """NotifyStatus, NotifyFullStatus and NotifyEvent, or one component's status.

    A notification may hold a single attribute that changed. `switch:1` is component `switch`, part
    `1`; a component 0 needs no part. An event, such as a push of a button, is a value of its
    component: `input.event`. The event of the BLU gateway's script has values of a Bluetooth
    device: `blu.window`.
    """
    body = load_json(payload)
    if not isinstance(body, dict):
        raise ValueError("not a JSON object")
    method = body.get("method")
    if method == "NotifyEvent":
        return list(islice(_events(origin, body.get("params")), MAX_READINGS))
    if method in ("NotifyStatus", "NotifyFullStatus"):
        components = body.get("params")
    elif "method" in body:
        return []
    else:
        components = {origin.key: body}
    if not isinstance(components, dict):
        raise ValueError("no object with components")
    return list(islice(_statuses(components), MAX_READINGS))


def _statuses(components: dict[str, Any]) -> Iterator[Reading]:
    for component, status in components.items():
        kind, _, number = component.partition(":")
        if not isinstance(status, dict) or len(component) > MAX_KEY_CHARS:
            continue
        for leaf, raw in leaves(status):
            if leaf != "id":
                part = number.lstrip("0")
                yield Reading(f"{kind}.{leaf}", f"{kind} {leaf}", raw, part, exact=True)


def _events(origin: Origin, params: Any) -> Iterator[Reading]:
    events = params.get("events") if isinstance(params, dict) else None
    if not isinstance(events, list):
        raise ValueError("an event needs params.events")
    for event in events[:MAX_READINGS]:
        if not isinstance(event, dict):
            continue
        component, name = event.get("component"), event.get("event")
        if name == "shelly-blu":
            yield from _blu(origin, event.get("data"))
        elif isinstance(component, str) and isinstance(name, str):
            if len(component) > MAX_KEY_CHARS:
                continue
            kind, _, number = component.partition(":")
            part = number.lstrip("0")
            yield Reading(f"{kind}.event", f"{kind} event", name, part, exact=True)


def _blu(origin: Origin, data: Any) -> Iterator[Reading]:
    address = data.get("address") if isinstance(data, dict) else None
    if isinstance(address, str) and 0 < len(address) <= MAX_KEY_CHARS:
        for leaf, raw in leaves(data):
            where = f"{origin.device}/{address}"
            yield Reading(f"blu.{leaf}", f"blu {leaf}", raw, device=where, exact=True)
