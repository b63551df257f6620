"""What becomes of messages, for the tests of firmwares."""

from __future__ import annotations

import json
from typing import Any

from edgespike.config import Config, ContextSettings, SensorSource
from edgespike.profiles import ProfileLibrary
from edgespike.sensing import Sensing

LIBRARY = ProfileLibrary()
NOW = 1_700_000_000.0


def sensing(profile: str, **source: Any) -> Sensing:
    sources = (SensorSource(LIBRARY.sensor(profile), **source),)
    return Sensing(Config(sensors=sources, context=ContextSettings(max_channels=400)))


def encoded(payload: Any) -> bytes:
    if isinstance(payload, bytes):
        return payload
    return (payload if isinstance(payload, str) else json.dumps(payload)).encode()


def heard(profile: str, *messages: tuple[str, Any], **source: Any) -> dict[str, str]:
    """The channels after some messages: name -> value and unit."""
    ear = sensing(profile, **source)
    for topic, payload in messages:
        ear.ingest(topic, encoded(payload), NOW)
    assert ear.counts().get("malformed", 0) == 0
    return {view.name: f"{view.text} {view.unit}".strip() for view in ear.picture(NOW).channels}
