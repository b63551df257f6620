"""What the daemon does when things die: itself, the broker, its threads, the disk."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import structlog
from conftest import NODE, DaemonProcess, Mosquitto, Peer, free_port
from test_daemon import LONG, MANY_TOKENS, chunk

from edgespike.agent.desk import MAX_STARTS
from edgespike.agent.journal import Journal, Key
from edgespike.agent.loading import pin
from edgespike.config import Config
from edgespike.profiles import BoardProfile

PROMPT = f"edgespike/{NODE}/prompt"


@pytest.mark.parametrize("payload", [{**LONG, "id": "k1"}, {"prompt": "hi", "max_tokens": 60000}])
def test_a_prompt_killed_while_it_is_answered_is_answered_once_after_the_restart(
    online: DaemonProcess, peer: Peer, payload: dict[str, object]
) -> None:
    """With an id of the client, and with one of ours, which must stay the same."""
    peer.prompt({**payload, "stream": True})
    first = peer.until(lambda m: "/response/" in m.topic and m.body["type"] == "chunk")
    id = first.body["id"]
    online.kill()
    peer.status("offline")
    online.start()
    peer.status("online")
    peer.until(chunk(id))
    peer.publish(f"edgespike/{NODE}/cancel", id)
    answer = peer.final()
    assert answer.topic == first.topic
    assert answer.body["type"] == "answer"
    peer.prompt({"prompt": "hello", "id": "after", "max_tokens": 2})
    peer.final("after")
    assert len(peer.finals(id)) == 1


def test_a_prompt_that_ends_the_daemon_again_and_again_is_given_up(
    online: DaemonProcess, peer: Peer
) -> None:
    peer.prompt({**LONG, "id": "poison"})
    peer.until(chunk("poison"))
    deaths = 0
    while not peer.finals("poison"):
        online.kill()
        deaths += 1
        peer.status("offline")  # and past all chunks of this run
        online.start()
        peer.until(lambda m: chunk("poison")(m) or bool(peer.finals("poison")))
    (body,) = peer.finals("poison")
    assert (body["code"], f"{MAX_STARTS} times" in body["message"]) == ("internal", True)
    assert deaths in (MAX_STARTS, MAX_STARTS + 1)  # the first may come before it is written


def test_a_prompt_whose_answer_was_delivered_is_only_acknowledged_after_a_kill(
    online: DaemonProcess, peer: Peer
) -> None:
    """The kill came between the broker's confirmation and our acknowledgement."""
    peer.publish(f"edgespike/{NODE}/control", "pause")
    peer.prompt({"prompt": "hello", "id": "z1", "stream": True})
    peer.until(lambda m: m.topic.endswith("/z1") and m.body["type"] == "accepted")
    online.kill()
    journal = Journal(online.directory / "state" / f"{NODE}.journal")
    key = Key("z1", f"edgespike/{NODE}/response/z1")
    journal.record(key, b"an answer", time.time())
    journal.deliver(key, time.time())
    journal.close()
    for count in (1, 1):  # at the second start the broker doesn't send it again
        online.start()
        peer.status("online")
        peer.prompt({"prompt": "hello", "id": f"after{time.time()}", "max_tokens": 2})
        peer.final()
        # Its own answers' acknowledgements may be lost in a kill, too: those are not counted.
        found = [x["id"] for x in online.events("already_answered") if x["id"] == "z1"]
        assert len(found) == count
        online.kill()
    assert not peer.finals("z1")


def test_prompts_in_the_inbox_survive_a_kill(online: DaemonProcess, peer: Peer) -> None:
    peer.publish(f"edgespike/{NODE}/control", "pause")
    for number in range(4):
        peer.prompt({"prompt": "hello", "id": f"q{number}", "max_tokens": 2, "stream": True})
    peer.until(lambda m: m.topic.endswith("/q3") and m.body["type"] == "accepted")
    online.kill()
    online.start()
    assert sorted(peer.final().body["id"] for _ in range(4)) == ["q0", "q1", "q2", "q3"]


