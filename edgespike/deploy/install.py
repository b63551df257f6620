"""Which files make a service of this installation, and writing them without harming others'."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import edgespike
from edgespike.config import Config, credentials, load_standing_in
from edgespike.deploy import units
from edgespike.errors import UsageError
from edgespike.model.bundled import bundled_model
from edgespike.model.container import open_container
from edgespike.model.footprint import memory_needed
from edgespike.settings import yamltree

_MARK = "# Written by edgespike install-service"
_HOMES = (Path("/home"), Path("/root"), Path("/run/user"))
_STATE = Path("/var/lib/edgespike")


@dataclass(frozen=True, slots=True)
class File:
    """A file to write, mode 0644."""

    path: Path
    text: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be written, what to know about it, and what to do next."""

    files: tuple[File, ...]
    notes: tuple[str, ...]
    steps: tuple[str, ...]


def default_config(prefix: Path, user_mode: bool) -> Path:
    """Where the settings of a service are, unless they were named."""
    folder = _user_config() / "edgespike" if user_mode else Path("/etc/edgespike")
    return _below(prefix, folder / "edgespike.yaml")


def plan(config: Path, prefix: Path, user_mode: bool) -> Plan:
    """The files of a service with the settings in `config`, to be placed below `prefix`.

    Raises MissingInputError and ConfigError about the settings, DataError about the model.
    """
    config = config.absolute()
    tree = yamltree.parse_file(config)
    names = credentials(tree)
    settings = load_standing_in(config, names)
    path = bundled_model() if settings.model.path == "bundled" else Path(settings.model.path)
    needed = memory_needed(open_container(path, verify=False), settings.kv)

    placed = _placed(config, prefix)
    folder = placed.parent
    given = isinstance(tree, yamltree.Mapping) and "state_dir" in tree.entries
    own_state = settings.state_dir if given and settings.state_dir != _STATE else None
    read = (*_program(), placed, Path() if settings.model.path == "bundled" else path)
    facts = units.Facts(
        command=_command(),
        config=str(placed),
        memory=needed,
        cpus=settings.board.pin,
        watchdog_s=settings.board.watchdog_s,
        lock_memory=settings.board.lock_memory,
        credentials=tuple((name, str(folder / name)) for name in names),
        environment_file=str(folder / "environment") if _uses_environment(tree) else None,
        writable=str(own_state) if own_state else None,
        in_home=any(each.is_relative_to(home) for each in read for home in _HOMES),
        user_mode=user_mode,
    )
    several = replace(facts, config=f"{folder}/%i.yaml")
    place = _user_config() / "systemd/user" if user_mode else Path("/etc/systemd/system")
    files = {
        place / "edgespike.service": units.service(facts),
        place / "edgespike@.service": units.service(several),
    }
    if not user_mode:
        files[Path("/etc/sysusers.d/edgespike.conf")] = units.sysusers()
        if folder.is_relative_to("/etc") and folder != Path("/etc"):
            files[Path("/etc/tmpfiles.d/edgespike.conf")] = units.tmpfiles(folder)
    return Plan(
        tuple(File(_below(prefix, path), _marked(text)) for path, text in files.items()),
        tuple(_notes(settings, facts, needed)),
        tuple(_steps(facts, names, folder)),
    )


def write(files: Sequence[File], force: bool) -> None:
    """Write all files, or none: raises UsageError when one exists that isn't as we wrote it (unless
    `force`), or can't be written.
    """
    if not force:
        for file in files:
            if file.path.exists() and not _ours(file.path):
                raise UsageError(
                    f"{file.path} exists and was written or changed by someone else: move what is "
                    "yours to a drop-in (systemctl edit), or replace it with --force"
                )
    for file in files:
        try:
            file.path.parent.mkdir(parents=True, exist_ok=True)
            fresh = file.path.with_name(f".{file.path.name}.new")
            fresh.write_text(file.text, encoding="utf-8")
            fresh.chmod(0o644)
            fresh.replace(file.path)
        except OSError as error:
            raise UsageError(
                f"{file.path}: {error.strerror}: use sudo, --user-mode or --prefix"
            ) from None


def _marked(text: str) -> str:
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return f"{_MARK} ({digest}); changes belong in a drop-in: systemctl edit.\n{text}"


def _ours(path: Path) -> bool:
    """Whether a file is as some version of this program wrote it."""
    try:
        first, _, rest = path.read_text(encoding="utf-8").partition("\n")
    except (OSError, UnicodeDecodeError):
        return False
    return bool(first) and first == _marked(rest).partition("\n")[0]


def _command() -> tuple[str, ...]:
    """What starts this installation, wherever it is called from."""
    script = Path(sys.executable).with_name("edgespike")
    return (str(script),) if script.is_file() else (sys.executable, "-m", "edgespike")


def _program() -> tuple[Path, ...]:
    """Where the program lies."""
    places = (sys.executable, sys.base_prefix, edgespike.__file__)
    return tuple(Path(place).absolute() for place in places)


def _uses_environment(node: yamltree.Node) -> bool:
    match node:
        case yamltree.Scalar(text=text):
            return "${" in text
        case yamltree.Mapping(entries=entries):
            return any(map(_uses_environment, entries.values()))
        case yamltree.Sequence(items=items):
            return any(map(_uses_environment, items))
    return False


def _user_config() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")


def _below(prefix: Path, path: Path) -> Path:
    return prefix / path.relative_to("/")


def _placed(path: Path, prefix: Path) -> Path:
    """Where a file below `prefix` is once the prefix has become the root."""
    prefix = prefix.absolute()
    return Path("/") / path.relative_to(prefix) if path.is_relative_to(prefix) else path


def _notes(settings: Config, facts: units.Facts, needed: int) -> Iterator[str]:
    limit = units.megabytes(needed)
    yield f"MemoryMax={limit}M: the model, its sessions, and the compiler at the first start"
    if limit > settings.board.memory_mb:
        board = settings.board
        yield f"that is more than the {board.memory_mb} MiB of the board profile {board.name}"
    absent = sorted(set(facts.cpus) - os.sched_getaffinity(0))
    if absent:
        yield f"CPUAffinity names CPUs {absent}, which this machine doesn't have: is `board` right?"
    if facts.in_home and not facts.user_mode:
        yield (
            f"the program, the model or the settings lie in a home directory: user {units.USER} "
            "must be able to read them there; /opt/edgespike is a better place"
        )
    if facts.writable:
        yield f"state_dir {facts.writable} must exist and belong to user {units.USER}"


def _steps(facts: units.Facts, credentials: Sequence[str], folder: Path) -> Iterator[str]:
    control = "systemctl --user" if facts.user_mode else "systemctl"
    for name in credentials:
        yield f"put the secret {name} into {folder / name}, mode 0600"
    if not facts.user_mode:
        yield "systemd-sysusers edgespike.conf && systemd-tmpfiles --create edgespike.conf"
    yield f"{control} daemon-reload && {control} enable --now edgespike"
    if facts.user_mode:
        yield "loginctl enable-linger   (to run while you aren't logged in)"
    yield f"more nodes, each with a `node` of its own: {folder}/NAME.yaml and edgespike@NAME"
    unit = "--user-unit" if facts.user_mode else "-u"
    yield f"journalctl {unit} edgespike -f"
