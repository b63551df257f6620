"""What a single value says: number texts kept as they came, state words, known units.

Nothing here rounds or reformats: an answer can repeat `21.50` because the window still has `21.50`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from edgespike.settings.declared import NUMBER

MAX_PAYLOAD_BYTES = 64 * 1024
MAX_NUMBER_CHARS = 24
MAX_NUMBER_DIGITS = 400
MAX_STATE_CHARS = 48
MAX_NAME_CHARS = 64
MAX_UNIT_CHARS = 16
_MANY_DIGITS = 10
"""So many digits with a letter right after them are an identifier in hexadecimal."""

SANE_TIME = 1e9
"""Times before the year 2001 are those of a clock that was never set."""
_MILLISECONDS = 1e11
"""From here on, an epoch time is in milliseconds: as seconds it were the year 5138."""

# What firmwares send when there is nothing to say.
ABSENT = frozenset(
    {"", "nan", "none", "null", "unknown", "unavailable", "n/a", "na", "inf", "-inf"}
)

# Words that are the same state however they are written.
_STATE_WORDS = """on off open closed opening closing stopped locked unlocked online offline idle
heat heating cool cooling auto home away active inactive ok low high normal alarm wet dry"""
_PLAIN_STATES = {word: word for word in _STATE_WORDS.split()} | {"true": "on", "false": "off"}

# Units that may follow a number in a plain payload, and how people write them.
_UNIT_WORDS = """°C °F K % hPa Pa kPa bar mbar psi lx ppm ppb µg/m³ mg/m³ V mV A mA W kW VA var Wh
kWh MWh Hz dB dBm mm cm m km mm/s m/s km/h mph m³ m³/h l L l/min L/min g kg s min h rpm °"""
_UNITS = {unit: unit for unit in _UNIT_WORDS.split()} | {"C": "°C", "F": "°F", "lux": "lx"}
_NUMBER_AND_UNIT = re.compile(
    rf"(?P<number>{NUMBER.pattern})(?P<gap>\s*)(?P<unit>[^\W\d_]\S{{0,7}}|[%°]\S{{0,3}})"
)


class NumberText(str):
    """The text of a JSON number, exactly as sent."""

    __slots__ = ()


class Value(NamedTuple):
    """A value ready for the window; `number` is None for a state. `unit` only if it was sent."""

    text: str
    number: float | None
    unit: str | None


def load_text(payload: bytes) -> str:
    """A payload as text, without what isn't meant: the NUL that ends a text in C, a byte order mark
    and space around it. Raises ValueError for anything but UTF-8.
    """
    return payload.rstrip(b"\0").decode("utf-8-sig").strip()


def load_json(payload: bytes) -> Any:
    """Parse JSON with every number as a NumberText.

    Raises ValueError for anything that isn't JSON in UTF-8, NaN, infinities and deep nesting.
    """
    try:
        return _decode_json(load_text(payload))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _not_json(name: str) -> Any:
    raise ValueError(f"{name} isn't JSON")


_decode_json = json.JSONDecoder(
    parse_float=NumberText, parse_int=NumberText, parse_constant=_not_json
).decode


def read_value(raw: str, states: Mapping[str, str] | None) -> Value | None:
    """What a raw value says, by the words in `states` (keys case-folded) first; None for nothing.

    A number keeps its text up to 24 characters; a longer one is written with 12 significant digits.
    Numbers too large for a float, and texts too long to be a state, are nothing.
    """
    if states:
        word = states.get(raw.strip().casefold())
        if word is not None:
            return Value(word, None, None)
    if isinstance(raw, NumberText):
        return _number(raw, None)
    text = raw.strip()
    if NUMBER.fullmatch(text):
        return _number(text, None)
    folded = text.casefold()
    if folded in ABSENT:
        return None
    if folded in _PLAIN_STATES:
        return Value(_PLAIN_STATES[folded], None, None)
    found = _NUMBER_AND_UNIT.fullmatch(text) if len(text) <= 2 * MAX_NUMBER_CHARS else None
    # `800000000000000C` is no temperature.
    identifier = found and not found["gap"] and len(found["number"]) >= _MANY_DIGITS
    if found and found["unit"] in _UNITS and not identifier:
        return _number(found["number"], _UNITS[found["unit"]])
    if len(text) > MAX_STATE_CHARS:
        return None
    text = clean(text, MAX_STATE_CHARS)
    return Value(text, None, None) if text else None


def moment(raw: str) -> float | None:
    """The time that a text tells, in seconds since the epoch: ISO 8601 with its offset, or the
    epoch's seconds or milliseconds. None for anything else, and for clocks that were never set.
    """
    try:
        time = float(raw)
    except ValueError:
        try:
            told = datetime.fromisoformat(raw)
        except ValueError:
            return None
        if told.tzinfo is None:
            return None  # which zone's
        time = told.timestamp()
    if time >= _MILLISECONDS:
        time /= 1000
    return time if SANE_TIME <= time < _MILLISECONDS else None


def clean(text: str, limit: int) -> str:
    """`text` on one line, at most `limit` characters: what isn't printable becomes a space."""
    if not text.isprintable() or "  " in text:
        text = "".join(c if c.isprintable() else " " for c in text[: 4 * limit])
        text = " ".join(text.split())
    return text[:limit].strip()


def _number(text: str, unit: str | None) -> Value | None:
    number = float(text) if len(text) <= MAX_NUMBER_DIGITS else math.inf
    if not math.isfinite(number):
        return None
    kept = str(text) if len(text) <= MAX_NUMBER_CHARS else f"{number:.12g}"
    return Value(kept, number, unit)
