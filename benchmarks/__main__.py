"""`python -m benchmarks`: measure everything in one run, and keep what was found."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from benchmarks import machine, plan, plots, report
from benchmarks.plan import FULL, QUICK, Peer, Plan, Size
from benchmarks.processes import Findings, Job, JobError, Say, run, run_interleaved
from benchmarks.targets import Document

RESULTS = Path(__file__).parent / "results"
EXAMPLES = """\
examples:
  python -m benchmarks                                   all of it: ten minutes, 12 GB of disk
  python -m benchmarks --quick --only decode             does it work here?
  python -m benchmarks --work /var/tmp/b --prepare       only write the model files
  python -m benchmarks --peer-python ~/llama/bin/python  llama-cpp-python lives elsewhere
  python -m benchmarks --gguf model-q8_0.gguf            a real model as a further peer
  python -m benchmarks --show results.json               print and draw a run again
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 1 when a measurement of the engine failed."""
    args = _parser().parse_args(arguments)
    progress = Console(stderr=True)
    if args.show:
        return _show(args.show, progress)
    size = replace(
        QUICK if args.quick else FULL, **({"rounds": args.rounds} if args.rounds else {})
    )
    with contextlib.ExitStack() as stack:
        folder = args.work or stack.enter_context(
            tempfile.TemporaryDirectory(prefix="edgespike-benchmarks-")
        )
        work = Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        facts = machine.facts()
        say = stack.enter_context(_status(progress))
        try:
            made, skipped = prepare(size, work, args.peer_python, args.gguf, args.avx2, say)
        except JobError as error:
            progress.print(f"benchmarks: {error}", style="red", highlight=False)
            return 1
        if args.prepare:
            return 0
        facts["load_before"] = round(os.getloadavg()[0], 2)
        if facts["load_before"] > 0.5:
            progress.print(f"the machine is busy (load {facts['load_before']}): expect noise")
        facts["peer"] = made.peers[0].facts.get("versions") if made.peers else None
        start = time.monotonic()
        findings = measure(made, args.only, say)
        found = report.document(made, facts, findings, skipped, time.monotonic() - start)
    target = args.out or RESULTS / machine.slug(facts)
    target.mkdir(parents=True, exist_ok=True)
    (target / "results.json").write_text(json.dumps(found, indent=1) + "\n")
    report.show(found, _output())
    _draw(found, target, progress)
    progress.print(f"kept in {target}", highlight=False)
    return 1 if any(not _is_peer(job, made) for job in findings.failed) else 0


def prepare(
    size: Size, work: Path, peer_python: str, real: Sequence[Path], avx2: bool, say: Say
) -> tuple[Plan, dict[str, str]]:
    """Write the model files that `work` lacks and compile the kernels; what is left out, and why.

    Raises JobError when a model of ours can't be written.
    """
    skipped = {}
    models = {}
    for precision in plan.precisions():
        models[precision] = work / f"{size.shape}-{precision}.safetensors"
        if not models[precision].exists():
            say(f"writing {models[precision].name}")
            arguments = {"path": str(models[precision]), "shape": size.shape}
            run(Job("synth", "benchmarks.engine:synth", {**arguments, "precision": precision},
                    timeout_s=900))  # fmt: skip
    for isa in ("native", "avx2") if avx2 else ("native",):
        say(f"compiling kernels for {isa}")
        try:
            run(Job("compile", "benchmarks.engine:compile_kernels", {"isa": isa}, timeout_s=900))
        except JobError as error:
            if isa == "native":
                raise
            avx2 = False
            skipped["int8-avx2"] = str(error)
    peers = []
    try:
        versions = run(Job("peer", "benchmarks.peer:versions", python=peer_python))
        for name in size.peers:
            path = work / f"{name}-q8_0.gguf"
            if not path.exists():
                say(f"writing {path.name}")
                unfinished = path.with_suffix(".part")
                arguments = {"path": str(unfinished), "shape": name}
                run(Job("gguf", "benchmarks.peer:write", arguments, python=peer_python))
                unfinished.rename(path)
            peers.append(_peer(name, path, versions, peer_python))
        for path in real:
            peers.append(_peer(path.stem, path.resolve(), versions, peer_python))
    except JobError as error:
        skipped["llama.cpp"] = re.sub(r"^\w+Error: ", "", str(error))
    return Plan(size, models, tuple(peers), peer_python, avx2), skipped


def _peer(name: str, path: Path, versions: dict[str, str], python: str) -> Peer:
    facts = run(Job("describe", "benchmarks.peer:describe", {"path": str(path)}, python=python))
    return Peer(name, path, {**facts, "versions": versions})


def measure(made: Plan, only: Sequence[str], say: Say) -> Findings:
    """Run the groups, all or those whose name starts with one of `only`."""
    findings = Findings()
    groups = dict(plan.groups(made))
    for name in plan.selected(list(groups), only):
        run_interleaved(groups[name], findings, say)
    return findings


def _is_peer(job: str, made: Plan) -> bool:
    return any(f"/{peer.name}/" in f"{job}/" for peer in made.peers)


def _show(path: Path, progress: Console) -> int:
    found = json.loads(path.read_text())
    report.show(found, _output())
    _draw(found, path.parent, progress)
    return 0


def _draw(found: Document, folder: Path, progress: Console) -> None:
    problem = plots.available()
    if problem:
        progress.print(f"no plots: {problem}", highlight=False)
    else:
        plots.draw(found, folder)


def _output() -> Console:
    """Standard output, wide enough for the tables where it isn't a terminal."""
    return Console() if sys.stdout.isatty() else Console(width=140)


@contextlib.contextmanager
def _status(console: Console) -> Iterator[Say]:
    """Says what is being done: a line that changes on a terminal, else a line each."""
    if console.is_terminal:
        # A spinner would take time from what is measured: it is redrawn once a second only.
        with console.status("starting", refresh_per_second=1) as status:
            yield status.update
    else:
        yield lambda text: console.print(text, highlight=False)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="tiny shape, in seconds")
    groups = "decode, prefill, depth, positions, lookup, firing, start, growth"
    parser.add_argument("--only", nargs="*", default=[], metavar="GROUP", help=f"some of {groups}")
    parser.add_argument("--rounds", type=int, help="of the comparisons (default 5, quick 2)")
    parser.add_argument("--work", type=Path, metavar="DIR",
                        help="keep the model files here (default: a temporary folder)")  # fmt: skip
    parser.add_argument("--prepare", action="store_true", help="write the model files, no more")
    parser.add_argument("--no-avx2", dest="avx2", action="store_false",
                        help="leave out the comparison with AVX2 only")  # fmt: skip
    parser.add_argument("--peer-python", default=sys.executable, metavar="EXE",
                        help="Python that has llama-cpp-python and gguf")  # fmt: skip
    parser.add_argument("--gguf", type=Path, nargs="*", default=[], metavar="FILE",
                        help="real GGUF models to measure as well")  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="DIR",
                        help="default: benchmarks/results/<processor>")  # fmt: skip
    parser.add_argument("--show", type=Path, metavar="FILE", help="print and draw a run again")
    return parser


if __name__ == "__main__":
    sys.exit(main())
