"""Answers as the Edge AI standard for MQTT (1.0.0-alpha.1) wants inferences published."""

from __future__ import annotations

import hashlib
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import NODE, WAIT, DaemonProcess, Mosquitto, Peer
from test_daemon import LONG

from edgespike.agent.edge_ai import Inferences
from edgespike.agent.inbox import Job
from edgespike.agent.journal import Key
from edgespike.config import Config
from edgespike.config.edge_ai import EdgeAiSettings
from edgespike.messages import Answer, PromptRequest

DEVICE = "works/hall 2/press/gateway-1"
QUESTION = "Is the pump's pressure high — or low?"


def test_an_answer_is_published_in_the_envelope_on_the_topic_of_the_standard(
    daemon: DaemonProcess, peer: Peer, broker: Mosquitto
) -> None:
    settings = json.loads(daemon.settings.read_text()) | {"edge_ai": {"device": DEVICE}}
    daemon.settings.write_text(json.dumps(settings))
    daemon.start()
    peer.status("online")
    plant = Peer(broker.port, "works/#")
    peer.prompt({"prompt": QUESTION, "id": "same", "max_tokens": 3})
    answer = peer.final("same").body
    message = plant.until(lambda _: True)
    name, _, version = answer["model"].partition("@")
    assert (name, len(version)) == ("chatter", 12)
    assert message.topic == f"{DEVICE}/{name}/{version}/inference"
    assert (message.qos, message.retain) == (1, False)
    body = message.body
    identifier = body.pop("identifier")
    assert re.fullmatch(r"inference-[0-9a-f-]+", identifier)
    assert body == {
        "model": {"identifier": answer["model"], "version": version, "name": name},
        "tags": {
            "sourceTopic": f"edgespike/{NODE}/prompt",
            "sourceMessageID": "same",
            "inputSizeInBytes": len(QUESTION.encode()),
            "inputSha256Digest": hashlib.sha256(QUESTION.encode()).hexdigest(),
            "finishReason": answer["finish_reason"],
        },
        "resultType": "text",
        "result": {"text": answer["text"]},
        "explanation": {
            "sensors": answer["context"]["sensors"],
            "leftOut": len(answer["context"]["left_out"]),
            "grounding": answer["grounding"],
        },
    }
    # A refusal and what was cancelled while it waited are no inferences; an id may come again.
    peer.prompt({"prompt": "", "id": "refused"})
    assert peer.final("refused").body["type"] == "error"
    peer.publish(f"edgespike/{NODE}/control", "pause")
    peer.prompt({**LONG, "id": "waiting"})
    peer.until(lambda m: m.topic.endswith("/waiting"))
    peer.publish(f"edgespike/{NODE}/cancel", "waiting")
    assert peer.final("waiting").body["finish_reason"] == "cancelled"
    peer.publish(f"edgespike/{NODE}/control", "resume")
    peer.publish(f"edgespike/{NODE}/ask", "What is low?")
    asked = peer.final()
    again = plant.until(lambda _: True)
    assert again.body["tags"]["sourceTopic"] == f"edgespike/{NODE}/ask"
    assert again.body["tags"]["sourceMessageID"] == asked.body["id"]
    assert again.body["identifier"] != identifier
    plant.close()


def test_a_broker_that_takes_no_inference_is_named_in_the_log(
    tmp_path: Path, chatter: Path
) -> None:
    (tmp_path / "rules").write_text("topic readwrite edgespike/#\n")
    broker = Mosquitto(tmp_path, f"acl_file {tmp_path}/rules\n", anonymous=True)
    broker.start()
    peer = Peer(broker.port, "edgespike/#")
    daemon = DaemonProcess(tmp_path, broker.port, chatter, edge_ai={"device": DEVICE}).start()
    peer.status("online")
    for id in ("a", "b"):  # the answer itself doesn't suffer
        peer.prompt({"prompt": "hello", "id": id, "max_tokens": 2})
        assert peer.final(id).body["type"] == "answer"
    end = time.monotonic() + WAIT
    while len(daemon.events("inference_refused")) < 2:
        assert time.monotonic() < end
        time.sleep(0.02)
    refused = daemon.events("inference_refused")[0]
    assert refused["topic"].startswith(f"{DEVICE}/chatter/")
    assert refused["reason"] == "Not authorized"
    peer.close()
    daemon.kill()
    broker.stop()


class Listening:
    """A connection that remembers."""

    def __init__(self) -> None:
        self.topics: list[str] = []

    def publish(self, topic: str, payload: bytes, **_: Any) -> None:
        self.topics.append(topic)


@pytest.mark.parametrize(
    ("model", "topic"),
    [
        ("kitchen v2@0123", "dev/kitchen v2/0123/inference"),
        ("a@b/+#\x00\x85@0123", "dev/a@b_____/0123/inference"),
        ("@", "dev/_/_/inference"),
        (None, None),
    ],
)
def test_a_model_of_any_name_is_one_level_of_the_topic(
    model: str | None, topic: str | None
) -> None:
    connection = Listening()
    inferences = Inferences(Config(edge_ai=EdgeAiSettings("dev")), connection)  # type: ignore[arg-type]
    job = Job(PromptRequest("a", "hi"), Key("a", "r"), b"", None, 0.0, 1.0, 1.0)
    inferences.tell(job, Answer("a", 0, "yes", "stop", model=model))
    assert connection.topics == ([] if topic is None else [topic])
    silent = Inferences(Config(), connection)  # type: ignore[arg-type]
    silent.tell(job, Answer("a", 0, "yes", "stop", model=model))
    assert len(connection.topics) == (topic is not None)
