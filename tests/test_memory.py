"""What the window knows after a restart, and when the clock is set."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import WAIT, DaemonProcess, Mosquitto, Peer
from hypothesis import given
from hypothesis import strategies as st

from edgespike.agent.keeper import SAVE_NEW_S, Keeper
from edgespike.config import ChannelSettings, Config, ContextSettings, SensorSource
from edgespike.errors import DataError
from edgespike.profiles import ProfileLibrary
from edgespike.sensing import Sensing
from edgespike.sensing.memory import ChannelMemory, Clock, WindowMemory, load, save
from edgespike.sensing.picture import ChannelView
from edgespike.sensing.statistics import History

LIBRARY = ProfileLibrary()
T0 = 1_700_000_000.0
SAVED = Clock(T0 + 400, 1000.0, "boot-1")


def sensing(*profiles: str, **source: Any) -> Sensing:
    names = profiles or ("zigbee2mqtt", "tasmota")
    sources = tuple(SensorSource(LIBRARY.sensor(name), **source) for name in names)
    return Sensing(Config(sensors=sources, context=ContextSettings(max_channels=100)))


def home(**source: Any) -> Sensing:
    """A window that has heard a few things until T0 + 400."""
    ear = sensing(**source)
    for minute, celsius in enumerate((20.0, 21.0, 22.5, 23.0)):
        ear.ingest(
            "zigbee2mqtt/hall", json.dumps({"temperature": celsius}).encode(), T0 + 60 * minute
        )
    for second, contact in ((10, b"true"), (20, b"false")):
        ear.ingest("zigbee2mqtt/door", b'{"contact": %s}' % contact, T0 + second)
    both = {"AM2301": {"Temperature": 20.5}, "BMP280": {"Temperature": 21.5}}
    ear.ingest("tele/attic/SENSOR", json.dumps({"AM2301": both["AM2301"]}).encode(), T0)
    ear.ingest("tele/attic/SENSOR", json.dumps(both).encode(), T0 + 300)
    ear.ingest("tele/attic/LWT", b"Offline", T0 + 390)
    return ear


def again(ear: Sensing, path: Path, now: Clock, *profiles: str, **source: Any) -> Sensing:
    """What a new process knows at `now`."""
    save(path, ear.remembered(), SAVED)
    found = load(path)
    assert found is not None
    memory, saved = found
    new = sensing(*profiles, **source)
    new.recall(memory, now.since(saved), saved.wall, now.wall)
    return new


def views(ear: Sensing, now: float) -> dict[str, ChannelView]:
    return {view.name: view for view in ear.picture(now).channels}


def test_a_new_process_knows_what_the_old_one_knew(tmp_path: Path) -> None:
    ear = home(channels={"* temperature": ChannelSettings(high="22", hysteresis="1")})
    new = again(
        ear,
        tmp_path / "w",
        Clock(T0 + 500, 1100.0, "boot-1"),
        channels={"* temperature": ChannelSettings(high="22", hysteresis="1")},
    )
    assert views(new, T0 + 500) == views(ear, T0 + 500)
    door = views(new, T0 + 500)["door contact"]
    assert (door.text, door.since_s, door.changes, door.age_s) == ("open", 480, 1, 480)
    assert views(new, T0 + 500)["attic temperature"].offline_s == 110
    assert len(new.changes_since(0, T0 + 500)[1]) == 4
    new.ingest("zigbee2mqtt/hall", b'{"temperature": 21.5}', T0 + 510)
    hall = views(new, T0 + 510)["hall temperature"]
    assert (hall.limit, hall.minimum, hall.mean) == ("high", "20.0", "21.6")
    both = {"AM2301": {"Temperature": 20.6}, "BMP280": {"Temperature": 21.6}}
    new.ingest("tele/attic/SENSOR", json.dumps(both).encode(), T0 + 520)
    assert views(new, T0 + 520)["attic BMP280 temperature"].text == "21.6", "names stay"


@pytest.mark.parametrize(
    ("now", "age"),
    [
        (Clock(T0 + 460, 1060.0, "boot-1"), 240),
        (Clock(T0 + 460 - 1e6, 1060.0, "boot-1"), 240),
        (Clock(T0 + 460 + 1e6, 1060.0, "boot-1"), 240),
        (Clock(T0 + 460, 20.0, "boot-2"), 240),
        (Clock(T0 - 1e8, 20.0, "boot-2"), None),
    ],
    ids=["same boot", "set back", "set forward", "another boot", "another boot, no clock"],
)
def test_ages_are_right_whatever_the_clock_did(
    tmp_path: Path, now: Clock, age: float | None
) -> None:
    ear = sensing()
    ear.ingest("zigbee2mqtt/hall", b'{"temperature": 20.0}', T0 + 160)
    ear.ingest("zigbee2mqtt/hall", b'{"temperature": 21.0}', T0 + 220)
    view = views(again(ear, tmp_path / "w", now), now.wall)["hall temperature"]
    assert (view.text, view.age_s, view.stale) == ("21.0", age, False)
    assert (view.minimum, view.maximum) == ("20.0", "21.0")


def test_what_the_broker_kept_doesnt_hide_a_known_age(tmp_path: Path) -> None:
    now = Clock(T0 + 500, 1100.0, "boot-1")
    new = again(home(), tmp_path / "w", now)
    new.ingest("zigbee2mqtt/door", b'{"contact": false}', T0 + 500, retained=True)
    new.ingest("zigbee2mqtt/hall", b'{"temperature": 19.0}', T0 + 500, retained=True)
    seen = views(new, T0 + 500)
    assert (seen["door contact"].age_s, seen["door contact"].since_s) == (480, 480)
    assert (seen["hall temperature"].text, seen["hall temperature"].age_s) == ("19.0", None)


def test_what_was_heard_before_is_newer_than_what_is_recalled(tmp_path: Path) -> None:
    new = sensing()
    new.ingest("zigbee2mqtt/hall", b'{"temperature": 5.0}', T0 + 450)
    new.recall(home().remembered(), 50.0, T0 + 400, T0 + 450)
    assert views(new, T0 + 450)["hall temperature"].text == "5.0"


def test_another_configuration_takes_up_what_still_fits(tmp_path: Path) -> None:
    now = Clock(T0 + 500, 1100.0, "boot-1")
    channels = {
        "hall temperature": ChannelSettings(rename="Lounge", high="22"),
        "attic temperature": ChannelSettings(unit="°F"),
        "door contact": ChannelSettings(show=False),
    }
    new = again(home(), tmp_path / "w", now, channels=channels)
    seen = views(new, now.wall)
    assert (seen["Lounge"].text, seen["Lounge"].limit, seen["Lounge"].since_s) == (
        "23.0",
        "high",
        None,
    )
    assert seen["attic temperature"].text is None, "in another unit than then"
    assert "door contact" not in seen
    elsewhere = sensing("esphome")
    assert elsewhere.recall(home().remembered(), 1.0, T0, T0) == 0


def test_the_file_is_small_private_and_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "w"
    save(path, home().remembered(), SAVED)
    first = path.read_bytes()
    save(path, home().remembered(), SAVED)
    assert path.read_bytes() == first
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["w"]
    assert len(first) < 4000
    assert load(tmp_path / "none") is None


@given(st.data())
def test_a_damaged_file_is_an_ordinary_error(tmp_path_factory: Any, data: Any) -> None:
    path = tmp_path_factory.mktemp("w") / "w"
    save(path, WindowMemory([MEMORY], [("s", "d", T0)]), SAVED)
    whole = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        del whole[at:]
    else:
        whole[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(whole)
    with pytest.raises(DataError):
        load(path)


MEMORY = ChannelMemory(
    "s", "d", "", "k", "k", "", False, False, "", "°C", "1", True, T0, True, None, None
)


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"edgespike-window 2 00\n", b"edgespike-window 1 00\nx", b"\x00" * 100],
)
def test_a_foreign_file_is_an_ordinary_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w"
    path.write_bytes(content)
    with pytest.raises(DataError):
        load(path)
    with pytest.raises(DataError):
        load(tmp_path)


@given(st.binary(max_size=300) | st.lists(st.floats(), max_size=20).map(repr).map(str.encode))
def test_any_bytes_are_a_history_or_a_value_error(data: bytes) -> None:
    try:
        history = History.load(data, 3600.0)
    except ValueError:
        return
    history.add(T0, 1.0, "1")
    history.summary(T0)
    history.trend(T0, 0.1)


@given(st.lists(st.tuples(st.floats(0, 500), st.floats(-1e99, 1e99)), min_size=1, max_size=60))
def test_a_history_survives(steps: list[tuple[float, float]]) -> None:
    history, at = History(3600.0), T0
    for step, number in steps:
        at += step
        history.add(at, number, repr(number))
    copy = History.load(history.dump(), 3600.0)
    for kept in (history, copy):
        kept.add(at + 5, 7.0, "7.0")
    assert copy.summary(at + 5) == history.summary(at + 5)
    assert copy.trend(at + 5, 0.1) == history.trend(at + 5, 0.1)


def test_memory_that_makes_no_sense_is_passed_over() -> None:
    ear = home()
    kept = ear.remembered()
    broken = [
        ChannelMemory(**{**{f: getattr(m, f) for f in m.__slots__}, **change})
        for m in kept.channels
        for change in (
            {"text": "nan", "numeric": True},
            {"text": "x\x1b[2J", "numeric": False},
            {"text": "", "numeric": False},
            {"history": b"1234567"},
        )
    ]
    new = sensing()
    assert new.recall(WindowMemory(broken), 1.0, T0, T0) == 0
    assert all(problem.isprintable() for problem in new.take_problems())


@pytest.mark.parametrize("jump", [1e8, -1e8, 30.0])
def test_ages_stay_right_when_the_clock_is_set(jump: float) -> None:
    ear = home()
    before = views(ear, T0 + 500)
    ear.ingest("zigbee2mqtt/new", b'{"temperature": 1}', T0 + 501 + jump)
    ear.clock_set(jump, T0 + 501 + jump)
    after = views(ear, T0 + 500 + jump)
    new = after.pop("new temperature")
    assert after == before
    assert (new.age_s, new.stale) == (0, False)
    assert ear.changes_since(ear.revision, T0 + 502 + jump)[1] == ()


def test_a_value_that_comes_before_its_unit_after_a_restart_loses_neither_unit_nor_history(
    tmp_path: Path,
) -> None:
    """Homie's units are messages of their own, which a broker sends in any order."""
    ear = sensing("homie")
    ear.ingest("homie/hall/temperature/temperature/$unit", "°F".encode(), T0)
    for minute, degrees in enumerate((70.0, 68.0, 72.5)):
        ear.ingest("homie/hall/temperature/temperature", str(degrees).encode(), T0 + 60 * minute)
    new = again(ear, tmp_path / "w", Clock(T0 + 500, 1100.0, "boot-1"), "homie")
    new.ingest("homie/hall/temperature/temperature", b"72.5", T0 + 501, retained=True)
    new.ingest("homie/hall/temperature/temperature", b"71.0", T0 + 502)
    view = views(new, T0 + 502)["hall temperature"]
    assert (view.text, view.unit, view.minimum) == ("71.0", "°F", "68.0")
    new.ingest("homie/hall/temperature/temperature/$unit", b"", T0 + 503)
    new.ingest("homie/hall/temperature/temperature", b"71.5", T0 + 504)
    assert views(new, T0 + 504)["hall temperature"].unit == ""


