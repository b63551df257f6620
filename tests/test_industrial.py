"""SenML in CBOR, and Sparkplug B: what plants send."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire import (
    BOOLEAN,
    DOUBLE,
    FLOAT,
    INT8,
    INT32,
    INT64,
    STRING,
    UINT64,
    Half,
    Single,
    cbor,
    metric,
    payload,
    proto,
)

from edgespike.config import Config, ContextSettings, SensorSource
from edgespike.profiles import ProfileLibrary
from edgespike.sensing import Sensing
from edgespike.sensing.decoders import MAX_READINGS, Origin, Presence, new_decoder
from edgespike.sensing.decoders.cbor import load_cbor
from edgespike.sensing.decoders.protobuf import fields
from edgespike.sensing.decoders.sparkplug import MAX_MEMBERS, Sparkplug

LIBRARY = ProfileLibrary()
NOW = 1_700_000_000.0


def sensing(profile: str, **source: Any) -> Sensing:
    sources = (SensorSource(LIBRARY.sensor(profile), **source),)
    return Sensing(Config(sensors=sources, context=ContextSettings(max_channels=100)))


def shown(ear: Sensing, now: float = NOW) -> dict[str, str]:
    return {view.name: f"{view.text} {view.unit}".strip() for view in ear.picture(now).channels}


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ("00", "0"),
        ("1818", "24"),
        ("1903e8", "1000"),
        ("1bffffffffffffffff", "18446744073709551615"),
        ("20", "-1"),
        ("3903e7", "-1000"),
        ("f93e00", "1.5"),
        ("f97bff", "65504"),
        ("fa47c35000", "100000"),
        ("fb3ff199999999999a", "1.1"),
        ("f4", False),
        ("f6", None),
        ("6449455446", "IETF"),
        ("4401020304", b"\x01\x02\x03\x04"),
        ("83010203", ["1", "2", "3"]),
        ("a201020304", {"1": "2", "3": "4"}),
        ("9f018202039f0405ffff", ["1", ["2", "3"], ["4", "5"]]),
        ("7f657374726561646d696e67ff", "streaming"),
        ("bf61610161629f0203ffff", {"a": "1", "b": ["2", "3"]}),
        ("c48221196ab3", "273.15"),
        ("c11a514b67b0", "1363896240"),
    ],
)
def test_cbor_items(data: str, value: Any) -> None:
    """Most are examples of RFC 8949, appendix A, and its decimal fraction of section 3.4.4."""
    assert load_cbor(bytes.fromhex(data)) == value


@pytest.mark.parametrize(
    "data",
    [
        "", "18", "1c", "f97e00", "f97c00", "fb7ff0000000000000", "ff", "9f", "bf61", "0001",
        "5f6161ff", "82", "9bffffffffffffffff", "bbffffffffffffffff", "5bffffffffffffffff",
        "62c328", "f0", "a18001", "a2010201ff", "a2616101616102", "c48201", "c482191000", "bf01ff",
        "7f00ff", "a1f601", "81" * 20 + "00", "c1" * 20 + "00", "9f" * 5000,
        "c4821a7fffffff01", "81ff",
    ],
)  # fmt: skip
def test_bad_cbor_is_an_ordinary_error(data: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        load_cbor(bytes.fromhex(data))


ITEMS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.binary(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=6) | st.integers(-9, 9), inner, max_size=4)
    ),
    max_leaves=12,
)


def plain(value: Any) -> Any:
    """What JSON's types make of a value, numbers as numbers."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    return value


def numbered(value: Any, like: Any) -> Any:
    """`value` with its number texts as numbers, where `like` has numbers."""
    if isinstance(like, list):
        return [numbered(*pair) for pair in zip(value, like, strict=True)]
    if isinstance(like, dict):
        return {key: numbered(value[key], item) for key, item in like.items()}
    if isinstance(like, int | float) and not isinstance(like, bool):
        return type(like)(value)
    return value


@given(ITEMS)
def test_cbor_round_trips(item: Any) -> None:
    expected = plain(item)
    keys_differ = str(item).count(":") != str(expected).count(":")  # 1 and "1" are one key in JSON
    if not keys_differ:
        assert numbered(load_cbor(cbor(item)), expected) == expected


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_number_of_four_bytes_has_no_more_digits_than_it_needs(number: float) -> None:
    text = load_cbor(cbor(Single(number)))
    assert cbor(Single(float(text) + 0.0)) == cbor(Single(number + 0.0)), "-0 is 0"
    assert len(text.partition("e")[0].replace(".", "").strip("-0")) <= 9


