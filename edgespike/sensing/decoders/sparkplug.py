"""Sparkplug B (Eclipse Sparkplug 3.0; payloads by `sparkplug_b.proto` of Eclipse Tahu).

Births name the metrics of an edge node or of a device behind it, and give them numbers, by which
later data may call them. A death makes the node, or the device, unavailable. What comes before a
birth was heard is readable only where it gives names, and a missing message may have said anything:
the node is asked to be born again then, as chapter 5 of the specification has host applications do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from edgespike.sensing.decoders.cbor import float_text
from edgespike.sensing.decoders.protobuf import field_bytes, field_number, fields
from edgespike.sensing.decoders.reading import (
    MAX_KEY_CHARS,
    MAX_READINGS,
    Found,
    Origin,
    Presence,
    Reading,
    Request,
)
from edgespike.sensing.values import SANE_TIME, NumberText

MAX_MEMBERS = 4096
"""Nodes and devices behind them that are remembered."""
MAX_METRICS = 65536
"""Metrics of all of them; what a birth defines beyond is heard only by name."""
MAX_ASKED = 4096
"""Nodes of which is remembered when they were asked."""
ASK_AFTER_S = 60.0
"""Least time between requests to a node; it doubles, to `ASK_AT_MOST_S`, while they don't help."""
ASK_AT_MOST_S = 3600.0
_GAP_S = 0.1
"""Least time between requests to any nodes: their births shall not come all at once."""
_CALM = 4
"""After so many times the waiting time without a request, a node counts as fine again."""
# Data types (sparkplug_b.proto, enum DataType): bits of the signed ones.
_SIGNED = {1: 8, 2: 16, 3: 32, 4: 64}
_BOOLEAN, _DATETIME = 11, 13
_UNITS = frozenset({"engunit", "engineering units", "units", "unit"})
# Metrics that are about Sparkplug, not about the plant.
_OWN = ("bdSeq", "Node Control/", "Device Control/", "Node Info/", "Properties/")


@dataclass(slots=True)
class _Metric:
    """One metric of a payload, or what a birth said of it."""

    name: str = ""
    alias: int | None = None
    type: int = 0
    unit: str | None = None
    time: float | None = None
    raw: str | None = None
    historical: bool = False


@dataclass(slots=True)
class _Member:
    """A node, or a device behind it, as it was born, and whether it is still alive."""

    alive: bool = True
    aliases: dict[int, _Metric] = field(default_factory=dict)
    named: dict[str, _Metric] = field(default_factory=dict)


@dataclass(slots=True)
class _Node:
    """An edge node: its members by full name, the numbers of its birth and its last message."""

    members: dict[str, _Member] = field(default_factory=dict)
    birth: str | None = None
    sequence: int | None = None

    def follows(self, sequence: int | None) -> bool:
        """Whether a message with that number is the next one; 255 is followed by 0."""
        before, self.sequence = self.sequence, sequence
        return None in (before, sequence) or sequence == (before or 0) + 1 & 0xFF


