"""Messages of Shelly devices, and the channels that a person then sees.

The structures are those of the firmware's documentation and of what its users show in public, which
the profile names; the values are made up.
"""

from __future__ import annotations

from typing import Any

import pytest
from hearing import NOW, heard, sensing

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
    "Bluetooth devices and a valve": (
        (
            ("gw/status/bthomedevice:201", {"id": 201, "rssi": -49, "battery": 90, "rsv": -1}),
            ("gw/status/bthomesensor:204", {"id": 204, "value": 26.68, "last_updated_ts": 1.7e9}),
            (
                "gw/events/rpc",
                {
                    "method": "NotifyEvent",
                    "params": {
                        "events": [
                            {"component": "bthomesensor:206", "id": 206, "event": "single_push"},
                            {
                                "component": "script:1",
                                "event": "shelly-blu",
                                "data": {"address": "5c:c7", "window": 1, "battery": 80, "pid": 3},
                            },
                            {"component": "script:1", "event": "shelly-blu", "data": 5},
                            7,
                        ]
                    },
                },
            ),
            ("t/status/blutrv:200", {"id": 200, "target_C": 21, "current_C": 19.5, "pos": 30}),
        ),
        {
            "gw battery 201": "90 %",
            "gw sensor 204": "26.68",
            "gw button 206": "single_push",
            "gw 5c:c7 window": "open",
            "gw 5c:c7 battery": "80 %",
            "t setpoint 200": "21 °C",
            "t temperature 200": "19.5 °C",
            "t valve position 200": "30 %",
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
