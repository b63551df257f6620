"""What this installation chooses: YAML -> frozen typed settings, every error at once."""

from __future__ import annotations

import fnmatch
import os
import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Literal

from edgespike.profiles import (
    BoardProfile,
    Isa,
    ProfileLibrary,
    SensorProfile,
    ValueFacts,
    name_problem,
)
from edgespike.settings import yamltree
from edgespike.settings.declared import Number, Reader, Seconds, Secret, Setting
from edgespike.settings.yamltree import FileProblems
from edgespike.topics import pattern_problem, topic_problem

_HOUR = Seconds(3600.0)

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "json", "console"]

DEFAULT_BOARD = "generic-one-core"
"""Profile of the board when `board` isn't given."""

DEFAULT_SENSORS = ("zigbee2mqtt", "tasmota", "esphome", "shelly", "plain-number")
"""Profiles that are heard when `sensors` isn't given."""


def _folded(channel: str) -> str:
    return channel.replace("_", " ").casefold()


def _host_problem(host: str) -> str | None:
    fine = host and host.isprintable() and not any(c in " /@" for c in host) and len(host) <= 253
    return None if fine else "must be a host name or an address, without a scheme or a port"


def _client_id_problem(text: str) -> str | None:
    fine = re.fullmatch(r"[\w.:-]{1,40}", text, re.ASCII)
    return None if fine else "has 1 to 40 letters, digits, and . : _ -"


def _name_problem(text: str) -> str | None:
    return (
        None if 0 < len(text) <= 64 and text.isprintable() else "has 1 to 64 printable characters"
    )


def _prefix_problem(prefix: str) -> str | None:
    if problem := topic_problem(prefix):
        return problem
    return None if prefix.endswith("/") else "must end with /"


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
class Tls:
    """Encryption to the broker. `tls: {}` uses the system's certificates."""

    ca_file: Annotated[
        Path | None,
        Setting("CA certificates (PEM); the system's when not given.", example="ca.pem"),
    ] = None
    cert_file: Annotated[
        Path | None, Setting("Client certificate (PEM).", example="client.pem")
    ] = None
    key_file: Annotated[Path | None, Setting("Client key (PEM).", example="client.key")] = None
    verify_hostname: Annotated[bool, Setting("Check that the certificate is the host's.")] = True

    def check(self) -> Iterator[tuple[str, str]]:
        """What the fields say about each other, and the files about them."""
        if self.key_file and not self.cert_file:
            yield "key_file", "needs cert_file"
        for name in ("ca_file", "cert_file", "key_file"):
            path = getattr(self, name)
            if path and not path.is_file():
                yield name, f"no such file: {path}"


@dataclass(frozen=True, slots=True)
class Broker:
    """The MQTT 5 broker."""

    host: Annotated[str, Setting("Host name or address.", check=_host_problem)] = "localhost"
    port: Annotated[
        int | None, Setting("Port; 1883, or 8883 with TLS.", low=1, high=65535, example="1883")
    ] = None
    username: Annotated[str | None, Setting("User name.", example="edgespike")] = None
    password: Annotated[
        Secret | None,
        Setting(
            "Password; better from ${ENVIRONMENT} or a credential than written here.",
            example="{credential: mqtt_password}",
        ),
    ] = None
    tls: Annotated[Tls | None, Setting("Encryption; none when not given.")] = None
    keepalive_s: Annotated[
        int | None,
        Setting("Keep-alive; the board's when not given.", low=5, high=65535, example="30"),
    ] = None
    session_expiry_s: Annotated[
        int,
        Setting(
            "How long the broker keeps prompts for us while we are away.", low=0, high=2**32 - 1
        ),
    ] = 86400
    client_id: Annotated[
        str | None,
        Setting(
            "Start of the client ids; edgespike-<node> when not given.",
            check=_client_id_problem,
            example="edgespike-kitchen",
        ),
    ] = None
    reconnect_max_s: Annotated[
        int, Setting("Longest pause between attempts to connect.", low=1, high=3600)
    ] = 60

    @property
    def resolved_port(self) -> int:
        """The port, with its default."""
        return self.port or (8883 if self.tls else 1883)

    def check(self) -> Iterator[tuple[str, str]]:
        """What the fields say about each other."""
        if self.password and not self.username:
            yield "password", "needs a username"


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
    verify: Annotated[bool, Setting("Check the file's digests at start.")] = True
    warmup: Annotated[bool, Setting("Compile all kernels before reporting ready.")] = True


@dataclass(frozen=True, slots=True)
class ChannelSettings:
    """What this installation knows about a channel."""

    rename: Annotated[
        str | None,
        Setting("Name to use instead.", check=_name_problem, example="boiler temperature"),
    ] = None
    show: Annotated[
        bool | None, Setting("Show (also a diagnostic value) or hide.", example="true")
    ] = None
    unit: Annotated[str | None, Setting("Unit to show; values aren't converted.", example="°F")] = (
        None
    )
    low: Annotated[Number | None, Setting("Below this is too low.", example="18")] = None
    high: Annotated[Number | None, Setting("Above this is too high.", example="26.5")] = None
    hysteresis: Annotated[
        Number | None,
        Setting("How far back inside a limit it must come to be fine again.", example="0.5"),
    ] = None
    stale_after: Annotated[
        Seconds | None, Setting("Age from which the value counts as stale.", example="15m")
    ] = None

    def check(self) -> Iterator[tuple[str, str]]:
        """What the fields say about each other."""
        low, high = (None if v is None else float(v) for v in (self.low, self.high))
        gap = float(self.hysteresis or 0)
        if low is not None and high is not None and low >= high:
            yield "high", "must be above low"
        elif gap < 0:
            yield "hysteresis", "must not be negative"
        elif low is not None and high is not None and gap > high - low:
            yield "hysteresis", "must not be larger than high - low"

    def over(self, base: ChannelSettings) -> ChannelSettings:
        """These settings, and those of `base` where these say nothing."""
        mine = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(base, **{name: value for name, value in mine.items() if value is not None})


