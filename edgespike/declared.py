"""Settings declared once, as frozen dataclasses: what reads, checks, documents and exports them.

A field says its default, its meaning and its bounds with `setting(...)`; its annotation is its type.
From that one declaration come the reader with every error at once, the JSON Schema and the commented
example. Nothing about a setting is written twice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


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

    `check` returns what is wrong with a value, or None. `example` is shown in place of a default.
    """

    doc: str
    low: float | None = None
    high: float | None = None
    check: Callable[[Any], str | None] | None = None
    example: str | None = None


def setting(
    doc: str,
    default: Any = dataclasses.MISSING,
    *,
    factory: Any = dataclasses.MISSING,
    low: float | None = None,
    high: float | None = None,
    check: Callable[[Any], str | None] | None = None,
    example: str | None = None,
) -> Any:
    """A dataclass field with a `Setting`; without `default` and `factory` it must be given."""
    metadata = {"setting": Setting(doc, low, high, check, example)}
    if factory is not dataclasses.MISSING:
        return dataclasses.field(default_factory=factory, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)