class Sparkplug:
    """Reads messages in their order, and remembers births in bounded memory."""

    def __init__(self, *, whole: bool = True) -> None:
        """`whole`: whether all messages of a node come here: their numbers are checked then."""
        self._whole = whole
        self._nodes: dict[str, _Node] = {}
        self._members = 0
        self._metrics = 0
        # When a node was asked last, and how long it is left alone then.
        self._asked: dict[str, tuple[float, float]] = {}
        self._asked_any = -math.inf

    def decode(self, origin: Origin, payload: bytes, at: float) -> list[Found]:
        """What an NBIRTH, NDATA, DBIRTH, DDATA, NDEATH or DDEATH says; commands say nothing.

        The kind is the topic's key; its device is `group/node` or `group/node/device`, with or
        without the group. A request to the node is added when it should be born again.
        """
        kind, name = origin.key, origin.device
        if kind not in ("NBIRTH", "NDATA", "NDEATH", "DBIRTH", "DDATA", "DDEATH"):
            return []
        owner = name if kind[0] == "N" else name.rpartition("/")[0]
        metrics, sequence = _message(payload)
        node = self._nodes.get(owner)
        if kind == "NDEATH":
            return self._died(owner, node, metrics)
        missing = self._whole and node is not None and not node.follows(sequence)
        if kind == "NBIRTH":
            missing = False
        member = node.members.get(name) if node else None
        found: list[Found] = []
        if kind == "DDEATH":
            found.append(Presence(name, False))
            if member is not None:
                member.alive = False
        elif kind.endswith("BIRTH"):
            if kind == "NBIRTH" and node is not None:
                # What it said before is void, and its devices are not there until they are born.
                found += [Presence(other, False) for other in node.members if other != name]
                self._forget(owner)
            member = self._born(owner, name, metrics, sequence)
            found.append(Presence(name, True))
        elif member is None or not member.alive or not _understood(member, metrics):
            missing = True
        if kind != "DDEATH":
            found += _readings(member or _Member(), metrics, at)
        if (missing or not self._is_alive(owner)) and self._may_ask(owner, at):
            found.append(Request(owner, "NCMD", _rebirth(at)))
        return found

    def _is_alive(self, owner: str) -> bool:
        """Whether a node's own birth is known, and no death since. A node that there was no room to
        remember is taken to be alive: its birth would be forgotten again."""
        node = self._nodes.get(owner)
        if node is None:
            return self._members >= MAX_MEMBERS
        member = node.members.get(owner)
        return member.alive if member is not None else self._members >= MAX_MEMBERS

    def _may_ask(self, owner: str, at: float) -> bool:
        """Whether it is time to ask a node; notes that it was asked, if so."""
        last, pause = self._asked.get(owner, (-math.inf, 0.0))
        if 0 <= at - last < pause or 0 <= at - self._asked_any < _GAP_S:
            return False
        calm = at - last > _CALM * pause
        pause = ASK_AFTER_S if calm else min(2 * pause, ASK_AT_MOST_S)
        self._asked.pop(owner, None)
        if len(self._asked) >= MAX_ASKED:
            del self._asked[next(iter(self._asked))]
        self._asked[owner], self._asked_any = (at, pause), at
        return True

    def _born(self, owner: str, name: str, metrics: list[_Metric], sequence: int | None) -> _Member:
        """Remember a birth, as far as there is room."""
        node = self._nodes.get(owner) or _Node()
        member = _Member()
        before = node.members.get(name)
        if before is None and self._members >= MAX_MEMBERS:
            return member
        self._members += before is None
        self._metrics -= len(before.named) if before else 0
        for metric in metrics[: MAX_METRICS - self._metrics]:
            known = _Metric(metric.name, metric.alias, metric.type, metric.unit)
            member.named[metric.name] = known
            if metric.alias is not None:
                member.aliases[metric.alias] = known
        self._metrics += len(member.named)
        if name == owner:
            node.birth = _birth_number(metrics)
        node.sequence = sequence
        node.members[name] = member
        self._nodes[owner] = node
        return member

    def _forget(self, owner: str) -> None:
        for member in self._nodes.pop(owner).members.values():
            self._members -= 1
            self._metrics -= len(member.named)

    def _died(self, owner: str, node: _Node | None, metrics: list[_Metric]) -> list[Found]:
        """A node's will. One that belongs to an earlier birth says nothing of the present."""
        if node is None:
            return [Presence(owner, False)]
        number = _birth_number(metrics)
        if None not in (number, node.birth) and number != node.birth:
            return []
        for member in node.members.values():
            member.alive = False
        node.sequence = None
        return [Presence(name, False) for name in dict.fromkeys((owner, *node.members))]


def _birth_number(metrics: list[_Metric]) -> str | None:
    return next((metric.raw for metric in metrics if metric.name == "bdSeq"), None)


def _understood(member: _Member, metrics: list[_Metric]) -> bool:
    """Whether all metrics of a message have a name that is known."""
    return all(metric.name or metric.alias in member.aliases for metric in metrics)


