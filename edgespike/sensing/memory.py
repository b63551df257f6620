"""The window on disk, so that a restart doesn't forget what was heard.

A file is one line (`edgespike-window 1 <SHA-256 of the rest>`), then a zlib stream of JSON and the
histories' numbers behind it. It is written beside the old one and renamed. What can't be read, for
whatever reason, is only forgotten: sensors will say it again.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
import time
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from edgespike.errors import DataError
from edgespike.sensing.decoders import Reading

MAX_FILE_BYTES = 64 << 20
_MAX_BODY_BYTES = 4 * MAX_FILE_BYTES
_MAGIC = b"edgespike-window 1 "
_LENGTH = struct.Struct("<I")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class ChannelMemory:
    """What is kept of a channel: where its value comes from, what it said, and its history.

    Times are in seconds since the epoch, by the clock at the time of saving.
    """

    source: str
    device: str
    part: str
    key: str
    label: str
    sensor: str
    crowded: bool
    exact: bool
    sent: str
    unit: str
    text: str
    numeric: bool
    at: float
    dated: bool
    limit: str | None
    since: float | None
    history: bytes = b""
    changes: bytes = b""

    def reading(self) -> Reading:
        """The reading by which the channel is found again, without a value."""
        return Reading(
            self.key,
            self.label,
            "",
            self.part,
            sensor=self.sensor,
            crowded=self.crowded,
            exact=self.exact,
        )


@dataclass(frozen=True, slots=True)
class WindowMemory:
    """What is kept of the window; `offline`: source, device, and since when it is offline."""

    channels: Sequence[ChannelMemory] = ()
    offline: Sequence[tuple[str, str, float]] = ()


@dataclass(frozen=True, slots=True)
class Clock:
    """A moment by the wall clock, and by one that can't be set while the machine is up."""

    wall: float
    uptime: float
    boot: str

    @classmethod
    def now(cls) -> Clock:
        """This moment."""
        try:
            boot = _BOOT_ID.read_text().strip()
        except OSError:
            boot = ""
        return cls(time.time(), time.clock_gettime(time.CLOCK_BOOTTIME), boot)

    def since(self, earlier: Clock) -> float | None:
        """Seconds since `earlier`; None when the clock was set back, and nobody can tell."""
        if self.boot and self.boot == earlier.boot:
            return max(0.0, self.uptime - earlier.uptime)
        return self.wall - earlier.wall if self.wall >= earlier.wall else None


def save(path: Path, window: WindowMemory, clock: Clock) -> None:
    """Write the file. Raises OSError."""
    blobs: list[bytes] = []
    rows = []
    for channel in window.channels:
        row = [getattr(channel, field.name) for field in fields(ChannelMemory)]
        blobs += row[-2:]
        rows.append([*row[:-2], len(row[-2]), len(row[-1])])
    head = json.dumps({"clock": asdict(clock), "channels": rows, "offline": window.offline})
    data = head.encode()
    body = zlib.compress(_LENGTH.pack(len(data)) + data + b"".join(blobs), 1)
    beside = path.with_name(f"{path.name}.new")
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(_MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def load(path: Path) -> tuple[WindowMemory, Clock] | None:
    """Read the file; None if there is none. Raises DataError for one that can't be used."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    line, _, body = data.partition(b"\n")
    if len(data) > MAX_FILE_BYTES or not line.startswith(_MAGIC):
        raise DataError(f"{path} isn't a window of this version")
    if hashlib.sha256(body).hexdigest().encode() != line[len(_MAGIC) :]:
        raise DataError(f"{path} is damaged: its checksum is wrong")
    try:
        return _parsed(body)
    except (ValueError, TypeError, KeyError, RecursionError, struct.error, zlib.error) as error:
        raise DataError(f"{path} has something else in it than a window: {error}") from None


def _parsed(body: bytes) -> tuple[WindowMemory, Clock]:
    reader = zlib.decompressobj()
    data = reader.decompress(body, _MAX_BODY_BYTES)
    if reader.unconsumed_tail or not reader.eof:
        raise ValueError("too long or cut off")
    (length,) = _LENGTH.unpack_from(data)
    start = _LENGTH.size + length
    head = json.loads(data[_LENGTH.size : start])
    channels = []
    for row in head["channels"]:
        *facts, history, changes = row
        ends = start + _whole(history), start + _whole(history) + _whole(changes)
        channels.append(_typed([*facts, data[start : ends[0]], data[ends[0] : ends[1]]]))
        start = ends[1]
    offline = [(str(source), str(device), _time(at)) for source, device, at in head["offline"]]
    clock = Clock(**head["clock"])
    _time(clock.wall), _time(clock.uptime)
    return WindowMemory(channels, offline), clock


_TYPES = {
    "str": (str,),
    "bool": (bool,),
    "float": (float, int),
    "str | None": (str, type(None)),
    "float | None": (float, int, type(None)),
    "bytes": (bytes,),
}


def _typed(row: list[Any]) -> ChannelMemory:
    for field, value in zip(fields(ChannelMemory), row, strict=True):
        if not isinstance(value, _TYPES[str(field.type)]):
            raise TypeError(f"{field.name} is of another type")
        if isinstance(value, float):
            _time(value)
    return ChannelMemory(*row)


def _time(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("a time isn't finite")
    return value


def _whole(value: int) -> int:
    if value < 0:
        raise ValueError("a length is negative")
    return value
