"""The figures that were promised, and whether they were reached: ratios within one run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Target:
    """`value` is None where the run has no figure for it. `most`: smaller is better.

    `disturbed`: foreign processes ran while it was measured, so that it says little.
    """

    name: str
    value: float | None
    must: float
    aim: float
    unit: str = ""
    most: bool = False
    disturbed: bool = False

    @property
    def verdict(self) -> str:
        """aim, must, missed, disturbed, or not measured."""
        if self.value is None:
            return "not measured"
        if self.disturbed:
            return "disturbed"

        def reached(goal: float) -> bool:
            assert self.value is not None
            return self.value <= goal if self.most else self.value >= goal

        return "aim" if reached(self.aim) else "must" if reached(self.must) else "missed"


def samples(document: Document, job: str, *keys: str) -> list[float]:
    """A figure in every round of a job; empty where there is none."""
    found = document["results"].get(job, {}).get("samples", [])
    for key in keys:
        found = [sample[key] for sample in found if key in sample]
    return [value for value in found if value is not None]


def value(document: Document, job: str, *keys: str) -> float | None:
    """The median of a figure over the rounds."""
    found = samples(document, job, *keys)
    return median(found) if found else None


def ratio(document: Document, over: tuple[str, ...], under: tuple[str, ...]) -> float | None:
    """Median of the ratios round by round: what drifts between rounds cancels."""
    pairs = zip(samples(document, *over), samples(document, *under), strict=False)
    found = [a / b for a, b in pairs if b]
    return median(found) if found else None


def bandwidth_share(document: Document, name: str, threads: int) -> float | None:
    """Weights read per second while decoding, over what this many threads can read at all."""
    job = f"decode/{name}/{threads}"
    rates = samples(document, job, "tokens_per_s")
    traffic = samples(document, job, "bytes_per_token")
    if not traffic and name in document["peers"]:
        traffic = [document["peers"][name]["bytes_per_token"]] * len(rates)
    limits = samples(document, f"bandwidth/{threads}", "bytes_per_s")
    found = [r * t / b for r, t, b in zip(rates, traffic, limits, strict=False)]
    return median(found) if found else None


def targets(document: Document) -> Iterator[Target]:
    """All of them, in the order in which they were set; the first peer is the one to beat."""
    troubled = document["disturbed"]
    for target, jobs in _measured(document):
        yield replace(target, disturbed=any(job.startswith(jobs) for job in troubled))


def _measured(document: Document) -> Iterator[tuple[Target, tuple[str, ...]]]:
    """Each target as measured, with the beginnings of the names of the jobs behind it."""
    peer = next(iter(document["peers"]), "no peer")
    length = str(document["settings"]["prefill"])
    window = document["settings"]["window"]

    def speed(name: str, threads: int = 1) -> tuple[str, ...]:
        return f"decode/{name}/{threads}", "tokens_per_s"

    def reading(name: str, threads: int = 1) -> tuple[str, ...]:
        return f"prefill/{name}/{threads}", "tokens_per_s", length

    def versus(over: tuple[str, ...], under: tuple[str, ...]) -> float | None:
        return ratio(document, over, under)

    def decoding(name: str) -> float | None:
        return versus(speed(name), speed(peer))

    read = versus(reading("int8"), reading(peer))
    more = versus(reading("int8", 2), reading("int8"))
    depth, step = ("depth/int8", "tokens_per_s"), ("positions/int8", "milliseconds")
    rowmajor = speed("fp32-rowmajor")
    share = bandwidth_share(document, "int8", 1)
    deep = versus((*depth, str(window)), (*depth, "0"))
    resident = value(document, "prefill/int8/1", "resident_bytes")
    lookup = value(document, "lookup", "speedup")
    drafts = value(document, "lookup", "drafts")
    copied = value(document, "lookup", "nothing_to_copy")
    cost = value(document, "grounding", "cost")
    warm = value(document, "warm/40", "milliseconds")
    ready = value(document, "start/daemon", "ready_s")
    idle = value(document, "start/daemon", "idle_core_share")
    start = value(document, "start/import", "seconds")
    shared = None if idle is None else 100 * idle
    masks = None if cost is None else 100 * cost
    held = resident and resident / 1e9
    one, two = ("decode/int8/1", f"decode/{peer}/1"), ("prefill/int8/1", "prefill/int8/2")
    wide = ("decode/int8-avx2/1", f"decode/{peer}/1")
    narrow = ("decode/int4/1", f"decode/{peer}/1")
    both = ("prefill/int8/1", f"prefill/{peer}/1")
    ladder = ("decode/fp32", "decode/int8/1")
    four = versus((*step, "4"), (*step, "1"))
    yield Target(f"decode, 1 thread, vs {peer}", decoding("int8"), 2.2, 2.6, "x"), one
    yield Target(f"decode, AVX2 only, vs {peer}", decoding("int8-avx2"), 2.2, 2.6, "x"), wide
    yield Target(f"decode, int4, vs {peer}", decoding("int4"), 3.0, 4.5, "x"), narrow
    yield Target("decode, share of read bandwidth", share, 0.85, 0.95), (*one, "bandwidth/1")
    yield Target("decode, full window vs empty", deep, 0.90, 0.97), ("depth/int8",)
    yield Target(f"prefill {length}, 1 thread, vs {peer}", read, 3.5, 5.5, "x"), both
    yield Target(f"prefill {length}, 2 threads vs 1", more, 1.8, 1.95, "x"), two
    yield Target("step of 4 positions vs 1", four, 1.35, 1.15, "x", True), ("positions",)
    yield Target("sensor answers vs token by token", lookup, 1.8, 3.0, "x"), ("lookup",)
    yield Target("the same by prompt lookup alone", drafts, 1.8, 3.0, "x"), ("lookup",)
    yield Target("lookup where nothing can be copied", copied, 0.97, 0.97, "x"), ("lookup",)
    yield Target("cost of enforced grounding", masks, 3, 3, " %", True), ("grounding",)
    yield Target("resident after a full window", held, 1.0, 0.9, " GB", True), ()
    yield Target("fp32 vs fp32-rowmajor", versus(speed("fp32"), rowmajor), 1.5, 1.5, "x"), ladder
    yield Target("int8 vs fp32-rowmajor", versus(speed("int8"), rowmajor), 2.5, 2.5, "x"), ladder
    yield Target("first token, 40 sensors, warm", warm, 250, 100, " ms", True), ("warm/40",)
    yield Target("daemon start to ready", ready, 1.5, 0.7, " s", True), ("start/daemon",)
    yield Target("idle daemon", shared, 1, 1, " % of a core", True), ()
    yield Target("import edgespike", start and 1000 * start, 60, 60, " ms", True), ("start/import",)
    yield Target("messages/s at under 10 % slower", _messages(document), 5000, 20000), ("events",)


def _messages(document: Document) -> float | None:
    """The highest rate that was kept up, and up to which decoding lost less than a tenth."""
    job = "events"
    rates = document["results"].get(job, {}).get("median", {}).get("slowdown", {})
    best = None
    for rate in sorted(map(int, rates)):
        slower = value(document, job, "slowdown", str(rate))
        heard = value(document, job, "achieved_per_s", str(rate))
        if slower is None or heard is None or slower >= 0.1 or heard < 0.9 * rate:
            break
        best = float(rate)
    return best