def _rebirth(at: float) -> bytes:
    """The payload of an NCMD that asks for a birth: a time, and `Node Control/Rebirth`, true.

    An NCMD has no sequence number (tck-id-payloads-ncmd-seq).
    """
    time = field_number(1, max(0, int(at * 1000)))
    name = field_bytes(1, b"Node Control/Rebirth")
    return time + field_bytes(2, name + field_number(4, _BOOLEAN) + field_number(14, 1))


def _readings(member: _Member, metrics: list[_Metric], at: float) -> Iterator[Reading]:
    count = 0
    for metric in metrics:
        known = member.named.get(metric.name) if metric.name else None
        if not metric.name and metric.alias is not None:
            known = member.aliases.get(metric.alias)
        name = metric.name or (known.name if known else "")
        raw = metric.raw
        if not name or raw is None or metric.historical or name.startswith(_OWN):
            continue
        if isinstance(raw, NumberText) and known and not metric.type:
            raw = _signed(raw, known.type)
        unit = metric.unit or (known.unit if known else None)
        time = metric.time
        time = None if time is None or time < SANE_TIME else min(time, at)
        yield Reading(name, name, raw, unit=unit, at=time)
        count += 1
        if count == MAX_READINGS:
            return


def _message(payload: bytes) -> tuple[list[_Metric], int | None]:
    """The metrics of a payload, and its sequence number."""
    metrics: list[_Metric] = []
    sent = sequence = None
    for number, value in fields(payload):
        if number == 1 and isinstance(value, int):
            sent = value / 1000
        elif number == 2 and isinstance(value, bytes):
            metric = _metric(value)
            if metric.time is None:
                metric.time = sent
            metrics.append(metric)
        elif number == 3 and isinstance(value, int):
            sequence = value
    return metrics, sequence


def _metric(data: bytes) -> _Metric:
    metric = _Metric()
    value: tuple[int, int | bytes] | None = None
    null = False
    for number, content in fields(data):
        match number, content:
            case 1, bytes():
                metric.name = _text(content, MAX_KEY_CHARS)
            case 2, int():
                metric.alias = content
            case 3, int():
                metric.time = content / 1000
            case 4, int():
                metric.type = content
            case 5, int():
                metric.historical = bool(content)
            case 7, int():
                null = bool(content)
            case 9, bytes():
                metric.unit = _unit(content)
            case 10 | 11 | 12 | 13 | 14 | 15, _:
                value = number, content
    if value is not None and not null:
        metric.raw = _value(*value, metric.type)
    return metric


def _value(number: int, content: int | bytes, kind: int) -> str | None:
    """The text of a value: int_value, long_value, float_value, double_value, boolean_value or
    string_value."""
    match number, content:
        case 10 | 11, int():
            return None if kind == _DATETIME else _signed(NumberText(content), kind)
        case 12 | 13, bytes() if len(content) == (4 if number == 12 else 8):
            try:
                return float_text(content[::-1])
            except ValueError:
                return None  # how some say that there is no value
        case 14, int():
            return "true" if content else "false"
        case 15, bytes():
            return _text(content, 4 * MAX_KEY_CHARS)
    raise ValueError("a metric's value is of the wrong kind")


def _signed(raw: NumberText, kind: int) -> NumberText:
    """A whole number by its data type: negative ones travel as their two's complement."""
    bits = _SIGNED.get(kind)
    if bits is None or not raw.isdigit():
        return raw
    number = int(raw) & (1 << bits) - 1
    return NumberText(number - (1 << bits) if number >> bits - 1 else number)


def _unit(data: bytes) -> str | None:
    """The engineering unit in a metric's properties."""
    keys, values = [], []
    for number, content in fields(data):
        if number == 1 and isinstance(content, bytes):
            keys.append(_text(content, MAX_KEY_CHARS).casefold())
        elif number == 2 and isinstance(content, bytes):
            values.append(content)
    for key, value in zip(keys, values, strict=False):
        if key in _UNITS:
            for number, content in fields(value):
                if number == 8 and isinstance(content, bytes):
                    return _text(content, 16)
    return None


def _text(data: bytes, limit: int) -> str:
    if len(data) > 4 * limit:
        raise ValueError("a text is too long")
    return data.decode()[:limit]
