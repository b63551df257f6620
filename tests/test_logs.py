"""Every event that the daemon logs is in the table of docs/LOGS.md, and nothing else is."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
LEVELS = {"debug", "info", "warning", "error", "exception"}
COMPUTED = {"library": {"any"}}
"""Events whose level is computed: what the table calls it."""


def logged() -> Iterator[tuple[str, str, set[str]]]:
    """(event, level, fields) of all calls of a logger in the package."""
    for path in (ROOT / "edgespike").rglob("*.py"):
        if "structlog" not in path.read_text():
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(
                    func=ast.Attribute(attr=level), args=[ast.Constant(value=str(event))]
                ) if level in LEVELS:
                    fields = {keyword.arg or "" for keyword in node.keywords}
                    if level == "exception" or "exc_info" in fields:
                        fields = fields - {"exc_info"} | {"exception"}
                    yield event, "error" if level == "exception" else level, fields


def table() -> dict[str, tuple[set[str], set[str]]]:
    """Levels and fields by event, as documented."""
    rows = re.findall(
        r"^\| `(\w+)` \| ([a-z, ]+) \| ([^|]*)\|",
        (ROOT / "docs" / "LOGS.md").read_text(),
        re.MULTILINE,
    )
    names = [event for event, _, _ in rows]
    assert names == sorted(set(names))
    return {
        event: (set(levels.split(", ")), set(re.findall(r"`(\w+)`", fields)))
        for event, levels, fields in rows
    }


def test_the_table_has_every_event_with_its_levels_and_its_fields() -> None:
    levels: defaultdict[str, set[str]] = defaultdict(set)
    fields: defaultdict[str, set[str]] = defaultdict(set)
    for event, level, used in logged():
        levels[event].add(level)
        fields[event] |= used
    documented = table()
    assert set(documented) - set(COMPUTED) == set(levels)
    for event, found in levels.items():
        assert documented[event][0] == found, event
        assert documented[event][1] == fields[event], event
    for event, expected in COMPUTED.items():
        assert documented[event][0] == expected
