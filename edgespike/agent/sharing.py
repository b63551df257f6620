"""A group of daemons with one queue of prompts, on any MQTT 5 broker.

The broker deals the prompts of a shared subscription (MQTT 5, 4.8.2) out to the members. What
becomes of one whose member dies is left to the broker: Mosquitto drops it with the session, or
keeps it for the dead member as long as its session lives. So the members look after each other:
whoever gets a prompt keeps a copy of it at the broker, retained, until it is answered, and
acknowledges it when the copy is there. A member's will says that it is gone; then one of the
others, the same one for all who work it out, takes what it left. A member without room for a prompt
puts the copy in another's name.

    edgespike/<group>/prompt           where clients ask
    edgespike/<group>/member/<node>    retained: online, or offline (by will too)
    edgespike/<group>/work/<node>/<t>  retained: a prompt that this member answers

Every prompt is answered at least once: a member that is only cut off goes on and answers too.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import structlog

from edgespike.agent import mqtt
from edgespike.agent.deliveries import Deliveries
from edgespike.agent.desk import Desk
from edgespike.agent.events import Connected, ConnectionEvent, Incoming, Published
from edgespike.config import Config
from edgespike.messages import new_id
from edgespike.telemetry import Counters

MAX_PARKED = 1024
"""Prompts of other members that are remembered."""

_TAKE_BACK_S = 2.0
"""What an earlier process of this node left is for the others first, who heard of its end."""
_PACKET_ROOM = 65536


@dataclass(frozen=True, slots=True)
class Heard:
    """A message for the group. A prompt has a `ticket` under which its copy is kept, and `copy` is
    the number of the message that brought it to the broker.
    """

    message: Incoming
    ticket: str | None = None
    copy: int | None = None


class Group:
    """This node's part in a group. Used from the service's thread, but for its connection."""

    def __init__(
        self,
        settings: Config,
        name: str,
        desk: Desk,
        full: Callable[[], bool],
        post: Callable[[ConnectionEvent | Heard], None],
        counters: Counters,
    ) -> None:
        """`full` tells whether a further prompt would be refused here."""
        self._full = full
        self._node = settings.node
        self._base = f"edgespike/{name}"
        self._keep_s = max(1, settings.prompts.max_deadline_ms // 1000)
        self._desk = desk
        self._counters = counters
        self._deliveries = Deliveries()
        self._mine: dict[str, Incoming] = {}
        self._parked: dict[tuple[str, str], Incoming] = {}
        self._members: dict[str, bool] = {}
        self._clearing: dict[str, None] = {}
        self._confirming: dict[int, Callable[[], object]] = {}
        self._left: dict[str, Incoming] = {}
        self._take_back_at = 0.0
        self._leaving = False
        self._log = structlog.get_logger()
        link = mqtt.Link(
            name="group",
            client_id=f"{settings.client_id}-group",
            subscriptions=(
                mqtt.Subscription(f"$share/{name}/{self._base}/prompt", qos=1),
                mqtt.Subscription(f"{self._base}/member/+", qos=1, retained=True),
                mqtt.Subscription(f"{self._base}/work/+/+", qos=1, retained=True),
                mqtt.Subscription(f"{self._base}/cancel"),
            ),
            keepalive_s=settings.keepalive_s,
            # A session that outlives its member would go on getting its share of the prompts.
            session_expiry_s=0,
            manual_ack=True,
            receive_maximum=settings.prompts.inbox + 64,
            maximum_packet=settings.prompts.max_prompt_bytes + _PACKET_ROOM,
            will=mqtt.Will(self._member_topic, b"offline"),
        )
        self._post = post
        self.connection = mqtt.Connection(link, settings.broker, self._arrived, post)

    @property
    def name(self) -> str:
        """The name of the group's connection."""
        return self.connection.link.name

    @property
    def confirmed(self) -> bool:
        """Whether the broker has everything that this member told the others."""
        return not self._confirming

    def facts(self) -> dict[str, int]:
        """For the metrics."""
        return {
            "members_online": sum(self._members.values()),
            "mine": len(self._mine),
            "of_others": len(self._parked),
        }

    def connected(self, event: Connected) -> None:
        """The group's connection was made: say that we are here, and what we have."""
        self._deliveries.reconnected(event.session_present)
        self._confirming.clear()
        self._parked.clear()
        self._members.clear()
        self._left.clear()
        self._take_back_at = time.monotonic() + _TAKE_BACK_S
        self._publish(self._member_topic, b"offline" if self._leaving else b"online")
        for ticket, message in self._mine.items():
            self._copy(self._node, ticket, message)
        for ticket in self._clearing:
            self._clear(ticket)

    def published(self, event: Published) -> None:
        """The broker answered for something that we published."""
        if event.refused:
            self._log.error("group_refused", reason=event.refused)
        act = self._confirming.pop(event.message, None)
        if act is not None:
            act()

    def heard(self, heard: Heard) -> None:
        """A message of the group came."""
        message = heard.message
        _, _, rest = message.topic.partition(f"{self._base}/")
        fingerprint = hashlib.sha256(message.topic.encode() + message.payload).digest()
        delivery, _ = self._deliveries.arrive(message.packet, message.dup, fingerprint)

        def settle() -> None:
            self.connection.ack(message.generation, self._deliveries.settle(delivery))

        if heard.ticket is not None:
            if heard.copy is None:
                settle()  # no copy can be had, and later prompts must not wait for one
            else:
                self._confirming[heard.copy] = settle
            self._deal(heard.ticket, replace(message, packet=0, dup=False))
            return
        match rest.split("/"):
            case ["member", name] if message.payload in (b"online", b"offline"):
                self._members[name] = message.payload == b"online"
                self._reconsider()
            case ["work", name, ticket]:
                self._hear_of_work(name, ticket, message)
        settle()

    def step(self) -> None:
        """Take what is kept in our name: from an earlier process, or one who has no room."""
        if self._left and time.monotonic() >= self._take_back_at:
            left, self._left = self._left, {}
            for ticket, message in left.items():
                self._log.info("taken_up", ticket=ticket)
                self._take(ticket, message)

    def leave(self) -> None:
        """This member goes: the others may have what it hasn't answered."""
        self._leaving = True
        self._publish(self._member_topic, b"offline")

    @property
    def _member_topic(self) -> str:
        return f"{self._base}/member/{self._node}"

    def _arrived(self, message: Incoming) -> None:
        """In the network thread: a prompt's copy is on its way before anything else, as until then
        the prompt would die with this process.
        """
        if not message.topic.endswith("/prompt"):
            self._post(Heard(message))
        else:
            ticket = new_id()
            self._post(Heard(message, ticket, self._copy(self._node, ticket, message)))

    def _deal(self, ticket: str, prompt: Incoming) -> None:
        """Answer a prompt, or leave it to another member: when we go, or have no room."""
        if self._leaving:
            return  # the others see the copy of a member that is gone
        others = {name for name, here in self._members.items() if here and name != self._node}
        if others and self._full():
            self._counters.add("prompts_handed_on")
            self._copy(_heir(others, ticket), ticket, prompt)
            self._answered(ticket)
        else:
            self._take(ticket, prompt)

    def _hear_of_work(self, name: str, ticket: str, message: Incoming) -> None:
        if not message.payload:
            self._parked.pop((name, ticket), None)
            # Who hands a prompt on to us clears its own copy right after: ours stands.
            if name == self._node:
                self._left.pop(ticket, None)
            return
        prompt = replace(message, topic=f"{self._base}/prompt", packet=0, dup=True, retain=False)
        if name != self._node:
            if len(self._parked) < MAX_PARKED:
                self._parked[name, ticket] = prompt
                self._reconsider()
        elif ticket not in self._mine and ticket not in self._clearing:
            self._left[ticket] = prompt

    def _reconsider(self) -> None:
        """Take what members left who are gone, as far as it falls to us."""
        online = {name for name, here in self._members.items() if here}
        if self._leaving or self._node not in online:
            return
        for name, ticket in [k for k in self._parked if self._members.get(k[0]) is False]:
            if _heir(online, ticket) == self._node:
                message = self._parked.pop((name, ticket))
                self._counters.add("prompts_taken_over")
                self._log.info("taken_over", member=name, ticket=ticket)
                self._copy(self._node, ticket, message)
                self._publish(f"{self._base}/work/{name}/{ticket}", b"")
                self._take(ticket, message)

    def _take(self, ticket: str, message: Incoming) -> None:
        self._mine[ticket] = message
        self._desk.shared(message, ticket, lambda: self._answered(ticket))

    def _answered(self, ticket: str) -> None:
        self._mine.pop(ticket, None)
        self._clearing[ticket] = None
        self._clear(ticket)

    def _copy(self, member: str, ticket: str, message: Incoming) -> int | None:
        """Keep a copy at the broker: a prompt for this member. Returns the message's number."""
        expiry = self._keep_s if message.expiry_s is None else message.expiry_s
        return self.connection.publish(
            f"{self._base}/work/{member}/{ticket}",
            message.payload,
            qos=1,
            retain=True,
            correlation=message.correlation,
            response_topic=message.response_topic,
            expiry_s=min(expiry, self._keep_s),
        )

    def _clear(self, ticket: str) -> None:
        self._publish(
            f"{self._base}/work/{self._node}/{ticket}",
            b"",
            lambda: self._clearing.pop(ticket, None),
        )

    def _publish(
        self, topic: str, payload: bytes, then: Callable[[], object] = lambda: None
    ) -> None:
        """Publish, retained; `then` is called when the broker has confirmed it. Without a
        connection nothing is sent: the next one begins with all that counts.
        """
        message = self.connection.publish(topic, payload, qos=1, retain=True)
        if message is not None:
            self._confirming[message] = then


def _heir(members: Collection[str], ticket: str) -> str:
    """Whose a prompt is, by rendezvous hashing: all who know the members know the same."""
    return max(members, key=lambda name: hashlib.sha256(f"{name}/{ticket}".encode()).digest())
