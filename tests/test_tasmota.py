"""Messages of Tasmota, and the channels that a person then sees.

The structures are those of the firmware's documentation and of what its users show in public, which
the profile names; the values are made up.
"""

from __future__ import annotations

from typing import Any

import pytest
from hearing import NOW, encoded, heard, sensing

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
    "meters by script": (
        (
            (
                "tele/house/SENSOR",
                {
                    "SML": {
                        "Total_in": 8123.4567,
                        "Total_out": 12.5,
                        "Power_curr": -220.5,
                        "Power_p2": 75,
                        "Volt_p1": 229.9,
                        "Curr_p1": 0.5,
                        "HZ": 50.0,
                        "Meter_Number": "1 XYZ00 12345",
                    }
                },
            ),
            ("tele/obis/SENSOR", {"": {"1_8_0": 77.1, "16_7_0": 340, "server_id": "0a01"}}),
        ),
        {
            "house energy imported": "8123.4567 kWh",
            "house energy exported": "12.5 kWh",
            "house power": "-220.5 W",
            "house power p2": "75 W",
            "house voltage p1": "229.9 V",
            "house current p1": "0.5 A",
            "house frequency": "50.0 Hz",
            "obis energy imported": "77.1 kWh",
            "obis power": "340 W",
        },
    ),
    "probes of an old version": (
        (
            (
                "tele/old/SENSOR",
                {
                    "DS18x20": {
                        "DS1": {"Type": "DS18B20", "Address": "28FF01", "Temperature": 20.4},
                        "DS2": {"Type": "DS18B20", "Address": "28FF02", "Temperature": 31.4},
                    },
                    "TempUnit": "C",
                },
            ),
            ("stat/old2/STATUS10", {"StatusSNS": {"DHT": {"Temperature": "21.8"}}}),
        ),
        {
            "old DS1 temperature": "20.4 °C",
            "old DS2 temperature": "31.4 °C",
            "old2 temperature": "21.8 °C",
        },
    ),
    "sensors by index, of which one is silent": (
        (
            (
                "tele/shed/SENSOR",
                {
                    "AM2301-14": {"Temperature": 11.1, "Humidity": 71.0},
                    "AM2301-12": {"Temperature": None, "Humidity": None},
                },
            ),
        ),
        {"shed temperature": "11.1 °C", "shed humidity": "71.0 %"},
    ),
    "Bluetooth sensors, one at a time": (
        (
            (
                "tele/ble/SENSOR",
                {"ATC1a2b3c": {"mac": "a4c1381a2b3c", "Temperature": 20.1, "Battery": 80}},
            ),
            (
                "tele/ble/SENSOR",
                {"Flora-6a5b4c": {"Temperature": 23.0, "Moisture": 31, "Fertility": 410}},
            ),
        ),
        {
            "ble ATC1a2b3c temperature": "20.1 °C",
            "ble ATC1a2b3c battery": "80 %",
            "ble Flora-6a5b4c temperature": "23.0 °C",
            "ble Flora-6a5b4c moisture": "31 %",
            "ble Flora-6a5b4c fertility": "410 µS/cm",
        },
    ),
    "codes and pushes": (
        (
            ("tele/rf/RESULT", {"RfReceived": {"Data": "0x51AA", "Bits": 24, "Protocol": 1}}),
            ("stat/sw/BUTTON1", {"ACTION": "DOUBLE"}),
            ("stat/sw/RESULT", {"Button2": {"Action": "HOLD"}}),
            ("stat/sw/SWITCH1", {"ACTION": "ON"}),
            ("stat/sw/SWITCH1T", {"TRIG": "ON"}),
            ("tele/fan/STATE", {"POWER1": "ON", "FanSpeed": 2}),
        ),
        {
            "rf radio code": "0x51AA",
            "sw button 1": "DOUBLE",
            "sw button 2": "HOLD",
            "sw switch 1": "on",
            "fan power state 1": "on",
            "fan speed": "2",
        },
    ),
    "wind, lightning and dust": (
        (
            (
                "tele/roof/SENSOR",
                {
                    "TX23": {
                        "Speed": {"Act": 14.8, "Avg": 8.5, "Min": 2.2, "Max": 19.8},
                        "Dir": {"Card": "WSW", "Deg": 247.5, "Avg": 266.1},
                    },
                    "AS3935": {"Event": 1, "Distance": 12, "Energy": 58, "Stage": 1},
                    "SPS30": {"PM2_5": 2.2, "NCPM0_5": 7.1, "TYPSIZ": 0.5},
                    "SpeedUnit": "km/h",
                },
            ),
        ),
        {
            "roof wind speed": "14.8 km/h",
            "roof average wind speed": "8.5 km/h",
            "roof wind gust": "19.8 km/h",
            "roof wind direction": "247.5 °",
            "roof wind from": "WSW",
            "roof lightning event": "1",
            "roof lightning distance": "12 km",
            "roof lightning energy": "58",
            "roof PM2.5": "2.2 µg/m³",
        },
    ),
    "topics of other shapes": (
        (
            ("lamp/tele/SENSOR", {"BH1750": {"Illuminance": 80}}),
            ("lamp/stat/POWER", "ON"),
            ("tele/zb/99E3/SENSOR", {"ZbReceived": {"0x99E3": {"Name": "hall", "Dimmer": 90}}}),
        ),
        {"lamp illuminance": "80 lx", "lamp power state": "on", "zb hall brightness": "90"},
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


def test_what_hangs_on_a_bridge_goes_away_with_it() -> None:
    ear = sensing("tasmota")
    ear.ingest("tele/zb/SENSOR", encoded({"ZbReceived": {"0x1": {"Temperature": 5}}}), NOW)
    ear.ingest("tele/other/SENSOR", encoded({"DHT11": {"Temperature": 6}}), NOW)
    ear.ingest("tele/zb/LWT", b"Offline", NOW + 1)
    away = {view.name: view.offline_s for view in ear.picture(NOW + 3).channels}
    assert away == {"other temperature": None, "zb 0x1 temperature": 2}
    revision = ear.revision
    ear.ingest("tele/zb/LWT", b"Online", NOW + 4)
    assert ear.changes_since(revision, NOW + 4)[1] == ("zb 0x1 temperature",)
