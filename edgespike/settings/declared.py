"""Settings declared once, as frozen dataclasses: what reads and checks them.

A field's annotation is its type, and `Annotated[..., Setting(...)]` says its meaning and its
bounds; a `check` method of the class yields (path, message) for what fields say about each other.
From that one declaration come the reader here and the schema, example and listing in `describe.py`.

Types: str, int, float, bool, Path, Secret, Number, Seconds, Literal, `X | None`, `tuple[X, ...]`,
`Mapping[str, X]`, and dataclasses of these.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import types
from collections.abc import Callable, Iterable
from collections.abc import Mapping as MappingType
from dataclasses import dataclass
from pathlib import Path
from typing import (
    Annotated,
    Any,
    Literal,
    NewType,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from edgespike.settings.yamltree import (
    FileProblems,
    Mapping,
    Node,
    Problem,
    Scalar,
    Sequence,
    line_of,
)

T = TypeVar("T")

Number = NewType("Number", str)
"""A finite decimal number, as the text that was written."""

Seconds = NewType("Seconds", float)
"""A time span; written as seconds or with a unit: `90`, `90s`, `5m`, `2h`, `1d`."""

MAX_CREDENTIAL_BYTES = 64 * 1024
NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
_SECONDS = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d)?", re.ASCII)
_SECONDS_PER = {None: 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_VARIABLE = re.compile(r"\$\$\{|\$\{([^}]*)\}?")
_VARIABLE_NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_TRUTH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


class Secret:
    """A text that never shows itself: printing gives `***`; `reveal()` gives the text."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


@dataclass(frozen=True, slots=True)
class Setting:
    """What a field's annotation can't say. `low` and `high` are inclusive.

    `check` gets each single value (of a list: each item) and returns what is wrong, or None.
    `example` is a value, as YAML, for a field whose default shows nothing; of a mapping, a key.
    `named`: a name may stand for the value (see `Reader`).
    """

    doc: str
    low: float | None = None
    high: float | None = None
    check: Callable[[Any], str | None] | None = None
    example: str | None = None
    named: bool = False


@dataclass(frozen=True, slots=True)
class Declared:
    """One field of a declaring class."""

    name: str
    kind: Any
    setting: Setting
    default: Any
    required: bool


def declared_fields(cls: type) -> tuple[Declared, ...]:
    """The fields of a declaring dataclass, in order, with their defaults made."""
    hints = get_type_hints(cls, include_extras=True)
    result = []
    for item in dataclasses.fields(cls):
        kind, setting = hints[item.name], Setting("")
        if get_origin(kind) is Annotated:
            kind, setting = get_args(kind)[:2]
        default, required = item.default, False
        if item.default_factory is not dataclasses.MISSING:
            default = item.default_factory()
        elif default is dataclasses.MISSING:
            default, required = None, True
        result.append(Declared(item.name, kind, setting, default, required))
    return tuple(result)


def optional_of(kind: Any) -> Any | None:
    """X when `kind` is `X | None`, else None."""
    if get_origin(kind) in (Union, types.UnionType):
        rest = [arm for arm in get_args(kind) if arm is not type(None)]
        if len(rest) == 1:
            return rest[0]
    return None


class _Invalid(Exception):  # noqa: N818  (control flow: the problem is already noted)
    """A value was wrong and its problem has been noted."""


