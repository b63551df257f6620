"""Dialogues: prompts with a `session`, which remember what was said before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from edgespike.settings.declared import Seconds, Setting

_HOUR = Seconds(3600.0)


@dataclass(frozen=True, slots=True)
class DialogueSettings:
    """How many dialogues are kept, and for how long."""

    kept: Annotated[
        int, Setting("Dialogues kept; the one used longest ago goes first.", low=1, high=1024)
    ] = 32
    resident: Annotated[
        int,
        Setting(
            "Of these, how many stay in the model's memory; the others are read again.",
            low=1,
            high=16,
        ),
    ] = 1
    expire: Annotated[
        Seconds, Setting("Time after which an unused one is forgotten.", low=10, high=2592000)
    ] = _HOUR
