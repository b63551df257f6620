"""The shipped unit, made to fit one installation, one model and one board. Text to text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgespike.errors import InternalError, UsageError
from edgespike.profiles import shipped_directory

USER = "edgespike"

_STEP_MB = 64
_USER_MANAGER = re.compile(
    r"""Description|Documentation|Type|NotifyAccess|ExecStart|ExecReload|Restart|RestartSec
    |RestartPreventExitStatus|TimeoutStartSec|TimeoutStopSec|WatchdogSec|MemoryMax|Nice|CPUAffinity
    |OOMPolicy|StateDirectory|StateDirectoryMode|CacheDirectory|Environment|EnvironmentFile
    |LoadCredential|NoNewPrivileges|RestrictRealtime|RestrictSUIDSGID|RestrictAddressFamilies
    |LockPersonality|SystemCallArchitectures|SystemCallFilter|SystemCallErrorNumber|UMask
    |MemoryDenyWriteExecute|SyslogLevel|WantedBy""",
    re.VERBOSE,
)
"""Settings of the shipped unit that a user's own manager has the rights to apply."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a unit depends on. `config` may hold `%i`, the name of the instance.

    `command` starts `edgespike`; `memory` is the bytes that the daemon needs; `credentials` maps
    names to files; `in_home`: whether something that it reads lies in a home directory.
    """

    command: tuple[str, ...]
    config: str
    memory: int
    cpus: tuple[int, ...] = ()
    watchdog_s: int = 60
    lock_memory: bool = False
    credentials: tuple[tuple[str, str], ...] = ()
    environment_file: str | None = None
    writable: str | None = None
    in_home: bool = False
    user_mode: bool = False


def service(facts: Facts) -> str:
    """The unit file. Raises UsageError for paths that a unit can't name."""
    text = (shipped_directory("systemd") / "edgespike.service").read_text(encoding="utf-8")
    # What stands above [Unit] tells how to do by hand what is done here.
    text = text[text.index("[Unit]") :]
    command = [quoted(word) for word in (*facts.command, "run", "--config")]
    config = "%i".join(quoted(part, bare=True) for part in facts.config.split("%i"))
    start = " ".join([*command, f'"{config}"' if " " in config else config])
    text = _set(text, r"(?:# [^\n]*\n)*ExecStart", f"ExecStart={start}")
    text = _set(text, "MemoryMax", f"MemoryMax={megabytes(facts.memory)}M")
    if facts.lock_memory:
        limit = "# The board keeps the model in memory.\nLimitMEMLOCK=infinity"
        text = _set(text, "OOMPolicy", f"{limit}\nOOMPolicy=stop")
    text = _set(text, "WatchdogSec", f"WatchdogSec={facts.watchdog_s}")
    if facts.cpus:
        cpus = " ".join(map(str, facts.cpus))
        text = _set(text, "Nice", f"Nice=5\nCPUAffinity={cpus}")
    if facts.credentials:
        lines = [f"LoadCredential={name}:{quoted(path)}" for name, path in facts.credentials]
        text = _set(text, r"# Uncomment[^\n]*\n#LoadCredential", "\n".join(lines))
    if facts.environment_file:
        line = f"EnvironmentFile=-{quoted(facts.environment_file)}"
        text = _set(text, "Environment=PYTHONUNBUFFERED", f"Environment=PYTHONUNBUFFERED=1\n{line}")
    if facts.writable:
        line = f"ProtectSystem=strict\nReadWritePaths={quoted(facts.writable)}"
        text = _set(text, "ProtectSystem", line)
    if facts.in_home:
        reason = "# The program, the model or the settings lie in a home directory."
        text = _set(text, "ProtectHome", f"{reason}\nProtectHome=read-only")
    if facts.user_mode:
        text = _set(text, "WantedBy", "WantedBy=default.target")
        text = "".join(_for_user(text))
    if "%i" in facts.config:
        text = text.replace("Description=edgespike:", "Description=edgespike %i:")
    return text


def sysusers() -> str:
    """sysusers.d(5): the user that files can be given to; the unit would make one by itself."""
    return f'u {USER} - "edgespike daemon"\n'


def tmpfiles(directory: Path) -> str:
    """tmpfiles.d(5): settings, certificates and keys that the daemon can read, and nobody else but
    root; also those that come later, since the directory hands its group on. Credentials aren't
    among them: systemd hands them over."""
    folder = _tmpfiles_path(directory)
    files = [f"z {folder}/*.{kind} 0640 root {USER} -" for kind in ("yaml", "pem", "key")]
    return "\n".join([f"d {folder} 2750 root {USER} -", *files, ""])


def megabytes(size: int) -> int:
    """Bytes as MiB, rounded up to a number that is easy to read."""
    return -(-size // (_STEP_MB << 20)) * _STEP_MB


def quoted(word: str, bare: bool = False) -> str:
    """A word of a unit file, taken literally: systemd.syntax(7) and specifiers. `bare` leaves the
    quotes to the caller. Raises UsageError for control characters."""
    if not word.isprintable():
        raise UsageError(f"a unit can't name {word!a}: it has unprintable characters")
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    escaped = escaped.replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if not bare and re.search(r"[\s'\";#]", word) else escaped


def _tmpfiles_path(path: Path) -> str:
    text = str(path)
    if not text.isprintable() or re.search(r"[\s\"'\\*?\[]", text):
        raise UsageError(f"tmpfiles.d can't name the directory {text!a}: choose a plainer one")
    return text.replace("%", "%%")


def _set(text: str, key: str, line: str) -> str:
    """`text` with the one line of `key` (a regular expression) replaced."""
    done, count = re.subn(rf"^{key}=.*$", lambda _: line, text, flags=re.MULTILINE)
    if count != 1:
        raise InternalError(f"the shipped unit has {count} lines {key}=")
    return done


def _for_user(text: str) -> Iterator[str]:
    """The lines that a user's manager can apply, with the comments before them."""
    comments: list[str] = []
    for line in text.splitlines(keepends=True):
        if line.startswith("#"):
            comments.append(line)
            continue
        if line.startswith("[") or not line.strip() or _USER_MANAGER.fullmatch(line.split("=")[0]):
            yield from comments
            yield line
        comments = []
