"""The shipped settings of Mosquitto, in force: what each user may do; that secrets stay secret."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import NODE, WAIT, DaemonProcess, Mosquitto

from edgespike.config import load_config
from edgespike.sensing import Sensing
from edgespike.topics import filter_matches

CONFIG = Path(__file__).parents[1] / "config"
USERS = ("edgespike", "asker", "dashboard", "operator", "nobody")
HOST = "127.0.0.1"
SECRET = "correct-horse-7319"


@dataclass
class Place:
    """A broker as we recommend it, for clients with a name."""

    port: int
    pki: Path

    def client(self, tool: str, user: str, *words: str) -> list[str]:
        """A command of mosquitto-clients."""
        where = ["-h", HOST, "-p", str(self.port), "-V", "5"]
        who = ["--cafile", str(self.pki / "ca.pem"), "-u", user, "-P", SECRET]
        return [tool, *where, *who, *words]

    def edgespike(self, user: str, *words: str) -> subprocess.CompletedProcess[str]:
        """A command of ours that is a client."""
        where = f"mqtts://{user}@{HOST}:{self.port}"
        options = ["--broker", where, "--node", NODE, "--ca", str(self.pki / "ca.pem")]
        return subprocess.run(
            [sys.executable, "-m", "edgespike", *words, *options],
            env=os.environ | {"EDGESPIKE_MQTT_PASSWORD": SECRET},
            capture_output=True,
            text=True,
            timeout=WAIT,
        )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, pki: Path) -> Iterator[Place]:
    """Mosquitto with the shipped configuration; only paths and the port are others."""
    home = tmp_path_factory.mktemp("recommended")
    (home / "passwords").write_text("".join(f"{user}:{SECRET}\n" for user in USERS))
    subprocess.run(["mosquitto_passwd", "-U", home / "passwords"], check=True)
    text = (CONFIG / "mosquitto.conf").read_text()
    broker = Mosquitto(home)
    for shipped, ours in (
        ("listener 8883", f"listener {broker.port} 127.0.0.1"),
        ("/etc/mosquitto/certs", str(pki)),
        ("/etc/mosquitto/ca_certificates", str(pki)),
        ("/etc/mosquitto/passwords", f"{home}/passwords"),
        ("/etc/mosquitto/mosquitto.acl", f"{CONFIG}/mosquitto.acl"),
    ):
        assert shipped in text
        text = text.replace(shipped, ours)
    broker._configuration.write_text(text)
    broker.start()
    yield Place(broker.port, pki)
    broker.stop()


@pytest.fixture(scope="module")
def guarded(
    tmp_path_factory: pytest.TempPathFactory, place: Place, chatter: Path
) -> Iterator[DaemonProcess]:
    """A daemon there, whose password is a credential."""
    home = tmp_path_factory.mktemp("guarded")
    (home / "mqtt_password").write_text(f"{SECRET}\n")
    access = {
        "host": HOST,
        "tls": {"ca_file": str(place.pki / "ca.pem")},
        "username": "edgespike",
        "password": {"credential": "mqtt_password"},
    }
    process = DaemonProcess(
        home, place.port, chatter, broker=access, logging={"level": "debug", "format": "json"}
    )
    process.start(CREDENTIALS_DIRECTORY=str(home))
    command = place.client("mosquitto_sub", "dashboard", "-t", f"edgespike/{NODE}/status")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as listening:
        assert listening.stdout is not None
        while listening.stdout.readline().strip() != "online":
            pass
        listening.terminate()
    yield process
    process.kill()


def test_the_asker_asks_and_the_dashboard_looks(place: Place, guarded: DaemonProcess) -> None:
    asked = place.edgespike("asker", "ask", "what is high?", "-n", "4")
    assert (asked.returncode, asked.stderr) == (0, "")
    looked = place.edgespike("dashboard", "top", "--once", "--json")
    assert json.loads(looked.stdout)["status"] == "online"


def test_others_read_no_answers_and_control_nothing(place: Place, guarded: DaemonProcess) -> None:
    topics = [f"edgespike/{NODE}/{name}" for name in ("response/#", "prompt", "last")]
    command = place.client("mosquitto_sub", "dashboard", "-R", "-v", "-C", "1", "-W", f"{WAIT:.0f}")
    command += [word for topic in topics for word in ("-t", topic)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as listening:
        # The response goes out before the retained last answer.
        while listening.poll() is None:
            place.edgespike("asker", "ask", "and now?", "-n", "2")
        assert listening.stdout is not None
        heard = listening.stdout.read()
    assert heard.startswith(f"edgespike/{NODE}/last ")
    for user in ("nobody", "asker", "dashboard"):
        pause = place.client("mosquitto_pub", user, "-q", "1", "-m", "pause")
        done = subprocess.run([*pause, "-t", f"edgespike/{NODE}/control"], capture_output=True)
        assert b"Not authorized" in done.stderr
    assert place.edgespike("nobody", "ask", "hello?", "--timeout", "1").returncode == 69
    assert guarded.events("control") == []
    obeyed = place.client("mosquitto_pub", "operator", "-q", "1", "-m", "resume")
    subprocess.run([*obeyed, "-t", f"edgespike/{NODE}/control"], check=True)
    assert place.edgespike("asker", "ask", "and now?", "-n", "2").returncode == 0
    assert [event["command"] for event in guarded.events("control")] == ["resume"]


def test_doctor_finds_nothing_wrong(place: Place, guarded: DaemonProcess) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edgespike", "doctor", "--config", str(guarded.settings)],
        env=os.environ | {"CREDENTIALS_DIRECTORY": str(guarded.directory)},
        capture_output=True,
        text=True,
    )
    assert re.search(r"^ok +broker", done.stdout, re.MULTILINE), done.stdout
    assert re.search(r"^ok +rights", done.stdout, re.MULTILINE), done.stdout
    assert SECRET not in done.stdout + done.stderr


def test_a_wrong_password_is_one_line_without_the_password(place: Place) -> None:
    where = f"mqtts://asker@{HOST}:{place.port}"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "edgespike", "ask", "x"),
            *("--broker", where, "--ca", str(place.pki / "ca.pem")),
        ],
        env=os.environ | {"EDGESPIKE_MQTT_PASSWORD": "wrong-battery"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, len(done.stderr.splitlines())) == (69, 1)
    assert "authori" in done.stderr.lower()
    assert "wrong-battery" not in done.stderr


def test_the_password_is_nowhere_to_be_read(place: Place, guarded: DaemonProcess) -> None:
    assert guarded.process is not None
    proc = Path("/proc") / str(guarded.process.pid)
    shown = subprocess.run(
        [sys.executable, "-m", "edgespike", "config", "show", str(guarded.settings)],
        env=os.environ | {"CREDENTIALS_DIRECTORY": str(guarded.directory)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "password: '***'" in shown
    view = place.edgespike("dashboard", "top", "--once", "--json").stdout
    texts = [shown, view, guarded.log.read_text()]
    texts += [(proc / name).read_text() for name in ("cmdline", "environ")]
    assert all(text and SECRET not in text for text in texts)


def test_every_default_sensor_may_be_read(tmp_path: Path) -> None:
    rights: dict[str, list[str]] = {}
    for line in (CONFIG / "mosquitto.acl").read_text().splitlines():
        match line.split():
            case ["user", user]:
                readable = rights.setdefault(user, [])
            case ["topic", "read" | "readwrite", topic]:
                readable.append(topic)
    path = tmp_path / "edgespike.yaml"
    path.write_text("broker: {host: localhost}\n")
    for wanted in Sensing(load_config(path)).topics():
        example = wanted.replace("+", "x").replace("#", "x/y")
        assert any(filter_matches(right, example) for right in rights["edgespike"]), wanted


def test_the_files_are_printed_by_config_init() -> None:
    for name in ("mosquitto.conf", "mosquitto.acl"):
        done = subprocess.run(
            [sys.executable, "-m", "edgespike", "config", "init", "--example", name],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == (CONFIG / name).read_text()