def test_senml_in_cbor_says_the_same_as_in_json() -> None:
    pack = [
        {-2: "urn:dev:ow:10e2073a0108006:", -3: 1.276020076001e9, -4: "A", -1: 5,
         0: "voltage", 1: "V", 2: 120.1},
        {0: "current", 6: -5, 2: Single(1.2)},
        {0: "door", 4: True},
        {0: "mode", 3: "auto"},
        {0: "energy", 5: 7.5, 1: "J"},
        {0: "raw", 8: "aGk"},
        {0: "level", 1: "%EL", 2: Half(0.5)},
    ]  # fmt: skip
    ear = sensing("senml")
    assert ear.ingest("senml/x", cbor(pack), NOW) == 6
    assert shown(ear) == {
        "urn:dev:ow:10e2073a0108006 voltage": "120.1 V",
        "urn:dev:ow:10e2073a0108006 current": "1.2 A",
        "urn:dev:ow:10e2073a0108006 door": "open",
        "urn:dev:ow:10e2073a0108006 mode": "auto",
        "urn:dev:ow:10e2073a0108006 energy total": "7.5 J",
        "urn:dev:ow:10e2073a0108006 level": "0.5 %",
    }


def test_a_senml_name_without_a_value_is_measured_by_its_unit() -> None:
    ear = sensing("senml")
    ear.ingest("senml/x", b'[{"n":"urn:dev:ow:10e2073a01080063","u":"Cel","v":23.1}]', NOW)
    assert shown(ear) == {"urn:dev:ow:10e2073a01080063 temperature": "23.1 °C"}


@pytest.mark.parametrize("pack", [[{5: 1, "x_": 1}], [{-1: 11, 0: "a", 2: 1}], [{0: 5, 2: 1}], [1]])
def test_senml_in_cbor_that_must_not_be_used_is_not(pack: Any) -> None:
    ear = sensing("senml")
    assert ear.ingest("senml/x", cbor(pack), NOW) == 0
    assert ear.counts()["malformed"] == 1


def node(ear: Sensing, kind: str, *metrics: bytes, device: str = "", at: float = NOW) -> int:
    topic = f"spBv1.0/Plant/{kind}/Line1" + (f"/{device}" if device else "")
    return ear.ingest(topic, payload(*metrics, time=at), at)


def born() -> Sensing:
    ear = sensing("sparkplug")
    node(
        ear,
        "NBIRTH",
        metric(3, UINT64, "bdSeq"),
        metric(False, BOOLEAN, "Node Control/Rebirth"),
        metric(41.5, FLOAT, "Supply Voltage", alias=1, unit="V"),
    )
    node(
        ear,
        "DBIRTH",
        metric(21.4, FLOAT, "Motor/Temperature", alias=7, unit="degC"),
        metric(-5, INT8, "Motor/Offset", alias=8),
        metric(True, BOOLEAN, "Motor/Running", alias=9),
        metric("auto", STRING, "Mode", alias=10),
        metric(None, DOUBLE, "Idle", alias=11),
        device="Pump 7",
    )
    return ear


def test_sparkplug_births_define_and_data_follow_by_alias() -> None:
    ear = born()
    assert shown(ear) == {
        "Plant Line1 supply voltage": "41.5 V",
        "Plant Line1 Pump 7 motor temperature": "21.4 °C",
        "Plant Line1 Pump 7 motor offset": "-5",
        "Plant Line1 Pump 7 motor running": "on",
        "Plant Line1 Pump 7 mode": "auto",
    }
    assert (
        node(
            ear,
            "DDATA",
            metric(22.5, FLOAT, alias=7, typed=False),
            metric(-6, INT8, alias=8, typed=False),
            metric(0.25, DOUBLE, "Idle"),
            metric(1, INT32, alias=99),
            metric(99.0, FLOAT, alias=7, historical=True),
            device="Pump 7",
            at=NOW + 10,
        )
        == 3
    )
    values = shown(ear)
    assert values["Plant Line1 Pump 7 motor temperature"] == "22.5 °C"
    assert values["Plant Line1 Pump 7 motor offset"] == "-6"
    assert values["Plant Line1 Pump 7 idle"] == "0.25"
    ages = {view.name: view.age_s for view in ear.picture(NOW + 30).channels}
    assert ages["Plant Line1 Pump 7 motor temperature"] == 20
    assert ages["Plant Line1 Pump 7 motor running"] == 30


def away(ear: Sensing) -> list[str]:
    return [view.name for view in ear.picture(NOW + 99).channels if view.offline_s is not None]


def test_a_dead_device_is_unavailable_until_it_is_born_again() -> None:
    ear = born()
    node(ear, "DDEATH", device="Pump 7", at=NOW + 9)
    assert len(away(ear)) == 4
    assert "Plant Line1 supply voltage" not in away(ear)
    assert {view.offline_s for view in ear.picture(NOW + 99).channels} == {90, None}
    node(ear, "DBIRTH", metric(20.0, FLOAT, "Motor/Temperature", alias=7), device="Pump 7")
    assert away(ear) == []


