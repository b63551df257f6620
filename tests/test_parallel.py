"""Prompts that are answered at the same time, in the steps that they share."""

from __future__ import annotations

import itertools
import json

from conftest import NODE, DaemonProcess, Message, Peer
from test_daemon import LONG, MANY_TOKENS, chunk

QUESTIONS = [
    {"prompt": "what is high?", "id": "one", "max_tokens": 300},
    {"prompt": "is the pump on?", "id": "two", "max_tokens": 200, "temperature": 1.5},
]


def test_two_answers_stream_side_by_side_and_say_what_each_says_alone(
    online: DaemonProcess, peer: Peer
) -> None:
    alone = []
    for question in QUESTIONS:
        peer.prompt(question)
        alone.append(peer.final(str(question["id"])).body["text"])
    peer.publish(f"edgespike/{NODE}/control", "pause")
    for question in QUESTIONS:
        peer.prompt({**question, "stream": True})
        peer.until(lambda m: "/response/" in m.topic and m.body["type"] == "accepted")
    before = len(peer.heard)
    peer.publish(f"edgespike/{NODE}/control", "resume")
    together = {}
    for _ in QUESTIONS:
        body = peer.final().body
        together[body["id"]] = body["text"]
    assert [together["one"], together["two"]] == alone
    ids = [m.body["id"] for m in peer.heard[before:] if is_chunk(m)]
    changes = sum(a != b for a, b in itertools.pairwise(ids))
    assert changes > 20  # they took turns


def is_chunk(message: Message) -> bool:
    return "/response/" in message.topic and message.body["type"] == "chunk"


def test_an_answer_goes_on_while_a_long_prompt_is_read(online: DaemonProcess, peer: Peer) -> None:
    peer.prompt({**LONG, "id": "talker"})
    peer.until(chunk("talker"))
    peer.prompt({"prompt": MANY_TOKENS, "id": "reader", "stream": True})
    peer.until(lambda m: m.topic.endswith("/reader") and m.body["type"] == "progress")
    peer.until(chunk("talker"))
    peer.until(lambda m: m.topic.endswith("/reader") and m.body["type"] == "progress")
    peer.publish(f"edgespike/{NODE}/cancel", "talker")
    assert peer.final("talker").body["finish_reason"] == "cancelled"
    peer.publish(f"edgespike/{NODE}/cancel", "reader")
    assert peer.final("reader").body["usage"]["completion_tokens"] == 0


def test_each_of_two_answers_has_its_own_deadline(online: DaemonProcess, peer: Peer) -> None:
    peer.prompt({**LONG, "id": "patient"})
    peer.prompt({**LONG, "id": "hasty", "deadline_ms": 700})
    assert peer.final("hasty").body["finish_reason"] == "deadline"
    peer.until(chunk("patient"))
    assert not peer.finals("patient")
    peer.publish(f"edgespike/{NODE}/cancel", "patient")
    assert peer.final("patient").body["finish_reason"] == "cancelled"


def test_two_prompts_killed_while_they_are_answered_are_answered_once_each(
    online: DaemonProcess, peer: Peer
) -> None:
    for id in ("k1", "k2"):
        peer.prompt({**LONG, "id": id})
        peer.until(chunk(id))
    online.kill()
    peer.status("offline")
    online.start()
    # Either of them may have ended the process: now each is answered alone.
    first = peer.until(is_chunk).body["id"]
    other = {"k1": "k2", "k2": "k1"}[first]
    peer.publish(f"edgespike/{NODE}/cancel", first)
    peer.final(first)
    assert not any(is_chunk(m) and m.body["id"] == other for m in after_restart(peer))
    peer.until(chunk(other))
    peer.publish(f"edgespike/{NODE}/cancel", other)
    peer.final(other)
    peer.prompt({"prompt": "hello", "id": "after", "max_tokens": 2})
    peer.final("after")
    assert [len(peer.finals(id)) for id in ("k1", "k2")] == [1, 1]


def after_restart(peer: Peer) -> list[Message]:
    """What was heard since the last will."""
    died = max(i for i, m in enumerate(peer.heard) if m.payload == b"offline")
    return peer.heard[died:]


def test_of_two_hundred_prompts_at_once_each_gets_one_final_reply(
    online: DaemonProcess, peer: Peer
) -> None:
    ids = [f"n{number}" for number in range(200)]
    for id in ids:
        prompt = json.dumps({"prompt": "hello", "id": id, "max_tokens": 20})
        peer.publish(f"edgespike/{NODE}/prompt", prompt, wait=False)
    bodies = [peer.final().body for _ in ids]
    kinds = [body.get("code", body["type"]) for body in bodies]
    assert set(kinds) <= {"answer", "busy"}
    assert kinds.count("answer") >= 16  # what the inbox holds
    peer.prompt({"prompt": "hello", "id": "after", "max_tokens": 2})
    peer.final("after")
    assert [len(peer.finals(id)) for id in ids] == [1] * len(ids)