def test_a_deadline_counts_from_the_first_arrival_also_across_a_restart(
    online: DaemonProcess, peer: Peer
) -> None:
    peer.publish(f"edgespike/{NODE}/control", "pause")
    question = {"prompt": "hello", "id": "old", "stream": True, "max_tokens": 2}
    peer.prompt({**question, "deadline_ms": 1000})
    peer.until(lambda m: m.topic.endswith("/old") and m.body["type"] == "accepted")
    online.kill()
    time.sleep(1.0)  # time itself is what is waited for
    online.start()
    assert peer.final("old").body["code"] == "expired"


def test_the_same_prompt_asked_again_is_answered_from_the_sensors_as_they_are_now(
    online: DaemonProcess, peer: Peer
) -> None:
    """A client may use one id for ever: only what the broker calls a repetition is one."""
    question = {"prompt": "what is high?", "id": "same", "max_tokens": 5}
    peer.prompt(question)
    assert peer.final("same").body["context"]["sensors"] == []
    peer.publish("sensors/cellar/humidity", "61")
    # Sensors come over a connection of their own: ask until it has arrived.
    asked = 1
    used: list[str] = []
    while used != ["cellar humidity"] and asked < 50:
        asked += 1
        peer.prompt(question)
        used = peer.final("same").body["context"]["sensors"]
    assert used == ["cellar humidity"]
    assert len(online.events("prompt")) == asked


def test_the_same_id_with_another_question_is_another_prompt(
    online: DaemonProcess, peer: Peer
) -> None:
    peer.prompt({"prompt": "what is high?", "id": "same", "max_tokens": 5})
    first = peer.final("same")
    peer.prompt({"prompt": "what is low?", "id": "same", "max_tokens": 4})
    assert peer.final("same").payload != first.payload
    assert len(online.events("prompt")) == 2


def test_a_duplicate_of_a_running_prompt_gets_the_one_answer(
    online: DaemonProcess, peer: Peer
) -> None:
    question = {**LONG, "id": "dup"}
    peer.prompt(question)
    peer.until(chunk("dup"))
    peer.prompt(question)
    peer.prompt({**question, "prompt": "something else"})
    assert peer.final("dup").body["code"] == "bad_request"
    peer.publish(f"edgespike/{NODE}/cancel", "dup")
    assert peer.final("dup").body["finish_reason"] == "cancelled"
    peer.prompt({"prompt": "hello", "id": "after", "max_tokens": 2})
    peer.final("after")
    assert len(peer.finals("dup")) == 2


def test_sigterm_ends_the_answer_with_what_it_has_and_leaves_the_rest_to_the_broker(
    daemon: DaemonProcess, broker: Mosquitto, chatter: Path, peer: Peer
) -> None:
    daemon.configure(broker.port, chatter, prompts={"parallel": 1})
    daemon.start()
    peer.status("online")
    peer.prompt({**LONG, "id": "t1"})
    peer.until(chunk("t1"))
    peer.prompt({"prompt": "hello", "id": "t2", "max_tokens": 2, "stream": True})
    peer.until(lambda m: m.topic.endswith("/t2"))
    daemon.signal(signal.SIGTERM)
    body = peer.final().body
    assert (body["id"], body["finish_reason"]) == ("t1", "cancelled")
    assert body["usage"]["completion_tokens"] > 0
    peer.status("stopped")
    assert daemon.wait() == 0
    assert not peer.finals("t2")
    daemon.start()
    assert peer.final("t2").body["type"] == "answer"
    assert len(peer.finals("t1")) == 1


def test_a_prompt_that_sigterm_stops_before_its_first_token_is_answered_later(
    online: DaemonProcess, peer: Peer
) -> None:
    peer.prompt({"prompt": MANY_TOKENS, "id": "t3", "stream": True, "max_tokens": 2})
    peer.until(lambda m: m.topic.endswith("/t3") and m.body["type"] == "progress")
    online.signal(signal.SIGTERM)
    assert online.wait() == 0
    online.start()
    assert peer.final("t3").body["finish_reason"] in ("stop", "length")


