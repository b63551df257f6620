"""Subcommands about model files: convert, synth, inspect, verify."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgespike.convert.export import Conversion, Progress
    from edgespike.model.container import Container

_PRECISION_HELP = (
    "int8 (default: a quarter of the bytes), int4 (fewer still, faster, less exact), fp32 (exact), "
    "fp32-rowmajor (exact, all matrices as in the checkpoint)"
)
_TOKENIZER_HELP = "SentencePiece model to put into the file, so that one file deploys"


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommands of this module."""
    formatter = argparse.RawDescriptionHelpFormatter
    convert = subparsers.add_parser(
        "convert",
        help="make a model file from a checkpoint",
        description=(
            "Convert a PyTorch checkpoint (.pt) or a safetensors checkpoint into the model file\n"
            "that edgespike maps into memory. PyTorch isn't needed, and nothing that the\n"
            "checkpoint contains is run. The target appears only when it is complete."
        ),
        epilog=(
            "example:\n"
            "  edgespike convert checkpoint.pt model.safetensors --tokenizer sp.model\n"
            "  edgespike inspect model.safetensors"
        ),
        formatter_class=formatter,
    )
    convert.add_argument("source", metavar="CHECKPOINT", help="a .pt or .safetensors checkpoint")
    convert.add_argument("target", metavar="TARGET", help="the model file to write")
    _add_writing(convert)
    convert.set_defaults(run=_convert)

    synth = subparsers.add_parser(
        "synth",
        help="make a random model of a released shape, to measure speed with",
        description=(
            "Write a model file with random weights that fires as the published checkpoints do\n"
            "(encoder 4.6 %, layers 3.6 to 7.9 %, the last 33 %). Decoding time depends on bytes\n"
            "and firing rates, not on what the weights say, so it serves to measure speed; its\n"
            "text means nothing."
        ),
        epilog=(
            "example:\n"
            "  edgespike synth big.safetensors --shape 0.8b\n"
            "  edgespike bench --model big.safetensors"
        ),
        formatter_class=formatter,
    )
    synth.add_argument(
        "target",
        metavar="TARGET",
        nargs="?",
        help="the model file to write (default: synth-SHAPE-PRECISION.safetensors)",
    )
    synth.add_argument(
        "--shape",
        choices=("0.8b", "194m", "tiny"),
        default="tiny",
        help="0.8b, 194m, or tiny (default: 64 wide, 3 layers)",
    )
    synth.add_argument("--seed", type=int, default=0, help="one seed, one file (default 0)")
    _add_writing(synth)
    synth.set_defaults(run=_synth)

    inspect = subparsers.add_parser(
        "inspect",
        help="show what a model file holds",
        description="Show a model file's configuration, precision, facts and tensors.",
        epilog=(
            "example:\n"
            "  edgespike inspect model.safetensors --tensors\n"
            "  edgespike inspect model.safetensors --json | jq .config"
        ),
        formatter_class=formatter,
    )
    _add_file(inspect)
    inspect.add_argument(
        "--tensors", action="store_true", help="each tensor, not one line per kind"
    )
    inspect.set_defaults(run=_inspect)

    verify = subparsers.add_parser(
        "verify",
        help="check every byte of a model file",
        description=(
            "Check a model file against the digests in it: every tensor, the header, the padding.\n"
            "Ends with 0 when the file is whole, else with 65 and the name of what is damaged."
        ),
        epilog="example:\n  edgespike verify model.safetensors && systemctl restart edgespike",
        formatter_class=formatter,
    )
    _add_file(verify)
    verify.set_defaults(run=_verify)


def _add_writing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--precision",
        choices=("int8", "int4", "fp32", "fp32-rowmajor"),
        default="int8",
        help=_PRECISION_HELP,
    )
    parser.add_argument("--tokenizer", metavar="FILE", help=_TOKENIZER_HELP)
    parser.add_argument("--json", action="store_true", help="machine-readable summary")


def _add_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", nargs="?", help="default: the bundled model")
    parser.add_argument("--json", action="store_true", help="machine-readable")


def _convert(arguments: argparse.Namespace) -> int:
    from edgespike.convert.export import convert

    with _progress(f"converting {arguments.source}") as progress:
        made = convert(
            arguments.source,
            arguments.target,
            precision=arguments.precision,
            tokenizer=arguments.tokenizer,
            progress=progress,
        )
    _report(made, arguments.json)
    return 0


