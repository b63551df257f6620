"""Messages as firmwares send them, and the channels that a person then sees.

The structures are those of the firmwares' documentation, which the profiles name; the values are
made up.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgespike.config import Config, ContextSettings, SensorSource
from edgespike.profiles import ProfileLibrary
from edgespike.sensing import Sensing

LIBRARY = ProfileLibrary()
NOW = 1_700_000_000.0


def sensing(profile: str, **source: Any) -> Sensing:
    sources = (SensorSource(LIBRARY.sensor(profile), **source),)
    return Sensing(Config(sensors=sources, context=ContextSettings(max_channels=400)))


def encoded(payload: Any) -> bytes:
    if isinstance(payload, bytes):
        return payload
    return (payload if isinstance(payload, str) else json.dumps(payload)).encode()


def heard(profile: str, *messages: tuple[str, Any], **source: Any) -> dict[str, str]:
    """The channels after some messages: name -> value and unit."""
    ear = sensing(profile, **source)
    for topic, payload in messages:
        ear.ingest(topic, encoded(payload), NOW)
    assert ear.counts().get("malformed", 0) == 0
    return {view.name: f"{view.text} {view.unit}".strip() for view in ear.picture(NOW).channels}


ZIGBEE2MQTT: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "office/desk plug": (
        {
            "child_lock": "UNLOCK",
            "current": 0.31,
            "energy": 12.45,
            "indicator_mode": "off/on",
            "linkquality": 152,
            "power": 61,
            "power_outage_memory": "restore",
            "state": "ON",
            "update": {"installed_version": 192, "latest_version": 192, "state": "idle"},
            "update_available": None,
            "voltage": 231,
        },
        {
            "office desk plug current": "0.31 A",
            "office desk plug energy": "12.45 kWh",
            "office desk plug power": "61 W",
            "office desk plug state": "on",
            "office desk plug voltage": "231 V",
        },
    ),
    "bedroom_trv": (
        {
            "anti_scaling": "ON",
            "away_mode": "OFF",
            "away_preset_temperature": 15,
            "battery": 62,
            "boost_time": 300,
            "child_lock": "UNLOCK",
            "comfort_temperature": 20,
            "current_heating_setpoint": 19.5,
            "local_temperature": 18.7,
            "local_temperature_calibration": -1,
            "max_temperature": 35,
            "position": 40,
            "preset": "manual",
            "running_state": "heat",
            "schedule_monday": "06:00/20 11:20/20 12:40/20 22:00/15",
            "system_mode": "auto",
            "window_open": False,
        },
        {
            "bedroom trv battery": "62 %",
            "bedroom trv setpoint": "19.5 °C",
            "bedroom trv temperature": "18.7 °C",
            "bedroom trv position": "40 %",
            "bedroom trv preset": "manual",
            "bedroom trv heating": "heat",
            "bedroom trv mode": "auto",
            "bedroom trv window": "closed",
        },
    ),
    "hall motion": (
        {
            "battery": 100,
            "device_temperature": 24,
            "illuminance": 12000,
            "illuminance_lux": 16,
            "linkquality": 87,
            "motion_sensitivity": "medium",
            "occupancy": True,
            "occupancy_timeout": 60,
            "voltage": 3100,
        },
        {
            "hall motion battery": "100 %",
            "hall motion illuminance": "16 lx",
            "hall motion occupancy": "motion",
        },
    ),
    "front door": (
        {"battery": 88, "contact": False, "linkquality": 51, "tamper": False, "voltage": 2985},
        {"front door battery": "88 %", "front door contact": "open", "front door tamper": "ok"},
    ),
    "washing room leak": (
        {"battery_low": False, "water_leak": True, "tamper": None, "trigger_count": 3},
        {"washing room leak battery state": "ok", "washing room leak water leak": "leak"},
    ),
    "air": (
        {
            "co2": 812,
            "formaldehyd": 0.02,
            "humidity": 44.1,
            "pm25": 4,
            "temperature": 22.3,
            "voc": 55,
            "voc_index": 102,
            "air_quality": "good",
            "noise": 41,
            "hcho": 3,
        },
        {
            "air CO2": "812 ppm",
            "air formaldehyde": "0.02 mg/m³",
            "air formaldehyde 2": "3 mg/m³",
            "air humidity": "44.1 %",
            "air PM2.5": "4 µg/m³",
            "air temperature": "22.3 °C",
            "air VOC": "55 ppb",
            "air VOC index": "102",
            "air quality": "good",
            "air noise level": "41 dB",
        },
    ),
    "main meter": (
        {
            "ac_frequency": 50.01,
            "current_phase_b": 1.2,
            "energy": 5120.55,
            "power": -350,
            "power_phase_a": 120.5,
            "produced_energy": 811.2,
            "voltage_phase_c": 229.8,
        },
        {
            "main meter frequency": "50.01 Hz",
            "main meter current phase B": "1.2 A",
            "main meter energy": "5120.55 kWh",
            "main meter power": "-350 W",
            "main meter power phase A": "120.5 W",
            "main meter produced energy": "811.2 kWh",
            "main meter voltage phase C": "229.8 V",
        },
    ),
    "relay box": (
        {"state_l1": "ON", "state_l2": "OFF", "state_l3": "ON", "power_l1": 5.5, "linkquality": 9},
        {
            "relay box state l1": "on",
            "relay box state l2": "off",
            "relay box state l3": "on",
            "relay box power l1": "5.5 W",
        },
    ),
    "living room lights": (  # a group
        {
            "brightness": 254,
            "color": {"hue": 30, "saturation": 80, "x": 0.45, "y": 0.41},
            "color_mode": "color_temp",
            "color_temp": 370,
            "state": "ON",
        },
        {"living room lights brightness": "254", "living room lights state": "on"},
    ),
    "remote": (
        {"action": "on_press", "battery": 74, "operation_mode": "command"},
        {"remote action": "on_press", "remote battery": "74 %"},
    ),
    "blind": (
        {"position": 35, "state": "OPEN", "motor_state": "stopped", "tilt": None},
        {
            "blind position": "35 %",
            "blind state": "open",
            "blind motor state": "stopped",
        },
    ),
    "smoke kitchen": (
        {"battery": 91, "smoke": False, "smoke_density": 0.02, "test": False, "alarm": False},
        {
            "smoke kitchen battery": "91 %",
            "smoke kitchen smoke": "clear",
            "smoke kitchen smoke density": "0.02",
            "smoke kitchen alarm": "clear",
        },
    ),
    "lock": ({"lock_state": "locked", "state": "LOCK"}, {"lock": "locked", "lock state": "LOCK"}),
}


@pytest.mark.parametrize("device", ZIGBEE2MQTT)
def test_zigbee2mqtt_devices_of_many_kinds(device: str) -> None:
    payload, channels = ZIGBEE2MQTT[device]
    assert heard("zigbee2mqtt", (f"zigbee2mqtt/{device}", payload)) == channels


def test_zigbee2mqtts_bridge_says_nothing_but_that_it_is_there() -> None:
    ear = sensing("zigbee2mqtt")
    ear.ingest("zigbee2mqtt/hall", b'{"temperature": 21}', NOW)
    for name, payload in {
        "info": {"version": "2.1.0", "config": {"mqtt": {"base_topic": "zigbee2mqtt"}}},
        "devices": [{"friendly_name": "hall", "definition": {"exposes": []}}],
        "groups": [],
        "event": {"type": "device_announce", "data": {"friendly_name": "hall"}},
        "logging": {"level": "info", "message": "MQTT publish"},
        "health": {"response_time": 1, "healthy": True},
        "response/permit_join": {"status": "ok"},
    }.items():
        assert ear.ingest(f"zigbee2mqtt/bridge/{name}", encoded(payload), NOW) == 0
    (view,) = ear.picture(NOW).channels
    assert not view.stale
    ear.ingest("zigbee2mqtt/bridge/state", b'{"state":"offline"}', NOW)
    assert ear.picture(NOW + 5).channels[0].offline_s == 5


@pytest.mark.parametrize("offline", [b"offline", b'{"state":"offline"}'])
def test_zigbee2mqtt_availability_old_and_new(offline: bytes) -> None:
    ear = sensing("zigbee2mqtt")
    ear.ingest("zigbee2mqtt/cellar/freezer", b'{"temperature": -18}', NOW)
    ear.ingest("zigbee2mqtt/cellar/freezer/availability", offline, NOW + 1)
    assert ear.picture(NOW + 2).channels[0].offline_s == 1
    ear.ingest("zigbee2mqtt/cellar/freezer/availability", offline.replace(b"ff", b"n"), NOW + 3)
    assert ear.picture(NOW + 4).channels[0].offline_s is None


def test_every_push_of_a_button_counts() -> None:
    ear = sensing("zigbee2mqtt")
    for second, action in enumerate(("single", "", "single", "", "double")):
        ear.ingest("zigbee2mqtt/button", encoded({"action": action}), NOW + second)
    (view,) = ear.picture(NOW + 10).channels
    assert (view.text, view.age_s, view.since_s, view.changes) == ("double", 6, 6, 3)


TASMOTA: dict[str, tuple[tuple[tuple[str, Any], ...], dict[str, str]]] = {
    "a plug with a meter": (
        (
            (
                "tele/plug/SENSOR",
                {
                    "Time": "2026-01-05T10:00:00",
                    "ENERGY": {
                        "TotalStartTime": "2024-11-01T09:12:31",
                        "Total": 101.331,
                        "Yesterday": 0.412,
                        "Today": 0.133,
                        "Period": 4,
                        "Power": 52,
                        "ApparentPower": 63,
                        "ReactivePower": 35,
                        "Factor": 0.83,
                        "Voltage": 229,
                        "Current": 0.273,
                    },
                    "ESP32": {"Temperature": 48.9},
                    "TempUnit": "C",
                },
            ),
            (
                "tele/plug/STATE",
                {
                    "Time": "2026-01-05T10:00:00",
                    "Uptime": "12T03:44:55",
                    "UptimeSec": 1050295,
                    "Heap": 143,
                    "SleepMode": "Dynamic",
                    "Sleep": 50,
                    "LoadAvg": 19,
                    "MqttCount": 3,
                    "Berry": {"HeapUsed": 4, "Objects": 43},
                    "POWER": "ON",
                    "Wifi": {
                        "AP": 1,
                        "SSId": "home",
                        "BSSId": "00:11:22:33:44:55",
                        "Channel": 6,
                        "Mode": "11n",
                        "RSSI": 72,
                        "Signal": -64,
                        "LinkCount": 1,
                        "Downtime": "0T00:00:03",
                    },
                },
            ),
            ("tele/plug/INFO1", {"Info1": {"Module": "Nous A1T", "Version": "14.2.0"}}),
            ("tele/plug/UPTIME", {"Time": "2026-01-05T10:00:00", "Uptime": "12T03:44:55"}),
        ),
        {
            "plug energy total": "101.331 kWh",
            "plug energy yesterday": "0.412 kWh",
            "plug energy today": "0.133 kWh",
            "plug power": "52 W",
            "plug apparent power": "63 VA",
            "plug reactive power": "35 var",
            "plug power factor": "0.83",
            "plug voltage": "229 V",
            "plug current": "0.273 A",
            "plug power state": "on",
        },
    ),
    "a meter of three phases": (
        (
            (
                "tele/mains/SENSOR",
                {
                    "ENERGY": {
                        "Total": 812.5,
                        "Power": [120, 0, 2210],
                        "Voltage": [230, 231, 229],
                        "Current": [0.6, 0.0, 9.62],
                    }
                },
            ),
        ),
        {
            "mains energy total": "812.5 kWh",
            "mains power 1": "120 W",
            "mains power 2": "0 W",
            "mains power 3": "2210 W",
            "mains voltage 1": "230 V",
            "mains voltage 2": "231 V",
            "mains voltage 3": "229 V",
            "mains current 1": "0.6 A",
            "mains current 2": "0.0 A",
            "mains current 3": "9.62 A",
        },
    ),
    "sensors in degrees Fahrenheit": (
        (
            (
                "tele/attic/SENSOR",
                {
                    "AM2301": {"Temperature": 70.2, "Humidity": 41.0, "DewPoint": 45.4},
                    "TempUnit": "F",
                },
            ),
            ("tele/attic/LWT", "Online"),
        ),
        {
            "attic temperature": "70.2 °F",
            "attic humidity": "41.0 %",
            "attic dew point": "45.4 °F",
        },
    ),
    "a smart meter by script": (
        (
            (
                "tele/meter/SENSOR",
                {"MT175": {"Total_in": 14203.55, "Power_curr": 312, "Meter_id": "0901454D48"}},
            ),
        ),
        {
            "meter energy imported": "14203.55 kWh",
            "meter power": "312 W",
        },
    ),
    "switches, a shutter and a counter": (
        (
            (
                "tele/box/SENSOR",
                {
                    "Switch1": "ON",
                    "Switch2": "OFF",
                    "COUNTER": {"C1": 1207},
                    "Shutter1": {"Position": 80, "Direction": 0, "Target": 80, "Tilt": 0},
                },
            ),
            ("stat/box/POWER1", "OFF"),
            ("stat/box/RESULT", {"POWER2": "ON"}),
            ("stat/box/RESULT", {"TelePeriod": 300}),
            ("stat/box/RESULT", {"Rule1": {"State": "ON", "Once": "OFF", "Free": 500}}),
            ("stat/box/STATUS", {"Status": {"Module": 0, "Power": "01"}}),
            ("stat/box/STATUS11", {"StatusSTS": {"UptimeSec": 5, "POWER3": "ON", "Dimmer": 30}}),
            ("stat/box/LOGGING", "10:00:00 MQT: stat/box/RESULT"),
        ),
        {
            "box switch 1": "on",
            "box switch 2": "off",
            "box counter 1": "1207",
            "box shutter 1 position": "80 %",
            "box power state 1": "off",
            "box power state 2": "on",
            "box power state 3": "on",
            "box brightness": "30 %",
        },
    ),
    "air quality": (
        (
            (
                "tele/air/SENSOR",
                {
                    "MHZ19B": {"Model": "B", "CarbonDioxide": 634, "Temperature": 25.0},
                    "SGP30": {"eCO2": 512, "TVOC": 12, "aHumidity": 9.1},
                    "PMS5003": {"CF1": 3, "CF2.5": 5, "PM1": 3, "PM2.5": 5, "PB0.3": 640},
                    "BH1750": {"Illuminance": 120},
                    "TempUnit": "C",
                },
            ),
        ),
        {
            "air CO2": "634 ppm",
            "air temperature": "25.0 °C",
            "air estimated CO2": "512 ppm",
            "air VOC": "12 ppb",
            "air absolute humidity": "9.1 g/m³",
            "air PM1": "3 µg/m³",
            "air PM2.5": "5 µg/m³",
            "air illuminance": "120 lx",
        },
    ),
    "a Zigbee bridge": (
        (
            (
                "tele/zb/SENSOR",
                {
                    "ZbReceived": {
                        "0x99E3": {
                            "Device": "0x99E3",
                            "Name": "kitchen",
                            "Temperature": 21.5,
                            "Humidity": 40.1,
                            "Endpoint": 1,
                            "LinkQuality": 120,
                        }
                    }
                },
            ),
            ("tele/zb/SENSOR", {"ZbReceived": {"0x1A2B": {"Contact": 1, "LinkQuality": 9}}}),
        ),
        {
            "zb kitchen temperature": "21.5 °C",
            "zb kitchen humidity": "40.1 %",
            "zb 0x1A2B contact": "open",
        },
    ),
}


@pytest.mark.parametrize("case", TASMOTA)
def test_tasmota_devices_of_many_kinds(case: str) -> None:
    messages, channels = TASMOTA[case]
    assert heard("tasmota", *messages) == channels


def test_a_second_sensor_of_a_kind_doesnt_rename_the_first() -> None:
    one = {"AM2301": {"Temperature": 20.5}}
    two = one | {"BMP280": {"Temperature": 21.0}, "DS18B20-1": {"Temperature": 8.0}}
    ear = sensing("tasmota")
    for body in (one, two, one, two):
        ear.ingest("tele/attic/SENSOR", encoded(body), NOW)
    assert {view.name: view.text for view in ear.picture(NOW).channels} == {
        "attic temperature": "20.5",
        "attic BMP280 temperature": "21.0",
        "attic DS18B20-1 temperature": "8.0",
    }
    apart = sensing("tasmota")
    for sensor, number in (("AM2301", 20.5), ("BMP280", 21.0)):
        apart.ingest("tele/attic/SENSOR", encoded({sensor: {"Temperature": number}}), NOW)
    names = [view.name for view in apart.picture(NOW).channels]
    assert names == ["attic BMP280 temperature", "attic temperature"]


ESPHOME = {
    "office/sensor/office_temperature/state": ("21.35", "office temperature", "21.35 °C"),
    "office/sensor/outside_humidity/state": ("87.0", "office outside humidity", "87.0 %"),
    "office/sensor/pump_power/state": ("412.5", "office pump power", "412.5 W"),
    "office/sensor/total_daily_energy/state": ("1.204", "office total daily energy", "1.204 kWh"),
    "office/sensor/bme680_pressure/state": ("1003.1", "office bme680 pressure", "1003.1 hPa"),
    "office/sensor/pm_2_5/state": ("6", "office PM2.5", "6 µg/m³"),
    "office/binary_sensor/hall_motion/state": ("ON", "office hall motion", "motion"),
    "office/binary_sensor/front_door/state": ("OFF", "office front door", "closed"),
    "office/binary_sensor/washer_leak/state": ("ON", "office washer leak", "leak"),
    "office/binary_sensor/doorbell/state": ("OFF", "office doorbell", "off"),
    "office/switch/relay_1/state": ("ON", "office relay 1", "on"),
    "office/text_sensor/last_reset/state": ("Power on", "office last reset", "Power on"),
    "office/number/target_level/state": ("55", "office target level", "55 %"),
    "office/select/fan_mode/state": ("Eco", "office fan mode", "Eco"),
    "office/lock/gate/state": ("LOCKED", "office gate", "locked"),
    "office/cover/blind/state": ("open", "office blind", "open"),
    "office/cover/blind/position/state": ("40", "office blind position", "40 %"),
    "office/climate/heating/mode/state": ("heat", "office heating mode", "heat"),
    "office/climate/heating/current_temperature/state": (
        "20.1",
        "office heating temperature",
        "20.1 °C",
    ),
    "office/climate/heating/target_temperature/state": ("21", "office heating setpoint", "21 °C"),
}


@pytest.mark.parametrize("topic", ESPHOME)
def test_esphome_entities_of_many_kinds(topic: str) -> None:
    payload, name, shown = ESPHOME[topic]
    assert heard("esphome", (topic, payload)) == {name: shown}


def test_esphome_says_nothing_where_there_is_nothing_to_say() -> None:
    silent = ("office/sensor/co2/state", "nan"), ("office/debug", "\x1b[0;36m[D][sensor:093]")
    assert heard("esphome", *silent, ("office/sensor/ip_address/state", "192.0.2.7")) == {}


def test_an_esphome_light_is_an_object() -> None:
    light = {
        "color_mode": "rgb",
        "state": "ON",
        "brightness": 128,
        "color": {"r": 255, "g": 120, "b": 0},
    }
    assert heard("esphome", ("office/light/lamp/state", light)) == {
        "office lamp state": "on",
        "office lamp brightness": "128",
    }


def test_an_esphome_nodes_will_counts_for_all_its_entities() -> None:
    ear = sensing("esphome")
    ear.ingest("office/sensor/co2/state", b"600", NOW)
    ear.ingest("office/climate/heating/mode/state", b"heat", NOW)
    ear.ingest("office/status", b"offline", NOW)
    assert [view.offline_s for view in ear.picture(NOW + 9).channels] == [9, 9]
    ear.ingest("office/status", b"online", NOW + 10)
    assert not any(view.stale for view in ear.picture(NOW + 11).channels)


SHELLY: dict[str, tuple[tuple[tuple[str, Any], ...], dict[str, str]]] = {
    "a full status, then a part of it": (
        (
            (
                "shellyplus1pm-a8032ab1/events/rpc",
                {
                    "src": "shellyplus1pm-a8032ab1",
                    "dst": "shellyplus1pm-a8032ab1/events",
                    "method": "NotifyFullStatus",
                    "params": {
                        "ts": 1700000000.1,
                        "ble": {},
                        "cloud": {"connected": False},
                        "input:0": {"id": 0, "state": False},
                        "mqtt": {"connected": True},
                        "switch:0": {
                            "id": 0,
                            "source": "init",
                            "output": True,
                            "apower": 8.9,
                            "voltage": 237.5,
                            "freq": 50.0,
                            "current": 0.047,
                            "pf": 0.8,
                            "aenergy": {
                                "total": 6.532,
                                "by_minute": [45.199, 47.141, 88.397],
                                "minute_ts": 1700000000,
                            },
                            "temperature": {"tC": 23.5, "tF": 74.4},
                        },
                        "sys": {"mac": "A8032AB1", "uptime": 11, "available_updates": {}},
                        "wifi": {"sta_ip": "192.0.2.9", "status": "got ip", "rssi": -62},
                    },
                },
            ),
            (
                "shellyplus1pm-a8032ab1/events/rpc",
                {
                    "src": "shellyplus1pm-a8032ab1",
                    "method": "NotifyStatus",
                    "params": {"ts": 1700000010.5, "switch:0": {"id": 0, "apower": 9.4}},
                },
            ),
        ),
        {
            "shellyplus1pm-a8032ab1 input": "off",
            "shellyplus1pm-a8032ab1 switch": "on",
            "shellyplus1pm-a8032ab1 power": "9.4 W",
            "shellyplus1pm-a8032ab1 voltage": "237.5 V",
            "shellyplus1pm-a8032ab1 frequency": "50.0 Hz",
            "shellyplus1pm-a8032ab1 current": "0.047 A",
            "shellyplus1pm-a8032ab1 power factor": "0.8",
            "shellyplus1pm-a8032ab1 energy total": "6.532 Wh",
        },
    ),
    "a sensor on a battery": (
        (
            (
                "ht/events/rpc",
                {
                    "src": "ht",
                    "method": "NotifyFullStatus",
                    "params": {
                        "ts": 1700000000.1,
                        "devicepower:0": {
                            "id": 0,
                            "battery": {"V": 5.31, "percent": 64},
                            "external": {"present": False},
                        },
                        "humidity:0": {"id": 0, "rh": 55.2},
                        "temperature:0": {"id": 0, "tC": 19.6, "tF": 67.3},
                        "ht_ui": {},
                    },
                },
            ),
        ),
        {"ht battery": "64 %", "ht humidity": "55.2 %", "ht temperature": "19.6 °C"},
    ),
    "a meter of three phases": (
        (
            (
                "pro3em/status/em:0",
                {
                    "id": 0,
                    "a_current": 4.029,
                    "a_voltage": 236.1,
                    "a_act_power": 951.2,
                    "a_aprt_power": 951.9,
                    "a_pf": 1,
                    "a_freq": 50,
                    "n_current": None,
                    "total_current": 11.116,
                    "total_act_power": 2484.782,
                    "total_aprt_power": 2486.7,
                    "user_calibrated_phase": [],
                },
            ),
            ("pro3em/status/emdata:0", {"id": 0, "total_act": 1204.5, "total_act_ret": 3.1}),
        ),
        {
            "pro3em current phase A": "4.029 A",
            "pro3em voltage phase A": "236.1 V",
            "pro3em power phase A": "951.2 W",
            "pro3em power factor phase A": "1",
            "pro3em frequency": "50 Hz",
            "pro3em current total": "11.116 A",
            "pro3em power total": "2484.782 W",
            "pro3em apparent power total": "2486.7 VA",
            "pro3em energy total": "1204.5 Wh",
            "pro3em energy returned": "3.1 Wh",
        },
    ),
    "two meters of one phase, and one alone": (
        (
            ("em50/status/em1:0", {"id": 0, "current": 0.08, "act_power": 0, "voltage": 234.9}),
            ("em50/status/em1:1", {"id": 1, "current": 2.598, "act_power": 501.8, "freq": 50}),
            ("em50/status/em1data:0", {"id": 0, "total_act_energy": 12.25}),
            ("mini/status/pm1:0", {"id": 0, "apower": 77.1, "aenergy": {"total": 9.5}}),
        ),
        {
            "em50 current": "0.08 A",
            "em50 power": "0 W",
            "em50 voltage": "234.9 V",
            "em50 current 1": "2.598 A",
            "em50 power 1": "501.8 W",
            "em50 frequency 1": "50 Hz",
            "em50 energy total": "12.25 Wh",
            "mini power": "77.1 W",
            "mini energy total": "9.5 Wh",
        },
    ),
    "a cover, a dimmer, leaks and smoke": (
        (
            (
                "shutter/status/cover:0",
                {
                    "id": 0,
                    "state": "opening",
                    "apower": 110.5,
                    "current_pos": 40,
                    "target_pos": 100,
                },
            ),
            ("dim/status/light:0", {"id": 0, "output": True, "brightness": 45.0}),
            ("f/status/flood:0", {"id": 0, "alarm": False, "mute": False}),
            ("s/status/smoke:0", {"id": 0, "alarm": True, "mute": False}),
            ("uni/status/voltmeter:100", {"id": 100, "voltage": 3.321, "xvoltage": None}),
            ("uni/status/input:2", {"id": 2, "counts": {"total": 77, "by_minute": [1, 2, 3]}}),
        ),
        {
            "shutter cover": "opening",
            "shutter power": "110.5 W",
            "shutter cover position": "40 %",
            "dim light": "on",
            "dim brightness": "45.0 %",
            "f water leak": "dry",
            "s smoke": "smoke",
            "uni voltmeter 100": "3.321 V",
            "uni input count 2": "77",
        },
    ),
    "a push of a button": (
        (
            (
                "i4/events/rpc",
                {
                    "src": "i4",
                    "method": "NotifyEvent",
                    "params": {
                        "ts": 1700000000.1,
                        "events": [
                            {"component": "input:3", "id": 3, "event": "single_push", "ts": 1.7e9},
                            {"component": "sys", "event": "scheduled_restart", "time_ms": 435},
                        ],
                    },
                },
            ),
        ),
        {"i4 button 3": "single_push"},
    ),
}


@pytest.mark.parametrize("case", SHELLY)
def test_shelly_devices_of_many_kinds(case: str) -> None:
    messages, channels = SHELLY[case]
    assert heard("shelly", *messages) == channels


def test_a_shelly_that_goes_away_is_known_since_when() -> None:
    ear = sensing("shelly")
    ear.ingest("plug/status/switch:0", b'{"id": 0, "output": true}', NOW)
    ear.ingest("plug/online", b"false", NOW + 2)
    assert ear.picture(NOW + 10).channels[0].offline_s == 8


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


def test_home_assistants_statestream() -> None:
    assert heard(
        "statestream",
        ("homeassistant/sensor/living_room_temperature/state", "21.4"),
        ("homeassistant/binary_sensor/porch_motion/state", "on"),
        ("homeassistant/light/desk/state", "unavailable"),
        ("homeassistant/cover/garage_door/state", "closed"),
        ("homeassistant/sensor/living_room_temperature/unit_of_measurement", '"°C"'),
    ) == {
        "living room temperature": "21.4 °C",
        "porch motion": "motion",
        "garage door": "closed",
    }
