"""Runs measurements in turn, each in a process of its own, and gathers what they say."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent

Result = dict[str, Any]
Say = Callable[[str], None]


class JobError(Exception):
    """A measurement that gave no result; the message says why, in one line."""


@dataclass(frozen=True, slots=True)
class Job:
    """One measurement: `task` is MODULE:FUNCTION, `arguments` become its keywords.

    `cores` pins it to that many cores (0: anywhere), `rounds` is how often it is repeated.
    """

    name: str
    task: str
    arguments: dict[str, Any] = field(default_factory=dict)
    cores: int = 0
    rounds: int = 1
    python: str = sys.executable
    timeout_s: float = 300.0


@dataclass(slots=True)
class Findings:
    """Results of all rounds by the name of the job, and the jobs that failed with the reason.

    `others` is the number of cores that foreign processes used meanwhile, in the worst round.
    """

    samples: dict[str, list[Result]] = field(default_factory=dict)
    others: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def run(job: Job) -> Result:
    """The result of one measurement. Raises JobError."""
    process = subprocess.Popen(
        [
            *(job.python, "-m", "benchmarks.worker", job.task, json.dumps(job.arguments)),
            *(str(job.cores), repr(time.monotonic())),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        process_group=0,
    )
    try:
        output, errors = process.communicate(timeout=job.timeout_s)
    except subprocess.TimeoutExpired:
        raise JobError(f"took more than {job.timeout_s:.0f} s") from None
    finally:
        if process.poll() is None:  # with all that it started
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.returncode != 0:
        lines = errors.strip().splitlines() or [f"ended with status {process.returncode}"]
        raise JobError(lines[-1])
    result: Result = json.loads(output.strip().splitlines()[-1])
    return result


def run_interleaved(jobs: Sequence[Job], findings: Findings, say: Say) -> None:
    """Round by round, A B C A B C: what drifts while they run drifts for all of them.

    A job that fails is left out of the later rounds.
    """
    for turn in range(max((job.rounds for job in jobs), default=0)):
        for job in jobs:
            if turn >= job.rounds or job.name in findings.failed:
                continue
            say(f"{job.name} ({turn + 1} of {job.rounds})")
            before = _foreign_seconds(), time.monotonic()
            try:
                findings.samples.setdefault(job.name, []).append(run(job))
            except JobError as error:
                findings.failed[job.name] = str(error)
            foreign, now = _foreign_seconds(), time.monotonic()
            cores = (foreign - before[0]) / (now - before[1])
            findings.others[job.name] = max(findings.others.get(job.name, 0.0), round(cores, 2))


def _foreign_seconds() -> float:
    """Processor time of everything but this process and the children that it has waited for."""
    with open("/proc/stat", encoding="ascii") as file:
        user, nice, system = (int(word) for word in file.readline().split()[1:4])
    own = os.times()
    mine = own.user + own.system + own.children_user + own.children_system
    return (user + nice + system) / os.sysconf("SC_CLK_TCK") - mine


def combine(trees: Sequence[Any], of: Callable[[Sequence[float]], float]) -> Any:
    """One tree from trees of one structure: `of` the numbers at each place, else the first one."""
    first = trees[0]
    if isinstance(first, dict):
        return {key: combine([t[key] for t in trees if key in t], of) for key in first}
    if isinstance(first, list):
        return [combine(list(items), of) for items in zip(*trees, strict=True)]
    if isinstance(first, bool) or not isinstance(first, int | float):
        return first
    return of([t for t in trees if t is not None])


def median(trees: Sequence[Any]) -> Any:
    """Medians over the rounds."""
    return combine(trees, statistics.median)


def spread(trees: Sequence[Any]) -> Any:
    """Largest less smallest, as a share of the median: how much the rounds differ."""

    def relative(numbers: Sequence[float]) -> float:
        middle = statistics.median(numbers)
        return (max(numbers) - min(numbers)) / abs(middle) if middle else 0.0

    return combine(trees, relative)
