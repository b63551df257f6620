"""Answers as inferences, in the envelope of "Edge AI System Compatibility with MQTT".

Source: that standard, version 1.0.0-alpha.1 (HiveMQ, Modzy and others, 2023): "Topic Structure for
Flat MQTT" and "Model Payload - Flat MQTT", in JSON. It spells the last field "explaination" in its
example and "explanation" in its text; the text is followed. It is silent on QoS and retention: an
inference is an event, sent at QoS 1 and not retained.
"""

from __future__ import annotations

import hashlib
import json
import re

import structlog

from edgespike.agent.inbox import Job
from edgespike.agent.mqtt import Connection
from edgespike.config import Config
from edgespike.messages import Answer, new_id

_RESULT = "text"
"""The standard's result format of text generation."""

_NO_LEVEL = re.compile(r"[/+#\x00-\x1f\x7f-\x9f]")


class Inferences:
    """Publishes each answer of the model to a prompt once more, if that is wanted. Used from the
    service's thread.
    """

    def __init__(self, settings: Config, connection: Connection) -> None:
        self._device = settings.edge_ai.device
        self._connection = connection
        self._unconfirmed: dict[int, str] = {}
        self._log = structlog.get_logger()

    def tell(self, job: Job, answer: Answer) -> None:
        """A prompt was answered. What was cancelled before the model had it is no inference."""
        if self._device is not None and answer.model is not None:
            name, _, version = answer.model.rpartition("@")
            topic = f"{self._device}/{_level(name)}/{_level(version)}/inference"
            message = self._connection.publish(topic, envelope(job, answer), qos=1)
            if message is not None:
                self._unconfirmed[message] = topic

    def confirmed(self, message: int, refused: str | None) -> None:
        """The broker answered for a QoS 1 message; `refused` says why it didn't take it."""
        topic = self._unconfirmed.pop(message, None)
        if topic is not None and refused:
            self._log.error("inference_refused", topic=topic, reason=refused)


def envelope(job: Job, answer: Answer) -> bytes:
    """`answer` to the prompt of `job`, in JSON. Size and digest are those of the question in UTF-8:
    whoever has the prompt can check them.
    """
    name, _, version = (answer.model or "").rpartition("@")
    question = job.request.prompt.encode()
    body = {
        "identifier": f"inference-{new_id()}",  # ids of prompts may come again
        "model": {"identifier": answer.model, "version": version, "name": name},
        "tags": {
            "sourceTopic": job.topic,
            "sourceMessageID": answer.id,
            "inputSizeInBytes": len(question),
            "inputSha256Digest": hashlib.sha256(question).hexdigest(),
            "finishReason": answer.finish_reason,
        },
        "resultType": _RESULT,
        "result": {_RESULT: answer.text},
        "explanation": {
            "sensors": answer.context.sensors,
            "leftOut": len(answer.context.left_out),
            "grounding": answer.grounding,
        },
    }
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _level(text: str) -> str:
    """`text` as one level of a topic: a model file may be called anything."""
    return _NO_LEVEL.sub("_", text) or "_"
