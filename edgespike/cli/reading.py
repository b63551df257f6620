"""What a command reads from standard input."""

from __future__ import annotations

import sys

from edgespike.errors import DataError

MAX_BYTES = 1 << 20


def given_text(argument: str) -> str:
    """The argument, or for `-` what comes on standard input. Raises DataError for what isn't text,
    or is longer than MAX_BYTES."""
    if argument != "-":
        return argument
    data = sys.stdin.buffer.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise DataError(f"standard input: more than {MAX_BYTES >> 20} MiB of text")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"standard input: not UTF-8 at byte {error.start}") from None
