"""The `edgespike` command: one parser, its subcommands in the modules beside this file.

Modules import what a subcommand needs inside the function that runs it, so that `--help` is
instant.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from edgespike.errors import EdgespikeError, UsageError

_GROUPS = (
    "daemon",
    "models",
    "engine",
    "evaluate",
    "settings",
    "doctor",
    "top",
    "deploy",
    "completion",
)

_EX_IOERR = 74

_EPILOG = """\
first steps:
  edgespike demo                          see it work, with simulated sensors
  edgespike config init > edgespike.yaml  write a configuration
  edgespike run --config edgespike.yaml   start the daemon
  edgespike ask "is the boiler too hot?"  ask it
"""


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with a command, and where to read on."""

    def error(self, message: str) -> NoReturn:
        """End with EX_USAGE."""
        self.exit(UsageError.exit_code, f"{self.prog}: {message}; see {self.prog} --help\n")


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = _Parser(
        prog="edgespike",
        description="An offline agent beside the sensors: it answers questions over MQTT.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"edgespike {_version()}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for group in _GROUPS:
        importlib.import_module(f"edgespike.cli.{group}").register(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status (sysexits(3))."""
    if sys.stdout is None:  # started with a closed standard output
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  (for as long as the process lives)
    try:
        arguments = build_parser().parse_args(argv)
        status: int = arguments.run(arguments)
        sys.stdout.flush()
    except SystemExit as stop:  # of the parser, or of a signal's handler
        return int(stop.code or 0)
    except EdgespikeError as error:
        print(f"edgespike: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # The reader went away (`edgespike ... | head`): end quietly, as a signal would have done.
        _drop_output()
        return 128 + signal.SIGPIPE
    except OSError as error:
        print(f"edgespike: {error}", file=sys.stderr)
        _drop_output()
        return _EX_IOERR
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return status


def _version() -> str:
    from importlib.metadata import version

    return version("edgespike")


def _drop_output() -> None:
    """What could not be written must not be tried again when the interpreter ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
