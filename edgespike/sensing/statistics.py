"""The recent history of a channel in fixed memory: extremes, mean, trend and how often.

Readings fall into time buckets that start one second wide. When more than 24 buckets would be
needed they double in width and merge; those older than the time looked back on are dropped. So a
fast sensor and a slow one both have a trend soon, and one over the whole span later.

What the finished buckets add to each result is summed up when a bucket is finished, so that
looking costs the same few operations however long the history is.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from edgespike.sensing.picture import Trend

BUCKETS = 24
_SIZE = 7
"""Doubles per bucket: index, count, sum, sum of times since the origin, minimum, maximum, and
`_digits` of the minimum plus 32 times those of the maximum."""
_ODD = 31
"""Digits of a text that isn't the plain way to write its number: `+3`, `1e3`, `.5`."""


@dataclass(slots=True)
class _Past:
    """Sums over the finished buckets; times and means count from those of the first bucket."""

    time: float
    mean: float
    readings: float
    total: float
    low: float
    low_digits: int
    high: float
    high_digits: int
    st: float = 0.0
    sm: float = 0.0
    stt: float = 0.0
    stm: float = 0.0
    smm: float = 0.0

    def take(self, bucket: Sequence[float]) -> None:
        """Add a bucket that is finished."""
        _, count, total, seconds, low, high, digits = bucket
        self.readings += count
        self.total += total
        if low < self.low:
            self.low, self.low_digits = low, int(digits) % 32
        if high > self.high:
            self.high, self.high_digits = high, int(digits) // 32
        t, m = seconds / count - self.time, total / count - self.mean
        self.st += t
        self.sm += m
        self.stt += t * t
        self.stm += t * m
        self.smm += m * m


class Digest(NamedTuple):
    """(minimum, maximum, mean) as texts, and the trend."""

    summary: tuple[str, str, str] | None
    trend: Trend | None