def test_a_dead_node_takes_its_devices_with_it() -> None:
    ear = born()
    node(ear, "NDEATH", metric(2, UINT64, "bdSeq"))
    assert away(ear) == [], "the will of an earlier birth"
    node(ear, "NDEATH", metric(3, UINT64, "bdSeq"))
    assert len(away(ear)) == 5
    node(ear, "NBIRTH", metric(4, UINT64, "bdSeq"), metric(41.0, FLOAT, "Supply Voltage", alias=1))
    assert len(away(ear)) == 4, "its devices are born after it"
    node(ear, "DBIRTH", metric(20.0, FLOAT, "Motor/Temperature", alias=70), device="Pump 7")
    assert away(ear) == []
    assert node(ear, "DDATA", metric(5.0, FLOAT, alias=7), device="Pump 7") == 0, "an old alias"


def test_a_new_birth_makes_devices_wait_for_theirs() -> None:
    ear = born()
    node(ear, "NBIRTH", metric(4, UINT64, "bdSeq"))
    assert len(away(ear)) == 4


def test_what_comes_before_a_birth_is_read_by_name() -> None:
    ear = sensing("sparkplug")
    assert node(ear, "NDATA", metric(4, INT32, "Level"), metric(5, INT64, alias=3)) == 1
    assert shown(ear) == {"Plant Line1 level": "4"}


def test_one_group_may_be_left_out_of_the_names() -> None:
    ear = sensing("sparkplug", topics=("spBv1.0/Plant/{key}/{device...}",))
    node(ear, "NDATA", metric(4, INT32, "Level"))
    assert shown(ear) == {"Line1 level": "4"}


def test_commands_and_host_states_say_nothing() -> None:
    ear = sensing("sparkplug")
    assert node(ear, "NCMD", metric(True, BOOLEAN, "Node Control/Rebirth")) == 0
    assert ear.ingest("spBv1.0/STATE/scada", b'{"online":true,"timestamp":1}', NOW) == 0
    assert ear.ingest("spBv1.0/Plant/NDATA/Line1", b"\xff\xff", NOW) == 0
    assert ear.counts()["malformed"] == 1


def test_a_clock_that_was_never_set_is_no_time() -> None:
    ear = sensing("sparkplug")
    node(ear, "NDATA", metric(4, INT32, "Level", time=12.0))
    assert ear.picture(NOW + 1).channels[0].age_s == 1


def test_births_without_end_are_not_remembered() -> None:
    decoder = Sparkplug()
    data = payload(*(metric(n, INT32, f"m{n}", alias=n) for n in range(30)))
    for number in range(MAX_MEMBERS + 500):
        decoder.decode(Origin(f"g/n{number}", "NBIRTH"), data, NOW)
    assert decoder._members <= MAX_MEMBERS
    assert decoder._metrics <= 65536
    for number in range(MAX_MEMBERS + 500):
        decoder.decode(Origin(f"g/n{number}", "NBIRTH"), payload(), NOW)
    assert decoder._metrics == 0


MESSAGES = st.one_of(
    st.binary(max_size=80),
    st.lists(
        st.builds(
            proto,
            st.integers(1, 20),
            st.integers(0, 2**64 - 1) | st.binary(max_size=20) | st.floats(),
        ),
        max_size=6,
    ).map(b"".join),
    st.lists(
        st.builds(
            lambda number, value: proto(2, proto(number, value)),
            st.integers(1, 16),
            st.integers(0, 2**64 - 1) | st.binary(max_size=20) | st.floats(),
        ),
        max_size=6,
    ).map(b"".join),
)
KINDS = st.sampled_from(["NBIRTH", "NDATA", "NDEATH", "DBIRTH", "DDATA", "DDEATH", "STATE"])


@given(st.lists(st.tuples(KINDS, st.text(max_size=8), MESSAGES), max_size=5))
def test_any_sparkplug_payload_is_readings_or_a_value_error(
    messages: list[tuple[str, str, bytes]],
) -> None:
    decode = new_decoder("sparkplug")
    for kind, device, data in messages:
        try:
            found = decode(Origin(device, kind), data, NOW)
        except ValueError:
            continue
        readings = [each for each in found if not isinstance(each, Presence)]
        assert len(readings) <= MAX_READINGS


@given(st.binary(max_size=200))
def test_any_bytes_are_fields_or_a_value_error(data: bytes) -> None:
    try:
        total = sum(1 for _ in fields(data))
    except ValueError:
        return
    assert total <= len(data)


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_senml_or_a_value_error(data: bytes, an_array: bool) -> None:
    decode = new_decoder("senml")
    try:
        decode(Origin("d", ""), b"\x82" * an_array + data, NOW)
    except ValueError:
        return


@given(st.lists(st.dictionaries(st.integers(-7, 9), ITEMS, max_size=5), max_size=4))
def test_any_senml_in_cbor_is_readings_or_a_value_error(pack: Any) -> None:
    decode = new_decoder("senml")
    try:
        readings = decode(Origin("d", ""), cbor(pack), NOW)
    except ValueError:
        return
    assert len(readings) <= MAX_READINGS
