"""Sessions on disk: a safetensors file of the state's arrays, with a digest."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np

from edgespike.engine.session import Snapshot
from edgespike.errors import DataError, MissingInputError, UnavailableError
from edgespike.model.arrays import State
from edgespike.model.header import read_header

_VERSION = "1"
_DTYPES = {"F32": np.dtype("<f4"), "I64": np.dtype("<i8")}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


def write_snapshot(path: Path, snapshot: Snapshot) -> None:
    """Write atomically; raises UnavailableError when the disk refuses."""
    header: dict[str, object] = {}
    offset = 0
    digest = hashlib.sha256()
    for name, array in snapshot.state._asdict().items():
        end = offset + array.nbytes
        header[name] = {
            "dtype": _NAMES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [offset, end],
        }
        offset = end
        digest.update(array.data if array.size else b"")
    header["__metadata__"] = {
        "edgespike.session": _VERSION,
        "edgespike.fingerprint": snapshot.fingerprint,
        "edgespike.position": str(snapshot.position),
        "edgespike.sha256": digest.hexdigest(),
    }
    text = json.dumps(header).encode()
    text += b" " * (-(len(text) + 8) % 64)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for array in snapshot.state:
                file.write(array.data if array.size else b"")
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UnavailableError(f"{path}: can't write the session: {error.strerror}") from error


def read_snapshot(path: Path, like: State) -> Snapshot:
    """Read a file that must hold arrays of the shapes and dtypes of `like`."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise MissingInputError(f"{path}: can't read the session: {error.strerror}") from error
    with file:
        header = read_header(file, path)
        meta = header.metadata
        if meta.get("edgespike.session") != _VERSION:
            raise DataError(f"{path}: not a session file of version {_VERSION}")
        entries = {entry.name: entry for entry in header.entries}
        if set(entries) != set(State._fields):
            raise DataError(f"{path}: the session's arrays are not those of this version")
        arrays = {}
        digest = hashlib.sha256()
        for name, expected in like._asdict().items():
            entry = entries[name]
            if entry.shape != expected.shape or _DTYPES.get(entry.dtype) != expected.dtype:
                raise DataError(f"{path}: {name} does not fit this model's configuration")
            file.seek(header.data_start + entry.offset)
            data = file.read(entry.nbytes)
            if len(data) != entry.nbytes:
                raise DataError(f"{path}: {name} is cut off")
            digest.update(data)
            arrays[name] = np.frombuffer(data, expected.dtype).reshape(entry.shape)
    if digest.hexdigest() != meta.get("edgespike.sha256"):
        raise DataError(f"{path}: the session's content does not match its digest")
    position = meta.get("edgespike.position", "")
    if not (position.isascii() and position.isdigit() and len(position) < 16):
        raise DataError(f"{path}: the session's position is not a number")
    return Snapshot(meta.get("edgespike.fingerprint", ""), int(position), State(**arrays))
