"""Files for the tests of containers and checkpoints: made by hand, then damaged on purpose."""

from __future__ import annotations

import hashlib
import json
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgespike.model.config import ModelConfig, Precision
from edgespike.model.container import ContainerWriter
from edgespike.model.tensors import TOKENIZER, checkpoint_shapes

GOLDEN = Path(__file__).parent / "data" / "golden"
CASES = ("small-08b", "small-194m", "silent-positions", "static-prior", "decay-only")

# Nothing in it is a multiple of 64, or of 8.
ODD = ModelConfig(
    vocab_size=23, embed_dim=18, n_layers=2, n_heads=3, head_dim=6, intermediate_dim=21,
    window=5, anchors=1, active_vocab=23, context=32,
)  # fmt: skip

OFFICIAL = {
    "vocab_size": 23, "embed_dim": 18, "n_layers": 2, "n_heads": 3, "head_dim": 6,
    "intermediate_dim": 21, "sparse_attn_window": 5, "n_global_anchors": 1, "max_seq_len": 32,
    "spike_threshold": 1.0, "leak_factor": 0.95, "rope_theta": 10000.0,
    "enable_sparse_attn": True, "enable_dynamic_prior": True, "dropout": 0.0,
}  # fmt: skip


def state_dict(config: ModelConfig = ODD, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    return {n: rng.standard_normal(s, np.float32) for n, s in checkpoint_shapes(config).items()}


def write_container(
    path: Path, precision: Precision = "int8", tokenizer: bytes | None = None
) -> Path:
    """A container of the odd shape, with random contents."""
    rng = np.random.default_rng(1)
    with ContainerWriter(
        path, ODD, precision, tokenizer=tokenizer, metadata={"training": {"note": "by a test"}}
    ) as writer:
        for name, info in writer.tensors.items():
            if name == TOKENIZER:
                continue
            if info.dtype == "I8":
                writer.write(name, rng.integers(-127, 128, info.shape, np.int8))
            elif info.dtype == "U8":
                halves = rng.integers(-7, 8, (2, *info.shape)).astype(np.uint8)
                writer.write(name, halves[0] << 4 | halves[1] & 15)
            else:
                writer.write(name, rng.random(info.shape, np.float32))
    return path


def unpacked(stored: NDArray[np.uint8], inputs: int) -> NDArray[np.int8]:
    """Rows of 4-bit weights as whole numbers, one by one: what byte 32 c + i says."""
    rows = np.zeros((len(stored), inputs), np.int8)
    for column in range(inputs):
        chunk, place = divmod(column, 64)
        byte = stored[:, 32 * chunk + place % 32].astype(int)
        half = byte // 16 if place >= 32 else byte % 16
        rows[:, column] = np.where(half > 7, half - 16, half)
    return rows


def data_start(path: Path) -> int:
    with path.open("rb") as file:
        return 8 + int(struct.unpack("<Q", file.read(8))[0])


def rewrite_header(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Apply `edit` to the parsed header, then make digest and padding right again: a forgery."""
    raw = path.read_bytes()
    start = data_start(path)
    header = json.loads(raw[8:start])
    edit(header)
    header["__metadata__"]["edgespike.header_sha256"] = "0" * 64
    body = json.dumps(header, separators=(",", ":")).encode()
    body += b" " * (-(8 + len(body)) % 64)
    head = struct.pack("<Q", len(body)) + body
    digest = hashlib.sha256(head).hexdigest().encode()
    field = b'"edgespike.header_sha256":"'
    path.write_bytes(head.replace(field + b"0" * 64, field + digest) + raw[start:])


@dataclass(frozen=True)
class View:
    """A tensor of a hand-made checkpoint: a strided view of storage `key`."""

    key: str
    kind: str
    elements: int
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    parameter: bool = False


def whole(key: str, kind: str, shape: tuple[int, ...], **more: Any) -> View:
    """A contiguous tensor that is all of its storage."""
    strides = tuple(int(np.prod(shape[i + 1 :], dtype=int)) for i in range(len(shape)))
    return View(key, kind, int(np.prod(shape, dtype=int)), 0, shape, strides, **more)


def pickled(value: Any) -> bytes:
    """The pickle that torch.save writes for `value`, without PyTorch."""
    return b"\x80\x02" + _emit(value) + b"."


def _emit(value: Any) -> bytes:
    match value:
        case None:
            return b"N"
        case bool():
            return b"\x88" if value else b"\x89"
        case int() if 0 <= value < 256:
            return b"K" + bytes([value])
        case int():
            data = value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True)
            return b"\x8b" + struct.pack("<i", len(data)) + data
        case float():
            return b"G" + struct.pack(">d", value)
        case str():
            data = value.encode()
            return b"X" + struct.pack("<I", len(data)) + data
        case tuple():
            return b"(" + b"".join(map(_emit, value)) + b"t"
        case list():
            return b"](" + b"".join(map(_emit, value)) + b"e"
        case dict():
            return b"}(" + b"".join(_emit(k) + _emit(v) for k, v in value.items()) + b"u"
        case View():
            storage = b"(" + _emit("storage") + b"ctorch\n" + value.kind.encode() + b"\n"
            storage += _emit(value.key) + _emit("cpu") + _emit(value.elements) + b"tQ"
            tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + _emit(value.offset)
            tensor += _emit(value.shape) + _emit(value.strides)
            tensor += b"\x89ccollections\nOrderedDict\n)RtR"
            if value.parameter:
                hooks = b"ccollections\nOrderedDict\n)R"
                tensor = b"ctorch._utils\n_rebuild_parameter\n(" + tensor + b"\x88" + hooks + b"tR"
            return tensor
    raise TypeError(type(value))


def write_zip(
    path: Path,
    pickle: bytes,
    storages: dict[str, bytes],
    *,
    compression: int = zipfile.ZIP_STORED,
    byteorder: bytes = b"little",
) -> Path:
    """A PyTorch zip file of these parts."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickle)
        archive.writestr("archive/byteorder", byteorder)
        for key, data in storages.items():
            archive.writestr(f"archive/data/{key}", data)
        archive.writestr("archive/version", "3\n")
    return path


def write_checkpoint(
    path: Path,
    tensors: dict[str, NDArray[np.float32]],
    *,
    config: dict[str, Any] | None = OFFICIAL,
    key: str = "model",
    prefix: str = "",
    **extra: Any,
) -> Path:
    """An official-format float32 checkpoint of `tensors`."""
    state: dict[str, Any] = {}
    storages: dict[str, bytes] = {}
    for number, (name, values) in enumerate(tensors.items()):
        state[prefix + name] = whole(str(number), "FloatStorage", values.shape)
        storages[str(number)] = values.astype("<f4").tobytes()
    top = state if not key else {key: state, "global_step": 5, **extra}
    if config is not None and key:
        top["config"] = config
    return write_zip(path, pickled(top), storages)
