"""What belongs to edgespike: the model file, kernel cache, directories, the unit, the broker."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from edgespike.agent.probe import probe
from edgespike.config import Config
from edgespike.doctor.findings import Finding, fail, ok, warn
from edgespike.errors import ConfigError, DataError, EdgespikeError, UnavailableError
from edgespike.model.bundled import bundled_model
from edgespike.model.container import Container, open_container
from edgespike.sensing import Sensing
from edgespike.settings import yamltree

_LEAST_FREE = 64 << 20
_BROKER_S = 5.0
_UNIT_FOLDERS = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
_UNITS = ("edgespike.service", "edgespike@.service")
_REFUSED_USER = ("authoriz", "user name", "password", "client identifier")


def model(settings: Config) -> tuple[Finding, Container | None]:
    """The model file, every byte of it checked; and the model, if it can be used."""
    chosen = settings.model.path
    try:
        path = bundled_model() if chosen == "bundled" else Path(chosen)
        container = open_container(path)
    except EdgespikeError as error:
        advice = "copy the model file again, or convert the checkpoint again"
        return fail("model", str(error), advice, error.exit_code), None
    shown = f"{path}: {container.precision}, {path.stat().st_size / 1e6:.1f} MB, digests right"
    if container.tokenizer is None:
        advice = "convert it again with --tokenizer FILE"
        return fail("model", f"{path} has no tokenizer", advice, DataError.exit_code), container
    if container.precision != settings.board.precision:
        wanted = settings.board.precision
        advice = f"convert the checkpoint with --precision {wanted}, or choose another board"
        return warn("model", f"{shown}; the board wants {wanted}", advice), container
    return ok("model", shown), container


def cache(of_service: Path = Path("/var/cache/edgespike")) -> Finding:
    """The kernels that are compiled already. `of_service` is where the unit keeps its own."""
    from edgespike.kernels.compiler import cache_folder

    folder = cache_folder()
    if folder.parent == Path(tempfile.gettempdir()):
        folder.rmdir()
        return warn(
            "cache",
            "there is no directory to keep compiled kernels in: every start compiles them",
            "set NUMBA_CACHE_DIR to a directory that can be written (CacheDirectory= in the unit)",
        )
    if not any(folder.rglob("*.nbi")):
        # What is in it only root and the service may see.
        if of_service.is_symlink() or of_service.is_dir():
            return ok("cache", f"that of the service is {of_service}; {folder} is empty")
        return warn(
            "cache", f"{folder} is empty: the first start compiles", "run edgespike warmup now"
        )
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return ok("cache", f"{folder} has compiled kernels, {size / 1e6:.1f} MB")


def secrets(settings: Config, path: Path) -> Finding:
    """Whether others who use this machine can read what is secret; `path` is the configuration."""
    tree = yamltree.parse_file(path)
    broker = tree.entries.get("broker") if isinstance(tree, yamltree.Mapping) else None
    word = broker.entries.get("password") if isinstance(broker, yamltree.Mapping) else None
    if isinstance(word, yamltree.Scalar) and not word.is_null and "${" not in word.text:
        return warn(
            "secrets",
            f"the password is written in {path}",
            "use {credential: mqtt_password} or ${MQTT_PASSWORD} instead",
        )
    key = settings.broker.tls.key_file if settings.broker.tls else None
    if key is not None and key.stat().st_mode & stat.S_IROTH:
        return warn("secrets", f"{key} can be read by everybody", f"chmod o-r {key}")
    return ok("secrets", "none that others could read")


def state_directory(path: Path) -> Finding:
    """Where the journal is kept."""
    existing = next((each for each in (path, *path.parents) if each.exists()), Path("/"))
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        return fail(
            "state",
            f"{path} can't be written by this user",
            "set `state_dir`, or run this as the daemon's user",
            ConfigError.exit_code,
        )
    free = shutil.disk_usage(existing).free
    if free < _LEAST_FREE:
        return warn("state", f"{path}: {free // 2**20} MiB of disk left", "make room on the disk")
    if existing == path and path.stat().st_mode & stat.S_IWOTH:
        return warn("state", f"{path} can be written by everybody", f"chmod o-w {path}")
    return ok("state", f"{path} can be written" if existing == path else f"{path} can be made")


def unit(
    environ: Mapping[str, str] = os.environ,
    folders: Sequence[str] = _UNIT_FOLDERS,
    running: Path = Path("/run/systemd/system"),
) -> Finding:
    """What systemd knows of us: the environment when it runs us, else the unit."""
    if "NOTIFY_SOCKET" in environ:
        usec = environ.get("WATCHDOG_USEC", "")
        if not usec.isdecimal():
            return warn(
                "systemd",
                "this unit has no watchdog",
                "add WatchdogSec=60: a stuck daemon restarts",
            )
        return ok("systemd", f"runs us, with a watchdog of {int(usec) / 1e6:g} s")
    if not running.is_dir():
        return ok("systemd", "isn't what runs this machine")
    own = Path(environ.get("HOME", "/")) / ".config/systemd/user"
    places = [Path(folder) / name for folder in (*folders, str(own)) for name in _UNITS]
    installed = [str(place) for place in places if place.is_file()]
    if installed:
        return ok("systemd", ", ".join(installed))
    return warn("systemd", "edgespike is no service yet", "sudo edgespike install-service")


def broker(settings: Config) -> Iterator[Finding]:
    """Whether the broker takes us, with MQTT 5, and lets us read and write what we have to."""
    where = f"{settings.broker.host}:{settings.broker.resolved_port}"
    try:
        found = probe(settings, Sensing(settings).topics(), _BROKER_S)
    except EdgespikeError as error:
        yield fail("broker", str(error), "correct broker.tls", error.exit_code)
        return
    if found.unreachable is not None:
        yield fail(
            "broker",
            f"{where}: {found.unreachable}",
            "is it running (systemctl status mosquitto), and are broker.host and .port right?",
        )
    elif found.refused is not None:
        tls = found.refused.startswith("TLS:")
        user = any(part in found.refused.lower() for part in _REFUSED_USER)
        yield fail(
            "broker",
            f"{where} is there, but: {found.refused}",
            "correct broker.tls"
            if tls
            else "correct broker.username and broker.password"
            if user
            else "it must speak MQTT 5 (Mosquitto 1.6 or later), and TLS just if broker.tls is set",
            ConfigError.exit_code if user or tls else UnavailableError.exit_code,
        )
    else:
        yield ok("broker", f"{where} speaks MQTT 5 and takes us")
        yield _rights(settings, found.unread, found.unwritten)
        yield _daemon(settings.node, found.status)


def _rights(
    settings: Config, unread: tuple[tuple[str, ...], str] | None, unwritten: str | None
) -> Finding:
    advice = f"allow this user edgespike/{settings.node}/# and the sensors in the broker's ACL"
    code = ConfigError.exit_code
    if unread is not None:
        topics, reason = unread
        return fail("rights", f"may not read {', '.join(topics)}: {reason}", advice, code)
    if unwritten is not None:
        return fail("rights", f"may not publish replies: {unwritten}", advice, code)
    return ok("rights", f"may read prompts and sensors, and write under edgespike/{settings.node}/")


def _daemon(node: str, status: str | None) -> Finding:
    if status == "offline":
        return warn("daemon", f"node {node} is offline: it ended without saying so", "see its log")
    return ok("daemon", f"node {node} is {status!a}" if status else f"node {node} was never here")
