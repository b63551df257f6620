"""Who asks, and how often they may.

MQTT tells no receiver who published a message. So a requester is who the prompt says it is from: by
its user property `requester`, else by its Response Topic, else nobody in particular, and all of
those share one allowance. That keeps well-meant clients from crowding each other out. Against the
others there is the broker: its access rules decide who may send prompts, and who may hear replies.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable

from edgespike.agent.events import Incoming

MAX_REQUESTERS = 1024
"""Requesters whose allowance is remembered; the one that asked longest ago goes first."""


def requester(message: Incoming) -> str:
    """A name of fixed size for who sent a prompt."""
    if message.requester is not None:
        text = f"by {message.requester}"
    else:
        text = f"to {message.response_topic or ''}"
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()


def dialogue_name(message: Incoming, session: str) -> str:
    """A name for the dialogue `session` of whoever sent the prompt, good for a file name.

    A dialogue belongs to its requester: the same `session` of another one is another dialogue.
    """
    return hashlib.sha256(f"{requester(message)} {session}".encode()).hexdigest()[:32]


class Allowances:
    """How many prompts each requester may send now: a bucket each, filled up to a burst."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, who: str, per_minute: int, burst: int) -> float:
        """Use up one prompt of the allowance. 0 when there was one, else seconds until there is."""
        now = self._clock()
        left, at = self._buckets.pop(who, (float(burst), now))
        left = min(float(burst), left + (now - at) * per_minute / 60.0)
        wait = max(0.0, (1.0 - left) * 60.0 / per_minute)
        self._buckets[who] = (left if wait else left - 1.0, now)
        if len(self._buckets) > MAX_REQUESTERS:
            self._buckets.popitem(last=False)
        return wait
