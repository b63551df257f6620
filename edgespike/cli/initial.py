"""`config init`: a first configuration, from flags or from answers on a terminal."""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgespike.errors import UsageError

HEADING = (
    "Every setting of edgespike. What is commented out is the default, or an example where there "
    "is none. Check a file with: edgespike config check FILE"
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The flags that settings may be given with."""
    parser.add_argument("--node", help="name of this node")
    parser.add_argument("--host", help="host of the broker")
    parser.add_argument("--port", help="port of the broker")
    parser.add_argument(
        "--username", help="user at the broker, with the credential mqtt_password for a password"
    )
    parser.add_argument("--ca", metavar="FILE", help="CA certificate of the broker, for TLS")
    parser.add_argument(
        "--homeassistant", action="store_true", default=None, help="be a device of Home Assistant"
    )
    parser.add_argument("--board", help="board profile (default: this machine's)")
    parser.add_argument(
        "--sensors", metavar="NAME", nargs="+", help="sensor profiles (default: the usual ones)"
    )


def document(arguments: argparse.Namespace) -> str:
    """The commented configuration with the flags' values, or on a terminal without any the
    answers'. Raises UsageError for values that the configuration wouldn't take."""
    from edgespike.config import Config
    from edgespike.settings.describe import example

    flags = ("node", "host", "port", "username", "ca", "homeassistant", "board", "sensors")
    given = {name: value for name in flags if (value := getattr(arguments, name)) is not None}
    if not given and sys.stdin.isatty() and sys.stderr.isatty():
        given = _asked()
    elif problem := _problem(given):
        raise UsageError(problem)
    return example(Config, HEADING, _lines(given))


def _asked() -> dict[str, Any]:
    """What someone at the terminal wants. Nothing that is the default is returned."""
    from edgespike.config import DEFAULT_BOARD, DEFAULT_SENSORS, default_node
    from edgespike.profiles import ProfileLibrary

    library = ProfileLibrary()
    print("Enter keeps what is in brackets.", file=sys.stderr)
    given: dict[str, Any] = {}
    _ask(given, "node", "Name of this node", default_node())
    _ask(given, "host", "Host of the MQTT broker", "localhost")
    _ask(given, "ca", "File with the broker's CA certificate, for TLS", "none")
    _ask(given, "port", "Port of the broker", "8883" if "ca" in given else "1883")
    _ask(given, "username", "User name at the broker", "none")
    print(f"Firmwares: {', '.join(library.names('sensors'))}", file=sys.stderr)
    _ask(given, "sensors", "Which of them do your sensors have", " ".join(DEFAULT_SENSORS))
    _ask(given, "homeassistant", "Be a device of Home Assistant", "no")
    print(f"Boards: {', '.join(library.names('boards'))}", file=sys.stderr)
    _ask(given, "board", "Which is this machine", proposed_board() or DEFAULT_BOARD)
    return given


def _ask(given: dict[str, Any], name: str, question: str, default: str) -> None:
    """Put the answer into `given`, unless it is the default; ask again while it is no good."""
    while True:
        print(f"{question} [{default}]: ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            raise UsageError("the answers ended early: nothing was written")
        text = line.strip()
        if text in ("", default):
            if name == "board" and default:
                given[name] = default
            return
        value: Any = re.split(r"[\s,]+", text) if name == "sensors" else text
        problem = _problem({name: value})
        if problem is None:
            given[name] = value
            return
        print(f"  {problem}", file=sys.stderr)


def _lines(given: Mapping[str, Any]) -> dict[str, str]:
    """Settings as paths with one line of YAML each."""
    sensors = [{"profile": name} for name in given.get("sensors", ())]
    values = {
        "node": given.get("node"),
        "broker.host": given.get("host"),
        "broker.port": given.get("port"),
        "broker.username": given.get("username"),
        "broker.password": {"credential": "mqtt_password"} if "username" in given else None,
        "broker.tls": {"ca_file": given["ca"]} if "ca" in given else None,
        "board": given.get("board"),
        "homeassistant.enabled": given.get("homeassistant"),
        "sensors": sensors or None,
    }
    return {path: _flow(value) for path, value in values.items() if value is not None}


def _flow(value: Any) -> str:
    """A value on one line of YAML."""
    if isinstance(value, str) and re.fullmatch(r"[a-z0-9][a-z0-9./_-]*", value, re.ASCII):
        return value
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _problem(given: Mapping[str, Any]) -> str | None:
    """What the configuration would say of these settings first, or None."""
    from edgespike.config import Config
    from edgespike.profiles import BoardProfile, ProfileLibrary, SensorProfile
    from edgespike.settings import yamltree
    from edgespike.settings.declared import Reader

    tree: dict[str, Any] = {}
    for path, value in _lines(given).items():
        section, _, name = path.rpartition(".")
        target = tree.setdefault(section, {}) if section else tree
        target[name] = value
    # A password comes from where the daemon runs, not from here.
    tree.get("broker", {}).pop("password", None)
    text = "\n".join(
        f"{key}: {value if isinstance(value, str) else _section(value)}"
        for key, value in tree.items()
    )
    library = ProfileLibrary()
    lookups = {SensorProfile: library.sensor, BoardProfile: library.board}
    reader = Reader("", Path.cwd(), os.environ, lookups)
    reader.read(Config, yamltree.parse(text, ""))
    return next((f"{each.path}: {each.message}" for each in reader.problems), None)


def _section(values: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{name}: {value}" for name, value in values.items()) + "}"


def proposed_board(sources: Sequence[Path] = ()) -> str | None:
    """The shipped board whose `cpu` matches a part of what this machine says of itself."""
    from edgespike.profiles import ProfileLibrary

    files = sources or (Path("/proc/device-tree/model"), Path("/proc/cpuinfo"))
    said = ""
    for path in files:
        if path.is_file():
            said += path.read_text(encoding="utf-8", errors="replace")
    library = ProfileLibrary()
    for name in library.names("boards"):
        cpu = library.board(name).cpu
        if cpu is not None and fnmatch.fnmatchcase(said, f"*{cpu}*"):
            return name
    return None
