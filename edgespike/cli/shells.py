"""Shell completion, written from the command line's own parser: bash, zsh and fish."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SHELLS = ("bash", "zsh", "fish")

_PATH_NAMES = frozenset({"FILE", "DIR", "SOURCE", "TARGET", "CHECKPOINT", "MODEL"})


@dataclass(frozen=True, slots=True)
class Argument:
    """An option, or a positional argument (no flags): what may follow it.

    `value` is "none" for a switch, "path", "choice" with its `choices`, or "text".
    """

    flags: tuple[str, ...]
    help: str
    value: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Command:
    """A command by its words after `edgespike`, with its subcommands by name."""

    words: tuple[str, ...]
    help: str
    arguments: tuple[Argument, ...]
    subcommands: tuple[str, ...]

    @property
    def options(self) -> Iterator[Argument]:
        """The arguments with flags."""
        return (argument for argument in self.arguments if argument.flags)

    @property
    def positionals(self) -> Iterator[Argument]:
        """The arguments without flags."""
        return (argument for argument in self.arguments if not argument.flags)


def commands(parser: argparse.ArgumentParser) -> list[Command]:
    """All commands below `parser`, itself first."""
    return list(_walk(parser, (), parser.description or ""))


def script(shell: str, parser: argparse.ArgumentParser) -> str:
    """The completion script for `shell`, one of SHELLS."""
    render = {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell]
    return render(commands(parser))


def _walk(parser: argparse.ArgumentParser, words: tuple[str, ...], help: str) -> Iterator[Command]:
    below: list[Command] = []
    names: list[str] = []
    arguments: list[Argument] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, child in action.choices.items():
                names.append(name)
                below += _walk(child, (*words, name), helps.get(name, ""))
        elif action.help != argparse.SUPPRESS:
            arguments.append(_argument(action))
    yield Command(words, _one_line(help), tuple(arguments), tuple(names))
    yield from below


def _argument(action: argparse.Action) -> Argument:
    choices = tuple(str(choice) for choice in action.choices or ())
    named = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    if action.nargs == 0:
        value = "none"
    elif choices:
        value = "choice"
    else:
        value = "path" if action.type is Path or named in _PATH_NAMES else "text"
    return Argument(tuple(action.option_strings), _one_line(action.help or ""), value, choices)


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text.replace("%%", "%")).strip()


def _bash(tree: list[Command]) -> str:
    cases: list[str] = []
    values: list[str] = []
    for command in tree:
        path = " ".join(command.words)
        offered = [flag for option in command.options for flag in option.flags]
        words = [*command.subcommands, *(c for p in command.positionals for c in p.choices)]
        paths = any(p.value == "path" for p in command.positionals)
        cases.append(
            f"    {shlex.quote(path)}) words={shlex.quote(' '.join(words))}"
            f" flags={shlex.quote(' '.join(offered))} files={int(paths)} ;;"
        )
        for option in command.options:
            if option.value == "none":
                continue
            pattern = "|".join(shlex.quote(f"{path} {flag}".strip()) for flag in option.flags)
            choices = shlex.quote(" ".join(option.choices))
            values.append(
                f"    {pattern}) words={choices} flags= files={int(option.value == 'path')}"
                " value=1 ;;"
            )
    names = " ".join(shlex.quote(" ".join(command.words)) for command in tree if command.words)
    return f"""\
