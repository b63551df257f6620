"""YAML text -> a tree of located texts: the safe subset, bounded, every problem with its line.

Scalars stay text: what a value means is decided by the setting that it is for, so `21.50` keeps its
last digit, and `node: no` is a name where a name is wanted and false where a truth value is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from edgespike.errors import ConfigError, MissingInputError

MAX_BYTES = 256 * 1024
MAX_NODES = 20_000
MAX_DEPTH = 24


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a file; `line` counts from 1, `path` is like `broker.port`."""

    file: str
    line: int
    path: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}"
        return f"{where}: {self.path}: {self.message}" if self.path else f"{where}: {self.message}"


class FileProblems(ConfigError):  # noqa: N818  (a list of problems)
    """Everything that is wrong in a file, one problem a line."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Scalar:
    """A text. `plain` when it was written without quotes."""

    text: str
    plain: bool
    line: int

    @property
    def is_null(self) -> bool:
        """Whether nothing was written, or `null`."""
        return self.plain and self.text in ("", "~", "null", "Null", "NULL")


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list."""

    items: tuple[Node, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Mapping:
    """Keys and values. `key_lines` has the line of each key."""

    entries: dict[str, Node]
    key_lines: dict[str, int]
    line: int


Node: TypeAlias = Scalar | Sequence | Mapping


def line_of(node: Node, path: str) -> int:
    """The line of what `path`, such as `tls.ca_file` or `triggers[1].name`, names below `node`; of
    the nearest above it where that isn't there.
    """
    line = node.line
    for key, index in re.findall(r"(\w+)|\[(\d+)\]", path):
        if isinstance(node, Mapping) and key in node.entries:
            line, node = node.key_lines[key], node.entries[key]
        elif isinstance(node, Sequence) and index and int(index) < len(node.items):
            node = node.items[int(index)]
            line = node.line
        else:
            break
    return line


def parse_file(path: Path) -> Node:
    """Read a YAML file. Raises MissingInputError when it can't be read, else as `parse` does."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise MissingInputError(f"{path}: {error.strerror or error}") from None
    try:
        return parse(data.decode("utf-8-sig"), str(path))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise FileProblems([Problem(str(path), line, "", "isn't UTF-8")]) from None


def parse(text: str, file: str) -> Node:
    """Read one YAML document; an empty one is an empty mapping.

    Aliases and merge keys (`<<`) work, as long as the whole, with aliases expanded, stays under
    MAX_NODES nodes and MAX_DEPTH levels. Raises FileProblems: at the first error of syntax, else
    with all repeated keys and tags at once.
    """
    if len(text) > MAX_BYTES:
        raise FileProblems([Problem(file, 1, "", f"larger than {MAX_BYTES // 1024} KiB")])
    builder = _Builder(file)
    try:
        node = builder.document(yaml.parse(text, Loader=yaml.SafeLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        message = f"not YAML: {error.problem or error.context}"
        if "'\\t'" in message:
            message = "not YAML: a tab where spaces belong"
        elif "${" in "".join(text.splitlines()[line - 1 : line]):  # it may be after the last one
            message += '; within {} write "${NAME}", with quotes'
        raise FileProblems([Problem(file, line, "", message)]) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        message = f"not YAML: character U+{ord(text[error.position]):04X} isn't allowed"
        raise FileProblems([Problem(file, line, "", message)]) from None
    if builder.problems:
        raise FileProblems(builder.problems)
    return node


class _Builder:
    """Builds the tree from parser events, so that depth and size are checked as it grows."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._count = 0

    def document(self, events: Iterator[Any]) -> Node:
        node: Node = Mapping({}, {}, 1)
        documents = 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self._fail(event, "more than one document in the file")
            elif isinstance(event, yaml.NodeEvent):
                node = self._node(event, events, 0)
        if isinstance(node, Scalar) and node.is_null:
            return Mapping({}, {}, 1)
        return node

    def _node(self, event: Any, events: Iterator[Any], depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise self._fail(event, f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        before = self._count
        self._add(event, 1)
        if event.tag is not None:
            hint = "a value may come from ${ENVIRONMENT} or {credential: name}"
            message = f"tags such as {event.tag[:40]} don't work here; {hint}"
            self.problems.append(Problem(self.file, event.start_mark.line + 1, "", message))
        line = event.start_mark.line + 1
        if isinstance(event, yaml.ScalarEvent):
            node: Node = Scalar(event.value, event.style is None, line)
        elif isinstance(event, yaml.SequenceStartEvent):
            items = []
            while not isinstance(child := next(events), yaml.SequenceEndEvent):
                items.append(self._node(child, events, depth + 1))
            node = Sequence(tuple(items), line)
        else:
            node = self._mapping(events, depth, line)
        if event.anchor is not None:
            self._anchors[event.anchor] = (node, self._count - before)
        return node

    def _mapping(self, events: Iterator[Any], depth: int, line: int) -> Mapping:
        entries: dict[str, Node] = {}
        key_lines: dict[str, int] = {}
        merged: list[Node] = []
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            key = self._node(event, events, depth + 1)
            value = self._node(next(events), events, depth + 1)
            if not isinstance(key, Scalar):
                raise self._fail(event, "a key must be a text")
            if key.plain and key.text == "<<":
                merged.append(value)
            elif key.text in entries:
                message = f"given twice (first in line {key_lines[key.text]})"
                self.problems.append(Problem(self.file, key.line, key.text, message))
            else:
                entries[key.text] = value
                key_lines[key.text] = key.line
        for source in merged:
            if not isinstance(source, Mapping):
                raise self._fail(event, "<< must name a mapping")
            for text, value in source.entries.items():
                if entries.setdefault(text, value) is value:
                    key_lines.setdefault(text, source.key_lines[text])
        return Mapping(entries, key_lines, line)

    def _alias(self, event: Any) -> Node:
        if event.anchor not in self._anchors:
            raise self._fail(event, f"*{event.anchor} isn't defined before this line")
        node, size = self._anchors[event.anchor]
        self._add(event, size)
        return node

    def _add(self, event: Any, nodes: int) -> None:
        self._count += nodes
        if self._count > MAX_NODES:
            raise self._fail(event, f"more than {MAX_NODES} values, aliases counted")

    def _fail(self, event: Any, message: str) -> FileProblems:
        return FileProblems([Problem(self.file, event.start_mark.line + 1, "", message)])
