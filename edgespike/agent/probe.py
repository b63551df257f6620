"""Trying a broker the way the daemon will use it, without disturbing the daemon."""

from __future__ import annotations

import queue
import socket
import time
import uuid
from dataclasses import dataclass

from edgespike.agent import mqtt
from edgespike.agent.events import (
    Connected,
    ConnectionEvent,
    Incoming,
    Lost,
    Published,
    SubscriptionRefused,
)
from edgespike.config import Config
from edgespike.messages import Accepted

_STATUS_S = 0.3


@dataclass(frozen=True, slots=True)
class Probe:
    """What the broker let us do. None of the first four: everything.

    `unreachable`: why nobody listens there; `refused`: why MQTT 5 or the user was refused;
    `unread`: topics that it doesn't let us hear, with the reason; `unwritten`: why replies can't be
    published. `status` is what the node's daemon last said it is, if anything.
    """

    unreachable: str | None = None
    refused: str | None = None
    unread: tuple[tuple[str, ...], str] | None = None
    unwritten: str | None = None
    status: str | None = None


def probe(settings: Config, sensor_topics: tuple[str, ...], timeout_s: float) -> Probe:
    """Connect, subscribe to what the daemon will hear, and publish a reply that nobody asked for.

    Raises ConfigError for unusable TLS files.
    """
    broker = settings.broker
    events: queue.SimpleQueue[ConnectionEvent | Incoming] = queue.SimpleQueue()
    commands = tuple(settings.topic(name) for name in ("prompt", "cancel", "control"))
    status_topic = settings.topic("status")
    own = uuid.uuid4().hex[:12]
    link = mqtt.Link(
        name="doctor",
        client_id=f"edgespike-doctor-{own}",
        subscriptions=(
            *(mqtt.Subscription(topic) for topic in (*commands, *sensor_topics)),
            mqtt.Subscription(status_topic, retained=True),
        ),
    )
    connection = mqtt.Connection(link, broker, events.put, events.put)
    try:
        socket.create_connection((broker.host, broker.resolved_port), timeout_s).close()
    except OSError as error:
        return Probe(unreachable=error.strerror or str(error))
    connection.start()
    try:
        return _exchange(
            connection, events, settings.topic(f"response/doctor-{own}"), status_topic, timeout_s
        )
    finally:
        connection.stop()


def _exchange(
    connection: mqtt.Connection,
    events: queue.SimpleQueue[ConnectionEvent | Incoming],
    reply_topic: str,
    status_topic: str,
    timeout_s: float,
) -> Probe:
    unread: tuple[tuple[str, ...], str] | None = None
    unwritten: str | None = None
    status: str | None = None
    connected = settled = False
    end = time.monotonic() + timeout_s
    while True:
        try:
            event = events.get(timeout=max(0.0, end - time.monotonic()))
        except queue.Empty:
            break
        match event:
            case Connected():
                connected = True
                # A reply like any other, for whoever listens to all of them.
                reply = Accepted(reply_topic.rsplit("/", 1)[-1], seq=0)
                connection.publish(reply_topic, reply.to_bytes(), qos=1)
            case Lost():
                return Probe(refused=event.reason)
            case SubscriptionRefused():
                unread = (event.topics, event.reason)
            case Published():
                settled, unwritten = True, event.refused
                end = min(end, time.monotonic() + _STATUS_S)
            case Incoming(topic=topic) if topic == status_topic:
                status = event.payload[:16].decode(errors="replace")
    if not connected:
        return Probe(refused=f"it said nothing for {timeout_s:g} s")
    if not settled:
        unwritten = f"no confirmation within {timeout_s:g} s"
    return Probe(unread=unread, unwritten=unwritten, status=status)
