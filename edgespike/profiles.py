"""Firmware profiles: what a sensor firmware publishes, and what a board can carry.

Profiles are data (`firmware_profiles/**.yaml`); code is only the few payload decoders they name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import edgespike
from edgespike.settings import yamltree
from edgespike.settings.declared import Reader, Seconds, Setting, nearest
from edgespike.settings.yamltree import FileProblems, Problem
from edgespike.topics import pattern_problem

Isa = Literal["native", "avx2", "generic"]
BoardPrecision = Literal["int8", "int4", "fp32", "fp32-rowmajor"]
KeyValues = Literal["fp32", "int16", "int8"]
Decoder = Literal["json", "tasmota", "plain", "shelly", "senml", "sparkplug", "homie"]
Payload = Literal[
    "json", "tasmota", "plain", "shelly", "senml", "sparkplug", "homie", "availability", "ignore"
]
Unknown = Literal["show", "diagnostic", "ignore"]
Units = Literal["usual", "declared"]

_HOUR = Seconds(3600.0)

_P = TypeVar("_P", "SensorProfile", "BoardProfile")


def name_problem(name: str) -> str | None:
    """What is wrong with the name of a node or a profile, or None."""
    if re.fullmatch(r"[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?", name):
        return None
    return "has 1 to 64 of a-z, 0-9, - _ and . with a letter or digit first and last"


def _text_problem(text: str) -> str | None:
    return None if text.isprintable() and len(text) <= 64 else "has at most 64 printable characters"


@dataclass(frozen=True, slots=True)
class ValueFacts:
    """What is known about one value of a payload. What isn't given comes from the quantity."""

    name: Annotated[
        str | None,
        Setting(
            "Words for it in the channel's name; the key, when not given.",
            check=_text_problem,
            example="soil moisture",
        ),
    ] = None
    quantity: Annotated[
        str | None,
        Setting(
            "What it measures, such as temperature or contact.",
            check=_text_problem,
            example="soil_moisture",
        ),
    ] = None
    unit: Annotated[
        str | None, Setting("Its unit, as people write it.", check=_text_problem, example="°C")
    ] = None
    states: Annotated[
        Mapping[str, str] | None,
        Setting(
            "Words for the values of a state: what is sent, and what it is called here.",
            example="{1: running, 0: stopped}",
        ),
    ] = None
    min: Annotated[
        float | None, Setting("A smaller number is a fault, not a reading.", example="-40")
    ] = None
    max: Annotated[
        float | None, Setting("A larger number is a fault, not a reading.", example="125")
    ] = None
    noise: Annotated[
        float | None,
        Setting("The largest change over an hour that means nothing.", low=0, example="0.2"),
    ] = None
    stale_after: Annotated[
        Seconds | None, Setting("Age from which it counts as stale.", example="15m")
    ] = None
    diagnostic: Annotated[
        bool | None,
        Setting("About the device, not about the place: hidden unless asked for.", example="true"),
    ] = None
    ignore: Annotated[bool | None, Setting("Never a channel.", example="true")] = None
    unless: Annotated[
        str | None,
        Setting(
            "Not read from a message that has this key too.",
            check=_text_problem,
            example="illuminance_lux",
        ),
    ] = None
    event: Annotated[
        bool | None,
        Setting("Each message is an event, such as a push of a button.", example="true"),
    ] = None

    def over(self, base: ValueFacts | None) -> ValueFacts:
        """These facts, and those of `base` where these say nothing."""
        if base is None:
            return self
        mine = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(base, **{name: fact for name, fact in mine.items() if fact is not None})

    def check(self) -> Iterator[tuple[str, str]]:
        """What the fields say about each other."""
        if self.min is not None and self.max is not None and self.min >= self.max:
            yield "max", "must be above min"


