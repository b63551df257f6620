"""Home Assistant: this node as one device, by MQTT discovery.

Sources: home-assistant.io/integrations/mqtt (discovery, birth message), and .../sensor.mqtt,
.../event.mqtt and so on for the platforms. What its limits make of an answer is decided in
templates that Home Assistant evaluates: a state has 255 characters at most, and its recorder drops
attributes of more than 16,384 bytes.
"""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import structlog

from edgespike.agent.mqtt import Connection
from edgespike.agent.vitals import temperature_c
from edgespike.config import Config
from edgespike.messages import Answer, ErrorReply
from edgespike.telemetry import LEVELS

EVENT_TYPES = ("answer", "error", "alert")

MAX_STATE = 255
_MAX_TEXT = 3500
"""Characters of an answer among the attributes: at four bytes each they stay below 16,384 bytes."""
_RESEND_WITHIN_S = 2.0
"""After Home Assistant's start all its devices speak at once, unless each waits a little."""

_ATTRIBUTES = (
    f"{{{{ {{'text': value_json.text[:{_MAX_TEXT}], 'id': value_json.id,"
    " 'finish_reason': value_json.finish_reason,"
    " 'first_token_ms': value_json.timing.first_token_ms,"
    " 'total_ms': value_json.timing.total_ms,"
    " 'tokens_per_s': value_json.timing.tokens_per_s,"
    " 'sensors_used': value_json.context.sensors | length,"
    " 'sensors_left_out': value_json.context.left_out | length} | tojson }}"
)


def discovery(settings: Config, *, software: str, temperature: bool) -> dict[str, Any]:
    """The discovery payload of this node; `temperature`: whether it can measure its own."""
    node, topic = settings.node, settings.topic

    def entity(key: str, platform: str, name: str, **fields: Any) -> dict[str, Any]:
        return {
            "platform": platform,
            "unique_id": f"edgespike_{node}_{key}",
            "name": name,
            **fields,
        }

    def measured(key: str, name: str, path: str, **fields: Any) -> dict[str, Any]:
        return entity(
            key,
            "sensor",
            name,
            state_topic=topic("metrics"),
            value_template=f"{{{{ value_json.{path} }}}}",
            state_class="measurement",
            entity_category="diagnostic",
            **fields,
        )

    components = {
        "ask": entity("ask", "notify", "Ask", command_topic=topic("ask"), qos=1),
        "answer": entity(
            "answer",
            "sensor",
            "Answer",
            state_topic=topic("last"),
            value_template=f"{{{{ value_json.text[:{MAX_STATE}] }}}}",
            json_attributes_topic=topic("last"),
            json_attributes_template=_ATTRIBUTES,
            icon="mdi:message-text",
        ),
        "event": entity(
            "event", "event", "Event", state_topic=topic("event"), event_types=list(EVENT_TYPES)
        ),
        "stop": entity(
            "stop", "button", "Stop answer", command_topic=topic("control"), payload_press="cancel"
        ),
        "answering": entity(
            "answering",
            "switch",
            "Answering",
            command_topic=topic("control"),
            payload_on="resume",
            payload_off="pause",
            state_topic=topic("metrics"),
            value_template="{{ 'paused' if value_json.paused else 'answering' }}",
            state_on="answering",
            state_off="paused",
            entity_category="config",
        ),
        "log_level": entity(
            "log_level",
            "select",
            "Log level",
            command_topic=topic("control"),
            command_template="log {{ value }}",
            options=list(LEVELS),
            state_topic=topic("metrics"),
            value_template="{{ value_json.log_level }}",
            entity_category="config",
        ),
        "grounding": entity(
            "grounding",
            "select",
            "Grounding",
            command_topic=topic("control"),
            command_template="grounding {{ value }}",
            options=["enforce", "report"],
            state_topic=topic("metrics"),
            value_template="{{ value_json.grounding }}",
            entity_category="config",
        ),
        "first_token": measured(
            "first_token",
            "First token",
            "recent.first_token_p50_ms",  # one prompt that waited long doesn't matter
            unit_of_measurement="ms",
            device_class="duration",
        ),
        "speed": measured("speed", "Speed", "recent.tokens_per_s", unit_of_measurement="tokens/s"),
        "waiting": measured("waiting", "Waiting prompts", "waiting"),
        "memory": measured(
            "memory", "Memory", "rss_mb", unit_of_measurement="MiB", device_class="data_size"
        ),
        "channels": measured("channels", "Sensor channels", "sensors.channels"),
    }
    if temperature:
        components["temperature"] = measured(
            "temperature",
            "Temperature",
            "temperature_c",
            unit_of_measurement="°C",
            device_class="temperature",
        )
    return {
        "device": {
            "identifiers": [f"edgespike_{node}"],
            "name": settings.homeassistant.name or f"edgespike {node}",
            "manufacturer": "edgespike",
            "model": "Spiking language model",
            "sw_version": software,
        },
        "origin": {"name": "edgespike", "sw_version": software},
        "availability_topic": topic("status"),
        # Anything but these two would leave the entities as they were.
        "availability_template": "{{ 'online' if value == 'online' else 'offline' }}",
        "payload_available": "online",
        "payload_not_available": "offline",
        "components": components,
    }


