"""Completion offers what the parser accepts, asked as a shell asks."""

from __future__ import annotations

import os
import pty
import select
import shlex
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from conftest import WAIT

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


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("edgespike comp", "edgespike completion "),
        ("edgespike config sch", "edgespike config schema "),
        ("edgespike ask --ti", "edgespike ask --timeout "),
        ("edgespike ask 'is it warm?' --br", "edgespike ask 'is it warm?' --broker "),
        ("edgespike ask --node a --ti", "edgespike ask --node a --timeout "),
        ("edgespike run --config ho", "edgespike run --config home\\ of\\ mine.yaml "),
        ("edgespike completion f", "edgespike completion fish "),
    ],
)
def test_zsh_completes_what_is_typed(typed: str, completed: str, tmp_path: Path) -> None:
    if shutil.which("zsh") is None:
        pytest.skip("needs zsh")
    (tmp_path / "home of mine.yaml").touch()
    (tmp_path / "_edgespike").write_text(script("zsh", build_parser()))
    (tmp_path / ".zshrc").write_text(
        "unset zle_bracketed_paste; PS1='ready> '; stty cols 200\n"
        f"fpath=({tmp_path} $fpath); autoload -Uz compinit; compinit -u -D\n"
    )
    ours, theirs = pty.openpty()
    environment = os.environ | {"ZDOTDIR": str(tmp_path), "TERM": "dumb"}
    shell = subprocess.Popen(
        ["zsh", "-d", "-i"], stdin=theirs, stdout=theirs, stderr=theirs, cwd=tmp_path,
        env=environment, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)

    def until(text: str) -> str:
        seen, end = "", time.monotonic() + WAIT
        while text not in seen and time.monotonic() < end:
            if select.select([ours], [], [], 0.1)[0]:
                seen += os.read(ours, 4096).decode(errors="replace").replace("\a", "")
        return seen

    try:
        until("ready> ")
        os.write(ours, f"{typed}\t".encode())
        assert completed in until(completed)
    finally:
        shell.kill()
        shell.wait()
        os.close(ours)


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
    (tmp_path / "home of mine.yaml").touch()
    assert asked("edgespike run --config ho") == ["home of mine.yaml"]
    assert asked("edgespike ask 'is it warm?' --br") == ["--broker"]
    assert "--timeout" in asked("edgespike ask --")
