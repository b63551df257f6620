"""Subcommands about settings: `config check|show|init|schema|try` and `profiles`."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgespike.cli import initial
from edgespike.errors import ConfigError, DataError, UsageError

if TYPE_CHECKING:
    from edgespike.config import Config
    from edgespike.settings.yamltree import Node, Problem


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommands of this module."""
    formatter = argparse.RawDescriptionHelpFormatter
    config = subparsers.add_parser(
        "config",
        help="check, show or write a configuration",
        description="A configuration is one YAML file; what it doesn't say has a default.",
        epilog="examples:\n  edgespike config init --output edgespike.yaml\n"
        "  edgespike config check edgespike.yaml\n"
        "  edgespike config try edgespike.yaml zigbee2mqtt/kitchen '{\"temperature\": 21.5}'",
        formatter_class=formatter,
    )
    actions = config.add_subparsers(dest="action", metavar="ACTION", required=True)

    check = actions.add_parser(
        "check",
        help="report every error of a file",
        description="Report every error of a file, with its line; else what it comes to. Nothing is"
        "\nconnected to: that is for edgespike doctor.",
        epilog="example:\n  edgespike config check /etc/edgespike/edgespike.yaml",
        formatter_class=formatter,
    )
    check.add_argument("file", type=Path)
    check.add_argument("--json", action="store_true", help="print JSON")
    check.set_defaults(run=_check)

    show = actions.add_parser(
        "show",
        help="print all settings as they take effect",
        description="Print all settings as they take effect, defaults included, secrets hidden.",
        epilog="examples:\n  edgespike config show\n  edgespike config show edgespike.yaml --json",
        formatter_class=formatter,
    )
    show.add_argument("file", type=Path, nargs="?", help="the defaults when not given")
    show.add_argument("--json", action="store_true", help="print JSON")
    show.set_defaults(run=_show)

    init = actions.add_parser(
        "init",
        help="print a configuration to start from",
        description="Print a configuration with every setting, its default and a comment. Settings"
        "\nmay be given as options; on a terminal, without any, they are asked for.",
        epilog="examples:\n  edgespike config init --output edgespike.yaml\n"
        "  edgespike config init --host broker.example --username edgespike --sensors tasmota",
        formatter_class=formatter,
    )
    init.add_argument(
        "--example",
        metavar="NAME",
        help="print a shipped file instead: full, minimal, home, plant, mosquitto.conf,"
        " mosquitto.acl",
    )
    initial.add_options(init)
    init.add_argument("--output", type=Path, metavar="FILE", help="write there; never overwrites")
    init.set_defaults(run=_init)

    schema = actions.add_parser(
        "schema",
        help="print the JSON Schema, for editors",
        description="Print the JSON Schema of a configuration. Editors that speak YAML complete and"
        "\ncheck by it.",
        epilog="example:\n  edgespike config schema > edgespike.schema.json\n"
        "  then, as first line of edgespike.yaml:\n"
        "  # yaml-language-server: $schema=edgespike.schema.json",
        formatter_class=formatter,
    )
    schema.set_defaults(run=_schema)

    attempt = actions.add_parser(
        "try",
        help="show what channels a sensor message would update",
        description="Show what the daemon would make of a sensor's message; nothing is published.",
        epilog="examples:\n"
        "  edgespike config try edgespike.yaml zigbee2mqtt/kitchen '{\"temperature\": 21.5}'\n"
        "  mosquitto_sub -t tele/pump/SENSOR -C 1 | edgespike config try edgespike.yaml"
        " tele/pump/SENSOR -",
        formatter_class=formatter,
    )
    attempt.add_argument("file", type=Path)
    attempt.add_argument("topic")
    attempt.add_argument("payload", help="the payload; - reads it from standard input")
    attempt.add_argument("--json", action="store_true", help="print JSON")
    attempt.set_defaults(run=_try)

    profiles = subparsers.add_parser(
        "profiles",
        help="list firmware and board profiles",
        description="List the profiles of firmwares (for `sensors`) and boards (for `board`), or\n"
        "print one, as a start for one of your own.",
        epilog="examples:\n  edgespike profiles\n"
        "  edgespike profiles zigbee2mqtt > profiles/sensors/mine.yaml",
        formatter_class=formatter,
    )
    profiles.add_argument("name", nargs="?", help="print the file of this profile")
    profiles.add_argument("--dir", type=Path, action="append", default=[], help="own profiles")
    profiles.add_argument("--json", action="store_true", help="print JSON")
    profiles.set_defaults(run=_profiles)


def _check(arguments: argparse.Namespace) -> int:
    from edgespike.config import credentials, load_standing_in
    from edgespike.sensing import Sensing
    from edgespike.settings.yamltree import FileProblems, parse_file

    try:
        tree = parse_file(arguments.file)
        names = credentials(tree)
        config = load_standing_in(arguments.file, names)
        if problems := list(_file_problems(arguments.file, tree, config)):
            raise FileProblems(problems)
    except FileProblems as error:
        if not arguments.json:
            raise
        told = [
            {"file": each.file, "line": each.line, "path": each.path, "message": each.message}
            for each in error.problems
        ]
        _print_json({"ok": False, "problems": told})
        return ConfigError.exit_code
    topics = Sensing(config).topics()
    if arguments.json:
        _print_json({"ok": True, "problems": [], "topics": topics})
        return 0
    print(f"{arguments.file}: fine")
    if names and "CREDENTIALS_DIRECTORY" not in os.environ:
        print(f"not looked for {', '.join(names)}: credentials that the unit hands over")
    print(f"prompts to     {config.topic('prompt')}")
    print(f"broker         {config.broker.host}:{config.broker.resolved_port}")
    print(f"model          {config.model.path}")
    print(f"board          {config.board.name}, {config.threads} thread(s), {config.isa}")
    print(f"subscribes to  {', '.join(topics) or 'nothing'}")
    return 0