@pytest.mark.parametrize(
    ("signals", "status"),
    [([signal.SIGTERM] * 3, 0), ([signal.SIGINT] * 2, 128 + signal.SIGINT)],
    ids=["SIGTERM", "SIGINT"],
)
def test_the_stop_is_bounded_and_a_second_interrupt_ends_it_at_once(
    online: DaemonProcess, broker: Mosquitto, peer: Peer, signals: list[int], status: int
) -> None:
    """The broker confirms nothing any more, so the answer can't be delivered."""
    peer.prompt({**LONG, "id": "u1"})
    peer.until(chunk("u1"))
    broker.freeze()
    for number in signals:
        seen = len(online.events("stopping"))
        online.signal(number)
        while len(online.events("stopping")) == seen == 0:
            time.sleep(0.02)
    assert online.wait() == status
    broker.thaw()
    online.start()
    peer.status("online")
    peer.publish(f"edgespike/{NODE}/cancel", "u1")  # in case that its answer wasn't recorded
    peer.prompt({"prompt": "hello", "id": "after", "max_tokens": 2})
    peer.final("after")
    # The frozen broker may have taken the answer without confirming it: then it comes twice.
    first, *copies = peer.finals("u1")
    assert first["finish_reason"] == "cancelled"
    assert all(copy == first for copy in copies)


def test_a_full_disk_silences_nobody(online: DaemonProcess, peer: Peer) -> None:
    """Neither journal nor log can be written; prompts are answered all the same."""
    assert online.process is not None
    pid = online.process.pid
    limit = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, limit[1]))
    peer.prompt({"prompt": "hello", "id": "f1", "max_tokens": 2})
    assert peer.final("f1").body["type"] == "answer"
    resource.prlimit(pid, resource.RLIMIT_FSIZE, limit)
    peer.prompt({"prompt": "hello", "id": "f2", "max_tokens": 2})
    answer = peer.final("f2").payload
    online.kill()  # it has the journal to itself
    with sqlite3.connect(online.directory / "state" / f"{NODE}.journal") as journal:
        recorded = journal.execute("SELECT answer FROM prompts WHERE id = 'f2'").fetchall()
    assert recorded == [(answer,)]  # the journal works again
    assert [event["id"] for event in online.events("prompt")] == ["f2"]


def test_cpus_that_cannot_be_had_are_a_warning(daemon: DaemonProcess, peer: Peer) -> None:
    settings = json.loads(daemon.settings.read_text())
    daemon.settings.write_text(json.dumps(settings | {"board": {"pin": [1000]}}))
    daemon.start()
    peer.status("online")
    assert daemon.events("not_pinned")[0]["cpus"] == [1000]


def test_a_process_that_systemd_has_pinned_is_not_warned_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setaffinity", forbidden)
    here = BoardProfile(pin=tuple(sorted(os.sched_getaffinity(0))))
    with structlog.testing.capture_logs() as logs:
        pin(replace(Config(), board=here))
        assert logs == []
        pin(replace(Config(), board=BoardProfile(pin=(1000,))))
    assert [event["event"] for event in logs] == ["not_pinned"]


def test_after_a_broker_restart_it_subscribes_again_and_answers(
    online: DaemonProcess, broker: Mosquitto
) -> None:
    broker.stop()
    broker.start()
    peer = Peer(broker.port, f"edgespike/{NODE}/#")
    while not online.events("disconnected") or len(online.events("connected")) < 4:
        time.sleep(0.05)
    peer.publish("zigbee2mqtt/kitchen", '{"temperature": 21.5}', retain=True)
    for number in range(50):
        peer.prompt({"prompt": "hello", "id": f"r{number}", "max_tokens": 2})
        if peer.final(f"r{number}").body["context"]["sensors"]:
            break
    assert peer.finals(f"r{number}")[0]["context"]["sensors"] == ["kitchen temperature"]
    peer.close()


def test_an_answer_made_without_a_broker_is_delivered_when_it_is_back(
    online: DaemonProcess, broker: Mosquitto, peer: Peer
) -> None:
    peer.prompt({**LONG, "id": "o1", "deadline_ms": 1000})
    peer.until(chunk("o1"))
    broker.stop()
    while not online.events("prompt"):
        time.sleep(0.02)
    broker.start()
    assert peer.final("o1").body["finish_reason"] == "deadline"
    peer.prompt({"prompt": "hello", "id": "after", "max_tokens": 2})
    peer.final("after")
    assert len(peer.finals("o1")) == 1


