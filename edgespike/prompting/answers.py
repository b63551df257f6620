"""The one right answer to each kind of question, from the picture alone.

Answers state the fact and never begin with yes or no: beside a wrong yes the right fact is worth
nothing, and the fact answers either way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgespike.prompting.describe import clean, describe_age, describe_span
from edgespike.prompting.focus import (
    MAX_ALARMS,
    MAX_KINDS,
    MAX_NAMED,
    MAX_TOLD,
    Group,
    Line,
    amount,
    groups_of,
    kinds_of,
    limits,
    mean_of,
    states_of,
    sum_of,
    whole,
)
from edgespike.sensing.picture import ChannelView

ABOUT = (
    "I can only answer questions about the sensors. Ask me for any reading, its limits, trend, age"
    " or history, for extremes, or for alarms."
)
"""To what no sensor can tell, and to who asks for help."""

UNKNOWN = "There is no sensor called"


def silent(c: ChannelView) -> str | None:
    """The answer to whatever is asked about a channel that is stale or has never reported."""
    if c.text is None:
        return f"The {c.name} has not reported yet."
    if c.stale:
        return f"The {c.name} {_was(c)}."
    return None


def _was(c: ChannelView) -> str:
    when = f" {describe_age(c.age_s)} ago" if c.age_s is not None else ""
    return f"was {amount(c)}{when}, the reading is stale"


def _is(c: ChannelView) -> str:
    """A channel's clause in a list, without "the"."""
    if c.text is None:
        return f"{c.name} has not reported yet"
    if c.stale:
        return f"{c.name} {_was(c)}"
    bounds = limits(c)
    beyond = f", {bounds[1]}" if bounds and bounds[0] != "ok" else ""
    return f"{c.name} is {amount(c)}{beyond}"


def several(channels: Sequence[ChannelView], total: int | None = None) -> str:
    """Values of some channels; `total` is how many there are when these are not all."""
    more = (total or len(channels)) - len(channels)
    text = "The " + "; the ".join(_is(c) for c in channels)
    return f"{text}; and {more} more." if more > 0 else f"{text}."


def reading(c: ChannelView) -> str:
    """What is to be said of a channel now: value or state, how it lies to its limits, for how long
    that is so, and where it goes.

    One answer to all that is asked about the present: a question about the trend that is taken for
    one about the value is answered all the same.
    """
    if (none := silent(c)) is not None:
        return none
    bounds, held = limits(c), f" for {describe_span(c.since_s)}" if c.since_s is not None else ""
    if c.number is None and not c.unit and not bounds:
        return (
            f"The {c.name} has been {amount(c)}{held}." if held else f"The {c.name} is {amount(c)}."
        )
    parts = (amount(c), f"{bounds[1]}{held}" if bounds else "", c.trend or "")
    return f"The {c.name} is {', '.join(part for part in parts if part)}."


def age(c: ChannelView) -> str:
    if c.age_s is None:
        return silent(c) or f"The age of the {c.name} is not known."
    return silent(c) or f"The {c.name} was read {describe_age(c.age_s)} ago."


def stats(c: ChannelView) -> str:
    unit = f" {c.unit}" if c.unit else ""
    parts = [f"{c.mean}{unit} on average"] if c.mean is not None else []
    if c.minimum is not None and c.maximum is not None:
        parts.insert(0, f"between {c.minimum} and {c.maximum}{unit}")
    elif c.minimum is not None:
        parts.insert(0, f"at least {c.minimum}{unit}")
    elif c.maximum is not None:
        parts.insert(0, f"at most {c.maximum}{unit}")
    known = f"was {', '.join(parts)}" if parts else f"is {amount(c)}, its history is not known"
    return silent(c) or f"The {c.name} {known}."


def unknown(name: str) -> str:
    return f"{UNKNOWN} {name}."


def partly(known: str, name: str) -> str:
    """What is `known` of some channels, beside one that isn't there."""
    return f"{known.removesuffix('.')}; there is no sensor called {name}."


def _fact(line: Line, mark: str) -> str | None:
    return next((text for name, text in line if name == mark), None)


def extreme(group: Group, mark: str, word: str) -> str | None:
    """Who has the highest or lowest."""
    line = group.line
    if same := _fact(line, "same"):
        return f"All are {same}."
    at = [name for name, _ in line].index(mark) if _fact(line, mark) else None
    if at is None:
        return None
    return f"The {word} is the {line[at][1]} with {line[at + 1][1]}."


def compare(group: Group) -> str | None:
    """Two beside each other."""
    if same := _fact(group.line, "same"):
        return f"Both are {same}."
    values = [text for name, text in group.line if name == "value"]
    high, low, gap = (_fact(group.line, mark) for mark in ("max", "min", "diff"))
    if gap is None:
        return None
    return (
        f"The {high} is higher with {values[0]}, the {low} is {values[1]}, a difference of {gap}."
    )


