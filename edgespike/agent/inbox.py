"""Prompts that wait for the one inference thread: bounded, by priority, with deadlines."""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from edgespike.agent.deliveries import Delivery
from edgespike.agent.journal import Key
from edgespike.messages import Answer, ErrorReply, PromptRequest

STEP_S = 10.0
"""Seconds by which a prompt overtakes those of the next lower priority."""


@dataclass(slots=True, eq=False)
class Job:
    """A prompt on its way to an answer. Times are `time.monotonic()` seconds.

    `start_by` is when waiting becomes pointless, `deadline` when the answer must end. `correlation`
    is echoed in every reply; `fingerprint` is a digest of the message. A job that must be
    `alone` is answered beside no other: the process died while it was being answered, and nobody
    else may be blamed for that again. Of one `dialogue` one job is answered at a time. Replies are
    numbered by whichever thread has the job. `own` makes the last message of a prompt of this
    node's own. `written` is set when the journal has it that the answer is being made; a job that
    comes `again` is not begun before, so that each death of the process counts. `topic` is where
    the prompt came, "" for this node's own.
    """

    request: PromptRequest
    key: Key
    fingerprint: bytes
    correlation: bytes | None
    arrived: float
    start_by: float
    deadline: float
    deliveries: list[Delivery] = field(default_factory=list)
    own: Callable[[Answer | ErrorReply], bytes] | None = None
    alone: bool = False
    again: bool = False
    written: threading.Event = field(default_factory=threading.Event)
    dialogue: str | None = None
    topic: str = ""
    cancelled: bool = False
    _seq: int = 0

    def given_up(self, now: float) -> Literal["cancelled", "deadline"] | None:
        """Why nobody needs more of its answer at `now`, if so."""
        if self.cancelled:
            return "cancelled"
        return "deadline" if now >= self.deadline else None

    def next_seq(self) -> int:
        """The number of the next reply, from 0."""
        self._seq += 1
        return self._seq - 1


def _rank(job: Job) -> float:
    return job.arrived - STEP_S * job.request.priority


class Inbox:
    """Waiting jobs: by priority, then in order of arrival. Thread-safe.

    A step of priority is worth `STEP_S` of waiting, so that nobody waits for ever.

    `clock` is monotonic, in seconds. Jobs that it is too late to start are never handed out; they
    wait for `expire`, which tells the service whom to disappoint.
    """

    def __init__(self, bound: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.bound = bound
        self._clock = clock
        self._waiting: list[Job] = []
        self._changed = threading.Condition()
        self._paused = False
        self._closed = False

    def __len__(self) -> int:
        with self._changed:
            return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether a further job would be refused."""
        return len(self) >= self.bound

    @property
    def waiting(self) -> bool:
        """Whether there is a job to take."""
        with self._changed:
            return not self._paused and self._next(self._clock(), ()) is not None

    @property
    def paused(self) -> bool:
        """Whether jobs are kept waiting."""
        return self._paused

    def put(self, job: Job) -> None:
        """Add a job. Whoever adds asks `full` first, from the one thread that adds."""
        with self._changed:
            self._waiting.insert(self._place(job), job)
            self._changed.notify()

    def ahead(self, job: Job) -> int:
        """How many waiting jobs would be served before `job`."""
        with self._changed:
            return self._place(job)

    def take(self, timeout: float, running: Sequence[Job] = ()) -> Job | None:
        """The next job that can be answered beside those that are `running`; None when there was
        none for `timeout` seconds, or the inbox is closed.
        """
        end = self._clock() + timeout
        with self._changed:
            while True:
                now = self._clock()
                if not (self._paused or self._closed):
                    job = self._next(now, running)
                    if job is not None:
                        self._waiting.remove(job)
                        return job
                if now >= end or self._closed:
                    return None
                self._changed.wait(end - now)

    def pause(self, paused: bool) -> None:
        """Keep jobs waiting, or go on."""
        with self._changed:
            self._paused = paused
            self._changed.notify_all()

    def close(self) -> None:
        """Hand out nothing more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def cancel(self, id: str) -> list[Job]:
        """Take out the jobs with this id."""
        return self._take_out(lambda job: job.request.id == id)

    def expire(self) -> list[Job]:
        """Take out the jobs that it is too late to start."""
        now = self._clock()
        return self._take_out(lambda job: job.start_by <= now)

    def clear(self) -> list[Job]:
        """Take out everything."""
        return self._take_out(lambda job: True)

    def _next(self, now: float, running: Sequence[Job]) -> Job | None:
        if any(job.alone for job in running):
            return None
        busy = {job.dialogue for job in running}
        for job in self._waiting:
            if job.start_by <= now:
                continue
            if job.alone and running:
                return None  # it waits for the others, but no more of them overtake it
            if job.dialogue is None or job.dialogue not in busy:
                return job
        return None

    def _place(self, job: Job) -> int:
        return bisect_right(self._waiting, _rank(job), key=_rank)

    def _take_out(self, chosen: Callable[[Job], bool]) -> list[Job]:
        with self._changed:
            out = [job for job in self._waiting if chosen(job)]
            self._waiting = [job for job in self._waiting if job not in out]
            return out
