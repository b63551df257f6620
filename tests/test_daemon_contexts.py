"""Warm context, dialogues and limits, as a client of a daemon sees them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import NODE, DaemonProcess, Mosquitto, Peer

from edgespike.model.bundled import bundled_model

KITCHEN = "What is the kitchen temperature?"


@pytest.fixture
def speaker(daemon: DaemonProcess, broker: Mosquitto, peer: Peer) -> DaemonProcess:
    """A daemon with the bundled model, online."""
    daemon.configure(broker.port, bundled_model())
    daemon.start()
    peer.status("online")
    return daemon


def hear(peer: Peer, value: float) -> None:
    peer.publish("zigbee2mqtt/kitchen", json.dumps({"temperature": value}))


def test_an_answer_tells_the_value_that_came_five_milliseconds_before_the_question(
    speaker: DaemonProcess, peer: Peer
) -> None:
    for value in (22.5, 19.5, 24.5):
        hear(peer, value)
        time.sleep(0.005)  # time itself is what is tested
        peer.prompt(KITCHEN)
        body = peer.final().body
        assert body["context"]["sensors"] == ["kitchen temperature"]
        assert str(value) in body["text"]


def test_a_dialogue_goes_on_and_survives_a_restart(speaker: DaemonProcess, peer: Peer) -> None:
    def ask(**fields: object) -> dict[str, object]:
        peer.prompt({"prompt": KITCHEN, "session": "talk", "max_tokens": 5, **fields})
        return peer.final().body["context"]

    assert [ask()["turns"] for _ in range(3)] == [0, 1, 2]
    peer.prompt(
        {"prompt": KITCHEN, "session": "talk", "max_tokens": 5},
        ResponseTopic="edgespike/replies/other",
    )
    other = peer.until(lambda m: m.topic == "edgespike/replies/other")
    assert other.body["context"]["turns"] == 0
    speaker.signal(15)
    assert speaker.wait() == 0
    speaker.start()
    peer.status("online")
    assert ask()["turns"] == 3
    assert ask(reset=True)["turns"] == 0


def test_a_dialogue_goes_on_from_one_ask_of_the_command_line_to_the_next(
    speaker: DaemonProcess, broker: Mosquitto
) -> None:
    command = [sys.executable, "-m", "edgespike", "ask", KITCHEN, "--session", "talk"]
    where = ["--broker", broker.url, "--node", NODE, "--max-tokens", "5", "--json"]
    said = [
        subprocess.run([*command, *where], capture_output=True, check=True).stdout for _ in range(2)
    ]
    assert [json.loads(answer)["context"]["turns"] for answer in said] == [0, 1]


def test_who_asks_too_often_is_told_when_to_come_back(
    daemon: DaemonProcess, broker: Mosquitto, chatter: Path, peer: Peer
) -> None:
    daemon.configure(broker.port, chatter, prompts={"per_minute": 1, "burst": 2})
    daemon.start()
    peer.status("online")
    for number in range(3):
        peer.prompt({"prompt": "hello", "id": f"a{number}", "max_tokens": 1})
    finals = {body["id"]: body for body in (peer.final().body for _ in range(3))}
    assert [finals[f"a{number}"]["type"] for number in range(2)] == ["answer", "answer"]
    assert finals["a2"]["code"] == "busy"
    assert 0 < finals["a2"]["retry_ms"] <= 60_000
    peer.prompt({"prompt": "hello", "id": "b", "max_tokens": 1}, UserProperty=("requester", "b"))
    assert peer.final("b").body["type"] == "answer"


def test_a_warm_daemon_absorbs_while_it_is_idle_and_serves_from_it(
    daemon: DaemonProcess, broker: Mosquitto, peer: Peer
) -> None:
    daemon.configure(broker.port, bundled_model(), context={"mode": "warm"})
    daemon.start()
    peer.status("online")
    hear(peer, 21.5)
    body: dict[str, object] = {}
    while not body.get("absorbed"):
        peer.prompt({"prompt": KITCHEN, "max_tokens": 1})
        body = peer.final().body["context"]
    assert body["mode"] == "warm"
