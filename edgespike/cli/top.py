"""The subcommand `top`: a node as it works."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from edgespike.cli.connection import add_options, address

if TYPE_CHECKING:
    from edgespike.agent.watch import Watcher

_REDRAW_S = 1.0
_KEYS_S = 0.2


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand of this module."""
    top = subparsers.add_parser(
        "top",
        help="watch a running daemon",
        description="Show what a node says of itself over MQTT: status, queue, speed, memory,\n"
        "temperature, firing rates, sensors, the last answers. q ends it.",
        epilog="examples:\n  edgespike top --broker mqtt://broker.example --node kitchen\n"
        "  edgespike top --once --json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_options(top)
    top.add_argument("--once", action="store_true", help="print one view and exit")
    top.add_argument("--json", action="store_true", help="one JSON object a view")
    top.add_argument(
        "--timeout", type=float, default=10.0, metavar="S", help="wait for the first (default 10)"
    )
    top.set_defaults(run=_top)


def _top(arguments: argparse.Namespace) -> int:
    from edgespike.agent.watch import Watcher
    from edgespike.errors import UsageError

    if not 0 < arguments.timeout <= 3600:
        raise UsageError("--timeout must be from 0 to 3600 seconds")
    where = address(arguments)
    with Watcher(where.broker, where.node) as watcher:
        watcher.first(arguments.timeout)
        if arguments.once:
            _print(watcher, arguments.json)
            return 0
        try:
            if arguments.json or not sys.stdout.isatty():
                _follow(watcher, arguments.json)
            else:
                _live(watcher)
        except KeyboardInterrupt:
            return 0
    return 0


def _print(watcher: Watcher, as_json: bool) -> None:
    from rich.console import Console

    from edgespike.cli.topview import draw, facts

    if as_json:
        print(json.dumps(facts(watcher.view), ensure_ascii=False), flush=True)
    else:
        Console(highlight=False).print(draw(watcher.view))


def _follow(watcher: Watcher, as_json: bool) -> None:
    """Without a terminal: one view after another, whenever there is news."""
    while True:
        _print(watcher, as_json)
        while not watcher.update(_REDRAW_S):
            pass


def _live(watcher: Watcher) -> None:
    """On a terminal: a screen that is redrawn when something changed, and each second for the
    ages, so that a slow line isn't kept busy."""
    from rich.console import Console
    from rich.live import Live

    from edgespike.cli.topview import draw

    with (
        _single_keys() as keys,
        Live(
            draw(watcher.view), console=Console(highlight=False), screen=True, auto_refresh=False
        ) as live,
    ):
        drawn = time.monotonic()
        while not _quit(keys):
            changed = watcher.update(_KEYS_S)
            if changed or time.monotonic() - drawn >= _REDRAW_S:
                live.update(draw(watcher.view), refresh=True)
                drawn = time.monotonic()


@contextmanager
def _single_keys() -> Iterator[int | None]:
    """Standard input giving each key as it is pressed, or None where it is no terminal."""
    import termios
    import tty

    if not sys.stdin.isatty():
        yield None
        return
    keys = sys.stdin.fileno()
    before = termios.tcgetattr(keys)
    try:
        tty.setcbreak(keys)
        yield keys
    finally:
        termios.tcsetattr(keys, termios.TCSADRAIN, before)


def _quit(keys: int | None) -> bool:
    import select

    if keys is None or not select.select([keys], [], [], 0)[0]:
        return False
    pressed = os.read(keys, 64)
    return not pressed or b"q" in pressed.lower()