@dataclass(frozen=True, slots=True)
class TopicRule:
    """Topics of one kind. The first rule that matches a topic decides."""

    topic: Annotated[
        str,
        Setting(
            "Pattern: levels, +, #, {base}, {device}, {device...}, {key}, {any...}.",
            check=pattern_problem,
        ),
    ]
    payload: Annotated[
        Payload | None, Setting("How to read the payload; the profile's decoder when not given.")
    ] = None


@dataclass(frozen=True, slots=True)
class SensorProfile:
    """What a firmware publishes."""

    decoder: Annotated[Decoder, Setting("How to read a payload.")]
    name: Annotated[str, Setting("Name to choose it by.", check=name_problem)] = "inline"
    description: Annotated[str, Setting("Which firmware this is, for people.")] = ""
    base: Annotated[str, Setting("What {base} stands for unless the configuration says so.")] = ""
    topics: Annotated[tuple[TopicRule, ...], Setting("Topic rules; the first match decides.")] = ()
    values: Annotated[
        Mapping[str, ValueFacts], Setting("Facts by key: last name or dotted path in the payload.")
    ] = field(default_factory=dict)
    unknown: Annotated[Unknown, Setting("What becomes of keys that no fact is known of.")] = "show"
    units: Annotated[
        Units,
        Setting("Whether quantities have their usual units, or only those declared in values."),
    ] = "usual"
    endpoints: Annotated[
        tuple[str, ...], Setting("Suffixes that tell apart equal values of one device: state_l1.")
    ] = ()
    stale_after: Annotated[Seconds, Setting("Age from which a channel counts as stale.")] = _HOUR
    heard_at: Annotated[
        tuple[str, ...],
        Setting("Keys that tell when: the age of what a broker kept (ISO 8601 or epoch)."),
    ] = ()
    sources: Annotated[tuple[str, ...], Setting("Where the facts come from.")] = ()

    def completed(self, quantities: Mapping[str, ValueFacts]) -> SensorProfile:
        """This profile, with what is known about each quantity filled in."""
        usual = self.units == "usual"
        values = {
            name: replace(
                facts,
                quantity=facts.quantity or name,
                unit=facts.unit if usual else None,
            )
            for name, facts in quantities.items()
        }
        return replace(self, values=values).extended(self.values)

    def extended(self, more: Mapping[str, ValueFacts]) -> SensorProfile:
        """This profile with `more` facts over its own; those of a quantity serve any key."""
        values = dict(self.values)
        for key, facts in more.items():
            base = self.values.get(facts.quantity or key)
            if base and facts.quantity not in (None, key):
                base = replace(base, name=None)
            values[key] = facts.over(base)
        return replace(self, values=values)


@dataclass(frozen=True, slots=True)
class BoardProfile:
    """What a device can carry. The configuration may override each of these."""

    name: Annotated[str, Setting("Name to choose it by.", check=name_problem)] = "inline"
    description: Annotated[str, Setting("Which device this is, for people.")] = ""
    cpu: Annotated[
        str | None,
        Setting(
            "Part of what the processor or machine calls itself, to propose this board by; *, ? and"
            " [] match."
        ),
    ] = None
    cores: Annotated[int, Setting("Cores that the daemon may use.", low=1, high=256)] = 1
    threads: Annotated[int, Setting("Inference threads.", low=1, high=256)] = 1
    parallel: Annotated[
        int, Setting("Prompts answered at a time, in one step.", low=1, high=16)
    ] = 2
    idle_cpu_share: Annotated[
        float,
        Setting(
            "Share of the time that may go into reading ahead while nobody asks; 0: none.",
            low=0,
            high=1,
        ),
    ] = 0.2
    pin: Annotated[
        tuple[int, ...],
        Setting("CPU numbers to pin inference to; empty: the system decides.", low=0, high=4095),
    ] = ()
    isa: Annotated[Isa, Setting("Instruction set of the kernels.")] = "native"
    precision: Annotated[BoardPrecision, Setting("Precision of the weights to run.")] = "int8"
    kv: Annotated[
        KeyValues | None,
        Setting(
            "Precision of keys and values; when not given, what keeps the accuracy of the weights.",
            example="int8",
        ),
    ] = None
    memory_mb: Annotated[
        int, Setting("Memory budget of the daemon in MiB, mapped weights included.", low=64)
    ] = 2048
    lock_memory: Annotated[
        bool, Setting("Keep the model in memory, whatever else wants it (needs LimitMEMLOCK).")
    ] = False
    huge_pages: Annotated[bool, Setting("Ask the system for huge pages for the model.")] = False
    keepalive_s: Annotated[int, Setting("MQTT keep-alive, in seconds.", low=5, high=65535)] = 30
    watchdog_s: Annotated[
        int, Setting("Seconds without progress after which the daemon counts as stuck.", low=5)
    ] = 60
    sources: Annotated[tuple[str, ...], Setting("Where the facts come from.")] = ()

    def check(self) -> Iterator[tuple[str, str]]:
        """What the fields say about each other."""
        if self.threads > self.cores:
            yield "threads", f"must be at most cores ({self.cores})"
        if self.pin and len(self.pin) < self.threads:
            yield "pin", f"must name a CPU for each of the {self.threads} threads"


