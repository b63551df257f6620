"""Messages of firmwares and services with a small profile, and the channels that they become.

The structures are those of their documentation and of what their users show in public, which the
profiles name; the values are made up.
"""

from __future__ import annotations

from typing import Any

import pytest
from hearing import NOW, encoded, heard, sensing

from edgespike.sensing.decoders import Origin, homie
from edgespike.sensing.decoders.homie import Homie

CASES: dict[str, tuple[tuple[tuple[str, Any], ...], dict[str, str]]] = {
    "rtl-433": (
        (
            (
                "rtl_433/pi/events",
                {
                    "time": "2026-05-21 18:37:30",
                    "model": "Fineoffset-WHx080",
                    "subtype": 0,
                    "id": 88,
                    "battery_ok": 0,
                    "temperature_C": 12.3,
                    "wind_dir_deg": 225,
                    "wind_avg_m_s": 3.1,
                    "wind_max_km_h": 15.5,
                    "rain_mm": 234.3,
                    "light_lux": 2100,
                    "pressure_hPa": 1003.1,
                    "mic": "CRC",
                    "rssi": -0.1,
                    "noise": -22.7,
                },
            ),
            ("rtl_433/pi/events", {"model": "Remote", "id": 3421, "cmd": 12}),
            ("rtl_433/pi/devices/Remote/3421/cmd", "12"),
        ),
        {
            "Fineoffset-WHx080 88 battery state": "low",
            "Fineoffset-WHx080 88 temperature": "12.3 °C",
            "Fineoffset-WHx080 88 wind direction": "225 °",
            "Fineoffset-WHx080 88 wind speed": "3.1 m/s",
            "Fineoffset-WHx080 88 wind gust": "15.5 km/h",
            "Fineoffset-WHx080 88 rain total": "234.3 mm",
            "Fineoffset-WHx080 88 illuminance": "2100 lx",
            "Fineoffset-WHx080 88 pressure": "1003.1 hPa",
            "Remote 3421 command": "12",
        },
    ),
    "theengs": (
        (
            (
                "home/gateway/BTtoMQTT/A4C138112233",
                {
                    "id": "A4:C1:38:11:22:33",
                    "name": "ATC_112233",
                    "rssi": -67,
                    "brand": "Xiaomi",
                    "model": "TH Sensor",
                    "model_id": "LYWSD03MMC",
                    "acts": True,
                    "tempc": 21.8,
                    "tempf": 71.24,
                    "hum": 52.6,
                    "batt": 68,
                    "volt": 2.7,
                },
            ),
            (
                "home/gateway/RTL_433toMQTT/Acurite-Tower/A/13009",
                {"model": "Acurite-Tower", "id": 13009, "temperature_C": 23.2, "battery_ok": 1},
            ),
        ),
        {
            "A4C138112233 temperature": "21.8 °C",
            "A4C138112233 humidity": "52.6 %",
            "A4C138112233 battery": "68 %",
            "Acurite-Tower A 13009 temperature": "23.2 °C",
            "Acurite-Tower A 13009 battery state": "ok",
        },
    ),
    "victron": (
        (
            ("N/d412/system/0/Dc/Battery/Soc", {"value": 82.5}),
            ("N/d412/battery/512/Dc/0/Voltage", {"value": 52.31}),
            ("N/d412/battery/512/Alarms/LowVoltage", {"value": 0}),
            ("N/d412/system/0/Ac/Consumption/L1/Power", {"value": 345.1}),
            ("N/d412/vebus/276/State", {"value": 3}),
            ("N/d412/grid/30/Ac/Energy/Forward", {"value": 1234.5, "min": None}),
            ("N/d412/tank/3/Level", {"value": 66}),
            ("N/d412/temperature/24/CustomName", {"value": "Fridge"}),
            ("N/d412/settings/0/Settings/SystemSetup/MaxChargeCurrent", {"value": 50}),
            ("N/d412/keepalive", {"value": 1}),
            ("N/d412/solarcharger/279/Yield/Power", {"value": None}),
        ),
        {
            "system 0 battery state of charge": "82.5 %",
            "battery 512 voltage": "52.31 V",
            "battery 512 low voltage alarm": "ok",
            "system 0 consumption L1 power": "345.1 W",
            "vebus 276 state": "bulk",
            "grid 30 energy imported": "1234.5 kWh",
            "tank 3 level": "66 %",
        },
    ),
    "zwave-js-ui": (
        (
            (
                "zwave/Hall/Eye/sensor_multilevel/endpoint_0/Air_temperature",
                {"time": 1700000000000, "value": 21.4},
            ),
            ("zwave/Hall/Eye/notification/endpoint_0/Home_Security/Motion_sensor_status", "8"),
            (
                "zwave/Plug/switch_binary/endpoint_0/currentValue",
                {"time": 1700000000000, "value": True, "nodeName": "Plug"},
            ),
            ("zwave/Plug/meter/endpoint_0/value/66049", {"time": 1700000000000, "value": 12.3}),
            ("zwave/_CLIENTS/ZWAVE_GATEWAY-x/status", {"value": True}),
        ),
        {
            "Hall Eye temperature": "21.4 °C",
            "Hall Eye motion": "motion",
            "Plug state": "on",
            "Plug power": "12.3 W",
        },
    ),
    "opendtu": (
        (
            ("solar/1161/0/power", "321.4"),
            ("solar/1161/0/yieldday", "1234"),
            ("solar/1161/0/yieldtotal", "512.331"),
            ("solar/1161/1/voltage", "33.1"),
            ("solar/1161/status/producing", "1"),
            ("solar/1161/status/last_update", "1700000000"),
            ("solar/1161/name", "HM-600"),
            ("solar/ac/power", "321.4"),
            ("solar/dtu/rssi", "-61"),
        ),
        {
            "1161 power": "321.4 W",
            "1161 yield today": "1234 Wh",
            "1161 yield total": "512.331 kWh",
            "1161 1 voltage": "33.1 V",
            "1161 producing": "yes",
            "ac power": "321.4 W",
        },
    ),
    "evcc": (
        (
            ("evcc/site/gridPower", "-1234"),
            ("evcc/site/batterySoc", "66"),
            ("evcc/loadpoints/1/chargePower", "7200"),
            ("evcc/loadpoints/1/charging", "true"),
            ("evcc/loadpoints/1/mode", "pv"),
            ("evcc/loadpoints/1/chargeCurrents/l1", "16"),
            ("evcc/loadpoints/1/planTime", ""),
            ("evcc/updated", "1700000000"),
        ),
        {
            "site grid power": "-1234 W",
            "site battery state of charge": "66 %",
            "loadpoints 1 charge power": "7200 W",
            "loadpoints 1 charging": "yes",
            "loadpoints 1 mode": "pv",
            "loadpoints 1 charge currents L1 current": "16 A",
        },
    ),
    "ems-esp": (
        (
            (
                "ems-esp/boiler_data",
                {
                    "heatingactive": "off",
                    "outdoortemp": 16.2,
                    "curflowtemp": 56.7,
                    "syspress": 1.6,
                    "heatingpumpmod": 40,
                    "dhw": {"curtemp": 52.1},
                },
            ),
            ("ems-esp/heartbeat", {"rssi": -60}),
        ),
        {
            "boiler data heating active": "off",
            "boiler data outdoor temperature": "16.2 °C",
            "boiler data flow temperature": "56.7 °C",
            "boiler data system pressure": "1.6 bar",
            "boiler data heating pump speed": "40 %",
            "boiler data dhw temperature": "52.1 °C",
        },
    ),
    "homie": (
        (
            ("homie/kitchen/sensor/temperature", "21.5"),
            ("homie/kitchen/sensor/temperature/$unit", "°C"),
            ("homie/kitchen/$stats/uptime", "1234"),
            ("homie/kitchen/$name", "Kitchen"),
            ("homie/kitchen/sensor/$name", "Sensor"),
            ("homie/kitchen/sensor/temperature/$name", "Temperature"),
            # Of two nodes that measure the same neither is the other, nor those of an array.
            ("homie/kitchen/oven/temperature/$unit", "°F"),
            ("homie/kitchen/oven/temperature", "390"),
            ("homie/kitchen/relay-1/on", "true"),
            ("homie/kitchen/relay-2/on", "false"),
            ("homie/kitchen/relay-2/on/set", "true"),
            ("homie/kitchen/lights_0/intensity", "40"),
            ("homie/kitchen/lights_1/intensity", "50"),
            ("homie/kitchen/lights_1/intensity/$unit", "#"),
            ("homie/5/cellar/sensor/humidity", "44"),
            (
                "homie/5/cellar/$description",
                {
                    "homie": "5.0",
                    "nodes": {"sensor": {"properties": {"humidity": {"unit": "%"}}}},
                },
            ),
            ("homie/5/cellar/sensor/humidity/set", "50"),
            ("homie/5/cellar/sensor/humidity/$target", "50"),
            ("homie/5/barn/weight/weight", "7"),
            (
                "homie/5/barn/$description",
                {"nodes": [{"id": "weight", "properties": [{"id": "weight", "unit": "kg"}]}]},
            ),
        ),
        {
            "kitchen sensor temperature": "21.5 °C",
            "kitchen oven temperature": "390 °F",
            "kitchen relay-1 on": "on",
            "kitchen relay-2 on": "off",
            "kitchen lights_0 intensity": "40",
            "kitchen lights_1 intensity": "50",
            "cellar sensor humidity": "44 %",
            "barn weight": "7 kg",
        },
    ),
}


