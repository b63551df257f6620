"""Subcommands around the daemon: run, ask, demo."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from edgespike.cli.connection import add_options, address
from edgespike.cli.reading import given_text


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommands of this module."""
    formatter = argparse.RawDescriptionHelpFormatter
    run = subparsers.add_parser(
        "run",
        help="the daemon: hear sensors, answer prompts",
        description="Run the daemon until SIGTERM or SIGINT; a second SIGINT ends it at once.\n"
        "SIGHUP reads the limits of prompts, and logging, again. Logs go to standard error.",
        epilog="example:\n  edgespike config init > edgespike.yaml\n"
        "  edgespike run --config edgespike.yaml",
        formatter_class=formatter,
    )
    run.add_argument("--config", metavar="FILE", type=Path, required=True, help="settings (YAML)")
    run.set_defaults(run=_run)

    ask = subparsers.add_parser(
        "ask",
        help="ask a running daemon, over MQTT",
        description="Send TEXT to a node and print its answer as it comes.",
        epilog="examples:\n  edgespike ask 'What is the kitchen temperature?' --node kitchen\n"
        "  echo 'Are there any alarms?' | edgespike ask - --broker mqtts://user@broker.example",
        formatter_class=formatter,
    )
    ask.add_argument("text", metavar="TEXT", help="the question; - reads standard input")
    add_options(ask)
    ask.add_argument(
        "--timeout", type=float, default=180.0, metavar="S", help="seconds to wait (default 180)"
    )
    ask.add_argument("-n", "--max-tokens", type=int, help="longest answer")
    ask.add_argument(
        "--session", metavar="NAME", help="a dialogue: the node remembers what was said in it"
    )
    ask.add_argument("--no-stream", action="store_true", help="print the answer when it is whole")
    ask.add_argument("--json", action="store_true", help="print the final reply as JSON")
    ask.set_defaults(run=_ask)

    demo = subparsers.add_parser(
        "demo",
        help="see it work: embedded broker, simulated sensors, a question",
        description="Start a broker, simulated sensors and the daemon, show the sensors, and\n"
        "answer questions. Everything is local, and gone afterwards.",
        epilog="example:\n  edgespike demo --ask 'Is the pressure of pump-07 too high?'",
        formatter_class=formatter,
    )
    demo.add_argument("--ask", metavar="TEXT", help="ask this, print the answer and exit")
    demo.add_argument("--model", metavar="FILE", type=Path, help="container (default: bundled)")
    demo.add_argument("--port", type=int, default=0, help="port of the broker (default: any free)")
    demo.add_argument("--json", action="store_true", help="one JSON object with all of it")
    demo.set_defaults(run=_demo)


def _run(arguments: argparse.Namespace) -> int:
    # Until there is something to end in order, a signal may simply end it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

    from edgespike import telemetry
    from edgespike.agent.lifecycle import Daemon
    from edgespike.agent.loading import load_answerer, pin
    from edgespike.config import load_config

    settings = load_config(arguments.config)
    telemetry.configure(settings.logging.level, settings.logging.format)
    pin(settings)
    daemon = Daemon(settings, load_answerer, lambda: load_config(arguments.config))
    daemon.run()
    if not daemon.ended:
        # The interpreter can't be taken down around a thread that compiles or computes.
        sys.stderr.flush()
        os._exit(0)
    return 0


def _ask(arguments: argparse.Namespace) -> int:
    from edgespike.agent.client import Client, Question, displayed
    from edgespike.errors import UsageError
    from edgespike.messages import Answer, Chunk, Reply

    if not 0 < arguments.timeout <= 3600:
        raise UsageError("--timeout must be from 0 to 3600 seconds")
    if arguments.max_tokens is not None and arguments.max_tokens < 1:
        raise UsageError("--max-tokens must be at least 1")
    text = given_text(arguments.text)
    if not text.strip():
        raise UsageError("the question is empty")
    where = address(arguments)
    node = where.node
    question = Question(
        text,
        node,
        arguments.timeout,
        not (arguments.no_stream or arguments.json),
        arguments.max_tokens,
        arguments.session,
    )
    shown: list[str] = []

    def show(reply: Reply) -> None:
        if isinstance(reply, Chunk):
            shown.append(reply.text)
            print(displayed(reply.text), end="", flush=True)

    def tell(status: str) -> None:
        if status != "online":
            print(f"edgespike: node {node!r} is {status!a}; waiting", file=sys.stderr)

    with Client(where.broker, node) as client:
        answer: Answer = client.ask(question, show, tell)
    if arguments.json:
        print(answer.to_bytes().decode())
        return 0
    streamed = "".join(shown)
    if answer.text.startswith(streamed):
        print(displayed(answer.text[len(streamed) :]))
    else:
        # Chunks travel at QoS 0: some were lost, so here is the whole.
        print(f"\n{displayed(answer.text)}")
    return 0


def _demo(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from edgespike.agent.demo import run
    from edgespike.errors import UsageError

    if not 0 <= arguments.port <= 65535:
        raise UsageError("--port must be from 0 to 65535")
    if arguments.ask is not None and not arguments.ask.strip():
        raise UsageError("the question is empty")
    console = Console(highlight=False, stderr=arguments.json)
    run(arguments.model, arguments.ask, arguments.port, console, as_json=arguments.json)
    return 0