@dataclass(frozen=True, slots=True)
class _Quantities:
    quantities: Annotated[Mapping[str, ValueFacts], Setting("Facts by quantity.")]


class ProfileLibrary:
    """The profiles in some directories, the first of equal names winning; shipped ones come last.

    Each directory has `sensors/NAME.yaml` and `boards/NAME.yaml`.
    """

    def __init__(self, directories: Sequence[Path] = ()) -> None:
        self.directories = (*directories, shipped_directory("firmware_profiles"))
        path = self.directories[-1] / "quantities.yaml"
        self.quantities = _read(_Quantities, path).quantities

    def sensor(self, name: str) -> SensorProfile:
        """The sensor profile of that name, complete. Raises LookupError, FileProblems."""
        return self._profile(SensorProfile, "sensors", name).completed(self.quantities)

    def board(self, name: str) -> BoardProfile:
        """The board profile of that name. Raises LookupError, FileProblems."""
        return self._profile(BoardProfile, "boards", name)

    def names(self, kind: Literal["sensors", "boards"]) -> tuple[str, ...]:
        """All names of one kind, sorted."""
        found = {path.stem for each in self.directories for path in (each / kind).glob("*.yaml")}
        return tuple(sorted(found))

    def path(self, kind: Literal["sensors", "boards"], name: str) -> Path:
        """The file of a profile. Raises LookupError with a message that names the nearest."""
        if name_problem(name) is None:
            for directory in self.directories:
                path = directory / kind / f"{name}.yaml"
                if path.is_file():
                    return path
        known = self.names(kind)
        near = nearest(name, known)
        hint = f"did you mean {near}?" if near else f"known: {', '.join(known)}"
        raise LookupError(f"unknown {kind[:-1]} profile {name[:64]!a}; {hint}")

    def _profile(self, cls: type[_P], kind: Literal["sensors", "boards"], name: str) -> _P:
        path = self.path(kind, name)
        profile = _read(cls, path)
        if profile.name not in ("inline", name):
            message = f"must be {name}, like the file"
            raise FileProblems([Problem(str(path), 1, "name", message)])
        return replace(profile, name=name)


def shipped_directory(name: Literal["firmware_profiles", "config_examples", "systemd"]) -> Path:
    """A directory of shipped files: in the installed package, or in the source tree beside it."""
    package = Path(edgespike.__file__).parent
    inside = package / name
    return inside if inside.is_dir() else package.parent / name.removesuffix("_examples")


_C = TypeVar("_C")


def _read(cls: type[_C], path: Path) -> _C:
    reader = Reader(str(path), path.parent, os.environ)
    result = reader.read(cls, yamltree.parse_file(path))
    if result is None:
        raise FileProblems(reader.problems)
    return result
