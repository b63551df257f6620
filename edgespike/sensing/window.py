"""The live picture of the sensors: MQTT messages in, a `Picture` out."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edgespike.config import ChannelSettings, Config, SensorSource
from edgespike.messages import SensorEvent
from edgespike.profiles import Payload, SensorProfile, TopicRule, ValueFacts
from edgespike.sensing.channels import Channel, Channels
from edgespike.sensing.decoders import DECODERS, Origin, Reading, decode_availability
from edgespike.sensing.naming import FactBook, channel_name, words
from edgespike.sensing.picture import ChannelView, Picture
from edgespike.sensing.values import MAX_PAYLOAD_BYTES, Value, clean, read_value
from edgespike.topics import MAX_TOPIC_BYTES, Pattern, compile_pattern, minimal_filters

MAX_ROUTES = 4096
MAX_PROBLEMS = 32
MAX_NEWS = 4096

_NOTHING = ValueFacts()


@dataclass(frozen=True, slots=True)
class _Route:
    """What to do with the messages of one topic."""

    source: int
    payload: Payload
    origin: Origin


@dataclass(slots=True)
class _Slot:
    """Where a value of a message goes, and how to read it. Its first reading opens the channel."""

    name: str
    settings: ChannelSettings
    facts: ValueFacts
    shown: bool
    channel: Channel | None = None


class _Source:
    """One configured source, its patterns compiled and its facts at hand."""

    def __init__(self, settings: SensorSource) -> None:
        self.settings = settings
        self.profile: SensorProfile = settings.profile.extended(settings.values)
        self.facts = FactBook(self.profile.values, self.profile.endpoints)
        base = self.profile.base if settings.base is None else settings.base
        self.rules: list[tuple[Pattern, Payload]] = [
            (compile_pattern(rule.topic, base), rule.payload or self.profile.decoder)
            for rule in self._topic_rules()
        ]

    def _topic_rules(self) -> tuple[TopicRule, ...]:
        given = tuple(TopicRule(topic) for topic in self.settings.topics)
        online = tuple(TopicRule(topic, "availability") for topic in self.settings.availability)
        return online + (given or self.profile.topics)

    def filters(self) -> list[str]:
        """What to subscribe to; a rule to ignore needs no subscription."""
        return [pattern.filter for pattern, payload in self.rules if payload != "ignore"]

    def route(self, number: int, topic: str) -> _Route | None:
        """The route of a topic, None when it isn't this source's."""
        for pattern, payload in self.rules:
            match = pattern.match(topic)
            if match:
                device, key = match
                if payload == "plain" and not pattern.has_key:
                    device, key = _device_and_key(device, topic)
                elif payload not in ("plain", "availability") and not device:
                    device = topic
                return _Route(number, payload, Origin(device, key))
        return None


class Sensing:
    """Keeps the window of all sensors. Thread-safe; memory is bounded whatever arrives."""

    def __init__(self, config: Config) -> None:
        self._lock = threading.Lock()
        self._span = config.context.history
        self._sources = [_Source(source) for source in config.sensors]
        self._channels = Channels(config.context.max_channels)
        self._routes: dict[str, _Route | None] = {}
        self._slots: dict[tuple[int, str, str, str], _Slot] = {}
        self._max_slots = 4 * config.context.max_channels
        self._offline: dict[tuple[int, str], None] = {}
        self._counts: Counter[str] = Counter()
        self._problems: deque[str] = deque(maxlen=MAX_PROBLEMS)
        self._wanted: Callable[[str], bool] | None = None
        self._followed: dict[str, Channel] = {}
        self._news: deque[ChannelView] = deque(maxlen=MAX_NEWS)
        for source in config.sensors:
            for name, settings in source.channels.items():
                if not any(c in "*?[" for c in name) and settings.show is not False:
                    plain = channel_name(name, "", "")
                    self._channels.expect(settings.rename or plain, source.settings_of(name))

    def topics(self) -> tuple[str, ...]:
        """The filters to subscribe to, none covered by another."""
        return minimal_filters([text for source in self._sources for text in source.filters()])

    def ingest(self, topic: str, payload: bytes, at: float, *, retained: bool = False) -> int:
        """Take in a message that arrived at `at` (seconds since the epoch).

        A `retained` message was kept by the broker for who knows how long: the age of its readings
        is unknown (None in the picture), and it goes stale counted from its arrival.
        Returns the number of channels that it updated. Never raises for what is in a message: what
        can't be used is counted (`counts`) and described (`take_problems`).
        """
        with self._lock:
            self._counts["messages"] += 1
            route = self._route(topic) if len(topic) <= MAX_TOPIC_BYTES else None
            if route is None or route.payload == "ignore":
                self._counts["ignored"] += 1
                return 0
            if len(payload) > MAX_PAYLOAD_BYTES:
                return self._refuse("malformed", topic, f"{len(payload)} bytes are too many")
            if route.payload == "availability":
                return self._set_available(route, decode_availability(payload))
            try:
                readings = DECODERS[route.payload](route.origin, payload, at)
            except ValueError as error:
                return self._refuse("malformed", topic, str(error))
            events = sum(self._apply(route, reading, at, retained) for reading in readings)
            self._counts["events"] += events
            return events

    def picture(self, now: float) -> Picture:
        """All channels as they are at `now`, by name."""
        with self._lock:
            views = tuple(
                channel.view(now, self._is_offline(channel)) for channel in self._channels.sorted()
            )
        return Picture(now, views)

    def counts(self) -> Mapping[str, int]:
        """Since the start: messages, events; ignored, malformed, absent, implausible, hidden,
        refused (channels beyond the limit)."""
        with self._lock:
            return {**self._counts, "channels": len(self._channels)}

    def take_problems(self) -> tuple[str, ...]:
        """The latest problems, once: one line each, safe to log."""
        with self._lock:
            taken = tuple(self._problems)
            self._problems.clear()
            return taken

    def follow(self, wanted: Callable[[str], bool]) -> None:
        """Keep every new value of the channels whose name is `wanted`, for `take_news`."""
        with self._lock:
            self._wanted = wanted

    def take_news(self) -> tuple[ChannelView, ...]:
        """What came of the channels that are followed, once, in order: the latest MAX_NEWS."""
        with self._lock:
            taken = tuple(self._news)
            self._news.clear()
            return taken

    def followed(self, now: float) -> tuple[ChannelView, ...]:
        """The channels that are followed and have reported, as they are at `now`."""
        with self._lock:
            channels = self._followed.values()
            return tuple(channel.view(now, self._is_offline(channel)) for channel in channels)

    def _route(self, topic: str) -> _Route | None:
        if topic in self._routes:
            return self._routes[topic]
        found = (source.route(number, topic) for number, source in enumerate(self._sources))
        route = next((each for each in found if each), None)
        if len(self._routes) >= MAX_ROUTES:
            self._routes.clear()
        self._routes[topic] = route
        return route

    def _apply(self, route: _Route, reading: Reading, at: float, retained: bool) -> int:
        device = route.origin.device if reading.device is None else reading.device
        identity = (route.source, device, reading.part, reading.key)
        slot = self._slots.get(identity)
        if slot is None:
            slot = self._new_slot(identity, reading)
        if not slot.shown:
            self._counts["hidden"] += 1
            return 0
        value = read_value(reading.raw, slot.facts.states)
        if value is None:
            self._counts["absent"] += 1
            return 0
        if not _plausible(value, slot.facts):
            self._counts["implausible"] += 1
            return 0
        channel = slot.channel or self._open_channel(slot, identity)
        if channel is None:
            return 0
        time = at if reading.at is None else reading.at
        last = channel.last
        if reading.at is not None and last is not None and time < last.received_at <= at:
            return 0  # an older record of a pack: what is known is newer
        unit = slot.settings.unit or reading.unit or value.unit or slot.facts.unit or ""
        if value.number is None:
            unit = ""
        channel.unit = unit = unit if unit == channel.unit else clean(unit, 16)
        channel.update(
            SensorEvent(channel.name, value.text, value.number, unit, channel.quantity, time),
            self._span,
            dated=reading.at is not None or not retained,
        )
        if channel.name in self._followed:
            self._news.append(channel.view(at, self._is_offline(channel)))
        return 1

    def _new_slot(self, identity: tuple[int, str, str, str], reading: Reading) -> _Slot:
        number, device, part, key = identity
        source = self._sources[number]
        label, facts = source.facts.find(key, reading.label)
        name = channel_name(device, part, label)
        settings = source.settings.settings_of(name)
        shown = bool(name) and _shown(source, facts, settings.show)
        if len(self._slots) >= self._max_slots:
            self._slots = {key: each for key, each in self._slots.items() if each.channel}
        slot = self._slots[identity] = _Slot(name, settings, facts or _NOTHING, shown)
        return slot

    def _open_channel(self, slot: _Slot, identity: tuple[int, str, str, str]) -> Channel | None:
        number, device, _, _ = identity
        settings, facts = slot.settings, slot.facts
        channel = self._channels.open(settings.rename or slot.name, settings)
        if channel is None:
            slot.shown = False
            self._refuse("refused", slot.name, "too many channels (context.max_channels)")
            return None
        channel.device = (number, device)
        channel.quantity = words(facts.quantity or "")
        channel.noise = facts.noise
        default = facts.stale_after or self._sources[number].profile.stale_after
        channel.stale_after = settings.stale_after or default
        slot.channel = channel
        if self._wanted is not None and self._wanted(channel.name):
            self._followed[channel.name] = channel
        return channel

    def _set_available(self, route: _Route, online: bool | None) -> int:
        device = (route.source, route.origin.device)
        if online is True:
            self._offline.pop(device, None)
        elif online is False and len(self._offline) < self._max_slots:
            self._offline[device] = None
        self._counts["availability"] += 1
        return 0

    def _is_offline(self, channel: Channel) -> bool:
        """Whether the channel's device, or the bridge that speaks for it, is offline."""
        device = channel.device
        return device is not None and (device in self._offline or (device[0], "") in self._offline)

    def _refuse(self, what: str, where: str, problem: str) -> int:
        self._counts[what] += 1
        self._problems.append(clean(f"{what}: {clean(where, 80)}: {problem}", 200))
        return 0


def _shown(source: _Source, facts: ValueFacts | None, show: bool | None) -> bool:
    if show is not None:
        return show
    if facts is None:
        kind = source.profile.unknown
        return kind == "show" or (kind == "diagnostic" and source.settings.diagnostics)
    if facts.ignore:
        return False
    return not facts.diagnostic or source.settings.diagnostics


def _plausible(value: Value, facts: ValueFacts) -> bool:
    number = value.number
    if number is None:
        return True
    low, high = facts.min, facts.max
    return (low is None or number >= low) and (high is None or number <= high)


def _device_and_key(device: str, topic: str) -> tuple[str, str]:
    """Device and key where a pattern names no key: the topic's last level is the key.

    It isn't part of the device then. Without wildcards the levels before it are the device.
    """
    before, _, key = topic.rpartition("/")
    if not device:
        return before, key
    captured, _, last = device.rpartition("/")
    return (captured, key) if last == key else (device, key)
