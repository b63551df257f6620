"""All settings of one daemon, and the reading of them."""

from __future__ import annotations

import os
import re
import socket
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

from edgespike.config.broker import Broker
from edgespike.config.channels import SensorSource
from edgespike.config.dialogues import DialogueSettings
from edgespike.config.edge_ai import EdgeAiSettings
from edgespike.config.homeassistant import HomeAssistantSettings
from edgespike.config.prometheus import PrometheusSettings
from edgespike.config.prompts import ContextSettings, PromptSettings
from edgespike.config.triggers import MAX_TRIGGERS, Trigger
from edgespike.profiles import (
    BoardProfile,
    Isa,
    KeyValues,
    ProfileLibrary,
    SensorProfile,
    name_problem,
)
from edgespike.settings import yamltree
from edgespike.settings.declared import Reader, Setting
from edgespike.settings.yamltree import FileProblems

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "json", "console"]

DEFAULT_BOARD = "generic-one-core"
"""Profile of the board when `board` isn't given."""

DEFAULT_SENSORS = ("zigbee2mqtt", "tasmota", "esphome", "shelly", "plain-number")
"""Profiles that are heard when `sensors` isn't given."""


def default_node() -> str:
    """The host's name, made safe for a topic."""
    name = re.sub(r"[^a-z0-9-]+", "-", socket.gethostname().split(".")[0].lower()).strip("-")
    return name[:64].strip("-") or "edgespike"


def default_state_dir() -> Path:
    """$STATE_DIRECTORY (systemd), /var/lib/edgespike for root, else the user's XDG state."""
    given = os.environ.get("STATE_DIRECTORY")
    if given:
        return Path(given.split(":")[0])
    if os.geteuid() == 0:
        return Path("/var/lib/edgespike")
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "edgespike"


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Which model answers, and how it runs."""

    path: Annotated[
        Path | Literal["bundled"], Setting("Container file, or bundled: the shipped model.")
    ] = "bundled"
    threads: Annotated[
        int | None,
        Setting("Inference threads; the board's when not given.", low=1, high=256, example="2"),
    ] = None
    isa: Annotated[
        Isa | None, Setting("Instruction set; the board's when not given.", example="avx2")
    ] = None
    kv: Annotated[
        KeyValues | None,
        Setting("Precision of keys and values; the board's when not given.", example="int8"),
    ] = None
    verify: Annotated[bool, Setting("Check the file's digests at start.")] = True
    warmup: Annotated[bool, Setting("Compile all kernels before reporting ready.")] = True


@dataclass(frozen=True, slots=True)
class LoggingSettings:
    """What the daemon says about itself."""

    level: Annotated[LogLevel, Setting("Least severe level that is logged.")] = "info"
    format: Annotated[LogFormat, Setting("auto: console on a terminal, else json.")] = "auto"


@dataclass(frozen=True, slots=True)
class Config:
    """All settings of one daemon."""

    node: Annotated[
        str,
        Setting(
            "Name of this node; its topics are edgespike/<node>/... The host's when not given.",
            check=name_problem,
            example="kitchen",
        ),
    ] = field(default_factory=default_node)
    group: Annotated[
        str | None,
        Setting(
            "Group of daemons that share the prompts sent to edgespike/<group>/prompt.",
            check=name_problem,
            example="pool",
        ),
    ] = None
    broker: Annotated[Broker, Setting("The MQTT 5 broker.")] = field(default_factory=Broker)
    model: Annotated[ModelSettings, Setting("Which model answers, and how it runs.")] = field(
        default_factory=ModelSettings
    )
    board: Annotated[
        BoardProfile,
        Setting(
            "Name of a board profile (`edgespike profiles`), or one inline.",
            example=DEFAULT_BOARD,
            named=True,
        ),
    ] = field(default_factory=BoardProfile)
    profile_dirs: Annotated[
        tuple[Path, ...],
        Setting(
            "Directories with own profiles: sensors/NAME.yaml, boards/NAME.yaml.",
            example="[profiles]",
        ),
    ] = ()
    sensors: Annotated[
        tuple[SensorSource, ...],
        Setting(f"What to listen to; {', '.join(DEFAULT_SENSORS)} when not given."),
    ] = ()
    context: Annotated[ContextSettings, Setting("The sensor picture.")] = field(
        default_factory=ContextSettings
    )
    prompts: Annotated[PromptSettings, Setting("Limits of prompts and answers.")] = field(
        default_factory=PromptSettings
    )
    triggers: Annotated[
        tuple[Trigger, ...],
        Setting(
            "When the node asks by itself, and publishes the answer to edgespike/<node>/alert."
        ),
    ] = ()
    homeassistant: Annotated[
        HomeAssistantSettings, Setting("Entities in Home Assistant, by its MQTT discovery.")
    ] = field(default_factory=HomeAssistantSettings)
    prometheus: Annotated[PrometheusSettings, Setting("Metrics over HTTP.")] = field(
        default_factory=PrometheusSettings
    )
    edge_ai: Annotated[
        EdgeAiSettings, Setting("Answers by the Edge AI standard for MQTT as well.")
    ] = field(default_factory=EdgeAiSettings)
    dialogues: Annotated[DialogueSettings, Setting("Prompts with a session.")] = field(
        default_factory=DialogueSettings
    )
    state_dir: Annotated[
        Path,
        Setting(
            "Where journal and window are kept; $STATE_DIRECTORY or the user's when not given.",
            example="/var/lib/edgespike",
        ),
    ] = field(default_factory=default_state_dir)
    logging: Annotated[LoggingSettings, Setting("What the daemon says about itself.")] = field(
        default_factory=LoggingSettings
    )

    def check(self) -> Iterator[tuple[str, str]]:
        """What the files say about the fields."""
        for path in self.profile_dirs:
            if not path.is_dir():
                yield "profile_dirs", f"no such directory: {path}"
        if self.group == self.node:
            yield "group", "must not be the node's own name"
        names = [trigger.name for trigger in self.triggers]
        for number, name in enumerate(names):
            if name in names[:number]:
                yield f"triggers[{number}].name", f"{name!a} is there twice"
        if len(names) > MAX_TRIGGERS:
            yield "triggers", f"at most {MAX_TRIGGERS} are possible"

    def topic(self, name: str) -> str:
        """This node's topic of that name: `edgespike/<node>/<name>`."""
        return f"edgespike/{self.node}/{name}"

    @property
    def client_id(self) -> str:
        """Start of the MQTT client ids."""
        return self.broker.client_id or f"edgespike-{self.node}"

    @property
    def threads(self) -> int:
        """Inference threads: chosen here, else the board's."""
        return self.model.threads or self.board.threads

    @property
    def parallel(self) -> int:
        """Prompts answered at a time: chosen here, else the board's."""
        return self.prompts.parallel or self.board.parallel

    @property
    def isa(self) -> Isa:
        """Instruction set: chosen here, else the board's."""
        return self.model.isa or self.board.isa

    @property
    def kv(self) -> KeyValues | None:
        """Precision of keys and values: chosen here, else the board's, else the model's."""
        return self.model.kv or self.board.kv

    @property
    def keepalive_s(self) -> int:
        """MQTT keep-alive in seconds: chosen here, else the board's."""
        return self.broker.keepalive_s or self.board.keepalive_s