# bash completion for edgespike: source this, or put it into
# ~/.local/share/bash-completion/completions/edgespike
_edgespike() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" previous="${{COMP_WORDS[COMP_CWORD-1]}}"
  local path="" word longer known words="" flags="" files=0 value=0
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    longer="${{path:+$path }}$word"
    for known in {names}; do
      if [[ "$known" == "$longer" ]]; then path="$longer"; break; fi
    done
  done
  case "$path" in
{chr(10).join(cases)}
  esac
  case "${{path:+$path }}$previous" in
{chr(10).join(values)}
  esac
  COMPREPLY=()
  if [[ $value == 0 && "$current" == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$flags" -- "$current")
    return
  fi
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
  if [[ $files == 1 ]]; then
    compopt -o filenames 2>/dev/null
    mapfile -t -O "${{#COMPREPLY[@]}}" COMPREPLY < <(compgen -f -- "$current")
  fi
}}
complete -F _edgespike edgespike
"""


def _zsh(tree: list[Command]) -> str:
    functions: list[str] = []
    helps = {command.words: command.help for command in tree}
    for command in tree:
        lines = [
            shlex.quote(_zsh_option(flag, option))
            for option in command.options
            for flag in option.flags
        ]
        if command.subcommands:
            lines += ["'1:command:->command'", "'*::argument:->rest'"]
        else:
            lines += [shlex.quote(f"*:argument:{_zsh_action(p)}") for p in command.positionals][:1]
        body = f"  _arguments -C {' '.join(lines)}\n"
        if command.subcommands:
            described = " ".join(
                shlex.quote(f"{name}:{helps[(*command.words, name)]}")
                for name in command.subcommands
            )
            body += (
                f"  case $state in\n    command) local -a names=({described});"
                " _describe command names ;;\n"
                f"    rest) (( $+functions[{_function(command.words)}_$words[1]] )) &&"
                f" {_function(command.words)}_$words[1] ;;\n  esac\n"
            )
        functions.append(
            f"{_function(command.words)}() {{\n  local state line; local -A opt_args\n{body}}}\n"
        )
    return (
        "#compdef edgespike\n# zsh completion for edgespike: put this into a folder of $fpath\n"
        "# as _edgespike, or evaluate it after compinit.\n"
        + "".join(functions)
        + 'if [ "$funcstack[1]" = _edgespike ]; then _edgespike "$@";'
        " else compdef _edgespike edgespike; fi\n"
    )


def _zsh_option(flag: str, option: Argument) -> str:
    text = re.sub(r"([\[\]:\\])", r"\\\1", option.help)
    takes = "" if option.value == "none" else f":value:{_zsh_action(option)}"
    return f"*{flag}[{text}]{takes}"


def _zsh_action(argument: Argument) -> str:
    if argument.choices:
        return f"({' '.join(argument.choices)})"
    # Nothing to choose from, rather than no action: that would keep zsh from inserting options.
    return "_files" if argument.value == "path" else "()"


def _function(words: tuple[str, ...]) -> str:
    return "_".join(("_edgespike", *words))


def _fish(tree: list[Command]) -> str:
    lines = [
        "# fish completion for edgespike: put this into",
        "# ~/.config/fish/completions/edgespike.fish",
        "complete -c edgespike -f",
    ]
    helps = {command.words: command.help for command in tree}
    for command in tree:
        seen = [f"__fish_seen_subcommand_from {word}" for word in command.words]
        unseen = (
            [f"not __fish_seen_subcommand_from {' '.join(command.subcommands)}"]
            if command.subcommands
            else []
        )
        here = f"-n {shlex.quote('; and '.join([*seen, *unseen]) or 'true')}"
        for name in command.subcommands:
            described = shlex.quote(helps[(*command.words, name)])
            lines.append(f"complete -c edgespike {here} -a {name} -d {described}")
        for argument in command.arguments:
            flags = [f"-l {f[2:]}" if f.startswith("--") else f"-s {f[1:]}" for f in argument.flags]
            takes = {
                "none": [],
                "path": ["-r", "-F"] if flags else ["-F"],
                "choice": ["-x"] if flags else [],
                "text": ["-x"],
            }[argument.value]
            offered = [f"-a {shlex.quote(' '.join(argument.choices))}"] if argument.choices else []
            if flags or offered or argument.value == "path":
                note = [f"-d {shlex.quote(argument.help)}"] if argument.help else []
                parts = ["complete -c edgespike", here, *flags, *takes, *offered, *note]
                lines.append(" ".join(parts))
    return "\n".join(lines) + "\n"
