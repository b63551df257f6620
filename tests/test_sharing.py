"""Several daemons, one queue of prompts: real processes at a real broker, killed in the middle."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import DaemonProcess, Message, Mosquitto, Peer
from test_daemon import LONG, chunk

POOL = "edgespike/pool"


@pytest.fixture
def members(
    tmp_path: Path, broker: Mosquitto, chatter: Path
) -> Iterator[Callable[..., DaemonProcess]]:
    """Makes a daemon of that name in the group `pool`, which answers one prompt at a time."""
    made: list[DaemonProcess] = []

    def make(name: str, inbox: int = 16) -> DaemonProcess:
        (tmp_path / name).mkdir()
        prompts = {"parallel": 1, "inbox": inbox}
        fields: dict[str, Any] = {"node": name, "group": "pool", "prompts": prompts}
        process = DaemonProcess(tmp_path / name, broker.port, chatter, **fields)
        made.append(process)
        return process

    yield make
    for process in made:
        if process.process is not None and process.process.poll() is None:
            process.kill()


@pytest.fixture
def client(broker: Mosquitto) -> Iterator[Peer]:
    peer = Peer(broker.port, "edgespike/#")
    yield peer
    peer.close()


def start(client: Peer, *daemons: DaemonProcess) -> None:
    """Start them, and wait until they are members and ready."""
    for daemon in daemons:
        daemon.start()
    for daemon in daemons:
        while not (daemon.events("ready") and in_group(daemon)):
            time.sleep(0.02)


def in_group(daemon: DaemonProcess) -> bool:
    return any(event["to"] == "group" for event in daemon.events("connected"))


def pause(client: Peer, one: DaemonProcess) -> None:
    seen = len(one.events("control"))
    client.publish("edgespike/one/control", "pause")
    while len(one.events("control")) == seen:
        time.sleep(0.02)


def ask(client: Peer, id: str, **fields: object) -> None:
    body = {"prompt": "hello", "id": id, "max_tokens": 2} | fields
    client.publish(f"{POOL}/prompt", json.dumps(body))


def work(name: str) -> Callable[[Message], bool]:
    return lambda m: m.topic.startswith(f"{POOL}/work/{name}/") and bool(m.payload)


def kept(broker: Mosquitto) -> list[str]:
    """The copies of prompts that the broker has now."""
    peer = Peer(broker.port, f"{POOL}/work/#", "marker")
    peer.publish("marker", "x")
    peer.until(lambda m: m.topic == "marker")
    peer.close()
    return [message.topic for message in peer.heard if message.topic != "marker"]


def test_every_prompt_is_answered_when_a_member_is_killed_in_the_middle_of_an_answer(
    members: Callable[[str], DaemonProcess], client: Peer, broker: Mosquitto
) -> None:
    one, two = members("one"), members("two")
    start(client, one, two)
    for number in range(2):
        ask(client, f"long{number}", **LONG)
    for number in range(2):
        client.until(chunk(f"long{number}"))
    for number in range(6):
        ask(client, f"p{number}")
    for _ in range(6):
        client.until(lambda m: work("one")(m) or work("two")(m))
    # The broker dealt them out in turn.
    of_one = {m.topic.split("/")[-1] for m in client.heard if work("one")(m)}
    assert of_one
    one.kill()
    while len(two.events("taken_over")) < len(of_one):
        time.sleep(0.02)
    assert {event["ticket"] for event in two.events("taken_over")} == of_one
    for number in range(2):
        client.publish(f"{POOL}/cancel", f"long{number}")
    ids = {"long0", "long1", *(f"p{number}" for number in range(6))}
    finals = [client.final() for _ in range(8)]
    assert {final.body["id"] for final in finals} == ids
    assert all(final.topic == f"{POOL}/response/{final.body['id']}" for final in finals)
    # A new start is no new answer, and the restarted member gets its share again.
    one.start()
    client.until(lambda m: m.topic == f"{POOL}/member/one" and m.payload == b"online")
    for number in range(6, 10):
        ask(client, f"p{number}")
        client.final(f"p{number}")
    assert one.events("prompt")
    assert (
        len(
            [
                m
                for m in client.heard
                if m.topic.startswith(f"{POOL}/response/") and m.body["type"] in ("answer", "error")
            ]
        )
        == 12
    )
    while kept(broker):
        time.sleep(0.05)


def test_a_member_that_stops_hands_its_prompts_over_and_one_alone_takes_its_own_back(
    members: Callable[[str], DaemonProcess], client: Peer, broker: Mosquitto
) -> None:
    one, two = members("one"), members("two")
    start(client, one)
    pause(client, one)
    client.publish(
        f"{POOL}/prompt",
        "no id and no JSON",
        CorrelationData=b"mine",
        ResponseTopic="edgespike/reply/me",
    )
    ask(client, "p1")
    for _ in range(2):
        client.until(work("one"))
    one.kill()
    client.until(lambda m: m.topic == f"{POOL}/member/one" and m.payload == b"offline")
    one.start()
    # Nobody else was there: it takes its own back, and answers what is in its journal once.
    finals = {client.final().topic for _ in range(2)}
    assert finals == {"edgespike/reply/me", f"{POOL}/response/p1"}
    reply = next(m for m in client.heard if m.topic == "edgespike/reply/me")
    assert reply.correlation == b"mine"

    pause(client, one)
    ask(client, "p2")
    client.until(work("one"))
    start(client, two)
    one.signal(signal.SIGTERM)
    assert client.final("p2").body["type"] == "answer"
    assert one.wait() == 0
    assert [event["member"] for event in two.events("taken_over")] == ["one"]


def test_a_member_without_room_hands_on_and_the_group_is_asked_like_a_node(
    members: Callable[..., DaemonProcess], client: Peer, broker: Mosquitto
) -> None:
    one, two = members("one", inbox=1), members("two")
    start(client, one, two)
    pause(client, one)
    ask(client, "first")
    ask(client, "second")
    ask(client, "third")
    ask(client, "fourth")
    # Dealt out in turn, two went to the one that has room for one and answers none.
    assert len({client.final().body["id"] for _ in range(3)}) == 3
    while len(copies := kept(broker)) > 1:
        time.sleep(0.05)
    assert copies[0].startswith(f"{POOL}/work/one/")
    client.publish("edgespike/one/control", "resume")
    client.final()
    command = f"-m edgespike ask hello -n 2 --node pool --broker {broker.url}"
    said = subprocess.run(
        [sys.executable, *command.split()],
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.strip()
    client.publish("edgespike/two/prompt", '{"prompt": "hello", "id": "own", "max_tokens": 2}')
    assert client.final("own").topic == "edgespike/two/response/own"


def test_a_prompt_that_was_handed_on_outlives_the_first_members_copy(
    members: Callable[..., DaemonProcess], client: Peer
) -> None:
    """Both messages come while the member still leaves what is in its name to the others."""
    two = members("two")
    body = json.dumps({"prompt": "hello", "id": "handed", "max_tokens": 2})
    for name in ("one", "two"):
        client.publish(f"{POOL}/work/{name}/t1", body, retain=True)
    two.start()
    client.until(lambda m: m.topic == f"{POOL}/member/two" and m.payload == b"online")
    client.publish(f"{POOL}/work/one/t1", b"", retain=True)
    assert client.final("handed").body["type"] == "answer"
