"""What a channel is called, and what is known about it.

The convention: device, then what is measured, in the firmware's words with underscores as spaces.

    zigbee2mqtt/kitchen_sensor {"temperature": 21.5}      kitchen sensor temperature
    zigbee2mqtt/cellar/freezer {"power": 80}              cellar freezer power
    plant/pump-07/pressure 4.2        (plant/+/pressure)  pump-07 pressure
    tele/attic/SENSOR {"DS18B20-1": {"Temperature": 9}}   attic temperature, or, with a second
                                                          DS18B20: attic DS18B20-1 temperature

Names of devices keep their case and hyphens, so that `pump-07` stays recognisable. A device whose
name already ends in the quantity doesn't say it twice (`outdoor_temperature` temperature is
`outdoor temperature`). `rename` in the configuration overrides all of this.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from edgespike.profiles import ValueFacts
from edgespike.sensing.values import MAX_NAME_CHARS, clean

_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z][a-z])")
_SEPARATORS = re.compile(r"(?:[\s_/]|\.(?!\d))+")
_NUMBERED = re.compile(r"(.*[^\d ])(\d{1,2})", re.DOTALL)


class FactBook:
    """The facts of a sensor source, found by a value's path or by how its name ends.

    `soil_temperature` has the facts of `temperature` unless it has its own; `state_l1`, with `l1`
    among `endpoints`, those of `state`.
    """

    def __init__(self, values: Mapping[str, ValueFacts], endpoints: tuple[str, ...] = ()) -> None:
        ready = {key: _folded_states(facts) for key, facts in values.items()}
        self._facts = {words(key).casefold(): facts for key, facts in ready.items()}
        self._facts |= {words(key): facts for key, facts in ready.items()}
        self._endpoints = frozenset(endpoints)

    def find(self, key: str, label: str) -> tuple[str, ValueFacts | None]:
        """(words for the value, what is known about it) by its full path and by its label."""
        exact = self._get(words(key))
        if exact:
            return exact.name or words(label), exact
        parts = words(label).split(" ")
        for start in range(len(parts)):
            facts = self._get(" ".join(parts[start:]))
            if facts:
                tail = facts.name or " ".join(parts[start:])
                return " ".join((*parts[:start], tail)), facts
        return self._find_endpoint(parts)

    def _get(self, key: str) -> ValueFacts | None:
        """By the words as they are (Tasmota's `POWER` isn't its `Power`), else in any case."""
        return self._facts.get(key) or self._facts.get(key.casefold())

    def _find_endpoint(self, parts: list[str]) -> tuple[str, ValueFacts | None]:
        label = " ".join(parts)
        glued = _NUMBERED.fullmatch(label)
        splits = [(" ".join(parts[:-1]), parts[-1]), *([(glued[1], glued[2])] if glued else [])]
        for stem, end in splits:
            facts = self._get(stem) if end in self._endpoints else None
            if facts:
                return f"{facts.name or words(stem)} {end}", facts
        return label, None


def channel_name(device: str, part: str, value: str) -> str:
    """The name of a channel: at most 64 printable characters."""
    place = clean(" ".join(device.replace("_", " ").replace("/", " ").split()), MAX_NAME_CHARS)
    what = clean(f"{value} {part}" if part.isdigit() else f"{part} {value}", MAX_NAME_CHARS - 24)
    if f" {place}".casefold().endswith(f" {what}".casefold()):
        return place
    room = MAX_NAME_CHARS - len(what) - 1
    return f"{place[:room].strip()} {what}".strip()


def words(key: str) -> str:
    """A key as words: `soil_moisture`, `SoilMoisture` and `soil.moisture` are `soil moisture`.

    Abbreviations (`CO2`, `PM2.5`, `DS18B20-1`) stay as they are.
    """
    spaced = _SEPARATORS.sub(" ", _CAMEL.sub(" ", key[:128]))
    return " ".join(w.lower() if w.istitle() and w.isalpha() else w for w in spaced.split())


def _folded_states(facts: ValueFacts) -> ValueFacts:
    if not facts.states:
        return facts
    return replace(facts, states={key.casefold(): word for key, word in facts.states.items()})
