"""The channels and what each last said, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgespike.config import ChannelSettings
from edgespike.messages import SensorEvent
from edgespike.sensing.picture import ChannelView, LimitState
from edgespike.sensing.statistics import History

# Beyond this, squares overflow: such a reading is shown, but takes no part in statistics.
_STATISTICS_LIMIT = 1e100


@dataclass(slots=True)
class Channel:
    """One channel: its settings, last event, limit state and history.

    `noise` is the change that means nothing, if known; `stale_after` an age in seconds; `device`
    the key that its availability is known by. `dated` tells whether the last event's time is that
    of the reading: a retained message says when it arrived, not when it was measured.
    """

    name: str
    settings: ChannelSettings
    quantity: str = ""
    unit: str = ""
    noise: float | None = None
    stale_after: float = 3600.0
    device: tuple[int, str] | None = None
    last: SensorEvent | None = None
    dated: bool = True
    limit: LimitState | None = None
    history: History | None = field(default=None, repr=False)

    def update(self, event: SensorEvent, span: float, *, dated: bool = True) -> None:
        """Take in an event; `span` is how long the history reaches back, in seconds."""
        self.last, self.dated = event, dated
        number = event.number
        self.limit = None if number is None else self._limit_of(number)
        if number is not None and abs(number) < _STATISTICS_LIMIT:
            if self.history is None:
                self.history = History(span)
            self.history.add(event.received_at, number, event.text)

    def view(self, now: float, offline: bool) -> ChannelView:
        """What the channel says at `now`."""
        last, history = self.last, self.history
        if last is None:
            return ChannelView(
                self.name,
                None,
                unit=self.unit,
                quantity=self.quantity,
                stale=True,
                low=self.settings.low,
                high=self.settings.high,
            )
        age = max(0.0, now - last.received_at)
        numeric = last.number is not None and history is not None
        extremes = history.extremes(now) if numeric and history else None
        return ChannelView(
            name=self.name,
            text=last.text,
            number=last.number,
            unit=last.unit,
            quantity=last.quantity,
            age_s=age if self.dated else None,
            stale=offline or age > self.stale_after,
            trend=history.trend(now, self.noise) if numeric and history else None,
            limit=self.limit,
            low=self.settings.low,
            high=self.settings.high,
            minimum=extremes[0] if extremes else None,
            maximum=extremes[1] if extremes else None,
        )

    def _limit_of(self, number: float) -> LimitState | None:
        """The limit state with hysteresis: it ends only well inside the limit."""
        low, high = self.settings.low, self.settings.high
        if low is None and high is None:
            return None
        gap = float(self.settings.hysteresis or 0)
        if high is not None and number > float(high) - (gap if self.limit == "high" else 0):
            return "high"
        if low is not None and number < float(low) + (gap if self.limit == "low" else 0):
            return "low"
        return "ok"


class Channels:
    """All channels by name, at most `limit` of them."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._by_name: dict[str, Channel] = {}

    def __len__(self) -> int:
        return len(self._by_name)

    def expect(self, name: str, settings: ChannelSettings) -> None:
        """Make a channel known before it first reports."""
        if len(self._by_name) < self._limit:
            self._by_name.setdefault(name.casefold(), Channel(name, settings))

    def open(self, name: str, settings: ChannelSettings) -> Channel | None:
        """A channel for a newly heard value; None when there are too many.

        A name that another value has already gets a number: `hall temperature 2`.
        """
        number, unique = 1, name
        while (taken := self._by_name.get(unique.casefold())) and taken.device is not None:
            number += 1
            unique = f"{name} {number}"
        if taken is None:
            if len(self._by_name) >= self._limit:
                return None
            taken = self._by_name[unique.casefold()] = Channel(unique, settings)
        return taken

    def sorted(self) -> list[Channel]:
        """The channels by name."""
        return [self._by_name[name] for name in sorted(self._by_name)]