def test_it_waits_for_a_broker_that_comes_later(
    tmp_path: Path, broker: Mosquitto, chatter: Path
) -> None:
    broker.stop()
    daemon = DaemonProcess(tmp_path, broker.port, chatter).start()
    while not daemon.events("ready"):
        time.sleep(0.05)
    assert "refused" in daemon.events("disconnected")[0]["reason"]
    broker.start()
    peer = Peer(broker.port, f"edgespike/{NODE}/#")
    peer.status("online")
    peer.close()
    daemon.kill()


def test_two_daemons_of_one_node_are_told_apart_in_the_log(
    online: DaemonProcess, tmp_path: Path, broker: Mosquitto, chatter: Path
) -> None:
    """Mosquitto 2.0 doesn't say that a session was taken over; it only closes."""
    directory = tmp_path / "second"
    directory.mkdir()
    second = DaemonProcess(directory, broker.port, chatter).start()
    while not online.events("unstable_connection"):
        time.sleep(0.1)
    assert f"as node '{NODE}'" in online.events("unstable_connection")[0]["hint"]
    second.kill()


def test_a_damaged_journal_is_moved_aside(daemon: DaemonProcess, peer: Peer) -> None:
    state = daemon.directory / "state"
    state.mkdir()
    (state / f"{NODE}.journal").write_bytes(b"not a database" * 1000)
    daemon.start()
    peer.status("online")
    moved = daemon.events("journal_damaged")[0]["moved_to"]
    assert Path(moved).read_bytes().startswith(b"not a database")
    peer.prompt({"prompt": "hello", "id": "m1", "max_tokens": 2})
    assert peer.final("m1").body["type"] == "answer"


def test_a_state_directory_that_cannot_be_written_is_one_line(daemon: DaemonProcess) -> None:
    daemon.configure(1883, Path("unused"), state_dir="/proc/edgespike")
    daemon.start()
    assert daemon.wait() == 78
    assert daemon.log.read_text().startswith("edgespike: state_dir /proc/edgespike")
    assert len(daemon.log.read_text().splitlines()) == 1


def test_a_missing_model_is_one_line_and_the_status_says_offline(
    daemon: DaemonProcess, broker: Mosquitto, peer: Peer, tmp_path: Path
) -> None:
    daemon.configure(broker.port, tmp_path / "nowhere.safetensors")
    daemon.start()
    assert daemon.wait() == 66
    peer.status("offline")
    last = daemon.log.read_text().splitlines()[-1]
    assert last.startswith("edgespike: ")
    assert "nowhere.safetensors" in last


def test_bad_credentials_are_named_in_the_log(tmp_path: Path, chatter: Path) -> None:
    home = tmp_path / "mosquitto"
    home.mkdir()
    (home / "passwords").write_text("")
    (home / "passwords").chmod(0o600)
    broker = Mosquitto(home, extra=f"password_file {home}/passwords\n")
    broker.start()
    daemon = DaemonProcess(tmp_path, broker.port, chatter).start()
    while not daemon.events("disconnected"):
        time.sleep(0.05)
    assert daemon.events("disconnected")[0]["reason"] == "Not authorized"
    daemon.kill()
    broker.stop()


