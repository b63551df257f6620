"""Who asks, how often, and whose dialogue it is; and dialogues on disk."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgespike.agent.dialogues import MAX_FILE_BYTES, Dialogues, Exchange
from edgespike.agent.events import Incoming
from edgespike.agent.requesters import MAX_REQUESTERS, Allowances, dialogue_name, requester
from edgespike.config import DialogueSettings

PROMPT = Incoming(1, "edgespike/n/prompt", b"?", 1, False, False, None, None, None)


def test_a_requester_is_known_by_its_property_else_by_its_response_topic() -> None:
    senders = [
        PROMPT,
        replace(PROMPT, response_topic="edgespike/replies/a"),
        replace(PROMPT, response_topic="edgespike/replies/b"),
        replace(PROMPT, requester="a"),
        replace(PROMPT, requester="a\udcff" + "x" * 10_000),
    ]
    names = [requester(sender) for sender in senders]
    assert len(set(names)) == len(names)
    assert {len(name) for name in names} == {64}
    assert requester(replace(senders[3], response_topic="elsewhere")) == names[3]


def test_a_dialogue_belongs_to_its_requester() -> None:
    mine, yours = replace(PROMPT, requester="me"), replace(PROMPT, requester="you")
    assert dialogue_name(mine, "s") == dialogue_name(mine, "s")
    names = {dialogue_name(who, session) for who in (mine, yours) for session in ("s", "t")}
    assert len(names) == 4
    assert all(name.isalnum() for name in names)


def test_an_allowance_is_a_burst_and_then_a_rate() -> None:
    now = 0.0
    allowances = Allowances(clock=lambda: now)
    assert [allowances.take("a", 6, 3) for _ in range(4)] == [0.0, 0.0, 0.0, 10.0]
    assert allowances.take("b", 6, 3) == 0.0
    now = 4.0
    assert allowances.take("a", 6, 3) == pytest.approx(6.0)
    now = 10.0
    assert allowances.take("a", 6, 3) == 0.0
    assert allowances.take("a", 6, 3) == pytest.approx(10.0)


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(0, 2)), max_size=60))
def test_no_more_is_allowed_than_the_burst_and_the_rate(asked: list[tuple[float, int]]) -> None:
    now = 0.0
    allowances = Allowances(clock=lambda: now)
    allowed = [0, 0, 0]
    for pause, who in asked:
        now += pause
        allowed[who] += allowances.take(str(who), 6, 3) == 0.0
    assert all(count <= 3 + now / 10 + 1e-6 for count in allowed)


def test_the_allowances_are_bounded() -> None:
    allowances = Allowances()
    for number in range(MAX_REQUESTERS + 50):
        allowances.take(str(number), 6, 3)
    assert len(allowances._buckets) == MAX_REQUESTERS


class Kept:
    """Dialogues in a folder, and a clock that stands unless it is moved."""

    def __init__(self, folder: Path, **given: int) -> None:
        self.now = 1e9
        self.settings = replace(DialogueSettings(), **given)
        self.dialogues = Dialogues(folder, lambda: self.settings, lambda: self.now)

    def say(self, name: str, *said: str) -> None:
        dialogue = self.dialogues.open(name)
        dialogue.exchanges += [Exchange(text, text.upper()) for text in said]
        self.dialogues.keep(dialogue)

    def said(self, name: str) -> list[str]:
        return [exchange.question for exchange in self.dialogues.open(name).exchanges]


def test_what_was_said_is_there_after_a_restart(tmp_path: Path) -> None:
    Kept(tmp_path / "d").say("one", "ä\n\x00", "b")
    kept = Kept(tmp_path / "d")
    kept.now = os.stat(tmp_path / "d" / "one.json").st_mtime
    assert kept.said("one") == ["ä\n\x00", "b"]
    assert kept.said("two") == []
    assert (tmp_path / "d").stat().st_mode & 0o77 == 0


def test_the_one_used_longest_ago_goes_first(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "d", kept=2)
    for number in range(4):
        kept.say(str(number), "x")
        os.utime(tmp_path / "d" / f"{number}.json", (1e9 + number, 1e9 + number))
        kept.now = 1e9 + number
        kept.dialogues.tidy()
    assert sorted(path.name for path in (tmp_path / "d").iterdir()) == ["2.json", "3.json"]


def test_one_that_is_too_old_is_forgotten(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "d")
    kept.say("old", "x")
    kept.now = os.stat(tmp_path / "d" / "old.json").st_mtime + 3601.0
    assert kept.said("old") == []
    kept.dialogues.tidy()
    assert list((tmp_path / "d").iterdir()) == []


def test_a_long_dialogue_keeps_its_end(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "d")
    kept.say("long", *(f"{number} {'x' * 60000}" for number in range(40)))
    assert (tmp_path / "d" / "long.json").stat().st_size <= MAX_FILE_BYTES
    kept.now = os.stat(tmp_path / "d" / "long.json").st_mtime
    assert kept.said("long")[-1].startswith("39 ")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"version": 2, "exchanges": []}',
        b'{"version": 1, "exchanges": [["a"]]}',
        b'{"version": 1, "exchanges": [["a", 1]]}',
        b'{"version": 1, "exchanges": [["a", "\\ud800"]]}',
        json.dumps({"version": 1, "exchanges": [["a", "b"]] * 1000}).encode(),
        b"[" * 100_000,
        b" " * (MAX_FILE_BYTES + 1),
    ],
)
def test_a_damaged_file_is_a_new_dialogue(tmp_path: Path, content: bytes) -> None:
    kept = Kept(tmp_path)
    (tmp_path / "one.json").write_bytes(content)
    assert kept.said("one") == []
    kept.say("one", "again")
    kept.now = os.stat(tmp_path / "one.json").st_mtime
    assert kept.said("one") == ["again"]


def test_a_folder_that_takes_nothing_costs_the_dialogue_only(tmp_path: Path) -> None:
    (tmp_path / "d").write_text("a file")
    kept = Kept(tmp_path / "d")
    kept.say("one", "x")
    assert kept.said("one") == []
