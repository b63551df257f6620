"""The connection, at a real broker and at one that misbehaves."""

from __future__ import annotations

import ctypes
import queue
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from conftest import WAIT, Mosquitto, Peer

from edgespike.agent import mqtt
from edgespike.agent.events import Connected, ConnectionEvent, Incoming, Lost, Published
from edgespike.config import Broker

LINK = mqtt.Link(
    name="tested",
    client_id="tested",
    subscriptions=(mqtt.Subscription("in/#", qos=1),),
    session_expiry_s=60,
    manual_ack=True,
)


@dataclass
class Recorder:
    """A connection with everything that it reported."""

    broker: Broker
    link: mqtt.Link = LINK
    events: queue.SimpleQueue[ConnectionEvent] = field(default_factory=queue.SimpleQueue)
    messages: queue.SimpleQueue[Incoming] = field(default_factory=queue.SimpleQueue)

    def __post_init__(self) -> None:
        self.connection = mqtt.Connection(
            self.link, self.broker, self.messages.put, self.events.put
        )

    def until(self, wanted: Callable[[ConnectionEvent], bool]) -> ConnectionEvent:
        while True:
            event = self.events.get(timeout=WAIT)
            if wanted(event):
                return event

    def connected(self) -> ConnectionEvent:
        return self.until(lambda e: isinstance(e, Connected))

    def message(self) -> Incoming:
        return self.messages.get(timeout=WAIT)


@pytest.fixture
def recorder(broker: Mosquitto) -> Iterator[Recorder]:
    """A connected connection."""
    made = Recorder(Broker(host="127.0.0.1", port=broker.port, reconnect_max_s=1))
    made.connection.start()
    made.connected()
    subscribed(made.connection)
    assert made.message().topic == "in/ready"
    made.until(lambda e: isinstance(e, Published))
    yield made
    made.connection.stop()


def subscribed(connection: mqtt.Connection) -> None:
    """Send ourselves a message, which comes once the broker has handled our subscription."""
    connection.publish("in/ready", b"")


def cut(recorder: Recorder) -> None:
    """Break the connection as a network would."""
    sock = recorder.connection._client.socket()
    assert sock is not None
    sock.shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]


def test_an_unacknowledged_message_comes_again_with_dup_and_its_packet_identifier(
    recorder: Recorder, peer: Peer
) -> None:
    """What the journal relies on to recognise prompts without an id."""
    peer.publish("in/a", b"one")
    first = recorder.message()
    cut(recorder)
    again = recorder.message()
    assert (first.dup, again.dup) == (False, True)
    assert again.packet == first.packet
    assert again.generation != first.generation


def test_many_subscriptions_go_in_packets_of_a_few(tmp_path: Path) -> None:
    """Some brokers take no more than eight in one, and none takes a packet above its limit."""
    broker = Mosquitto(tmp_path, "max_packet_size 200\n", anonymous=True)
    broker.start()
    topics = [f"in/a-longer-name/{number}" for number in range(20)]
    link = replace(LINK, subscriptions=tuple(map(mqtt.Subscription, topics)))
    recorder = Recorder(Broker(host="127.0.0.1", port=broker.port, reconnect_max_s=1), link)
    recorder.connection.start()
    try:
        recorder.connected()
        for topic in topics:
            recorder.connection.publish(topic, b"")
        assert [recorder.message().topic for _ in topics] == topics
    finally:
        recorder.connection.stop()
        broker.stop()


def test_a_stale_acknowledgement_is_not_sent(recorder: Recorder, peer: Peer) -> None:
    peer.publish("in/a", b"one")
    first = recorder.message()
    cut(recorder)
    recorder.connected()
    recorder.connection.ack(first.generation, [first.packet])
    recorder.connection.publish("out", b"after it", qos=1)
    recorder.until(lambda e: isinstance(e, Published))
    cut(recorder)
    again = recorder.message(), recorder.message()
    assert [m.payload for m in again] == [b"one", b"one"]
    recorder.connection.ack(again[1].generation, [again[1].packet])
    peer.publish("in/a", b"two")
    assert recorder.message().payload == b"two"
    cut(recorder)
    assert recorder.message().payload == b"two"  # "one" was acknowledged on its own connection


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_network_thread_is_seen_and_brought_back(recorder: Recorder, peer: Peer) -> None:
    thread = recorder.connection._thread
    assert thread is not None
    assert thread.ident is not None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit)
    )
    thread.join(WAIT)
    assert not recorder.connection.alive
    recorder.connection.start()
    assert recorder.connection.alive
    recorder.connected()
    peer.publish("in/a", b"still here")
    assert recorder.message().payload == b"still here"


def test_an_exception_in_a_callback_does_not_end_the_thread(broker: Mosquitto, peer: Peer) -> None:
    heard: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def fail(message: Incoming) -> None:
        heard.put(message.payload)
        raise ValueError("a bug")

    settings = Broker(host="127.0.0.1", port=broker.port)
    events: queue.SimpleQueue[ConnectionEvent] = queue.SimpleQueue()
    connection = mqtt.Connection(LINK, settings, fail, events.put)
    connection.start()
    assert isinstance(events.get(timeout=WAIT), Connected)
    subscribed(connection)
    assert heard.get(timeout=WAIT) == b""
    for payload in (b"1", b"2"):
        peer.publish("in/a", payload)
        assert heard.get(timeout=WAIT) == payload
    assert connection.alive
    connection.stop()


