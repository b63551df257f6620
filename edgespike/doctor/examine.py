"""All findings, in the order in which one thing needs another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from edgespike.config import DEFAULT_BOARD, Config, load_config
from edgespike.doctor import host, parts
from edgespike.doctor.findings import Finding, fail, ok
from edgespike.errors import EdgespikeError
from edgespike.model.footprint import memory_needed
from edgespike.profiles import ProfileLibrary


def examine(path: Path | None) -> Iterator[Finding]:
    """Look at everything that the daemon needs; `path` is its configuration, None the defaults.

    Changes nothing but this process: its instruction set is chosen. A model is read once, whole.
    """
    yield host.python()
    yield host.packages()
    yield host.clock()
    yield parts.unit()
    try:
        settings = load_config(path) if path else _defaults()
    except EdgespikeError as error:
        yield fail("settings", str(error), _settings_advice(str(error)), error.exit_code)
        return
    yield ok("settings", f"{path or 'defaults'}: node {settings.node}")
    if path:
        yield parts.secrets(settings, path)
    yield host.processor(settings)
    yield host.cores(settings)
    finding, container = parts.model(settings)
    yield finding
    if container is not None:
        yield host.memory(settings, memory_needed(container, settings.kv))
    yield parts.cache()
    yield parts.state_directory(settings.state_dir)
    yield from parts.broker(settings)


def _defaults() -> Config:
    return replace(Config(), board=ProfileLibrary().board(DEFAULT_BOARD))


def _settings_advice(message: str) -> str:
    if "CREDENTIALS_DIRECTORY" in message:
        return (
            "outside the unit, name the folder with the files: CREDENTIALS_DIRECTORY=/etc/edgespike"
        )
    return "correct the file; edgespike config init --example full shows every setting"
