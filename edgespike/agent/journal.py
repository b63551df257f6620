"""What became of each prompt, on disk: so that it is answered once, whatever dies in between.

A prompt is *begun* when it is taken into the inbox, *recorded* when its final reply exists, and
*delivered* when the broker has confirmed that reply. A prompt that comes again finds its row: if
only begun it is answered now (nothing else survived); if recorded the very same bytes are sent
again; if delivered, whoever asks decides by how the prompt came again.

A row is found by prompt id and reply topic, so that clients that choose the same id don't meet.
A prompt without an id gets a random one. To recognise it after a crash, the only thing to trust is
what MQTT 5 promises about a redelivery (4.4): the same packet identifier, the DUP flag set, the
same content. `find` looks for exactly that. A broker that redelivers without DUP has such a prompt
answered again: at least once, never with the answer to another question.

SQLite in WAL mode with full synchronisation survives `kill -9` and power loss. The file is bounded
by age, rows and bytes. Used from one thread.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgespike.errors import ConfigError, EdgespikeError

_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE prompts (
    id TEXT NOT NULL,
    reply_topic TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    packet INTEGER NOT NULL,
    begun REAL NOT NULL,
    updated REAL NOT NULL,
    starts INTEGER NOT NULL DEFAULT 0,
    answer BLOB,
    delivered INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (id, reply_topic)
) WITHOUT ROWID;
CREATE INDEX by_age ON prompts (updated);
CREATE INDEX by_fingerprint ON prompts (fingerprint);
"""
_PAGE = 4096


class JournalError(EdgespikeError):
    """The journal can't be written or read: a full disk, most often."""


@dataclass(frozen=True, slots=True)
class Key:
    """What finds a prompt again: its id and where its replies go."""

    id: str
    reply_topic: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A prompt's row. Times are seconds since the epoch; `starts` counts beginnings of an answer
    that ended neither in a reply nor in a clean stop.
    """

    begun: float
    updated: float
    starts: int = 0
    answer: bytes | None = None
    delivered: bool = False


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much is kept: seconds after delivery, seconds without delivery, rows, bytes."""

    delivered_s: float = 3600.0
    undelivered_s: float = 2 * 86400.0
    rows: int = 1000
    bytes: int = 64 << 20