class History:
    """Numbers of the last `span` seconds."""

    __slots__ = ("_buckets", "_known", "_origin", "_past", "_span", "_width")

    def __init__(self, span: float) -> None:
        self._span = span
        self._width = 1.0
        self._origin = 0.0
        self._buckets = array("d")
        self._past: _Past | None = None
        self._known: Digest | None = None

    def __len__(self) -> int:
        """The number of buckets."""
        return len(self._buckets) // _SIZE

    def add(self, at: float, number: float, text: str) -> None:
        """Take in a reading. Time that runs backwards (a clock was set) starts the history anew."""
        self._known = None
        data = self._buckets
        seconds = at - self._origin
        if not data or seconds < data[-_SIZE] * self._width:
            del data[:]
            self._past = None
            self._origin, self._width, seconds = at, 1.0, 0.0
        index = int(seconds / self._width)
        if data and data[-_SIZE] == index:
            data[-6] += 1
            data[-5] += number
            data[-4] += seconds
            if number < data[-3]:
                data[-3] = number
                data[-1] = _digits(text, number) + data[-1] // 32 * 32
            elif number > data[-2]:
                data[-2] = number
                data[-1] = _digits(text, number) * 32 + data[-1] % 32
            return
        finished = data[-_SIZE:]
        data.extend((index, 1, number, seconds, number, number, _digits(text, number) * 33))
        if self._drop_before(at - self._span) or len(data) > BUCKETS * _SIZE:
            while len(data) > BUCKETS * _SIZE:
                self._widen()
            self._past = _sum_up(data)
        elif self._past is not None:
            self._past.take(finished)
        elif finished:
            self._past = _first(finished)

    def count(self, now: float) -> int:
        """How many readings there were in the span."""
        self._expire(now)
        past, data = self._past, self._buckets
        return int((past.readings if past else 0) + (data[-6] if data else 0))

    def digest(self, now: float, noise: float | None) -> Digest:
        """Its summary and its trend: worked out once for the readings that there are."""
        self._expire(now)
        if self._known is None:
            self._known = Digest(self.summary(now), self.trend(now, noise))
        return self._known

    def summary(self, now: float) -> tuple[str, str, str] | None:
        """(minimum, maximum, mean); None without readings in the span.

        Extremes are as the sensor wrote them, but for odd ways to write a number (`+3`, `1e3`); the
        mean of the readings has as many decimals as they have.
        """
        self._expire(now)
        data, past = self._buckets, self._past
        if not data:
            return None
        _, count, total, _, low, high, digits = data[-_SIZE:]
        high_digits, low_digits = divmod(int(digits), 32)
        if past is not None:
            count, total = count + past.readings, total + past.total
            if past.low <= low:
                low, low_digits = past.low, past.low_digits
            if past.high >= high:
                high, high_digits = past.high, past.high_digits
        mean = total / count
        decimals = max(low_digits % _ODD, high_digits % _ODD)
        average = f"{mean:.{decimals}f}" if abs(mean) < 1e15 else f"{mean:.6g}"
        return _written(low, low_digits), _written(high, high_digits), average

    def trend(self, now: float, noise: float | None) -> Trend | None:
        """Where the numbers go; None when there are too few to say.

        The least-squares line through the buckets' means must change, over the time that they
        cover, by more than `noise`, and by more than three standard errors of that change. Without
        a known `noise` it is one and a half units of the last digit sent and half a percent of the
        mean, and four buckets are needed.
        """
        self._expire(now)
        data, past = self._buckets, self._past
        n = len(self)
        if past is None or n < (2 if noise is not None else 4):
            return None
        _, count, total, seconds, _, _, digits = data[-_SIZE:]
        t, m = seconds / count - past.time, total / count - past.mean
        st, sm = past.st + t, past.sm + m
        spread = past.stt + t * t - st * st / n
        common = past.stm + t * m - st * sm / n
        mean = past.mean + sm / n
        if spread <= 0 or not math.isfinite(mean):
            return None
        slope = common / spread
        floor = noise
        if floor is None:
            floor = max(1.5 * 10.0 ** -(int(digits) % 32 % _ODD), 0.005 * abs(mean))
        if n > 2:
            errors = max(0.0, past.smm + m * m - sm * sm / n - slope * common)
            floor = max(floor, 3 * math.sqrt(errors / (n - 2) / spread) * t)
        change = slope * t
        if abs(change) <= floor * (1 + 1e-9):
            return "steady"
        return "rising" if change > 0 else "falling"

    def dump(self) -> bytes:
        """All of it, for `load`."""
        return array("d", (self._origin, self._width)).tobytes() + self._buckets.tobytes()

    @classmethod
    def load(cls, data: bytes, span: float) -> History:
        """What `dump` gave. Raises ValueError for anything else."""
        numbers = array("d")
        numbers.frombytes(data)
        history = cls(span)
        history._origin, history._width = numbers[:2]
        history._buckets = buckets = numbers[2:]
        indices, counts = buckets[::_SIZE], buckets[1::_SIZE]
        if (
            len(buckets) % _SIZE
            or len(history) > BUCKETS
            or history._width < 1
            or not all(map(math.isfinite, numbers))
            or any(count < 1 for count in counts)
            or any(not 0 <= digits < 32 * 32 for digits in buckets[6::_SIZE])
            or list(indices) != sorted(set(indices))
        ):
            raise ValueError("not a history")
        history._past = _sum_up(buckets)
        return history

    def shift(self, seconds: float) -> None:
        """Move all readings in time."""
        self._origin += seconds

    def _expire(self, now: float) -> None:
        if self._drop_before(now - self._span):
            self._known = None
            self._past = _sum_up(self._buckets)

    def _drop_before(self, time: float) -> bool:
        """Drop what is older; whether there was any."""
        data = self._buckets
        cut = (time - self._origin) / self._width - 1
        if not data or data[0] >= cut:
            return False
        gone = next((at for at in range(0, len(data), _SIZE) if data[at] >= cut), len(data))
        del data[:gone]
        return True

    def _widen(self) -> None:
        """Double the width; neighbours that now share a slot merge."""
        self._width *= 2
        data, merged = self._buckets, array("d")
        for at in range(0, len(data), _SIZE):
            index, count, total, seconds, low, high, digits = data[at : at + _SIZE]
            index //= 2
            if not merged or merged[-_SIZE] != index:
                merged.extend((index, count, total, seconds, low, high, digits))
                continue
            merged[-6] += count
            merged[-5] += total
            merged[-4] += seconds
            if low < merged[-3]:
                merged[-3] = low
                merged[-1] = digits % 32 + merged[-1] // 32 * 32
            if high > merged[-2]:
                merged[-2] = high
                merged[-1] = digits // 32 * 32 + merged[-1] % 32
        self._buckets[:] = merged


def _sum_up(data: Sequence[float]) -> _Past | None:
    """What all buckets but the last add up to; None when there is only one."""
    if len(data) <= _SIZE:
        return None
    past = _first(data[:_SIZE])
    for at in range(_SIZE, len(data) - _SIZE, _SIZE):
        past.take(data[at : at + _SIZE])
    return past


def _first(bucket: Sequence[float]) -> _Past:
    # From the first bucket on, so that squares of large times and offsets don't swallow digits.
    _, count, total, seconds, low, high, digits = bucket
    low_digits, high_digits = int(digits) % 32, int(digits) // 32
    return _Past(seconds / count, total / count, count, total, low, low_digits, high, high_digits)


def _digits(text: str, number: float) -> int:
    """The decimals by which `number` is written as `text`, or _ODD."""
    point = text.find(".")
    decimals = len(text) - point - 1 if point >= 0 else 0
    return decimals if decimals < _ODD and f"{number:.{decimals}f}" == text else _ODD


def _written(number: float, digits: int) -> str:
    return f"{number:.{digits}f}" if digits != _ODD else repr(number).removesuffix(".0")
