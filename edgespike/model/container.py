"""The model file: written once, then checked and memory-mapped by everything that runs it.

A safetensors file in which the data section and every tensor start on a 64-byte boundary (tensors
`__pad.<n>` fill the gaps), and whose `__metadata__` says what it holds:

    edgespike.version          "1"
    edgespike.config           JSON of ModelConfig
    edgespike.precision        int8 | int4 | fp32 | fp32-rowmajor
    edgespike.layouts          JSON: matrix -> output-major | input-major | output-major-int4
    edgespike.sha256           JSON: tensor -> SHA-256 of its bytes
    edgespike.header_sha256    SHA-256 of all bytes before the data section, its own digits as zeros
    edgespike.firing, .prompt_template, .training    JSON, optional

Behind an int8 matrix lies at least one more line of 64 bytes (its scales, in files that we write),
so that kernels may read past the end of its last row. Padding has to be zero, so every byte of the
file is covered by a digest or a rule.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from edgespike.errors import (
    DataError,
    InternalError,
    MissingInputError,
    UnavailableError,
    UsageError,
)
from edgespike.model.config import PRECISIONS, ModelConfig, Precision
from edgespike.model.filemap import FileMap
from edgespike.model.header import (
    LENGTH_BYTES,
    Entry,
    Header,
    describe,
    open_input,
    printable,
    read_header,
    strict_json,
)
from edgespike.model.tensors import (
    EMBEDDING,
    TOKENIZER,
    TensorInfo,
    TensorSpec,
    check_config,
    expected_tensors,
)

VERSION = "1"
ALIGNMENT = 64
_PAD = "__pad."
_PREFIX = "edgespike."
_HEADER_DIGEST = _PREFIX + "header_sha256"
_NO_DIGEST = "0" * 64
_CHUNK = 1 << 20
MAX_TOKENIZER_BYTES = 64 << 20
NUMPY_TYPES: Mapping[str, np.dtype[Any]] = {
    "I8": np.dtype(np.int8),
    "U8": np.dtype(np.uint8),
    "F32": np.dtype("<f4"),
}


@dataclass(frozen=True, slots=True, eq=False)
class Container:
    """A checked, memory-mapped model file.

    `image` is the data section, uint8, read-only, mapped: its first byte lies on a 64-byte
    boundary. `tensors` leaves the padding out. `metadata` is `__metadata__` as it stands.
    """

    path: Path
    config: ModelConfig
    precision: Precision
    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]
    image: NDArray[np.uint8]
    file_map: FileMap

    def array(self, name: str) -> NDArray[Any]:
        """A read-only view of one tensor in its stored shape; nothing is copied."""
        info = self.tensors.get(name)
        if info is None:
            raise DataError(f"{self.path}: has no tensor {printable(name)}")
        raw = self.image[info.offset : info.offset + info.nbytes]
        return raw.view(NUMPY_TYPES[info.dtype]).reshape(info.shape)

    def forget(self, name: str) -> None:
        """Let go of the memory of a tensor until it is read again."""
        info = self.tensors[name]
        self.file_map.forget(info.offset, info.nbytes)

    def json(self, key: str) -> Any:
        """Metadata `edgespike.<key>` parsed, or None where the file has none."""
        text = self.metadata.get(_PREFIX + key)
        return None if text is None else strict_json(text, f"{self.path}: {_PREFIX}{key}")

    @property
    def tokenizer(self) -> bytes | None:
        """The embedded SentencePiece model, if there is one."""
        return self.array(TOKENIZER).tobytes() if TOKENIZER in self.tensors else None


Admit = Callable[[ModelConfig, Precision, int], None]


def open_container(
    path: str | os.PathLike[str], *, verify: bool = True, admit: Admit | None = None
) -> Container:
    """Check a model file and map it.

    Always checked: version, header bounds and digest, shapes and types against the configuration,
    alignment, overlap, file length, finite vectors. `verify` also reads every byte: digests,
    zero padding, finite matrices. Raises MissingInputError, or DataError naming tensor or field.
    `admit` is given the configuration, the precision and the file's size in bytes before the file
    is mapped, and may raise.
    """
    path = Path(path)
    with open_input(path) as file:
        header = read_header(file, path)
        meta = header.metadata
        version = meta.get(_PREFIX + "version")
        if version is None:
            raise DataError(
                f"{path}: no edgespike.version: not a model file; make one by 'edgespike convert'"
            )
        if version != VERSION:
            raise DataError(
                f"{path}: edgespike.version {printable(version)!r} is not {VERSION!r}; "
                "convert the checkpoint again with this release"
            )
        config = _config(path, meta)
        precision = _precision(path, meta)
        tensors = _match(path, header, expected_tensors(config, precision))
        digests = _digests(path, meta, tensors)
        _check_layouts(path, meta, tensors)
        if header.data_start % ALIGNMENT:
            raise DataError(f"{path}: the data section starts at {header.data_start}, not aligned")
        if _header_digest(header.raw, meta.get(_HEADER_DIGEST, "")) != meta.get(_HEADER_DIGEST):
            raise DataError(f"{path}: {_HEADER_DIGEST} doesn't match: the header is damaged")
        if admit is not None:
            admit(config, precision, path.stat().st_size)
        mapped = FileMap(file, header.data_start)
    for info in tensors.values():
        if info.dtype == "I8" and info.offset + info.nbytes + ALIGNMENT > mapped.image.size:
            raise DataError(f"{path}: tensor {info.name}: nothing lies behind it")
    container = Container(path, config, precision, tensors, meta, mapped.image, mapped)
    _check_vectors(container)
    if verify:
        _check_bytes(container, header, digests)
        container.forget(EMBEDDING)
    return container


def _config(path: Path, meta: Mapping[str, str]) -> ModelConfig:
    key = _PREFIX + "config"
    if key not in meta:
        raise DataError(f"{path}: no {key}")
    facts = strict_json(meta[key], f"{path}: {key}")
    names = {field.name for field in dataclasses.fields(ModelConfig)}
    if not isinstance(facts, dict) or facts.keys() != names:
        odd = names ^ facts.keys() if isinstance(facts, dict) else names
        raise DataError(f"{path}: {key}: wrong or missing: {printable(', '.join(sorted(odd)))}")
    try:
        config = ModelConfig(**facts)
        check_config(config)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    return config


def _precision(path: Path, meta: Mapping[str, str]) -> Precision:
    name = meta.get(_PREFIX + "precision", "")
    if name not in PRECISIONS:
        raise DataError(
            f"{path}: edgespike.precision {printable(name)!r} is none of {', '.join(PRECISIONS)}"
        )
    return name


def _match(path: Path, header: Header, table: Mapping[str, TensorSpec]) -> dict[str, TensorInfo]:
    """The entries without padding as TensorInfo, each checked against the table."""
    found: dict[str, TensorInfo] = {}
    for entry in header.entries:
        if entry.name.startswith(_PAD):
            if entry.dtype != "U8" or not 0 < entry.nbytes < ALIGNMENT:
                raise DataError(f"{path}: tensor {printable(entry.name)}: not padding")
            continue
        found[entry.name] = _matched(path, header, entry, table)
    for name in table:
        if name not in found:
            raise DataError(f"{path}: tensor {name}: missing")
    return found


def _matched(
    path: Path, header: Header, entry: Entry, table: Mapping[str, TensorSpec]
) -> TensorInfo:
    where = f"{path}: tensor {printable(entry.name)}"
    if entry.name == TOKENIZER:
        if not 0 < entry.nbytes <= MAX_TOKENIZER_BYTES:
            raise DataError(f"{where}: {entry.nbytes} bytes are no tokenizer")
        spec = TensorSpec("U8", (entry.nbytes,), None)
    elif entry.name in table:
        spec = table[entry.name]
    else:
        raise DataError(f"{where}: not part of a model of this configuration")
    if entry.dtype != spec.dtype:
        raise DataError(f"{where}: dtype {entry.dtype} where {spec.dtype} is due")
    if entry.shape != spec.shape:
        raise DataError(
            f"{where}: shape {list(entry.shape)} where the configuration says {list(spec.shape)}"
        )
    if (header.data_start + entry.offset) % ALIGNMENT:
        raise DataError(f"{where}: starts at {entry.offset}, not on a {ALIGNMENT}-byte boundary")
    return TensorInfo(entry.name, spec.dtype, spec.shape, entry.offset, entry.nbytes, spec.layout)


def _digests(
    path: Path, meta: Mapping[str, str], tensors: Mapping[str, TensorInfo]
) -> Mapping[str, str]:
    key = _PREFIX + "sha256"
    digests = strict_json(meta.get(key, ""), f"{path}: {key}")
    if not isinstance(digests, dict) or digests.keys() != tensors.keys():
        raise DataError(f"{path}: {key}: doesn't name each tensor once")
    return cast(Mapping[str, str], digests)


def _check_layouts(path: Path, meta: Mapping[str, str], tensors: Mapping[str, TensorInfo]) -> None:
    key = _PREFIX + "layouts"
    layouts = strict_json(meta.get(key, ""), f"{path}: {key}")
    due = _layouts(tensors)
    if not isinstance(layouts, dict):
        raise DataError(f"{path}: {key}: not a map")
    for name in sorted(due.keys() | layouts.keys()):
        if layouts.get(name) != due.get(name):
            raise DataError(
                f"{path}: {key}: tensor {printable(name)}: {describe(layouts.get(name))} "
                f"where {due.get(name)} is due"
            )


def _layouts(tensors: Mapping[str, TensorInfo]) -> dict[str, str]:
    return {name: info.layout for name, info in tensors.items() if info.layout is not None}


def _header_digest(raw: bytes, recorded: str) -> str:
    """SHA-256 of everything before the data section, the recorded digest itself read as zeros."""
    field = f'"{_HEADER_DIGEST}":"'
    blank = raw.replace((field + recorded).encode(), (field + _NO_DIGEST).encode(), 1)
    return hashlib.sha256(blank).hexdigest()


def _check_vectors(container: Container) -> None:
    for name, info in container.tensors.items():
        if info.dtype != "F32" or info.layout is not None:
            continue
        values = container.array(name)
        if not np.isfinite(values).all():
            raise DataError(f"{container.path}: tensor {name}: holds NaN or infinity")
        if name.endswith(".scale") and values.min() < 0:
            raise DataError(f"{container.path}: tensor {name}: holds a negative scale")


def _check_bytes(container: Container, header: Header, digests: Mapping[str, str]) -> None:
    for entry in header.entries:
        where = f"{container.path}: tensor {printable(entry.name)}"
        raw = container.image[entry.offset : entry.offset + entry.nbytes]
        if entry.name.startswith(_PAD):
            if raw.any():
                raise DataError(f"{where}: padding isn't zero: the file is damaged")
            continue
        digest = hashlib.sha256()
        packed = container.tensors[entry.name].layout == "output-major-int4"
        valid = True
        for start in range(0, entry.nbytes, _CHUNK):
            chunk = raw[start : start + _CHUNK]
            digest.update(chunk.data)
            valid = valid and _valid(chunk.view(NUMPY_TYPES[entry.dtype]), packed)
        if digest.hexdigest() != digests[entry.name]:
            raise DataError(f"{where}: SHA-256 doesn't match: the file is damaged")
        if not valid:
            raise DataError(
                f"{where}: holds NaN, infinity, -128 or, in 4 bits, -8, which no converter writes"
            )


def _valid(values: NDArray[Any], packed: bool) -> bool:
    if packed:
        return not ((values & 15 == 8) | (values >> 4 == 8)).any()
    if values.dtype == np.float32:
        return bool(np.isfinite(values).all())
    return values.dtype != np.int8 or int(values.min()) > -128


class ContainerWriter:
    """Writes one container, tensor by tensor, in any order; a context manager.

    The file appears under its name only when every tensor is written, synced to disk and the
    `with` block ends without an exception; otherwise nothing is left behind. Room on the disk is
    reserved at the start, so that a full disk is an error at once and not after minutes.

    `metadata` maps short keys (`firing`, `prompt_template`, `training`) to what JSON can say.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        config: ModelConfig,
        precision: Precision,
        *,
        tokenizer: bytes | None = None,
        metadata: Mapping[str, object] | None = None,
    ) -> None:
        check_config(config)
        self.precision = precision
        self._path = Path(path)
        if self._path.exists() and not self._path.is_file():
            raise UsageError(
                f"{self._path}: is not a regular file; choose another name to write to"
            )
        table = expected_tensors(config, precision)
        if tokenizer is not None:
            table[TOKENIZER] = TensorSpec("U8", (len(tokenizer),), None)
        # Every tensor gets a whole number of 64-byte lines, so offsets don't depend on the header.
        self.tensors, self._entries, self._size = _place(table)
        self._metadata = {
            _PREFIX + "version": VERSION,
            _PREFIX + "config": _json(dataclasses.asdict(config)),
            _PREFIX + "precision": str(precision),
            _PREFIX + "layouts": _json(_layouts(self.tensors)),
            **{_PREFIX + key: _json(value) for key, value in (metadata or {}).items()},
        }
        self._digests: dict[str, str] = {}
        self._data_start = len(self._header(dict.fromkeys(self.tensors, _NO_DIGEST)))
        # A name of our own rather than tempfile's: the umask then sets the permissions.
        self._partial = self._path.with_name(f".{self._path.name}.{secrets.token_hex(4)}.partial")
        try:
            self._fd = os.open(self._partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        except OSError as error:
            raise MissingInputError(f"{self._path}: can't be written: {error.strerror}") from None
        try:
            self._reserve()
            if tokenizer is not None:
                self.write(TOKENIZER, np.frombuffer(tokenizer, np.uint8))
        except BaseException:
            self._abandon()
            raise

    def write(self, name: str, values: NDArray[Any]) -> None:
        """Write one tensor, given whole in its stored shape and type (see `tensors`).

        Raises DataError when it holds NaN or infinity, UnavailableError when the disk is full.
        """
        info = self.tensors[name]
        if name in self._digests:
            raise InternalError(f"tensor {name}: written twice")
        if values.shape != info.shape or values.dtype != NUMPY_TYPES[info.dtype]:
            raise InternalError(
                f"tensor {name}: {values.dtype} {values.shape}, not {info.dtype} {info.shape}"
            )
        flat = np.ascontiguousarray(values).reshape(-1)
        if flat.dtype == np.float32 and not np.isfinite(flat).all():
            raise DataError(f"tensor {name}: holds NaN or infinity")
        raw = flat.view(np.uint8).data
        self._put(raw, self._data_start + info.offset)
        self._digests[name] = hashlib.sha256(raw).hexdigest()

    def close(self) -> None:
        """Write the header, sync and rename into place."""
        missing = [name for name in self.tensors if name not in self._digests]
        if missing:
            raise InternalError(f"tensor {missing[0]}: never written")
        self._put(memoryview(self._header(self._digests)), 0)
        try:
            os.fsync(self._fd)
            os.replace(self._partial, self._path)
            directory = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            raise self._disk_error(error) from None
        os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            try:
                self.close()
            except BaseException:
                self._abandon()
                raise
        else:
            self._abandon()

    def _abandon(self) -> None:
        os.close(self._fd)
        self._partial.unlink(missing_ok=True)

    def _header(self, digests: Mapping[str, str]) -> bytes:
        metadata = {
            **self._metadata,
            _PREFIX + "sha256": _json({name: digests[name] for name in self.tensors}),
            _HEADER_DIGEST: _NO_DIGEST,
        }
        table = {
            entry.name: {
                "dtype": entry.dtype,
                "shape": list(entry.shape),
                "data_offsets": [entry.offset, entry.offset + entry.nbytes],
            }
            for entry in self._entries
        }
        body = _json({"__metadata__": metadata, **table}).encode()
        body += b" " * (-(LENGTH_BYTES + len(body)) % ALIGNMENT)
        raw = len(body).to_bytes(LENGTH_BYTES, "little") + body
        field = f'"{_HEADER_DIGEST}":"'
        return raw.replace(
            (field + _NO_DIGEST).encode(),
            (field + _header_digest(raw, _NO_DIGEST)).encode(),
            1,
        )

    def _reserve(self) -> None:
        size = self._data_start + self._size
        try:
            os.posix_fallocate(self._fd, 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise self._disk_error(error) from None
            os.ftruncate(self._fd, size)  # this file system can't reserve; writing will tell

    def _put(self, raw: memoryview, offset: int) -> None:
        done = 0
        try:
            while done < len(raw):
                done += os.pwrite(self._fd, raw[done : done + (64 << 20)], offset + done)
        except OSError as error:
            raise self._disk_error(error) from None

    def _disk_error(self, error: OSError) -> UnavailableError:
        needed = (self._data_start + self._size) / 1e6
        return UnavailableError(
            f"{self._path}: can't be written: {error.strerror}; {needed:.1f} MB are needed"
        )


def _place(
    table: Mapping[str, TensorSpec],
) -> tuple[dict[str, TensorInfo], list[Entry], int]:
    tensors: dict[str, TensorInfo] = {}
    entries: list[Entry] = []
    position = 0
    for name, (dtype, shape, layout) in table.items():
        nbytes = int(np.prod(shape, dtype=np.int64)) * NUMPY_TYPES[dtype].itemsize
        tensors[name] = TensorInfo(name, dtype, shape, position, nbytes, layout)
        entries.append(Entry(name, dtype, shape, position, nbytes))
        position += nbytes
        if gap := -position % ALIGNMENT:
            entries.append(Entry(f"{_PAD}{len(entries)}", "U8", (gap,), position, gap))
            position += gap
    return tensors, entries, position


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
