"""One reading of one sensor."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SensorEvent:
    """One reading of one channel.

    `text` is the value as the sensor wrote it ("21.50") or a state word ("open"); `number` is its
    value as a finite float when it is numeric. `received_at` is in seconds since the epoch.
    """

    channel: str
    text: str
    number: float | None
    unit: str
    quantity: str
    received_at: float
