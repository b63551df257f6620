"""The Homie convention: values, and the units that its devices publish beside them.

Source: homieiot.github.io/specification, versions 3 to 5. Names of nodes and properties have no `_`
but for that before the number of a node in an array, so that `node_property` can be taken apart.
Versions 3 and 4 have a topic `$unit` for each property, version 5 describes a device in one
document. All are retained, and come in any order.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgespike.sensing.decoders.generic import decode_plain
from edgespike.sensing.decoders.reading import MAX_KEY_CHARS, MAX_READINGS, Origin, Reading
from edgespike.sensing.values import load_json, load_text

MAX_PROPERTIES = 4096
"""Properties whose units are remembered."""


class Homie:
    """Reads values, and remembers units in bounded memory."""

    def __init__(self) -> None:
        self._units: dict[tuple[str, str], str] = {}
        # Values that came before their units, of which they are told again.
        self._bare: dict[tuple[str, str], Reading] = {}

    def decode(self, origin: Origin, payload: bytes, at: float) -> list[Reading]:
        """By the key of its topic a value (`node_property`) or an attribute (`..._$unit`); without
        one it is the description of the device."""
        if not origin.key:
            described = list(_described(load_json(payload)))
            return [r for key, unit in described for r in self._use(origin.device, key, unit)]
        node, _, name = origin.key.rpartition("_")
        if name == "$unit":
            return self._use(origin.device, node, load_text(payload))
        if name.startswith("$"):
            return []
        return [self._read(origin, node, name, r.raw) for r in decode_plain(origin, payload, at)]

    def _read(self, origin: Origin, node: str, name: str, raw: str) -> Reading:
        property = (origin.device, origin.key)
        reading = Reading(
            f"{node}.{name}", name, raw, unit=self._units.get(property),
            # The oven's temperature isn't the kitchen's, even where the oven is its only node.
            sensor="" if node == name else node, crowded=True, aside=node.startswith("$"),
        )  # fmt: skip
        if reading.unit is None and len(self._bare) < MAX_PROPERTIES:
            self._bare[property] = reading
        return reading

    def _use(self, device: str, key: str, unit: str) -> list[Reading]:
        property = (device, key)
        if len(unit) > MAX_KEY_CHARS or len(self._units) >= MAX_PROPERTIES:
            return []
        self._units[property] = "" if unit == "#" else unit  # a count
        bare = self._bare.pop(property, None)
        return [] if bare is None else [bare._replace(unit=self._units[property])]


def _described(body: Any) -> Iterator[tuple[str, str]]:
    """Keys and units of the properties that a description has, up to as many as a message."""
    count = 0
    for node, facts in _named(body, "nodes"):
        for name, property in _named(facts, "properties"):
            unit = property.get("unit", "")
            if count < MAX_READINGS and type(unit) is str:  # no number
                count += 1
                yield f"{node}_{name}", unit


def _named(body: Any, what: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Objects by their ids, which are keys, or `id` within (drafts of version 5)."""
    some = body.get(what) if isinstance(body, dict) else None
    if isinstance(some, dict):
        pairs = list(some.items())
    else:
        listed = some if isinstance(some, list) else []
        pairs = [(each.get("id"), each) for each in listed if isinstance(each, dict)]
    for id, each in pairs:
        if isinstance(id, str) and len(id) <= MAX_KEY_CHARS and isinstance(each, dict):
            yield id, each
