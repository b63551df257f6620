"""`edgespike top` against a real daemon and broker, on a terminal and without one."""

from __future__ import annotations

import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from conftest import NODE, WAIT, Message, Mosquitto, Peer, free_port
from rich.console import Console

from edgespike.agent.watch import View
from edgespike.cli.topview import draw, facts
from edgespike.messages import Answer


def command(broker: Mosquitto, *more: str, node: str = NODE) -> list[str]:
    words = ["-m", "edgespike", "top", "--broker", broker.url, "--node", node, *more]
    return [sys.executable, *words]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def answered(asker: Peer, shared_broker: Mosquitto) -> Mosquitto:
    """The broker of a daemon that has answered the asker, and said so in its metrics."""
    id = f"shown-{uuid.uuid4().hex}"
    asker.prompt({"prompt": "what is high?", "id": id, "max_tokens": 4})
    base = f"edgespike/{NODE}/"
    wanted = {f"{base}last", f"{base}metrics"}

    def all_there(message: Message) -> bool:
        body = message.body if message.topic in wanted else {}
        if body.get("id") == id or body.get("recent", {}).get("answers"):
            wanted.discard(message.topic)
        return not wanted

    asker.until(all_there)
    return shared_broker


def test_once_prints_one_view_for_people(answered: Mosquitto) -> None:
    done = run(*command(answered, "--once"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"edgespike {NODE} online")
    for label in ("queue", "tokens/s", "first token", "memory", "processor", "firing", "sensors"):
        assert f"\n{label}" in done.stdout
    assert "shown-" in done.stdout
    assert "\x1b" not in done.stdout


def test_once_prints_one_json_object(answered: Mosquitto, asker: Peer) -> None:
    done = run(*command(answered, "--once", "--json"))
    view = json.loads(done.stdout)
    assert (view["node"], view["status"], view["connected"]) == (NODE, "online", True)
    assert view["metrics"]["counters"]["answers"] >= 1
    assert view["last"][0]["id"] == asker.asked[-1]
    # What the broker had kept has no known age; something newer may have come meanwhile.
    assert view["metrics_age_s"] is None or view["metrics_age_s"] < 5


def test_without_a_terminal_views_follow_each_other_until_ctrl_c(
    answered: Mosquitto, asker: Peer
) -> None:
    with subprocess.Popen(
        command(answered, "--json"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["last"][0]["id"] == asker.asked[-1]
        asker.prompt({"prompt": "and now?", "id": "next-one", "max_tokens": 2})
        while json.loads(process.stdout.readline())["last"][0]["id"] != "next-one":
            pass
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=WAIT)
    assert (process.returncode, errors) == (0, "")
    assert all(json.loads(line) for line in rest.splitlines())


def test_on_a_terminal_q_ends_it_and_the_screen_comes_back(answered: Mosquitto) -> None:
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100", "LINES": "40"}
    process = subprocess.Popen(
        command(answered), stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    shown = b""
    end = time.monotonic() + WAIT
    asked = False
    while time.monotonic() < end and select.select([ours], [], [], WAIT)[0]:
        try:
            shown += os.read(ours, 65536)
        except OSError:  # the terminal is gone with the process
            break
        if b"online" in shown and not asked:
            os.write(ours, b"q")
            asked = True
    os.close(ours)
    assert process.wait(WAIT) == 0
    assert b"\x1b[?1049h" in shown  # a screen of its own
    assert b"\x1b[?1049l" in shown
    assert b"first token" in shown


def test_without_a_broker_or_a_node_it_is_one_line_and_69(shared_broker: Mosquitto) -> None:
    done = run(
        *(sys.executable, "-m", "edgespike", "top", "--once"),
        *("--broker", f"mqtt://127.0.0.1:{free_port()}"),
    )
    assert (done.returncode, len(done.stderr.splitlines())) == (69, 1)
    done = run(*command(shared_broker, "--once", "--timeout", "1", node="nobody"))
    assert (done.returncode, len(done.stderr.splitlines())) == (69, 1)
    assert "node 'nobody' has never been" in done.stderr


def test_a_broker_that_refuses_is_one_line_and_69(tmp_path: Path) -> None:
    (tmp_path / "passwords").touch()
    broker = Mosquitto(tmp_path, f"password_file {tmp_path}/passwords\n")
    broker.start()
    try:
        done = run(*command(broker, "--once", "--timeout", "5"))
    finally:
        broker.stop()
    assert (done.returncode, len(done.stderr.splitlines())) == (69, 1)
    assert "authori" in done.stderr.lower()


def drawn(view: View, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(draw(view))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_hostile_metrics_and_answers_are_shown_harmlessly() -> None:
    metrics = {
        "uptime_s": "long",
        "waiting": [1],
        "rss_mb": 1e400,
        "recent": 5,
        "spike_rates": {"layers": [0.1, "x", -5, 9e9, None], "encoder": True},
        "counters": {"\x1b[2J": 1, "[red]": 2, "bad": {}},
        "last_timing": {"first_token_ms": 12.34, "tokens_per_s": None},
    }
    answer = Answer("id\x1b]0;x\x07", 1, "one\n\x1b[31mtwo [bold]", "stop")
    text = drawn(View("n\x1b", "on\x1bline", metrics, 0.0, (answer,)))
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "12.3 ms last" in text
    assert "[red] 2" in text
    assert "[bold]" in text
    json.dumps(facts(View("n", "x", {}, None, (answer,))), allow_nan=False)


@pytest.mark.parametrize("width", [40, 60, 80])
def test_a_name_stays_beside_its_number_on_any_screen(width: int) -> None:
    counters = {f"{name}_tokens": 10_000_000 + n for n, name in enumerate(("a", "prompt", "given"))}
    text = drawn(View("n", "online", {"counters": counters}), width)
    for name, number in counters.items():
        assert f"{name} {number}" in text
    assert "°C" not in text


def test_a_view_without_anything_is_drawn() -> None:
    assert "no metrics yet" in drawn(View("n"))
    assert "that the broker kept" in drawn(View("n", "offline", {}))
    assert "metrics 0 s ago" in drawn(View("n", "online", {}, time.monotonic()))
    assert "no connection: gone" in drawn(View("n", "online", lost="gone"))
