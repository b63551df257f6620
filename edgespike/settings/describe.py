"""What the declared settings look like from outside: JSON Schema, commented example, listing."""

from __future__ import annotations

import dataclasses
import json
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from edgespike.settings.declared import (
    Declared,
    Number,
    Seconds,
    Secret,
    Setting,
    declared_fields,
    optional_of,
)

_SUBSTITUTED = {
    "description": "A value from the environment (${NAME}, ${NAME:-default}) or from a credential.",
    "anyOf": [
        {"type": "string", "pattern": r"\$\{"},
        {
            "type": "object",
            "properties": {"credential": {"type": "string"}},
            "required": ["credential"],
            "additionalProperties": False,
        },
    ],
}
_SUBSTITUTED_REF = {"$ref": "#/$defs/substituted"}
_SAFE_SCALAR = re.compile(r"[A-Za-z0-9/.°µ][\w /.°µ³²:-]*[\w/.°%]|[\w/%°]", re.ASCII)
_WIDTH = 96


def json_schema(cls: type, title: str) -> dict[str, Any]:
    """A JSON Schema (draft 2020-12) of a declaring dataclass, for editors and validators.

    What fields say about each other, and checks that are functions, aren't in it.
    """
    definitions: dict[str, Any] = {"substituted": _SUBSTITUTED}
    body = _object_schema(cls, definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        **body,
        "$defs": definitions,
    }


def _object_schema(cls: type, definitions: dict[str, Any]) -> dict[str, Any]:
    fields = declared_fields(cls)
    properties = {}
    for field in fields:
        described: dict[str, Any] = {"description": field.setting.doc}
        default = listing(field.default)
        if not field.required and not field.setting.example and isinstance(default, _PLAIN):
            described["default"] = default
        properties[field.name] = {**described, **_schema(field.kind, field.setting, definitions)}
    return {
        "type": "object",
        "description": (cls.__doc__ or "").partition("\n")[0],
        "properties": properties,
        "required": [field.name for field in fields if field.required],
        "additionalProperties": False,
    }


_PLAIN = (str, int, float, bool)


def _schema(kind: Any, setting: Setting, definitions: dict[str, Any]) -> dict[str, Any]:
    inner = optional_of(kind)
    if inner is not None:
        return {"anyOf": [_schema(inner, setting, definitions), {"type": "null"}]}
    origin = get_origin(kind)
    if origin is tuple:
        return {"type": "array", "items": _schema(get_args(kind)[0], setting, definitions)}
    if origin is Mapping:
        values = _schema(get_args(kind)[1], Setting(""), definitions)
        return {"type": "object", "additionalProperties": values}
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        if kind.__name__ not in definitions:
            definitions[kind.__name__] = {}
            definitions[kind.__name__] = _object_schema(kind, definitions)
        forms: list[dict[str, Any]] = [{"$ref": f"#/$defs/{kind.__name__}"}]
        if setting.named:
            forms.append({"type": "string"})
        if not definitions[kind.__name__].get("required"):
            forms.append({"type": "null"})
        return {"anyOf": forms}
    return {"anyOf": [_scalar_schema(kind, setting), _SUBSTITUTED_REF]}


def _scalar_schema(kind: Any, setting: Setting) -> dict[str, Any]:
    if get_origin(kind) is Literal:
        return {"enum": list(get_args(kind))}
    if get_origin(kind) is Union or kind in (str, Path, Secret):
        return {"type": "string"}
    if kind is bool:
        return {"type": "boolean"}
    if kind is Number:
        return {"type": ["number", "string"]}
    bounds = {"minimum": setting.low, "maximum": setting.high}
    known = {name: bound for name, bound in bounds.items() if bound is not None}
    if kind is Seconds:
        number = {"type": "number", "minimum": 0, **known}
        return {"anyOf": [number, {"type": "string", "pattern": r"^\d+(\.\d+)?\s*[smhd]?$"}]}
    return {"type": "integer" if kind is int else "number", **known}


def example(cls: type, heading: str, chosen: Mapping[str, str] | None = None) -> str:
    """A YAML file that shows every setting and what it means; defaults are commented out. `chosen`
    has the values that aren't to be defaults, as YAML on one line, by path (`broker.port`)."""
    lines = [*_comment(heading), ""]
    for field in declared_fields(cls):
        lines += [*_field_lines(field, chosen or {}, field.name), ""]
    return "\n".join(lines).rstrip() + "\n"


def _field_lines(field: Declared, chosen: Mapping[str, str], path: str) -> list[str]:
    """A field with its comment: sections stand, values are commented out unless they are chosen."""
    if path in chosen:
        return [*_comment(field.setting.doc), f"{field.name}: {chosen[path]}"]
    kind, setting = field.kind, field.setting
    inner = optional_of(kind) or kind
    doc = _comment(setting.doc)
    if setting.named:
        line = f"{field.name}: {setting.example}"
        return [*doc, line if field.required else f"#{line}"]
    if isinstance(inner, type) and dataclasses.is_dataclass(inner):
        section = [f"{field.name}:", *_indented(_section_lines(inner, chosen, path))]
        return [*doc, *(section if inner is kind else _commented_out(section))]
    item = get_args(inner)[0] if get_origin(inner) is tuple else None
    if isinstance(item, type) and dataclasses.is_dataclass(item):
        body = _section_lines(item)
        first = next(number for number, line in enumerate(body) if not line.startswith("#"))
        entry = [*body[:first], f"- {body[first]}", *_indented(body[first + 1 :])]
        return [*doc, *_commented_out([f"{field.name}:", *_indented(entry)])]
    value = get_args(inner)[1] if get_origin(inner) is Mapping else None
    if isinstance(value, type) and dataclasses.is_dataclass(value):
        entry = [f"{setting.example}:", *_indented(_section_lines(value))]
        return [*doc, *_commented_out([f"{field.name}:", *_indented(entry)])]
    shown = setting.example if setting.example is not None else _yaml(listing(field.default))
    return [*doc, f"{'' if field.required else '#'}{field.name}: {shown}".rstrip()]


def _section_lines(cls: type, chosen: Mapping[str, str] | None = None, path: str = "") -> list[str]:
    return [
        line
        for field in declared_fields(cls)
        for line in _field_lines(field, chosen or {}, f"{path}.{field.name}")
    ]


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, _WIDTH)]


def _indented(lines: list[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def _commented_out(lines: list[str]) -> list[str]:
    return [f"#{line}" for line in lines]


def _yaml(value: Any) -> str:
    """A plain value on one line of YAML."""
    if isinstance(value, list):
        return f"[{', '.join(_yaml(item) for item in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_yaml(key)}: {_yaml(item)}' for key, item in value.items())}}}"
    if isinstance(value, str) and _SAFE_SCALAR.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return json.dumps(value, ensure_ascii=False)


_WORDS = ("true", "false", "yes", "no", "on", "off", "null")


def listing(value: Any) -> Any:
    """A settings object as plain values for YAML or JSON: secrets hidden, nothing left out.

    A profile that has a name stands as that name.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        name = getattr(value, "name", None)
        if isinstance(name, str) and name != "inline":
            return name
        return {
            field.name: listing(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return {key: listing(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [listing(item) for item in value]
    if isinstance(value, Secret | Path):
        return str(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
