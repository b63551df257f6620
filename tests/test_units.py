"""Units: what converts, exactly, and what a channel then shows."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgespike.config import ChannelSettings, Config, SensorSource, load_config
from edgespike.errors import ConfigError
from edgespike.profiles import ProfileLibrary, ValueFacts
from edgespike.sensing import Sensing
from edgespike.sensing.picture import ChannelView
from edgespike.units import convert, convertible, converts, scale

LIBRARY = ProfileLibrary()
T0 = 1_700_000_000.0


@pytest.mark.parametrize(
    ("text", "source", "target", "shown"),
    [
        ("21.5", "°C", "°F", "70.7"),
        ("70.7", "°F", "°C", "21.5"),
        ("-40", "°C", "°F", "-40"),
        ("-0.04", "°F", "°F", "-0.04"),
        ("0", "°C", "K", "273"),
        ("21", "degC", "F", "70"),
        ("31.94", "°F", "°C", "-0.03"),
        ("31.999", "°F", "°C", "-0.001"),
        ("32.0", "°F", "°C", "0.0"),
        ("1013.2", "hPa", "bar", "1.0132"),
        ("1013", "mbar", "hPa", "1013"),
        ("4.20", "bar", "psi", "60.9"),
        ("760", "mmHg", "hPa", "1013"),
        ("29.92", "inHg", "hPa", "1013.2"),
        ("1500", "W", "kW", "1.500"),
        ("0.35", "kW", "W", "350"),
        ("3.25", "Wh", "kWh", "0.00325"),
        ("3600", "kJ", "kWh", "1.0000"),
        ("5.2", "m/s", "km/h", "18.7"),
        ("100", "km/h", "mph", "62.1"),
        ("12", "l/min", "m³/h", "0.72"),
        ("1", "gal", "l", "4"),
        ("1.000", "gal", "l", "3.785"),
        ("0.05", "m", "cm", "5"),
        ("1e3", "W", "kW", "1"),
        ("90", "min", "h", "1.50"),
        ("1", "W", "MW", "0.000001"),
    ],
)
def test_values_convert_exactly_and_with_sensible_digits(
    text: str, source: str, target: str, shown: str
) -> None:
    assert convert(text, source, target) == shown


@pytest.mark.parametrize(
    ("text", "source", "target"),
    [
        ("1", "°C", "bar"),
        ("1", "lx", "W"),
        ("x", "°C", "°F"),
        ("NaN", "W", "kW"),
        ("1e999", "W", "kW"),
    ],
)
def test_what_does_not_convert_is_an_error(text: str, source: str, target: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        convert(text, source, target)


UNITS = st.sampled_from(["°C", "W", "bar", "l/min", "m/s", "kWh", "mm", "g"])


@given(st.decimals(-(10**6), 10**6, places=2), UNITS, st.data())
def test_a_value_comes_back_within_half_a_step(number: Decimal, unit: str, data: Any) -> None:
    other = data.draw(st.sampled_from(convertible(unit)))
    there = convert(str(number), unit, other)
    back = float(convert(there, other, unit))
    # One rounding each way: half a last digit there, scaled back, and half a last digit here.
    digits = len(there.partition(".")[2])
    bound = 0.5 * 10.0**-digits * scale(other, unit) + 0.5
    assert abs(back - float(number)) <= bound * 1.001 + 1e-9 * abs(float(number))
    assert converts(unit, other)


def sensing(profile: str, **source: Any) -> Sensing:
    return Sensing(Config(sensors=(SensorSource(LIBRARY.sensor(profile), **source),)))


def only(ear: Sensing, now: float = T0) -> ChannelView:
    (view,) = ear.picture(now).channels
    return view


def test_a_channel_is_shown_in_the_unit_that_is_wanted_and_limited_in_it() -> None:
    settings = ChannelSettings(unit="°F", high="75", hysteresis="1")
    ear = sensing("zigbee2mqtt", channels={"* temperature": settings})
    for minute, celsius in enumerate((21.5, 24.5, 23.7)):
        body = b'{"temperature": %.1f}' % celsius
        ear.ingest("zigbee2mqtt/hall", body, T0 + 60 * minute)
    view = only(ear, T0 + 120)
    assert (view.text, view.number, view.unit, view.limit) == ("74.7", 74.7, "°F", "high")
    assert (view.minimum, view.maximum, view.mean) == ("70.7", "76.1", "73.8")


def test_the_noise_of_a_quantity_is_converted_too() -> None:
    ear = sensing("zigbee2mqtt", channels={"*": ChannelSettings(unit="°F")})
    revision = 0
    told = []
    for second, celsius in enumerate((b"20.0", b"20.1", b"20.3")):
        ear.ingest("zigbee2mqtt/hall", b'{"temperature": %s}' % celsius, T0 + second)
        revision, names = ear.changes_since(revision, T0 + second)
        told.append(len(names))
    assert told == [1, 0, 1], "0.36 °F, which is 0.2 °C, means nothing"


def test_a_unit_that_came_with_the_value_converts() -> None:
    ear = sensing("plain-number", channels={"hall x": ChannelSettings(unit="kPa")})
    ear.ingest("sensors/hall/x", b"1013.2 hPa", T0)
    assert (only(ear).text, only(ear).unit) == ("101.32", "kPa")


def test_without_a_unit_the_wanted_one_is_a_label() -> None:
    ear = sensing("plain-number", channels={"tank level": ChannelSettings(unit="cm")})
    ear.ingest("sensors/tank/level", b"70", T0)
    assert (only(ear).text, only(ear).unit) == ("70", "cm")


def test_a_sensor_that_changes_its_unit_starts_its_history_anew() -> None:
    ear = sensing("tasmota")
    for unit, number in (("C", 21.5), ("F", 70.7)):
        body = {"AM2301": {"Temperature": number}, "TempUnit": unit}
        ear.ingest("tele/attic/SENSOR", json.dumps(body).encode(), T0)
    assert (only(ear).text, only(ear).unit, only(ear).minimum) == ("70.7", "°F", "70.7")
    fixed = sensing("tasmota", channels={"*": ChannelSettings(unit="°C")})
    for unit, number in (("C", 21.5), ("F", 70.7)):
        body = {"AM2301": {"Temperature": number}, "TempUnit": unit}
        fixed.ingest("tele/attic/SENSOR", json.dumps(body).encode(), T0)
    assert (only(fixed).text, only(fixed).minimum) == ("21.5", "21.5")


def test_a_unit_that_turns_out_not_to_convert_is_reported_and_shown_as_sent() -> None:
    ear = sensing("plain-number", channels={"hall x": ChannelSettings(unit="bar")})
    ear.ingest("sensors/hall/x", b"21.5 C", T0)
    ear.ingest("sensors/hall/x", b"21.6 C", T0)
    assert (only(ear).text, only(ear).unit) == ("21.6", "°C")
    assert ear.take_problems() == ("unit: hall x: °C doesn't convert to bar; shown as sent",)


def test_a_unit_that_cannot_be_meant_is_a_configuration_error(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        "sensors:\n"
        "  - profile: zigbee2mqtt\n"
        "    channels:\n"
        '      "* temperature": {unit: bar}\n'
        "      hall illuminance: {unit: W}\n"
        "      plug power: {unit: kW}\n"
        "      pump pressure: {unit: mBar}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert [line.partition(": ")[2] for line in str(caught.value).split("\n")] == [
        "sensors[0].channels: * temperature: °C doesn't convert to bar, but to K, °F",
        "sensors[0].channels: hall illuminance: lx doesn't convert to W, but to nothing else",
    ]


def test_a_value_that_is_declared_in_another_unit_is_checked_by_that(tmp_path: Path) -> None:
    values = {"temperature": ValueFacts(unit="psi")}
    source = SensorSource(
        LIBRARY.sensor("zigbee2mqtt"),
        values=values,
        channels={"a temperature": ChannelSettings(unit="bar")},
    )
    assert list(source.check()) == []
