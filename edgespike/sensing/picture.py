"""What the sensors say at one moment: immutable facts, shared by the window, prompts and training.

Numbers keep the text that the sensor sent (`"21.50"`), so that an answer can repeat it exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Trend = Literal["rising", "falling", "steady"]
LimitState = Literal["ok", "low", "high"]


@dataclass(frozen=True, slots=True)
class ChannelView:
    """One channel of one device.

    `name` identifies it to people ("kitchen temperature", "pump-07 pressure"). `text` is the last
    value as the sensor wrote it: a number, or a state such as "on", "open", "motion"; None when the
    channel is known but has never reported. `number` is that value as a float when it is numeric.
    `minimum`, `maximum` and `mean` are value texts over the recent history, None for states.
    `since_s` is how long it has been so: for a number its limit state, for a state its word; None
    when that isn't known. `changes` counts how often a state changed in the recent history.
    `offline_s` is how long its device has been offline, None when it isn't.
    Times are seconds; `age_s` is None when nothing was received.
    """

    name: str
    text: str | None
    number: float | None = None
    unit: str = ""
    quantity: str = ""
    age_s: float | None = None
    stale: bool = False
    trend: Trend | None = None
    limit: LimitState | None = None
    low: str | None = None
    high: str | None = None
    minimum: str | None = None
    maximum: str | None = None
    mean: str | None = None
    since_s: float | None = None
    changes: int | None = None
    offline_s: float | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """All channels at `taken_at` (seconds since the epoch), in a stable order. Of the `refused` no
    more than the names is known: there was no room for them.
    """

    taken_at: float
    channels: tuple[ChannelView, ...] = field(default=())
    refused: tuple[ChannelView, ...] = field(default=())
