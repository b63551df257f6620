"""Real parts for tests: Mosquitto, a daemon process, a small model, an MQTT peer."""

from __future__ import annotations

import io
import json
import os
import queue
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import certificates
import paho.mqtt.client as paho
import pytest
from hypothesis import settings
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

# A busy machine is no failure.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

# A shell's background job ignores SIGINT, and so would every process that a test starts from one.
signal.signal(signal.SIGINT, signal.default_int_handler)

DATA = Path(__file__).parent / "data"
NODE = "test"
WAIT = 60.0
"""Seconds after which something that should have happened counts as missing."""


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Mosquitto:
    """A Mosquitto process that keeps its state in `directory`."""

    def __init__(self, directory: Path, extra: str = "", *, anonymous: bool | None = None) -> None:
        """`extra`: more lines of its configuration; `anonymous` clients are let in unless there are
        such lines, or as is said."""
        allowed = not extra if anonymous is None else anonymous
        self.port = free_port()
        self.url = f"mqtt://127.0.0.1:{self.port}"
        self._configuration = directory / "mosquitto.conf"
        self._configuration.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous {str(allowed).lower()}\n"
            f"persistence true\npersistence_location {directory}/\n{extra}"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it listens."""
        binary = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
        if binary is None:
            pytest.fail("Mosquitto is not installed: `make test` installs it, or apt-get does")
        # As root it would change to another user, who can't write to the test's directory.
        user = "user root\n" if os.geteuid() == 0 else ""
        text = self._configuration.read_text()
        if user and not text.startswith("user"):
            self._configuration.write_text(user + text)
        self._process = subprocess.Popen(
            [binary, "-c", str(self._configuration)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        end = time.monotonic() + WAIT
        while time.monotonic() < end:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise AssertionError("mosquitto doesn't listen")

    def freeze(self) -> None:
        """Stop it from doing anything, with its connections open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it in order: it saves its sessions."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(WAIT)
            self._process = None


@dataclass(frozen=True)
class Message:
    """What a peer received."""

    topic: str
    payload: bytes
    retain: bool
    correlation: bytes | None
    qos: int

    @property
    def body(self) -> dict[str, Any]:
        """The payload as JSON."""
        return json.loads(self.payload)  # type: ignore[no-any-return]


