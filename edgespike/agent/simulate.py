"""Simulated sensors for the demo: a small house and a pump, in the words of three firmwares."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable

from edgespike.agent import mqtt
from edgespike.agent.events import Connected, ConnectionEvent
from edgespike.config import Broker

EVERY_S = 2.0

SETTINGS = """\
sensors:
  - profile: zigbee2mqtt
    channels:
      kitchen temperature: {low: 18, high: 26}
      freezer temperature: {high: -15}
  - profile: tasmota
  - profile: plain-number
    values:
      pressure: {unit: bar, quantity: pressure}
      flow: {unit: l/min, quantity: flow}
    channels:
      pump-07 pressure: {low: 1.5, high: 4.0}
"""
"""What the configuration says about these sensors."""


def messages(step: int) -> list[tuple[str, bytes]]:
    """What the sensors publish at one step: topic and payload. The pump's pressure is too high."""

    def wave(base: float, swing: float, period: int) -> float:
        return base + swing * math.sin(2 * math.pi * step / period)

    def document(**values: object) -> bytes:
        return json.dumps(values).encode()

    return [
        (
            "zigbee2mqtt/kitchen",
            document(
                temperature=round(wave(21.4, 0.6, 40), 1),
                humidity=round(wave(48, 3, 60), 1),
                battery=88,
            ),
        ),
        ("zigbee2mqtt/freezer", document(temperature=round(wave(-18.2, 0.8, 30), 1))),
        ("zigbee2mqtt/front door", document(contact=True)),
        ("zigbee2mqtt/bedroom", document(temperature=round(wave(18.9, 0.3, 50), 1))),
        (
            "tele/washing-machine/SENSOR",
            document(
                Time="2026-01-01T00:00:00",
                ENERGY={"Power": round(wave(412, 60, 12)), "Today": 0.84},
            ),
        ),
        ("sensors/pump-07/pressure", f"{wave(4.6, 0.2, 20):.2f}".encode()),
        ("sensors/pump-07/flow", f"{wave(31, 2, 16):.1f}".encode()),
    ]


class Simulator:
    """Publishes these sensors while the context lasts."""

    def __init__(self, broker: Broker, hear: Callable[[str, bytes], None]) -> None:
        """`hear` is given everything that is published, by the simulator's thread."""
        link = mqtt.Link(name="simulator", client_id="edgespike-simulator", subscriptions=())
        self.heard = threading.Event()
        """Set once every sensor has spoken."""
        self._connected = threading.Event()
        self._connection = mqtt.Connection(link, broker, lambda message: None, self._on_event)
        self._hear = hear
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="simulator", daemon=True)

    def __enter__(self) -> Simulator:
        self._connection.start()
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stopping.set()
        self._connected.set()
        self._thread.join()
        self._connection.stop()

    def _on_event(self, event: ConnectionEvent) -> None:
        if isinstance(event, Connected):
            self._connected.set()

    def _run(self) -> None:
        self._connected.wait()
        step = 0
        while True:
            for topic, payload in messages(step):
                self._connection.publish(topic, payload, retain=True)
                self._hear(topic, payload)
            self.heard.set()
            step += 1
            if self._stopping.wait(EVERY_S):
                return
