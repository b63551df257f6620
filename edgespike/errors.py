"""Every error that edgespike raises on purpose, each with the exit code it ends a command with.

The codes are those of BSD sysexits(3). A message is one line: what is wrong and what to do.
"""

from __future__ import annotations


class EdgespikeError(Exception):
    """Base of all errors raised on purpose; `exit_code` is the process status."""

    exit_code = 70


class UsageError(EdgespikeError):
    """The command or the call was wrong."""

    exit_code = 64


class DataError(EdgespikeError):
    """Input data is malformed, truncated or corrupt."""

    exit_code = 65


class MissingInputError(EdgespikeError):
    """A file that was named does not exist or can't be read."""

    exit_code = 66


class UnavailableError(EdgespikeError):
    """A broker, port or device that is needed can't be had."""

    exit_code = 69


class InternalError(EdgespikeError):
    """A broken invariant of our own."""

    exit_code = 70


class ConfigError(EdgespikeError):
    """The configuration is wrong."""

    exit_code = 78


def error_of(exit_code: int | None) -> type[EdgespikeError] | None:
    """The error that a process of ours ended with; None when the code is none of ours."""
    kinds = (UsageError, DataError, MissingInputError, UnavailableError, InternalError, ConfigError)
    return next((kind for kind in kinds if kind.exit_code == exit_code), None)
