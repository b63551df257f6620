"""`install-service` writes units that systemd accepts, and harms nothing that isn't its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgespike.cli import main
from edgespike.deploy import units
from edgespike.deploy.install import plan
from edgespike.errors import UsageError

FACTS = units.Facts(("/opt/edge/bin/edgespike",), "/etc/edgespike/edgespike.yaml", 430 << 20)


def settings(root: Path, **more: Any) -> Path:
    """A configuration where an image has it."""
    path = root / "etc" / "edgespike" / "edgespike.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"node": "test", "broker": {"host": "localhost"}} | more))
    return path


def lines(text: str) -> dict[str, str]:
    """Settings of a unit; of repeated ones the last."""
    return dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))


@pytest.fixture
def analyze() -> str:
    """Path of systemd-analyze."""
    binary = shutil.which("systemd-analyze")
    if binary is None:
        pytest.skip("needs systemd-analyze: no systemd on this machine")
    return binary


def test_it_writes_the_units_and_says_what_to_do_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings(tmp_path)
    assert main(["install-service", "--prefix", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    for name in (
        "systemd/system/edgespike.service",
        "systemd/system/edgespike@.service",
        "sysusers.d/edgespike.conf",
        "tmpfiles.d/edgespike.conf",
    ):
        assert f"wrote {tmp_path}/etc/{name}" in said
        assert (tmp_path / "etc" / name).stat().st_mode & 0o777 == 0o644
    assert "systemctl enable --now edgespike" in said.replace("daemon-reload && systemctl ", "")
    one = lines((tmp_path / "etc/systemd/system/edgespike.service").read_text())
    several = lines((tmp_path / "etc/systemd/system/edgespike@.service").read_text())
    assert one["ExecStart"].endswith(" run --config /etc/edgespike/edgespike.yaml")
    assert several["ExecStart"].endswith(" run --config /etc/edgespike/%i.yaml")
    program = one["ExecStart"].split()[0]
    assert Path(program).parent == Path(sys.executable).parent
    assert 400 < int(one["MemoryMax"].removesuffix("M")) < 1024
    tmpfiles = (tmp_path / "etc/tmpfiles.d/edgespike.conf").read_text()
    assert "d /etc/edgespike 2750 root edgespike" in tmpfiles


def test_systemd_finds_nothing_wrong_with_what_it_writes(analyze: str, tmp_path: Path) -> None:
    config = settings(
        tmp_path,
        board="raspberry-pi-5",
        broker={"host": "${MQTT_HOST:-localhost}", "username": "u"}
        | {"password": {"credential": "mqtt_password"}},
    )
    assert main(["install-service", "--prefix", str(tmp_path), "--config", str(config)]) == 0
    folder = tmp_path / "etc/systemd/system"
    for unit in (folder / "edgespike.service", folder / "edgespike@.service"):
        done = subprocess.run([analyze, "verify", str(unit)], capture_output=True, text=True)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")
    command = [analyze, "security", "--offline=true", str(folder / "edgespike.service")]
    done = subprocess.run(command, capture_output=True, text=True)
    if "Unknown" not in done.stderr and "unrecognized" not in done.stderr:
        found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
        assert found is not None
        assert float(found[1]) <= 1.5


def test_a_users_own_service_has_only_what_its_manager_may_do(
    analyze: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    config = tmp_path / "edgespike" / "edgespike.yaml"
    config.parent.mkdir()
    config.write_text("node: test\n")
    assert main(["install-service", "--user-mode"]) == 0
    written = sorted(p for p in tmp_path.rglob("*") if p.is_file() and p != config)
    assert [p.name for p in written] == ["edgespike.service", "edgespike@.service"]
    text = (tmp_path / "systemd/user/edgespike.service").read_text()
    found = lines(text)
    assert found["WantedBy"] == "default.target"
    assert not {"DynamicUser", "User", "ProtectSystem", "CapabilityBoundingSet"} & set(found)
    assert {"Type", "WatchdogSec", "NoNewPrivileges", "SystemCallFilter"} <= set(found)
    done = subprocess.run(
        [analyze, "--user", "verify", str(tmp_path / "systemd/user/edgespike.service")],
        env=os.environ | {"XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_board_credentials_environment_and_state_reach_the_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    config = settings(
        tmp_path,
        board={"cores": 2, "threads": 2, "pin": [2, 3], "watchdog_s": 90, "lock_memory": True},
        state_dir="/srv/edge spike",
        broker={"host": "${MQTT_HOST:-localhost}", "username": "u"}
        | {"password": {"credential": "mqtt_password"}},
    )
    made = plan(config, tmp_path, user_mode=False)
    text = made.files[0].text
    found = lines(text)
    assert found["CPUAffinity"] == "2 3"
    assert found["WatchdogSec"] == "90"
    assert found["LimitMEMLOCK"] == "infinity"
    assert found["LoadCredential"] == "mqtt_password:/etc/edgespike/mqtt_password"
    assert found["EnvironmentFile"] == "-/etc/edgespike/environment"
    assert found["ReadWritePaths"] == '"/srv/edge spike"'
    assert any("/etc/edgespike/mqtt_password, mode 0600" in step for step in made.steps)
    assert any("state_dir /srv/edge spike" in note for note in made.notes)
    assert "a credential" not in "".join(file.text for file in made.files)


def test_it_replaces_its_own_files_and_no_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings(tmp_path)
    again = ["install-service", "--prefix", str(tmp_path)]
    assert main(again) == 0
    settings(tmp_path, board={"watchdog_s": 77})
    assert main(again) == 0
    unit = tmp_path / "etc/systemd/system/edgespike.service"
    assert lines(unit.read_text())["WatchdogSec"] == "77"
    changed = unit.read_text().replace("Nice=5", "Nice=9")
    unit.write_text(changed)
    other = tmp_path / "etc/systemd/system/edgespike@.service"
    other.unlink()
    capsys.readouterr()
    assert main(again) == 64
    assert "--force" in capsys.readouterr().err
    assert unit.read_text() == changed
    assert not other.exists()  # all or nothing
    assert main([*again, "--force"]) == 0
    assert lines(unit.read_text())["Nice"] == "5"


def test_a_dry_run_prints_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = settings(tmp_path)
    assert main(["install-service", "--prefix", str(tmp_path), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "--- " in said
    assert "ExecStart=" in said
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [config]
    assert main(["install-service", "--prefix", str(tmp_path), "--dry-run", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["written"], len(report["files"]), bool(report["next"])) == (False, 4, True)


def test_missing_and_wrong_settings_end_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["install-service", "--prefix", str(tmp_path)]) == 66
    settings(tmp_path, brokr={})
    assert main(["install-service", "--prefix", str(tmp_path)]) == 78
    settings(tmp_path, model={"path": str(tmp_path / "none.safetensors")})
    assert main(["install-service", "--prefix", str(tmp_path)]) == 66
    assert "Traceback" not in capsys.readouterr().err
    assert not (tmp_path / "etc/systemd").exists()


def test_odd_paths_are_taken_literally_and_impossible_ones_refused() -> None:
    text = units.service(
        units.Facts(('/opt/a b/"x"/50%$HOME',), "/etc/edge spike/%i.yaml", 1, user_mode=True)
    )
    assert lines(text)["ExecStart"] == (
        '"/opt/a b/\\"x\\"/50%%$$HOME" run --config "/etc/edge spike/%i.yaml"'
    )
    with pytest.raises(UsageError):
        units.quoted("/opt/a\nExecStartPre=/bin/sh")
    with pytest.raises(UsageError):
        units.tmpfiles(Path("/etc/edge spike"))


def test_a_model_in_a_home_stays_readable_and_is_noted(tmp_path: Path) -> None:
    assert lines(units.service(FACTS))["ProtectHome"] == "yes"
    inside = units.Facts(FACTS.command, FACTS.config, 1, in_home=True)
    assert lines(units.service(inside))["ProtectHome"] == "read-only"


def test_memory_is_rounded_up() -> None:
    assert units.megabytes(1) == 64
    assert units.megabytes(64 << 20) == 64
    assert units.megabytes((64 << 20) + 1) == 128
