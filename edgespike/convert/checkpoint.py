"""Checkpoints of the public formats, read without PyTorch, one tensor at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from edgespike.convert.unpickle import MAX_PICKLE_BYTES, TensorRef, unpickle
from edgespike.convert.zipindex import ZipEntry, check_entry, read_zip_index
from edgespike.errors import DataError
from edgespike.model.header import (
    ELEMENT_BYTES,
    MAX_HEADER_BYTES,
    open_input,
    printable,
    read_header,
    strict_json,
)

_RECOMPUTED = ("v_mem", "_cached_mask", "inv_freq")
_MODEL_KEYS = ("model", "model_state_dict", "state_dict")
_CARRIED = ("prompt_template", "training")
_NUMPY = {"F32": "<f4", "F16": "<f2", "F64": "<f8", "BF16": "<u2"}
# A view that repeats elements may be larger than its storage; this bounds what it can cost.
_MAX_EXPANDED = 1 << 24


@dataclass(frozen=True, slots=True)
class SourceTensor:
    """A tensor in a file: first element at byte `start`; `strides` in elements."""

    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    start: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The tensors of a checkpoint by their plain names, its raw configuration, and what else
    (`prompt_template`, `training`) it carries for the container."""

    path: Path
    tensors: Mapping[str, SourceTensor]
    raw_config: Mapping[Any, Any]
    carried: Mapping[str, Any]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tensor.shape for name, tensor in self.tensors.items()}

    def read(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """One tensor as float32; where the file holds plain float32, a view of the mapped file.

        DataError when it is missing, or its shape isn't `shape` (a scalar counts as [1]).
        """
        tensor = self.tensors.get(name)
        if tensor is None:
            raise DataError(f"tensor {name}: missing")
        if (tensor.shape or (1,)) != shape:
            raise DataError(
                f"tensor {name}: shape {list(tensor.shape)} where the configuration says "
                f"{list(shape)}"
            )
        if tensor.dtype not in _NUMPY:
            raise DataError(f"tensor {name}: {tensor.dtype} is not a floating-point type")
        item = ELEMENT_BYTES[tensor.dtype]
        span = 1 + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.strides, strict=True))
        raw = np.memmap(self.path, np.uint8, "r", offset=tensor.start, shape=(span * item,))
        values: NDArray[Any] = np.ndarray(
            tensor.shape,
            np.dtype(_NUMPY[tensor.dtype]),
            raw.data,
            strides=tuple(step * item for step in tensor.strides),
        )
        if tensor.dtype == "BF16":  # the upper half of a float32
            values = values.astype(np.uint32)
            values <<= 16
            values = values.view(np.float32)
        with np.errstate(over="ignore"):  # an overflow becomes infinity, which is refused later
            return values.astype(np.float32, copy=False).reshape(shape)


def open_checkpoint(path: Path) -> Checkpoint:
    """Read the table of a PyTorch zip file or a safetensors file; no tensor is read yet.

    Raises MissingInputError, or DataError in one line; never runs what the file says.
    """
    with open_input(path) as file:
        start = file.read(16)
        file.seek(0)
        if start[:2] == b"PK":
            return _read_zip(file, path)
        if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= MAX_HEADER_BYTES:
            return _read_safetensors(file, path)
    if start[:1] == b"\x80":
        raise DataError(
            f"{path}: a PyTorch file from before version 1.6; "
            "load it and save it again by torch.save"
        )
    raise DataError(f"{path}: neither a PyTorch checkpoint (zip) nor a safetensors file")


