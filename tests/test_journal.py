"""The journal: what it says survives whatever happens to the process and the disk."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from edgespike.agent.journal import Bounds, Entry, Journal, JournalError, Key
from edgespike.errors import ConfigError

KEY = Key("id", "reply")


def test_a_prompt_goes_through_begun_recorded_delivered(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    assert journal.look_up(KEY, b"f") is None
    assert journal.begin(KEY, b"f", 7, 1.0) == Entry(1.0, 1.0)
    journal.start(KEY)
    assert journal.look_up(KEY, b"f") == Entry(1.0, 1.0, starts=1)
    journal.record(KEY, b"answer", 2.0)
    assert journal.look_up(KEY, b"f") == Entry(1.0, 2.0, 1, b"answer")
    journal.deliver(KEY, 3.0)
    assert journal.look_up(KEY, b"f") == Entry(1.0, 3.0, 1, b"answer", delivered=True)
    journal.close()


def test_beginning_again_finds_the_same_prompt_and_no_other(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    journal.begin(KEY, b"f", 7, 1.0)
    journal.record(KEY, b"answer", 2.0)
    assert journal.begin(KEY, b"f", 8, 5.0).answer == b"answer"
    assert journal.begin(Key("id", "elsewhere"), b"f", 9, 5.0) == Entry(5.0, 5.0)
    assert journal.begin(KEY, b"another question", 9, 6.0) == Entry(6.0, 6.0)
    assert journal.look_up(KEY, b"f") is None
    journal.close()


def test_a_prompt_without_an_id_is_found_by_content_and_packet_identifier(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    journal.begin(Key("made", "reply"), b"f", 7, 1.0)
    assert journal.find(b"f", 7) == "made"
    assert journal.find(b"f", 8) is None
    assert journal.find(b"g", 7) is None
    journal.close()


_KILLED = """
import os, signal, sys
from pathlib import Path
from edgespike.agent.journal import Journal, Key
journal = Journal(Path(sys.argv[1]))
for number in range(int(sys.argv[2])):
    key = Key(str(number), "reply")
    journal.begin(key, b"f", number, 1.0)
    journal.record(key, b"answer %d" % number, 2.0)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_recorded_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "j"
    done = subprocess.run([sys.executable, "-c", _KILLED, str(path), "5"])
    assert done.returncode == -signal.SIGKILL
    journal = Journal(path)
    assert journal.moved_aside is None
    answers = [journal.look_up(Key(str(n), "reply"), b"f") for n in range(5)]
    assert [a.answer for a in answers if a] == [b"answer %d" % n for n in range(5)]
    journal.close()


