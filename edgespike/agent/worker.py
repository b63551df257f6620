"""The one inference thread: loads the model, then answers jobs from the inbox, some at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from edgespike.agent.answering import Answerer, Answering, SpikeRates
from edgespike.agent.inbox import Inbox, Job
from edgespike.errors import EdgespikeError, InternalError
from edgespike.messages import Answer, ErrorReply, Reply

_IDLE_S = 1.0
_WRITTEN_S = 5.0


@dataclass(frozen=True, slots=True)
class Ready:
    """The model is loaded and warm. `seconds` it took."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Failed:
    """The model can't be had; the daemon can't go on."""

    error: EdgespikeError


@dataclass(frozen=True, slots=True)
class Started:
    """An answer is being made."""

    job: Job


@dataclass(frozen=True, slots=True)
class Done:
    """The final reply; None when the daemon stops before the answer had begun."""

    job: Job
    reply: Answer | ErrorReply | None


Event = Ready | Failed | Started | Done


class Worker:
    """Runs `load` and then the jobs, in a thread of its own."""

    def __init__(
        self,
        load: Callable[[], Answerer],
        inbox: Inbox,
        post: Callable[[Event], None],
        send: Callable[[Job, Reply], None],
    ) -> None:
        """`post` tells the service what happened; `send` publishes replies that aren't final."""
        self._load = load
        self._inbox = inbox
        self._post = post
        self._send = send
        self._stopping = False
        self._answering: list[Answering] = []
        self._answerer: Answerer | None = None
        self._moved = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the running answers at the next token, and then the thread. Returns at once."""
        self._stopping = True
        self._inbox.close()

    def join(self, timeout: float) -> bool:
        """Wait for the thread to end; whether it has."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    @property
    def busy(self) -> bool:
        """Whether an answer is being made."""
        return bool(self._answering)

    @property
    def spike_rates(self) -> SpikeRates | None:
        """Firing rates of the latest answer, if there was one."""
        return None if self._answerer is None else self._answerer.spike_rates

    @property
    def model(self) -> str | None:
        """Which model answers, once it is loaded."""
        return None if self._answerer is None else self._answerer.model_name

    @property
    def context(self) -> Mapping[str, Any]:
        """What is read ahead, for the metrics."""
        return {} if self._answerer is None else self._answerer.context

    def moved_within(self, seconds: float) -> bool:
        """Whether the thread is alive and has made progress lately (idle waiting is progress)."""
        return self._thread.is_alive() and time.monotonic() - self._moved < seconds

    def _run(self) -> None:
        begun = time.monotonic()
        try:
            answerer = self._answerer = self._load()
        except EdgespikeError as error:
            self._post(Failed(error))
            return
        except Exception as error:
            structlog.get_logger().exception("load_failed")
            self._post(Failed(InternalError(f"the model can't be loaded: {error!r}")))
            return
        self._moved = time.monotonic()
        self._post(Ready(self._moved - begun))
        while not self._stopping or self._answering:
            self._moved = time.monotonic()
            self._admit(answerer)
            self._interrupt(self._moved)
            answerer.step([each for each in self._answering if each.reply is None])
            for each in [each for each in self._answering if each.reply is not None]:
                self._finish(answerer, each)

    def _admit(self, answerer: Answerer) -> None:
        """Take up jobs, as many as there is room for; wait for one when there is nothing to do."""
        while not self._stopping and len(self._answering) < answerer.parallel:
            running = [each.job for each in self._answering]
            job = self._inbox.take(0.0 if running else self._idle(answerer), running)
            if job is None or self._stopping:
                return
            self._post(Started(job))
            if job.again:
                # Others don't wait for the disk: what kills us at once is counted the next time.
                job.written.wait(_WRITTEN_S)
            try:
                begun = answerer.begin(job, self._send)
            except Exception:
                structlog.get_logger(id=job.request.id).exception("answer_failed")
                begun = ErrorReply(
                    job.request.id,
                    job.next_seq(),
                    "internal",
                    "the answer failed; see the node's log",
                )
            if isinstance(begun, Answering):
                self._answering.append(begun)
            else:
                self._post(Done(job, begun))

    def _idle(self, answerer: Answerer) -> float:
        """Read ahead, unless a prompt is there; how long to wait for one now."""
        if self._inbox.waiting:
            return 0.0
        try:
            return min(answerer.idle(), _IDLE_S)
        except Exception:
            structlog.get_logger().exception("reading_ahead_failed")
            return _IDLE_S

    def _interrupt(self, now: float) -> None:
        for each in self._answering:
            if reason := "cancelled" if self._stopping else each.job.given_up(now):
                each.end(reason)

    def _finish(self, answerer: Answerer, answering: Answering) -> None:
        job, reply = answering.job, answering.reply
        self._answering.remove(answering)
        begun = isinstance(reply, ErrorReply) or job.cancelled or answering.tokens > 0
        self._post(Done(job, reply if begun or not self._stopping else None))
        answerer.finish(answering)