def _file_problems(file: Path, tree: Node, config: Config) -> Iterator[Problem]:
    """What keeps the daemon from using the files that are named, as far as that can be told without
    reading the model.

    They may lie where only the service can look, and a key may be locked with a credential that
    only the service has: no problems then.
    """
    from edgespike.agent.tls import context
    from edgespike.settings.yamltree import Problem, line_of

    def problem(path: str, message: str) -> Problem:
        return Problem(str(file), line_of(tree, path), path, message)

    model = config.model.path
    with contextlib.suppress(PermissionError):
        if isinstance(model, Path) and not model.is_file():
            yield problem("model.path", f"no such file: {model}")
    tls = config.broker.tls
    if tls is None or (tls.key_password and "CREDENTIALS_DIRECTORY" not in os.environ):
        return
    if all(os.access(f, os.R_OK) for f in (tls.ca_file, tls.cert_file, tls.key_file) if f):
        try:
            context(tls)
        except ConfigError as error:
            where, _, message = str(error).partition(": ")
            yield problem(where, message)


def _show(arguments: argparse.Namespace) -> int:
    from edgespike.config import Config, load_config
    from edgespike.settings.describe import listing

    settings = listing(load_config(arguments.file) if arguments.file else Config())
    if arguments.json:
        _print_json(settings)
    else:
        import yaml

        print(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True, width=100), end="")
    return 0


def _init(arguments: argparse.Namespace) -> int:
    text = _example(arguments.example) if arguments.example else initial.document(arguments)
    if arguments.output is None:
        print(text, end="")
        return 0
    try:
        with arguments.output.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{arguments.output} exists; remove it or choose another name") from None
    except OSError as error:
        raise UsageError(f"{arguments.output}: {error.strerror}") from None
    print(f"{arguments.output}: written; next: edgespike config check {arguments.output}")
    return 0


def _example(name: str) -> str:
    from edgespike.profiles import shipped_directory

    files = shipped_directory("config_examples")
    known = {path.stem: path for path in files.glob("*.yaml")}
    known |= {path.name: path for path in files.glob("mosquitto.*")}
    if name not in known:
        raise UsageError(f"no example {name!a}; there are {', '.join(sorted(known))}")
    return known[name].read_text(encoding="utf-8")


def _schema(arguments: argparse.Namespace) -> int:
    from edgespike.config import Config
    from edgespike.settings.describe import json_schema

    _print_json(json_schema(Config, "edgespike configuration"))
    return 0


def _try(arguments: argparse.Namespace) -> int:
    from edgespike.config import load_config
    from edgespike.sensing import Sensing
    from edgespike.sensing.values import MAX_PAYLOAD_BYTES

    sensing = Sensing(load_config(arguments.file))
    if arguments.payload == "-":
        payload = sys.stdin.buffer.read(MAX_PAYLOAD_BYTES + 1)
    else:
        payload = arguments.payload.encode("utf-8", "surrogateescape")
    events = sensing.ingest(arguments.topic, payload, 0.0)
    channels = [view for view in sensing.picture(0.0).channels if view.text is not None]
    problems = sensing.take_problems()
    if arguments.json:
        facts = ("name", "text", "number", "unit", "quantity", "limit")
        seen = [{fact: getattr(view, fact) for fact in facts} for view in channels]
        counts = sensing.counts()
        _print_json({"events": events, "channels": seen, "counts": counts, "problems": problems})
        return 0
    for view in channels:
        notes = [view.limit] if view.limit in ("low", "high") else []
        print("  ".join([f"{view.name}: {view.text} {view.unit}".rstrip(), *notes]))
    for topic, _ in sensing.take_commands():
        print(f"the node would be asked for its birth: {topic}")
    for problem in problems:
        raise DataError(problem)
    if not channels:
        counts = {name: n for name, n in sensing.counts().items() if n and name != "messages"}
        reasons = ", ".join(f"{n} {name}" for name, n in counts.items()) or "nothing in it"
        print(f"updates no channel: {reasons}")
    return 0


def _profiles(arguments: argparse.Namespace) -> int:
    import yaml

    from edgespike.profiles import ProfileLibrary
    from edgespike.settings.declared import nearest

    for directory in arguments.dir:
        if not directory.is_dir():
            raise UsageError(f"--dir: no such directory: {directory}")
    library = ProfileLibrary(arguments.dir)
    if arguments.name:
        for kind in ("sensors", "boards"):
            if arguments.name in library.names(kind):
                text = library.path(kind, arguments.name).read_text(encoding="utf-8")
                if arguments.json:
                    _print_json(yaml.safe_load(text))
                else:
                    print(text, end="")
                return 0
        known = (*library.names("sensors"), *library.names("boards"))
        near = nearest(arguments.name, known)
        hint = f"did you mean {near}?" if near else f"there are {', '.join(known)}"
        raise UsageError(f"no profile {arguments.name!a}; {hint}")
    sensors = [(name, library.sensor(name).description) for name in library.names("sensors")]
    boards = [(name, library.board(name).description) for name in library.names("boards")]
    if arguments.json:
        _print_json({"sensors": dict(sensors), "boards": dict(boards)})
        return 0
    for heading, rows in (("sensors", sensors), ("boards", boards)):
        print(f"{heading}:")
        for name, description in rows:
            print(f"  {name:20} {description}")
    return 0


def _print_json(value: Any) -> None:
    json.dump(value, sys.stdout, ensure_ascii=False, indent=2)
    print()