class Reader:
    """Reads a tree into declaring dataclasses and notes every problem instead of stopping.

    `environ` serves `${NAME}` and `{credential: name}`; relative paths start from `directory`.
    `lookups` maps a dataclass to a function from names to instances, for fields that are `named`;
    the function raises LookupError whose argument is what to say, or FileProblems.
    """

    def __init__(
        self,
        file: str,
        directory: Path,
        environ: MappingType[str, str],
        lookups: MappingType[type, Callable[[str], Any]] | None = None,
    ) -> None:
        self.file = file
        self.directory = directory
        self.environ = environ
        self.lookups = lookups or {}
        self.problems: list[Problem] = []

    def read(self, cls: type[T], node: Node, path: str = "") -> T | None:
        """An instance of `cls`, or None when something was wrong (see `problems`)."""
        try:
            return cast(T, self._object(cls, node, path))
        except _Invalid:
            return None

    def note(self, line: int, path: str, message: str) -> None:
        """Note a problem."""
        self.problems.append(Problem(self.file, line, path, message))

    def _fail(self, node: Node, path: str, message: str) -> _Invalid:
        self.note(node.line, path, message)
        return _Invalid()

    def _object(self, cls: type, node: Node, path: str) -> Any:
        if isinstance(node, Scalar) and node.is_null:
            node = Mapping({}, {}, node.line)
        if not isinstance(node, Mapping):
            raise self._fail(node, path, "must be a mapping (key: value)")
        fields = declared_fields(cls)
        known = [field.name for field in fields]
        before = len(self.problems)
        for key in node.entries:
            if key not in known:
                self.note(node.key_lines[key], _join(path, key), _unknown("key", key, known))
        values: dict[str, Any] = {}
        for field in fields:
            here = _join(path, field.name)
            if field.name in node.entries:
                try:
                    child = node.entries[field.name]
                    values[field.name] = self.value(field.kind, field.setting, child, here)
                except _Invalid:
                    continue
            elif field.required:
                self.note(node.line, here, "must be given")
        if len(self.problems) > before:
            raise _Invalid
        result = cls(**values)
        check: Callable[[], Iterable[tuple[str, str]]] | None = getattr(result, "check", None)
        for name, message in check() if check else ():
            self.note(line_of(node, name), _join(path, name), message)
        if len(self.problems) > before:
            raise _Invalid
        return result

    def value(self, kind: Any, setting: Setting, node: Node, path: str) -> Any:
        """A value of type `kind`; notes a problem and raises a private exception otherwise."""
        inner = optional_of(kind)
        if inner is not None:
            if isinstance(node, Scalar) and node.is_null:
                return None
            return self.value(inner, setting, node, path)
        origin = get_origin(kind)
        if origin is tuple:
            return self._tuple(get_args(kind)[0], setting, node, path)
        if origin is MappingType:
            return self._mapping(get_args(kind)[1], setting, node, path)
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            if setting.named and isinstance(node, Scalar) and not node.is_null:
                return self._named(kind, node, path)
            return self._object(kind, node, path)
        text = self._text(node, path)
        return self._checked(self._scalar(kind, text, node, path), setting, node, path)

    def _tuple(self, kind: Any, setting: Setting, node: Node, path: str) -> tuple[Any, ...]:
        if not isinstance(node, Sequence):
            raise self._fail(node, path, "must be a list ([a, b], or lines that start with -)")
        result, invalid = [], False
        for number, item in enumerate(node.items):
            try:
                result.append(self.value(kind, setting, item, f"{path}[{number}]"))
            except _Invalid:
                invalid = True
        if invalid:
            raise _Invalid
        return tuple(result)

    def _mapping(self, kind: Any, setting: Setting, node: Node, path: str) -> dict[str, Any]:
        if not isinstance(node, Mapping):
            raise self._fail(node, path, "must be a mapping (key: value)")
        result, invalid = {}, False
        for key, item in node.entries.items():
            try:
                result[key] = self.value(kind, setting, item, _join(path, key))
            except _Invalid:
                invalid = True
        if invalid:
            raise _Invalid
        return result

    def _named(self, kind: type, node: Scalar, path: str) -> Any:
        try:
            return self.lookups[kind](self._text(node, path))
        except LookupError as error:
            raise self._fail(node, path, str(error.args[0])) from None
        except FileProblems as error:
            self.problems.extend(error.problems)
            raise _Invalid from None

    def _text(self, node: Node, path: str) -> str:
        """The text of a scalar, with `${NAME}` replaced, or the credential that is named."""
        if isinstance(node, Mapping) and list(node.entries) == ["credential"]:
            name = node.entries["credential"]
            return self._credential(self._text(name, path), name, path)
        if not isinstance(node, Scalar):
            raise self._fail(node, path, "must be a single value")
        if node.is_null:
            raise self._fail(node, path, "has no value")

        def replace(found: re.Match[str]) -> str:
            if found[0] == "$${":
                return "${"
            parts = _VARIABLE_NAME.fullmatch(found[1]) if found[0].endswith("}") else None
            if parts is None:
                raise self._fail(node, path, f"{found[0][:40]!r}: write ${{NAME}}, or $${{ for ${{")
            name, default = parts.groups()
            if name in self.environ:
                return self.environ[name]
            if default is None:
                message = (
                    f"the environment variable {name} isn't set; ${{{name}:-...}} has a default"
                )
                raise self._fail(node, path, message)
            return default

        return _VARIABLE.sub(replace, node.text)

    def _credential(self, name: str, node: Node, path: str) -> str:
        directory = self.environ.get("CREDENTIALS_DIRECTORY")
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,255}", name):
            raise self._fail(node, path, "a credential's name has only letters, digits, . _ and -")
        if not directory:
            message = (
                f"credential {name}: CREDENTIALS_DIRECTORY isn't set (systemd LoadCredential=)"
            )
            raise self._fail(node, path, message)
        try:
            with (Path(directory) / name).open("rb") as file:
                data = file.read(MAX_CREDENTIAL_BYTES + 1)
            if len(data) > MAX_CREDENTIAL_BYTES:
                raise self._fail(node, path, f"credential {name}: larger than 64 KiB")
            return data.decode().rstrip("\r\n")
        except OSError as error:
            raise self._fail(node, path, f"credential {name}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise self._fail(node, path, f"credential {name}: isn't UTF-8") from None

    def _scalar(self, kind: Any, text: str, node: Node, path: str) -> Any:
        if kind is str:
            return text
        if kind is Secret:
            return Secret(text)
        if kind is Path:
            return self.directory / Path(text).expanduser()
        if kind is bool:
            if text.lower() not in _TRUTH:
                raise self._fail(node, path, f"must be true or false, not {_short(text)}")
            return _TRUTH[text.lower()]
        if get_origin(kind) is Literal:
            choices = get_args(kind)
            if text not in choices:
                raise self._fail(node, path, _unknown("choice", text, choices))
            return text
        if get_origin(kind) in (Union, types.UnionType):
            return self._literal_or(get_args(kind), text, node, path)
        return self._number(kind, text, node, path)

    def _literal_or(self, arms: tuple[Any, ...], text: str, node: Node, path: str) -> Any:
        """`Literal[...] | X`: the literal when it is one, else X."""
        for arm in arms:
            if get_origin(arm) is Literal and text in get_args(arm):
                return text
        (other,) = (arm for arm in arms if get_origin(arm) is not Literal)
        return self._scalar(other, text, node, path)

    def _number(self, kind: Any, text: str, node: Node, path: str) -> Any:
        stripped = text.strip()
        if kind is int:
            if not re.fullmatch(r"[+-]?\d{1,18}", stripped, re.ASCII):
                raise self._fail(node, path, f"must be a whole number, not {_short(text)}")
            return int(stripped)
        if kind is Seconds:
            span = _SECONDS.fullmatch(stripped)
            if not span:
                raise self._fail(
                    node, path, f"must be a time such as 90s or 5m, not {_short(text)}"
                )
            return float(span[1]) * _SECONDS_PER[span[2]]
        number = NUMBER.fullmatch(stripped)
        if not number or not math.isfinite(float(stripped)):
            raise self._fail(node, path, f"must be a number, not {_short(text)}")
        return stripped if kind is Number else float(stripped)

    def _checked(self, value: Any, setting: Setting, node: Node, path: str) -> Any:
        amount = value if isinstance(value, int | float) else None
        if amount is not None and setting.low is not None and amount < setting.low:
            raise self._fail(node, path, f"must be at least {setting.low}, is {amount}")
        if amount is not None and setting.high is not None and amount > setting.high:
            raise self._fail(node, path, f"must be at most {setting.high}, is {amount}")
        problem = setting.check(value) if setting.check else None
        if problem:
            raise self._fail(node, path, problem)
        return value


def nearest(text: str, known: Iterable[str]) -> str | None:
    """The known word that `text` most likely means, or None."""
    by_folded = {word.casefold(): word for word in known}
    near = difflib.get_close_matches(text.casefold()[:64], by_folded, 1, 0.6)
    return by_folded[near[0]] if near else None


def _unknown(what: str, text: str, known: Iterable[str]) -> str:
    near = nearest(text, known)
    hint = f"did you mean {near}?" if near else f"known: {', '.join(known)}"
    return f"unknown {what} {_short(text)}; {hint}" if what != "key" else f"unknown key; {hint}"


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _short(text: str) -> str:
    return ascii(text if len(text) <= 40 else text[:40] + "...")
