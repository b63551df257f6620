"""Options of commands that are clients of a node: which node, at which broker, as whom."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgespike.config import Address
    from edgespike.settings.declared import Secret

PASSWORD = "EDGESPIKE_MQTT_PASSWORD"
"""Environment variable with the password of `--username`."""

_MAX_PASSWORD_BYTES = 64 * 1024


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add them to a subcommand."""
    parser.add_argument(
        "--config", metavar="FILE", type=Path, help="node and broker as in this configuration"
    )
    parser.add_argument(
        "--broker",
        metavar="URL",
        help="mqtt://[user@]host[:port], or mqtts:// for TLS (default mqtt://localhost)",
    )
    parser.add_argument("--node", help="which node (default: this host's name)")
    parser.add_argument(
        "--username",
        metavar="NAME",
        help=f"user at the broker; the password comes from {PASSWORD} or a file",
    )
    parser.add_argument("--password-file", metavar="FILE", type=Path, help="file with the password")
    parser.add_argument("--ca", metavar="FILE", type=Path, help="CA certificates (PEM), for TLS")
    parser.add_argument("--cert", metavar="FILE", type=Path, help="client certificate (PEM)")
    parser.add_argument("--key", metavar="FILE", type=Path, help="key of the client certificate")


def address(arguments: argparse.Namespace) -> Address:
    """The node and the broker that the options name; options count more than `--config`.

    Raises UsageError, MissingInputError, ConfigError.
    """
    from dataclasses import replace

    from edgespike.agent.client import broker_from_url
    from edgespike.config import Address, Broker, Tls, load_address
    from edgespike.errors import UsageError
    from edgespike.profiles import name_problem
    from edgespike.settings.declared import Secret

    password = None if arguments.password_file is None else _password(arguments.password_file)
    if password is None and PASSWORD in os.environ:
        password = Secret(os.environ[PASSWORD])
    found = (
        load_address(arguments.config, os.environ, password=password is None)
        if arguments.config
        else Address(broker=Broker())
    )
    broker = found.broker
    if arguments.broker is not None:
        given = broker_from_url(arguments.broker)
        broker = replace(
            broker,
            host=given.host,
            port=given.port,
            username=given.username or broker.username,
            tls=None if given.tls is None else broker.tls or given.tls,
        )
    if arguments.username is not None:
        broker = replace(broker, username=arguments.username)
    # The variable may be there for another broker, which wants a user.
    if arguments.password_file or (password and broker.username):
        broker = replace(broker, password=password)
    files = {"ca_file": arguments.ca, "cert_file": arguments.cert, "key_file": arguments.key}
    named = {name: path for name, path in files.items() if path is not None}
    if named:
        broker = replace(broker, tls=replace(broker.tls or Tls(), **named))
    for option, problem in (*broker.check(), *(broker.tls.check() if broker.tls else ())):
        raise UsageError(f"{option}: {problem}")
    node = arguments.node or found.node
    if problem := name_problem(node):
        raise UsageError(f"--node: {node!a} is no name of a node, which {problem}")
    return Address(node, broker)


def _password(path: Path) -> Secret:
    from edgespike.errors import MissingInputError, UsageError
    from edgespike.settings.declared import Secret

    try:
        with path.open("rb") as file:
            text = file.read(_MAX_PASSWORD_BYTES).decode()
    except OSError as error:
        raise MissingInputError(f"--password-file: {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"--password-file: {path}: isn't UTF-8") from None
    return Secret(text.rstrip("\r\n"))