class Peer:
    """An MQTT 5 client that remembers what it hears."""

    def __init__(self, port: int, *topics: str) -> None:
        self.heard: list[Message] = []
        self.asked: list[str] = []
        self._queue: queue.SimpleQueue[Message] = queue.SimpleQueue()
        subscribed: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self._client.on_message = self._on_message
        self._client.on_subscribe = lambda *_: subscribed.put(None)
        self._client.on_connect = lambda client, *_: client.subscribe([(t, 1) for t in topics])
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        subscribed.get(timeout=WAIT)

    def _on_message(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        correlation = getattr(message.properties, "CorrelationData", None)
        self._queue.put(
            Message(message.topic, message.payload, message.retain, correlation, message.qos)
        )

    def publish(
        self,
        topic: str,
        payload: str | bytes,
        qos: int = 1,
        retain: bool = False,
        wait: bool = True,
        **fields: Any,
    ) -> None:
        """Publish and wait until the broker has it; `fields` are MQTT 5 properties."""
        properties = Properties(PacketTypes.PUBLISH)
        for name, value in fields.items():
            setattr(properties, name, value)
        sent = self._client.publish(topic, payload, qos, retain, properties)
        if wait:
            sent.wait_for_publish(WAIT)

    def prompt(self, payload: Any, **fields: Any) -> None:
        """Send a prompt to the node: text, bytes, or an object that becomes JSON."""
        data = payload if isinstance(payload, str | bytes) else json.dumps(payload)
        if isinstance(payload, dict) and "id" in payload:
            self.asked.append(str(payload["id"]))
        self.publish(f"edgespike/{NODE}/prompt", data, **fields)

    def until(self, wanted: Callable[[Message], bool], timeout: float = WAIT) -> Message:
        """The next message that is `wanted`; the others are in `heard`, as it is."""
        end = time.monotonic() + timeout
        while True:
            try:
                message = self._queue.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                heard = [(m.topic, m.payload[:200]) for m in self.heard[-20:]]
                raise AssertionError(f"the message didn't come; last heard: {heard}") from None
            self.heard.append(message)
            if wanted(message):
                return message

    def final(self, id: str | None = None) -> Message:
        """The next final reply (with that id)."""

        def wanted(message: Message) -> bool:
            if "/response/" not in message.topic and "reply" not in message.topic:
                return False
            body = message.body
            return body["type"] in ("answer", "error") and id in (None, body["id"])

        return self.until(wanted)

    def status(self, status: str) -> Message:
        """Wait for the node to have this status."""
        topic = f"edgespike/{NODE}/status"
        return self.until(lambda m: m.topic == topic and m.payload == status.encode())

    def finals(self, id: str) -> list[dict[str, Any]]:
        """All final replies with that id so far."""
        bodies = [m.body for m in self.heard if "/response/" in m.topic or "reply" in m.topic]
        return [b for b in bodies if b["id"] == id and b["type"] in ("answer", "error")]

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()


class DaemonProcess:
    """`edgespike run` as a process of its own."""

    def __init__(self, directory: Path, port: int, model: Path, **overrides: Any) -> None:
        self.directory = directory
        self.log = directory / "daemon.log"
        self.settings = directory / "edgespike.yaml"
        self.configure(port, model, **overrides)
        self.process: subprocess.Popen[bytes] | None = None

    def configure(self, port: int, model: Path, **overrides: Any) -> None:
        """Write the configuration; JSON is YAML."""
        settings: dict[str, Any] = {
            "node": NODE,
            "broker": {"host": "127.0.0.1", "port": port, "reconnect_max_s": 1},
            "model": {"path": str(model)},
            "context": {"budget_tokens": 65536},
            "prompts": {"max_prompt_bytes": 262144, "max_tokens": 65536},
            "state_dir": str(self.directory / "state"),
            "logging": {"level": "info", "format": "json"},
        }
        for name, value in overrides.items():
            settings[name] = settings.get(name, {}) | value if isinstance(value, dict) else value
        self.settings.write_text(json.dumps(settings))

    def start(self, **environment: str) -> DaemonProcess:
        """Start it; returns at once."""
        with self.log.open("ab") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "edgespike", "run", "--config", str(self.settings)],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                env={**os.environ, **environment},
            )
        return self

    def signal(self, number: int) -> None:
        """Send a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self) -> int:
        """Wait for the end; the exit status."""
        assert self.process is not None
        return self.process.wait(WAIT)

    def kill(self) -> None:
        """End it as a crash would."""
        self.signal(signal.SIGKILL)
        self.wait()

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """Log events so far (of that name)."""
        lines = [json.loads(x) for x in self.log.read_text().splitlines() if x.startswith("{")]
        return [line for line in lines if name in (None, line["event"])]


def make_tokenizer(target: Path, pieces: int = 340) -> Path:
    """A small SentencePiece model without control pieces."""
    import sentencepiece

    words = ["kitchen", "pump", "temperature", "pressure", "is", "what", "high", "low", "bar"]
    rng = random.Random(1)
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(rng.choices(words, k=8)) for _ in range(300)]),
        model_writer=model,
        model_type="bpe",
        vocab_size=pieces,
        hard_vocab_limit=False,
        byte_fallback=True,
        pad_id=0,
        bos_id=1,
        eos_id=2,
        unk_id=3,
        minloglevel=2,
    )
    target.write_bytes(model.getvalue())
    return target


@pytest.fixture(scope="session")
def chatter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that talks nonsense, quickly and as long as it may, and reads long prompts."""
    import edgespike
    from edgespike.convert import convert
    from edgespike.prompting import PLAIN

    directory = tmp_path_factory.mktemp("chatter")
    template = json.loads(replace(PLAIN, budget=65536).to_json())
    convert(
        DATA / "golden" / "small-194m" / "checkpoint.pt",
        directory / "chatter.safetensors",
        tokenizer=make_tokenizer(directory / "sp.model"),
        metadata={"prompt_template": template},
    )
    path = directory / "chatter.safetensors"
    # Compile all kernels now, so that no daemon spends its test's time on it.
    for _piece in edgespike.load(path).generate([1] * 33, max_tokens=2):
        pass
    return path


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates and keys, as `certificates.make` leaves them."""
    directory = tmp_path_factory.mktemp("pki")
    directory.chmod(0o755)
    return certificates.make(directory)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """A running Mosquitto, for this test alone."""
    yield from _broker(tmp_path)


def _broker(directory: Path) -> Iterator[Mosquitto]:
    home = directory / "mosquitto"
    home.mkdir()
    mosquitto = Mosquitto(home)
    mosquitto.start()
    yield mosquitto
    mosquitto.stop()


@pytest.fixture
def daemon(tmp_path: Path, broker: Mosquitto, chatter: Path) -> Iterator[DaemonProcess]:
    """A daemon at the broker, not started, for this test alone."""
    yield from _daemon(tmp_path, broker, chatter)


def _daemon(
    directory: Path, broker: Mosquitto, model: Path, **overrides: Any
) -> Iterator[DaemonProcess]:
    home = directory / "daemon"
    home.mkdir()
    process = DaemonProcess(home, broker.port, model, **overrides)
    yield process
    if process.process is not None and process.process.poll() is None:
        process.kill()


@pytest.fixture
def peer(broker: Mosquitto) -> Iterator[Peer]:
    """A client that hears everything the node says."""
    client = Peer(broker.port, f"edgespike/{NODE}/#", "reply/#", "edgespike/replies/#")
    yield client
    client.close()


@pytest.fixture
def online(daemon: DaemonProcess, peer: Peer) -> DaemonProcess:
    """A daemon that is online."""
    daemon.start()
    peer.status("online")
    return daemon


@pytest.fixture(scope="session")
def shared_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    """A Mosquitto that all tests share which leave it running."""
    yield from _broker(tmp_path_factory.mktemp("shared"))


@pytest.fixture(scope="session")
def shared_daemon(
    tmp_path_factory: pytest.TempPathFactory, shared_broker: Mosquitto, chatter: Path
) -> Iterator[DaemonProcess]:
    """A daemon that all tests share which leave it running. It answers one prompt at a time."""
    directory, serial = tmp_path_factory.mktemp("shared"), {"parallel": 1}
    for process in _daemon(directory, shared_broker, chatter, prompts=serial):
        process.start()
        client = Peer(shared_broker.port, f"edgespike/{NODE}/status")
        client.status("online")
        client.close()
        yield process


@pytest.fixture
def asker(shared_broker: Mosquitto, shared_daemon: DaemonProcess) -> Iterator[Peer]:
    """A client of the shared daemon; afterwards the daemon is idle again."""
    client = Peer(shared_broker.port, f"edgespike/{NODE}/#", "edgespike/replies/#")
    yield client
    client.publish(f"edgespike/{NODE}/control", "resume")
    for asked in client.asked:
        client.publish(f"edgespike/{NODE}/cancel", asked)
    idle = f"idle-{uuid.uuid4().hex}"
    client.prompt({"prompt": "idle?", "id": idle, "max_tokens": 1, "priority": 0})
    client.final(idle)
    client.close()
