"""What firmwares publish, and the channels that it becomes."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgespike.config import Config, ContextSettings, SensorSource
from edgespike.profiles import Decoder, ProfileLibrary, ValueFacts
from edgespike.sensing import Sensing
from edgespike.sensing.decoders import (
    MAX_READINGS,
    Origin,
    Presence,
    decode_availability,
    new_decoder,
)
from edgespike.sensing.naming import FactBook, channel_name, words
from edgespike.sensing.values import NumberText, clean, load_json, read_value

LIBRARY = ProfileLibrary()
NOW = 1_700_000_000.0
Message = tuple[str, Any]


def sensing(profile: str, **source: Any) -> Sensing:
    sources = (SensorSource(LIBRARY.sensor(profile), **source),)
    return Sensing(Config(sensors=sources, context=ContextSettings(max_channels=400)))


def heard(profile: str, *messages: Message, **source: Any) -> dict[str, str]:
    """The channels after some messages: name -> value and unit."""
    ear = sensing(profile, **source)
    for topic, payload in messages:
        ear.ingest(topic, encoded(payload), NOW)
    return {view.name: f"{view.text} {view.unit}".strip() for view in ear.picture(NOW).channels}


def encoded(payload: Any) -> bytes:
    if isinstance(payload, bytes):
        return payload
    return (payload if isinstance(payload, str) else json.dumps(payload)).encode()


def test_zigbee2mqtt_devices_become_channels_named_after_them() -> None:
    assert heard(
        "zigbee2mqtt",
        (
            "zigbee2mqtt/kitchen_sensor",
            '{"temperature":21.50,"humidity":40,"pressure":1013.2,"battery":97,"linkquality":120}',
        ),
        ("zigbee2mqtt/cellar/freezer plug", {"state": "ON", "power": 80.1, "energy": 1.5}),
        ("zigbee2mqtt/front_door", {"contact": True, "tamper": False, "battery_low": False}),
        ("zigbee2mqtt/hall motion", {"occupancy": True, "illuminance_lux": 7, "voltage": 3000}),
    ) == {
        "kitchen sensor temperature": "21.50 °C",
        "kitchen sensor humidity": "40 %",
        "kitchen sensor pressure": "1013.2 hPa",
        "kitchen sensor battery": "97 %",
        "cellar freezer plug state": "on",
        "cellar freezer plug power": "80.1 W",
        "cellar freezer plug energy": "1.5 kWh",
        "front door contact": "closed",
        "front door tamper": "ok",
        "front door battery state": "ok",
        "hall motion occupancy": "motion",
        "hall motion illuminance": "7 lx",
    }


def test_zigbee2mqtt_diagnostics_are_there_when_asked_for() -> None:
    message = (
        "zigbee2mqtt/d",
        {"battery": 97, "linkquality": 120, "motor_speed": 3, "last_seen": "x"},
    )
    assert heard("zigbee2mqtt", message) == {"d battery": "97 %"}
    assert heard("zigbee2mqtt", message, diagnostics=True) == {
        "d battery": "97 %",
        "d link quality": "120",
        "d motor speed": "3",
    }


def test_zigbee2mqtt_endpoints_stay_apart() -> None:
    message = ("zigbee2mqtt/wall", {"state_l1": "ON", "state_l2": "OFF", "state_left": "ON"})
    assert heard("zigbee2mqtt", message) == {
        "wall state l1": "on",
        "wall state l2": "off",
        "wall state left": "on",
    }


@pytest.mark.parametrize(
    "topic",
    [
        "zigbee2mqtt/bridge/devices",
        "zigbee2mqtt/bridge/request/x",
        "zigbee2mqtt/lamp/set",
        "zigbee2mqtt/lamp/set/state",
        "zigbee2mqtt/lamp/get",
        "other/lamp",
    ],
)
def test_zigbee2mqtts_own_talk_is_ignored(topic: str) -> None:
    assert heard("zigbee2mqtt", (topic, {"temperature": 1, "state": "ON"})) == {}


def test_zigbee2mqtt_attribute_output_and_another_base() -> None:
    assert heard("zigbee2mqtt", ("z/hall/temperature", "19.0"), ("z/state", "x"), base="z") == {
        "hall temperature": "19.0 °C"
    }


def test_tasmota_sensors_are_told_apart_only_where_needed() -> None:
    message = {
        "Time": "2026-01-01T00:00:00",
        "DS18B20-1": {"Id": "0316A2", "Temperature": -4.5},
        "DS18B20-2": {"Id": "0316A3", "Temperature": 85},
        "BME280": {"Humidity": 55.1, "DewPoint": 10.1, "Pressure": 750.1},
        "CCS811": {"eCO2": 410, "TVOC": 2},
        "PMS5003": {"PM2.5": 7, "PM10": 8},
        "TempUnit": "F",
        "PressureUnit": "mmHg",
    }
    assert heard("tasmota", ("tele/attic/SENSOR", message)) == {
        "attic DS18B20-1 temperature": "-4.5 °F",
        "attic DS18B20-2 temperature": "85 °F",
        "attic humidity": "55.1 %",
        "attic dew point": "10.1 °F",
        "attic pressure": "750.1 mmHg",
        "attic estimated CO2": "410 ppm",
        "attic VOC": "2 ppb",
        "attic PM2.5": "7 µg/m³",
        "attic PM10": "8 µg/m³",
    }


def test_tasmota_energy_and_power() -> None:
    energy = {
        "TotalStartTime": "2020",
        "Total": 12.345,
        "Yesterday": 0.1,
        "Today": 0.012,
        "Period": 0,
        "Power": [120, 3],
        "Factor": 0.9,
        "Voltage": 230,
        "Current": 0.5,
    }
    state = {"POWER1": "ON", "POWER2": "OFF", "Dimmer": 50, "Heap": 25, "Wifi": {"RSSI": 80}}
    assert heard(
        "tasmota",
        ("tele/washer/SENSOR", {"ENERGY": energy}),
        ("tele/washer/STATE", state),
        ("stat/lamp/POWER", "ON"),
        ("stat/fan/RESULT", {"POWER": "OFF"}),
        ("stat/x/STATUS10", {"StatusSNS": {"AM2301": {"Temperature": 20.0}, "TempUnit": "C"}}),
        ("stat/x/STATUS", {"Status": {"Module": 1}}),
    ) == {
        "washer power 1": "120 W",
        "washer power 2": "3 W",
        "washer power factor": "0.9",
        "washer voltage": "230 V",
        "washer current": "0.5 A",
        "washer energy total": "12.345 kWh",
        "washer energy today": "0.012 kWh",
        "washer energy yesterday": "0.1 kWh",
        "washer power state 1": "on",
        "washer power state 2": "off",
        "washer brightness": "50 %",
        "lamp power state": "on",
        "fan power state": "off",
        "x temperature": "20.0 °C",
    }


def test_esphome_entities_say_their_quantity_in_their_name() -> None:
    assert heard(
        "esphome",
        ("garage/sensor/outside_temperature/state", "-3.20"),
        ("garage/sensor/wifi_signal/state", "-60"),
        ("garage/sensor/co2/state", "nan"),
        ("garage/binary_sensor/side_door/state", "ON"),
        ("garage/switch/pump/state", "OFF"),
        ("garage/debug", "21"),
    ) == {
        "garage outside temperature": "-3.20 °C",
        "garage side door": "open",
        "garage pump": "off",
    }


def test_shelly_components_become_channels() -> None:
    status = {
        "switch:0": {"id": 0, "output": True, "apower": 12.3, "aenergy": {"total": 3.25}},
        "switch:1": {"id": 1, "output": False},
        "temperature:100": {"id": 100, "tC": 22.1, "tF": 71.8},
        "sys": {"uptime": 5},
    }
    notify = {"src": "shelly-1", "method": "NotifyStatus", "params": {"ts": 1.5, **status}}
    assert heard(
        "shelly",
        ("shelly-1/events/rpc", notify),
        ("shelly-1/events/rpc", {"method": "NotifyEvent", "params": {"events": []}}),
        ("shelly-2/status/humidity:0", {"id": 0, "rh": 41.5}),
        ("shelly-2/status/flood:0", {"id": 0, "alarm": True}),
    ) == {
        "shelly-1 switch": "on",
        "shelly-1 power": "12.3 W",
        "shelly-1 energy total": "3.25 Wh",
        "shelly-1 switch 1": "off",
        "shelly-1 temperature 100": "22.1 °C",
        "shelly-2 humidity": "41.5 %",
        "shelly-2 water leak": "leak",
    }


def test_senml_resolves_base_fields() -> None:
    """The examples of RFC 8428, section 5.1, and a base value."""
    pack = (
        '[{"bn":"urn:dev:ow:10e2073a0108006:","bt":1.276020076001e+09,"bu":"A","bver":5,'
        '"n":"voltage","u":"V","v":120.1},{"n":"current","t":-5,"v":1.20},'
        '{"n":"door","vb":true},{"n":"mode","vs":"auto"},{"n":"energy","s":7.50,"u":"J"}]'
    )
    assert heard("senml", ("senml/x", pack)) == {
        "urn:dev:ow:10e2073a0108006 voltage": "120.1 V",
        "urn:dev:ow:10e2073a0108006 current": "1.20 A",
        "urn:dev:ow:10e2073a0108006 door": "open",
        "urn:dev:ow:10e2073a0108006 mode": "auto",
        "urn:dev:ow:10e2073a0108006 energy total": "7.50 J",
    }
    based = '[{"bn":"tank/","bv":20.00,"bu":"Cel"},{"n":"a","v":1.5},{"n":"b","v":-0.25}]'
    assert heard("senml", ("senml/x", based)) == {
        "tank": "20.00 °C",
        "tank a": "21.50 °C",
        "tank b": "19.75 °C",
    }


def test_senml_times_are_relative_or_absolute() -> None:
    def age(record: dict[str, Any], later: float = 0.0) -> float | None:
        ear = sensing("senml")
        ear.ingest("senml/x", encoded([{"n": "a", "v": 1, **record}]), NOW)
        return ear.picture(NOW + later).channels[0].age_s

    assert age({}) == 0
    assert age({"t": -30}) == 30
    assert age({"bt": NOW - 60, "t": 20}) == 40
    assert age({"t": NOW + 500}, 700) == 700, "a fast clock doesn't make values from the future"


@pytest.mark.parametrize(
    "pack",
    [
        {},
        [1],
        [{"n": "a", "v": 1, "x_": 1}],
        [{"bver": 11, "n": "a", "v": 1}],
        [{"n": "a", "v": "1"}],
        [{"n": 5, "v": 1}],
        [{"n": "a", "t": "1", "v": 1}],
        [{"n": "a", "bv": True, "v": 1}],
        '[{"n": "a", "t": 1e99999, "v": 1}]',
    ],
)
def test_senml_that_must_not_be_used_is_not(pack: Any) -> None:
    ear = sensing("senml")
    assert ear.ingest("senml/x", encoded(pack), NOW) == 0
    assert ear.counts()["malformed"] == 1


def test_plain_json_is_keyed_by_path() -> None:
    assert heard(
        "plain-json",
        (
            "sensors/lab",
            {"env": {"temperature": 21.5, "deep": {"x": 1}}, "level": [1, 2], "ok": True},
        ),
        values={"env.temperature": ValueFacts(name="air", quantity="temperature", unit="°C")},
    ) == {
        "lab air": "21.5 °C",
        "lab env deep x": "1",
        "lab level 1": "1",
        "lab level 2": "2",
        "lab ok": "on",
    }


def test_plain_topics_name_device_and_quantity_by_their_last_levels() -> None:
    assert heard("plain-number", ("sensors/hall/pump-07/pressure", "4.20")) == {
        "hall pump-07 pressure": "4.20"
    }
    for pattern, topic, name in (
        ("plant/+/temperature", "plant/pump-07/temperature", "pump-07 temperature"),
        ("plant/#", "plant/pump-07/temperature", "pump-07 temperature"),
        ("boiler/temperature", "boiler/temperature", "boiler temperature"),
        ("outside_temperature", "outside_temperature", "outside temperature"),
        ("x/{key}/of/{device}", "x/level/of/tank", "tank level"),
        ("+/+/+", "a/b/c", "a b c"),
    ):
        assert list(heard("plain-number", (topic, "1"), topics=(pattern,))) == [name]


@pytest.mark.parametrize(
    ("payload", "shown"),
    [
        (b"21.50", "21.50"),
        (b" -0.5\n", "-0.5"),
        (b"+3", "+3"),
        (b".5", ".5"),
        (b"1e3", "1e3"),
        (b"0e999", "0e999"),
        (b"007", "007"),
        (b"21.5 \xc2\xb0C", "21.5 °C"),
        (b"40%", "40 %"),
        (b"3.2 bar", "3.2 bar"),
        (b"12 F", "12 °F"),
        (b"12 apples", "12 apples"),
        (b'"open"', "open"),
        (b"ON", "on"),
        (b"False", "off"),
        (b"Stand-by", "Stand-by"),
        (b"123456789012345678901234567890", "1.23456789012e+29"),
        (b"21.49999999999999999999999999", "21.5"),
        (b"21.5\0", "21.5"),  # a text of C with its end
        (b"\xef\xbb\xbf21.5\r\n", "21.5"),
        (b"ON\0\0", "on"),
    ],
)
def test_a_value_stays_as_the_sensor_wrote_it(payload: bytes, shown: str) -> None:
    assert heard("plain-number", ("sensors/a/b", payload)) == {"a b": shown}


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"nan",
        b"NaN",
        b"inf",
        b"-inf",
        b"1e999",
        b"unavailable",
        b"null",
        b"\xff",
        b"x" * 49,
        b"\x00",
        b"9" * 500,
        b"{}",
        b"[1]",
        b"1" * 70000,
    ],
)
def test_what_says_nothing_makes_no_channel(payload: bytes) -> None:
    assert heard("plain-number", ("sensors/a/b", payload)) == {}


def test_states_are_words_by_what_they_are_states_of() -> None:
    for key, sent, word in (
        ("contact", "true", "open"),
        ("door", "OFF", "closed"),
        ("motion", "1", "motion"),
        ("occupancy", "0", "clear"),
        ("water_leak", "true", "leak"),
        ("smoke", "false", "clear"),
        ("valve", "true", "on"),
    ):
        assert heard("plain-number", (f"sensors/x/{key}", sent)) == {f"x {words(key)}": word}


def test_readings_that_no_working_sensor_gives_are_dropped() -> None:
    ear = sensing("zigbee2mqtt")
    for wrong in (-127, 5000):
        assert ear.ingest("zigbee2mqtt/a", encoded({"temperature": wrong}), NOW) == 0
    assert ear.counts()["implausible"] == 2
    assert ear.picture(NOW).channels == ()


@pytest.mark.parametrize(
    ("profile", "topic"),
    [
        ("zigbee2mqtt", "zigbee2mqtt/hall"),
        ("plain-json", "plant/hall/report"),
        ("esphome", "hall/sensor/temperature/state"),
        ("homie", "homie/hall/temperature/temperature"),
    ],
)
def test_the_end_of_a_text_in_c_is_no_part_of_it(profile: str, topic: str) -> None:
    """What sizeof instead of strlen sends: a number would be a word, JSON no JSON."""
    plain = b"\xef\xbb\xbf21.5\0"  # with a byte order mark as well
    payload = b'{"temperature": 21.5}\0' if profile in ("zigbee2mqtt", "plain-json") else plain
    ear = sensing(profile, **({"topics": ("plant/{device}/report",)} if "plain" in profile else {}))
    ear.ingest(topic, payload, NOW)
    assert [(view.name, view.number) for view in ear.picture(NOW).channels] == [
        ("hall temperature", 21.5)
    ]


@pytest.mark.parametrize(
    ("payload", "online"),
    [
        (b"online", True),
        (b"online\0", True),
        (b"Online", True),
        (b'{"state":"online"}', True),
        (b"true", True),
        (b"offline", False),
        (b"Offline", False),
        (b'{"state":"offline"}', False),
        (b"false", False),
        (b"", None),
        (b"\xff", None),
        (b"{", None),
        (b"[]", None),
        (b"{}", None),
    ],
)
def test_availability_is_understood_in_every_dialect(payload: bytes, online: bool | None) -> None:
    assert decode_availability(payload) is online


def test_words_keep_abbreviations() -> None:
    for key, spoken in (
        ("soil_moisture", "soil moisture"),
        ("DewPoint", "dew point"),
        ("CO2", "CO2"),
        ("PM2.5", "PM2.5"),
        ("eCO2", "eCO2"),
        ("env.temperature", "env temperature"),
        ("DS18B20-1", "DS18B20-1"),
    ):
        assert words(key) == spoken


def test_names_are_bounded_printable_and_say_nothing_twice() -> None:
    assert channel_name("outdoor_temperature", "", "temperature") == "outdoor temperature"
    assert channel_name("pump-07", "", "pressure") == "pump-07 pressure"
    assert channel_name("", "", "pressure") == "pressure"
    long = channel_name("x" * 100, "", "pressure")
    assert len(long) == 64
    assert long.endswith(" pressure")
    assert channel_name("a\nb\x1b[2J", "", "p\x07q") == "a b [2J p q"


def test_facts_are_found_by_how_a_name_ends() -> None:
    book = FactBook(
        {"temperature": ValueFacts(unit="°C"), "water_temperature": ValueFacts(unit="°F")}, ("1",)
    )
    assert book.find("x", "pool_water_temperature") == (
        "pool water temperature",
        ValueFacts(unit="°F"),
    )
    assert book.find("x", "Temperature1") == ("temperature 1", ValueFacts(unit="°C"))
    assert book.find("x", "colour") == ("colour", None)


def test_json_numbers_keep_their_text() -> None:
    body = load_json(b'{"a": 21.50, "b": 1E5, "c": -0, "d": ' + b"9" * 5000 + b"}")
    assert [body[key] for key in "abc"] == ["21.50", "1E5", "-0"]
    assert len(body["d"]) == 5000
    assert read_value(body["d"], None) is None
    assert read_value(NumberText("1E5"), None) == ("1E5", 1e5, None)


@pytest.mark.parametrize(
    "payload", [b"[" * 60000, b'{"a":' * 12000, b"NaN", b'{"a": Infinity}', b"\xff"]
)
def test_hostile_json_is_an_ordinary_error(payload: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        load_json(payload)


def test_one_message_cannot_flood_the_window() -> None:
    body = encoded({f"k{n}": n for n in range(5000)})
    assert len(new_decoder("json")(Origin("a", ""), body, NOW)) == MAX_READINGS


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=20,
)
KEYS = st.sampled_from(
    ["bn", "bt", "bu", "bv", "bs", "bver", "n", "u", "v", "vs", "vb", "s", "t", "ut", "x_"]
)
SHAPED = st.one_of(
    JSON,
    st.lists(st.dictionaries(KEYS, JSON, max_size=5), max_size=4),
    st.fixed_dictionaries({"method": st.just("NotifyStatus"), "params": JSON}),
    st.fixed_dictionaries({"StatusSNS": JSON, "TempUnit": JSON}),
)
PAYLOADS = (
    st.binary(max_size=60)
    | st.text(max_size=40).map(lambda text: text.encode("utf-8", "replace"))
    | SHAPED.map(lambda body: json.dumps(body).encode())
)
DEVICES = st.text(max_size=12)


@given(st.sampled_from(get_args(Decoder)), DEVICES, DEVICES, PAYLOADS)
def test_any_payload_is_readings_or_a_value_error(
    name: Any, device: str, key: str, payload: bytes
) -> None:
    try:
        readings = list(new_decoder(name)(Origin(device, key), payload, NOW))
    except ValueError:
        return
    assert len(readings) <= MAX_READINGS
    for reading in readings:
        assert not isinstance(reading, Presence)
        value = read_value(reading.raw, None)
        assert value is None or (value.text and value.text.isprintable())


EAR = Sensing(
    Config(
        sensors=tuple(
            SensorSource(LIBRARY.sensor(name), diagnostics=True)
            for name in LIBRARY.names("sensors")
        ),
        context=ContextSettings(max_channels=50),
    )
)
TOPICS = st.one_of(
    st.text(max_size=30),
    st.builds(
        str.format,
        st.sampled_from(
            [
                "zigbee2mqtt/{}",
                "zigbee2mqtt/{}/availability",
                "tele/{}/SENSOR",
                "tele/{}/STATE",
                "tele/{}/LWT",
                "{}/events/rpc",
                "{}/status/{}",
                "senml/{}",
                "sensors/{}/{}",
                "{}/sensor/{}/state",
            ]
        ),
        DEVICES,
        DEVICES,
    ),
)


@given(TOPICS, PAYLOADS, st.floats(0, 4e9))
def test_nothing_that_arrives_raises_or_grows_without_bound(
    topic: str, payload: bytes, at: float
) -> None:
    EAR.ingest(topic, payload, at)
    views = EAR.picture(at).channels
    assert len(views) <= 50
    for view in views:
        assert view.name == clean(view.name, 64)
        assert view.text
        assert view.text.isprintable()
        assert view.unit == clean(view.unit, 16)
    assert all(problem.isprintable() for problem in EAR.take_problems())
