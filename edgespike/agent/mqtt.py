"""An MQTT 5 connection that stays up, over paho-mqtt: the only place that knows paho's habits.

What is known of paho 2.x and dealt with here: an exception in a callback ends the network thread
without a word (callbacks only hand over, and the thread is watched); an acknowledgement queued
before a reconnection is sent on the new connection, where it means nothing (deliveries carry the
generation of their connection); its own queue is unbounded unless told otherwise; reconnection has
no jitter; Nagle's algorithm doubles the time of a QoS 1 round trip; the broker's Maximum Packet
Size is ignored; properties with U+FEFF end the connection, again and again.
"""

from __future__ import annotations

import fcntl
import logging
import random
import socket
import sys
import termios
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt import MQTTException
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from edgespike.agent import tls
from edgespike.agent.events import (
    Connected,
    ConnectionEvent,
    Incoming,
    Lost,
    Oversized,
    Published,
    RetainUnavailable,
    SubscriptionRefused,
)
from edgespike.config import Broker

_SESSION_TAKEN_OVER = 0x8E
_NO_RETAIN = 0x9A
_UNSPECIFIED = 0x80
_PACKET_OVERHEAD = 64
"""Bytes of a PUBLISH beside topic, payload and correlation data, generously."""

_MAX_UNWRITTEN = 2000
"""Messages at QoS 0 that wait for a slow network; further ones are lost, as QoS 0 may be."""
_SHORT_S = 5.0
"""A connection that ends within so many seconds was hardly worth making."""
_CATCH_UP_S = 0.02
_MAX_FILTERS = 8
"""Subscriptions in one packet: AWS IoT Core refuses more, and a packet of many may be too large."""
_MAX_INFLIGHT = 10
"""Unconfirmed messages of ours: brokers take at least 10, and paho ignores how many they take."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """A topic filter. `retained`: whether messages kept by the broker are wanted."""

    topic: str
    qos: int = 0
    retained: bool = False


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker publishes, retained, when we vanish."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Link:
    """What distinguishes one connection from another.

    `session_expiry_s` above 0 keeps the session (and what waits in it) at the broker while we are
    away; `manual_ack` leaves acknowledging to `Connection.ack`; `receive_maximum` bounds the
    unacknowledged messages, `maximum_packet` the bytes of one.
    """

    name: str
    client_id: str
    subscriptions: tuple[Subscription, ...]
    keepalive_s: int = 30
    session_expiry_s: int = 0
    manual_ack: bool = False
    receive_maximum: int = 64
    maximum_packet: int = 1 << 20
    will: Will | None = None


class _Outstanding:
    """Messages that paho hasn't got rid of, oldest first. Its own limit doesn't cover QoS 0."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._infos: deque[tuple[float, paho.MQTTMessageInfo]] = deque()

    def add(self, info: paho.MQTTMessageInfo) -> None:
        with self._lock:
            self._infos.append((time.monotonic(), info))

    def oldest(self) -> float | None:
        """When the oldest was published, in monotonic seconds."""
        with self._lock:
            while self._infos:
                since, info = self._infos[0]
                if info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS and not info.is_published():
                    return since
                self._infos.popleft()
            return None

    @property
    def full(self) -> bool:
        return self.oldest() is not None and len(self._infos) >= _MAX_UNWRITTEN


class _Client(paho.Client):
    """Takes messages whose properties paho refuses although MQTT 5.0, 1.5.4, allows them (U+FEFF in
    a text): paho would end the connection, and the broker would send the message again, for ever.
    `turned` is when the network thread last came round its loop, in monotonic seconds.
    """

    turned = 0.0

    def _loop(self, timeout: float = 1.0) -> MQTTErrorCode:
        self.turned = time.monotonic()
        return super()._loop(timeout)

    def _handle_publish(self) -> MQTTErrorCode:
        try:
            return super()._handle_publish()
        except (MQTTException, ValueError):
            qos = self._in_packet["command"] >> 1 & 3
            self._in_packet["packet"] = _without_properties(self._in_packet["packet"], qos)
            return super()._handle_publish()


