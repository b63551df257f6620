"""Sessions on disk: a safetensors file of the state's arrays, with a digest of everything."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np

from edgespike.engine.session import Snapshot
from edgespike.errors import DataError, MissingInputError, UnavailableError, UsageError
from edgespike.model.arrays import State
from edgespike.model.header import LENGTH_BYTES, read_header

_VERSION = "2"
_NO_DIGEST = "0" * 64
_DTYPES = {"F32": np.dtype("<f4"), "I64": np.dtype("<i8"), "I8": np.dtype("i1")}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


def write_snapshot(path: Path, snapshot: Snapshot) -> None:
    """Write atomically; raises UnavailableError when the disk refuses."""
    table: dict[str, object] = {}
    offset = 0
    for name, array in snapshot.state._asdict().items():
        end = offset + array.nbytes
        table[name] = {
            "dtype": _NAMES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    table["__metadata__"] = {
        "edgespike.session": _VERSION,
        "edgespike.fingerprint": snapshot.fingerprint,
        "edgespike.kv": snapshot.kv,
        "edgespike.position": str(snapshot.position),
        "edgespike.sha256": _NO_DIGEST,
    }
    text = json.dumps(table).encode()
    text += b" " * (-(len(text) + LENGTH_BYTES) % 64)
    header = len(text).to_bytes(LENGTH_BYTES, "little") + text
    arrays = [array.reshape(-1).view(np.uint8).data for array in snapshot.state]
    digest = hashlib.sha256(header)
    for data in arrays:
        digest.update(data)
    header = header.replace(_NO_DIGEST.encode(), digest.hexdigest().encode())
    if path.exists() and not path.is_file():
        raise UsageError(f"{path}: is not a regular file; choose another name to write to")
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(header)
            for data in arrays:
                file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UnavailableError(f"{path}: can't write the session: {error.strerror}") from error


def read_snapshot(path: Path, like: State, kv: str) -> Snapshot:
    """Read a file that must hold arrays of the shapes and dtypes of `like`, with keys and values in
    the precision `kv`.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise MissingInputError(f"{path}: can't read the session: {error.strerror}") from error
    with file:
        header = read_header(file, path)
        meta = header.metadata
        if meta.get("edgespike.session") != _VERSION:
            raise DataError(f"{path}: not a session file of version {_VERSION}")
        recorded_kv = meta.get("edgespike.kv")
        if recorded_kv != kv:
            raise DataError(
                f"{path}: the session has keys and values in {recorded_kv}, the model in {kv}"
            )
        entries = {entry.name: entry for entry in header.entries}
        if set(entries) != set(State._fields):
            raise DataError(f"{path}: the session's arrays are not those of this version")
        recorded = meta.get("edgespike.sha256", "")
        if len(recorded) != len(_NO_DIGEST):
            raise DataError(f"{path}: the session has no digest")
        digest = hashlib.sha256(header.raw.replace(recorded.encode(), _NO_DIGEST.encode()))
        arrays = {}
        for name, expected in like._asdict().items():
            entry = entries[name]
            if entry.shape != expected.shape or _DTYPES.get(entry.dtype) != expected.dtype:
                raise DataError(f"{path}: {name} does not fit this model's configuration")
            file.seek(header.data_start + entry.offset)
            data = file.read(entry.nbytes)
            digest.update(data)
            arrays[name] = np.frombuffer(data, expected.dtype).reshape(entry.shape)
    if digest.hexdigest() != recorded:
        raise DataError(f"{path}: the session's content does not match its digest")
    position = int(meta["edgespike.position"])
    return Snapshot(meta["edgespike.fingerprint"], kv, position, State(**arrays))
