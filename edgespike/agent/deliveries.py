"""Which MQTT deliveries of prompts are still unacknowledged, and which may be acknowledged now.

MQTT 5 wants PUBACKs in the order in which the messages arrived (4.6), while prompts finish in any
order. A connection that breaks makes the broker deliver again what wasn't acknowledged, with the
same packet identifier and DUP set (4.4): such a delivery is the old one, not a new prompt.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Delivery:
    """One prompt message as the broker handed it over; `packet` is 0 for QoS 0.

    `settled` once nothing more has to happen before it is acknowledged; `on_settled` is called then
    for a message that is kept by other means than this session.
    """

    packet: int
    fingerprint: bytes
    settled: bool = False
    on_settled: Callable[[], None] | None = None

    @property
    def kept(self) -> bool:
        """Whether the message comes again if it isn't settled."""
        return self.packet > 0 or self.on_settled is not None


class Deliveries:
    """The unacknowledged deliveries of one session, in order of arrival. Used from one thread."""

    def __init__(self) -> None:
        self._open: deque[Delivery] = deque()
        self._before: dict[tuple[int, bytes], Delivery] = {}

    def __len__(self) -> int:
        return len(self._open)

    def reconnected(self, session_present: bool) -> None:
        """A connection was made: what was open comes again, if the broker kept the session."""
        if session_present:
            self._before |= {(d.packet, d.fingerprint): d for d in self._open}
        else:
            self._before.clear()
        self._open.clear()

    def arrive(self, packet: int, dup: bool, fingerprint: bytes) -> tuple[Delivery, bool]:
        """A message came. Returns its delivery and whether this process already knew it."""
        if packet == 0:
            return Delivery(0, fingerprint), False
        known = self._before.pop((packet, fingerprint), None) if dup else None
        delivery = known or Delivery(packet, fingerprint)
        self._open.append(delivery)
        return delivery, known is not None

    def settle(self, *settled: Delivery) -> list[int]:
        """Mark as settled; returns the packet identifiers to acknowledge now, in order."""
        for delivery in settled:
            if delivery.on_settled is not None and not delivery.settled:
                delivery.on_settled()
            delivery.settled = True
        ready = []
        while self._open and self._open[0].settled:
            ready.append(self._open.popleft().packet)
        return ready
