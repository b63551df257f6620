"""The one table of a model's tensors: names, element types, shapes and layouts.

Writer, reader, converter, synthesiser and engine all derive from `expected_tensors`; nothing else
in the project spells a shape. Names are those of the public checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, NamedTuple

from edgespike.errors import DataError
from edgespike.model.config import ModelConfig, Precision
from edgespike.model.header import describe

DType = Literal["I8", "U8", "F32"]
Layout = Literal["output-major", "input-major", "output-major-int4"]

TOKENIZER = "tokenizer.model"
EMBEDDING = "spike_encoder.frontend.text_embedding.weight"
PRIOR_WEIGHT = "output_head.prior_weight"

# Far above any real model, and low enough that a hostile header can't make a reader work or
# allocate without bound.
_MAX_NUMBER = 1e12
_LIMITS = {
    "vocab_size": (1, 1 << 24),
    "embed_dim": (1, 1 << 16),
    "n_layers": (1, 1024),
    "n_heads": (1, 1 << 15),
    "head_dim": (1, 1 << 16),
    "intermediate_dim": (1, 1 << 20),
    "window": (0, 1 << 20),
    "anchors": (0, 1 << 16),
    "active_vocab": (1, 1 << 24),
    "context": (1, 1 << 24),
}


class TensorSpec(NamedTuple):
    """What one tensor of a container has to be; `layout` is None for vectors."""

    dtype: DType
    shape: tuple[int, ...]
    layout: Layout | None


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Where one tensor lies: `offset` in bytes from the start of the data section."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    offset: int
    nbytes: int
    layout: Layout | None


# Inputs of a chunk of 4-bit weights, and its bytes.
CHUNK, CHUNK_BYTES = 64, 32


def packed_bytes(inputs: int) -> int:
    """Bytes of a row of `inputs` 4-bit weights."""
    return -(-inputs // CHUNK) * CHUNK_BYTES


def scale_name(matrix: str) -> str:
    """Name of the per-row (or per-output-channel) scale of a matrix `X.weight`: `X.scale`."""
    return matrix.removesuffix(".weight") + ".scale"


def check_config(config: ModelConfig) -> None:
    """Raise DataError, naming the field, when `config` describes no possible model."""
    for field in fields(ModelConfig):
        value = getattr(config, field.name)
        if field.name in _LIMITS:
            low, high = _LIMITS[field.name]
            if type(value) is not int or not low <= value <= high:
                raise DataError(
                    f"configuration: {field.name} is {describe(value)}; "
                    f"it must be a whole number from {low} to {high}"
                )
        elif field.type == "bool":
            if type(value) is not bool:
                raise DataError(
                    f"configuration: {field.name} is {describe(value)}; it must be true or false"
                )
        elif type(value) not in (int, float) or not abs(value) < _MAX_NUMBER:
            raise DataError(
                f"configuration: {field.name} is {describe(value)}; it must be a number"
            )
    if config.n_heads * config.head_dim != config.embed_dim:
        raise DataError(
            f"configuration: n_heads {config.n_heads} times head_dim {config.head_dim} "
            f"is not embed_dim {config.embed_dim}"
        )
    if config.head_dim % 2 and config.attention:
        raise DataError(
            f"configuration: head_dim {config.head_dim} is odd; RoPE turns pairs of elements"
        )
    if config.dynamic_prior and config.prior_dim < 1:
        raise DataError(f"configuration: embed_dim {config.embed_dim} leaves no room for a prior")
    if not 1 <= config.active_vocab <= config.vocab_size:
        raise DataError(
            f"configuration: active_vocab {config.active_vocab} is not within "
            f"vocab_size {config.vocab_size}"
        )
    if not 0.0 <= config.leak <= 1.0:
        raise DataError(f"configuration: leak {config.leak} is not from 0 to 1")
    if config.rope_theta <= 0.0:
        raise DataError(f"configuration: rope_theta {config.rope_theta} is not above 0")


def checkpoint_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Shapes by name of the float checkpoint of `config`, in the order the engine reads them.

    Matrices are [out, in]. The scalar `output_head.prior_weight` counts as [1].
    """
    D, F, V, B, H = (
        config.embed_dim,
        config.intermediate_dim,
        config.vocab_size,
        config.prior_dim,
        config.n_heads,
    )
    shapes: dict[str, tuple[int, ...]] = {
        EMBEDDING: (V, D),
        "spike_encoder.norm.weight": (D,),
        "spike_encoder.norm.bias": (D,),
    }
    for i in range(config.n_layers):
        tcam, ffn = f"blocks.{i}.tcam.", f"blocks.{i}.ffn."
        shapes[tcam + "decay_raw"] = (H,)
        shapes[tcam + "attn_gate"] = (1,)
        shapes[tcam + "tcam_proj.weight"] = (D, D)
        if config.attention:
            for projection in "qkv":
                shapes[f"{tcam}sparse_attn.{projection}_proj.weight"] = (D, D)
        shapes[tcam + "out_proj.weight"] = (D, D)
        shapes[tcam + "norm.weight"] = shapes[tcam + "norm.bias"] = (D,)
        shapes[ffn + "up.weight"] = (F, D)
        shapes[ffn + "down.weight"] = (D, F)
        shapes[ffn + "norm.weight"] = shapes[ffn + "norm.bias"] = (D,)
    shapes["output_head.output_proj.weight"] = (V, D)
    shapes[PRIOR_WEIGHT] = (1,)
    if config.dynamic_prior:
        shapes["output_head.prior_net.0.weight"] = (B, D)
        shapes["output_head.prior_net.2.weight"] = (V, B)
    else:
        shapes["output_head.log_prior"] = (V,)
    return shapes


