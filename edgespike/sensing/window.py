"""The live picture of the sensors: MQTT messages in, a `Picture` out."""

from __future__ import annotations

import heapq
import math
import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import takewhile
from typing import NamedTuple

from edgespike.config import Config
from edgespike.sensing.channels import Channel, Channels, Device
from edgespike.sensing.decoders import Found, Presence, Reading, Request, decode_availability
from edgespike.sensing.memory import ChannelMemory, WindowMemory
from edgespike.sensing.naming import channel_name, words
from edgespike.sensing.picture import ChannelView, Picture
from edgespike.sensing.sources import Route, Slot, Source
from edgespike.sensing.values import MAX_PAYLOAD_BYTES, MAX_STATE_CHARS, clean, moment, read_value
from edgespike.topics import MAX_TOPIC_BYTES, minimal_filters
from edgespike.units import convert, converts, scale

_GONE = "unavailable"
"""What Home Assistant and others say for a value that there is no more, for lack of its device."""

MAX_PROBLEMS = 32
MAX_NEWS = 4096
MAX_COMMANDS = 64
_SLICE = 64
"""Channels that are looked at while messages wait: about a quarter of a millisecond."""


class Command(NamedTuple):
    """What a device should be sent, so that its messages are understood."""

    topic: str
    payload: bytes


