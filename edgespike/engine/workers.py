"""The threads that share a step: the caller, and helpers that sleep in between."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edgespike.errors import UsageError

Work = Callable[[int, int, NDArray[np.int64]], None]  # thread, threads, barrier counter

MAX_THREADS = 64


class Workers:
    """Runs one function in several threads at once, for functions that meet at a barrier.

    The helpers wait on a semaphore between calls, so that an idle model costs no CPU time.
    """

    def __init__(self, threads: int) -> None:
        if not 1 <= threads <= MAX_THREADS:
            raise UsageError(f"threads is {threads}; it must be from 1 to {MAX_THREADS}")
        self.threads = threads
        self._counter = np.zeros(1, np.int64)
        self._lanes = [_Lane() for _ in range(threads - 1)]
        for number, lane in enumerate(self._lanes, start=1):
            helper = threading.Thread(
                target=_serve,
                args=(lane, number, threads, self._counter),
                name=f"edgespike-kernel-{number}",
                daemon=True,
            )
            helper.start()
        self._stop = weakref.finalize(self, _stop, self._lanes)

    def run(self, work: Work) -> None:
        """Call work(thread, threads, counter) in every thread; returns when all have returned."""
        for lane in self._lanes:
            lane.work = work
            lane.start.release()
        work(0, self.threads, self._counter)
        for lane in self._lanes:
            lane.done.acquire()
            if lane.failure is not None:
                raise lane.failure

    def close(self) -> None:
        """End the helpers."""
        self._stop()


class _Lane:
    """What a helper thread and its owner share."""

    def __init__(self) -> None:
        self.start = threading.Semaphore(0)
        self.done = threading.Semaphore(0)
        self.work: Work | None = None
        self.failure: BaseException | None = None


def _serve(lane: _Lane, number: int, threads: int, counter: NDArray[np.int64]) -> None:
    while True:
        lane.start.acquire()
        work = lane.work
        if work is None:
            return
        try:
            work(number, threads, counter)
        except BaseException as error:  # handed to the caller, who raises it
            lane.failure = error
        finally:
            lane.work = None
            del work
            lane.done.release()


def _stop(lanes: list[_Lane]) -> None:
    for lane in lanes:
        lane.work = None
        lane.start.release()