def is_spike_fed(name: str) -> bool:
    """Whether the matrix multiplies binary spikes, so that only columns that fired are read."""
    return name.endswith((".tcam.tcam_proj.weight", ".ffn.down.weight"))


def is_packed(name: str, precision: Precision) -> bool:
    """Whether the matrix is stored with two weights in a byte.

    In `int4` all but the embedding, where it cost most (measured on the bundled model, against
    fp32: KL divergence of its answers 0.0094 nats, 0.022 with the embedding as well, in groups of
    64), and the spike-fed matrices, of which little is read.
    """
    return precision == "int4" and name != EMBEDDING and not is_spike_fed(name)


def expected_tensors(config: ModelConfig, precision: Precision) -> dict[str, TensorSpec]:
    """Every tensor of a container but the tokenizer and the padding, in file order.

    The spike-fed matrices are stored input-major, [in, out], so that a fired input is one
    contiguous run; all others, and all of `fp32-rowmajor`, are output-major, [out, in].
    An int8 matrix is followed by its f32 scales, one per output channel (embedding: one per row).

    4-bit weights (`output-major-int4`) are whole numbers from -7 to 7 times the scale of their
    row, in two's complement. A row is padded with zeros to chunks of 64 weights in 32 bytes: byte i
    holds weight i of the chunk in its low half and weight 32 + i in its high half. The rest of an
    `int4` model is int8.
    """
    table: dict[str, TensorSpec] = {}
    for name, shape in checkpoint_shapes(config).items():
        if len(shape) == 1:
            table[name] = TensorSpec("F32", shape, None)
            continue
        flipped = precision != "fp32-rowmajor" and is_spike_fed(name)
        layout: Layout = "input-major" if flipped else "output-major"
        stored = shape[::-1] if flipped else shape
        if is_packed(name, precision):
            size = (shape[0], packed_bytes(shape[1]))
            table[name] = TensorSpec("U8", size, "output-major-int4")
            table[scale_name(name)] = TensorSpec("F32", shape[:1], None)
        elif precision in ("int8", "int4"):
            table[name] = TensorSpec("I8", stored, layout)
            table[scale_name(name)] = TensorSpec("F32", shape[:1], None)
        else:
            table[name] = TensorSpec("F32", stored, layout)
    return table
