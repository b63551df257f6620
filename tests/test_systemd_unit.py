"""The unit file: accepted by systemd, hardened, and honest about what it leaves out."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[1] / "systemd" / "edgespike.service"


@pytest.fixture
def analyze() -> str:
    """Path of systemd-analyze."""
    binary = shutil.which("systemd-analyze")
    if binary is None:
        pytest.skip("needs systemd-analyze: no systemd on this machine")
    return binary


def test_systemd_finds_nothing_wrong(analyze: str) -> None:
    done = subprocess.run([analyze, "verify", str(UNIT)], capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_exposure_is_low(analyze: str) -> None:
    command = [analyze, "security", "--offline=true", str(UNIT)]
    done = subprocess.run(command, capture_output=True, text=True)
    if "Unknown" in done.stderr or "unrecognized" in done.stderr:
        pytest.skip("this systemd-analyze is too old for --offline")
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert found is not None
    assert float(found[1]) <= 1.5


def test_the_jit_is_allowed_to_work_and_the_reason_is_given() -> None:
    text = UNIT.read_text()
    assert "MemoryDenyWriteExecute=no" in text
    assert re.search(r"#[^\n]*JIT", text)
    assert "NUMBA_CACHE_DIR=" in text


def test_the_watchdog_is_on_and_there_is_time_to_stop() -> None:
    from edgespike.agent.lifecycle import STOP_WITHIN_S

    settings = dict(re.findall(r"^(\w+)=(.*)$", UNIT.read_text(), re.MULTILINE))
    assert settings["Type"] == "notify"
    assert int(settings["WatchdogSec"]) >= 30
    assert int(settings["TimeoutStopSec"]) > STOP_WITHIN_S
