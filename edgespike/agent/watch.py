"""Looking at a node from outside: what it says of itself over MQTT, kept up to date."""

from __future__ import annotations

import json
import queue
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from edgespike.agent import mqtt
from edgespike.agent.client import unreachable
from edgespike.agent.events import (
    Connected,
    ConnectionEvent,
    Incoming,
    Lost,
    SubscriptionRefused,
)
from edgespike.config import Broker
from edgespike.errors import DataError, UnavailableError
from edgespike.messages import Answer, parse_reply

MAX_ANSWERS = 5
"""Latest answers that a view holds."""

_MAX_PAYLOAD = 1 << 18
_MAX_STATUS = 16
_LAST_ANSWER_S = 0.5
"""How much longer a snapshot waits for the last answer, which a new node doesn't have."""


@dataclass(frozen=True, slots=True)
class View:
    """A node as it says it is. `metrics` is a JSON object from the network: nothing in it is
    certain. `heard` is when it came, in monotonic seconds, None for what the broker had kept: its
    age is unknown. `lost` says why there is no connection.
    """

    node: str
    status: str | None = None
    metrics: Mapping[str, Any] | None = None
    heard: float | None = None
    answers: tuple[Answer, ...] = ()
    lost: str | None = None


class Watcher:
    """Hears what one node publishes of itself. Use as a context manager."""

    def __init__(self, broker: Broker, node: str) -> None:
        self.view = View(node)
        self._broker = broker
        self._where = f"{broker.host}:{broker.resolved_port}"
        self._base = f"edgespike/{node}/"
        self._events: queue.SimpleQueue[ConnectionEvent | Incoming] = queue.SimpleQueue()
        topics = ("last", "status", "metrics")
        link = mqtt.Link(
            name="top",
            client_id=f"edgespike-top-{uuid.uuid4().hex[:12]}",
            subscriptions=tuple(mqtt.Subscription(self._base + t, retained=True) for t in topics),
            maximum_packet=_MAX_PAYLOAD,
        )
        self._connection = mqtt.Connection(link, broker, self._events.put, self._events.put)

    def __enter__(self) -> Watcher:
        self._connection.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._connection.stop()

    def update(self, timeout_s: float) -> bool:
        """Wait for news; whether there were any. Raises UnavailableError when the broker doesn't
        let us listen.
        """
        try:
            event = self._events.get(timeout=max(0.0, timeout_s))
        except queue.Empty:
            return False
        match event:
            case Connected():
                self.view = replace(self.view, lost=None)
            case Lost():
                self.view = replace(self.view, lost=event.reason)
            case SubscriptionRefused():
                raise UnavailableError(
                    f"the broker at {self._where} doesn't let this user read "
                    f"{', '.join(event.topics)}: {event.reason}"
                )
            case Incoming():
                return self._hear(event)
        return True

    def first(self, timeout_s: float) -> View:
        """The first view worth looking at. Raises UnavailableError when there is no broker, or the
        node has never been there.
        """
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            self.update(end - time.monotonic())
            if self.view.lost is not None:
                raise unreachable(self._broker, self.view.lost)
            if self.view.status is not None:
                end = min(end, time.monotonic() + _LAST_ANSWER_S)
            if self.view.status is not None and self.view.metrics is not None:
                while not self.view.answers and self.update(end - time.monotonic()):
                    pass
                break
        if self.view.status is None:
            raise UnavailableError(
                f"node {self.view.node!r} has never been at the broker at {self._where}: "
                "is `edgespike run` running, and is --node right?"
            )
        return self.view

    def _hear(self, message: Incoming) -> bool:
        """Take in a message; what makes no sense is passed over, as any client may publish it."""
        match message.topic.removeprefix(self._base):
            case "status":
                status = message.payload[:_MAX_STATUS].decode(errors="replace")
                self.view = replace(self.view, status=status or None)
            case "metrics":
                metrics = _json_object(message.payload)
                if metrics is None:
                    return False
                self.view = replace(
                    self.view, metrics=metrics, heard=None if message.retain else time.monotonic()
                )
            case "last":
                try:
                    reply = parse_reply(message.payload)
                except DataError:
                    return False
                if not isinstance(reply, Answer):
                    return False
                kept = (reply, *(a for a in self.view.answers if a.id != reply.id))
                self.view = replace(self.view, answers=kept[:MAX_ANSWERS])
        return True


def _json_object(payload: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