def _read_zip(file: BinaryIO, path: Path) -> Checkpoint:
    entries = read_zip_index(file, path)
    roots = [name[: -len("data.pkl")] for name in entries if name.split("/")[-1] == "data.pkl"]
    if len(roots) != 1:
        raise DataError(f"{path}: holds {len(roots)} data.pkl; not a file made by torch.save")
    root = roots[0]
    if (order := entries.get(root + "byteorder")) is not None:
        file.seek(order.start)
        if file.read(min(order.size, 16)) != b"little":
            raise DataError(f"{path}: byteorder is not little; save it on another machine")
    pickle = entries[root + "data.pkl"]
    file.seek(pickle.start)
    data = file.read(min(pickle.size, MAX_PICKLE_BYTES + 1))
    try:
        check_entry(file, root + "data.pkl", pickle)
        top = unpickle(data)
        state = _state_dict(top)
        tensors = {
            name: _located(name, value, entries, root)
            for name, value in state.items()
            if isinstance(value, TensorRef)
        }
        used = {ref.storage.key for ref in state.values() if isinstance(ref, TensorRef)}
        for key in sorted(used):
            check_entry(file, f"{root}data/{key}", entries[f"{root}data/{key}"])
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    config = top.get("config")
    return Checkpoint(
        path,
        _plain_names(path, tensors),
        config if isinstance(config, dict) else {},
        {key: top[key] for key in _CARRIED if key in top},
    )


def _state_dict(top: Any) -> dict[str, Any]:
    if isinstance(top, dict):
        for key in _MODEL_KEYS:
            if isinstance(top.get(key), dict):
                top = top[key]
                break
        if any(isinstance(value, TensorRef) for value in top.values()):
            return {name: value for name, value in top.items() if isinstance(name, str)}
    raise DataError("holds no state dict, neither bare nor under 'model' or 'model_state_dict'")


def _located(
    name: str, value: TensorRef, entries: Mapping[str, ZipEntry], root: str
) -> SourceTensor:
    storage = value.storage
    entry = entries.get(f"{root}data/{storage.key}")
    where = f"tensor {printable(name)}"
    if entry is None:
        raise DataError(f"{where}: its storage {printable(storage.key)} is not in the file")
    item = ELEMENT_BYTES[storage.dtype]
    if storage.elements * item > entry.size:
        raise DataError(
            f"{where}: storage {printable(storage.key)} says {storage.elements} elements and "
            f"has {entry.size} bytes: truncated"
        )
    if math.prod(value.shape) > max(storage.elements, _MAX_EXPANDED):
        raise DataError(f"{where}: claims more elements than its storage holds")
    return SourceTensor(
        storage.dtype, value.shape, value.strides, entry.start + value.offset * item
    )


def _read_safetensors(file: BinaryIO, path: Path) -> Checkpoint:
    header = read_header(file, path)
    if "edgespike.version" in header.metadata:
        raise DataError(f"{path}: is a model file already; convert needs the checkpoint")
    tensors = {}
    for entry in header.entries:
        strides = tuple(math.prod(entry.shape[i + 1 :]) for i in range(len(entry.shape)))
        start = header.data_start + entry.offset
        tensors[entry.name] = SourceTensor(entry.dtype, entry.shape, strides, start)
    beside = path.with_name("config.json")
    config: object = {}
    if "config" in header.metadata:
        config = strict_json(header.metadata["config"], f"{path}: metadata config")
    elif beside.is_file():
        with open_input(beside) as text:
            config = strict_json(text.read(MAX_HEADER_BYTES), str(beside))
    if not isinstance(config, dict):
        raise DataError(f"{path}: its configuration is not a JSON object")
    carried = {
        key: strict_json(header.metadata[key], f"{path}: metadata {key}")
        for key in _CARRIED
        if key in header.metadata
    }
    return Checkpoint(path, _plain_names(path, tensors), config, carried)


def _plain_names(path: Path, tensors: Mapping[str, SourceTensor]) -> dict[str, SourceTensor]:
    """Without the prefixes of wrappers, and without what is recomputed."""
    plain: dict[str, SourceTensor] = {}
    for full, tensor in tensors.items():
        name = full.replace("_orig_mod.", "")  # torch.compile; it can wrap any submodule
        while name.startswith("module."):  # DataParallel
            name = name.removeprefix("module.")
        if any(part in name for part in _RECOMPUTED):
            continue
        if name in plain:
            raise DataError(f"{path}: tensor {printable(name)}: occurs twice")
        plain[name] = tensor
    return plain
