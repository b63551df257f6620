"""Where the rules stood, on disk: a restart neither repeats an alert nor forgets how long it held.

A small JSON file, written beside the old one and renamed. What can't be read is only forgotten.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, fields
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import Any

from edgespike.errors import DataError
from edgespike.sensing.memory import Clock
from edgespike.sensing.triggers import WatchMemory

MAX_WATCHES = 20_000
_MAX_FILE_BYTES = 400 * MAX_WATCHES


def save_rules(path: Path, watches: Iterable[WatchMemory], clock: Clock) -> None:
    """Write the file, with at most `MAX_WATCHES`. Raises OSError."""
    rows = [list(asdict(watch).values()) for watch in islice(watches, MAX_WATCHES)]
    beside = path.with_name(f"{path.name}.new")
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump({"clock": asdict(clock), "watches": rows}, file)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def load_rules(path: Path, now: Clock) -> list[WatchMemory]:
    """What was saved, its times counted back from `now`; nothing where nobody can tell how long
    ago that was. Raises DataError for a file that can't be used.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    try:
        if len(data) > _MAX_FILE_BYTES:
            raise ValueError("it is too long")
        body = json.loads(data)
        elapsed = now.since(Clock(**body["clock"]))
        found = [_watch(row, elapsed or 0.0) for row in body["watches"][:MAX_WATCHES]]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DataError(f"{path} has something else in it than rules: {error}") from None
    return found if elapsed is not None else []


_TYPES: tuple[tuple[type, ...], ...] = (
    (str,),
    (str,),
    (float, int, type(None)),
    (bool,),
    (float, int, type(None)),
    (str, type(None)),
)


def _watch(row: list[Any], elapsed: float) -> WatchMemory:
    for field, value, types in zip(fields(WatchMemory), row, _TYPES, strict=True):
        if type(value) not in types:
            raise TypeError(f"{field.name} is of another type")
    rule, channel, began, fired, last_fired, side = row
    times = [None if t is None else float(t) + elapsed for t in (began, last_fired)]
    if not all(t is None or (isfinite(t) and t >= 0) for t in times):
        raise ValueError("a time is out of range")
    return WatchMemory(rule, channel, times[0], fired, times[1], side)
