"""The recent history of a channel in fixed memory: extremes and trend.

Readings fall into time buckets that start one second wide. When more than 24 buckets would be
needed they double in width and merge; those older than the time looked back on are dropped. So a
fast sensor and a slow one both have a trend soon, and one over the whole span later.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgespike.sensing.picture import Trend

BUCKETS = 24


@dataclass(slots=True)
class _Bucket:
    """Readings of one time slot; `seconds` is the sum of their times since the origin."""

    index: int
    count: int
    total: float
    seconds: float
    low: float
    low_text: str
    high: float
    high_text: str

    def take(self, other: _Bucket) -> None:
        self.count += other.count
        self.total += other.total
        self.seconds += other.seconds
        if other.low < self.low:
            self.low, self.low_text = other.low, other.low_text
        if other.high > self.high:
            self.high, self.high_text = other.high, other.high_text


class History:
    """Numbers of the last `span` seconds."""

    __slots__ = ("_buckets", "_origin", "_span", "_width")

    def __init__(self, span: float) -> None:
        self._span = span
        self._width = 1.0
        self._origin = 0.0
        self._buckets: list[_Bucket] = []

    def add(self, at: float, number: float, text: str) -> None:
        """Take in a reading. Time that runs backwards (a clock was set) starts the history anew."""
        if self._buckets and at < self._origin + self._buckets[-1].index * self._width:
            self._buckets.clear()
        if not self._buckets:
            self._origin, self._width = at, 1.0
        index = int((at - self._origin) / self._width)
        new = _Bucket(index, 1, number, at - self._origin, number, text, number, text)
        if self._buckets and self._buckets[-1].index == index:
            self._buckets[-1].take(new)
            return
        self._buckets.append(new)
        self._drop_before(at - self._span)
        while len(self._buckets) > BUCKETS:
            self._widen()

    def extremes(self, now: float) -> tuple[str, str] | None:
        """(minimum, maximum) as the sensor wrote them; None without readings in the span."""
        self._drop_before(now - self._span)
        if not self._buckets:
            return None
        low = min(self._buckets, key=lambda bucket: bucket.low)
        high = max(self._buckets, key=lambda bucket: bucket.high)
        return low.low_text, high.high_text

    def trend(self, now: float, noise: float | None) -> Trend | None:
        """Where the numbers go; None when there are too few to say.

        The least-squares line through the buckets' means must change, over the time that they
        cover, by more than `noise`, and by more than three standard errors of that change. Without
        a known `noise` it is one and a half units of the last digit sent and half a percent of the
        mean, and four buckets are needed.
        """
        self._drop_before(now - self._span)
        n = len(self._buckets)
        if n < (2 if noise is not None else 4):
            return None
        times = [bucket.seconds / bucket.count for bucket in self._buckets]
        means = [bucket.total / bucket.count for bucket in self._buckets]
        time, mean = math.fsum(times) / n, math.fsum(means) / n
        spread = math.fsum((t - time) ** 2 for t in times)
        if not math.isfinite(mean) or not spread:
            return None
        slope = (
            math.fsum((t - time) * (m - mean) for t, m in zip(times, means, strict=True)) / spread
        )
        duration = times[-1] - times[0]
        floor = noise
        if floor is None:
            floor = max(1.5 * _last_digit(self._buckets[-1].low_text), 0.005 * abs(mean))
        if n > 2:
            errors = (
                (m - mean - slope * (t - time)) ** 2 for t, m in zip(times, means, strict=True)
            )
            floor = max(floor, 3 * math.sqrt(math.fsum(errors) / (n - 2) / spread) * duration)
        change = slope * duration
        if abs(change) <= floor * (1 + 1e-9):
            return "steady"
        return "rising" if change > 0 else "falling"

    def _drop_before(self, time: float) -> None:
        cut = (time - self._origin) / self._width - 1
        while self._buckets and self._buckets[0].index < cut:
            del self._buckets[0]

    def _widen(self) -> None:
        """Double the width; neighbours that now share a slot merge."""
        self._width *= 2
        merged: list[_Bucket] = []
        for bucket in self._buckets:
            bucket.index //= 2
            if merged and merged[-1].index == bucket.index:
                merged[-1].take(bucket)
            else:
                merged.append(bucket)
        self._buckets = merged


def _last_digit(text: str) -> float:
    """The value of one step of a number text's last digit: 0.1 for `21.5`."""
    mantissa, _, exponent = text.lower().partition("e")
    decimals = len(mantissa.partition(".")[2])
    return 10.0 ** max(-300, min(int(exponent or 0) - decimals, 300))
