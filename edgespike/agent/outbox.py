"""Final replies on their way to the broker: sent at QoS 1, kept until the broker confirms them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from edgespike.agent.deliveries import Delivery
from edgespike.agent.journal import Key
from edgespike.agent.mqtt import Connection
from edgespike.messages import ErrorReply, shortened


@dataclass(frozen=True, slots=True, eq=False)
class Final:
    """A final reply and the deliveries of the prompt that wait for it.

    `key` is None for a prompt that was refused at the door and isn't in the journal.
    """

    id: str
    seq: int
    topic: str
    payload: bytes
    correlation: bytes | None
    key: Key | None
    deliveries: list[Delivery] = field(default_factory=list)


class Outbox:
    """Sends final replies in order, again if there was no connection. Used from one thread."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._waiting: deque[Final] = deque()
        self._unconfirmed: dict[int, Final] = {}

    def __len__(self) -> int:
        return len(self._waiting) + len(self._unconfirmed)

    def send(self, final: Final) -> None:
        """Send, or keep for later."""
        self._waiting.append(final)
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as the connection takes it; from there on MQTT repeats it."""
        while self._waiting and self._connection.connected:
            final = self._waiting[0]
            payload, correlation = self._fitting(final)
            message = self._connection.publish(final.topic, payload, qos=1, correlation=correlation)
            if message is None:
                return
            self._unconfirmed[message] = self._waiting.popleft()

    def confirmed(self, message: int) -> Final | None:
        """The reply that the broker has answered for, if the message was one."""
        return self._unconfirmed.pop(message, None)

    def fitted(self, topic: str, payload: bytes, correlation: bytes | None = None) -> bytes | None:
        """An answer as large as the broker takes it, without its lists if need be; None if not even
        that.
        """
        if self._connection.fits(topic, payload, correlation):
            return payload
        short = shortened(payload)
        return short if self._connection.fits(topic, short, correlation) else None

    def _fitting(self, final: Final) -> tuple[bytes, bytes | None]:
        """The reply, or if the broker takes no packet as large as that, one that says so."""
        payload = self.fitted(final.topic, final.payload, final.correlation)
        if payload is not None:
            return payload, final.correlation
        problem = "the broker doesn't take an answer of this size"
        short = ErrorReply(final.id, final.seq, "too_large", problem).to_bytes()
        fits = self._connection.fits(final.topic, short, final.correlation)
        return short, final.correlation if fits else None