@pytest.mark.parametrize("damage", ["text", "truncated", "header", "middle"])
def test_a_damaged_file_is_moved_aside_and_kept(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "j"
    journal = Journal(path)
    for number in range(200):
        journal.begin(Key(str(number), "reply" * 20), b"f" * 32, number, 1.0)
    journal.close()
    data = bytearray(path.read_bytes())
    if damage == "text":
        data[:] = b"this is no database"
    elif damage == "truncated":
        del data[len(data) // 2 :]
    elif damage == "header":
        data[:100] = b"\xff" * 100
    else:
        data[4096:12288] = b"\xff" * 8192
    path.write_bytes(data)
    journal = Journal(path)
    assert journal.moved_aside is not None
    assert journal.moved_aside.read_bytes() == bytes(data)
    assert journal.begin(KEY, b"f", 1, 1.0) == Entry(1.0, 1.0)
    journal.close()


def test_a_file_of_another_version_is_moved_aside(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA user_version = 99")
    other.close()
    journal = Journal(path)
    assert journal.moved_aside is not None
    journal.close()


def test_a_second_process_is_kept_out(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    with pytest.raises(ConfigError, match="in use"):
        Journal(tmp_path / "j")
    journal.close()
    Journal(tmp_path / "j").close()


def test_a_directory_that_cannot_be_made_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="state_dir"):
        Journal(tmp_path / "file" / "sub" / "j")


def test_a_full_disk_is_an_error_that_leaves_the_journal_usable(tmp_path: Path) -> None:
    """SQLite's own limit of pages fails as a full disk does."""
    journal = Journal(tmp_path / "j", Bounds(bytes=64 << 10))
    journal.begin(KEY, b"f", 1, 1.0)
    with pytest.raises(JournalError, match="full"):
        journal.record(KEY, b"x" * 100_000, 2.0)
    assert journal.look_up(KEY, b"f") == Entry(1.0, 1.0)
    journal.record(KEY, b"small", 3.0)
    assert journal.look_up(KEY, b"f") == Entry(1.0, 3.0, 0, b"small")
    journal.close()


def test_pruning_forgets_delivered_prompts_first(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", Bounds(delivered_s=10.0, undelivered_s=100.0))
    journal.begin(Key("delivered", "r"), b"f", 1, 0.0)
    journal.deliver(Key("delivered", "r"), 0.0)
    journal.begin(Key("begun", "r"), b"f", 2, 0.0)
    assert journal.prune(10.0) == 0
    assert journal.prune(11.0) == 1
    assert journal.look_up(Key("begun", "r"), b"f") is not None
    assert journal.prune(101.0) == 1
    assert len(journal) == 0
    journal.close()


def test_a_clock_that_jumps_back_forgets_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j", Bounds(delivered_s=10.0, undelivered_s=100.0))
    journal.begin(KEY, b"f", 1, 1e9)
    assert journal.prune(0.0) == 0
    journal.close()


class JournalMachine(RuleBasedStateMachine):
    """The journal against a dictionary, closed and opened again at any moment."""

    keys = st.builds(Key, st.sampled_from("abcdef"), st.sampled_from(["r", "s"]))
    prints = st.binary(min_size=1, max_size=2)
    rows = 4

    @initialize()
    def open(self) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.path = Path(self.directory.name) / "j"
        self.bounds = Bounds(rows=self.rows)
        self.journal = Journal(self.path, self.bounds)
        self.model: dict[Key, tuple[bytes, Entry]] = {}
        self.now = 0.0

    def _time(self) -> float:
        self.now += 1.0
        return self.now

    @rule()
    def reopen(self) -> None:
        self.journal.close()
        self.journal = Journal(self.path, self.bounds)
        assert self.journal.moved_aside is None

    @rule(key=keys, fingerprint=prints)
    def begin(self, key: Key, fingerprint: bytes) -> None:
        now = self._time()
        known = self.model.get(key)
        entry = self.journal.begin(key, fingerprint, 1, now)
        if known and known[0] == fingerprint:
            assert entry == known[1]
            return
        assert entry == Entry(now, now)
        if len(self.model) >= self.rows:
            oldest = min(self.model, key=lambda k: self._rank(self.model[k][1]))
            del self.model[oldest]
        self.model[key] = (fingerprint, entry)

    @staticmethod
    def _rank(entry: Entry) -> tuple[bool, float]:
        return not entry.delivered, entry.updated

    @rule(key=keys)
    def start(self, key: Key) -> None:
        self.journal.start(key)
        self._change(key, starts=1)

    @rule(key=keys)
    def leave(self, key: Key) -> None:
        self.journal.leave(key)
        if key in self.model:
            print_, e = self.model[key]
            self.model[key] = print_, Entry(e.begun, e.updated, 0, e.answer, e.delivered)

    @rule(key=keys, answer=st.binary(max_size=50))
    def record(self, key: Key, answer: bytes) -> None:
        now = self._time()
        self.journal.record(key, answer, now)
        self._change(key, answer=answer, updated=now)

    @rule(key=keys)
    def deliver(self, key: Key) -> None:
        now = self._time()
        self.journal.deliver(key, now)
        self._change(key, delivered=True, updated=now)

    @rule(key=keys)
    def forget(self, key: Key) -> None:
        self.journal.forget(key)
        self.model.pop(key, None)

    def _change(
        self,
        key: Key,
        starts: int = 0,
        answer: bytes | None = None,
        delivered: bool = False,
        updated: float | None = None,
    ) -> None:
        if key in self.model:
            print_, e = self.model[key]
            self.model[key] = (
                print_,
                Entry(
                    e.begun,
                    e.updated if updated is None else updated,
                    e.starts + starts,
                    e.answer if answer is None else answer,
                    e.delivered or delivered,
                ),
            )

    @invariant()
    def agrees(self) -> None:
        if hasattr(self, "model"):
            assert len(self.journal) == len(self.model)
            for key, (fingerprint, entry) in self.model.items():
                assert self.journal.look_up(key, fingerprint) == entry

    def teardown(self) -> None:
        if hasattr(self, "journal"):
            self.journal.close()
            self.directory.cleanup()


TestJournalAgainstADictionary = JournalMachine.TestCase
TestJournalAgainstADictionary.settings = settings(
    max_examples=30, stateful_step_count=30, deadline=None
)
