"""What this installation chooses: YAML -> frozen typed settings, every error at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from edgespike.declared import Secret, setting
from edgespike.profiles import BoardProfile, Isa

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "json", "console"]


@dataclass(frozen=True, slots=True)
class Tls:
    """Encryption to the broker."""

    ca_file: Path | None = setting("CA certificates (PEM); the system's when not given.", None)
    cert_file: Path | None = setting("Client certificate (PEM).", None)
    key_file: Path | None = setting("Client key (PEM).", None)
    verify_hostname: bool = setting("Check that the certificate names the host.", True)


@dataclass(frozen=True, slots=True)
class Broker:
    """Where the MQTT 5 broker is."""

    host: str = setting("Host name or address.", "localhost")
    port: int | None = setting("Port; 1883, or 8883 with TLS.", None, low=1, high=65535)
    username: str | None = setting("User name.", None)
    password: Secret | None = setting("Password.", None)
    tls: Tls | None = setting("TLS; none when not given.", None)
    keepalive_s: int | None = setting(
        "Keep-alive in seconds; the board's when not given.", None, low=5, high=65535
    )
    session_expiry_s: int = setting(
        "How long the broker keeps prompts for us while we are away, in seconds.",
        86400,
        low=0,
        high=0xFFFFFFFF,
    )
    client_id: str | None = setting(
        "Prefix of the client ids (-prompts and -sensors are added); edgespike-<node>.", None
    )
    reconnect_max_s: int = setting("Longest pause between connection attempts.", 60, low=1)

    @property
    def resolved_port(self) -> int:
        """The port, with its default."""
        return self.port or (8883 if self.tls else 1883)


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Which model, and how it runs."""

    path: str = setting("Container file, or `bundled` for the model that is shipped.", "bundled")
    threads: int | None = setting("Inference threads; the board's when not given.", None, low=1)
    isa: Isa | None = setting("Instruction set; the board's when not given.", None)
    verify: bool = setting("Check the file's digests at start.", True)
    warmup: bool = setting("Compile and touch everything before reporting ready.", True)


@dataclass(frozen=True, slots=True)
class ContextSettings:
    """What of the sensor picture a prompt shows to the model."""

    budget_tokens: int = setting("Tokens for a whole prompt, question included.", 512, low=32)
    max_channels: int = setting("Channels kept in memory; more are refused.", 256, low=1)


@dataclass(frozen=True, slots=True)
class PromptSettings:
    """Limits of prompts and answers."""

    inbox: int = setting("Prompts that may wait; more are told `busy`.", 16, low=1, high=1024)
    max_prompt_bytes: int = setting("Longest prompt message.", 16384, low=64)
    default_max_tokens: int = setting("Answer length when a prompt names none.", 64, low=1)
    max_tokens: int = setting("Longest answer that a prompt may ask for.", 512, low=1)
    default_deadline_ms: int = setting("Deadline when a prompt names none.", 180_000, low=1)
    max_deadline_ms: int = setting("Longest deadline that a prompt may ask for.", 3_600_000, low=1)
    response_prefixes: tuple[str, ...] = setting(
        "Response Topics must start with one of these.", ("edgespike/",)
    )


@dataclass(frozen=True, slots=True)
class LoggingSettings:
    """What the daemon says about itself."""

    level: LogLevel = setting("Least severe level that is logged.", "info")
    format: LogFormat = setting("`json`, `console`, or `auto`: console on a terminal.", "auto")


@dataclass(frozen=True, slots=True)
class Config:
    """All settings of one daemon."""

    node: str = setting("Name of this node: its topics are edgespike/<node>/...", "edgespike")
    broker: Broker = field(default_factory=Broker)
    model: ModelSettings = field(default_factory=ModelSettings)
    board: BoardProfile = field(default_factory=BoardProfile)
    context: ContextSettings = field(default_factory=ContextSettings)
    prompts: PromptSettings = field(default_factory=PromptSettings)
    state_dir: Path = setting("Where the journal is kept.", Path("/var/lib/edgespike"))
    logging: LoggingSettings = field(default_factory=LoggingSettings)

    def topic(self, name: str) -> str:
        """This node's topic of that name: `edgespike/<node>/<name>`."""
        return f"edgespike/{self.node}/{name}"

    @property
    def client_id(self) -> str:
        """Prefix of the MQTT client ids."""
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


def load_config(path: Path, environ: Mapping[str, str] | None = None) -> Config:
    """Read a configuration file. Raises ConfigError with every error, MissingInputError."""
    raise NotImplementedError(path, environ)
