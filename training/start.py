"""What a run begins with: the weights and the tokenizer of a checkpoint, or of a container."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from edgespike.errors import DataError, MissingInputError
from edgespike.model.container import Container, open_container
from edgespike.model.tensors import TOKENIZER, scale_name

VOCABULARY = "tokenizer.model"
PER_PIECE = ("text_embedding.weight", "output_proj.weight", "prior_net.2.weight")
"""Tensors with a row for every piece."""

HIDDEN_IN, HIDDEN_OUT = "ffn.up.weight", "ffn.down.weight"
"""Tensors with a row, and with a column, for every hidden unit."""

RECOMPUTED = ("v_mem", "_cached_mask", "inv_freq")
"""Entries of official checkpoints that are no parameters."""


@dataclass(frozen=True, slots=True)
class Start:
    """Weights by their names, float32 [out, in], and the tokenizer if there is one."""

    path: Path
    weights: dict[str, Tensor]
    tokenizer: bytes | None


def read_start(path: Path) -> Start:
    """An official checkpoint with the tokenizer beside it, or what a container stands for: not what
    it was made from, but what it answers as. Raises MissingInputError and DataError.
    """
    if path.suffix == ".safetensors":
        container = open_container(path)
        return Start(path, _dequantised(container), container.tokenizer)
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise MissingInputError(f"{path}: no such checkpoint") from error
    weights = {
        name: value
        for name, value in checkpoint["model"].items()
        if not any(part in name for part in RECOMPUTED)
    }
    beside = path.parent / VOCABULARY
    return Start(path, weights, beside.read_bytes() if beside.exists() else None)


def _dequantised(container: Container) -> dict[str, Tensor]:
    weights = {}
    for name, info in container.tensors.items():
        if name == TOKENIZER or name.endswith(".scale"):
            continue
        if info.layout == "output-major-int4":
            raise DataError(f"{container.path}: 4-bit weights are too coarse to go on from")
        values = container.array(name)
        if info.layout == "input-major":
            values = values.T
        if scale_name(name) in container.tensors:
            values = values * container.array(scale_name(name))[:, None]
        weights[name] = torch.from_numpy(np.array(values, np.float32))
    return weights


def begin_with(model: nn.Module, start: Start) -> None:
    """Gives `model` the weights; its new pieces and hidden units keep the rows that it drew."""
    weights, own = dict(start.weights), model.state_dict()
    for name, given in [(n, w) for n, w in weights.items() if n in own]:
        more = own[name].shape[-1] - given.shape[-1] if name.endswith(HIDDEN_OUT) else 0
        if name.endswith((*PER_PIECE, HIDDEN_IN)) and given.shape[1:] == own[name].shape[1:]:
            weights[name] = torch.cat([given, own[name][given.shape[0] :]])
        elif more > 0:
            weights[name] = torch.nn.functional.pad(given, (0, more))
    try:
        missing, unexpected = model.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise DataError(f"{start.path}: has another shape than the recipe") from error
    # Exports with a constant prior weight lack its entry.
    if unexpected or set(missing) - {"output_head.prior_weight"}:
        raise DataError(f"{start.path}: has other tensors than the recipe")
