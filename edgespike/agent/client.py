"""A client of the daemon: asks one question over MQTT and hands over the replies as they come."""

from __future__ import annotations

import json
import os
import queue
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from edgespike.agent import mqtt
from edgespike.agent.events import ConnectionEvent, Incoming, Lost, Oversized
from edgespike.config import Broker, Tls
from edgespike.errors import DataError, EdgespikeError, InternalError, UnavailableError, UsageError
from edgespike.messages import Answer, ErrorReply, Reply, new_id, parse_reply

_ERRORS: dict[str, type[EdgespikeError]] = {
    "bad_request": DataError,
    "too_large": DataError,
    "busy": UnavailableError,
    "expired": UnavailableError,
    "internal": InternalError,
}


@dataclass(frozen=True, slots=True)
class Question:
    """What to ask, and how. `timeout_s` is also the answer's deadline."""

    text: str
    node: str
    timeout_s: float
    stream: bool = True
    max_tokens: int | None = None
    session: str | None = None


def broker_from_url(url: str) -> Broker:
    """`mqtt://[user@]host[:port]`, or `mqtts://` for TLS. Raises UsageError (no password here)."""
    try:
        parts = urlsplit(url if "://" in url else f"mqtt://{url}")
        port = parts.port
    except ValueError as error:
        raise UsageError(f"--broker: {error}") from None
    if parts.password is not None:
        raise UsageError(
            "--broker: a password in the command can be read by every user of this machine: "
            "use EDGESPIKE_MQTT_PASSWORD or --password-file"
        )
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or parts.path not in ("", "/"):
        raise UsageError("--broker must look like mqtt://host:1883 or mqtts://user@host:8883")
    return Broker(
        host=parts.hostname,
        port=port,
        username=None if parts.username is None else unquote(parts.username),
        tls=Tls() if parts.scheme == "mqtts" else None,
    )


def unreachable(broker: Broker, reason: str) -> UnavailableError:
    """What a client says that has no connection, for the `reason` of a `Lost`."""
    if ": " in reason:
        advice = ""  # it says what to do
    elif any(word in reason.lower() for word in ("authoriz", "user name", "password")):
        advice = ": are the user and the password right?"
    else:
        advice = ": is it running, and is --broker right?"
    where = f"{broker.host}:{broker.resolved_port}"
    return UnavailableError(f"no connection to the broker at {where} ({reason}){advice}")


def displayed(text: str) -> str:
    """Text from the network, unable to drive a terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)


class Client:
    """A connection to a broker, for asking nodes. Use as a context manager."""

    def __init__(self, broker: Broker, node: str) -> None:
        self._broker = broker
        self._node = node
        self._base = f"edgespike/{node}"
        name = f"ask-{uuid.uuid4().hex[:12]}"
        self._responses = f"{self._base}/response/{name}"
        self._events: queue.SimpleQueue[ConnectionEvent | Incoming] = queue.SimpleQueue()
        link = mqtt.Link(
            name="ask",
            client_id=f"edgespike-{name}",
            subscriptions=(
                mqtt.Subscription(self._responses, qos=1),
                mqtt.Subscription(f"{self._base}/status", retained=True),
            ),
        )
        self._connection = mqtt.Connection(link, broker, self._events.put, self._events.put)
        self.status: str | None = None

    def __enter__(self) -> Client:
        self._connection.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._connection.stop()

    def connect(self, timeout_s: float) -> None:
        """Wait for the connection. Raises UnavailableError, saying why there is none."""
        end = time.monotonic() + timeout_s
        while not self._connection.connected:
            event = self._next(end)
            if isinstance(event, Lost):
                raise unreachable(self._broker, event.reason)
            if event is None:
                raise unreachable(self._broker, f"no answer within {timeout_s:g} s")

    def wait_for(self, status: str, timeout_s: float, alive: Callable[[], bool]) -> bool:
        """Wait until the node has that status; False after `timeout_s`, or when not `alive()`."""
        end = time.monotonic() + timeout_s
        while self.status != status and time.monotonic() < end and alive():
            self._next(min(end, time.monotonic() + 0.1))
        return self.status == status

    def ask(
        self,
        question: Question,
        on_reply: Callable[[Reply], None],
        on_status: Callable[[str], None] = lambda status: None,
    ) -> Answer:
        """Ask, give every reply to `on_reply`, and return the last. `on_status` hears what the node
        says of itself while we wait.

        Raises UnavailableError without a broker or an answer, or when the node is busy; DataError
        when the node finds the question bad.
        """
        end = time.monotonic() + question.timeout_s
        self.connect(question.timeout_s)
        id = new_id()
        body = {
            "prompt": question.text,
            "id": id,
            "stream": question.stream,
            "deadline_ms": max(1, int(question.timeout_s * 1000)),
        }
        if question.session is not None:
            body["session"] = question.session
        if question.max_tokens is not None:
            body["max_tokens"] = question.max_tokens
        self._connection.publish(
            f"{self._base}/prompt",
            json.dumps(body).encode(),
            qos=1,
            response_topic=self._responses,
            correlation=id.encode(),
            expiry_s=max(1, round(question.timeout_s)),
            # The Response Topic is another one each time, while a dialogue goes on.
            requester=f"{os.getuid()}@{socket.gethostname()}",
        )
        known, taken = None, False
        try:
            while True:
                if self.status is not None and self.status != known:
                    known = self.status
                    on_status(known)
                event = self._next(end)
                match event:
                    case None:
                        raise UnavailableError(self._silence(question.timeout_s, taken))
                    case Lost():
                        raise unreachable(self._broker, event.reason)
                    case Oversized():
                        raise DataError(
                            "the broker takes no question of this size: ask a shorter one"
                        )
                    case Incoming(topic=self._responses):
                        reply = parse_reply(event.payload)
                        if reply.id != id:
                            continue
                        taken = True
                        on_reply(reply)
                        if isinstance(reply, Answer):
                            return reply
                        if isinstance(reply, ErrorReply):
                            raise _ERRORS[reply.code](f"{self._node}: {reply.message}")
        except (KeyboardInterrupt, UnavailableError):
            self._connection.publish(f"{self._base}/cancel", id.encode())
            raise

    def _next(self, end: float) -> ConnectionEvent | Incoming | None:
        """The next event; None at `end`. Keeps `status` up to date."""
        try:
            event = self._events.get(timeout=max(0.0, end - time.monotonic()))
        except queue.Empty:
            return None
        if isinstance(event, Incoming) and event.topic == f"{self._base}/status":
            self.status = event.payload[:16].decode(errors="replace")
        return event

    def _silence(self, timeout_s: float, taken: bool) -> str:
        """What may be wrong; `taken`: the node has the prompt."""
        said = f"its status is {self.status!r}" if self.status else "no such node has been there"
        advice = "is `edgespike run` running, and is --node right?"
        if taken:
            said = "it has the prompt"
            advice = (
                f"is it paused (`resume` to {self._base}/control lets it go on),"
                " or is --timeout too short?"
            )
        elif self.status == "online":
            advice = (
                f"may this user write {self._base}/prompt and read {self._base}/response/# by the "
                "broker's ACL, and is --timeout long enough?"
            )
        return f"no answer from node {self._node!r} within {timeout_s:g} s ({said}): {advice}"
