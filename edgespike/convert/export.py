"""Checkpoint -> container, one tensor at a time."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgespike.convert.checkpoint import Checkpoint, open_checkpoint
from edgespike.convert.quantise import store
from edgespike.convert.shape import resolve_config
from edgespike.errors import DataError, UsageError
from edgespike.model.config import PRECISIONS, ModelConfig, Precision
from edgespike.model.container import MAX_TOKENIZER_BYTES, ContainerWriter
from edgespike.model.header import open_input, printable
from edgespike.model.tensors import PRIOR_WEIGHT, checkpoint_shapes
from edgespike.tokenizer import Tokenizer

Progress = Callable[[str, int, int], None]  # tensor just written, parameters done, of how many

# What the public implementation adds of the prior when the checkpoint has no learned weight.
_CONSTANT_PRIOR_WEIGHT = 0.1


@dataclass(frozen=True, slots=True)
class Conversion:
    """What a conversion made. `ignored` are tensors that this kind of model has no use for."""

    target: Path
    config: ModelConfig
    precision: Precision
    nbytes: int
    ignored: tuple[str, ...]


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    precision: Precision = "int8",
    tokenizer: str | os.PathLike[str] | None = None,
    metadata: Mapping[str, object] | None = None,
    progress: Progress | None = None,
) -> Conversion:
    """Write the checkpoint `source` (PyTorch `.pt` or safetensors) as the model file `target`.

    `tokenizer` is a SentencePiece model to embed; its size becomes the number of ids that may be
    sampled. `metadata` (JSON values under `prompt_template`, `training`, `firing`) overrides what
    the checkpoint carries under those keys. The target appears only when it is complete.

    Raises MissingInputError, DataError naming tensor or field, UsageError, UnavailableError (disk).
    """
    if precision not in PRECISIONS:
        raise UsageError(f"precision {precision!r} is none of {', '.join(PRECISIONS)}")
    target = Path(target)
    if target.exists() and os.path.exists(source) and os.path.samefile(source, target):
        raise UsageError(f"{target}: is the checkpoint itself; choose another name to write to")
    checkpoint = open_checkpoint(Path(source))
    vocabulary, pieces = (None, None) if tokenizer is None else read_tokenizer(Path(tokenizer))
    facts = {**checkpoint.carried, **(metadata or {})}
    try:
        _check_json(facts)
        config = resolve_config(checkpoint.raw_config, checkpoint.shapes, pieces)
        shapes = checkpoint_shapes(config)
        with ContainerWriter(
            target, config, precision, tokenizer=vocabulary, metadata=facts
        ) as writer:
            _copy(checkpoint, shapes, writer, progress)
    except DataError as error:
        raise DataError(f"{source}: {error}") from None
    ignored = tuple(printable(name) for name in checkpoint.tensors if name not in shapes)
    return Conversion(target, config, precision, target.stat().st_size, ignored)


def _copy(
    checkpoint: Checkpoint,
    shapes: Mapping[str, tuple[int, ...]],
    writer: ContainerWriter,
    progress: Progress | None,
) -> None:
    sizes = {name: int(np.prod(shape, dtype=np.int64)) for name, shape in shapes.items()}
    total, done = sum(sizes.values()), 0
    for name, shape in shapes.items():
        if name == PRIOR_WEIGHT and name not in checkpoint.tensors:
            values = np.array([_CONSTANT_PRIOR_WEIGHT], np.float32)
        else:
            values = checkpoint.read(name, shape)
        store(writer, name, values)
        done += sizes[name]
        if progress is not None:
            progress(name, done, total)


def read_tokenizer(path: Path) -> tuple[bytes, int]:
    """A SentencePiece model and its number of pieces; MissingInputError or DataError."""
    with open_input(path) as file:
        data = file.read(MAX_TOKENIZER_BYTES + 1)
    if not 0 < len(data) <= MAX_TOKENIZER_BYTES:
        raise DataError(f"{path}: empty or too large for a SentencePiece model")
    try:
        return data, Tokenizer(data).size
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _check_json(facts: Mapping[str, Any]) -> None:
    for key, value in facts.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            raise DataError(f"{key} holds what JSON can't say") from None