@pytest.mark.parametrize("qos", [0, 1])
def test_a_message_that_paho_finds_malformed_comes_without_its_properties(
    recorder: Recorder, broker: Mosquitto, qos: int
) -> None:
    command = ["mosquitto_pub", "-h", "127.0.0.1", "-p", str(broker.port), "-V", "5"]
    command += ["-t", "in/a", "-m", "poison", "-q", str(qos)]
    for name in ("response-topic", "correlation-data", "content-type"):
        command += ["-D", "publish", name, f"edgespike/\ufeff{'x' * 200}"]
    subprocess.run(command, check=True)
    message = recorder.message()
    assert (message.topic, message.payload, message.packet > 0) == ("in/a", b"poison", qos == 1)
    assert (message.response_topic, message.correlation) == (None, None)
    assert recorder.connection.connected


def test_publishing_without_a_connection_says_so(recorder: Recorder, broker: Mosquitto) -> None:
    broker.stop()
    recorder.until(lambda e: isinstance(e, Lost))
    assert recorder.connection.publish("out", b"x", qos=1) is None


def test_a_confirmed_message_is_reported(recorder: Recorder, peer: Peer) -> None:
    number = recorder.connection.publish("reply/x", b"hello", qos=1, correlation=b"c")
    event = recorder.until(lambda e: isinstance(e, Published))
    assert event == Published("tested", number or -1, None)
    received = peer.until(lambda m: m.topic == "reply/x")
    assert (received.payload, received.correlation) == (b"hello", b"c")


class Scripted:
    """A broker that accepts connections, and answers each with the next of its scripts."""

    def __init__(self, *scripts: bytes) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._held: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, args=(scripts,), daemon=True)
        self._thread.start()

    def _serve(self, scripts: tuple[bytes, ...]) -> None:
        for script in scripts:
            client, _ = self._socket.accept()
            client.recv(4096)  # CONNECT
            client.sendall(script)
            self._held.append(client)

    def close(self) -> None:
        for client in self._held:
            client.close()
        self._socket.close()


CONNACK = bytes([0x20, 3, 0, 0, 0])


def scripted(*scripts: bytes) -> tuple[Scripted, Recorder]:
    server = Scripted(*scripts)
    recorder = Recorder(Broker(host="127.0.0.1", port=server.port), replace(LINK, subscriptions=()))
    recorder.connection.start()
    return server, recorder


def test_a_session_that_is_taken_over_is_reported() -> None:
    server, recorder = scripted(CONNACK + bytes([0xE0, 1, 0x8E]))
    lost = recorder.until(lambda e: isinstance(e, Lost))
    assert lost == Lost("tested", "Session taken over", taken_over=True, short_lived=1)
    server.close()
    recorder.connection.stop()


def test_the_reason_of_a_refused_connection_is_readable() -> None:
    server, recorder = scripted(bytes([0x20, 3, 0, 0x86, 0]))
    lost = recorder.until(lambda e: isinstance(e, Lost))
    assert lost == Lost("tested", "Bad user name or password")
    server.close()
    recorder.connection.stop()


def test_a_broker_that_takes_only_small_packets_is_not_sent_large_ones() -> None:
    limit = bytes([0x27, 0, 0, 1, 0])  # Maximum Packet Size 256
    server, recorder = scripted(bytes([0x20, 8, 0, 0, len(limit)]) + limit)
    recorder.connected()
    assert recorder.connection.publish("out", b"x" * 100) is not None
    assert recorder.connection.publish("out", b"x" * 300) is None
    assert not recorder.connection.fits("out", b"", b"x" * 300)
    server.close()
    recorder.connection.stop()


def test_garbage_from_the_broker_is_survived() -> None:
    server, recorder = scripted(b"\xff" * 64, CONNACK)
    recorder.until(lambda e: isinstance(e, Lost))
    recorder.connected()
    assert recorder.connection.alive
    server.close()
    recorder.connection.stop()


def test_nagle_is_off(recorder: Recorder) -> None:
    sock = recorder.connection._client.socket()
    assert sock is not None
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)  # type: ignore[union-attr]


def test_stop_is_quick_while_the_broker_is_away() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        recorder = Recorder(Broker(host="127.0.0.1", port=unused.getsockname()[1]))
        recorder.connection.start()
        lost = recorder.until(lambda e: isinstance(e, Lost))
        assert isinstance(lost, Lost)
        assert "refused" in lost.reason
        recorder.connection.stop(timeout=WAIT)
        assert not recorder.connection.alive


def test_a_message_that_is_not_confirmed_shows_a_stalled_connection() -> None:
    server, recorder = scripted(CONNACK, CONNACK)
    recorder.connected()
    assert not recorder.connection.stalled(0.0)
    recorder.connection.publish("out", b"x", qos=1)
    while not recorder.connection.stalled(0.05):
        pass
    recorder.connection.start()
    recorder.connected()  # anew
    server.close()
    recorder.connection.stop()


def test_qos_0_messages_that_nobody_takes_are_dropped_at_a_bound() -> None:
    server, recorder = scripted(CONNACK)
    recorder.connected()
    sent = 0
    while recorder.connection.publish("out", b"x" * 10_000) is not None:
        sent += 1
        assert sent < 10_000
    server.close()
    recorder.connection.stop()
