"""Views of a container that the kernels read: offsets into the map, nothing copied."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgespike.model import arrays
from edgespike.model.config import KeyValuePrecision, ModelConfig, Precision
from edgespike.model.container import Container
from edgespike.model.tensors import EMBEDDING, scale_name

_CODES: dict[Precision, int] = {
    "int8": arrays.INT8,
    "int4": arrays.INT4,
    "fp32": arrays.FP32,
    "fp32-rowmajor": arrays.FP32_ROWMAJOR,
}
_KV_CODES: dict[KeyValuePrecision, int] = {
    "fp32": arrays.KV_FP32,
    "int16": arrays.KV_INT16,
    "int8": arrays.KV_INT8,
}
_LAYER_MATRICES = (
    "tcam.tcam_proj.weight",
    "tcam.sparse_attn.q_proj.weight",
    "tcam.sparse_attn.k_proj.weight",
    "tcam.sparse_attn.v_proj.weight",
    "tcam.out_proj.weight",
    "ffn.up.weight",
    "ffn.down.weight",
)
_LAYER_VECTORS = ("tcam.norm.weight", "tcam.norm.bias", "ffn.norm.weight", "ffn.norm.bias")
_END_MATRICES = (
    EMBEDDING,
    "output_head.output_proj.weight",
    "output_head.prior_net.0.weight",
    "output_head.prior_net.2.weight",
)
_END_VECTORS = ("spike_encoder.norm.weight", "spike_encoder.norm.bias", "output_head.log_prior")
_ABSENT = -1


def map_weights(container: Container) -> arrays.Weights:
    """Views of `container` for the kernels; the map stays the only copy of the matrices."""
    config = container.config
    image = container.image
    whole = image[: image.size // 4 * 4]
    prefixes = [f"blocks.{i}." for i in range(config.n_layers)]
    layers = [_offsets(container, prefix, _LAYER_MATRICES, _LAYER_VECTORS) for prefix in prefixes]
    exponents = -2.0 * np.arange(config.head_dim // 2) / config.head_dim
    return arrays.Weights(
        bytes8=image.view(np.ndarray).view(np.int8),
        floats=whole.view(np.ndarray).view(np.float32),
        layers=np.array(layers, np.int64),
        ends=np.array(_offsets(container, "", _END_MATRICES, _END_VECTORS), np.int64),
        decay=np.stack([_sigmoid(container.array(p + "tcam.decay_raw")) for p in prefixes]),
        gate=np.stack([_sigmoid(container.array(p + "tcam.attn_gate"))[0] for p in prefixes]),
        inverse_frequency=np.float64(config.rope_theta) ** exponents,
        precision=_CODES[container.precision],
    )


def model_shape(
    config: ModelConfig, prior_weight: np.float32, kv: KeyValuePrecision
) -> arrays.Shape:
    """The constants that the kernels need."""
    return arrays.Shape(
        dim=config.embed_dim,
        layers=config.n_layers,
        heads=config.n_heads,
        head_dim=config.head_dim,
        hidden=config.intermediate_dim,
        prior=config.prior_dim,
        vocab=config.vocab_size,
        window=config.window,
        anchors=config.anchors,
        attention=config.attention,
        dynamic_prior=config.dynamic_prior,
        threshold=np.float32(config.threshold),
        leak=np.float32(config.leak),
        prior_weight=prior_weight,
        kv=_KV_CODES[kv],
    )


def _offsets(
    container: Container, prefix: str, matrices: tuple[str, ...], vectors: tuple[str, ...]
) -> list[int]:
    """Offsets of matrices, then of their scales, then of vectors, in elements of their type."""
    names = [*matrices, *map(scale_name, matrices), *vectors]
    return [_offset(container, prefix + name) for name in names]


def _offset(container: Container, name: str) -> int:
    info = container.tensors.get(name)
    if info is None:
        return _ABSENT
    return info.offset // (4 if info.dtype == "F32" else 1)


def _sigmoid(x: NDArray[Any]) -> NDArray[np.float32]:
    return (1.0 / (1.0 + np.exp(-x.astype(np.float64)))).astype(np.float32)