@pytest.mark.parametrize("profile", CASES)
def test_a_firmware_with_a_small_profile(profile: str) -> None:
    messages, channels = CASES[profile]
    assert heard(profile, *messages) == channels


@pytest.mark.parametrize(
    ("profile", "topic", "value", "will", "gone"),
    [
        (
            "zwave-js-ui",
            "zwave/Eye/x/endpoint_0/Humidity",
            44,
            "zwave/Eye/status",
            {"value": False},
        ),
        ("homie", "homie/a/b/humidity", 44, "homie/a/$state", "lost"),
        ("homie", "homie/5/a/b/humidity", 44, "homie/5/a/$state", "disconnected"),
        ("opendtu", "solar/1161/0/power", 44, "solar/1161/status/reachable", "0"),
        ("ems-esp", "ems-esp/boiler_data", {"outdoortemp": 4}, "ems-esp/status", "offline"),
        ("evcc", "evcc/site/gridPower", 44, "evcc/status", "offline"),
    ],
)
def test_who_is_gone_says_so(profile: str, topic: str, value: Any, will: str, gone: Any) -> None:
    ear = sensing(profile)
    ear.ingest(topic, encoded(value), NOW)
    ear.ingest(will, encoded(gone), NOW + 1)
    assert [view.offline_s for view in ear.picture(NOW + 3).channels] == [2]