def load_config(path: Path | str, environ: Mapping[str, str] | None = None) -> Config:
    """Read a configuration file; `environ` is `os.environ` unless given.

    Raises MissingInputError when the file can't be read, and ConfigError with every problem in it
    and in the profiles that it names, one `file:line: path: message` a line.
    """
    path = Path(path)
    tree = yamltree.parse_file(path)
    environ = os.environ if environ is None else environ
    library = ProfileLibrary(_profile_dirs(tree, path, environ))
    lookups = {SensorProfile: library.sensor, BoardProfile: library.board}
    reader = Reader(str(path), path.parent, environ, lookups)
    config = reader.read(Config, tree)
    if config is None:
        raise FileProblems(reader.problems)
    given = tree.entries if isinstance(tree, yamltree.Mapping) else {}
    board, sensors = config.board, config.sensors
    if "board" not in given:
        board = library.board(DEFAULT_BOARD)
    if "sensors" not in given:
        sensors = tuple(SensorSource(library.sensor(name)) for name in DEFAULT_SENSORS)
    completed = (replace(s, profile=s.profile.completed(library.quantities)) for s in sensors)
    return replace(config, board=board, sensors=tuple(completed))


def credentials(tree: yamltree.Node) -> tuple[str, ...]:
    """The names in `{credential: NAME}`, sorted."""
    return tuple(sorted(set(_credentials(tree))))


def _credentials(node: yamltree.Node) -> Iterator[str]:
    match node:
        case yamltree.Mapping(entries={"credential": yamltree.Scalar(text=name)}):
            if re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}", name):
                yield name
        case yamltree.Mapping(entries=entries):
            for value in entries.values():
                yield from _credentials(value)
        case yamltree.Sequence(items=items):
            for item in items:
                yield from _credentials(item)


def load_standing_in(path: Path, names: Sequence[str]) -> Config:
    """As `load_config`. The credentials `names`, which only a unit has, are stood in for where
    CREDENTIALS_DIRECTORY isn't set."""
    if "CREDENTIALS_DIRECTORY" in os.environ:
        return load_config(path)
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            (Path(folder) / name).write_text("a credential")
        return load_config(path, os.environ | {"CREDENTIALS_DIRECTORY": folder})


@dataclass(frozen=True, slots=True)
class Address:
    """Where a node is to be found: what its clients need of its configuration."""

    node: Annotated[str, Setting("", check=name_problem)] = field(default_factory=default_node)
    broker: Annotated[Broker, Setting("")] = field(default_factory=Broker)


def load_address(path: Path, environ: Mapping[str, str], *, password: bool = True) -> Address:
    """Node and broker of a configuration file, whatever else is in it; without `password` that
    isn't looked for, wherever it is to come from.

    Raises MissingInputError when the file can't be read, and ConfigError.
    """
    tree = yamltree.parse_file(path)
    if not password and isinstance(tree, yamltree.Mapping):
        broker = tree.entries.get("broker")
        if isinstance(broker, yamltree.Mapping):
            broker.entries.pop("password", None)
    reader = Reader(str(path), path.parent, environ)
    address = reader.read(Address, _only(tree, "node", "broker"))
    if address is None:
        raise FileProblems(reader.problems)
    return address


@dataclass(frozen=True, slots=True)
class _ProfileDirs:
    profile_dirs: Annotated[tuple[Path, ...], Setting("")] = ()


def _profile_dirs(tree: yamltree.Node, path: Path, environ: Mapping[str, str]) -> tuple[Path, ...]:
    """The profile directories, read first: the rest may name profiles in them. Problems with them
    are reported when the whole is read."""
    alone = _only(tree, "profile_dirs")
    read = Reader(str(path), path.parent, environ).read(_ProfileDirs, alone)
    return read.profile_dirs if read else ()


def _only(tree: yamltree.Node, *names: str) -> yamltree.Node:
    """A mapping without its other entries."""
    if not isinstance(tree, yamltree.Mapping):
        return tree
    chosen = {name: tree.entries[name] for name in names if name in tree.entries}
    return yamltree.Mapping(chosen, tree.key_lines, tree.line)
