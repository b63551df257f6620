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
    component: `input.event`.
    """
    body = load_json(payload)
    if not isinstance(body, dict):
        raise ValueError("not a JSON object")
    method = body.get("method")
    if method == "NotifyEvent":
        return list(islice(_events(body.get("params")), MAX_READINGS))
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


def _events(params: Any) -> Iterator[Reading]:
    events = params.get("events") if isinstance(params, dict) else None
    if not isinstance(events, list):
        raise ValueError("an event needs params.events")
    for event in events[:MAX_READINGS]:
        component = event.get("component") if isinstance(event, dict) else None
        name = event.get("event") if isinstance(event, dict) else None
        if isinstance(component, str) and isinstance(name, str) and len(component) <= MAX_KEY_CHARS:
            kind, _, number = component.partition(":")
            part = number.lstrip("0")
            yield Reading(f"{kind}.event", f"{kind} event", name, part, exact=True)
