"""Payload decoders: bytes of one message -> readings. One for each shape, named by profiles.

A decoder knows the shape of a payload; what its keys mean is in the profile. Decoders raise
ValueError for a payload that isn't of their shape, and nothing else.
"""

from __future__ import annotations

from edgespike.profiles import Decoder
from edgespike.sensing.decoders.generic import decode_availability, decode_json, decode_plain
from edgespike.sensing.decoders.homie import Homie
from edgespike.sensing.decoders.reading import (
    MAX_READINGS,
    DecoderFunction,
    Found,
    Origin,
    Presence,
    Reading,
    Request,
)
from edgespike.sensing.decoders.senml import decode_senml
from edgespike.sensing.decoders.shelly import decode_shelly
from edgespike.sensing.decoders.sparkplug import Sparkplug
from edgespike.sensing.decoders.tasmota import decode_tasmota

__all__ = [
    "MAX_READINGS",
    "DecoderFunction",
    "Found",
    "Origin",
    "Presence",
    "Reading",
    "Request",
    "decode_availability",
    "new_decoder",
]

_STATELESS: dict[Decoder, DecoderFunction] = {
    "json": decode_json,
    "plain": decode_plain,
    "tasmota": decode_tasmota,
    "shelly": decode_shelly,
    "senml": decode_senml,
}


def new_decoder(name: Decoder, *, whole: bool = True) -> DecoderFunction:
    """The decoder of that name, which may remember what it has seen. `whole`: whether it gets all
    messages of a device, so that it may notice a missing one."""
    match name:
        case "sparkplug":
            return Sparkplug(whole=whole).decode
        case "homie":
            return Homie().decode
    return _STATELESS[name]
