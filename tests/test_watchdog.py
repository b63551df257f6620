"""systemd hears that we live only as long as every thread that matters moves."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import WAIT, DaemonProcess, Peer

# The daemon, in which one thread hangs once SIGUSR1 has come: the one that answers, or the one that
# hears sensors.
HANGING = """
import signal, sys, threading
from edgespike import telemetry
from edgespike.agent.lifecycle import Daemon
from edgespike.agent.loading import load_answerer
from edgespike.config import load_config
from edgespike.sensing import Sensing

told, settings = threading.Event(), load_config(sys.argv[1])
signal.signal(signal.SIGUSR1, lambda *_: told.set())

def hang_when_told():
    if told.is_set():
        threading.Event().wait()

class Answerer:
    def __init__(self, inner):
        self._inner = inner
    def __getattr__(self, name):
        if threading.current_thread().name == "inference":
            hang_when_told()
        return getattr(self._inner, name)

def ingest(self, *arguments, inner=Sensing.ingest, **options):
    hang_when_told()
    return inner(self, *arguments, **options)

if sys.argv[2] == "sensors":
    Sensing.ingest = ingest
wrap = Answerer if sys.argv[2] == "inference" else lambda inner: inner
telemetry.configure("info", "json")
Daemon(settings, lambda *parts: wrap(load_answerer(*parts)), lambda: settings).run()
"""


def told(manager: socket.socket, seconds: float) -> str | None:
    """What systemd hears next; None when it hears nothing for so long."""
    manager.settimeout(seconds)
    try:
        return manager.recv(4096).decode()
    except TimeoutError:
        return None


@pytest.mark.parametrize("thread", ["inference", "sensors"])
def test_a_thread_that_hangs_stops_the_sign_of_life(
    thread: str, tmp_path: Path, peer: Peer, daemon: DaemonProcess
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, daemon.log.open("wb") as log:
        manager.bind(str(tmp_path / "notify"))
        under = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "2000000"}
        daemon.process = subprocess.Popen(
            [sys.executable, "-c", HANGING, str(daemon.settings), thread],
            stderr=log,
            env=os.environ | under,
        )
        while told(manager, WAIT) != "WATCHDOG=1":
            pass
        daemon.signal(signal.SIGUSR1)
        end = time.monotonic() + WAIT
        while [event["threads"] for event in daemon.events("stuck")][-1:] != [[thread]]:
            assert time.monotonic() < end
            peer.publish("zigbee2mqtt/cellar", '{"temperature": 12.5}')
            peer.prompt({"prompt": "hello?", "id": "unanswered"})
            told(manager, 0.2)
        heard = [told(manager, 3.0)]
        while heard[-1] is not None:
            heard.append(told(manager, 3.0))
        assert "WATCHDOG=1" not in heard
