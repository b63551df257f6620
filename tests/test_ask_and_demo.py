"""`edgespike ask` and `edgespike demo`, as people run them."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import NODE, DaemonProcess, Mosquitto, Peer, free_port
from test_daemon import chunk

from edgespike.agent.client import unreachable
from edgespike.config import Broker


def run(*arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edgespike", *arguments],
        input=text,
        capture_output=True,
        text=True,
        timeout=90,
    )


def test_ask_streams_the_answer_to_standard_output(
    online: DaemonProcess, broker: Mosquitto, peer: Peer
) -> None:
    done = run("ask", "what is high?", "--broker", broker.url, "--node", NODE, "-n", "10")
    assert (done.returncode, done.stderr) == (0, "")
    answer = peer.final().body["text"]
    assert [line for line in done.stdout.split() if line.isalnum()] == [
        word for word in answer.split() if word.isalnum()
    ]
    assert any(m.body["type"] == "chunk" for m in peer.heard if "/response/" in m.topic)


def test_ask_reads_standard_input_and_prints_json(online: DaemonProcess, broker: Mosquitto) -> None:
    done = run(
        *("ask", "-", "--broker", broker.url, "--node", NODE, "--json", "-n", "3"),
        text="what is\nhigh?\n",
    )
    reply = json.loads(done.stdout)
    assert (done.returncode, reply["type"]) == (0, "answer")
    assert reply["usage"]["completion_tokens"] <= 3


def test_ask_without_a_broker_is_one_line_and_69() -> None:
    done = run("ask", "hello", "--broker", f"mqtt://127.0.0.1:{free_port()}")
    assert done.returncode == 69
    assert len(done.stderr.splitlines()) == 1
    assert "is it running" in done.stderr


def test_ask_of_a_node_that_is_not_there_times_out_with_69(broker: Mosquitto) -> None:
    done = run("ask", "hello", "--broker", broker.url, "--node", "nobody", "--timeout", "1")
    assert done.returncode == 69
    assert "no answer from node 'nobody' within 1 s" in done.stderr


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        ("Connection refused", "is it running"),
        ("Not authorized", "are the user and the password right"),
        ("Bad user name or password", "are the user and the password right"),
        ("TLS: the port has none: correct it", "correct it)"),
    ],
)
def test_without_a_connection_the_advice_fits_the_reason(reason: str, advice: str) -> None:
    said = str(unreachable(Broker(host="b"), reason))
    assert said.startswith(f"no connection to the broker at b:1883 ({reason})")
    assert advice in said
    assert said.count("is it running") == advice.count("is it running")


def test_silence_of_a_node_that_is_online_points_to_the_access_rules(
    broker: Mosquitto, peer: Peer
) -> None:
    peer.publish("edgespike/deaf/status", "online", qos=1, retain=True)
    done = run("ask", "hello", "--broker", broker.url, "--node", "deaf", "--timeout", "1")
    assert done.returncode == 69
    assert "may this user write edgespike/deaf/prompt" in done.stderr
    assert "is `edgespike run` running" not in done.stderr


def test_silence_of_a_node_that_is_paused_points_to_that(
    online: DaemonProcess, broker: Mosquitto, peer: Peer
) -> None:
    peer.publish(f"edgespike/{NODE}/control", "pause")
    peer.until(lambda m: m.topic.endswith("/metrics") and m.body["paused"])
    done = run("ask", "hello", "--broker", broker.url, "--node", NODE, "--timeout", "1")
    assert done.returncode == 69
    assert "paused" in done.stderr  # by the node or by the client, whoever is first
    assert "may this user write" not in done.stderr
    peer.prompt({"prompt": "hello", "id": "p", "deadline_ms": 100})
    assert peer.final("p").body["message"].endswith("waited: this node is paused")


def test_a_question_that_the_broker_takes_no_packet_for_is_refused_at_once(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path, "max_packet_size 1000\n", anonymous=True)
    broker.start()
    done = run("ask", "x" * 2000, "--broker", broker.url, "--node", NODE, "--timeout", "50")
    broker.stop()
    assert done.returncode == 65
    assert done.stderr == (
        "edgespike: the broker takes no question of this size: ask a shorter one\n"
    )


def test_ask_passes_on_why_a_prompt_was_refused(online: DaemonProcess, broker: Mosquitto) -> None:
    done = run("ask", "x", "--broker", broker.url, "--node", NODE, "-n", "9999999")
    assert done.returncode == 65
    assert "max_tokens" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_interrupting_ask_cancels_the_prompt(
    online: DaemonProcess, broker: Mosquitto, peer: Peer
) -> None:
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "edgespike", "ask", "what is high?", "-n", "60000"),
            *("--broker", broker.url, "--node", NODE),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    prompt = peer.until(lambda m: m.topic.endswith("/prompt"))
    peer.until(chunk(prompt.body["id"]))
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert peer.final().body["finish_reason"] == "cancelled"


@pytest.mark.parametrize(
    "arguments", [["ask", "  "], ["ask", "x", "--timeout", "0"], ["demo", "--port", "70000"]]
)
def test_wrong_use_is_64(arguments: list[str]) -> None:
    assert run(*arguments).returncode == 64


def test_demo_answers_and_leaves_nothing_behind(
    chatter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    port = free_port()
    done = run("demo", "--ask", "What is high?", "--model", str(chatter), "--port", str(port))
    assert (done.returncode, done.stderr) == (0, "")
    for part in ("kitchen temperature", "21.", "pump-07 pressure", "HIGH", "What is high?"):
        assert part in done.stdout
    assert "first token after" in done.stdout
    assert list(tmp_path.iterdir()) == []
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_demo_prints_one_json_object(chatter: Path) -> None:
    done = run("demo", "--json", "--ask", "What is high?", "--model", str(chatter))
    report = json.loads(done.stdout)
    assert (done.returncode, report["question"], report["answer"]["type"]) == (
        0,
        "What is high?",
        "answer",
    )
    assert "kitchen temperature" in {channel["name"] for channel in report["channels"]}


@pytest.mark.parametrize(
    "arguments", [[], ["nonsense"], ["ask"], ["ask", "hi", "--timeout", "x"], ["config", "check"]]
)
def test_a_wrong_command_is_one_line_that_names_the_help(arguments: list[str]) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (64, "", 1)
    assert done.stderr.rstrip().endswith("--help")


@pytest.mark.parametrize("command", ["ask", "generate"])
def test_standard_input_that_is_no_text_is_one_line_and_65(command: str) -> None:
    words = [sys.executable, "-m", "edgespike", command, "-"]
    done = subprocess.run(words, input=b"caf\xe9", capture_output=True)
    assert (done.returncode, done.stderr) == (
        65,
        b"edgespike: standard input: not UTF-8 at byte 3\n",
    )


def test_a_reader_who_leaves_ends_it_quietly() -> None:
    # `true` is gone before Python has started; `head` would race with output that a pipe holds.
    command = f"{sys.executable} -m edgespike inspect --json --tensors | true"
    done = subprocess.run(
        ["bash", "-c", f"{command}; exit ${{PIPESTATUS[0]}}"], capture_output=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGPIPE, b"", b"")


def test_demo_on_a_port_in_use_is_one_line_and_69() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("demo", "--ask", "x", "--port", str(port))
    assert done.returncode == 69
    assert done.stderr == (
        f"edgespike: port {port} is in use: choose another with --port, or none for any free one\n"
    )


def test_demo_says_why_the_daemon_did_not_start(tmp_path: Path) -> None:
    done = run("demo", "--ask", "x", "--model", str(tmp_path / "nowhere.safetensors"))
    assert done.returncode == 66
    assert "nowhere.safetensors" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("node", ["+", "#", "a/b", "A B"])
def test_ask_refuses_a_name_that_no_node_has(node: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "edgespike", "ask", "hello", "--node", node],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 64
    assert "no name of a node" in ended.stderr
    assert ended.stderr.count("\n") == 1
