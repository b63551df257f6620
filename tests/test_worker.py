"""The inference thread: what it waits for before it begins."""

from __future__ import annotations

import queue
import threading
import time
from typing import Any, cast

import pytest

from edgespike.agent.answering import Answerer
from edgespike.agent.inbox import Inbox, Job
from edgespike.agent.journal import Key
from edgespike.agent.worker import Done, Event, Ready, Started, Worker
from edgespike.messages import ErrorReply, PromptRequest

WAIT = 20.0


class Refusing:
    """Answers nothing; tells when it is asked to."""

    parallel = 1

    def __init__(self) -> None:
        self.begun = threading.Event()

    def idle(self) -> float:
        return WAIT

    def begin(self, job: Job, send: Any) -> ErrorReply:
        self.begun.set()
        return ErrorReply(job.request.id, job.next_seq(), "internal", "no")

    def step(self, answerings: Any) -> None:
        pass


@pytest.mark.parametrize("again", [False, True])
def test_a_prompt_that_comes_again_is_not_begun_before_the_journal_knows(again: bool) -> None:
    """What ends the process at once must count; a prompt's first time need not wait for a disk."""
    answerer, events, inbox = Refusing(), queue.Queue[Event](), Inbox(4)
    worker = Worker(lambda: cast("Answerer", answerer), inbox, events.put, lambda job, reply: None)
    now = time.monotonic()
    job = Job(
        PromptRequest(id="p", prompt="?"), Key("p", "r"), b"", None, now, now + 99, now + 99,
        again=again,
    )  # fmt: skip
    worker.start()
    try:
        assert isinstance(events.get(timeout=WAIT), Ready)
        inbox.put(job)
        assert isinstance(events.get(timeout=WAIT), Started)
        assert answerer.begun.wait(0.3 if again else WAIT) is not again
        job.written.set()
        assert answerer.begun.wait(WAIT)
        assert isinstance(events.get(timeout=WAIT), Done)
    finally:
        worker.stop()
        assert worker.join(WAIT)
