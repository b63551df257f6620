"""Where the entries of a PyTorch zip archive lie, so that tensors can be mapped in place.

Only what `torch.save` writes: entries stored uncompressed, zip64 where needed (PKWARE APPNOTE
4.3-4.5). A compressed entry is refused: with stored entries a small file can't unpack into a large
one, and any tensor is a range of the file.
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from edgespike.errors import DataError
from edgespike.model.header import printable

_END = struct.Struct("<4s4H2LH")  # end of central directory
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_MAX_COMMENT = 0xFFFF
_MAX_DIRECTORY = 16 << 20  # bytes; a checkpoint has some hundred entries of about 80 bytes
_FULL32 = 0xFFFFFFFF
_BLOCK = 1 << 20
_ZIP64_EXTRA = 1
_ENCRYPTED = 0x1


@dataclass(frozen=True, slots=True)
class ZipEntry:
    """Bytes of one stored entry: `start` from the beginning of the file, `size` long.

    `crc` is its CRC-32, 0 where whoever wrote the archive left it out.
    """

    start: int
    size: int
    crc: int


def read_zip_index(file: BinaryIO, path: Path) -> dict[str, ZipEntry]:
    """Entries by name. DataError when the archive is damaged, compressed, or not plain."""
    file_size = os.fstat(file.fileno()).st_size
    try:
        offset, size, count = _find_directory(file, file_size)
        if size > _MAX_DIRECTORY or offset + size > file_size:
            raise DataError("its directory lies outside the file or is absurdly large")
        directory = _read(file, offset, size)
        entries: dict[str, ZipEntry] = {}
        position = 0
        for _ in range(count):
            position = _read_entry(file, file_size, directory, position, entries)
        return entries
    except struct.error:
        raise DataError(f"{path}: damaged zip archive: truncated structure") from None
    except DataError as error:
        raise DataError(f"{path}: damaged zip archive: {error}") from None


def check_entry(file: BinaryIO, name: str, entry: ZipEntry) -> None:
    """Read the entry once; DataError when its bytes are not those that were written."""
    if entry.crc == 0:
        return
    file.seek(entry.start)
    crc, left = 0, entry.size
    while left:
        block = file.read(min(left, _BLOCK))
        if not block:
            break
        crc, left = zlib.crc32(block, crc), left - len(block)
    if crc != entry.crc:
        raise DataError(f"entry {printable(name)}: damaged, its checksum is wrong")


def _find_directory(file: BinaryIO, file_size: int) -> tuple[int, int, int]:
    """Offset, size and entry count of the central directory."""
    tail_start = max(0, file_size - _END.size - _MAX_COMMENT)
    tail = _read(file, tail_start, file_size - tail_start)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0:
        raise DataError("no end record; is the file truncated?")
    _, _, _, _, count, size, offset, _ = _END.unpack_from(tail, at)
    locator_at = tail_start + at - _END64_LOCATOR.size
    if locator_at >= 0:
        signature, _, end64_at, _ = _END64_LOCATOR.unpack(
            _read(file, locator_at, _END64_LOCATOR.size)
        )
        if signature == b"PK\x06\x07":
            signature, *_, count, size, offset = _END64.unpack(_read(file, end64_at, _END64.size))
            if signature != b"PK\x06\x06":
                raise DataError("the zip64 end record is not where it is said to be")
    return offset, size, count


def _read_entry(
    file: BinaryIO, file_size: int, directory: bytes, at: int, entries: dict[str, ZipEntry]
) -> int:
    """Add the directory record at `at` to `entries`; returns where the next one starts."""
    (signature, _, _, flags, method, _, _, crc, packed, size, n_name, n_extra, n_comment,
     _, _, _, local) = _CENTRAL.unpack_from(directory, at)  # fmt: skip
    if signature != b"PK\x01\x02":
        raise DataError("a directory record has no signature")
    at += _CENTRAL.size
    end = at + n_name + n_extra + n_comment
    if end > len(directory):
        raise DataError("a directory record is cut off")
    name = directory[at : at + n_name].decode("utf-8", "replace")
    extra = directory[at + n_name : at + n_name + n_extra]
    size, packed, local = _widen(extra, size, packed, local)
    if flags & _ENCRYPTED:
        raise DataError(f"entry {printable(name)}: encrypted")
    if method != 0 or packed != size:
        raise DataError(
            f"entry {printable(name)}: compressed; load the checkpoint and save it by torch.save"
        )
    if name in entries:
        raise DataError(f"entry {printable(name)}: occurs twice")
    header = _LOCAL.unpack(_read(file, local, _LOCAL.size))
    if header[0] != b"PK\x03\x04":
        raise DataError(f"entry {printable(name)}: no local header")
    start = local + _LOCAL.size + header[9] + header[10]
    if start + size > file_size:
        raise DataError(f"entry {printable(name)}: reaches past the end of the file")
    entries[name] = ZipEntry(start, size, crc)
    return int(end)


def _widen(extra: bytes, size: int, packed: int, local: int) -> tuple[int, int, int]:
    """Replace values that didn't fit 32 bits by those of the zip64 extra field (APPNOTE 4.5.3)."""
    values = [size, packed, local]
    if _FULL32 not in values:
        return size, packed, local
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == _ZIP64_EXTRA:
            field = extra[at + 4 : at + 4 + length]
            wide = iter(struct.unpack(f"<{len(field) // 8}Q", field[: len(field) // 8 * 8]))
            values = [next(wide, v) if v == _FULL32 else v for v in values]
            return values[0], values[1], values[2]
        at += 4 + length
    return size, packed, local


def _read(file: BinaryIO, offset: int, size: int) -> bytes:
    try:
        file.seek(offset)
    except (OSError, OverflowError, ValueError):  # an offset beyond what a file can have
        raise DataError("an offset lies outside the file") from None
    return file.read(size)