@dataclass(frozen=True, slots=True)
class SensorSource:
    """Sensors of one firmware."""

    profile: Annotated[
        SensorProfile,
        Setting(
            "Name of a sensor profile (`edgespike profiles`), or one inline.",
            example="zigbee2mqtt",
            named=True,
        ),
    ]
    base: Annotated[
        str | None,
        Setting(
            "Base topic, where it isn't the firmware's default.",
            check=topic_problem,
            example="zigbee2mqtt",
        ),
    ] = None
    topics: Annotated[
        tuple[str, ...],
        Setting(
            "Topic patterns instead of the profile's: MQTT filters, or with {device} and {key}.",
            check=pattern_problem,
            example='["plant/+/temperature"]',
        ),
    ] = ()
    availability: Annotated[
        tuple[str, ...],
        Setting(
            "Topic patterns whose payload says online or offline.",
            check=pattern_problem,
            example='["plant/{device}/online"]',
        ),
    ] = ()
    values: Annotated[
        Mapping[str, ValueFacts],
        Setting(
            "Facts about values by key, over the profile's.",
            example="temperature",
        ),
    ] = field(default_factory=dict)
    channels: Annotated[
        Mapping[str, ChannelSettings],
        Setting(
            "Settings by channel name; * and ? match. All that match apply, later ones win.",
            example="boiler temperature",
        ),
    ] = field(default_factory=dict)
    diagnostics: Annotated[
        bool, Setting("Show diagnostic values too: link quality, battery, ...")
    ] = False

    def settings_of(self, channel: str) -> ChannelSettings:
        """The settings of a channel by its unrenamed name: every entry that matches, in order.

        Case and the difference between `_` and a space don't matter.
        """
        result, wanted = ChannelSettings(), _folded(channel)
        for pattern, settings in self.channels.items():
            if fnmatch.fnmatchcase(wanted, _folded(pattern)):
                result = settings.over(result)
        return result


@dataclass(frozen=True, slots=True)
class ContextSettings:
    """What of the sensor picture is kept, and what a prompt shows of it."""

    budget_tokens: Annotated[
        int, Setting("Tokens of a whole prompt, question included.", low=32, high=65536)
    ] = 512
    max_channels: Annotated[
        int, Setting("Channels kept; further ones are refused and counted.", low=1, high=10000)
    ] = 256
    history: Annotated[
        Seconds, Setting("Time that trends, minima and maxima look back.", low=60, high=604800)
    ] = _HOUR


@dataclass(frozen=True, slots=True)
class PromptSettings:
    """Limits of prompts and answers."""

    inbox: Annotated[
        int, Setting("Prompts that may wait; further ones are told busy.", low=1, high=1024)
    ] = 16
    max_prompt_bytes: Annotated[int, Setting("Longest prompt message.", low=64, high=1048576)] = (
        16384
    )
    default_max_tokens: Annotated[
        int, Setting("Longest answer, when a prompt doesn't say.", low=1, high=65536)
    ] = 64
    max_tokens: Annotated[
        int, Setting("Longest answer that a prompt may ask for.", low=1, high=65536)
    ] = 512
    default_deadline_ms: Annotated[
        int, Setting("Deadline, when a prompt doesn't say.", low=100, high=86_400_000)
    ] = 180_000
    max_deadline_ms: Annotated[
        int, Setting("Longest deadline that a prompt may ask for.", low=100, high=86_400_000)
    ] = 3_600_000
    response_prefixes: Annotated[
        tuple[str, ...],
        Setting("A Response Topic must start with one of these.", check=_prefix_problem),
    ] = ("edgespike/",)

    def check(self) -> Iterator[tuple[str, str]]:
        """What the fields say about each other."""
        if self.default_max_tokens > self.max_tokens:
            yield "default_max_tokens", f"must be at most max_tokens ({self.max_tokens})"
        if self.default_deadline_ms > self.max_deadline_ms:
            yield "default_deadline_ms", f"must be at most max_deadline_ms ({self.max_deadline_ms})"


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
    state_dir: Annotated[
        Path,
        Setting(
            "Where the journal is kept; $STATE_DIRECTORY or the user's when not given.",
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
    def isa(self) -> Isa:
        """Instruction set: chosen here, else the board's."""
        return self.model.isa or self.board.isa

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


@dataclass(frozen=True, slots=True)
class _ProfileDirs:
    profile_dirs: Annotated[tuple[Path, ...], Setting("")] = ()


def _profile_dirs(tree: yamltree.Node, path: Path, environ: Mapping[str, str]) -> tuple[Path, ...]:
    """The profile directories, read first: the rest may name profiles in them. Problems with them
    are reported when the whole is read."""
    if not isinstance(tree, yamltree.Mapping) or "profile_dirs" not in tree.entries:
        return ()
    alone = yamltree.Mapping({"profile_dirs": tree.entries["profile_dirs"]}, tree.key_lines, 1)
    read = Reader(str(path), path.parent, environ).read(_ProfileDirs, alone)
    return read.profile_dirs if read else ()