class Sensing:
    """Keeps the window of all sensors. Thread-safe; memory is bounded whatever arrives."""

    def __init__(self, config: Config) -> None:
        self._lock = threading.Lock()
        self._span = config.context.history
        self._sources = [Source(source) for source in config.sensors]
        self._channels = Channels(config.context.max_channels)
        # Names of channels that there was no room for.
        self._refused: dict[str, ChannelView] = {}
        self._max_slots = 4 * config.context.max_channels
        self._max_routes = max(4096, 2 * config.context.max_channels)
        self._routes: dict[str, Route | None] = {}
        self._devices: dict[tuple[int, str], Device] = {}
        self._slots: dict[tuple[int, str, str, str], Slot] = {}
        self._counts: Counter[str] = Counter()
        self._problems: deque[str] = deque(maxlen=MAX_PROBLEMS)
        self._commands: deque[Command] = deque(maxlen=MAX_COMMANDS)
        self._wanted: Callable[[str], bool] | None = None
        self._followed: set[str] = set()
        self._news: deque[ChannelView] = deque(maxlen=MAX_NEWS)
        self._revision = 0
        # The channels that changed, the latest last; when those that are fresh will be stale.
        self._changed: dict[Channel, None] = {}
        self._deadlines: list[tuple[float, str, Channel]] = []
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

        A `retained` message was kept by the broker for who knows how long: unless it tells the
        time, the age of its readings is unknown (None in the picture), and it goes stale counted
        from its arrival. Of other messages the arrival counts: clocks may differ.
        Returns the number of channels that it updated. Never raises for what is in a message: what
        can't be used is counted (`counts`) and described (`take_problems`).
        """
        with self._lock:
            counts = self._counts
            counts["messages"] += 1
            route = self._routes.get(topic) or self._route(topic)
            if route is None:
                counts["ignored"] += 1
                return 0
            if len(payload) > MAX_PAYLOAD_BYTES:
                return self._refuse("malformed", topic, f"{len(payload)} bytes are too many")
            if route.decode is None:
                self._set_available(route.device, decode_availability(payload), at)
                return 0
            try:
                readings = route.decode(route.origin, payload, at)
            except ValueError as error:
                return self._refuse("malformed", topic, str(error))
            if retained and route.heard_at:
                readings = _dated(readings, route.heard_at, at)
            events = 0
            for found in readings:
                if isinstance(found, Presence):
                    device = self._device(route.device.source, found.device)
                    self._set_available(device, found.online, at)
                elif isinstance(found, Request):
                    self._request(route, topic, found)
                else:
                    events += self._apply(route.device, found, at, retained, readings)
            counts["events"] += events
            return events

    def picture(self, now: float, names: Collection[str] | None = None) -> Picture:
        """The channels of these names as they are at `now`, by name; all when none are given. Of
        those that there is no room for it has the names, or at least a few times as many as there
        is room for.

        Messages go on arriving meanwhile: each channel is as it is at the moment it is looked at.
        """
        with self._lock:
            if names is None:
                channels = self._channels.sorted()
            else:
                found = (self._channels.get(name) for name in sorted(names, key=str.casefold))
                channels = [channel for channel in found if channel is not None]
            refused = tuple(self._refused.values())
        views: list[ChannelView] = []
        for start in range(0, len(channels), _SLICE):
            with self._lock:
                views += [channel.view(now) for channel in channels[start : start + _SLICE]]
        return Picture(now, tuple(views), refused)

    @property
    def revision(self) -> int:
        """Grows whenever a channel changes in a way that matters; see `changes_since`."""
        return self._revision

    def changes_since(self, revision: int, now: float) -> tuple[int, tuple[str, ...]]:
        """(revision now, names of the channels that changed after `revision`, the latest last).

        What matters: a number that moved by more than its noise since it last counted, a state, a
        limit state, a unit, a first value, going stale and coming back, going offline and coming
        back. `revision` 0 gives every channel that ever reported. Costs what has changed.
        """
        with self._lock:
            self._find_stale(now)
            latest = takewhile(lambda channel: channel.revision > revision, reversed(self._changed))
            names = [channel.name for channel in latest]
            return self._revision, tuple(reversed(names))

    def remembered(self) -> WindowMemory:
        """What is worth keeping over a restart. Messages go on arriving meanwhile."""
        with self._lock:
            slots = list(self._slots.items())
            offline = [
                (self._sources[device.source].id, device.name, device.offline_since)
                for device in self._devices.values()
                if device.offline_since is not None
            ]
        kept: list[ChannelMemory] = []
        for start in range(0, len(slots), _SLICE):
            with self._lock:
                for (source, device, _, _), slot in slots[start : start + _SLICE]:
                    memory = slot.memory(self._sources[source].id, device)
                    kept += [memory] if memory is not None else []
        return WindowMemory(kept, offline)

    def recall(
        self, window: WindowMemory, elapsed: float | None, saved_at: float, now: float
    ) -> int:
        """Take up what an earlier process knew: how many channels.

        `elapsed` seconds have gone by since `saved_at`, by the clock of then; None when nobody can
        tell: ages are unknown then. What was heard since, or is no longer wanted, stays as it is.
        """
        sources = {source.id: number for number, source in enumerate(self._sources)}
        shift = now - (elapsed or 0.0) - saved_at
        taken = 0
        with self._lock:
            for memory in window.channels:
                source = sources.get(memory.source)
                if source is None:
                    continue
                try:
                    taken += self._recall(source, memory, shift, elapsed is not None)
                except ValueError as error:
                    self._refuse("malformed", memory.key, f"kept from before: {error}")
            for name, device, since in window.offline:
                known = self._devices.get((sources.get(name, -1), device))
                if known is not None and known.offline_since is None:
                    known.offline_since = since + shift
        return taken

    def clock_set(self, seconds: float, now: float) -> None:
        """The clock by which messages arrive was set forward, or back if negative, up to `now`."""
        with self._lock:
            self._deadlines.clear()
            for channel in self._channels.sorted():
                # What came since it was set is right already.
                if channel.text is not None and not now - 2.0 <= channel.at <= now:
                    channel.shift(seconds)
                if channel.fresh:
                    self._expect_stale(channel)
            for device in self._devices.values():
                if device.offline_since is not None:
                    device.offline_since += seconds

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

    def take_commands(self) -> tuple[Command, ...]:
        """What devices should be sent, once."""
        with self._lock:
            taken = tuple(self._commands)
            self._commands.clear()
            return taken

    def follow(self, wanted: Callable[[str], bool]) -> None:
        """Keep every new value of the channels whose name is `wanted`, for `take_news`."""
        with self._lock:
            self._wanted = wanted

    def take_news(self) -> tuple[ChannelView, ...]:
        """What came of the channels that are followed, once, in order: the latest MAX_NEWS. Unlike
        `changes_since` it has every value, also one that another followed at once.
        """
        with self._lock:
            taken = tuple(self._news)
            self._news.clear()
            return taken

    def _route(self, topic: str) -> Route | None:
        if topic in self._routes or len(topic) > MAX_TOPIC_BYTES:
            return None
        route = None
        for number, source in enumerate(self._sources):
            found = source.match(topic)
            if found:
                payload, origin = found
                if payload != "ignore":
                    device = self._device(number, origin.device)
                    heard_at = source.profile.heard_at
                    route = Route(origin, device, source.decoder(payload), heard_at)
                break
        if len(self._routes) >= self._max_routes:
            self._routes.clear()
        self._routes[topic] = route
        return route

    def _device(self, source: int, name: str) -> Device:
        """The device of that name. Those that nothing is known of are forgotten when there are too
        many: routes hold on to theirs."""
        device = self._devices.get((source, name))
        if device is None:
            if len(self._devices) >= self._max_slots:
                self._forget_devices()
            bridge = self._device(source, "") if name else None
            device = self._devices[source, name] = Device(source, name, bridge)
        return device

    def _forget_devices(self) -> None:
        kept = {key: d for key, d in self._devices.items() if d.channels or not d.name}
        bridges = [device.bridge for device in kept.values() if device.bridge is not None]
        self._devices = kept | {(bridge.source, bridge.name): bridge for bridge in bridges}
        self._routes.clear()

    def _apply(
        self, device: Device, reading: Reading, at: float, retained: bool, message: Sequence[Found]
    ) -> int:
        if reading.device is not None and reading.device != device.name:
            via, device = device, self._device(device.source, reading.device)
            device.hang_on(via)
        identity = (device.source, device.name, reading.part, reading.key)
        slot = self._slots.get(identity)
        if slot is None:
            slot = self._new_slot(identity, reading)
        if not slot.shown or (slot.facts.unless and _has(message, slot.facts.unless)):
            self._counts["hidden"] += 1
            return 0
        value = read_value(reading.raw, slot.facts.states)
        if value is None:
            self._counts["absent"] += 1
            known = slot.channel
            if known and known.gone_since is None and reading.raw.strip().casefold() == _GONE:
                known.gone_since = at
                self._touch(known)
            return 0
        text, number = value.text, value.number
        if number is not None and not slot.least <= number <= slot.most:
            self._counts["implausible"] += 1
            return 0
        channel = slot.channel or self._open_channel(slot, device)
        if channel is None:
            return 0
        time = at if reading.at is None else reading.at
        if reading.at is not None and channel.text is not None and time < channel.at <= at:
            return 0  # an older record of a pack: what is known is newer
        if number is not None:
            sent = reading.unit or value.unit or slot.facts.unit or ""
            if not sent and reading.unit is None:
                sent = slot.sent or ""  # what doesn't tell its unit has no other than before
            if sent != slot.sent:
                self._use_unit(slot, channel, sent)
            if slot.converted:
                try:
                    text = convert(text, sent, slot.unit)
                except ValueError as error:
                    return self._refuse("malformed", slot.name, str(error))
                number = float(text)
        dated = reading.at is not None or not retained
        if not dated and channel.dated and channel.text == text:
            return 0  # what the broker kept is what we know, and know the age of
        matters = channel.update(text, number, slot.unit, time, dated, self._span)
        if channel.gone_since is not None:
            channel.gone_since, matters = None, True
        if not channel.fresh:
            matters = True
            self._expect_stale(channel)
        if matters:
            self._touch(channel)
        if channel.name in self._followed:
            self._news.append(channel.view(at))
        return 1

    def _request(self, route: Route, topic: str, request: Request) -> None:
        """Note what a device should be sent, unless we only listen. It goes where the message came
        from, with the kind of the request for that of the message, and below that to the device."""
        if not self._sources[route.device.source].settings.rebirth:
            return
        above, kind, below = topic.rpartition(f"/{route.origin.key}/")
        device = request.device.rpartition("/")[2]
        if kind and below.split("/")[0] == device:
            self._commands.append(Command(f"{above}/{request.kind}/{device}", request.payload))

    def _recall(self, source: int, memory: ChannelMemory, shift: float, certain: bool) -> bool:
        """Take up a channel. Raises ValueError for one that makes no sense."""
        device = self._device(source, memory.device)
        identity = (source, device.name, memory.part, memory.key)
        slot = self._slots.get(identity)
        if slot is None:
            slot = self._new_slot(identity, memory.reading())
        if not slot.shown or slot.channel is not None:
            return False  # hidden by now, or heard already
        number = float(memory.text) if memory.numeric else None
        if memory.text != clean(memory.text, MAX_STATE_CHARS) or not memory.text:
            raise ValueError("not a value")
        if number is not None and not math.isfinite(number):
            raise ValueError("not a number")
        channel = self._open_channel(slot, device)
        if channel is None:
            return False
        if number is not None:
            self._use_unit(slot, channel, memory.sent)
            channel.unit = slot.unit
        if number is not None and slot.unit != memory.unit:
            return False  # the configuration asks for another unit than then
        channel.recall(memory, number, self._span)
        channel.shift(shift)
        channel.dated = channel.dated and certain
        self._expect_stale(channel)
        self._touch(channel)
        return True

    def _use_unit(self, slot: Slot, channel: Channel, sent: str) -> None:
        """Values come in another unit than before, or for the first time."""
        if not slot.use_unit(sent):
            problem = f"{slot.unit} doesn't convert to {slot.settings.unit}; shown as sent"
            self._refuse("unit", slot.name, problem)
        declared = slot.facts.unit
        if slot.facts.noise is not None and declared and converts(declared, slot.unit):
            channel.noise = slot.facts.noise * scale(declared, slot.unit)

    def _new_slot(self, identity: tuple[int, str, str, str], reading: Reading) -> Slot:
        source, device, _, _ = identity
        if len(self._slots) >= self._max_slots:
            self._slots = {key: each for key, each in self._slots.items() if each.channel}
        slot = self._slots[identity] = self._sources[source].slot(device, reading)
        return slot

    def _open_channel(self, slot: Slot, device: Device) -> Channel | None:
        if slot.longer is not None and self._channels.taken(slot.name):
            slot.name, slot.longer = slot.longer, None
            slot.settings = self._sources[device.source].settings.settings_of(slot.name)
        settings, facts = slot.settings, slot.facts
        channel = self._channels.open(settings.rename or slot.name, settings)
        if channel is None:
            slot.shown = False
            name, quantity = settings.rename or slot.name, words(facts.quantity or "")
            if len(self._refused) < self._max_slots and not self._channels.taken(name):
                self._refused[name] = ChannelView(name, None, quantity=quantity)
            self._refuse("refused", slot.name, "too many channels (context.max_channels)")
            return None
        # Routes may outlive what is known of a device that had no channel yet.
        device = self._devices.setdefault((device.source, device.name), device)
        channel.device = device
        device.channels.append(channel)
        channel.quantity = words(facts.quantity or "")
        channel.noise = facts.noise
        channel.momentary = bool(facts.event)
        default = facts.stale_after or self._sources[device.source].profile.stale_after
        channel.stale_after = settings.stale_after or default
        slot.channel = channel
        if self._wanted is not None and self._wanted(channel.name):
            self._followed.add(channel.name)
        return channel

    def _set_available(self, device: Device, online: bool | None, at: float) -> None:
        self._counts["availability"] += 1
        if online is None or online == (device.offline_since is None):
            return
        device.offline_since = None if online else at
        for each in self._devices.values():
            if each.hangs_on(device):
                for channel in each.channels:
                    self._touch(channel)

    def _touch(self, channel: Channel) -> None:
        """Note that a channel changed in a way that matters."""
        self._revision += 1
        channel.revision = self._revision
        self._changed.pop(channel, None)
        self._changed[channel] = None

    def _expect_stale(self, channel: Channel) -> None:
        channel.fresh = True
        deadline = channel.at + channel.stale_after
        heapq.heappush(self._deadlines, (deadline, channel.name, channel))

    def _find_stale(self, now: float) -> None:
        """Note the channels that have gone stale."""
        deadlines = self._deadlines
        while deadlines and deadlines[0][0] < now:
            _, name, channel = deadlines[0]
            deadline = channel.at + channel.stale_after
            if deadline < now:
                heapq.heappop(deadlines)
                channel.fresh = False
                self._touch(channel)
            else:
                heapq.heapreplace(deadlines, (deadline, name, channel))

    def _refuse(self, what: str, where: str, problem: str) -> int:
        self._counts[what] += 1
        self._problems.append(clean(f"{what}: {clean(where, 80)}: {problem}", 200))
        return 0


def _dated(message: Sequence[Found], keys: tuple[str, ...], arrival: float) -> Sequence[Found]:
    """The readings with the time that the first of these keys tells, if one does."""
    told = (found.raw for found in message if isinstance(found, Reading) and found.key in keys)
    time = next((time for time in map(moment, told) if time is not None), None)
    if time is None:
        return message
    at = min(time, arrival)
    return [
        found._replace(at=at) if isinstance(found, Reading) and found.at is None else found
        for found in message
    ]


def _has(message: Sequence[Found], key: str) -> bool:
    return any(isinstance(found, Reading) and found.key == key for found in message)
