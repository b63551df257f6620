"""What is measured: groups of jobs; the jobs of a group take turns."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.processes import Job
from edgespike.convert.synth import SHAPES
from edgespike.model.config import PRECISIONS, ModelConfig


@dataclass(frozen=True, slots=True)
class Peer:
    """A GGUF file that llama.cpp decodes; `facts` as `peer.describe` gives them."""

    name: str
    path: Path
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured. Repetitions of a round are few, because rounds are repeated."""

    shape: str
    peers: tuple[str, ...]
    rounds: int
    decode: int
    prefill: int
    lengths: tuple[int, ...]
    rates: tuple[float, ...]
    sessions: tuple[int, ...]
    sensors: tuple[int, ...]
    warm: tuple[int, ...]
    messages: int
    event_rates: tuple[int, ...]
    event_seconds: float
    idle_s: float
    answers: int

    @property
    def config(self) -> ModelConfig:
        """The shape's."""
        return SHAPES[self.shape]


FULL = Size(
    shape="0.8b",
    peers=("TinyLlama-1.1B", "Falcon3-1B"),
    rounds=5,
    decode=64,
    prefill=512,
    lengths=(16, 32, 64, 128, 256, 512),
    rates=(0.01, 0.03, 0.06, 0.1, 0.2, 0.4),
    sessions=(1, 2, 4, 8, 16),
    sensors=(10, 100, 1000, 10000),
    warm=(10, 40, 100, 1000),
    messages=20000,
    event_rates=(100, 1000, 5000, 10000, 20000, 50000),
    event_seconds=0.5,
    idle_s=4.0,
    answers=16,
)
QUICK = Size(
    shape="tiny",
    peers=("tiny",),
    rounds=2,
    decode=16,
    prefill=32,
    lengths=(4, 16, 32),
    rates=(0.03, 0.1, 0.4),
    sessions=(1, 4),
    sensors=(10, 100),
    warm=(10, 40),
    messages=500,
    event_rates=(100, 1000),
    event_seconds=0.05,
    idle_s=0.5,
    answers=4,
)


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that the jobs depend on. `models` are our files by precision."""

    size: Size
    models: dict[str, Path]
    peers: tuple[Peer, ...]
    peer_python: str = sys.executable
    avx2: bool = True

    @property
    def threads(self) -> list[int]:
        """1, 2, 4, ... up to all cores."""
        cores = len(os.sched_getaffinity(0))
        return sorted({min(2**i, cores) for i in range(cores.bit_length() + 1)})

    @property
    def depths(self) -> list[int]:
        """From nothing to four windows."""
        window = self.size.config.window
        return [0, window // 8, window // 4, window // 2, window, 2 * window, 4 * window]


def precisions() -> list[str]:
    """Those that this release can write, the slowest first."""
    order = ["fp32-rowmajor", "fp32", "int8"]
    return order + [name for name in PRECISIONS if name not in order]


def groups(plan: Plan) -> Iterator[tuple[str, list[Job]]]:
    """The groups by name, in the order in which they run."""
    for threads in plan.threads:
        rounds = plan.size.rounds if threads == 1 else max(1, plan.size.rounds // 2 + 1)
        yield f"decode-{threads}", _decode(plan, threads, rounds)
        yield f"prefill-{threads}", _prefill(plan, threads, max(1, rounds // 2))
    yield "depth", _depth(plan)
    yield "positions", _positions(plan)
    yield "lookup", _lookup(plan)
    yield "firing", _firing(plan)
    yield "start", _start(plan)
    yield "growth", _growth(plan)


def _ours(plan: Plan) -> dict[str, dict[str, Any]]:
    """What of ours takes part in the comparison: every mixed-layout integer model, and AVX2."""
    found: dict[str, dict[str, Any]] = {}
    for precision in precisions():
        if not precision.startswith("fp32"):
            found[precision] = {"model": str(plan.models[precision])}
    if plan.avx2:
        found["int8-avx2"] = {"model": str(plan.models["int8"]), "isa": "avx2"}
    return found


def _decode(plan: Plan, threads: int, rounds: int) -> list[Job]:
    size, few = plan.size, max(1, rounds // 2)
    common = {"threads": threads, "tokens": size.decode}
    jobs = [
        Job(f"bandwidth/{threads}", "benchmarks.engine:bandwidth", {"threads": threads}, threads)
    ]
    for name, arguments in _ours(plan).items():
        jobs.append(
            Job(
                f"decode/{name}/{threads}",
                "benchmarks.engine:decode",
                {**arguments, **common},
                threads,
            )
        )
    for peer in plan.peers:
        jobs.append(
            Job(
                f"decode/{peer.name}/{threads}",
                "benchmarks.peer:decode",
                {"model": str(peer.path), **common, "from_start": True},
                threads,
                python=plan.peer_python,
            )
        )
    jobs = [replace(job, rounds=rounds) for job in jobs]
    if threads == 1:
        for precision in ("fp32-rowmajor", "fp32"):
            arguments = {"model": str(plan.models[precision]), **common}
            arguments["tokens"] = max(8, size.decode // 4)
            jobs.append(
                Job(
                    f"decode/{precision}/{threads}",
                    "benchmarks.engine:decode",
                    arguments,
                    threads,
                    few,
                )
            )
    return jobs


def _prefill(plan: Plan, threads: int, rounds: int) -> list[Job]:
    size = plan.size
    jobs = []
    for name, arguments in _ours(plan).items():
        lengths = list(size.lengths) if name == "int8" else [size.prefill]
        tail = 4 + size.config.window + size.config.anchors - size.prefill
        jobs.append(
            Job(
                f"prefill/{name}/{threads}",
                "benchmarks.engine:prefill",
                {**arguments, "threads": threads, "lengths": lengths, "tail": max(0, tail)},
                threads,
                rounds,
            )
        )
    for peer in plan.peers:
        jobs.append(
            Job(
                f"prefill/{peer.name}/{threads}",
                "benchmarks.peer:prefill",
                {"model": str(peer.path), "threads": threads, "lengths": [size.prefill]},
                threads,
                rounds,
                plan.peer_python,
            )
        )
    return jobs


def _depth(plan: Plan) -> list[Job]:
    size = plan.size
    tokens = max(4, size.decode // 5)
    jobs = [
        Job(
            "depth/int8",
            "benchmarks.engine:depth",
            {
                "model": str(plan.models["int8"]),
                "depths": plan.depths,
                "tokens": tokens,
                "repeats": 5,
            },
            1,
            2,
        )
    ]
    for peer in plan.peers[:1]:
        for depth in (0, size.prefill):
            jobs.append(
                Job(
                    f"depth/{peer.name}/{depth}",
                    "benchmarks.peer:decode",
                    {"model": str(peer.path), "threads": 1, "tokens": tokens, "depth": depth},
                    1,
                    1,
                    plan.peer_python,
                )
            )
    return jobs


def _positions(plan: Plan) -> list[Job]:
    model = str(plan.models["int8"])
    return [
        Job(
            "positions/int8",
            "benchmarks.engine:steps",
            {"model": model, "sizes": [1, 2, 3, 4, 8, 16, 32], "repeats": 7},
            1,
            2,
        )
    ] + [
        Job(
            f"sessions/{count}",
            "benchmarks.engine:sessions",
            {"model": model, "count": count, "repeats": 6},
            1,
            2,
        )
        for count in plan.size.sessions
    ]


def _lookup(plan: Plan) -> list[Job]:
    arguments = {"model": str(plan.models["int8"]), "answers": plan.size.answers}
    return [
        Job("lookup", "benchmarks.lookup:lookup", arguments, 1, 2),
        Job("grounding", "benchmarks.grounding:grounding", {"answers": plan.size.answers}, 1, 2),
    ]


def _firing(plan: Plan) -> list[Job]:
    model = str(plan.models["int8"])
    return [
        Job(
            f"firing/{rate}",
            "benchmarks.engine:firing",
            {"model": model, "rate": rate, "tokens": max(16, plan.size.decode // 2)},
            1,
            2,
        )
        for rate in plan.size.rates
    ]


def _start(plan: Plan) -> list[Job]:
    size, rounds, model = plan.size, plan.size.rounds, str(plan.models["int8"])
    first = "benchmarks.startup:first_token"
    jobs = [
        Job("start/import", "benchmarks.startup:import_time"),
        Job("start/bundled", first, {"model": None, "verify": True, "from_start": True}),
        Job("start/int8", first, {"model": model, "verify": False, "from_start": True}),
        Job("start/int8-verified", first, {"model": model, "verify": True, "from_start": True}),
        Job("start/daemon", "benchmarks.startup:daemon", {"idle_s": size.idle_s}),
        Job(
            "start/prompt",
            "benchmarks.startup:prompt",
            {"model": model, "channels": 40, "tokens": plan.size.config.window},
            1,
        ),
    ]
    if size.config.vocab_size >= 1024:  # what the pieces of the bundled model need
        jobs += [
            Job(
                f"warm/{count}",
                "benchmarks.startup:warm_prompt",
                {"model": model, "channels": count, "questions": 5},
                1,
            )
            for count in size.warm
        ]
    return [
        job if job.name == "start/import" else replace(job, rounds=min(3, rounds)) for job in jobs
    ]


def _growth(plan: Plan) -> list[Job]:
    size = plan.size
    jobs = [
        Job(
            f"sensors/{count}",
            "benchmarks.growth:sensors",
            {"channels": count, "messages": size.messages, "budget": 448, "repeats": 5},
            1,
        )
        for count in size.sensors
    ]
    jobs.append(
        Job(
            "events",
            "benchmarks.growth:events",
            {
                "model": str(plan.models["int8"]),
                "rates": list(size.event_rates),
                "seconds": size.event_seconds,
                "channels": 100,
                "repeats": 3,
            },
        )
    )
    return jobs


def selected(names: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """The groups whose name starts with one that is wanted; all when nothing is."""
    return [n for n in names if not wanted or any(n.startswith(w) for w in wanted)]
