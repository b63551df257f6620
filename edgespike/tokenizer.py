"""Text to token ids and back.

Control pieces such as `<|user|>` steer the model, so text from outside must never become one.
SentencePiece turns these strings into control ids wherever they occur, even after Unicode
normalisation (a full-width `＜` included). Outside text is therefore encoded by a second processor
in whose vocabulary those pieces have the type CONTROL, which never matches text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import sentencepiece

from edgespike.errors import DataError, MissingInputError

# Field numbers and types of sentencepiece_model.proto: ModelProto.pieces and
# SentencePiece.{piece,type}.
_PIECES, _PIECE, _TYPE = 1, 1, 3
_CONTROL = 3


class Tokenizer:
    """A SentencePiece model. Ids are ints in [0, size)."""

    def __init__(self, data: bytes) -> None:
        """Raise DataError if `data` is not a SentencePiece model."""
        if not data:
            raise DataError("the tokenizer is empty: it is not a SentencePiece model")
        try:
            self._trusted = sentencepiece.SentencePieceProcessor(model_proto=data)
            self._outside = sentencepiece.SentencePieceProcessor(model_proto=_disarm(data))
        except (RuntimeError, ValueError, IndexError) as error:
            raise DataError("the tokenizer is not a readable SentencePiece model") from error
        self.size: int = self._trusted.vocab_size()
        self.bos_id: int = self._trusted.bos_id()
        self.eos_id: int = self._trusted.eos_id()
        self._bytes = {i: _byte_of(self._trusted.id_to_piece(i)) for i in self._byte_ids()}
        self._silent = {i for i in range(self.size) if self._trusted.is_control(i)}
        self._dummy_prefix = not self._trusted.encode("a", out_type=str)[0].startswith("a")

    @classmethod
    def from_file(cls, path: str | Path) -> Tokenizer:
        """Raise MissingInputError if `path` can't be read."""
        try:
            return cls(Path(path).read_bytes())
        except OSError as error:
            raise MissingInputError(
                f"{path}: can't read the tokenizer: {error.strerror}"
            ) from error

    def _byte_ids(self) -> Iterator[int]:
        return (i for i in range(self.size) if self._trusted.is_byte(i))

    def encode(self, text: str, *, bos: bool = False) -> list[int]:
        """Encode text from outside: what spells a control piece becomes ordinary characters."""
        ids: list[int] = self._outside.encode(_encodable(text))
        return [self.bos_id, *ids] if bos else ids

    def encode_trusted(self, text: str, *, bos: bool = True) -> list[int]:
        """Encode our own text as SentencePiece does: control strings become control ids."""
        ids: list[int] = self._trusted.encode(_encodable(text))
        return [self.bos_id, *ids] if bos else ids

    def control(self, name: str) -> int:
        """Id of the control piece spelt `name`, such as "<|user|>"; DataError if there is none."""
        found: int = self._trusted.piece_to_id(name)
        if found == self._trusted.unk_id() or not 0 <= found < self.size:
            raise DataError(f"the tokenizer has no piece {name!r}")
        return found

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`; ids outside the vocabulary raise DataError."""
        stream = self.stream()
        return "".join(map(stream.push, ids)) + stream.flush()

    def stream(self) -> StreamDecoder:
        """A decoder that takes ids one at a time."""
        return StreamDecoder(self)

    def text_bytes(self, token: int) -> bytes:
        """UTF-8 bytes that `token` adds to the text; parts of a character for byte pieces."""
        if not 0 <= token < self.size:
            raise DataError(f"token id {token} is outside the tokenizer's {self.size} pieces")
        if token in self._bytes:
            return self._bytes[token]
        if token in self._silent:
            return b""
        piece: str = self._trusted.id_to_piece(token)
        if token == self._trusted.unk_id():
            piece = " \u2047 "
        return piece.replace("\u2581", " ").encode()

    @property
    def drops_first_space(self) -> bool:
        """Whether encoding puts a space before the text, which decoding takes off again."""
        return self._dummy_prefix


class StreamDecoder:
    """Turns ids into text as they come, and never splits a UTF-8 character."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._pending = b""
        self._first = tokenizer.drops_first_space

    def push(self, token: int) -> str:
        """Text that is complete after `token`; "" while a character is still open."""
        data = self._tokenizer.text_bytes(token)
        if data and self._first:
            data = data.removeprefix(b" ")
            self._first = False
        text, self._pending = decode_complete(self._pending + data)
        return text

    def flush(self) -> str:
        """What is left at the end: an unfinished character becomes U+FFFD."""
        text = self._pending.decode(errors="replace")
        self._pending = b""
        return text


def decode_complete(data: bytes) -> tuple[str, bytes]:
    """The text in `data`, and the bytes at its end that begin a character which isn't complete."""
    complete = len(data) - _open_bytes(data)
    return data[:complete].decode(errors="replace"), data[complete:]


def _open_bytes(data: bytes) -> int:
    """How many bytes at the end of `data` begin a UTF-8 character (RFC 3629) that is open."""
    for back in range(1, min(4, len(data) + 1)):
        byte = data[-back]
        if byte & 0xC0 == 0x80:
            continue
        length = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
        return back if back < length else 0
    return 0


def _encodable(text: str) -> str:
    """`text` without lone surrogates and NUL, which SentencePiece can't take."""
    return text.encode(errors="replace").decode().replace("\0", "\ufffd")


def _byte_of(piece: str) -> bytes:
    """The byte that a piece such as "<0x0A>" stands for."""
    return bytes([int(piece[3:5], 16)])


def _disarm(data: bytes) -> bytes:
    """The serialised model with its user-defined `<|...|>` pieces retyped as control pieces."""
    out = bytearray()
    for number, start, body, end in _fields(data):
        if number == _PIECES and _is_control_spelling(data[body:end]):
            piece = _retype(data[body:end])
            out += bytes([_PIECES << 3 | 2]) + _varint(len(piece)) + piece
        else:
            out += data[start:end]
    return bytes(out)


def _is_control_spelling(piece: bytes) -> bool:
    for number, _, body, end in _fields(piece):
        if number == _PIECE:
            return piece[body:end].startswith(b"<|") and piece[body:end].endswith(b"|>")
    return False


def _retype(piece: bytes) -> bytes:
    out = bytearray()
    for number, start, _, end in _fields(piece):
        if number != _TYPE:
            out += piece[start:end]
    return bytes(out) + bytes([_TYPE << 3, _CONTROL])


def _fields(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Fields of a serialised protobuf message: number, start, start of the content, end."""
    at = 0
    while at < len(data):
        start = at
        key, at = _read_varint(data, at)
        kind = key & 7
        if kind == 0:
            body = at
            _, at = _read_varint(data, at)
        elif kind == 2:
            length, body = _read_varint(data, at)
            at = body + length
        elif kind in (1, 5):
            body = at
            at += 8 if kind == 1 else 4
        else:
            raise ValueError(f"unknown protobuf wire type {kind}")
        if at > len(data):
            raise ValueError("protobuf field runs past the end")
        yield key >> 3, start, body, at


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError("protobuf varint is too long")


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])
