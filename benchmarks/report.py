"""A run as a document (JSON), and the document as tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.plan import Plan
from benchmarks.processes import Findings, median, spread
from benchmarks.targets import Document, bandwidth_share, ratio, targets, value

FORMAT = 1
DISTURBED = 0.15
"""Cores used by foreign processes beyond which a measurement counts as disturbed."""
PUBLISHED = {"fp32-rowmajor": 9.5, "fp32": 14.7, "int8": 19.9, "TinyLlama-1.1B": 16.31,
             "Falcon3-1B": 11.26}  # fmt: skip
"""Tokens per second on one thread of a Ryzen 7 5800X (arXiv 2606.03026)."""


def document(
    plan: Plan,
    machine: dict[str, Any],
    findings: Findings,
    skipped: dict[str, str],
    seconds: float,
) -> Document:
    """All that a run found: medians, spreads and every sample."""
    made: Document = {
        "format": FORMAT,
        "machine": machine,
        "settings": {**dataclasses.asdict(plan.size), "window": plan.size.config.window},
        "peers": {peer.name: peer.facts for peer in plan.peers},
        "notes": [],
        "skipped": skipped,
        "failed": findings.failed,
        "disturbed": {name: n for name, n in findings.others.items() if n > DISTURBED},
        "seconds": round(seconds, 1),
        "results": {
            name: {"median": median(found), "spread": spread(found), "samples": found}
            for name, found in findings.samples.items()
            if found
        },
    }
    made["targets"] = [
        {**dataclasses.asdict(target), "verdict": target.verdict} for target in targets(made)
    ]
    return made


def show(found: Document, console: Console) -> None:
    """Print a document as tables."""
    machine = found["machine"]
    console.print(
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_bytes'] / 1e9:.0f} GB, "
        f"commit {machine['commit']}, load before {machine['load_before']}, "
        f"{found['seconds']:.0f} s",
        highlight=False,
    )
    tables = [_engines(found, threads) for threads in _threads(found)]
    for table in (*tables, _targets(found), _counted(found)):
        console.print(table)
    console.print(f"energy: {machine['energy']}", highlight=False)
    for note in found["notes"]:
        console.print(f"note: {note}", highlight=False)
    for job, cores in found["disturbed"].items():
        console.print(f"disturbed: {job}: others used {cores:.2f} cores", highlight=False)
    for kind in ("skipped", "failed"):
        for name, why in found[kind].items():
            console.print(f"{kind}: {name}: {why}", highlight=False)


def _threads(found: Document) -> list[int]:
    jobs = [name for name in found["results"] if name.startswith("bandwidth/")]
    return sorted(int(name.rpartition("/")[2]) for name in jobs)


def _engines(found: Document, threads: int) -> Table:
    """All engines with that many threads."""
    length = str(found["settings"]["prefill"])
    limit = value(found, f"bandwidth/{threads}", "bytes_per_s") or 0.0
    counted = "1 thread" if threads == 1 else f"{threads} threads"
    shape = found["settings"]["shape"]
    table = Table(title=f"Shape {shape}, {counted}: memory reads {limit / 1e9:.1f} GB/s")
    columns = ["engine", "decode tok/s", "spread", "vs peer", "of limit", "MB/token",
               f"prefill {length}", "vs peer", "resident MB", "J/token"]  # fmt: skip
    if threads == 1:
        columns.append("published")
    for column in columns:
        table.add_column(column, justify="left" if column == "engine" else "right")
    peer = next(iter(found["peers"]), "")
    for name in _names(found, threads):
        decode, prefill = f"decode/{name}/{threads}", f"prefill/{name}/{threads}"
        speed = ratio(found, (decode, "tokens_per_s"),
                      (f"decode/{peer}/{threads}", "tokens_per_s"))  # fmt: skip
        reading = ratio(found, (prefill, "tokens_per_s", length),
                        (f"prefill/{peer}/{threads}", "tokens_per_s", length))  # fmt: skip
        traffic = value(found, decode, "bytes_per_token")
        traffic = traffic or found["peers"].get(name, {}).get("bytes_per_token")
        resident = value(found, prefill, "resident_bytes")
        resident = resident or value(found, decode, "resident_bytes")
        noise = found["results"].get(decode, {}).get("spread", {}).get("tokens_per_s")
        cells = [
            name,
            _number(value(found, decode, "tokens_per_s")),
            "" if noise is None else f"{100 * noise:.0f} %",
            _number(speed, "x", 2),
            _number(bandwidth_share(found, name, threads), "", 2),
            _number(traffic and traffic / 1e6),
            _number(value(found, prefill, "tokens_per_s", length)),
            _number(reading, "x", 2),
            _number(resident and resident / 1e6, "", 0),
            _number(value(found, decode, "joules_per_token"), "", 3),
        ]
        if threads == 1:
            cells.append(_number(PUBLISHED.get(name)))
        table.add_row(*cells)
    return table


def _names(found: Document, threads: int) -> Iterator[str]:
    """Engines that were measured with that many threads, in the order of the run."""
    for job in found["results"]:
        kind, _, rest = job.partition("/")
        name, _, count = rest.rpartition("/")
        if kind == "decode" and count == str(threads):
            yield name


def _targets(found: Document) -> Table:
    table = Table(title="Targets, which are meant for shape 0.8b on a quiet machine")
    for column in ("target", "measured", "must", "aim", "verdict"):
        table.add_column(column, justify="left" if column in ("target", "verdict") else "right")
    colours = {"aim": "green", "must": "yellow", "missed": "red"}
    for target in targets(found):
        colour = colours.get(target.verdict)
        verdict = f"[{colour}]{target.verdict}[/]" if colour else target.verdict
        places = 0 if target.must >= 100 else 2
        table.add_row(
            target.name,
            _number(target.value, target.unit, places),
            *(_number(goal, target.unit, places) for goal in (target.must, target.aim)),
            verdict,
        )
    return table


def _counted(found: Document) -> Table:
    """Figures that depend on a number: one row each, the numbers as they were measured."""
    table = Table(title="How it grows")
    table.add_column("what")
    table.add_column("measured")
    for name, cells in _series(found):
        if cells:
            table.add_row(name, "  ".join(f"[dim]{at}:[/] {what}" for at, what in cells))
    return table


Series = Sequence[tuple[str, str]]


def _series(found: Document) -> Iterator[tuple[str, Series]]:
    results = found["results"]

    def tree(job: str, key: str, suffix: str = "", places: int = 1) -> Series:
        numbers = results.get(job, {}).get("median", {}).get(key, {})
        return [(at, _number(number, suffix, places)) for at, number in numbers.items()]

    def jobs(kind: str, key: str, scale: float = 1.0, places: int = 1) -> Series:
        return [
            (job.partition("/")[2], _number(found["median"][key] * scale, "", places))
            for job, found in results.items()
            if job.startswith(f"{kind}/") and key in found["median"]
        ]

    for threads in _threads(found):
        yield f"prefill tok/s by length, {threads} threads", tree(f"prefill/int8/{threads}",
                                                                  "tokens_per_s")  # fmt: skip
    yield "decode tok/s by tokens before", tree("depth/int8", "tokens_per_s")
    yield (
        "peer's decode tok/s by tokens before",
        [
            (job.rpartition("/")[2], _number(found["median"]["tokens_per_s"]))
            for job, found in results.items()
            if job.startswith("depth/") and job != "depth/int8"
        ],
    )
    yield "ms of a step by positions", tree("positions/int8", "milliseconds")
    yield "tok/s of all sessions by sessions", jobs("sessions", "tokens_per_s")
    yield "MB of a session by sessions", jobs("sessions", "bytes_each", 1e-6)
    yield "decode tok/s by firing rate", jobs("firing", "tokens_per_s")
    yield "MB per token by firing rate", jobs("firing", "bytes_per_token", 1e-6)
    looked = results.get("lookup", {}).get("median")
    if looked:
        yield (
            "prompt lookup",
            [
                ("answers", f"{looked['answers']:.0f}"),
                ("tokens each", _number(looked["answer_tokens"])),
                ("the same text", "yes" if looked["identical_text"] else "NO"),
            ],
        )
    yield "µs per message by sensors", jobs("sensors", "message_us")
    yield "ms of a picture by sensors", jobs("sensors", "picture_ms", places=2)
    yield "ms of a prompt's text by sensors", jobs("sensors", "render_ms", places=2)
    yield (
        "decode slower by messages/s",
        [
            (at, f"{100 * share:.1f} %")
            for at, share in results.get("events", {}).get("median", {}).get("slowdown", {}).items()
        ],
    )
    yield "messages/s taken in by messages/s", tree("events", "achieved_per_s", "", 0)
    yield (
        "seconds to the first token, or ready",
        [
            (job.partition("/")[2], f"{found['median'][key]:.3f}")
            for job, found in results.items()
            for key in ("seconds", "ready_s")
            if job.startswith("start/") and key in found["median"]
        ],
    )
    yield (
        "seconds to the peer's first token",
        [
            (name, _number(value(found, f"decode/{name}/1", "first_token_s"), "", 3))
            for name in found["peers"]
        ],
    )
    yield "ms to the first token by sensors, warm", jobs("warm", "milliseconds", places=0)
    yield "the same, right after a change", jobs("warm", "changed_ms", places=0)
    prompt = results.get("start/prompt", {}).get("median")
    if prompt:
        yield (
            "40 sensors, nothing read in advance",
            [
                ("prompt tokens", f"{prompt['prompt_tokens']:.0f}"),
                ("first token, ms", f"{prompt['milliseconds']:.0f}"),
            ],
        )


def _number(number: float | None, suffix: str = "", places: int = 1) -> str:
    return "" if number is None else f"{number:,.{places}f}{suffix}"
