"""The daemon as a process, at a real Mosquitto: what its users see over MQTT."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable

import pytest
from conftest import NODE, DaemonProcess, Message, Mosquitto, Peer

LONG = {"prompt": "what is the temperature?", "max_tokens": 60000, "stream": True}
"""A prompt whose answer takes seconds, and tells when it has begun."""

MANY_TOKENS = "pump pressure high low " * 8000
"""A question whose reading takes seconds."""


def chunk(id: str) -> Callable[[Message], bool]:
    return lambda m: "/response/" in m.topic and m.body["type"] == "chunk" and m.body["id"] == id


def test_status_goes_from_init_to_online_to_stopped(daemon: DaemonProcess, peer: Peer) -> None:
    daemon.start()
    peer.status("init")
    peer.status("online")
    daemon.signal(15)
    peer.status("stopped")
    assert daemon.wait() == 0


def test_status_is_retained(shared_daemon: DaemonProcess, shared_broker: Mosquitto) -> None:
    late = Peer(shared_broker.port, f"edgespike/{NODE}/status")
    assert late.status("online").retain
    late.close()


def test_the_will_says_offline_when_the_daemon_is_killed(online: DaemonProcess, peer: Peer) -> None:
    online.kill()
    peer.status("offline")


def test_a_text_is_answered_on_our_response_topic(
    shared_daemon: DaemonProcess, asker: Peer
) -> None:
    asker.prompt("what is the temperature?")
    reply = asker.final()
    assert reply.topic == f"edgespike/{NODE}/response/{reply.body['id']}"
    assert reply.body["type"] == "answer"
    assert reply.body["finish_reason"] in ("stop", "length")
    assert reply.qos == 1


def test_mosquitto_pub_and_sub_are_all_it_takes(
    shared_daemon: DaemonProcess, shared_broker: Mosquitto, asker: Peer
) -> None:
    port, base = str(shared_broker.port), f"edgespike/{NODE}"
    message = '{"prompt": "is the pump on?", "id": "by-hand"}'
    subprocess.run(["mosquitto_pub", "-p", port, "-t", f"{base}/prompt", "-m", message], check=True)
    asker.until(lambda m: m.topic == f"{base}/last" and not m.retain)
    said = subprocess.run(
        [
            "mosquitto_sub",
            "-p",
            port,
            "-C",
            "2",
            "-W",
            "30",
            "-t",
            f"{base}/status",
            "-t",
            f"{base}/last",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "online" in said.splitlines()
    assert '"type":"answer","id":"by-hand"' in said


def test_json_fields_are_honoured(shared_daemon: DaemonProcess, asker: Peer) -> None:
    asker.prompt({"prompt": "what is high?", "id": "j1", "max_tokens": 3})
    body = asker.final("j1").body
    assert body["usage"]["completion_tokens"] <= 3
    assert body["seq"] == 0
    assert body["timing"]["total_ms"] >= body["timing"]["first_token_ms"] > 0


def test_the_response_topic_is_used_and_correlation_data_echoed(
    shared_daemon: DaemonProcess, asker: Peer
) -> None:
    asker.prompt("hello", ResponseTopic="edgespike/replies/me", CorrelationData=b"\x00\xffq")
    reply = asker.until(lambda m: m.topic == "edgespike/replies/me")
    assert reply.correlation == b"\x00\xffq"
    assert reply.body["id"] == "00ff71"


@pytest.mark.parametrize(
    "topic", ["elsewhere/me", f"edgespike/{NODE}/prompt", "edgespike/x/status"]
)
def test_a_response_topic_that_is_not_allowed_gets_nothing(
    shared_daemon: DaemonProcess, asker: Peer, topic: str
) -> None:
    asker.prompt({"prompt": "hello", "id": "r1"}, ResponseTopic=topic)
    assert asker.final("r1").topic == f"edgespike/{NODE}/response/r1"


def test_a_streamed_answer_is_accepted_then_chunks_in_order_then_whole(
    shared_daemon: DaemonProcess, asker: Peer
) -> None:
    asker.prompt({"prompt": "what is high?", "id": "s1", "stream": True, "max_tokens": 20})
    asker.final("s1")
    replies = [m for m in asker.heard if m.topic.endswith("/response/s1")]
    bodies = [m.body for m in replies]
    assert [b["seq"] for b in bodies] == list(range(len(bodies)))
    assert bodies[0]["type"] == "accepted"
    assert bodies[0]["position"] == 0
    chunks = [m for m in replies if m.body["type"] == "chunk"]
    assert chunks
    assert all(m.qos == 0 for m in chunks)
    assert "".join(m.body["text"] for m in chunks) == bodies[-1]["text"]


def test_the_last_answer_is_retained(
    shared_daemon: DaemonProcess, asker: Peer, shared_broker: Mosquitto
) -> None:
    asker.prompt({"prompt": "hello", "id": "l1"})
    asker.until(lambda m: m.topic == f"edgespike/{NODE}/last" and not m.retain)
    late = Peer(shared_broker.port, f"edgespike/{NODE}/last")
    last = late.until(lambda m: True)
    assert last.retain
    assert last.body["id"] == "l1"
    late.close()


def test_sensor_messages_reach_the_prompt(shared_daemon: DaemonProcess, asker: Peer) -> None:
    asker.publish("zigbee2mqtt/kitchen", '{"temperature": 21.5}', retain=True)
    asker.publish("tele/pump/SENSOR", '{"ENERGY": {"Power": 40}}', retain=True)
    asker.publish("sensors/cellar/humidity", "61", retain=True)
    wanted = {"kitchen temperature", "pump power", "cellar humidity"}
    # Sensors come over a connection of their own: ask until they have all arrived.
    for _ in range(50):
        asker.prompt("how are things?")
        used = set(asker.final().body["context"]["sensors"])
        if wanted <= used:
            break
    assert wanted <= used


def test_more_prompts_than_the_inbox_holds_are_told_busy(
    daemon: DaemonProcess, peer: Peer, broker: Mosquitto, chatter: object
) -> None:
    settings = json.loads(daemon.settings.read_text())
    settings["prompts"] |= {"inbox": 2, "parallel": 1}
    daemon.settings.write_text(json.dumps(settings))
    daemon.start()
    peer.status("online")
    peer.prompt({**LONG, "id": "b0"})
    peer.until(chunk("b0"))
    for number in range(1, 5):
        peer.prompt({"prompt": "hello", "id": f"b{number}", "max_tokens": 2})
    refused = [peer.final("b3").body, peer.final("b4").body]
    assert {(b["type"], b["code"]) for b in refused} == {("error", "busy")}
    # No answer has told how long one takes: a second each.
    assert [b["retry_ms"] for b in refused] == [2000, 2000]
    assert all(b["message"].endswith("; ask again in 2.0 s") for b in refused)
    peer.publish(f"edgespike/{NODE}/control", "pause")
    peer.prompt({"prompt": "hello", "id": "b5"})
    paused = peer.final("b5").body
    assert (paused.get("retry_ms"), paused["message"][-11:]) == (None, "again later")
    peer.publish(f"edgespike/{NODE}/control", "resume")
    peer.publish(f"edgespike/{NODE}/cancel", "b0")
    assert {peer.final().body["id"] for _ in range(3)} == {"b0", "b1", "b2"}


def test_priority_goes_first(shared_daemon: DaemonProcess, asker: Peer) -> None:
    asker.prompt({**LONG, "id": "p0"})
    asker.until(chunk("p0"))
    asker.prompt({"prompt": "hello", "id": "low", "max_tokens": 2, "priority": 1})
    asker.prompt({"prompt": "hello", "id": "high", "max_tokens": 2, "priority": 8, "stream": True})
    accepted = asker.until(lambda m: m.topic.endswith("/high") and m.body["type"] == "accepted")
    assert accepted.body["position"] == 1  # only the running one
    asker.publish(f"edgespike/{NODE}/cancel", "p0")
    assert [asker.final().body["id"] for _ in range(3)] == ["p0", "high", "low"]


def test_a_deadline_ends_the_answer_with_what_it_has(
    shared_daemon: DaemonProcess, asker: Peer
) -> None:
    asker.prompt({**LONG, "id": "d1", "deadline_ms": 700})
    body = asker.final("d1").body
    assert body["finish_reason"] == "deadline"
    assert 0 < body["usage"]["completion_tokens"] < 60000


def test_a_prompt_whose_deadline_passes_in_the_inbox_has_expired(
    shared_daemon: DaemonProcess, asker: Peer
) -> None:
    asker.prompt({**LONG, "id": "e0"})
    asker.until(chunk("e0"))
    asker.prompt({"prompt": "hello", "id": "e1", "deadline_ms": 300})
    body = asker.final("e1").body
    assert (body["type"], body["code"]) == ("error", "expired")


def test_the_message_expiry_interval_is_a_deadline_for_waiting(
    shared_daemon: DaemonProcess, asker: Peer
) -> None:
    asker.publish(f"edgespike/{NODE}/control", "pause")
    asker.prompt({"prompt": "hello", "id": "m1"}, MessageExpiryInterval=1)
    assert asker.final("m1").body["code"] == "expired"


def test_a_running_answer_is_cancelled_with_what_it_has(
    shared_daemon: DaemonProcess, asker: Peer
) -> None:
    asker.prompt({**LONG, "id": "c1"})
    asker.until(chunk("c1"))
    asker.publish(f"edgespike/{NODE}/cancel", '{"id": "c1"}')
    body = asker.final("c1").body
    assert body["finish_reason"] == "cancelled"
    assert 0 < body["usage"]["completion_tokens"] < 60000


def test_a_cancel_ends_a_prefill_in_its_middle(shared_daemon: DaemonProcess, asker: Peer) -> None:
    asker.prompt({"prompt": MANY_TOKENS, "id": "c2", "stream": True})
    progress = asker.until(lambda m: m.topic.endswith("/c2") and m.body["type"] == "progress")
    assert 0 < progress.body["done"] < progress.body["total"]
    asker.publish(f"edgespike/{NODE}/cancel", "c2")
    body = asker.final("c2").body
    assert body["finish_reason"] == "cancelled"
    assert body["usage"]["completion_tokens"] == 0
    assert body["timing"]["first_token_ms"] is None


def test_reading_a_question_is_not_waiting(shared_daemon: DaemonProcess, asker: Peer) -> None:
    asker.prompt({"prompt": MANY_TOKENS, "id": "r1", "max_tokens": 1})
    timing = asker.final("r1").body["timing"]
    assert timing["queue_ms"] < timing["first_token_ms"] / 10


def test_a_waiting_prompt_is_cancelled(shared_daemon: DaemonProcess, asker: Peer) -> None:
    asker.prompt({**LONG, "id": "c3"})
    asker.until(chunk("c3"))
    asker.prompt({"prompt": "hello", "id": "c4"})
    asker.publish(f"edgespike/{NODE}/cancel", "c4")
    assert asker.final("c4").body["finish_reason"] == "cancelled"
    assert not asker.finals("c3")


def test_pause_keeps_prompts_and_resume_answers_them(
    shared_daemon: DaemonProcess, asker: Peer
) -> None:
    asker.publish(f"edgespike/{NODE}/control", "pause")
    asker.prompt({"prompt": "hello", "id": "w1", "stream": True, "max_tokens": 2})
    asker.until(lambda m: m.topic.endswith("/w1") and m.body["type"] == "accepted")
    asker.prompt({"prompt": "hello", "id": "w2", "deadline_ms": 200})
    assert asker.final("w2").body["code"] == "expired"  # time passed, and nobody answered
    assert not asker.finals("w1")
    asker.publish(f"edgespike/{NODE}/control", "resume")
    assert asker.final("w1").body["type"] == "answer"


def test_reload_changes_limits_and_names_what_needs_a_restart(
    online: DaemonProcess, peer: Peer
) -> None:
    settings = json.loads(online.settings.read_text())
    settings["prompts"]["max_prompt_bytes"] = 64
    settings["model"]["threads"] = 1
    online.settings.write_text(json.dumps(settings))
    peer.publish(f"edgespike/{NODE}/control", "reload")
    peer.prompt({"prompt": "hello " * 40, "id": "x1"})
    assert peer.final("x1").body["code"] == "too_large"
    assert online.events("reloaded")[0]["needs_restart"] == ["model"]


def test_a_model_that_talks_at_random_says_no_number_unless_it_may(
    online: DaemonProcess, peer: Peer
) -> None:
    """By default what is ungrounded is kept out of answers; with `report` it is listed."""

    def ungrounded() -> list[object]:
        found = []
        for number in range(12):
            id = f"{mode}-{number}"
            peer.prompt({"prompt": "how warm is it, 1 or 2?", "id": id, "temperature": 2.0})
            grounding = peer.final(id).body["grounding"]
            assert grounding.keys() == {"ungrounded_numbers", "unknown_names"}
            found += [*grounding["ungrounded_numbers"], *grounding["unknown_names"]]
        return found

    mode = "enforce"
    assert ungrounded() == []
    settings = json.loads(online.settings.read_text())
    settings["prompts"]["grounding"] = mode = "report"
    online.settings.write_text(json.dumps(settings))
    peer.publish(f"edgespike/{NODE}/control", "reload")
    assert ungrounded() != []


def test_a_broken_file_at_reload_changes_nothing(online: DaemonProcess, peer: Peer) -> None:
    online.settings.write_text("node: [")
    online.signal(signal.SIGHUP)
    while not online.events("reload_failed"):
        time.sleep(0.02)
    peer.prompt({"prompt": "hello", "id": "x2", "max_tokens": 2})
    assert peer.final("x2").body["type"] == "answer"
    assert len(online.events("reload_failed")) == 1


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"\xff\xfe what?", "bad_request"),
        (b"", "bad_request"),
        (b'{"prompt": 3}', "bad_request"),
        (b'{"prompt": "x", "max_tokenz": 3}', "bad_request"),
        (b"[" * 20000, "answer"),
        (b'{"prompt":' + b"[" * 100000, "bad_request"),
        (b"x" * 300000, "too_large"),
        (b"x" * 10_000_000, "too_large"),
    ],
)
def test_bad_prompts_get_an_error_and_the_next_one_an_answer(
    shared_daemon: DaemonProcess, asker: Peer, payload: bytes, code: str
) -> None:
    asker.prompt(payload)
    body = asker.final().body
    assert body.get("code", body["type"]) == code
    asker.prompt({"prompt": "hello", "id": "after", "max_tokens": 2})
    assert asker.final("after").body["type"] == "answer"


def test_huge_and_broken_sensor_messages_are_survived(
    shared_daemon: DaemonProcess, asker: Peer
) -> None:
    for payload in (b"x" * 10_000_000, b"\xff" * 1000, b"{" * 100_000, b'{"temperature": NaN}'):
        asker.publish("zigbee2mqtt/kitchen", payload)
    asker.publish("zigbee2mqtt/kitchen", '{"temperature": 21.5}', retain=True)
    for _ in range(50):
        asker.prompt("how warm?")
        used = asker.final().body["context"]["sensors"]
        if "kitchen temperature" in used:
            break
    assert "kitchen temperature" in used


def test_a_retained_prompt_is_answered_once_and_not_at_every_start(
    online: DaemonProcess, peer: Peer
) -> None:
    peer.prompt({"prompt": "hello", "id": "k1", "max_tokens": 2}, retain=True)
    peer.final("k1")
    online.signal(15)
    assert online.wait() == 0
    online.start()
    peer.status("online")
    peer.prompt({"prompt": "hello", "id": "k2", "max_tokens": 2})
    peer.final("k2")
    assert len(peer.finals("k1")) == 1


def test_one_log_event_per_prompt_has_its_timings(
    shared_daemon: DaemonProcess, asker: Peer
) -> None:
    asker.prompt({"prompt": "hello", "id": "log1", "max_tokens": 4})
    asker.final("log1")
    asker.prompt({"prompt": "bad\x1b[31m", "id": "log2"})
    asker.final("log2")
    events = {event["id"]: event for event in shared_daemon.events("prompt")}
    first, second = events["log1"], events["log2"]
    keys = {"queue_ms", "first_token_ms", "total_ms", "tokens_per_s", "prompt_tokens"}
    assert keys | {"completion_tokens", "finish_reason"} <= first.keys()
    assert second["error"] == "bad_request"
    assert "\x1b" not in shared_daemon.log.read_text()