class Connection:
    """One connection and its network thread. `on_event` and `on_message` are called by that thread
    and must only hand over.
    """

    def __init__(
        self,
        link: Link,
        broker: Broker,
        on_message: Callable[[Incoming], None],
        on_event: Callable[[ConnectionEvent], None],
    ) -> None:
        """Nothing is sent before `start`. Raises ConfigError for unusable TLS files."""
        self.link = link
        self._broker = broker
        self._on_message = on_message
        self._on_event = on_event
        self._lock = threading.Lock()
        self._generation = 0
        self._connected = False
        self._packet_limit: int | None = None
        self._refused: str | None = None
        self._retains = True
        self._since = 0.0
        self._short_lived = 0
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._topics: dict[int, tuple[str, ...]] = {}
        self._unconfirmed = _Outstanding()
        self._unwritten = _Outstanding()
        self._tls: tls.Context | None = None
        self._client = self._make_client()

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted us and the connection isn't known to be lost."""
        return self._connected

    @property
    def alive(self) -> bool:
        """Whether the network thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def moved_within(self, seconds: float) -> bool:
        """Whether the network thread is alive and makes progress: with a connection it looks at the
        network each second; without one it may be waiting before its next attempt."""
        waits = 0 if self._connected else 2 * self._broker.reconnect_max_s
        return self.alive and time.monotonic() - self._client.turned < seconds + waits

    def start(self) -> None:
        """Begin to connect, and go on trying. Also brings back a connection whose thread died."""
        self._drop()
        expiry = _properties(PacketTypes.CONNECT)
        expiry.SessionExpiryInterval = self.link.session_expiry_s
        expiry.ReceiveMaximum = self.link.receive_maximum
        expiry.MaximumPacketSize = self.link.maximum_packet
        self._client.connect_async(
            self._broker.host,
            self._broker.resolved_port,
            keepalive=self.link.keepalive_s,
            clean_start=self.link.session_expiry_s == 0,
            properties=expiry,
        )
        self._client.turned = time.monotonic()
        self._client.loop_start()
        name = f"paho-mqtt-client-{self.link.client_id}"
        self._thread = next((t for t in threading.enumerate() if t.name == name), None)

    def stop(self, timeout: float = 2.0) -> None:
        """Say goodbye to the broker, which then publishes no will, and end the thread."""
        self._stopping.set()
        self._client.disconnect()
        if self._thread is not None:
            self._thread.join(timeout)

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 0,
        retain: bool = False,
        correlation: bytes | None = None,
        response_topic: str | None = None,
        expiry_s: int | None = None,
        requester: str | None = None,
        text: bool = True,
    ) -> int | None:
        """Send, or at QoS 1 queue; `text` says that the payload is UTF-8. Returns the number that
        `Published` will carry (QoS 1), or None when there is no connection or no room, or the
        broker takes no packets of this size.
        """
        if not self._connected:
            return None
        if not self.fits(topic, payload, correlation):
            self._on_event(Oversized(self.link.name, topic, len(payload)))
            return None
        properties = _properties(PacketTypes.PUBLISH)
        properties.PayloadFormatIndicator = int(text)
        if requester is not None:
            properties.UserProperty = ("requester", requester)
        if correlation is not None:
            properties.CorrelationData = correlation
        if response_topic is not None:
            properties.ResponseTopic = response_topic
        if expiry_s is not None:
            properties.MessageExpiryInterval = expiry_s
        if qos == 0 and self._unwritten.full:
            return None
        info = self._client.publish(topic, payload, qos, retain and self._retains, properties)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            return None
        (self._unconfirmed if qos else self._unwritten).add(info)
        return info.mid

    def fits(self, topic: str, payload: bytes, correlation: bytes | None = None) -> bool:
        """Whether the broker takes packets of this size; it cuts connections that send larger."""
        size = len(topic.encode()) + len(payload) + len(correlation or b"") + _PACKET_OVERHEAD
        return self._packet_limit is None or size <= self._packet_limit

    def catch_up(self) -> None:
        """Wait, but not long, until the network thread has handed over what has arrived here."""
        end = time.monotonic() + _CATCH_UP_S
        sock = self._client.socket()
        while sock is not None and time.monotonic() < end and _unread(sock):
            time.sleep(0.001)

    def stalled(self, seconds: float) -> bool:
        """Whether a message has waited so long for its confirmation, on a connection that is up."""
        oldest = self._unconfirmed.oldest()
        if oldest is None or not self._connected:
            return False
        return time.monotonic() - max(oldest, self._since) > seconds

    def ack(self, generation: int, packets: list[int]) -> None:
        """Acknowledge messages, unless their connection is gone: they will come again."""
        with self._lock:
            if self._connected and generation == self._generation:
                for packet in packets:
                    self._client.ack(packet, 1)

    def _make_client(self) -> _Client:
        client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id=self.link.client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            manual_ack=self.link.manual_ack,
        )
        # With this an exception in a callback is logged by paho instead of ending its thread.
        client.suppress_exceptions = True
        client.enable_logger(_logger())
        client.max_inflight_messages_set(_MAX_INFLIGHT)
        client.max_queued_messages_set(self.link.receive_maximum + 64)
        client.reconnect_delay_set(1, self._broker.reconnect_max_s)
        if self._broker.username is not None:
            password = self._broker.password
            client.username_pw_set(self._broker.username, password.reveal() if password else None)
        if self._broker.tls is not None:
            self._tls = tls.context(self._broker.tls)
            client.tls_set_context(self._tls)
            # Else paho looks at the name itself, against our will and, from Python 3.12 on, with a
            # function that is no more.
            client.tls_insecure_set(not self._broker.tls.verify_hostname)
        if self.link.will is not None:
            client.will_set(self.link.will.topic, self.link.will.payload, qos=1, retain=True)
        client.on_pre_connect = self._pre_connect
        client.on_socket_open = _no_delay
        client.on_connect = self._connack
        client.on_connect_fail = self._connect_failed
        client.on_disconnect = self._disconnected
        client.on_subscribe = self._suback
        client.on_publish = self._puback
        client.on_message = self._message
        return client

    def _drop(self) -> None:
        with self._lock:
            self._generation += 1
            self._connected = False

    # Callbacks, all in the network thread.

    def _pre_connect(self, _client: paho.Client, _userdata: Any) -> None:
        reconnecting = self._generation > 1
        self._client.turned = time.monotonic()
        self._drop()
        if reconnecting:
            # A fleet whose broker restarted must not come back in one instant, and two clients that
            # take each other's session must not fight for it without a pause. There is no
            # connection now that this could keep waiting.
            longest = min(2.0**self._short_lived, self._broker.reconnect_max_s)
            self._stopping.wait(random.uniform(0.0, longest))

    def _connack(
        self,
        client: paho.Client,
        _userdata: Any,
        flags: paho.ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            self._refused = str(reason)  # the disconnection that follows doesn't know
            if reason.value == _NO_RETAIN:
                self._go_without_retain()
            return
        limits = properties or _properties(PacketTypes.CONNACK)
        self._packet_limit = getattr(limits, "MaximumPacketSize", None)
        if getattr(limits, "RetainAvailable", 1) == 0:
            self._go_without_retain()
        for start in range(0, len(self.link.subscriptions), _MAX_FILTERS):
            some = self.link.subscriptions[start : start + _MAX_FILTERS]
            _, message = client.subscribe(
                [
                    (s.topic, SubscribeOptions(qos=s.qos, retainHandling=0 if s.retained else 2))
                    for s in some
                ]
            )
            if message is not None:
                self._topics[message] = tuple(s.topic for s in some)
        self._since = time.monotonic()
        with self._lock:
            self._connected = True
        self._on_event(Connected(self.link.name, flags.session_present))

    def _go_without_retain(self) -> None:
        """The broker keeps nothing: it would refuse us again and again for wanting that."""
        if self._retains:
            self._retains = False
            if self.link.will is not None:
                will = self.link.will
                self._client.will_set(will.topic, will.payload, qos=1, retain=False)
            self._on_event(RetainUnavailable(self.link.name))

    def _connect_failed(self, _client: paho.Client, _userdata: Any) -> None:
        # paho calls this while it handles the exception and doesn't pass it on.
        error = sys.exc_info()[1]
        tried = self._tls is not None
        why = "can't connect" if error is None else tls.reason(error, handshake=tried)
        self._on_event(Lost(self.link.name, why))

    def _disconnected(
        self,
        _client: paho.Client,
        _userdata: Any,
        _flags: paho.DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        said = str(reason) if reason.value != _UNSPECIFIED else self._silence()
        short = self._connected and time.monotonic() - self._since < _SHORT_S
        self._short_lived = self._short_lived + 1 if short else 0
        self._drop()
        taken_over = reason.value == _SESSION_TAKEN_OVER
        unread = self._tls.take_failure() if self._tls is not None else None
        why, self._refused = self._refused or unread or said, None
        self._on_event(Lost(self.link.name, why, taken_over, self._short_lived))

    def _silence(self) -> str:
        """Why a connection may have ended without a word from the broker."""
        if self._connected or self._stopping.is_set():
            return "the connection broke"
        wanted = "speak MQTT" if self._broker.tls else "want TLS"
        return f"the broker closed the connection without a word: does this port {wanted}?"

    def _suback(
        self,
        _client: paho.Client,
        _userdata: Any,
        message: int,
        reasons: list[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        topics = self._topics.pop(message, ())
        refused = {t: str(r) for t, r in zip(topics, reasons, strict=False) if r.is_failure}
        if refused:
            reason = next(iter(refused.values()))
            self._on_event(SubscriptionRefused(self.link.name, tuple(refused), reason))

    def _puback(
        self,
        _client: paho.Client,
        _userdata: Any,
        message: int,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        refused = str(reason) if reason.is_failure else None
        self._on_event(Published(self.link.name, message, refused))

    def _message(self, _client: paho.Client, _userdata: Any, message: paho.MQTTMessage) -> None:
        properties = message.properties
        try:
            topic = message.topic
        except UnicodeDecodeError:
            return  # no topic that we subscribe to
        self._on_message(
            Incoming(
                generation=self._generation,
                topic=topic,
                payload=bytes(message.payload),
                packet=message.mid if message.qos else 0,
                dup=message.dup,
                retain=message.retain,
                response_topic=getattr(properties, "ResponseTopic", None),
                correlation=getattr(properties, "CorrelationData", None),
                expiry_s=getattr(properties, "MessageExpiryInterval", None),
                requester=_requester(getattr(properties, "UserProperty", ())),
            )
        )


def _logger() -> logging.Logger:
    """Where paho reports exceptions of callbacks; what else it says, our events say better."""
    logger = logging.getLogger("edgespike.paho")
    if not logger.filters:
        logger.addFilter(lambda record: "exception" in str(record.msg))
    return logger


def _requester(given: Sequence[tuple[str, str]]) -> str | None:
    """What the user property `requester` says."""
    return next((value for name, value in given if name == "requester"), None)


def _unread(sock: Any) -> bool:
    """Whether the kernel holds bytes that nobody has read: ioctl_tty(2), FIONREAD."""
    try:
        return any(fcntl.ioctl(sock.fileno(), termios.FIONREAD, bytes(4)))
    except (OSError, ValueError):
        return False  # closed meanwhile


def _properties(packet_type: int) -> Properties:
    return Properties(packet_type)  # type: ignore[no-untyped-call]


def _without_properties(packet: bytearray, qos: int) -> bytearray:
    """A PUBLISH without its properties (MQTT 5.0, section 3.3.2.3)."""
    start = end = 2 + int.from_bytes(packet[:2], "big") + (2 if qos else 0)
    length = shift = 0
    more = True
    while more:
        length |= (packet[end] & 0x7F) << shift
        more = packet[end] >= 0x80
        shift, end = shift + 7, end + 1
    return packet[:start] + b"\0" + packet[end + length :]


def _no_delay(_client: paho.Client, _userdata: Any, sock: Any) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