class Journal:
    """The prompts of one node. All times are arguments, in seconds since the epoch."""

    def __init__(self, path: Path, bounds: Bounds | None = None) -> None:
        """Open or create the file. A file that is damaged, or from another version, is moved aside;
        `moved_aside` then names it.

        Raises ConfigError when the directory can't be written or another process has the journal.
        """
        self.path = path
        self.bounds = bounds or Bounds()
        self.moved_aside: Path | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"state_dir {path.parent} can't be made: {error.strerror}") from error
        try:
            self._database = self._open()
        except sqlite3.OperationalError as error:
            raise ConfigError(self._cannot_open(error)) from error
        except sqlite3.DatabaseError:
            self._move_aside()
            try:
                self._database = self._open()
            except sqlite3.Error as error:
                raise ConfigError(self._cannot_open(error)) from error

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def look_up(self, key: Key, fingerprint: bytes) -> Entry | None:
        """The row of this prompt, if there is one and its content is the same."""
        with self._failing():
            return self._entry(self._database, key, fingerprint)

    def begin(self, key: Key, fingerprint: bytes, packet: int, now: float) -> Entry:
        """The row of this prompt: the one that exists if its content is the same, else a new one.

        `fingerprint` is a digest of the content; `packet` the MQTT packet identifier, 0 without.
        """
        with self._write() as db:
            entry = self._entry(db, key, fingerprint)
            if entry is not None:
                db.execute(
                    "UPDATE prompts SET packet = ? WHERE id = ? AND reply_topic = ?",
                    (packet, key.id, key.reply_topic),
                )
                return entry
            excess = self._count(db) + 1 - self.bounds.rows
            if excess > 0:
                self._drop(db, excess)
            db.execute(
                "INSERT OR REPLACE INTO prompts"
                " (id, reply_topic, fingerprint, packet, begun, updated) VALUES (?, ?, ?, ?, ?, ?)",
                (key.id, key.reply_topic, fingerprint, packet, now, now),
            )
            return Entry(now, now)

    def forget(self, key: Key) -> None:
        """Remove a row."""
        with self._write() as db:
            db.execute(
                "DELETE FROM prompts WHERE id = ? AND reply_topic = ?", (key.id, key.reply_topic)
            )

    def start(self, key: Key) -> None:
        """An answer to this prompt is being made."""
        with self._write() as db:
            db.execute(
                "UPDATE prompts SET starts = starts + 1 WHERE id = ? AND reply_topic = ?",
                (key.id, key.reply_topic),
            )

    def leave(self, key: Key) -> None:
        """That answer was given up in an orderly way; the prompt stays with the broker."""
        with self._write() as db:
            db.execute(
                "UPDATE prompts SET starts = 0 WHERE id = ? AND reply_topic = ?",
                (key.id, key.reply_topic),
            )

    def record(self, key: Key, answer: bytes, now: float) -> None:
        """The final reply, before it is sent."""
        with self._write() as db:
            db.execute(
                "UPDATE prompts SET answer = ?, updated = ? WHERE id = ? AND reply_topic = ?",
                (answer, now, key.id, key.reply_topic),
            )

    def deliver(self, key: Key, now: float) -> None:
        """The broker has confirmed the final reply."""
        with self._write() as db:
            db.execute(
                "UPDATE prompts SET delivered = 1, updated = ? WHERE id = ? AND reply_topic = ?",
                (now, key.id, key.reply_topic),
            )

    def find(self, fingerprint: bytes, packet: int) -> str | None:
        """The id of the prompt that was delivered to us with this content and packet identifier."""
        with self._failing():
            row = self._database.execute(
                "SELECT id FROM prompts WHERE fingerprint = ? AND packet = ?"
                " ORDER BY begun DESC LIMIT 1",
                (fingerprint, packet),
            ).fetchone()
        return None if row is None else str(row[0])

    def undelivered(self, reply_topic: str) -> list[tuple[Key, bytes]]:
        """What was recorded for this topic and not confirmed, the oldest first."""
        with self._failing():
            rows = self._database.execute(
                "SELECT id, answer FROM prompts WHERE reply_topic = ? AND delivered = 0"
                " AND answer IS NOT NULL ORDER BY begun",
                (reply_topic,),
            ).fetchall()
        return [(Key(row[0], reply_topic), row[1]) for row in rows]

    def prune(self, now: float) -> int:
        """Forget what the bounds no longer cover; returns how many rows. A clock that jumped back
        forgets nothing but what exceeds the number of rows.
        """
        with self._write() as db:
            gone = db.execute(
                "DELETE FROM prompts WHERE updated < CASE delivered WHEN 1 THEN ? ELSE ? END",
                (now - self.bounds.delivered_s, now - self.bounds.undelivered_s),
            ).rowcount
            excess = self._count(db) - self.bounds.rows
            return gone + self._drop(db, excess) if excess > 0 else gone

    def __len__(self) -> int:
        with self._failing():
            return self._count(self._database)

    @staticmethod
    def _entry(db: sqlite3.Connection, key: Key, fingerprint: bytes) -> Entry | None:
        row = db.execute(
            "SELECT begun, updated, starts, answer, delivered FROM prompts"
            " WHERE id = ? AND reply_topic = ? AND fingerprint = ?",
            (key.id, key.reply_topic, fingerprint),
        ).fetchone()
        return row and Entry(row[0], row[1], row[2], row[3], bool(row[4]))

    @staticmethod
    def _count(db: sqlite3.Connection) -> int:
        return int(db.execute("SELECT count(*) FROM prompts").fetchone()[0])

    @staticmethod
    def _drop(db: sqlite3.Connection, count: int) -> int:
        """Forget `count` rows: those delivered longest ago first."""
        return db.execute(
            "DELETE FROM prompts WHERE (id, reply_topic) IN (SELECT id, reply_topic FROM prompts"
            " ORDER BY delivered DESC, updated LIMIT ?)",
            (count,),
        ).rowcount

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with self._failing(), self._database as db:
            db.execute("BEGIN IMMEDIATE")
            yield db

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise JournalError(f"the journal {self.path} failed: {error}") from error

    def _open(self) -> sqlite3.Connection:
        # Exclusive locking keeps a second daemon out, and WAL without a shared memory file.
        db = sqlite3.connect(self.path, timeout=1.0, isolation_level=None)
        try:
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            db.execute(f"PRAGMA page_size = {_PAGE}")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute(f"PRAGMA max_page_count = {self.bounds.bytes // _PAGE}")
            if db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                raise sqlite3.DatabaseError("quick_check failed")
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0 and not db.execute("SELECT 1 FROM sqlite_master").fetchone():
                db.executescript(f"BEGIN;{_SCHEMA}PRAGMA user_version = {_SCHEMA_VERSION};COMMIT;")
            elif version != _SCHEMA_VERSION:
                raise sqlite3.DatabaseError(f"unknown version {version}")
        except sqlite3.Error:
            db.close()
            raise
        return db

    def _move_aside(self) -> None:
        target = self.path.with_name(f"{self.path.name}.damaged-{time.time_ns()}")
        for suffix in ("", "-wal", "-shm"):
            part = self.path.with_name(self.path.name + suffix)
            if part.exists():
                part.rename(target.with_name(target.name + suffix))
        self.moved_aside = target

    def _cannot_open(self, error: sqlite3.Error) -> str:
        if "locked" in str(error):
            return f"{self.path} is in use: another edgespike runs with this state_dir"
        return (
            f"the journal {self.path} can't be opened ({error}):"
            " set state_dir to a directory that can be written"
        )
