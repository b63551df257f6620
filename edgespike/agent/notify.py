"""The systemd notification protocol, sd_notify(3): one datagram per state change.

Without `NOTIFY_SOCKET` in the environment every call does nothing, so the daemon runs the same way
with and without systemd.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping


class Notifier:
    """Sends states to the service manager that started this process."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        """Reads `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` from `environ` (os.environ)."""
        env = os.environ if environ is None else environ
        self._address = _address(env.get("NOTIFY_SOCKET", ""))
        self.watchdog_s = _watchdog(env)
        self._status = ""

    def ready(self) -> None:
        """The daemon can answer."""
        self._send("READY=1")

    def stopping(self) -> None:
        """The daemon is on its way out."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """Every part that must move has moved."""
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """One line for people, shown by `systemctl status`; sent when it changes."""
        line = " ".join(text.split())
        if line != self._status:
            self._status = line
            self._send(f"STATUS={line}")

    def _send(self, state: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            # A full or vanished socket must neither block nor stop the daemon: the manager will
            # notice the missing watchdog message, and nobody else reads these.
            sender.setblocking(False)
            try:
                sender.sendto(state.encode(), self._address)
            except OSError:
                return


def _address(name: str) -> str:
    """A file system path, or an abstract name (`@` stands for the leading zero byte)."""
    if name.startswith("@"):
        return "\0" + name[1:]
    return name if name.startswith("/") else ""


def _watchdog(env: Mapping[str, str]) -> float | None:
    """Seconds within which the manager wants to hear from us, or None."""
    if env.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    usec = env.get("WATCHDOG_USEC", "")
    return int(usec) / 1e6 if usec.isdecimal() and int(usec) > 0 else None
