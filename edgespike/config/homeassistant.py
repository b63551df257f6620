"""What Home Assistant is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from edgespike.config.channels import label_problem
from edgespike.settings.declared import Setting
from edgespike.topics import topic_problem


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
            check=label_problem,
            example="House brain",
        ),
    ] = None
