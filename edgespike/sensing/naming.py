"""What a channel is called, and what is known about it.

The convention: device, then what is measured, in the firmware's words with underscores as spaces.

    zigbee2mqtt/kitchen_sensor {"temperature": 21.5}      kitchen sensor temperature
    zigbee2mqtt/cellar/freezer {"power": 80}              cellar freezer power
    plant/pump-07/pressure 4.2        (plant/+/pressure)  pump-07 pressure
    tele/attic/SENSOR {"DS18B20-1": {"Temperature": 9}}   attic temperature, or, with a second
                                                          DS18B20: attic DS18B20-1 temperature

Names of devices keep their case and hyphens, so that `pump-07` stays recognisable. A device whose
name already ends in the quantity doesn't say it twice (`outdoor_temperature` temperature is
`outdoor temperature`), nor does one that the quantity starts with (`office` office_temperature).
`rename` in the configuration overrides all of this.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from edgespike.profiles import ValueFacts
from edgespike.sensing.values import MAX_NAME_CHARS, clean
from edgespike.units import converts

# `SoilMoisture`, but not `hPa`.
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z][a-z])(?!Pa(?![a-z]))")
_SEPARATORS = re.compile(r"(?:[\s_/]|\.(?!\d))+")
# Units as they are written at the end of keys.
_UNIT_ENDS = {
    "c": "°C", "degc": "°C", "celsius": "°C", "f": "°F", "degf": "°F", "fahrenheit": "°F",
    "kelvin": "K", "pct": "%", "percent": "%", "pa": "Pa", "hpa": "hPa", "kpa": "kPa",
    "mbar": "mbar", "bar": "bar", "psi": "psi", "w": "W", "kw": "kW", "watt": "W", "watts": "W",
    "wh": "Wh", "kwh": "kWh", "va": "VA", "v": "V", "mv": "mV", "volt": "V", "volts": "V",
    "a": "A", "ma": "mA", "amp": "A", "amps": "A", "hz": "Hz", "khz": "kHz", "rpm": "rpm",
    "ppm": "ppm", "ppb": "ppb", "ugm3": "µg/m³", "lux": "lx", "lx": "lx", "db": "dB",
    "dbm": "dBm", "mm": "mm", "cm": "cm", "kg": "kg", "ms": "ms", "kmh": "km/h", "mph": "mph",
    "mps": "m/s", "m3": "m³", "m3h": "m³/h", "lpm": "l/min", "liters": "l", "litres": "l",
    "deg": "°", "degrees": "°", "km h": "km/h", "m s": "m/s", "mi h": "mph", "mm h": "mm/h",
}  # fmt: skip
# In what units people think of quantities for which a profile declares none.
_USUAL_UNITS = {
    "temperature": "°C", "setpoint": "°C", "dew point": "°C", "humidity": "%", "pressure": "hPa",
    "power": "W", "energy": "kWh", "voltage": "V", "current": "A", "frequency": "Hz",
    "battery": "%", "illuminance": "lx", "co2": "ppm", "flow": "m³/h", "water": "m³",
    "distance": "cm", "wind speed": "m/s", "wind direction": "°", "rain": "mm", "weight": "kg",
    "level": "%", "soil moisture": "%", "signal strength": "dBm", "uptime": "s",
}  # fmt: skip
_NUMBERED = re.compile(r"(.*[^\d ])(\d{1,2})", re.DOTALL)
# Words after a quantity that say which one, not what else it is: `energy consumed tariff 1`.
_WHICH = frozenset(
    ("phase", "tariff", "l1", "l2", "l3", "p1", "p2", "p3", "consumed", "produced", "delivered",
     "returned", "imported", "exported", "import", "export", "in", "out", "total", "today",
     "yesterday", "day", "daily", "average", "avg", "mean", "sensor", "detector", "value",
     "reading", "curr", "now")
)  # fmt: skip


class FactBook:
    """The facts of a sensor source, found by a value's path or by how its name ends.

    `soil_temperature` has the facts of `temperature` unless it has its own; `state_l1`, with `l1`
    among `endpoints`, those of `state`; `voltage_phase_1` those of `voltage`. `temperature_f` has
    those of `temperature`, in °F; with `units`, a unit at the end also tells that of a value that
    nothing else is known of.
    """

    def __init__(
        self,
        values: Mapping[str, ValueFacts],
        endpoints: tuple[str, ...] = (),
        *,
        units: bool = False,
    ) -> None:
        ready = {key: _folded_states(facts) for key, facts in values.items()}
        self._facts = {words(key).casefold(): facts for key, facts in ready.items()}
        self._facts |= {words(key): facts for key, facts in ready.items()}
        self._endpoints = frozenset(endpoints)
        self._units = units

    def find(self, key: str, label: str, *, exact: bool = False) -> tuple[str, ValueFacts | None]:
        """(words for the value, what is known about it) by its full path and by its label.

        With `exact`, by the path alone.
        """
        found = self._get(words(key))
        if found or exact:
            return (found.name if found else None) or words(label), found
        parts = words(label).split(" ")
        return (
            self._find_tail(parts)
            or self._find_endpoint(parts)
            or self._find_which(parts)
            or self._find_unit(parts)
            or (words(label), None)
        )

    def _get(self, key: str) -> ValueFacts | None:
        """By the words as they are (Tasmota's `POWER` isn't its `Power`), else in any case."""
        return self._facts.get(key) or self._facts.get(key.casefold())

    def _find_tail(self, parts: list[str]) -> tuple[str, ValueFacts] | None:
        for start in range(len(parts)):
            facts = self._get(" ".join(parts[start:]))
            if facts:
                tail = facts.name or " ".join(parts[start:])
                return " ".join((*parts[:start], tail)), facts
        return None

    def _find_which(self, parts: list[str]) -> tuple[str, ValueFacts] | None:
        for end in range(len(parts) - 1, 0, -1):
            word = parts[end].casefold()
            phase = word in "abc" and parts[end - 1].casefold() == "phase"
            if not (word in _WHICH or word.isdigit() or phase):
                return None
            found = self._find_tail(parts[:end])
            if found and found[1].quantity and not found[1].ignore:
                return " ".join((found[0], *parts[end:])), found[1]
        return None

    def _find_unit(self, parts: list[str]) -> tuple[str, ValueFacts] | None:
        size = 2 if " ".join(parts[-2:]).casefold() in _UNIT_ENDS else 1
        unit = _UNIT_ENDS.get(" ".join(parts[-size:]).casefold())
        if unit is None or len(parts) <= size:
            return None
        stem, facts = self.find("", "_".join(parts[:-size]))
        if facts is not None:
            usual = facts.unit or _USUAL_UNITS.get(words(facts.quantity or ""), "")
            if usual == unit or converts(usual, unit):
                return stem, replace(facts, unit=unit)
        # One letter may as well be a phase, an endpoint or anything else.
        loose = self._units and (size > 1 or len(parts[-1]) > 1)
        return (stem, ValueFacts(unit=unit)) if loose else None

    def _find_endpoint(self, parts: list[str]) -> tuple[str, ValueFacts] | None:
        label = " ".join(parts)
        glued = _NUMBERED.fullmatch(label)
        splits = [(" ".join(parts[:-1]), parts[-1]), *([(glued[1], glued[2])] if glued else [])]
        for stem, end in splits:
            facts = self._get(stem) if end in self._endpoints else None
            if facts:
                return f"{facts.name or words(stem)} {end}", facts
        return None


def channel_name(device: str, part: str, value: str) -> str:
    """The name of a channel: at most 64 printable characters."""
    place = clean(" ".join(device.replace("_", " ").replace("/", " ").split()), MAX_NAME_CHARS)
    what = _ending(f"{value} {part}" if part.isdigit() else f"{part} {value}", MAX_NAME_CHARS - 24)
    if f" {place}".casefold().endswith(f" {what}".casefold()):
        return place
    if f"{what} ".casefold().startswith(f"{place} ".casefold()):
        return what
    room = MAX_NAME_CHARS - len(what) - 1
    return f"{place[:room].strip()} {what}".strip()


def _ending(text: str, limit: int) -> str:
    """`text`, cleaned, or as many words of its end as fit: they say what is measured."""
    text = clean(text, 4 * limit)
    while len(text) > limit and " " in text:
        text = text.partition(" ")[2]
    return text[:limit]


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
