"""Tasmota: telemetry, status and results."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from edgespike.sensing.decoders.reading import (
    MAX_KEY_CHARS,
    MAX_LIST,
    MAX_READINGS,
    Origin,
    Reading,
    leaves,
)
from edgespike.sensing.values import load_json, load_text

_WRAPPERS = ("StatusSNS", "StatusSTS")
_TELEMETRY = ("", "SENSOR", "STATUS8", "STATUS10")
_REPORTS = ("Wifi", "Shutter", "RfReceived", "IrReceived")
"""Objects outside telemetry that aren't settings."""
_BLUETOOTH = re.compile(r".+[0-9a-f]{6}")
"""Bluetooth sensors have the end of their address in their name: `ATCa8b7d2`, `Flora-6ab577`."""
_PUSHED = re.compile(r"(BUTTON|SWITCH)\d{1,2}")


def decode_tasmota(origin: Origin, payload: bytes, at: float) -> list[Reading]:
    """SENSOR, STATE, RESULT and STATUS messages: sensor objects hold the values.

    What stands outside a sensor object is about the device, unless the profile knows it; so is a
    bare value, whose name is the topic's key (`stat/lamp/POWER`). Units
    travel as TempUnit, PressureUnit and SpeedUnit. Devices behind a Zigbee bridge have names of
    their own: `{"ZbReceived": {"0x99E3": {"Name": "hall", "Temperature": 21}}}`.
    """
    if payload.lstrip()[:1] != b"{":
        return [Reading(f"State.{origin.key}", origin.key, load_text(payload), aside=True)]
    body = load_json(payload)
    if _PUSHED.fullmatch(origin.key):
        body = {origin.key.capitalize(): body.get("ACTION")}
    for wrapper in _WRAPPERS:
        if isinstance(body.get(wrapper), dict):
            body = body[wrapper]
    # Other answers to the Status command: Status, StatusPRM, StatusFWR, StatusNET, ...
    body = {key: value for key, value in body.items() if not key.startswith("Status")}
    received = body.pop("ZbReceived", None)
    readings = list(_sensors(body, origin.key in _TELEMETRY))
    if isinstance(received, dict):
        for number, device in list(received.items())[:MAX_LIST]:
            readings += _zigbee(origin, number, device)
    return readings[:MAX_READINGS]


def _sensors(body: dict[str, Any], telemetry: bool) -> Iterator[Reading]:
    """The readings of a message; unknown values in sensor objects are shown if `telemetry`."""
    units = _units(body)
    found: list[tuple[str, str, str]] = []
    for name, value in body.items():
        if name.endswith("Unit") or len(name) > MAX_KEY_CHARS:
            continue
        if isinstance(value, dict):
            # Elsewhere objects are settings, such as {"Rule1": {"State": "ON"}}.
            if name.startswith("Button") and "Action" in value:
                found += [("", leaf, raw) for leaf, raw in leaves({name: value["Action"]})]
            elif telemetry or name.startswith(_REPORTS):
                name = name or "Meter"  # of a smart meter's script
                found += [(name, leaf, raw) for leaf, raw in leaves(value)]
        else:
            found += [("", leaf, raw) for leaf, raw in leaves({name: value})]
    shared: dict[str, int] = {}
    for sensor, leaf, _ in found:
        if sensor:
            shared[leaf] = shared.get(leaf, 0) + 1
    for sensor, leaf, raw in found:
        unit = units.get(leaf.rpartition(".")[2].casefold())
        if sensor:
            # In the order of the fields: names would take longer than the rest of this loop.
            several = shared[leaf] > 1 or _BLUETOOTH.fullmatch(sensor) is not None
            yield Reading(
                f"{sensor}.{leaf}", leaf, raw, "", unit, None, None, sensor, several, not telemetry
            )
        else:
            yield Reading(f"State.{leaf}", leaf, raw, aside=True)


def _zigbee(origin: Origin, number: str, device: Any) -> Iterator[Reading]:
    if not isinstance(device, dict) or len(number) > MAX_KEY_CHARS:
        return
    named = device.get("Name")
    name = named if isinstance(named, str) and 0 < len(named) <= MAX_KEY_CHARS else number
    units = _units(device)
    bridge, _, last = origin.device.rpartition("/")
    # With a topic for each device, this is the device's.
    above = bridge if bridge and last in (number.removeprefix("0x"), name) else origin.device
    where = f"{above}/{name}"
    for leaf, raw in leaves({k: v for k, v in device.items() if not k.endswith("Unit")}):
        unit = units.get(leaf.casefold())
        yield Reading(f"ZbReceived.{leaf}", leaf, raw, unit=unit, device=where, aside=True)


def _units(body: dict[str, Any]) -> dict[str, str | None]:
    degrees = body.get("TempUnit")
    temperature = f"°{degrees}" if degrees in ("C", "F") else None
    pressure, speed = (
        unit if isinstance(unit, str) else None
        for unit in (body.get("PressureUnit"), body.get("SpeedUnit"))
    )
    temperatures = ("temperature", "dewpoint", "probetemperature", "referencetemperature")
    return dict.fromkeys(temperatures, temperature) | {
        "pressure": pressure,
        "seapressure": pressure,
        "speed": speed,
    }
