"""What a prompt shows of the sensors, and the limits of prompts and answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from edgespike.settings.declared import Seconds, Setting
from edgespike.topics import topic_problem

GroundingMode = Literal["enforce", "report"]

ContextMode = Literal["auto", "warm", "on_demand"]

_HOUR = Seconds(3600.0)


def _prefix_problem(prefix: str) -> str | None:
    if problem := topic_problem(prefix):
        return problem
    return None if prefix.endswith("/") else "must end with /"


@dataclass(frozen=True, slots=True)
class ContextSettings:
    """What of the sensor picture is kept, and what a prompt shows of it."""

    mode: Annotated[
        ContextMode,
        Setting(
            "warm: the picture is read ahead while nobody asks; on_demand: with each prompt;"
            " auto: warm where it pays."
        ),
    ] = "auto"
    budget_tokens: Annotated[
        int, Setting("Tokens of a whole prompt, question included.", low=32, high=65536)
    ] = 512
    max_channels: Annotated[
        int, Setting("Channels kept; further ones are refused and counted.", low=1, high=10000)
    ] = 2000
    history: Annotated[
        Seconds, Setting("Time that trends, minima and maxima look back.", low=60, high=604800)
    ] = _HOUR


@dataclass(frozen=True, slots=True)
class PromptSettings:
    """Limits of prompts and answers."""

    inbox: Annotated[
        int, Setting("Prompts that may wait; further ones are told busy.", low=1, high=1024)
    ] = 16
    parallel: Annotated[
        int | None,
        Setting(
            "Prompts answered at a time; the board's when not given.", low=1, high=16, example="2"
        ),
    ] = None
    per_minute: Annotated[
        int | None,
        Setting(
            "Prompts a minute that one requester may send; no limit when not given.",
            low=1,
            high=60000,
            example="30",
        ),
    ] = None
    burst: Annotated[
        int, Setting("Prompts that a requester may send at once all the same.", low=1, high=1024)
    ] = 10
    max_prompt_bytes: Annotated[int, Setting("Longest prompt message.", low=64, high=1048576)] = (
        16384
    )
    default_max_tokens: Annotated[
        int, Setting("Longest answer, when a prompt doesn't say.", low=1, high=65536)
    ] = 128
    max_tokens: Annotated[
        int, Setting("Longest answer that a prompt may ask for.", low=1, high=65536)
    ] = 512
    default_deadline_ms: Annotated[
        int, Setting("Deadline, when a prompt doesn't say.", low=100, high=86_400_000)
    ] = 180_000
    max_deadline_ms: Annotated[
        int, Setting("Longest deadline that a prompt may ask for.", low=100, high=86_400_000)
    ] = 3_600_000
    response_prefixes: Annotated[
        tuple[str, ...],
        Setting("A Response Topic must start with one of these.", check=_prefix_problem),
    ] = ("edgespike/",)
    grounding: Annotated[
        GroundingMode,
        Setting(
            "Numbers that stand neither in the readings nor in the question: enforce keeps them out"
            " of answers, report lists them beside the answer."
        ),
    ] = "enforce"

    def check(self) -> Iterator[tuple[str, str]]:
        """What the fields say about each other."""
        if self.default_max_tokens > self.max_tokens:
            yield "default_max_tokens", f"must be at most max_tokens ({self.max_tokens})"
        if self.default_deadline_ms > self.max_deadline_ms:
            yield "default_deadline_ms", f"must be at most max_deadline_ms ({self.max_deadline_ms})"
