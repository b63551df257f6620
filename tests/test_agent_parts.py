"""The small parts of the daemon: notifications, logs, response topics, broker URLs."""

from __future__ import annotations

import io
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from edgespike import telemetry
from edgespike.agent.client import broker_from_url, displayed
from edgespike.agent.desk import allowed_response_topic
from edgespike.agent.events import Incoming
from edgespike.agent.lifecycle import Daemon
from edgespike.agent.loading import load_answerer
from edgespike.agent.notify import Notifier
from edgespike.config import load_config
from edgespike.errors import UsageError
from edgespike.settings.declared import Secret


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """A socket that listens as systemd does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(10)
        yield receiver


def test_each_state_is_one_datagram(manager: socket.socket) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": manager.getsockname()})
    notifier.ready()
    notifier.status("two\nlines")
    notifier.status("two\nlines")
    notifier.alive()
    notifier.stopping()
    heard = [manager.recv(4096) for _ in range(4)]
    assert heard == [b"READY=1", b"STATUS=two lines", b"WATCHDOG=1", b"STOPPING=1"]


def test_an_abstract_socket_is_reached() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        name = f"edgespike-notify-{os.getpid()}"
        receiver.bind(f"\0{name}")
        receiver.settimeout(10)
        Notifier({"NOTIFY_SOCKET": f"@{name}"}).ready()
        assert receiver.recv(4096) == b"READY=1"


@pytest.mark.parametrize("name", ["", "relative", "/nowhere/at/all", "@nobody-listens-here"])
def test_without_a_manager_nothing_happens(name: str) -> None:
    Notifier({"NOTIFY_SOCKET": name}).ready()


def test_the_watchdog_is_for_the_process_that_it_names() -> None:
    mine, other = str(os.getpid()), str(os.getpid() + 1)
    assert Notifier({"WATCHDOG_USEC": "3000000"}).watchdog_s == 3.0
    assert Notifier({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": mine}).watchdog_s == 3.0
    assert Notifier({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": other}).watchdog_s is None
    assert Notifier({"WATCHDOG_USEC": "x"}).watchdog_s is None
    assert Notifier({}).watchdog_s is None


def log_line(format: str, **fields: object) -> str:
    stream = io.StringIO()
    telemetry.configure("info", "json" if format == "json" else "console", stream)
    structlog.get_logger().info("event", **fields)
    structlog.reset_defaults()
    return stream.getvalue()


@given(st.text(max_size=50), st.sampled_from(["json", "console"]))
def test_a_log_event_is_one_printable_line_whatever_is_in_it(text: str, format: str) -> None:
    line = log_line(format, field=text, nested={"list": [text, b"\x1b[2J"]})
    assert line.endswith("\n")
    assert line[:-1].isprintable()


def test_secrets_are_not_logged() -> None:
    line = log_line("json", password="hunter2", broker=Secret("hunter2"), deep={"a": Secret("x2")})
    assert "hunter2" not in line
    assert json.loads(line)["password"] == "***"


def test_long_texts_are_cut() -> None:
    assert len(log_line("json", text="x" * 100_000)) < 3000


def test_the_journal_hears_how_severe_a_line_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "journal").open("w+") as stream:
        file = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{file.st_dev}:{file.st_ino}")
        telemetry.configure("debug", "json", stream)
        log = structlog.get_logger()
        for level in telemetry.LEVELS:
            getattr(log, level)("said")
        monkeypatch.setenv("JOURNAL_STREAM", f"{file.st_dev}:{file.st_ino + 1}")
        telemetry.configure("debug", "json", stream)
        log.error("said to a file")
        stream.seek(0)
        *lines, last = stream.read().splitlines()
    structlog.reset_defaults()
    assert [line[:3] for line in lines] == ["<7>", "<6>", "<4>", "<3>"]
    assert json.loads(lines[0][3:])["event"] == "said"
    assert json.loads(last)["event"] == "said to a file"


def test_a_level_hides_what_is_below_it() -> None:
    stream = io.StringIO()
    telemetry.configure("warning", "json", stream)
    structlog.get_logger().info("quiet")
    structlog.get_logger().warning("loud")
    structlog.reset_defaults()
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["loud"]


@pytest.mark.parametrize(
    ("topic", "allowed"),
    [
        ("edgespike/kitchen/response/x", True),
        ("edgespike/replies/me", True),
        ("home/answers/1", True),
        ("home", False),
        ("elsewhere/x", False),
        ("edgespike/+/x", False),
        ("edgespike/#", False),
        ("edgespike/kitchen/prompt", False),
        ("edgespike/other/cancel", False),
        ("edgespike/kitchen/status", False),
        ("edgespike/kitchen/prompt/more", False),
        ("edgespike/a\0b", False),
        ("edgespike/" + "x" * 600, False),
        ("", False),
    ],
)
def test_response_topics_lie_under_a_prefix_and_mean_nothing_else(
    topic: str, allowed: bool
) -> None:
    assert allowed_response_topic(topic, ("edgespike/", "home/answers/")) is allowed


def test_a_broker_url_has_host_port_and_user() -> None:
    broker = broker_from_url("mqtts://me%40x@host.example")
    assert (broker.host, broker.resolved_port, broker.username) == ("host.example", 8883, "me@x")
    assert broker.tls is not None
    plain = broker_from_url("localhost:1234")
    assert (plain.host, plain.resolved_port, plain.tls) == ("localhost", 1234, None)


@pytest.mark.parametrize(
    "url",
    ["http://x", "mqtt://me:word@h", "mqtt://", "mqtt://h:99999", "mqtt://h/path", "mqtt://h:x"],
)
def test_a_bad_broker_url_is_a_usage_error(url: str) -> None:
    with pytest.raises(UsageError, match="--broker"):
        broker_from_url(url)


def test_text_from_the_network_cannot_drive_a_terminal() -> None:
    assert displayed("a\x1b[2Jb\u202ec\nd") == "a\ufffd[2Jb\ufffdc\nd"


@pytest.mark.parametrize(("retained", "dated"), [(True, False), (False, True)])
def test_a_value_that_the_broker_kept_has_no_known_age(
    tmp_path: Path, retained: bool, dated: bool
) -> None:
    path = tmp_path / "edgespike.yaml"
    path.write_text(json.dumps({"node": "n", "state_dir": str(tmp_path / "state")}))
    settings = load_config(path)
    daemon = Daemon(settings, load_answerer, lambda: settings)
    daemon._hear(
        Incoming(
            generation=1,
            topic="zigbee2mqtt/kitchen",
            payload=b'{"temperature": 21.5}',
            packet=0,
            dup=False,
            retain=retained,
            response_topic=None,
            correlation=None,
            expiry_s=None,
        )
    )
    (channel,) = daemon._sensing.picture(time.time()).channels
    assert channel.text == "21.5"
    assert (channel.age_s is not None) == dated
