"""Where the MQTT 5 broker is, and how this client shows who it is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from edgespike.settings.declared import Secret, Setting


def _host_problem(host: str) -> str | None:
    fine = host and host.isprintable() and not any(c in " /@" for c in host) and len(host) <= 253
    return None if fine else "must be a host name or an address, without a scheme or a port"


def _alpn_problem(name: str) -> str | None:
    fine = name.isascii() and name.isprintable() and 0 < len(name) <= 255
    return None if fine else "has 1 to 255 printable ASCII characters"


def _client_id_problem(text: str) -> str | None:
    fine = re.fullmatch(r"[\w.:-]{1,40}", text, re.ASCII)
    return None if fine else "has 1 to 40 letters, digits, and . : _ -"


@dataclass(frozen=True, slots=True)
class Tls:
    """Encryption to the broker, TLS 1.2 or later. `tls: {}` uses the system's certificates."""

    ca_file: Annotated[
        Path | None,
        Setting("CA certificates (PEM); the system's when not given.", example="ca.pem"),
    ] = None
    cert_file: Annotated[
        Path | None, Setting("Client certificate (PEM).", example="client.pem")
    ] = None
    key_file: Annotated[Path | None, Setting("Client key (PEM).", example="client.key")] = None
    key_password: Annotated[
        Secret | None,
        Setting("Password of the client key.", example="{credential: mqtt_key_password}"),
    ] = None
    server_name: Annotated[
        str | None,
        Setting(
            "Name to ask for and to find in the certificate; the host when not given.",
            check=_host_problem,
            example="broker.example",
        ),
    ] = None
    alpn: Annotated[
        tuple[str, ...],
        Setting("Protocol names to offer (ALPN).", check=_alpn_problem, example="[mqtt]"),
    ] = ()
    verify_hostname: Annotated[
        bool, Setting("Check that the certificate is for that name; off, any of the CA's will do.")
    ] = True

    def check(self) -> Iterator[tuple[str, str]]:
        """What the fields say about each other, and the files about them."""
        if self.key_file and not self.cert_file:
            yield "key_file", "needs cert_file"
        if self.key_password and not self.cert_file:
            yield "key_password", "needs cert_file"
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
