"""What Home Assistant is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from edgespike.settings.declared import Setting
from edgespike.topics import topic_problem


def _name_problem(text: str) -> str | None:
    fine = 0 < len(text) <= 64 and text.isprintable()
    return None if fine else "has 1 to 64 printable characters"


@dataclass(frozen=True, slots=True)
class HomeAssistantSettings:
    """Entities in Home Assistant, by its MQTT discovery."""

    enabled: Annotated[bool, Setting("Announce this node; false takes it back.")] = False
    prefix: Annotated[str, Setting("Home Assistant's discovery prefix.", check=topic_problem)] = (
        "homeassistant"
    )
    name: Annotated[
        str | None,
        Setting(
            "Name of the device there; edgespike <node> when not given.",
            check=_name_problem,
            example="House brain",
        ),
    ] = None