def test_a_window_that_cannot_be_written_is_no_reason_to_stop(tmp_path: Path) -> None:
    ear = home()
    keeper = Keeper(Config(state_dir=tmp_path / "missing", node="n"), ear)
    keeper.recall()
    keeper.step()
    keeper.stop()
    (tmp_path / "n.window").write_bytes(b"nonsense")
    keeper = Keeper(Config(state_dir=tmp_path, node="n"), ear)
    keeper.recall()
    keeper.stop()
    assert load(tmp_path / "n.window") is not None


def test_what_came_for_the_first_time_is_soon_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("edgespike.agent.keeper.time.monotonic", lambda: now)
    ear = home()
    keeper = Keeper(Config(state_dir=tmp_path, node="n"), ear)
    now += 2
    keeper.step()
    assert load(tmp_path / "n.window") is None
    now += SAVE_NEW_S
    keeper.step()
    end = time.time() + WAIT  # it is written by a thread
    while load(tmp_path / "n.window") is None:
        assert time.time() < end
        time.sleep(0.01)
    saved = (tmp_path / "n.window").stat().st_ino
    again = Keeper(Config(state_dir=tmp_path, node="n"), ear)
    again.recall()
    ear.ingest("zigbee2mqtt/hall", b'{"temperature": 22.5}', T0 + 500)
    for _ in range(20):
        now += SAVE_NEW_S / 2
        again.step()
    for thread in threading.enumerate():
        if thread.name == "window":
            thread.join()
    assert (tmp_path / "n.window").stat().st_ino == saved  # nothing new but values


def test_a_daemon_recalls_the_window_when_it_starts_again(
    daemon: DaemonProcess, broker: Mosquitto, peer: Peer
) -> None:
    daemon.start()
    peer.status("online")
    peer.publish("sensors/pump-07/pressure", "4.20", qos=1)
    peer.until(lambda m: m.topic.endswith("/metrics") and m.body["sensors"].get("channels") == 1)
    daemon.signal(signal.SIGTERM)
    assert daemon.wait() == 0
    daemon.start()
    peer.status("init")
    peer.status("online")
    (recalled,) = daemon.events("window_recalled")
    assert recalled["channels"] == 1
    peer.prompt({"prompt": "What is the pump-07 pressure?", "id": "p", "max_tokens": 1})
    assert peer.final("p").body["context"]["sensors"] == ["pump-07 pressure"]
