"""Completion offers what the parser accepts, asked as a shell asks."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from edgespike.cli import build_parser, main
from edgespike.cli.shells import SHELLS, commands, script


def offered(line: str, directory: Path) -> list[str]:
    """What bash offers at the end of `line`."""
    words = shlex.split(line) + ([""] if line.endswith(" ") else [])
    ask = (
        f"{script('bash', build_parser())}\n"
        f"COMP_WORDS=({' '.join(map(shlex.quote, words))}); COMP_CWORD={len(words) - 1}\n"
        '_edgespike; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    run = subprocess.run(
        ["bash", "-uc", ask], cwd=directory, capture_output=True, text=True, check=True
    )
    assert run.stderr == ""
    return run.stdout.split()


def test_every_command_is_offered(tmp_path: Path) -> None:
    names = commands(build_parser())[0].subcommands
    assert {"run", "ask", "demo", "config", "completion"} <= set(names)
    assert offered("edgespike ", tmp_path) == list(names)
    assert offered("edgespike comp", tmp_path) == ["completion"]


def test_every_help_says_what_it_does_and_shows_it(capsys: pytest.CaptureFixture[str]) -> None:
    for command in commands(build_parser()):
        if command.words:
            assert main([*command.words, "--help"]) == 0
            said = capsys.readouterr().out
            assert "\nexample" in said, command.words
            assert f"\n  edgespike {command.words[0]}" in said or "sudo" in said, command.words


def test_commands_below_commands_and_their_options_are_offered(tmp_path: Path) -> None:
    assert offered("edgespike config sch", tmp_path) == ["schema"]
    assert offered("edgespike ask --ti", tmp_path) == ["--timeout"]
    assert offered("edgespike config show --", tmp_path) == ["--help", "--json"]


def test_choices_and_files_are_offered_where_they_belong(tmp_path: Path) -> None:
    (tmp_path / "home of mine.yaml").touch()
    assert offered("edgespike completion ", tmp_path) == list(SHELLS)
    assert " ".join(offered("edgespike run --config ho", tmp_path)) == "home of mine.yaml"
    assert offered("edgespike run ", tmp_path) == []
    # A value that looks like a command isn't taken for one.
    assert offered("edgespike ask --node ", tmp_path) == []


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_names_every_command_and_every_option(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", shell]) == 0
    text = capsys.readouterr().out
    for command in commands(build_parser()):
        assert all(word in text for word in command.words)
        for flag in (flag for option in command.options for flag in option.flags):
            assert (flag if shell != "fish" else flag.lstrip("-")) in text


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shell_accepts_the_script(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")
    path = tmp_path / "script"
    path.write_text(script(shell, build_parser()))
    run = subprocess.run([shell, "-n", str(path)], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")


def test_an_unknown_shell_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "tcsh"]) == 64
    assert "bash" in capsys.readouterr().err


def test_fish_offers_the_same_commands_and_options(tmp_path: Path) -> None:
    if shutil.which("fish") is None:
        pytest.skip("needs fish")
    path = tmp_path / "edgespike.fish"
    path.write_text(script("fish", build_parser()))

    def asked(line: str) -> list[str]:
        ask = f"source {path}; complete -C {shlex.quote(line)}"
        environment = os.environ | {"HOME": str(tmp_path)}
        run = subprocess.run(
            ["fish", "--no-config", "-c", ask],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        return [offer.split("\t")[0] for offer in run.stdout.splitlines()]

    assert set(asked("edgespike ")) == set(commands(build_parser())[0].subcommands)
    assert asked("edgespike config sch") == ["schema"]
    assert asked("edgespike completion b") == ["bash"]
    assert "--timeout" in asked("edgespike ask --")
