"""Messages of no particular firmware, and the channels that a person then sees.

The structures are those of the firmware's documentation and of what its users show in public, which
the profile names; the values are made up.
"""

from __future__ import annotations

from itertools import pairwise

from hearing import NOW, encoded, heard, sensing


def test_a_unit_at_the_end_of_a_key_is_understood() -> None:
    body = {
        "temperature_c": 21.5,
        "outside_temp_f": 50,
        "pressure_hpa": 1003,
        "power_w": 12,
        "flow_lpm": 3.5,
        "battery_mv": 2950,
        "power_c": 7,
        "vitamin_c": 1,
    }
    assert heard("plain-json", ("sensors/lab", body)) == {
        "lab temperature": "21.5 °C",
        "lab outside temperature": "50 °F",
        "lab pressure": "1003 hPa",
        "lab power": "12 W",
        "lab flow": "3.5 l/min",
        "lab battery": "2950 mV",
        "lab power c": "7",
        "lab vitamin c": "1",
    }


def test_plain_json_of_many_shapes() -> None:
    body = {
        "id": "n1",
        "ok": True,
        "off": None,
        "data": {"temp": -3.0, "tanks": [{"level": 80}, {"level": 15}], "mode": "auto"},
    }
    assert heard("plain-json", ("sensors/lab", body)) == {
        "lab ok": "on",
        "lab data temperature": "-3.0",
        "lab data tanks 1 level": "80",
        "lab data tanks 2 level": "15",
        "lab data mode": "auto",
    }
    assert heard("plain-json", ("sensors/list", [{"a": 1}, 2])) == {"list 1 a": "1", "list 2": "2"}


def test_an_object_that_is_a_value_has_the_name_of_its_key_and_its_unit() -> None:
    assert heard(
        "plain-json",
        ("sensors/hut/soc", {"value": 82.5}),
        ("sensors/hut/label", {"value": None}),
        (
            "sensors/lab",
            {
                "temperature": {"value": 21.40, "unit": "C"},
                "humidity": {"value": 40, "unit": "%RH", "quality": "good"},
                "tank": {"value": 3, "limit": 9},
            },
        ),
        ("sensors/lab/pressure", {"value": 1013.2, "unit": "hPa", "ts": 1, "type": "gauge"}),
    ) == {
        "hut state of charge": "82.5 %",
        "lab temperature": "21.4 °C",
        "lab humidity": "40 %",
        "lab tank value": "3",
        "lab tank limit": "9",
        "lab pressure": "1013.2 hPa",
    }


def test_items_of_a_list_are_called_by_their_names() -> None:
    body = {"sensors": [{"name": "attic", "temp": 9.1}, {"name": "attic", "temp": 8}, {"temp": 7}]}
    assert heard("plain-json", ("sensors/house", body)) == {
        "house sensors attic temperature": "9.1",
        "house sensors 2 temperature": "8",
        "house sensors 3 temperature": "7",
    }


CHIRPSTACK = {
    "deduplicationId": "8016",
    "time": "2023-11-14T22:12:20+00:00",
    "deviceInfo": {
        "tenantName": "farm",
        "applicationId": "635fda7b-0428",
        "deviceName": "cellar-1",
        "devEui": "a84041",
        "tags": {},
    },
    "devAddr": "01087309",
    "fCnt": 12,
    "object": {"BatV": 3.297, "TempC_SHT": 24.73, "Hum_SHT": 45.2, "level": {"value": 3}},
    "rxInfo": [{"gatewayId": "2cf7", "rssi": -102, "snr": -12}],
    "txInfo": {"frequency": 867300000},
}
THINGS = {
    "end_device_ids": {"device_id": "barn", "join_eui": "800000000000000C"},
    "received_at": "2023-11-14T22:12:20.787Z",
    "uplink_message": {
        "f_cnt": 52,
        "decoded_payload": {"temperature": 21.5, "battery": 91},
        "rx_metadata": [{"rssi": -35, "snr": 5.2}],
    },
}


def test_uplinks_of_lorawan_are_taken_out_of_their_envelopes() -> None:
    assert heard(
        "plain-json",
        ("application/1/device/a84041/event/up", CHIRPSTACK),
        ("application/1/device/7/event/up", {"deviceName": "old", "object": {"temp": 7}}),
        ("v3/app@ttn/devices/barn/up", THINGS),
        topics=("application/+/device/+/event/up", "v3/+/devices/+/up"),
    ) == {
        "cellar-1 temperature": "24.73 °C",
        "cellar-1 humidity": "45.2 %",
        "cellar-1 level": "3",
        "old temperature": "7",
        "barn temperature": "21.5",
        "barn battery": "91",
    }


def test_what_a_broker_kept_is_as_old_as_it_says() -> None:
    ear = sensing("plain-json", topics=("up/+",))
    ear.ingest("up/a", encoded(CHIRPSTACK), NOW, retained=True)
    assert {view.age_s for view in ear.picture(NOW).channels} == {60}


def test_sensors_that_share_a_topic_stay_apart() -> None:
    one = {"time": "2026-05-21 18:37:27", "model": "Prologue-TH", "id": 11, "temperature_C": 24.30}
    two = {"model": "TPMS", "id": "f5b3", "pressure_kPa": 233.2, "wind_avg_km_h": 2.48}
    assert heard("plain-json", ("rtl/events", one), ("rtl/events", two), topics=("rtl/+",)) == {
        "Prologue-TH 11 temperature": "24.3 °C",
        "TPMS f5b3 pressure": "233.2 kPa",
        "TPMS f5b3 wind avg": "2.48 km/h",
    }
    own = ("ble/C6C752663CBF", {"id": "C6:C7:52:66:3C:BF", "model": "Meter", "tempc": 17.6})
    assert heard("plain-json", own, topics=("ble/+",)) == {"C6C752663CBF temperature": "17.6 °C"}


def test_an_identifier_in_hexadecimal_has_no_unit() -> None:
    assert heard("plain-number", ("sensors/a/eui", "800000000000000C")) == {
        "a eui": "800000000000000C"
    }


def test_a_long_path_keeps_its_end() -> None:
    path = {"service": {"storage": {"media/video/recordings-of-cameras": {"used": 5, "free": 7}}}}
    assert heard("plain-json", ("sensors/nvr", path)) == {
        "nvr media video recordings-of-cameras used": "5",
        "nvr media video recordings-of-cameras free": "7",
    }


def test_what_a_word_after_a_quantity_means() -> None:
    body = {"power_phase_a": 5, "power_outage_count": 3, "energy_total": 7, "package_id_0": 4}
    ear = sensing("plain-json")
    ear.ingest("sensors/m", encoded(body), NOW)
    assert {view.name: view.quantity for view in ear.picture(NOW).channels} == {
        "m power phase a": "power",
        "m power outage count": "",
        "m energy total": "energy",
        "m package id 0": "",
    }


def test_devices_that_name_each_other_make_neither_rings_nor_chains() -> None:
    ear = sensing("senml")
    names = [f"d{number}" for number in range(1500)]
    for topic, named in [*pairwise(names), ("d1", "d0"), ("d2", "d1")]:
        ear.ingest(f"senml/{topic}", encoded([{"n": f"{named}/t", "v": 1}]), NOW)
    assert {view.offline_s for view in ear.picture(NOW).channels} == {None}
