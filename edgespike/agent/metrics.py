"""What the daemon says of itself in figures: gathered from its parts, published when it matters."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from edgespike.agent.answering import SpikeRates
from edgespike.agent.inbox import Inbox
from edgespike.agent.service import Service
from edgespike.agent.triggers import Alerts
from edgespike.agent.vitals import averages, memory_mb, temperature_c
from edgespike.agent.worker import Worker
from edgespike.sensing import Sensing
from edgespike.telemetry import Counters

EVERY_S = 10.0
"""At least so often; after an answer or a switch, at the next turn."""

_PAUSE_S = 1.0


class Metrics:
    """Used from the service's thread."""

    def __init__(
        self,
        service: Service,
        worker: Worker,
        inbox: Inbox,
        alerts: Alerts,
        sensing: Sensing,
        counters: Counters,
        publish: Callable[[Mapping[str, Any]], bool],
    ) -> None:
        """`publish` tells whether there was a connection to do so."""
        self._service = service
        self._worker = worker
        self._inbox = inbox
        self._alerts = alerts
        self._sensing = sensing
        self._counters = counters
        self._publish = publish
        self._started = time.monotonic()
        self._at = self._due = self._started
        self._state: tuple[object, ...] = ()

    def step(self) -> None:
        """Publish, if it is time to."""
        now = time.monotonic()
        settings = self._service.settings
        state = (
            self._service.ready,
            self._service.desk.answered,
            self._inbox.paused,
            settings.logging,
            settings.prompts,
        )
        if state != self._state:
            self._due = min(self._due, self._at + _PAUSE_S)
        if now >= self._due:
            sent = self._publish(self.facts())
            self._at = now
            self._due = now + (EVERY_S if sent else _PAUSE_S)
            self._state = state

    def facts(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        desk, group = self._service.desk, self._service.group
        return {
            "uptime_s": round(time.monotonic() - self._started, 1),
            "model": self._worker.model,
            "max_rss_mb": round(usage.ru_maxrss / 1024, 1),
            "cpu_s": round(usage.ru_utime + usage.ru_stime, 1),
            "waiting": len(self._inbox),
            "alerts_waiting": len(self._alerts),
            "paused": self._inbox.paused,
            "log_level": self._service.settings.logging.level,
            "grounding": self._service.settings.prompts.grounding,
            "busy": self._worker.busy,
            "unconfirmed": desk.unconfirmed,
            "last_timing": asdict(desk.timings[-1]) if desk.timings else None,
            "recent": averages(desk.timings),
            "context": self._worker.context,
            "spike_rates": _rounded(self._worker.spike_rates),
            "temperature_c": temperature_c(),
            "rss_mb": memory_mb(),
            "counters": self._counters.snapshot(),
            "sensors": dict(self._sensing.counts()),
            "group": group.facts() if group else None,
        }


def _rounded(rates: SpikeRates | None) -> dict[str, object] | None:
    """Firing rates short enough to publish: the encoder's, and one for each layer."""
    if rates is None:
        return None
    return {
        "encoder": round(rates["encoder"], 4),
        "layers": [round(rate, 4) for rate in rates["layers"]],
    }
