"""Messages of ESPHome, and the channels that a person then sees.

The structures are those of the firmware's documentation and of what its users show in public, which
the profile names; the values are made up.
"""

from __future__ import annotations

import pytest
from hearing import NOW, heard, sensing

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
    "office/sensor/voltage_phase_1/state": ("230.1", "office voltage phase 1", "230.1 V"),
    "office/sensor/power_consumed/state": ("0.428", "office power consumed", "0.428 kW"),
    "office/sensor/energy_consumed_tariff_1/state": (
        "4123.2",
        "office energy consumed tariff 1",
        "4123.2 kWh",
    ),
    "office/sensor/pm__2_5_m_concentration/state": ("3", "office PM2.5", "3 µg/m³"),
    "office/sensor/tank_distance/state": ("1.21", "office tank distance", "1.21"),
    "office/sensor/mh-z19_co2_value/state": ("640", "office mh-z19 CO2", "640 ppm"),
    "office/binary_sensor/smoke_detector/state": ("OFF", "office smoke detector", "clear"),
    "office/binary_sensor/pir_sensor/state": ("ON", "office pir sensor", "motion"),
    "office/fan/ceiling/speed_level/state": ("3", "office ceiling speed level", "3"),
    "office/event/doorbell/state": ('{"event_type":"press"}', "office doorbell event", "press"),
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


def test_home_assistants_statestream() -> None:
    assert heard(
        "statestream",
        ("homeassistant/sensor/living_room_temperature/state", "21.4"),
        ("homeassistant/binary_sensor/porch_motion/state", "on"),
        ("homeassistant/light/desk/state", "unavailable"),
        ("homeassistant/cover/garage_door/state", "closed"),
        ("homeassistant/sensor/living_room_temperature/unit_of_measurement", '"°C"'),
        ("homeassistant/climate/hall/current_temperature", "20.5"),
        ("homeassistant/climate/hall/temperature", "22"),
        ("homeassistant/climate/hall/current_humidity", "41"),
        ("homeassistant/weather/home/wind_speed", "11"),
        ("homeassistant/climate/hall/humidity", "50"),  # is wished for, as its temperature is
        ("homeassistant/climate/hall/min_humidity", "30"),
        ("homeassistant/climate/hall/max_humidity", "99"),
        ("homeassistant/light/desk/min_mireds", "153"),
        ("homeassistant/light/desk/max_color_temp_kelvin", "6500"),
        ("homeassistant/climate/hall/friendly_name", '"Hall"'),
        ("homeassistant/cover/blind/current_position", "40"),
        ("homeassistant/automation/night/state", "on"),
    ) == {
        "living room temperature": "21.4 °C",
        "porch motion": "motion",
        "garage door": "closed",
        "hall current temperature": "20.5 °C",
        "hall current humidity": "41 %",
        "home wind speed": "11",  # km/h, mph, m/s: nobody says
        "blind current position": "40 %",
    }