def _synth(arguments: argparse.Namespace) -> int:
    from edgespike.convert.synth import synth

    default = f"synth-{arguments.shape}-{arguments.precision}.safetensors"
    with _progress(f"making a random {arguments.shape} model") as progress:
        made = synth(
            arguments.target or default,
            arguments.shape,
            arguments.precision,
            arguments.seed,
            tokenizer=arguments.tokenizer,
            progress=progress,
        )
    _report(made, arguments.json)
    return 0


def _report(made: Conversion, as_json: bool) -> None:
    if as_json:
        facts = dataclasses.asdict(made) | {"target": str(made.target)}
        print(json.dumps(facts))
        return
    print(f"{made.target}: {made.precision}, {made.nbytes / 1e6:.1f} MB")
    if made.ignored:
        shown = ", ".join(made.ignored[:5]) + (", ..." if len(made.ignored) > 5 else "")
        print(f"ignored {len(made.ignored)} tensors that the model has no use for: {shown}")


@contextmanager
def _progress(title: str) -> Iterator[Progress | None]:
    """A progress bar on stderr when that is a terminal, else nothing."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(escape(title), total=None)
        yield lambda name, done, total: bar.update(task, completed=done, total=total)


def _open(arguments: argparse.Namespace, *, verify: bool) -> Container:
    from edgespike.model.container import open_container

    if arguments.file:
        return open_container(Path(arguments.file), verify=verify)
    from edgespike.model.bundled import bundled_model

    return open_container(bundled_model(), verify=verify)


def _verify(arguments: argparse.Namespace) -> int:
    container = _open(arguments, verify=True)
    count = len(container.tensors)
    if arguments.json:
        print(json.dumps({"file": str(container.path), "whole": True, "tensors": count}))
    else:
        print(f"{container.path}: whole; {count} tensors match their SHA-256")
    return 0


def _inspect(arguments: argparse.Namespace) -> int:
    container = _open(arguments, verify=False)
    if arguments.json:
        print(json.dumps(_facts(container)))
        return 0
    from rich.console import Console
    from rich.table import Table

    width = None if sys.stdout.isatty() else 120  # piped: names stay whole
    console = Console(markup=False, highlight=False, width=width)
    facts = Table(title=container.path.name, show_header=False)
    for key, value in _summary(container):
        facts.add_row(key, value)
    console.print(facts)
    table = Table("tensor", "type", "shape", "layout")
    table.add_column("MB", justify="right")
    for row in _rows(container, each=arguments.tensors):
        table.add_row(*row)
    console.print(table)
    return 0


def _facts(container: Container) -> dict[str, Any]:
    return {
        "file": str(container.path),
        "version": container.metadata["edgespike.version"],
        "precision": container.precision,
        "config": dataclasses.asdict(container.config),
        "firing": container.json("firing"),
        "prompt_template": container.json("prompt_template"),
        "training": container.json("training"),
        "tensors": [dataclasses.asdict(info) for info in container.tensors.values()],
    }


def _summary(container: Container) -> Iterator[tuple[str, str]]:
    from edgespike.model.tensors import TOKENIZER, checkpoint_shapes

    config = container.config
    parameters = sum(math.prod(shape) for shape in checkpoint_shapes(config).values())
    yield "precision", container.precision
    yield "parameters", f"{parameters:,}"
    yield "bytes", f"{container.path.stat().st_size:,}"
    for key, value in dataclasses.asdict(config).items():
        yield key, str(value)
    tokenizer = container.tensors.get(TOKENIZER)
    yield "tokenizer", "none" if tokenizer is None else f"{tokenizer.nbytes:,} bytes"
    for key in ("firing", "prompt_template", "training"):
        value = container.json(key)
        if value is not None:
            yield key, json.dumps(value)


def _rows(container: Container, *, each: bool) -> Iterator[tuple[str, str, str, str, str]]:
    """One row per tensor, or per kind of tensor with the blocks folded together."""
    from edgespike.model.tensors import TensorInfo

    groups: dict[str, list[TensorInfo]] = {}
    for name, info in container.tensors.items():
        kind = name if each else re.sub(r"^blocks\.\d+\.", "blocks.*.", name)
        groups.setdefault(kind, []).append(info)
    for kind, members in groups.items():
        first = members[0]
        yield (
            f"{kind} ({len(members)})" if len(members) > 1 else kind,
            first.dtype,
            " x ".join(map(str, first.shape)),
            first.layout or "",
            f"{sum(info.nbytes for info in members) / 1e6:.3f}",
        )
