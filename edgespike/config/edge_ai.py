"""Whether answers are published as the Edge AI standard for MQTT wants them, too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from edgespike.settings.declared import Setting
from edgespike.topics import topic_problem


def _device_problem(topic: str) -> str | None:
    if problem := topic_problem(topic):
        return problem
    if topic.startswith("$"):
        return "topics that begin with $ are the broker's"
    return None if all(topic.split("/")) else "has no empty level"


@dataclass(frozen=True, slots=True)
class EdgeAiSettings:
    """Answers as inferences, by "Edge AI System Compatibility with MQTT" 1.0.0-alpha.1."""

    device: Annotated[
        str | None,
        Setting(
            "Topic of this device, in your own structure: answers to prompts are published under"
            " it, to <model>/<version>/inference. Not published when not given.",
            check=_device_problem,
            example="site/area/line/cell/gateway-1",
        ),
    ] = None
