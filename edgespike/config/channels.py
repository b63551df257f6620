"""What this installation listens to, and what it knows about each channel."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Annotated

from edgespike.profiles import SensorProfile, ValueFacts
from edgespike.settings.declared import Number, Seconds, Setting
from edgespike.topics import pattern_problem, topic_problem
from edgespike.units import convertible, converts, known_unit


def _folded(channel: str) -> str:
    return channel.replace("_", " ").casefold()


def channel_matches(pattern: str, channel: str) -> bool:
    """Whether a pattern with * and ? matches a channel's name, in any case, `_` for a space."""
    return fnmatch.fnmatchcase(_folded(channel), _folded(pattern))


def label_problem(text: str) -> str | None:
    """What is wrong with a name that people read, or None."""
    return (
        None if 0 < len(text) <= 64 and text.isprintable() else "has 1 to 64 printable characters"
    )


@dataclass(frozen=True, slots=True)
class ChannelSettings:
    """What this installation knows about a channel."""

    rename: Annotated[
        str | None,
        Setting("Name to use instead.", check=label_problem, example="boiler temperature"),
    ] = None
    show: Annotated[
        bool | None, Setting("Show (also a diagnostic value) or hide.", example="true")
    ] = None
    unit: Annotated[
        str | None,
        Setting("Unit to show; values are converted, and limits are in it.", example="°F"),
    ] = None
    low: Annotated[Number | None, Setting("Below this is too low.", example="18")] = None
    high: Annotated[Number | None, Setting("Above this is too high.", example="26.5")] = None
    hysteresis: Annotated[
        Number | None,
        Setting("How far back inside a limit it must come to be fine again.", example="0.5"),
    ] = None
    stale_after: Annotated[
        Seconds | None, Setting("Age from which the value counts as stale.", example="15m")
    ] = None

    def check(self) -> Iterator[tuple[str, str]]:
        """What the fields say about each other."""
        low, high = (None if v is None else float(v) for v in (self.low, self.high))
        gap = float(self.hysteresis or 0)
        if low is not None and high is not None and low >= high:
            yield "high", "must be above low"
        elif gap < 0:
            yield "hysteresis", "must not be negative"
        elif low is not None and high is not None and gap > high - low:
            yield "hysteresis", "must not be larger than high - low"

    def over(self, base: ChannelSettings) -> ChannelSettings:
        """These settings, and those of `base` where these say nothing."""
        mine = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(base, **{name: value for name, value in mine.items() if value is not None})


_DEFAULT = ChannelSettings()


@dataclass(frozen=True, slots=True)
class SensorSource:
    """Sensors of one firmware."""

    profile: Annotated[
        SensorProfile,
        Setting(
            "Name of a sensor profile (`edgespike profiles`), or one inline.",
            example="zigbee2mqtt",
            named=True,
        ),
    ]
    base: Annotated[
        str | None,
        Setting(
            "Base topic, where it isn't the firmware's default.",
            check=topic_problem,
            example="zigbee2mqtt",
        ),
    ] = None
    topics: Annotated[
        tuple[str, ...],
        Setting(
            "Topic patterns instead of the profile's: MQTT filters, or with {device} and {key}.",
            check=pattern_problem,
            example='["plant/+/temperature"]',
        ),
    ] = ()
    availability: Annotated[
        tuple[str, ...],
        Setting(
            "Topic patterns whose payload says online or offline.",
            check=pattern_problem,
            example='["plant/{device}/online"]',
        ),
    ] = ()
    values: Annotated[
        Mapping[str, ValueFacts],
        Setting(
            "Facts about values by key, over the profile's.",
            example="temperature",
        ),
    ] = field(default_factory=dict)
    channels: Annotated[
        Mapping[str, ChannelSettings],
        Setting(
            "Settings by channel name; * and ? match. All that match apply, later ones win.",
            example="boiler temperature",
        ),
    ] = field(default_factory=dict)
    diagnostics: Annotated[
        bool, Setting("Show diagnostic values too: link quality, signal, ...")
    ] = False
    rebirth: Annotated[
        bool,
        Setting("Ask Sparkplug nodes for their birth where it was missed; false: only listen."),
    ] = True

    def check(self) -> Iterator[tuple[str, str]]:
        """Units that the values of a channel, as far as its name tells them, don't convert to."""
        for name, settings in self.channels.items():
            sent = self._unit_of(name)
            if sent and settings.unit and not converts(sent, settings.unit):
                if known_unit(sent) == known_unit(settings.unit):
                    continue
                choices = ", ".join(convertible(sent)) or "nothing else"
                message = f"{name}: {sent} doesn't convert to {settings.unit}, but to {choices}"
                yield "channels", message

    def _unit_of(self, channel: str) -> str | None:
        """The unit that the profile declares for what a channel's name ends in."""
        values = {**self.profile.values, **self.values}
        units = {_folded(facts.name): facts.unit for facts in values.values() if facts.name}
        units |= {_folded(key): facts.unit for key, facts in values.items()}
        words = _folded(channel).split()
        tails = (" ".join(words[start:]) for start in range(len(words)))
        return next((units[tail] for tail in tails if tail in units), None)

    def settings_of(self, channel: str) -> ChannelSettings:
        """The settings of a channel by its unrenamed name: every entry that matches, in order.

        Case and the difference between `_` and a space don't matter.
        """
        result = _DEFAULT
        for pattern, settings in self.channels.items():
            if channel_matches(pattern, channel):
                result = settings.over(result)
        return result