@pytest.mark.parametrize(
    "description",
    [
        b"\xff", b"{", b"[]", b"7", {"nodes": 7}, {"nodes": {"a": 7}}, {"nodes": ["a", {"id": 3}]},
        {"nodes": {"sensor": {"properties": {"humidity": {"unit": 7}}}}},
        {"nodes": {"sensor": {"properties": {"humidity": {"unit": "u" * 999}}}}},
    ],
)  # fmt: skip
def test_a_homie_description_of_any_shape_stops_nothing(description: Any) -> None:
    ear = sensing("homie")
    payload = description if isinstance(description, bytes) else encoded(description)
    ear.ingest("homie/5/hall/$description", payload, NOW)
    ear.ingest("homie/5/hall/sensor/humidity", b"44", NOW)
    assert [(view.text, view.unit) for view in ear.picture(NOW).channels] == [("44", "")]


def test_what_homie_devices_say_of_units_is_kept_in_a_bound() -> None:
    ear, most = Homie(), homie.MAX_PROPERTIES
    for number in range(most + 9):
        assert len(ear.decode(Origin("d", f"n_p{number}"), b"1", NOW)) == 1
    told = [ear.decode(Origin("d", f"n_p{n}_$unit"), b"V", NOW) for n in range(most + 9)]
    assert [len(each) for each in told] == [1] * most + [0] * 9
    units = [ear.decode(Origin("d", f"n_p{n}"), b"2", NOW)[0].unit for n in (0, most)]
    assert units == ["V", None]
