"""A checkpoint's configuration and tensor shapes -> ModelConfig."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from edgespike.errors import DataError
from edgespike.model.config import ModelConfig
from edgespike.model.header import describe
from edgespike.model.tensors import EMBEDDING, check_config

# key of the public configuration -> field of ours; all other keys are ignored
_KEYS = {
    "vocab_size": "vocab_size",
    "embed_dim": "embed_dim",
    "n_layers": "n_layers",
    "n_heads": "n_heads",
    "head_dim": "head_dim",
    "intermediate_dim": "intermediate_dim",
    "sparse_attn_window": "window",
    "n_global_anchors": "anchors",
    "spike_threshold": "threshold",
    "leak_factor": "leak",
    "rope_theta": "rope_theta",
    "enable_sparse_attn": "attention",
    "enable_dynamic_prior": "dynamic_prior",
    "active_vocab": "active_vocab",
    "max_seq_len": "context",
}
_TYPES = {field.name: str(field.type) for field in fields(ModelConfig)}
# What the tensors merely suggest; the configuration may say otherwise.
_FLAGS = ("attention", "dynamic_prior")


def resolve_config(
    raw: Mapping[Any, Any], shapes: Mapping[str, tuple[int, ...]], pieces: int | None
) -> ModelConfig:
    """The configuration of a checkpoint with tensors of `shapes`.

    A key that `raw` lacks is taken from the shapes, else from the 0.8B release. `pieces` is the
    size of the tokenizer, if one is known. Raises DataError naming the key that can't be.
    """
    seen = _from_shapes(shapes)
    facts: dict[str, Any] = dict(seen)
    for key, name in _KEYS.items():
        if key not in raw:
            continue
        value = _typed(key, raw[key], _TYPES[name])
        if name in seen and name not in _FLAGS and seen[name] != value:
            raise DataError(f"config {key} is {describe(value)}; the tensors say {seen[name]}")
        facts[name] = value
    facts.setdefault("active_vocab", facts["vocab_size"])
    if pieces is not None:
        if pieces > facts["vocab_size"]:
            raise DataError(
                f"the tokenizer has {pieces} pieces and the model only {facts['vocab_size']}: "
                "it belongs to another model"
            )
        facts["active_vocab"] = pieces
    config = ModelConfig(**facts)
    check_config(config)
    return config


def _from_shapes(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    embedding = shapes.get(EMBEDDING)
    if embedding is None or len(embedding) != 2:
        raise DataError(f"tensor {EMBEDDING}: missing or not a matrix: not a SymbolicLight model")
    V, D = embedding
    layers = [int(m[1]) for name in shapes if (m := re.match(r"blocks\.(\d{1,6})\.", name))]
    facts: dict[str, Any] = {
        "vocab_size": V,
        "embed_dim": D,
        "n_layers": max(layers, default=-1) + 1,
        "attention": "blocks.0.tcam.sparse_attn.q_proj.weight" in shapes,
        "dynamic_prior": "output_head.prior_net.0.weight" in shapes,
    }
    match shapes.get("blocks.0.tcam.decay_raw"):
        case (H,) if H > 0 and D % H == 0:
            facts |= {"n_heads": H, "head_dim": D // H}
    match shapes.get("blocks.0.ffn.up.weight"):
        case (F, _):
            facts["intermediate_dim"] = F
    return facts


def _typed(key: str, value: object, kind: str) -> object:
    if kind == "float" and type(value) in (int, float):
        return value
    if type(value).__name__ != kind:
        raise DataError(f"config {key} is {describe(value)}; it must be of type {kind}")
    return value
