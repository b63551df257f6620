"""Sparkplug B: when a node is asked to be born again, and that it is."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from conftest import NODE, WAIT, DaemonProcess, Mosquitto, Peer
from hearing import NOW, sensing
from wire import BOOLEAN, FLOAT, INT32, UINT64, metric, payload

from edgespike.cli import main
from edgespike.sensing import Sensing
from edgespike.sensing.decoders.protobuf import fields
from edgespike.sensing.decoders.sparkplug import (
    ASK_AFTER_S,
    ASK_AT_MOST_S,
    MAX_ASKED,
    MAX_MEMBERS,
)

REBIRTH = "spBv1.0/Plant/NCMD/Line1"
BIRTH = (metric(3, UINT64, "bdSeq"), metric(41.5, FLOAT, "Supply", alias=1))
PUMP = (metric(20.5, FLOAT, "Temperature", alias=7),)


def say(
    ear: Sensing,
    kind: str,
    *metrics: bytes,
    seq: int,
    device: str = "",
    node: str = "Line1",
    at: float = NOW,
) -> list[str]:
    """Have a message heard; the topics of what is asked thereupon."""
    topic = f"spBv1.0/Plant/{kind}/{node}" + (f"/{device}" if device else "")
    ear.ingest(topic, payload(*metrics, seq=seq), at)
    return [command.topic for command in ear.take_commands()]


def born(**source: Any) -> Sensing:
    ear = sensing("sparkplug", **source)
    assert say(ear, "NBIRTH", *BIRTH, seq=0) == []
    assert say(ear, "DBIRTH", *PUMP, seq=1, device="Pump") == []
    return ear


def test_a_node_that_is_fine_is_never_asked() -> None:
    ear = born()
    for number in range(2, 600):
        data = metric(float(number), FLOAT, alias=1, typed=False)
        assert say(ear, "NDATA", data, seq=number & 255, at=NOW + number) == []
    assert say(ear, "DDEATH", seq=600 & 255, device="Pump") == []
    assert say(ear, "DBIRTH", *PUMP, seq=601 & 255, device="Pump") == []
    assert say(ear, "NDEATH", metric(3, UINT64, "bdSeq"), seq=0) == []
    assert say(ear, "NBIRTH", metric(4, UINT64, "bdSeq"), seq=0) == []
    assert say(ear, "NCMD", metric(True, BOOLEAN, "Node Control/Rebirth"), seq=0) == []


@pytest.mark.parametrize(
    ("kind", "device", "metrics", "seq"),
    [
        ("NDATA", "", (metric(1.5, FLOAT, alias=99),), 2),
        ("DDATA", "Pump", (metric(1.5, FLOAT, alias=99),), 2),
        ("DDATA", "Fan", (metric(1.5, FLOAT, "Speed"),), 2),
        ("NDATA", "", (metric(1.5, FLOAT, alias=1),), 4),
        ("DDEATH", "Pump", (), 4),
        ("DBIRTH", "Fan", PUMP, 255),
    ],
    ids=["alias", "device alias", "unborn device", "gap", "gap at a death", "gap at a birth"],
)
def test_what_was_missed_is_asked_for(
    kind: str, device: str, metrics: tuple[bytes, ...], seq: int
) -> None:
    assert say(born(), kind, *metrics, seq=seq, device=device) == [REBIRTH]


@pytest.mark.parametrize(("kind", "device"), [("NDATA", ""), ("DDATA", "Pump"), ("DBIRTH", "Pump")])
def test_who_comes_later_asks_for_the_birth(kind: str, device: str) -> None:
    ear = sensing("sparkplug")
    assert say(ear, kind, metric(4, INT32, "Level"), seq=7, device=device) == [REBIRTH]


def test_data_after_a_death_needs_a_birth() -> None:
    ear = born()
    say(ear, "NDEATH", metric(2, UINT64, "bdSeq"), seq=0)
    assert say(ear, "NDATA", metric(1.5, FLOAT, alias=1), seq=2) == [], "an earlier birth's will"
    say(ear, "NDEATH", metric(3, UINT64, "bdSeq"), seq=0)
    assert say(ear, "NDATA", metric(1.5, FLOAT, alias=1), seq=3) == [REBIRTH]


def test_a_device_is_not_born_of_a_dead_node() -> None:
    ear = born()
    say(ear, "NDEATH", metric(3, UINT64, "bdSeq"), seq=0)
    assert say(ear, "DBIRTH", *PUMP, seq=2, device="Pump") == [REBIRTH]


def test_data_after_a_devices_death_needs_a_birth() -> None:
    ear = born()
    say(ear, "DDEATH", seq=2, device="Pump")
    assert say(ear, "DDATA", metric(1.5, FLOAT, alias=7), seq=3, device="Pump") == [REBIRTH]


def test_what_is_asked_is_a_rebirth_of_the_specification() -> None:
    ear = sensing("sparkplug")
    ear.ingest("spBv1.0/Plant/NDATA/Line1", payload(metric(4, INT32, alias=1)), NOW)
    (command,) = ear.take_commands()
    content = dict(fields(command.payload))
    assert set(content) == {1, 2}, "a time and one metric, no sequence number"
    assert content[1] == NOW * 1000
    assert isinstance(content[2], bytes)
    assert dict(fields(content[2])) == {1: b"Node Control/Rebirth", 4: BOOLEAN, 14: 1}


def test_only_listening_asks_nothing() -> None:
    ear = sensing("sparkplug", rebirth=False)
    assert say(ear, "NDATA", metric(4, INT32, alias=3), seq=7) == []


def test_where_not_all_messages_are_heard_gaps_mean_nothing() -> None:
    ear = sensing("sparkplug", topics=("spBv1.0/{device}/{key}/{device}",))
    say(ear, "NBIRTH", *BIRTH, seq=0)
    assert say(ear, "NDATA", metric(1.5, FLOAT, alias=1), seq=9) == []
    assert say(ear, "NDATA", metric(1.5, FLOAT, alias=99), seq=20) == [REBIRTH]


def test_a_node_that_does_not_answer_is_asked_ever_more_rarely() -> None:
    ear = sensing("sparkplug")
    data = metric(4, INT32, alias=3)
    asked = [second for second in range(40000) if say(ear, "NDATA", data, seq=0, at=NOW + second)]
    pauses = [after - before for before, after in pairwise(asked)]
    assert pauses[:3] == [ASK_AFTER_S, 2 * ASK_AFTER_S, 4 * ASK_AFTER_S]
    assert pauses[-1] == ASK_AT_MOST_S
    later = NOW + 40000 + 4 * ASK_AT_MOST_S + 1
    assert say(ear, "NDATA", data, seq=0, at=later) == [REBIRTH]
    assert say(ear, "NDATA", data, seq=0, at=later + ASK_AFTER_S) == [REBIRTH], "it was calm"


def test_nodes_are_not_asked_all_at_once_and_not_remembered_without_end() -> None:
    ear = sensing("sparkplug")
    data = metric(4, INT32, alias=3)
    at_once = [say(ear, "NDATA", data, seq=0, node=f"n{n}") for n in range(50)]
    assert at_once == [["spBv1.0/Plant/NCMD/n0"], *[[]] * 49]
    for number in range(MAX_ASKED + 50):
        say(ear, "NDATA", data, seq=0, node=f"m{number}", at=NOW + number + 1)
    (decode,) = ear._sources[0]._decoders.values()
    assert len(decode.__self__._asked) == MAX_ASKED  # type: ignore[attr-defined]


def test_births_that_there_is_no_room_for_are_not_asked_for_again() -> None:
    ear = sensing("sparkplug")
    for number in range(MAX_MEMBERS):
        say(ear, "NBIRTH", seq=0, node=f"n{number}", at=NOW + number)
    assert say(ear, "NBIRTH", *BIRTH, seq=0, node="x", at=NOW + 9e4) == []


def test_config_try_says_what_it_would_ask(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tmp_path / "edgespike.yaml"
    settings.write_text("sensors: [{profile: sparkplug}]\n")
    data = payload(metric(4, INT32, "Level")).decode("utf-8", "surrogateescape")
    assert main(["config", "try", str(settings), "spBv1.0/Plant/NDATA/Line1", data]) == 0
    said = capsys.readouterr().out
    assert "Plant Line1 level: 4" in said
    assert REBIRTH in said


def test_a_rebirth_brings_the_channels_of_a_node_that_was_there_before(
    daemon: DaemonProcess, broker: Mosquitto, chatter: Path
) -> None:
    daemon.configure(broker.port, chatter, sensors=[{"profile": "sparkplug"}])
    line = Peer(broker.port, REBIRTH, f"edgespike/{NODE}/status", f"edgespike/{NODE}/metrics")
    daemon.start()
    line.status("online")
    data = payload(metric(21.5, FLOAT, alias=1), seq=5)
    line.publish("spBv1.0/Plant/NDATA/Line1", data, qos=0)
    asked = line.until(lambda message: message.topic == REBIRTH)
    assert b"Node Control/Rebirth" in asked.payload
    assert not asked.retain
    line.publish("spBv1.0/Plant/NBIRTH/Line1", payload(*BIRTH, seq=0), qos=0)
    line.publish("spBv1.0/Plant/NDATA/Line1", payload(metric(22.5, FLOAT, alias=1), seq=1), qos=0)
    line.until(
        lambda message: (
            message.topic.endswith("/metrics") and message.body["sensors"]["channels"] == 1
        )
    )
    end = time.monotonic() + WAIT
    while not daemon.events("rebirth_asked") and time.monotonic() < end:
        time.sleep(0.05)
    assert [event["sent"] for event in daemon.events("rebirth_asked")] == [True]
    line.close()