def mean(group: Group) -> str | None:
    found = None if _fact(group.line, "same") else mean_of(group)
    kind, count = _fact(group.line, "group"), len(group.members)
    return found and f"The {kind} of {count} sensors is {found} on average."


def together(group: Group) -> str | None:
    """What all come to."""
    kind, found = _fact(group.line, "group"), sum_of(group)
    return found and f"Together the {len(group.members)} {kind} sensors come to {found}."


def count(group: Group) -> str:
    """How many there are, and where they tell states how many are in which."""
    number = _fact(group.line, "count")
    head = f"{number} {_fact(group.line, 'group')} sensor{'s' if number != '1' else ''}"
    told = _fact(group.line, "state")
    found = [text for _, text in states_of(group.members, MAX_TOLD)] if told else []
    return f"{head}: {'; '.join(found)}." if found else f"{head}."


def states(group: Group) -> str | None:
    return count(group) if _fact(group.line, "state") else None


def listed(channels: Sequence[ChannelView]) -> str:
    """Some channels together: those that tell states by these, others one by one."""
    if all(c.text is not None and not c.stale for c in channels):
        for group in groups_of(channels):
            if len(group.members) == len(channels) and (said := states(group)):
                return said
    shown = sorted(channels, key=lambda c: c.limit not in ("low", "high"))  # alarms first
    some = shown if len(channels) > MAX_TOLD else channels
    return several(some[:MAX_TOLD], len(channels))


def _alarm(line: Line) -> str:
    name, value, limit = line[0][1], line[1][1], line[2][1]
    held = _fact(line, "since")
    return f"the {name} is {value}, {limit}" + (f" for {held}" if held else "")


def _alarms(channels: Sequence[ChannelView]) -> str:
    """The worst alarms, as a tail for a sentence; empty without any."""
    lines = [line for lines in whole(channels, False, MAX_ALARMS) for line in lines]
    shown = [_alarm(line) for line in lines if line[0][0] == "alarm"]
    more = next((line[0][1] for line in lines if line[0][0] == "more"), None)
    return "; ".join(shown) + (f"; and {more} more" if more else "")


def _head(channels: Sequence[ChannelView]) -> dict[str, str]:
    return dict(next(iter(whole(channels, fully=False)))[0])


def alarms(channels: Sequence[ChannelView]) -> str:
    tail = _alarms(channels)
    return f"{_head(channels)['alarms']}: {tail}." if tail else "There are no alarms."


def summary(channels: Sequence[ChannelView]) -> str:
    head, tail = _head(channels), _alarms(channels)
    counts = f"{head['all']}, {head['alarms']}, {head['silent']}"
    return f"{counts}: {tail}." if tail else f"{counts}."


def stale(channels: Sequence[ChannelView]) -> str:
    old = [c for c in channels if c.stale or c.text is None]
    if not old:
        return "No sensor is stale."
    parts = []
    for c in old[:MAX_TOLD]:
        known = c.text is not None and c.age_s is not None
        said = f", last read {describe_age(c.age_s or 0.0)} ago" if known else ""
        parts.append(
            f"the {clean(c.name)}{said or (', not reported yet' if c.text is None else '')}"
        )
    more = len(old) - len(parts)
    text = f"{_head(channels)['silent']}: {'; '.join(parts)}"
    return f"{text}; and {more} more." if more > 0 else f"{text}."


def total(channels: Sequence[ChannelView]) -> str:
    return f"There {'is' if len(channels) == 1 else 'are'} {_head(channels)['all']}."


def kinds(channels: Sequence[ChannelView]) -> str:
    head = _head(channels)
    told = kinds_of(channels)[:MAX_KINDS]
    if len(channels) <= MAX_NAMED:
        listed = ", ".join(f"{len(some)} {kind} ({', '.join(some)})" for kind, some in told)
    else:
        listed = ", ".join(f"{len(some)} {kind}" for kind, some in told)
    return f"{head['all']}: {listed}." if listed else f"{head['all']}."


SINGLE: dict[str, Callable[[ChannelView], str]] = {
    "value": reading,
    "state": reading,
    "status": reading,
    "trend": reading,
    "since": reading,
    "age": age,
    "stats": stats,
    "unit": reading,
}
"""Answers about one channel."""

WHOLE: dict[str, Callable[[Sequence[ChannelView]], str]] = {
    "alarms": alarms,
    "stale": stale,
    "summary": summary,
    "total": total,
    "kinds": kinds,
    "help": lambda channels: ABOUT,
    "other": lambda channels: ABOUT,
}
"""Answers about the whole picture."""

GROUPED: dict[str, Callable[[Group], str | None]] = {
    "highest": lambda group: extreme(group, "max", "highest"),
    "lowest": lambda group: extreme(group, "min", "lowest"),
    "mean": mean,
    "sum": together,
    "count": count,
    "states": states,
    "each": lambda group: None,
}
"""Answers about all sensors of a kind; `each` names them instead."""
