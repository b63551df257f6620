"""What decoders give, and the bounds that all of them keep."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from edgespike.sensing.values import NumberText

MAX_READINGS = 256
MAX_DEPTH = 4
MAX_LIST = 16
MAX_KEY_CHARS = 128


class Reading(NamedTuple):
    """One value in a message.

    `key` is the full path by which the profile may know it; `label` the part of it that names it
    when the profile doesn't; `part` tells equal values of one device apart ("2" of `switch:2`).
    `sensor` is the sensor in the device that measured it: it becomes part of the name when several
    measure the same, which `crowded` says of this message. `aside` marks a value that is about the
    device unless the profile knows better; `exact` one that only its full path makes known.
    `device` and `at` (seconds since the epoch) are given where the payload says them.
    """

    key: str
    label: str
    raw: str
    part: str = ""
    unit: str | None = None
    device: str | None = None
    at: float | None = None
    sensor: str = ""
    crowded: bool = False
    aside: bool = False
    exact: bool = False


class Presence(NamedTuple):
    """A device is there, or has gone."""

    device: str
    online: bool


class Request(NamedTuple):
    """What the decoder would like to be sent, so that it understands the device: a payload to the
    device's topic for messages of that kind."""

    device: str
    kind: str
    payload: bytes


Found: TypeAlias = Reading | Presence | Request


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a message came from: device (levels separated by `/`) and key by its topic."""

    device: str
    key: str


DecoderFunction: TypeAlias = Callable[[Origin, bytes, float], Sequence[Found]]
"""(origin, payload, arrival) -> what is in it. Raises ValueError, and nothing else, for a payload
that isn't of the expected shape."""


def scalar(value: Any) -> str | None:
    """The text of a JSON number, text or truth value; None for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return None


def leaves(body: dict[str, Any], prefix: str = "", depth: int = 1) -> Iterator[tuple[str, str]]:
    """(path, text) of the scalars in an object: `a.b`, and `a_1`, `a_2` for a list's items.

    What has an absurdly long name is left out: names are remembered.
    """
    for name, value in body.items():
        if len(name) > MAX_KEY_CHARS:
            continue
        if type(value) is NumberText or isinstance(value, str):
            yield prefix + name, value
        elif isinstance(value, bool):
            yield prefix + name, "true" if value else "false"
        elif depth < MAX_DEPTH and isinstance(value, dict):
            yield from leaves(value, prefix + name + ".", depth + 1)
        elif depth < MAX_DEPTH and isinstance(value, list):
            items = {str(number): item for number, item in enumerate(value[:MAX_LIST], 1)}
            yield from leaves(items, prefix + name + "_", depth + 1)
