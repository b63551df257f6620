"""When a rule about channels comes to hold: decided from views and times alone.

Each rule watches each channel that its pattern matches, by itself. A condition *begins* when a view
satisfies it and *ends* when a view no longer does. It fires once, when it has held for `held_for`
and the cooldown since the last firing is over; one that began in the cooldown fires at its end, if
it still holds then. A condition on a number that has fired ends only beyond the hysteresis.

Times are seconds of any one clock that doesn't jump. What fires, and when, depends on the views and
their times only, not on how often `elapse` is called.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from edgespike.config import Trigger, channel_matches
from edgespike.sensing.picture import ChannelView

_Side = Literal["above", "below"]
_SIDES: tuple[_Side, ...] = ("above", "below")


@dataclass(frozen=True, slots=True)
class Firing:
    """A rule that came to hold for a channel, as `view` shows it: since when, and when it fired.

    `condition` says what holds, in words: "above -15".
    """

    rule: Trigger
    view: ChannelView
    condition: str
    since: float
    at: float


@dataclass(frozen=True, slots=True)
class WatchMemory:
    """What is kept of a rule on a channel; times are seconds before the moment of asking.

    `rule` is a digest of all that the rule says: one that was changed begins anew.
    """

    rule: str
    channel: str
    began: float | None
    fired: bool
    last_fired: float | None
    side: str | None


def _digest(rule: Trigger) -> str:
    return hashlib.sha256(repr(rule).encode()).hexdigest()[:16]


@dataclass(slots=True, eq=False)
class _Watch:
    """One rule on one channel. `began` is None while the condition doesn't hold."""

    rule: Trigger
    view: ChannelView | None = None
    began: float | None = None
    fired: bool = False
    last_fired: float | None = None
    side: _Side | None = None

    def due(self, now: float) -> Firing | None:
        """What fires at `now` or should have before."""
        if self.began is None or self.fired or self.view is None:
            return None
        at = self.began + self.rule.held_for
        if self.last_fired is not None:
            at = max(at, self.last_fired + self.rule.cooldown)
        if at > now:
            return None
        self.fired, self.last_fired = True, at
        return Firing(self.rule, self.view, self._condition(self.view), self.began, at)

    def see(self, view: ChannelView, now: float) -> None:
        """Take in a view."""
        before, self.view = self.view, view
        if not self._holds(before, view):
            self.began, self.fired = None, False
        elif self.began is None or self.rule.changes:
            # A state that was there from the beginning is no change to it.
            self.fired = bool(self.rule.changes_to) and before is None
            self.began = now

    def _holds(self, before: ChannelView | None, view: ChannelView) -> bool:
        rule = self.rule
        if rule.changes:
            return before is not None and before.text != view.text
        if rule.changes_to:
            return view.text in rule.changes_to
        if rule.stale:
            return view.stale
        if rule.limit:
            return view.limit in ("low", "high")
        if rule.rising or rule.falling:
            return view.trend == ("rising" if rule.rising else "falling")
        self.side = self._side_of(view.number)
        return self.side is not None

    def _side_of(self, number: float | None) -> _Side | None:
        above, below = self.rule.above, self.rule.below
        if number is None:
            return None
        gap = float(self.rule.hysteresis or 0) if self.fired else 0.0
        if above is not None and number > float(above) - (gap if self.side == "above" else 0):
            return "above"
        if below is not None and number < float(below) + (gap if self.side == "below" else 0):
            return "below"
        return None

    def _condition(self, view: ChannelView) -> str:
        rule = self.rule
        if rule.changes or rule.changes_to:
            return f"changed to {view.text}"
        if rule.stale:
            return "stale"
        if rule.rising or rule.falling:
            return "rising" if rule.rising else "falling"
        if rule.limit:
            high = view.limit == "high"
            return f"above {view.high}" if high else f"below {view.low}"
        return f"above {rule.above}" if self.side == "above" else f"below {rule.below}"


class Triggers:
    """The state of all rules. Memory grows with the channels that a rule matches."""

    def __init__(self, rules: Sequence[Trigger]) -> None:
        self._rules = tuple(rules)
        self._watches: dict[str, tuple[_Watch, ...]] = {}
        self._waiting: dict[_Watch, None] = {}

    def wants(self, channel: str) -> bool:
        """Whether a rule matches the channel."""
        return bool(self._watching(channel))

    def see(self, view: ChannelView, now: float) -> list[Firing]:
        """Take in what a channel says at `now`, and return what fires by then.

        Channels that have never reported say nothing.
        """
        if view.text is None:
            return []
        fired = []
        for watch in self._watching(view.name):
            earlier = watch.due(now)  # before this view came, with the one before
            watch.see(view, now)
            fired += [firing for firing in (earlier, watch.due(now)) if firing]
            if watch.rule.changes:
                watch.began = None  # over as soon as it has come
            if watch.began is not None and not watch.fired:
                self._waiting[watch] = None
            else:
                self._waiting.pop(watch, None)
        return fired

    def remembered(self, now: float) -> Iterator[WatchMemory]:
        """What a later process has to know to go on: conditions that hold, and when they fired."""
        for channel, watches in self._watches.items():
            for watch in watches:
                if watch.began is not None or watch.last_fired is not None:
                    yield WatchMemory(
                        _digest(watch.rule),
                        channel,
                        None if watch.began is None else now - watch.began,
                        watch.fired,
                        None if watch.last_fired is None else now - watch.last_fired,
                        watch.side,
                    )

    def recall(self, known: Iterable[WatchMemory], now: float) -> None:
        """Go on from what an earlier process remembered."""
        for memory in known:
            for watch in self._watching(memory.channel):
                if _digest(watch.rule) == memory.rule:
                    watch.began = None if memory.began is None else now - memory.began
                    watch.fired = memory.fired
                    last = memory.last_fired
                    watch.last_fired = None if last is None else now - last
                    watch.side = next((s for s in _SIDES if s == memory.side), None)

    def _watching(self, channel: str) -> tuple[_Watch, ...]:
        watches = self._watches.get(channel)
        if watches is None:
            matching = (r for r in self._rules if channel_matches(r.channels, channel))
            watches = self._watches[channel] = tuple(_Watch(rule) for rule in matching)
        return watches

    def elapse(self, now: float) -> list[Firing]:
        """What fires by `now` because conditions have held long enough."""
        fired = [firing for watch in self._waiting if (firing := watch.due(now))]
        if fired:
            self._waiting = {watch: None for watch in self._waiting if not watch.fired}
        return fired


def facts(firing: Firing) -> str:
    """What a person must know, without any model: "attic temperature is 31.2 °C: above 30"."""
    rule, view = firing.rule, firing.view
    value = f"{view.text} {view.unit}".strip()
    held = firing.at - firing.since
    lasting = f" for {duration(held)}" if held >= 1 else ""
    if rule.changes or rule.changes_to:
        return f"{view.name} {firing.condition}{lasting}"
    verb = "was" if rule.stale else "is"
    return f"{view.name} {verb} {value}: {firing.condition}{lasting}"


def duration(seconds: float) -> str:
    """A time span in words: "45 s", "5 min", "2 h"."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
