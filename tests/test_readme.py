"""What README shows is what happens: every block is run, or checked against what it names."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import NODE, DaemonProcess, Mosquitto

from edgespike.config import load_config

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """The code blocks of README in `language`."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)


SHELL = [block for block in blocks("sh") if "make " not in block]


@pytest.fixture
def command_environment(
    tmp_path: Path, shared_broker: Mosquitto, shared_daemon: DaemonProcess
) -> dict[str, str]:
    """An environment in which the commands of README work, beside a running daemon."""
    for name in ("config", "edgespike", "firmware_profiles"):
        (tmp_path / name).symlink_to(ROOT / name)
    return os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "BROKER": shared_broker.url,
        "MOSQUITTO": f"-h 127.0.0.1 -p {shared_broker.port}",
        "NODE": NODE,
    }


@pytest.mark.parametrize("block", SHELL, ids=[block.splitlines()[0][:40] for block in SHELL])
def test_every_shell_block_runs(
    block: str, tmp_path: Path, command_environment: dict[str, str]
) -> None:
    run = subprocess.run(
        ["bash", "-euc", block],
        cwd=tmp_path,
        env=command_environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.strip()


def test_the_make_targets_exist_and_are_run_by_ci() -> None:
    makefile, ci = (ROOT / "Makefile").read_text(), (ROOT / ".ci" / "run").read_text()
    targets = set(re.findall(r"\bmake ([a-z]+)\b", README))
    assert {"demo", "test"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
        assert f"make {target}" in ci, target


@pytest.mark.parametrize("block", blocks("python"))
def test_the_python_block_runs(block: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", block], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip()


@pytest.mark.parametrize("block", blocks("yaml"))
def test_every_configuration_is_valid(
    block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mqtt_password").write_text("secret")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    path = tmp_path / "edgespike.yaml"
    path.write_text(block)
    assert load_config(path).broker.host == "localhost"


@pytest.mark.parametrize("module", sorted(set(re.findall(r"`python -m ([a-z]+)", README))))
def test_every_module_that_is_named_runs(module: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", module, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "usage:" in run.stdout


def test_links_lead_to_files() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_every_subcommand_that_is_named_exists() -> None:
    from edgespike.cli import build_parser

    known = build_parser().format_help()
    for name in set(re.findall(r"`?edgespike ([a-z]+)\b(?! is| beside)", README)):
        assert re.search(rf"^    {name}\b", known, flags=re.MULTILINE), name
