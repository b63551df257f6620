"""The unit file: accepted by systemd, hardened, and honest about what it leaves out."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edgespike.deploy import units
from edgespike.errors import ConfigError, DataError, MissingInputError, UsageError

FOLDER = Path(__file__).parents[1] / "systemd"
UNIT = FOLDER / "edgespike.service"
SEVERAL = FOLDER / "edgespike@.service"


@pytest.fixture
def analyze() -> str:
    """Path of systemd-analyze."""
    binary = shutil.which("systemd-analyze")
    if binary is None:
        pytest.skip("needs systemd-analyze: no systemd on this machine")
    return binary


@pytest.mark.parametrize("unit", [UNIT, SEVERAL], ids=lambda unit: unit.name)
def test_systemd_finds_nothing_wrong(analyze: str, unit: Path) -> None:
    done = subprocess.run([analyze, "verify", str(unit)], capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("unit", [UNIT, SEVERAL], ids=lambda unit: unit.name)
def test_the_exposure_is_low(analyze: str, unit: Path) -> None:
    command = [analyze, "security", "--offline=true", str(unit)]
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


def test_what_trying_again_will_not_mend_is_not_tried_again() -> None:
    settings = dict(re.findall(r"^(\w+)=(.*)$", UNIT.read_text(), re.MULTILINE))
    codes = {error.exit_code for error in (UsageError, DataError, MissingInputError, ConfigError)}
    missing_credential = 243
    listed = {int(code) for code in settings["RestartPreventExitStatus"].split()}
    assert listed == codes | {missing_credential}


def test_the_unit_for_several_nodes_is_the_same_but_for_the_name_of_the_node() -> None:
    one = UNIT.read_text().partition("[Unit]")[2]
    several = SEVERAL.read_text().partition("[Unit]")[2]
    for own, common in (("%i.yaml", "edgespike.yaml"), ("edgespike %i:", "edgespike:")):
        assert own in several
        several = several.replace(own, common)
    assert several == one


def test_the_shipped_snippets_are_those_that_are_installed() -> None:
    assert (FOLDER / "sysusers.conf").read_text() == units.sysusers()
    assert (FOLDER / "tmpfiles.conf").read_text() == units.tmpfiles(Path("/etc/edgespike"))


@pytest.mark.parametrize("setting", ["MemoryMax", "CacheDirectory", "MemoryDenyWriteExecute"])
def test_what_a_jit_and_a_mapped_model_force_is_explained(setting: str) -> None:
    lines = UNIT.read_text().splitlines()
    number = next(n for n, line in enumerate(lines) if line.startswith(f"{setting}="))
    around = lines[number - 1 : number + 2]
    assert any(line.startswith("#") for line in around), around
