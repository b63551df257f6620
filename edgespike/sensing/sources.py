"""The configured sources: which messages are theirs, and what is known of the values in them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from edgespike.config import ChannelSettings, SensorSource
from edgespike.profiles import Payload, SensorProfile, TopicRule, ValueFacts
from edgespike.sensing.channels import Channel, Device
from edgespike.sensing.decoders import DecoderFunction, Origin, Reading, new_decoder
from edgespike.sensing.memory import ChannelMemory
from edgespike.sensing.naming import FactBook, channel_name
from edgespike.sensing.values import MAX_UNIT_CHARS, clean
from edgespike.topics import Pattern, compile_pattern
from edgespike.units import converts, known_unit

_NOTHING = ValueFacts()


@dataclass(slots=True)
class Route:
    """What to do with the messages of one topic. `decode` is None for a device's availability.

    `heard_at` are keys of the time in a message.
    """

    origin: Origin
    device: Device
    decode: DecoderFunction | None
    heard_at: tuple[str, ...] = ()


@dataclass(slots=True)
class Slot:
    """Where a value of a message goes, and how to read it. Its first reading opens the channel.

    `first` is that reading, without its value. `sent` is the unit in which values came last, `unit`
    the one that is shown. `longer` is the name with that of the sensor in it, for when another
    value has the name; None where no sensor is named. What is not from `least` to `most`, no
    working sensor says.
    """

    name: str
    settings: ChannelSettings
    facts: ValueFacts
    shown: bool
    first: Reading
    longer: str | None = None
    channel: Channel | None = None
    sent: str | None = None
    unit: str = ""
    converted: bool = False
    least: float = field(init=False)
    most: float = field(init=False)

    def __post_init__(self) -> None:
        low, high = self.facts.min, self.facts.max
        self.least = -math.inf if low is None else low
        self.most = math.inf if high is None else high

    def use_unit(self, sent: str) -> bool:
        """Show values that are sent in that unit in the unit that is wanted: sets `unit`, and
        whether they must be `converted`. False if they can't be; they are shown as sent then.
        """
        self.sent = sent
        unit, wanted = known_unit(clean(sent, MAX_UNIT_CHARS)), self.settings.unit
        self.unit, self.converted = unit, False
        if wanted and unit and known_unit(wanted) != unit:
            self.converted = converts(unit, wanted)
            if not self.converted:
                return False
        self.unit = wanted or unit
        return True

    def memory(self, source: str, device: str) -> ChannelMemory | None:
        """What to keep of the channel, if it has said anything."""
        channel, first = self.channel, self.first
        if channel is None or channel.text is None:
            return None
        return ChannelMemory(
            source=source,
            device=device,
            part=first.part,
            key=first.key,
            label=first.label,
            sensor=first.sensor,
            crowded=first.crowded,
            exact=first.exact,
            sent=self.sent or "",
            unit=self.unit,
            text=channel.text,
            numeric=channel.number is not None,
            at=channel.at,
            dated=channel.dated,
            limit=channel.limit,
            since=channel.since,
            history=channel.history.dump() if channel.history is not None else b"",
            changes=channel.changes.dump() if channel.changes is not None else b"",
        )


class Source:
    """One configured source, its patterns compiled and its facts at hand."""

    def __init__(self, settings: SensorSource) -> None:
        self.settings = settings
        self.profile: SensorProfile = settings.profile.extended(settings.values)
        self._facts = FactBook(
            self.profile.values, self.profile.endpoints, units=self.profile.unknown == "show"
        )
        self._decoders: dict[Payload, DecoderFunction] = {}
        base = self.profile.base if settings.base is None else settings.base
        self.id = " ".join((self.profile.name, base, *(rule.topic for rule in self._topic_rules())))
        self._rules: list[tuple[Pattern, Payload]] = [
            (compile_pattern(rule.topic, base), rule.payload or self.profile.decoder)
            for rule in self._topic_rules()
        ]

    def filters(self) -> list[str]:
        """What to subscribe to; a rule to ignore needs no subscription."""
        return [pattern.filter for pattern, payload in self._rules if payload != "ignore"]

    def match(self, topic: str) -> tuple[Payload, Origin] | None:
        """How to read a topic's payload and where it comes from, None when it isn't ours."""
        for pattern, payload in self._rules:
            match = pattern.match(topic)
            if match:
                device, key = match
                if payload == "plain" and not pattern.has_key:
                    device, key = _device_and_key(device, topic)
                elif payload not in ("plain", "availability") and not device:
                    device = topic.rpartition("/")[0] if key else topic
                return payload, Origin(device, key)
        return None

    def decoder(self, payload: Payload) -> DecoderFunction | None:
        """What reads a payload; None for availability. One for each kind, since it may remember."""
        if payload == "availability" or payload == "ignore":
            return None
        if payload not in self._decoders:
            whole = all(text.endswith("#") for text in self.filters())
            self._decoders[payload] = new_decoder(payload, whole=whole)
        return self._decoders[payload]

    def slot(self, device: str, reading: Reading) -> Slot:
        """A place for a value that wasn't heard before."""
        label, facts = self._facts.find(reading.key, reading.label, exact=reading.exact)
        longer = None
        if reading.sensor and not reading.part:
            longer = channel_name(device, reading.sensor, label)
        if longer and reading.crowded:
            name, longer = longer, None
        else:
            name = channel_name(device, reading.part, label)
        settings = self.settings.settings_of(name)
        shown = bool(name) and self._shown(reading, facts, settings.show)
        first = reading._replace(raw="", unit=None, at=None)
        return Slot(name, settings, facts or _NOTHING, shown, first, longer)

    def _topic_rules(self) -> tuple[TopicRule, ...]:
        given = tuple(TopicRule(topic) for topic in self.settings.topics)
        online = tuple(TopicRule(topic, "availability") for topic in self.settings.availability)
        return online + (given or self.profile.topics)

    def _shown(self, reading: Reading, facts: ValueFacts | None, show: bool | None) -> bool:
        if show is not None:
            return show
        if facts is None:
            kind = "diagnostic" if reading.aside else self.profile.unknown
            return kind == "show" or (kind == "diagnostic" and self.settings.diagnostics)
        if facts.ignore:
            return False
        return not facts.diagnostic or self.settings.diagnostics


def _device_and_key(device: str, topic: str) -> tuple[str, str]:
    """Device and key where a pattern names no key: the topic's last level is the key.

    It isn't part of the device then. Without wildcards the levels before it are the device.
    """
    before, _, key = topic.rpartition("/")
    if not device:
        return before, key
    captured, _, last = device.rpartition("/")
    return (captured, key) if last == key else (device, key)
