"""Dialogues: what was said under one `session`, in memory and on disk.

What is kept on disk is what was said, a few kilobytes, and not the model's state, tens of
megabytes at the 0.8B shape: writing that at each turn wears out a memory card, and what it knows of
the sensors is old when it comes back. A dialogue whose state is gone is read again.
"""

from __future__ import annotations

import json
import os
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from edgespike.agent.warm import Told
from edgespike.config import DialogueSettings
from edgespike.messages.checks import encodes

if TYPE_CHECKING:
    from edgespike.engine.session import Session

MAX_EXCHANGES = 64
"""Questions and answers of one dialogue that are kept; no model reads more at a time."""

MAX_FILE_BYTES = 1 << 20
_MAX_TEXT = 65536


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question and its answer."""

    question: str
    answer: str


@dataclass(slots=True, eq=False)
class Dialogue:
    """What was said. `session`, if the model still knows it, was fed all of it but `unfed`, and
    shown `told` of the sensors; `forgotten` exchanges are no longer in it.
    """

    name: str
    exchanges: list[Exchange] = field(default_factory=list)
    used: float = 0.0
    session: Session | None = None
    told: Told | None = None
    unfed: list[int] = field(default_factory=list)
    forgotten: int = 0

    def close(self) -> None:
        """Give up the model's memory of it."""
        if self.session is not None:
            self.session.close()
        self.session, self.told, self.unfed = None, None, []


class Dialogues:
    """All dialogues, the latest used last. Used from one thread."""

    def __init__(
        self,
        directory: Path,
        settings: Callable[[], DialogueSettings],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`directory` is made when it is needed; `clock` is seconds since the epoch."""
        self._directory = directory
        self._settings = settings
        self._clock = clock
        self._resident: OrderedDict[str, Dialogue] = OrderedDict()
        self._log = structlog.get_logger()

    def __len__(self) -> int:
        """How many the model knows."""
        return len(self._resident)

    def open(self, name: str) -> Dialogue:
        """The dialogue of that name: from memory, from disk, or a new one. It is the caller's until
        `keep`. `name` must be good for a file name.
        """
        dialogue = self._resident.pop(name, None) or self._read(name)
        if self._clock() - dialogue.used > self._settings().expire:
            dialogue.close()
            dialogue = Dialogue(name)
        return dialogue

    def keep(self, dialogue: Dialogue) -> None:
        """Remember a dialogue as it is now."""
        dialogue.used = self._clock()
        del dialogue.exchanges[:-MAX_EXCHANGES]
        self._write(dialogue)
        if dialogue.session is not None:
            self._resident[dialogue.name] = dialogue
        while len(self._resident) > self._settings().resident:
            self.make_room()
        self.tidy()

    def make_room(self) -> bool:
        """Give up the session of the one that was used longest ago; whether there was one."""
        if not self._resident:
            return False
        _, oldest = self._resident.popitem(last=False)
        oldest.close()
        return True

    def _path(self, name: str) -> Path:
        return self._directory / f"{name}.json"

    def _write(self, dialogue: Dialogue) -> None:
        """A disk that takes nothing costs the dialogue, not the answer."""
        path = self._path(dialogue.name)
        partial = path.with_suffix(".partial")
        said = [[e.question[:_MAX_TEXT], e.answer[:_MAX_TEXT]] for e in dialogue.exchanges]
        text = json.dumps({"version": 1, "exchanges": said})
        while len(text) > MAX_FILE_BYTES:
            del said[: 1 + len(said) // 2]
            text = json.dumps({"version": 1, "exchanges": said})
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            partial.write_text(text, encoding="utf-8")
            partial.replace(path)
        except OSError as error:
            self._log.error("dialogue_not_kept", reason=error.strerror)

    def _read(self, name: str) -> Dialogue:
        path = self._path(name)
        try:
            with path.open("rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
                used = os.fstat(file.fileno()).st_mtime
            return Dialogue(name, _exchanges(data), used)
        except FileNotFoundError:
            return Dialogue(name, used=self._clock())
        except (OSError, ValueError, RecursionError) as error:
            self._log.error("dialogue_damaged", file=path.name, reason=str(error))
            return Dialogue(name, used=self._clock())

    def tidy(self) -> None:
        """Forget the dialogues that are too old, or too many."""
        for dialogue in list(self._resident.values()):
            if self._clock() - dialogue.used > self._settings().expire:
                del self._resident[dialogue.name]
                dialogue.close()
        try:
            found = sorted(
                ((path.stat().st_mtime, path) for path in self._directory.glob("*.json")),
                reverse=True,
            )
            settings, now = self._settings(), self._clock()
            for place, (used, path) in enumerate(found):
                if place >= settings.kept or now - used > settings.expire:
                    path.unlink(missing_ok=True)
        except OSError as error:
            self._log.error("dialogues_not_tidied", reason=error.strerror)


def _exchanges(data: bytes) -> list[Exchange]:
    """Read a file that anybody may have written; ValueError when it isn't one of ours."""
    if len(data) > MAX_FILE_BYTES:
        raise ValueError("the file is too large")
    body: Any = json.loads(data)
    if not isinstance(body, dict) or body.get("version") != 1:
        raise ValueError("not a dialogue of this version")
    said = body.get("exchanges")
    if not isinstance(said, list) or len(said) > MAX_EXCHANGES:
        raise ValueError("not a list of exchanges")
    exchanges = []
    for pair in said:
        if not isinstance(pair, list) or len(pair) != 2 or not all(_is_text(x) for x in pair):
            raise ValueError("an exchange is two texts")
        exchanges.append(Exchange(*pair))
    return exchanges


def _is_text(value: object) -> bool:
    return isinstance(value, str) and encodes(value)
