"""Messages of Zigbee2MQTT, and the channels that a person then sees.

The structures are those of the firmware's documentation and of what its users show in public, which
the profile names; the values are made up.
"""

from __future__ import annotations

from typing import Any

import pytest
from hearing import NOW, encoded, heard, sensing

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
    "radar": (
        {"presence": True, "target_distance": 1.45, "detection_delay": 0.1, "illuminance": 12},
        {
            "radar presence": "present",
            "radar target distance": "1.45 m",
            "radar illuminance": "12 lx",
        },
    ),
    "flower": (
        {"dry": False, "soil_moisture": 31, "temperature_unit": "celsius", "battery_voltage": 2900},
        {"flower soil": "moist", "flower soil moisture": "31 %"},
    ),
    "thermometer with alarms": (
        {
            "temperature": 21.2,
            "max_temperature_alarm": 39,
            "temperature_alarm": "cancel",
            "open_window_temperature": 5,
            "button_lock": "OFF",
            "update": {"state": "updating", "progress": 12.5, "remaining": 600},
        },
        {
            "thermometer with alarms temperature": "21.2 °C",
            "thermometer with alarms temperature alarm": "cancel",
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
