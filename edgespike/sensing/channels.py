"""The channels and what each last said, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgespike.config import ChannelSettings
from edgespike.sensing.memory import ChannelMemory
from edgespike.sensing.picture import ChannelView, LimitState
from edgespike.sensing.statistics import History

# Beyond this, squares overflow: such a reading is shown, but takes no part in statistics.
_STATISTICS_LIMIT = 1e100
_LIMITS: dict[str | None, LimitState] = {"low": "low", "high": "high", "ok": "ok"}


@dataclass(slots=True)
class Device:
    """What a topic or a payload calls a device, since when it is offline, and its channels.

    `bridge` speaks for it: when that is offline, so is the device. Devices have their firmware as
    their bridge, or another device; `leads` marks such a one.
    """

    source: int
    name: str
    bridge: Device | None = None
    offline_since: float | None = None
    channels: list[Channel] = field(default_factory=list)
    leads: bool = False

    def hang_on(self, other: Device) -> None:
        """Make another device of the firmware its bridge, once: that one, or the one that it hangs
        on.

        Whoever leads stays where it is, so there are no rings and no chains.
        """
        if self.leads or self.bridge is None or self.bridge.name:
            return
        leader = other.bridge if other.bridge is not None and other.bridge.name else other
        if leader.name and leader is not self and not leader.name.startswith(f"{self.name}/"):
            self.bridge, leader.leads = leader, True

    @property
    def unreachable_since(self) -> float | None:
        """Since when nothing can be heard of it."""
        if self.offline_since is None and self.bridge is not None:
            return self.bridge.unreachable_since
        return self.offline_since

    def hangs_on(self, other: Device) -> bool:
        """Whether it is that device, or is heard via it."""
        return self is other or (self.bridge is not None and self.bridge.hangs_on(other))


@dataclass(slots=True, eq=False)
class Channel:
    """One channel: its settings, last value, limit state and history.

    `noise` is the change that means nothing, if known; `stale_after` an age in seconds; `momentary`
    tells that each message is an event of its own, also when it says the same. `dated` tells
    whether `at` is the time of the reading: a retained message says when it arrived, not when it
    was measured. `since` is when its state, or the limit state of its number, began.

    `gone_since` is when it was said that there is no value any more.

    `revision` is that of the last change that matters: `told` is what the number was then, and
    `fresh` whether it was young enough.
    """

    name: str
    settings: ChannelSettings
    quantity: str = ""
    unit: str = ""
    noise: float | None = None
    stale_after: float = 3600.0
    momentary: bool = False
    device: Device | None = None
    text: str | None = None
    number: float | None = None
    at: float = 0.0
    dated: bool = True
    limit: LimitState | None = None
    since: float | None = None
    gone_since: float | None = None
    history: History | None = field(default=None, repr=False)
    changes: History | None = field(default=None, repr=False)
    revision: int = 0
    told: float | None = None
    fresh: bool = False
    low: float | None = field(init=False)
    high: float | None = field(init=False)

    def __post_init__(self) -> None:
        low, high = self.settings.low, self.settings.high
        self.low = None if low is None else float(low)
        self.high = None if high is None else float(high)

    def update(
        self, text: str, number: float | None, unit: str, at: float, dated: bool, span: float
    ) -> bool:
        """Take in a value; whether it changes anything that matters.

        `span` is how long the history reaches back, in seconds.
        """
        before, was = self.text, self.number
        self.text, self.number, self.at, self.dated = text, number, at, dated
        if number is None:
            matters = before != text or was is not None or self.momentary
            if matters:
                self._changed(before, at, dated, span)
            return matters
        matters = was is None
        if unit != self.unit:
            self.unit, matters = unit, True
            self.history = None  # numbers of another unit
        if self.low is not None or self.high is not None:
            limit = self._limit_of(number)
            if limit != self.limit:
                self.since = at if dated else None
                self.limit, matters = limit, True
        elif self.since is not None:
            self.since = None
        if -_STATISTICS_LIMIT < number < _STATISTICS_LIMIT:
            if self.history is None:
                self.history = History(span)
            self.history.add(at, number, text)
        told = self.told
        if told is None or abs(number - told) > self._floor(told, text):
            self.told, matters = number, True
        return matters

    def view(self, now: float) -> ChannelView:
        """What the channel says at `now`."""
        settings, text = self.settings, self.text
        away = self.device.unreachable_since if self.device is not None else None
        away = self.gone_since if away is None else away
        offline = max(0.0, now - away) if away is not None else None
        if text is None:
            return ChannelView(
                self.name,
                None,
                unit=self.unit,
                quantity=self.quantity,
                stale=True,
                low=settings.low,
                high=settings.high,
                offline_s=offline,
            )
        age = max(0.0, now - self.at)
        since = max(0.0, now - self.since) if self.since is not None else None
        number, history = self.number, self.history
        low = high = mean = trend = changes = None
        if number is None:
            changes = self.changes.count(now) if self.changes is not None else 0
        elif history is not None:
            summary, trend = history.digest(now, self.noise)
            if summary is not None:
                low, high, mean = summary
        return ChannelView(
            self.name,
            text,
            number,
            self.unit if number is not None else "",
            self.quantity,
            age if self.dated else None,
            offline is not None or age > self.stale_after,
            trend,
            self.limit,
            settings.low,
            settings.high,
            low,
            high,
            mean,
            since,
            changes,
            offline,
        )

    def recall(self, memory: ChannelMemory, number: float | None, span: float) -> None:
        """Take up what it said before a restart. Raises ValueError for a damaged history."""
        if memory.history:
            self.history = History.load(memory.history, span)
        if memory.changes:
            self.changes = History.load(memory.changes, span)
        self.text, self.number, self.told = memory.text, number, number
        self.at, self.dated, self.since = memory.at, memory.dated, memory.since
        if number is not None and (self.low is not None or self.high is not None):
            self.limit = _LIMITS.get(memory.limit)
            limit = self._limit_of(number)
            if limit != self.limit:  # other limits than then
                self.limit, self.since = limit, None

    def shift(self, seconds: float) -> None:
        """Move all that it remembers in time."""
        self.at += seconds
        if self.since is not None:
            self.since += seconds
        for history in (self.history, self.changes):
            if history is not None:
                history.shift(seconds)

    def _changed(self, before: str | None, at: float, dated: bool, span: float) -> None:
        """A state began, or a number has become a word."""
        self.limit = self.told = None
        # What was kept by the broker has been so for who knows how long.
        self.since = at if dated else None
        if before is not None or self.momentary:
            if self.changes is None:
                self.changes = History(span)
            self.changes.add(at, 0.0, "0")

    def _floor(self, told: float, text: str) -> float:
        """The largest change that means nothing, as for trends."""
        if self.noise is not None:
            return self.noise
        decimals = len(text.partition(".")[2])
        return max(1.5 * 10.0**-decimals, 0.005 * abs(told))

    def _limit_of(self, number: float) -> LimitState:
        """The limit state with hysteresis: it ends only well inside the limit."""
        gap = float(self.settings.hysteresis or 0)
        if self.high is not None and number > self.high - (gap if self.limit == "high" else 0):
            return "high"
        if self.low is not None and number < self.low + (gap if self.limit == "low" else 0):
            return "low"
        return "ok"


class Channels:
    """All channels by name, at most `limit` of them."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._by_name: dict[str, Channel] = {}
        self._sorted: list[Channel] | None = None

    def __len__(self) -> int:
        return len(self._by_name)

    def expect(self, name: str, settings: ChannelSettings) -> None:
        """Make a channel known before it first reports."""
        if len(self._by_name) < self._limit and name.casefold() not in self._by_name:
            self._add(name, settings)

    def open(self, name: str, settings: ChannelSettings) -> Channel | None:
        """A channel for a newly heard value; None when there are too many.

        A name that another value has already gets a number: `hall temperature 2`.
        """
        number, unique = 1, name
        while (taken := self._by_name.get(unique.casefold())) and taken.device is not None:
            number += 1
            unique = f"{name} {number}"
        if taken is None and len(self._by_name) < self._limit:
            taken = self._add(unique, settings)
        return taken

    def taken(self, name: str) -> bool:
        """Whether a value has that name already."""
        channel = self._by_name.get(name.casefold())
        return channel is not None and channel.device is not None

    def get(self, name: str) -> Channel | None:
        """The channel of that name, in any case."""
        return self._by_name.get(name.casefold())

    def sorted(self) -> list[Channel]:
        """The channels by name; not to be changed."""
        if self._sorted is None:
            self._sorted = [self._by_name[name] for name in sorted(self._by_name)]
        return self._sorted

    def _add(self, name: str, settings: ChannelSettings) -> Channel:
        channel = self._by_name[name.casefold()] = Channel(name, settings)
        self._sorted = None
        return channel
