"""What a connection reports: messages, and what became of itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message from the broker. `packet` is 0 for QoS 0; `expiry_s` what is left of its life.

    `requester` is who sent it, if a user property of that name says so: the broker doesn't.
    """

    generation: int
    topic: str
    payload: bytes
    packet: int
    dup: bool
    retain: bool
    response_topic: str | None
    correlation: bytes | None
    expiry_s: int | None
    requester: str | None = None


@dataclass(frozen=True, slots=True)
class Connected:
    """The broker took us; `session_present`: and remembers us."""

    connection: str
    session_present: bool


@dataclass(frozen=True, slots=True)
class Lost:
    """The connection ended, or could not be made. `taken_over`: by a client with the same id, as
    far as the broker says so; `short_lived` counts connections in a row that ended right away.
    """

    connection: str
    reason: str
    taken_over: bool = False
    short_lived: int = 0


@dataclass(frozen=True, slots=True)
class Published:
    """The broker answered for a QoS 1 message of ours; `refused` says why it didn't take it."""

    connection: str
    message: int
    refused: str | None


@dataclass(frozen=True, slots=True)
class SubscriptionRefused:
    """The broker doesn't let us hear these topics."""

    connection: str
    topics: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class RetainUnavailable:
    """The broker keeps no retained messages; we go on without."""

    connection: str


@dataclass(frozen=True, slots=True)
class Oversized:
    """The broker takes no message as large as this one, which wasn't sent."""

    connection: str
    topic: str
    size: int


ConnectionEvent = Connected | Lost | Published | SubscriptionRefused | RetainUnavailable | Oversized
