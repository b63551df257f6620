"""The subcommand `completion`: what a shell offers when Tab is pressed."""

from __future__ import annotations

import argparse

from edgespike.cli.shells import SHELLS


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand of this module."""
    completion = subparsers.add_parser(
        "completion",
        help="print completion for a shell",
        description="Print a script that completes commands, options and file names.",
        epilog="examples:\n  source <(edgespike completion bash)\n"
        "  edgespike completion fish > ~/.config/fish/completions/edgespike.fish",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    completion.add_argument("shell", choices=SHELLS, help="which shell")
    completion.set_defaults(run=_completion)


def _completion(arguments: argparse.Namespace) -> int:
    from edgespike.cli import build_parser
    from edgespike.cli.shells import script

    print(script(arguments.shell, build_parser()), end="")
    return 0
