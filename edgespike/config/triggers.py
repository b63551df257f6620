"""What makes the node ask its model a question by itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from edgespike.config.channels import label_problem
from edgespike.settings.declared import Number, Seconds, Setting, nearest

MAX_TRIGGERS = 64
_NONE, _FIVE_MINUTES, _MINUTE = Seconds(0.0), Seconds(300.0), Seconds(60.0)
PLACEHOLDERS = ("name", "value", "unit", "rule", "condition", "held")
"""What a question may hold between braces."""

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


def _question_problem(text: str) -> str | None:
    if not text.strip() or len(text) > 1000:
        return "has 1 to 1000 characters"
    for name in _PLACEHOLDER.findall(text):
        if name not in PLACEHOLDERS:
            near = nearest(name, PLACEHOLDERS)
            known = f"did you mean {{{near}}}?" if near else f"known: {', '.join(PLACEHOLDERS)}"
            return f"unknown placeholder {name[:40]!a}; {known}"
    return None


@dataclass(frozen=True, slots=True)
class Trigger:
    """A condition of channels, and what to ask when it comes to hold."""

    name: Annotated[
        str,
        Setting("What the alert is called.", check=label_problem, example="too warm or cold"),
    ]
    channels: Annotated[
        str,
        Setting(
            "Which channels, by name; * and ? match. Each is watched by itself.",
            check=label_problem,
            example='"* temperature"',
        ),
    ]
    above: Annotated[Number | None, Setting("Holds above this.", example="26.5")] = None
    below: Annotated[Number | None, Setting("Holds below this.", example="18")] = None
    hysteresis: Annotated[
        Number | None,
        Setting("How far back past above or below it must come to end.", example="0.5"),
    ] = None
    limit: Annotated[bool, Setting("Holds outside the channel's own low and high.")] = False
    stale: Annotated[bool, Setting("Holds while the value is stale or its device offline.")] = False
    rising: Annotated[bool, Setting("Holds while the trend is rising.")] = False
    falling: Annotated[bool, Setting("Holds while the trend is falling.")] = False
    changes_to: Annotated[
        tuple[str, ...],
        Setting("Holds from a change to one of these states.", example="[open, alarm]"),
    ] = ()
    changes: Annotated[bool, Setting("Comes with every change of the state.")] = False
    held_for: Annotated[Seconds, Setting("How long it must hold first.", high=604800)] = _NONE
    cooldown: Annotated[
        Seconds, Setting("Least time between two alerts about a channel.", high=604800)
    ] = _FIVE_MINUTES
    ask: Annotated[
        str,
        Setting(
            "The question; {name}, {value}, {unit}, {rule}, {condition} and {held} are filled in.",
            check=_question_problem,
        ),
    ] = "What is the {name}?"
    priority: Annotated[
        int, Setting("Priority of the question; prompts have 4 unless they say.", low=0, high=9)
    ] = 2
    max_tokens: Annotated[
        int | None, Setting("Longest answer; that of prompts when not given.", low=1, high=65536)
    ] = None
    answer_within: Annotated[
        Seconds,
        Setting("After this the alert goes out with the bare facts.", low=0.1, high=86400),
    ] = _MINUTE

    def check(self) -> Iterator[tuple[str, str]]:
        """What the fields say about each other."""
        above, below = (None if v is None else float(v) for v in (self.above, self.below))
        gap = float(self.hysteresis or 0)
        kinds = {
            "above or below": above is not None or below is not None,
            "limit": self.limit,
            "stale": self.stale,
            "rising": self.rising,
            "falling": self.falling,
            "changes_to": bool(self.changes_to),
            "changes": self.changes,
        }
        if sum(kinds.values()) != 1:
            yield "name", f"needs exactly one condition: {', '.join(kinds)}"
        if above is not None and below is not None and above < below:
            yield "above", "must not be less than below: one of the two would always hold"
        if gap < 0:
            yield "hysteresis", "must not be negative"
        if above is not None and below is not None and gap > above - below >= 0:
            yield "hysteresis", "must not be larger than above - below"
        if gap and not kinds["above or below"]:
            yield "hysteresis", "belongs to above or below"
        if self.changes and self.held_for:
            yield "held_for", "a change holds for no time; changes_to can be held"
