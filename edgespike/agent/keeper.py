"""Keeps the sensor window over restarts, and its ages right when the clock is set."""

from __future__ import annotations

import threading
import time

import structlog

from edgespike.config import Config
from edgespike.errors import DataError
from edgespike.sensing import Sensing
from edgespike.sensing.memory import Clock, load, save

SAVE_EVERY_S = 600.0
"""Trends and extremes of so much time are lost with the power, at worst."""

SAVE_NEW_S = 30.0
"""A channel that came for the first time is lost with the power for so long."""

_JUMP_S = 2.0
"""Less is the clock being steered, not set."""
_LOOK_EVERY_S = 1.0


class Keeper:
    """Used from the service's thread; writes in one of its own."""

    def __init__(self, settings: Config, sensing: Sensing) -> None:
        self._path = settings.state_dir / f"{settings.node}.window"
        self._sensing = sensing
        self._log = structlog.get_logger()
        self._clock = Clock.now()
        self._look_due = time.monotonic() + _LOOK_EVERY_S
        self._save_due = time.monotonic() + SAVE_EVERY_S
        self._saved_events = 0
        self._known_channels = 0
        self._writer: threading.Thread | None = None

    def recall(self) -> None:
        """Take up what an earlier process knew. What can't be read is logged and left."""
        try:
            found = load(self._path)
        except DataError as error:
            self._log.warning("window_not_recalled", reason=str(error))
            return
        if found is None:
            return
        memory, saved = found
        now = Clock.now()
        elapsed = now.since(saved)
        channels = self._sensing.recall(memory, elapsed, saved.wall, now.wall)
        self._known_channels = self._sensing.counts()["channels"]
        self._log.info(
            "window_recalled",
            channels=channels,
            age_s=None if elapsed is None else round(elapsed, 1),
        )

    def step(self) -> None:
        """What time has brought: a clock that was set, a window to save."""
        now = time.monotonic()
        if now >= self._look_due:
            self._look_due = now + _LOOK_EVERY_S
            self._watch_clock()
            channels = self._sensing.counts()["channels"]
            if channels > self._known_channels:
                self._known_channels = channels
                self._save_due = min(self._save_due, now + SAVE_NEW_S)
        if now >= self._save_due:
            self._save_due = now + SAVE_EVERY_S
            self._join()
            self._writer = threading.Thread(target=self._save, name="window")
            self._writer.start()

    def stop(self) -> None:
        """Save a last time."""
        self._join()
        self._save()

    def _join(self) -> None:
        if self._writer is not None:
            self._writer.join()

    def _watch_clock(self) -> None:
        before, self._clock = self._clock, Clock.now()
        went = self._clock.wall - before.wall
        jump = went - (self._clock.uptime - before.uptime)
        if abs(jump) >= _JUMP_S:
            self._sensing.clock_set(jump, self._clock.wall)
            self._log.warning("clock_set", seconds=round(jump, 1))

    def _save(self) -> None:
        events = self._sensing.counts().get("events", 0)
        if events == self._saved_events:
            return
        try:
            save(self._path, self._sensing.remembered(), Clock.now())
        except OSError as error:
            self._log.warning("window_not_saved", reason=str(error))
        else:
            self._saved_events = events
