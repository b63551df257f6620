"""A run -> an official checkpoint -> the container that ships, with its record beside it."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import edgespike
from edgespike.convert import convert
from edgespike.errors import DataError, MissingInputError
from edgespike.prompting import BUNDLED
from training.dialogues import ANSWER_ROOM
from training.model import official_config
from training.recipe import Recipe
from training.start import Start, read_start

DATA = Path(edgespike.__file__).parent / "data"


def export(
    run: Path, target: Path | None = None, *, blend: Path | None = None, share: float = 1.0
) -> None:
    """Writes `run`/checkpoint.pt, the int8 container `target` and a record of the run beside it.

    The weights are `share` times the run's and the rest those of `blend`, a checkpoint or container
    that the run began with, so that what it taught costs less of what was known before (Wortsman
    et al. 2022, "Robust fine-tuning of zero-shot models", section 3). Raises DataError when they
    are of another shape.
    """
    target = target or DATA / "bundled.safetensors"
    try:
        state = torch.load(run / "state.pt", map_location="cpu", weights_only=True)
        curve = [json.loads(line) for line in (run / "curve.jsonl").read_text().splitlines()]
    except FileNotFoundError as error:
        raise MissingInputError(f"{error.filename}: missing: train this run first") from error
    recipe = Recipe(**state["recipe"])
    if recipe.kind != "spiking":
        raise DataError(
            f"{run} is a dense twin, made to compare with: the engine has no such model"
        )
    facts = _facts(recipe, state, curve)
    if blend is not None:
        state["model"] = _blended(state["model"], read_start(blend), share)
        facts["share"] = share
    template = replace(BUNDLED, budget=recipe.length - ANSWER_ROOM)
    checkpoint = run / "checkpoint.pt"
    torch.save(
        {
            "config": official_config(recipe.model()),
            "model": state["model"],
            "global_step": state["step"],
            "prompt_template": asdict(template),
            "training": facts,
        },
        checkpoint,
    )
    made = convert(checkpoint, target, precision="int8", tokenizer=run / "tokenizer.model")
    record = {**facts, "curve": curve}
    target.with_suffix(".json").write_text(_compact(record) + "\n", encoding="utf-8")
    print(f"{target}: {made.nbytes / 1e6:.2f} MB, {facts['parameters']:,} parameters")


def _blended(weights: dict[str, Tensor], other: Start, share: float) -> dict[str, Tensor]:
    # A container has no scalars: it holds one as an array of one.
    scalars = {n for n, w in weights.items() if w.shape == ()}
    given = {n: w.squeeze() if n in scalars else w for n, w in other.weights.items()}
    if {n: w.shape for n, w in weights.items()} != {n: w.shape for n, w in given.items()}:
        raise DataError(f"{other.path}: has other tensors than the run")
    return {n: share * w + (1 - share) * given[n] for n, w in weights.items()}


def _facts(recipe: Recipe, state: dict[str, Any], curve: list[dict[str, Any]]) -> dict[str, Any]:
    last = curve[-1] if curve else {}
    return {
        "recipe": asdict(recipe),
        "parameters": sum(math.prod(t.shape) for t in state["model"].values()),
        "steps": state["step"],
        "tokens": last.get("tokens"),
        "training_minutes": round(state["elapsed_s"] / 60, 1),
        "dev_accuracy": last.get("dev_accuracy"),
        "dev_answer_loss": last.get("dev_answer_loss"),
    }


def _compact(record: dict[str, Any]) -> str:
    """JSON with one line per fact and one per point of the curve."""
    curve = ",\n".join(f"    {json.dumps(point)}" for point in record["curve"])
    facts = ",\n".join(
        f"  {json.dumps(name)}: {json.dumps(value)}"
        for name, value in record.items()
        if name != "curve"
    )
    return f'{{\n{facts},\n  "curve": [\n{curve}\n  ]\n}}'