def test_systemd_hears_ready_status_watchdog_and_stopping(
    daemon: DaemonProcess, peer: Peer, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        daemon.start(NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="2000000")
        heard: list[str] = []

        def until(state: str) -> None:
            while state not in heard:
                heard.append(manager.recv(4096).decode())

        until("READY=1")
        assert heard[0].startswith("STATUS=loading")
        until("WATCHDOG=1")
        heard.clear()
        until("WATCHDOG=1")  # again and again
        daemon.signal(signal.SIGTERM)
        until("STOPPING=1")
        assert daemon.wait() == 0


COMPILING = """
import sys, time
from edgespike import telemetry
from edgespike.agent.lifecycle import Daemon
from edgespike.agent.loading import load_answerer
from edgespike.config import load_config
from edgespike.kernels.compiler import inlined

settings = load_config(sys.argv[1])
telemetry.configure("info", "json")

def load(*parts):
    inlined(lambda number: number + 1)(1)
    time.sleep(3)
    return load_answerer(*parts)

Daemon(settings, load, lambda: settings).run()
"""


def test_a_first_start_says_how_far_compiling_is(daemon: DaemonProcess, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, daemon.log.open("wb") as log:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        daemon.process = subprocess.Popen(
            [sys.executable, "-c", COMPILING, str(daemon.settings)],
            stderr=log,
            env=os.environ | {"NOTIFY_SOCKET": str(tmp_path / "notify")},
        )
        heard = [manager.recv(4096).decode()]
        while heard[-1] != "READY=1":
            heard.append(manager.recv(4096).decode())
    assert any(state.startswith("STATUS=compiling kernels, 1 of 2") for state in heard)
    assert len(daemon.events("compiling")) == 1


def test_ready_does_not_wait_for_the_broker(tmp_path: Path, chatter: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        name = f"edgespike-test-{tmp_path.name}-{free_port()}"
        manager.bind(f"\0{name}")
        manager.settimeout(60)
        daemon = DaemonProcess(tmp_path, free_port(), chatter).start(NOTIFY_SOCKET=f"@{name}")
        heard = [manager.recv(4096)]
        while heard[-1] != b"READY=1":
            heard.append(manager.recv(4096))
        assert b"STATUS=ready, no connection to the broker (Connection refused)" in heard[-2]
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0


def test_a_reply_that_the_broker_refuses_does_not_block_the_next(
    tmp_path: Path, chatter: Path
) -> None:
    home = tmp_path / "mosquitto"
    home.mkdir()
    rules = "topic readwrite edgespike/#\ntopic readwrite zigbee2mqtt/#\npattern read $SYS/#\n"
    (home / "rules").write_text(rules + "topic deny edgespike/replies/secret\n")
    broker = Mosquitto(home)
    text = broker._configuration.read_text()
    broker._configuration.write_text(f"{text}acl_file {home}/rules\n")
    broker.start()
    peer = Peer(broker.port, "edgespike/#")
    daemon = DaemonProcess(tmp_path, broker.port, chatter).start()
    peer.status("online")
    peer.prompt({"prompt": "hello", "id": "a1"}, ResponseTopic="edgespike/replies/secret")
    peer.prompt({"prompt": "hello", "id": "a2", "max_tokens": 2})
    assert peer.final("a2").body["type"] == "answer"
    while not (refused := daemon.events("reply_refused")):
        time.sleep(0.02)
    assert json.dumps(refused).count("Not authorized") == 1
    peer.close()
    daemon.kill()
    broker.stop()


def test_what_is_larger_than_the_broker_takes_is_shortened_refused_or_logged(
    tmp_path: Path, chatter: Path
) -> None:
    home = tmp_path / "mosquitto"
    home.mkdir()
    broker = Mosquitto(home, "max_packet_size 1000\n", anonymous=True)
    broker.start()
    peer = Peer(broker.port, "edgespike/#")
    daemon = DaemonProcess(tmp_path, broker.port, chatter, homeassistant={"enabled": True}).start()
    peer.status("online")
    for _ in range(2):
        peer.prompt({"prompt": "hello", "id": "g1", "max_tokens": 2000})
        assert peer.final("g1").body["code"] == "too_large"
    peer.prompt({"prompt": "hello", "id": "g2", "max_tokens": 2})
    answer = peer.final("g2").body
    assert answer["type"] == "answer"
    assert "shortened" not in answer["context"]
    # The names of many sensors are most of an answer, and not what was asked for.
    for number in range(60):
        peer.publish(f"sensors/cellar-{number}/humidity", "61")
    for _ in range(50):  # sensors come over a connection of their own
        peer.prompt({"prompt": "hello", "id": "g3", "max_tokens": 2})
        answer = peer.final("g3").body
        if answer["type"] == "error" or "shortened" in answer["context"]:
            break
    assert (answer["type"], answer["context"]["shortened"]) == ("answer", True)
    assert answer["context"]["sensors"] == []
    assert answer["text"]
    assert peer.until(lambda m: m.topic.endswith("/last")).body == answer
    # What can't be sent at all is said once, however often it is tried.
    discovery = f"homeassistant/device/edgespike_{NODE}/config"
    logged = [event["topic"] for event in daemon.events("too_large_for_broker")]
    assert {discovery, f"edgespike/{NODE}/event"} <= set(logged)
    assert len(logged) == len(set(logged))
    assert daemon.events("homeassistant_announced") == []
    assert len(daemon.events("connected")) == 2
    peer.close()
    daemon.kill()
    broker.stop()
