"""Whatever anyone publishes, the daemon's log stays one printable JSON object a line."""

from __future__ import annotations

import json
import random
import uuid

from conftest import NODE, DaemonProcess, Peer

NASTY = (
    "\x1b[2J\x1b]0;title\x07",
    "line\nbreak\r\n",
    "\u202egnp.exe\u2066",
    "\x00",
    "\x7f\x9b31m",
    "\u2028\u2029\ufeff",
    '"}{"event":"forged"}',
    "{{{",
    "\ud83d",
    "e\u0301" * 400,
)


def text(dice: random.Random) -> str:
    return "".join(dice.choices((*NASTY, "kitchen", "temperature", " "), k=dice.randint(1, 4)))


def data(value: str) -> bytes:
    """As UTF-8, which half a surrogate pair makes invalid."""
    return value.encode("utf-8", "surrogatepass")


def level(dice: random.Random) -> str:
    """A level of a topic, as bad as Mosquitto and the peer's paho take it."""
    taken = [c for c in text(dice) if ord(c) >= 0xA0 and c not in "\ud83d\ufeff"]
    return "".join(taken[:100]) or "plain"


def test_hostile_messages_reach_the_log_harmlessly(
    asker: Peer, shared_daemon: DaemonProcess
) -> None:
    dice = random.Random(5)
    before = len(shared_daemon.log.read_text())
    for number in range(60):
        id = f"hostile-{number}"
        asker.asked.append(id)
        body = {"prompt": text(dice), "id": dice.choice((id, text(dice))), text(dice): 1}
        asker.prompt(json.dumps(body), CorrelationData=data(text(dice)))
        asker.prompt(data(text(dice)), ResponseTopic=f"edgespike/{level(dice)}/prompt", qos=0)
        asker.publish(f"edgespike/{NODE}/cancel", data(text(dice)), qos=0)
        asker.publish(f"edgespike/{NODE}/control", data(text(dice)), qos=0)
        asker.publish(f"zigbee2mqtt/{level(dice)}", data(text(dice)), qos=0)
        asker.publish(f"tele/{level(dice)}/SENSOR", data("{" + text(dice)), qos=0)
        asker.publish(f"tele/{level(dice)}/LWT", data(text(dice)), qos=0)
    last = uuid.uuid4().hex
    asker.prompt({"prompt": "still there?", "id": last, "max_tokens": 1, "priority": 0})
    assert asker.final(last).body["type"] == "answer"
    lines = shared_daemon.log.read_text()[before:].split("\n")[:-1]
    assert len(lines) > 100
    for line in lines:
        assert line.isprintable(), ascii(line)
        assert json.loads(line)["event"] != "forged"
