"""Reading JSON that nobody vouches for."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

MAX_DIGITS = 1000
"""Digits of a whole number: far more than any field means, and few enough to be read quickly."""


def encodes(text: str) -> bool:
    """Whether `text` is UTF-8 when it is written: half a surrogate pair is not."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def short(text: str) -> str:
    """`text` quoted for a message: escaped, and cut where a hostile sender would make it long."""
    return ascii(text if len(text) <= 40 else text[:40] + "...")


def json_object(text: str) -> dict[str, Any]:
    """Parse a JSON object; ValueError for anything else, repeated keys, NaN, endless numbers and
    deep nesting."""
    try:
        value = json.loads(
            text, parse_int=_whole, parse_constant=_no_constant, object_pairs_hook=_unique
        )
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def _whole(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number has {len(digits)} digits")
    return int(digits)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} isn't JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"{short(key)} is given twice")
        result[key] = value
    return result


def text_of(body: Mapping[str, Any], key: str) -> str:
    """The text under `key`; ValueError for anything else."""
    value = body.get(key)
    if not isinstance(value, str):
        raise ValueError(f"{key} must be a text")
    return value


def whole_of(body: Mapping[str, Any], key: str) -> int:
    """The whole number under `key`, 0 without one; ValueError for anything else."""
    value = body.get(key, 0)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{key} must be a whole number")
    return value


def number_of(body: Mapping[str, Any], key: str) -> float | None:
    """The finite number under `key`, None without one; ValueError for anything else."""
    value = body.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{key} must be a number")
    return float(value)


def texts_of(body: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """The texts listed under `key`, none without it; ValueError for anything else."""
    value = body.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{key} must be a list of texts")
    return tuple(value)


def object_of(body: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The object under `key`, empty without one; ValueError for anything else."""
    value = body.get(key, {})
    if not isinstance(value, dict):
        raise ValueError(f"{key} must be an object")
    return value
