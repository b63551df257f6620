"""What spiking costs, and what moves it: models of several sizes and kinds on the same data.

Each variant is a run of its own with the same batches in the same order, so that runs that were cut
off go on, and those that are done are only read.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import edgespike
from edgespike.bench.speed import measure as measure_speed
from edgespike.errors import UsageError
from training.export import export
from training.recipe import SIZES, Recipe
from training.text import train_tokenizer
from training.train import VOCABULARY, Log, Run, measure, open_run, train

_MEDIUM = SIZES["2m"]

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    **{f"{size}": SIZES[size] for size in ("1m", "2m", "4m")},
    **{f"{size}-dense": {**SIZES[size], "kind": "dense"} for size in ("1m", "2m", "4m")},
    "2m-threshold-0.5": {**_MEDIUM, "threshold": 0.5},
    "2m-threshold-1.5": {**_MEDIUM, "threshold": 1.5},
    "2m-surrogate-1": {**_MEDIUM, "surrogate": 1.0},
    "2m-surrogate-4": {**_MEDIUM, "surrogate": 4.0},
    "2m-penalty-0.5": {**_MEDIUM, "firing_penalty": 0.5},
    "2m-deep": {"width": 144, "layers": 8, "heads": 4, "hidden": 576},
    "2m-wide": {"width": 256, "layers": 2, "heads": 4, "hidden": 1024},
}
"""What differs from the default recipe."""

DEV_BATCHES = 40
_RESULT = "result.json"


def compare(
    directory: Path,
    log: Log,
    *,
    steps: int,
    batch: int,
    only: Iterable[str] = (),
    fuse: bool = False,
) -> list[dict[str, Any]]:
    """Trains every variant, or those named in `only`, for `steps` steps; returns what it found.

    Raises UsageError for names that are no variant's.
    """
    names = tuple(only) or tuple(VARIANTS)
    if unknown := [name for name in names if name not in VARIANTS]:
        raise UsageError(f"no variant {', '.join(unknown)}; there are {', '.join(VARIANTS)}")
    directory.mkdir(parents=True, exist_ok=True)
    vocabulary = directory / VOCABULARY
    if not vocabulary.exists():
        plain = Recipe()
        train_tokenizer(vocabulary, pieces=plain.pieces, seed=plain.seed)
    found = []
    for name in names:
        place = directory / name
        if not (place / _RESULT).exists():
            log(f"{name}:")
            place.mkdir(exist_ok=True)
            shutil.copyfile(vocabulary, place / VOCABULARY)
            run = open_run(place, Recipe(**VARIANTS[name], steps=steps, batch=batch))
            if fuse:
                for block in run.model.blocks:
                    block.compile()
            train(run, log)
            (place / _RESULT).write_text(json.dumps({"name": name, **_result(run)}) + "\n")
        found.append(json.loads((place / _RESULT).read_text()))
    return found


def _result(run: Run) -> dict[str, Any]:
    """Accuracy and perplexity of answers on development scenes; of spiking models, what a token
    costs in the engine."""
    dev = measure(run, "dev", DEV_BATCHES)
    result: dict[str, Any] = {
        "parameters": sum(p.numel() for p in run.model.parameters()),
        "tokens": run.tokens,
        "minutes": round(run.elapsed_s / 60, 1),
        "accuracy": dev.accuracy,
        "perplexity": math.exp(dev.loss),
    }
    if run.recipe.kind == "spiking":
        target = run.directory / "model.safetensors"
        export(run.directory, target)
        speed = measure_speed(edgespike.load(target, threads=1), decode=512, prefill=384)
        rates = speed.spike_rates
        shares = [rates["encoder"], *rates["layers"], *rates["feed_forward"]]
        result |= {
            "bytes_per_token": speed.weight_bytes_per_token,
            "tokens_per_s": speed.decode_tokens_per_s,
            "firing": sum(shares) / len(shares),
        }
    return result


def table(found: Iterable[Mapping[str, Any]]) -> str:
    """The results in Markdown."""
    lines = [
        "| | parameters | right answers | perplexity | firing | bytes per token | tokens/s |",
        "|---|---|---|---|---|---|---|",
    ]
    for each in found:
        cells = [
            each["name"],
            f"{each['parameters'] / 1e6:.2f} M",
            f"{100 * each['accuracy']:.1f} %",
            f"{each['perplexity']:.4f}",
            f"{100 * each['firing']:.1f} %" if "firing" in each else "",
            f"{each['bytes_per_token'] / 1e6:.2f} MB" if "firing" in each else "",
            f"{each['tokens_per_s']:.0f}" if "firing" in each else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
