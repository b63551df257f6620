"""The readings that matter to one question, as they are now: what code can tell of the whole
picture, as short lines that a small model copies from.

A line opens with a mark that says what it is, and its facts with marks of theirs:

    <|match|>kitchen temperature<|value|>21.5 °C<|ok|>within its limits of 18 to 24 °C
    <|group|>temperature<|count|>5<|max|>sauna temperature<|value|>80.2 °C<|min|>...
    <|all|>12 sensors<|alarms|>2 alarms<|silent|>1 stale<|kinds|>5 temperature, 4 humidity

A control piece can't be forged by outside text, so neither can a line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from edgespike.prompting.describe import clean, describe_age, describe_span
from edgespike.prompting.relevance import Relevance
from edgespike.prompting.words import cut, meanings, singular
from edgespike.sensing.picture import ChannelView

MAX_DETAILED = 2
MAX_MATCHES = 4
MAX_LISTED = 3
MAX_TOLD = 6
MAX_ALARMS = 4
"""Channels that an answer lists, and alarms, with all their limits; a focus has room for fewer."""
MAX_UNKNOWN = 2
MAX_GROUPS = 2
MAX_KINDS = 8
MAX_NAMED = 8
"""Channels of a picture that is told by name when it is asked what there is."""
MAX_DIGITS = 30
"""Larger or smaller numbers take no part in sums: written out they could be endless."""

ADDITIVE = frozenset(
    (
        "W", "kW", "MW", "GW", "VA", "kVA", "Wh", "kWh", "MWh", "GWh", "J", "kJ", "MJ", "A", "mA",
        "Ah", "l", "L", "ml", "m³", "m3", "gal", "l/s", "l/min", "L/min", "l/h", "L/h", "m³/h",
        "m3/h", "mg", "g", "kg", "t", "lb", "lbs", "pcs",
    )
)  # fmt: skip
"""Units of what adds up: two pumps take twice the power of one, but are not twice as warm."""

Line = list[tuple[str, str]]
"""Marks with the text after each."""


@dataclass(frozen=True, slots=True)
class Group:
    """Channels of one kind and unit, and the line about them."""

    line: Line
    members: tuple[ChannelView, ...]


def amount(channel: ChannelView) -> str:
    """Value and unit."""
    return f"{clean(channel.text or '')} {clean(channel.unit)}".strip()


def limits(channel: ChannelView) -> tuple[str, str] | None:
    """How the value lies to its limits, after the mark that says it; None without limits.

    What is "above" or "below" a limit is in alarm.
    """
    unit = clean(channel.unit)
    low, high = (f"{clean(b)} {unit}".strip() if b else "" for b in (channel.low, channel.high))
    if channel.limit == "high":
        return "high", f"above its limit of {high}" if high else "above its limit"
    if channel.limit == "low":
        return "low", f"below its limit of {low}" if low else "below its limit"
    if channel.limit == "ok" and low and high:
        return "ok", f"within its limits of {clean(channel.low or '')} to {high}"
    if channel.limit == "ok" and (low or high):
        return "ok", f"within its limit of {f'at most {high}' if high else f'at least {low}'}"
    return None


def _value(channel: ChannelView) -> tuple[str, str]:
    if channel.text is None:
        return "none", ""
    return "old" if channel.stale else "value", amount(channel)


def detailed(mark: str, channel: ChannelView) -> Line:
    """All that is known of a channel."""
    line = [(mark, clean(channel.name)), _value(channel)]
    if channel.text is None:
        return line
    if bounds := limits(channel):
        line.append(bounds)
    if channel.trend:
        line.append(("trend", channel.trend))
    if channel.age_s is not None:
        line.append(("age", describe_age(channel.age_s)))
    if channel.since_s is not None:
        line.append(("since", describe_span(channel.since_s)))
    for name, text in (("min", channel.minimum), ("max", channel.maximum), ("mean", channel.mean)):
        if text is not None:
            line.append((name, clean(text)))
    if channel.unit:
        line.append(("unit", clean(channel.unit)))
    return line


def brief(mark: str, channel: ChannelView) -> Line:
    """Name and value, and the limits if they are broken."""
    line = [(mark, clean(channel.name)), _value(channel)]
    if channel.limit in ("low", "high") and (bounds := limits(channel)):
        line.append(bounds)
    if channel.stale and channel.age_s is not None:
        line.append(("age", describe_age(channel.age_s)))
    return line


def focus_lines(channels: Sequence[ChannelView], found: Relevance) -> Iterator[tuple[Line, ...]]:
    """Lines that belong together with the channels that they show, the most important first."""
    shown = found.match[:MAX_MATCHES]
    if shown:
        make = detailed if len(found.match) <= MAX_DETAILED else brief
        yield tuple(make("match", channels[c]) for c in shown)
    if found.before:
        yield tuple(detailed("before", channels[c]) for c in found.before[:MAX_DETAILED])
    yield tuple([("unknown", clean(words))] for words in found.unknown[:MAX_UNKNOWN])
    several = found.match if len(found.match) > 1 else (*found.maybe, *found.near)
    groups = [group.line for group in groups_of([channels[c] for c in several])]
    yield tuple(groups[:MAX_GROUPS])
    if found.maybe:
        yield tuple(_maybe(channels, found))
    if not found.sure:
        yield from whole(channels, fully=not several and not found.match)


def _maybe(channels: Sequence[ChannelView], found: Relevance) -> list[Line]:
    """Some of those that fit, in detail where they are few or likely."""
    shown = found.maybe[:MAX_LISTED]
    if found.likely is not None and found.likely not in shown:
        shown = (*shown[:-1], found.likely)
    full = shown if len(found.maybe) <= MAX_DETAILED else (found.likely,)
    lines = [(detailed if c in full else brief)("maybe", channels[c]) for c in shown]
    return lines + _more(len(found.maybe) - len(lines))


def _more(count: int) -> list[Line]:
    return [[("more", str(count))]] if count > 0 else []


def whole(
    channels: Sequence[ChannelView], fully: bool, most: int = MAX_LISTED
) -> Iterator[tuple[Line, ...]]:
    """The picture as a whole: how many sensors, alarms, stale ones, and the worst of the alarms,
    at `most` so many.

    `fully` also what kinds of sensors there are, and which are stale.
    """
    alarms = [c for c in channels if c.limit in ("low", "high") and not c.stale]
    stale = [c for c in channels if c.stale or c.text is None]
    line: Line = [
        ("all", _some(len(channels), "sensor")),
        ("alarms", _some(len(alarms), "alarm")),
        ("silent", f"{len(stale) or 'no'} stale"),
    ]
    if fully and (counts := kinds_of(channels)):
        kinds = ", ".join(f"{len(names)} {kind}" for kind, names in counts[:MAX_KINDS])
        line.append(("kinds", kinds))
    yield (line,)
    alarms.sort(key=_excess, reverse=True)
    worst = [_alarm(c) for c in alarms[:most]]
    yield tuple(worst + _more(len(alarms) - len(worst)))
    if fully:
        silent = [brief("stale", c) for c in stale[:MAX_LISTED]]
        yield tuple(silent + _more(len(stale) - len(silent)))


def _alarm(channel: ChannelView) -> Line:
    line = brief("alarm", channel)
    if channel.since_s is not None:
        line.append(("since", describe_span(channel.since_s)))
    return line


def _some(count: int, thing: str) -> str:
    return f"{count or 'no'} {thing}{'s' if count != 1 else ''}"


def _excess(channel: ChannelView) -> float:
    """How far a value is beyond its limit, as a share of the limit."""
    try:
        bound = float((channel.high if channel.limit == "high" else channel.low) or "")
    except ValueError:
        return 0.0
    return abs((channel.number or 0.0) - bound) / (abs(bound) + 1.0)


def kind_of(channel: ChannelView) -> str:
    """What a channel measures: its quantity, or else the last word of its name."""
    if channel.quantity:
        return clean(channel.quantity)
    words = [word for word, _, _ in cut(channel.name) if word.isalpha() and len(word) > 1]
    return words[-1] if words else ""


def _key(kind: str) -> frozenset[str]:
    return meanings(singular(kind.casefold()))


def kinds_of(channels: Sequence[ChannelView]) -> list[tuple[str, list[str]]]:
    """Kinds with the names of the channels of each, the most frequent first."""
    names: dict[str, list[str]] = {}
    for channel in channels:
        if kind := kind_of(channel):
            names.setdefault(kind, []).append(clean(channel.name))
    return sorted(names.items(), key=lambda item: -len(item[1]))


def groups_of(channels: Sequence[ChannelView]) -> Iterator[Group]:
    """Channels of one kind and unit together, the largest group first."""
    groups: dict[tuple[frozenset[str], str], list[ChannelView]] = {}
    for channel in channels:
        if channel.text is not None:
            groups.setdefault((_key(kind_of(channel)), channel.unit), []).append(channel)
    for group in sorted(groups.values(), key=len, reverse=True):
        kind = kind_of(group[0])
        numbers = [(n, c) for c in group if (n := _decimal(c)) is not None]
        line: Line = [("group", kind), ("count", str(len(group)))]
        if len(group) > 1 and len(numbers) == len(group):
            yield Group(line + _extremes(numbers), tuple(group))
        elif not numbers:
            yield Group(line + states_of(group), tuple(group))


def _decimal(channel: ChannelView) -> Decimal | None:
    try:
        number = Decimal(channel.text or "")
    except InvalidOperation:
        return None
    return number if number.is_finite() and abs(number.adjusted()) <= MAX_DIGITS else None


def _extremes(numbers: list[tuple[Decimal, ChannelView]]) -> Line:
    """Highest and lowest with those who have it, mean, and of two the difference."""
    low, high = min(n for n, _ in numbers), max(n for n, _ in numbers)
    if low == high:
        return [("same", amount(numbers[0][1]))]
    line: Line = []
    for mark, number in (("max", high), ("min", low)):
        holders = [c for n, c in numbers if n == number]
        line += [(mark, _names(holders)), ("value", amount(holders[0]))]
    unit = clean(numbers[0][1].unit)
    if len(numbers) == 2:
        return [*line, ("diff", f"{high - low:f} {unit}".strip())]
    return [*line, ("mean", _mean([n for n, _ in numbers], unit))]


def _mean(numbers: Sequence[Decimal], unit: str) -> str:
    """Mean, as precise as the numbers, of two one place more."""
    places = max(0, *(-int(n.as_tuple().exponent) for n in numbers)) + (len(numbers) == 2)
    return f"{round(sum(numbers, Decimal(0)) / len(numbers), min(places, 6)):f} {unit}".strip()


def mean_of(group: Group) -> str | None:
    """Mean of a group's values, if they are numbers."""
    numbers = [n for c in group.members if (n := _decimal(c)) is not None]
    return _mean(numbers, clean(group.members[0].unit)) if len(numbers) > 1 else None


def sum_of(group: Group) -> str | None:
    """Sum of a group's values, if they are numbers that add up."""
    unit = group.members[0].unit
    numbers = [n for c in group.members if (n := _decimal(c)) is not None]
    if len(numbers) < 2 or (unit and unit not in ADDITIVE):
        return None
    return f"{sum(numbers, Decimal(0)):f} {clean(unit)}".strip()


def states_of(group: Sequence[ChannelView], most: int = MAX_LISTED) -> Line:
    """Which channels are in which state, of each at `most` so many."""
    states: dict[str, list[ChannelView]] = {}
    for channel in group:
        states.setdefault(clean(channel.text or ""), []).append(channel)
    return [
        ("state", f"{len(members)} {state}: {_names(members, most)}")
        for state, members in list(states.items())[:MAX_LISTED]
    ]


def _names(channels: Sequence[ChannelView], most: int = MAX_LISTED) -> str:
    """Some names, and how many more."""
    names = [clean(c.name) for c in channels[:most]]
    more = len(channels) - len(names)
    return ", ".join(names) + (f" and {more} more" if more > 0 else "")