class HomeAssistant:
    """Keeps Home Assistant informed. Used from the service's thread."""

    def __init__(self, settings: Config, connection: Connection) -> None:
        self._settings = settings
        self._connection = connection
        self._enabled = settings.homeassistant.enabled
        safe = re.sub(r"[^a-zA-Z0-9_-]", "_", settings.node)
        self._topic = f"{settings.homeassistant.prefix}/device/edgespike_{safe}/config"
        # Where this node was last announced: what must be taken back one day.
        self._note = settings.state_dir / f"{settings.node}.homeassistant"
        self._resend_at: float | None = None
        self._withdrawn: int | None = None
        self._log = structlog.get_logger()

    def connected(self) -> None:
        """Announce this node, or take back what was announced."""
        before = _read(self._note)
        if before and (not self._enabled or before != self._topic):
            self._withdrawn = self._connection.publish(before, b"", qos=1, retain=True)
        if self._enabled:
            self._announce()

    def confirmed(self, message: int) -> None:
        """The broker has a message of ours."""
        if message == self._withdrawn:
            self._withdrawn = None
            self._log.info("homeassistant_withdrawn")
            self._remember(self._topic if self._enabled else None)

    def heard(self, payload: bytes) -> None:
        """Home Assistant says what it does: after a start it wants to know everything again."""
        if self._enabled and payload == b"online":
            self._resend_at = time.monotonic() + random.uniform(0.0, _RESEND_WITHIN_S)

    def step(self) -> None:
        """Announce again when it is time to."""
        if self._resend_at is not None and time.monotonic() >= self._resend_at:
            self._resend_at = None
            self._announce()

    def tell(self, reply: Answer | ErrorReply) -> None:
        """A final reply went out."""
        if isinstance(reply, ErrorReply):
            self._event("error", {"id": reply.id, "code": reply.code, "message": reply.message})
            return
        facts = {
            "id": reply.id,
            "text": reply.text[:_MAX_TEXT],
            "finish_reason": reply.finish_reason,
            **asdict(reply.timing),
        }
        self._event("answer", facts)

    def tell_alert(self, body: Mapping[str, Any]) -> None:
        """An alert went out."""
        keys = ("id", "rule", "channel", "value", "unit", "condition", "since", "facts", "answered")
        facts = {key: body[key] for key in keys}
        self._event("alert", facts | {"text": body["text"][:_MAX_TEXT]})

    def _event(self, kind: str, facts: Mapping[str, Any]) -> None:
        if self._enabled:
            payload = json.dumps({"event_type": kind, **facts}, ensure_ascii=False).encode()
            self._connection.publish(self._settings.topic("event"), payload)

    def _announce(self) -> None:
        facts = discovery(
            self._settings, software=version("edgespike"), temperature=temperature_c() is not None
        )
        payload = json.dumps(facts, ensure_ascii=False).encode()
        if self._withdrawn is None:
            self._remember(self._topic)
        if self._connection.publish(self._topic, payload, qos=1, retain=True) is not None:
            self._log.info("homeassistant_announced", topic=self._topic)

    def _remember(self, topic: str | None) -> None:
        try:
            if topic is None:
                self._note.unlink(missing_ok=True)
            else:
                self._note.write_text(topic)
        except OSError as error:
            self._log.warning("homeassistant_note", file=str(self._note), reason=error.strerror)


def _read(note: Path) -> str | None:
    try:
        return note.read_text().strip() or None
    except OSError:
        return None
