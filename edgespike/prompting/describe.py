"""Readings as lines of text."""

from __future__ import annotations

from edgespike.sensing.picture import ChannelView

MAX_NAME = 64
"""Characters of a name, value or unit that reach the prompt; the rest is cut off."""


def describe_age(seconds: float) -> str:
    """An age in its largest whole unit: "4 s", "12 min", "3 h", "2 days"."""
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {'day' if unit == 'days' and count == 1 else unit}"
    return f"{max(0, int(seconds))} s"


def describe_span(seconds: float) -> str:
    """How long something lasts, in its largest two units: "45 s", "11 min", "2 h 30 min",
    "3 days 4 h".
    """
    for size, part, unit in ((86400, 3600, "h"), (3600, 60, "min")):
        if seconds >= size and (rest := int(seconds % size // part)):
            return f"{describe_age(seconds)} {rest} {unit}"
    return describe_age(seconds)


def clean(text: str) -> str:
    """One line of printable characters, at most MAX_NAME of them."""
    text = text[: 4 * MAX_NAME]
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(text.split())[:MAX_NAME].rstrip()


def describe(channel: ChannelView) -> str:
    """One reading as a line: "kitchen temperature: 21.5 °C rising, ok 18 to 24, 4 s ago"."""
    name = clean(channel.name)
    if channel.text is None:
        return f"{name}: no reading"
    line = f"{name}: {clean(channel.text)}"
    if channel.unit:
        line += f" {clean(channel.unit)}"
    if channel.trend:
        line += f" {channel.trend}"
    low, high = clean(channel.low or ""), clean(channel.high or "")
    if channel.limit == "high":
        line += f", HIGH above {high}" if high else ", HIGH"
    elif channel.limit == "low":
        line += f", LOW below {low}" if low else ", LOW"
    elif channel.limit == "ok" and low and high:
        line += f", ok {low} to {high}"
    elif channel.limit == "ok" and (low or high):
        line += f", ok below {high}" if high else f", ok above {low}"
    if channel.stale:
        line += ", stale"
    if channel.age_s is not None:
        line += f", {describe_age(channel.age_s)} ago"
    return line
