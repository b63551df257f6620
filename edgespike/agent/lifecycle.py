"""The daemon process: its parts, signals, what systemd is told, and an orderly stop."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

import structlog

from edgespike.agent import mqtt
from edgespike.agent.answering import Answerer
from edgespike.agent.events import Incoming
from edgespike.agent.inbox import Inbox
from edgespike.agent.journal import Bounds, Journal
from edgespike.agent.keeper import Keeper
from edgespike.agent.metrics import Metrics
from edgespike.agent.notify import Notifier
from edgespike.agent.service import Events, Reload, Service, Stop
from edgespike.agent.sharing import Group
from edgespike.agent.triggers import Alerts
from edgespike.agent.worker import Worker
from edgespike.config import Config
from edgespike.errors import InternalError
from edgespike.kernels.compiler import compiled
from edgespike.sensing import Sensing
from edgespike.telemetry import Counters

STOP_WITHIN_S = 10.0
"""Longest time between the first signal and the end of the process."""

_TICK_S = 0.5
_PRUNE_EVERY_S = 30.0
_STALLED_KEEPALIVES = 3
"""Keep-alive intervals without the confirmation of a message, after which we connect anew."""
_MAX_PROMPT_PACKET = 16 << 20
"""Far above the longest prompt, so that a sender of something absurd is told so: what exceeds this,
the broker drops without a word."""
_MAX_SENSOR_PACKET = 1 << 20
_MAX_PROBLEMS = 3
"""Log lines a second about sensor messages that can't be read."""
_SLACK = 8
"""Unacknowledged prompts beyond those that fit into the inbox: these are told busy."""


class Daemon:
    """All parts of one daemon, and the order in which they live and die."""

    def __init__(
        self,
        settings: Config,
        load: Callable[[Config, Callable[[], Config], Sensing, Callable[[], None]], Answerer],
        reload: Callable[[], Config],
    ) -> None:
        """`load` makes the model ready, in the inference thread, as `load_answerer` does; `reload`
        reads the configuration again. Raises ConfigError when the state directory can't be used.
        """
        self._log = structlog.get_logger()
        self._counters = Counters()
        self._notifier = Notifier()
        self._events = Events(self._counters)
        self._sensing = Sensing(settings)
        self._keeper = Keeper(settings, self._sensing)
        self._journal = _open_journal(settings, self._log)
        self._inbox = Inbox(settings.prompts.inbox)
        self._prompts = mqtt.Connection(
            _prompt_link(settings), settings.broker, self._events.post, self._events.post
        )
        self._sensors = mqtt.Connection(
            _sensor_link(settings, self._sensing.topics()),
            settings.broker,
            self._hear,
            self._events.post,
        )
        self._service = Service(
            settings, self._prompts, self._inbox, self._journal, self._counters, reload
        )
        self._connections = [self._prompts, self._sensors]
        if settings.group is not None:
            group = Group(
                settings,
                settings.group,
                self._service.desk,
                lambda: self._inbox.full,
                self._events.post,
                self._counters,
            )
            self._service.group = group
            self._connections.append(group.connection)
        self._alerts = Alerts(
            settings,
            self._sensing,
            self._inbox,
            self._service.desk,
            self._counters,
            self._service.homeassistant.tell_alert,
        )
        self._worker = Worker(
            lambda: load(
                settings,
                lambda: self._service.settings,
                self._sensing,
                self._sensors.catch_up,
            ),
            self._inbox,
            self._events.post,
            self._service.desk.send,
        )
        self._metrics = Metrics(
            self._service,
            self._worker,
            self._inbox,
            self._alerts,
            self._sensing,
            self._counters,
            self._publish_metrics,
        )
        self._exposition = _exposition(settings, self._log)
        self._watchdog_s = self._notifier.watchdog_s or settings.board.watchdog_s
        self._alive_due = time.monotonic()
        self._prune_due = self._alive_due + _PRUNE_EVERY_S
        self._stop_asked = False
        self._stuck: list[str] = []
        self._compiling = False

    def run(self) -> None:
        """Serve until a signal comes. Raises the EdgespikeError that made going on impossible."""
        handlers = {
            signal.SIGTERM: self._on_stop,
            signal.SIGINT: self._on_stop,
            signal.SIGHUP: self._on_reload,
        }
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        threading.excepthook = self._on_thread_death
        service = self._service
        try:
            self._notifier.status("loading the model")
            self._keeper.recall()
            for connection in self._connections:
                connection.start()
            self._worker.start()
            while not service.stopping and service.failure is None:
                self._step()
            self._stop()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            threading.excepthook = threading.__excepthook__
            self._journal.close()
        if service.failure is not None:
            raise service.failure

    def _step(self) -> None:
        was_ready = self._service.ready
        self._service.handle(self._events.next(_TICK_S))
        self._alerts.step()
        if self._service.ready and not was_ready:
            self._notifier.status(self._describe())
            self._notifier.ready()
        now = time.monotonic()
        if now >= self._alive_due:
            self._alive_due = now + min(1.0, self._watchdog_s / 4)
            self._look_after(now)
        self._metrics.step()
        self._keeper.step()
        if now >= self._prune_due:
            self._prune_due = now + _PRUNE_EVERY_S
            self._service.desk.prune()

    def _look_after(self, now: float) -> None:
        """Bring back a connection whose thread died; tell systemd if everything moves."""
        for connection in self._connections:
            if not connection.alive:
                self._log.error("network_thread_died", connection=connection.link.name)
                self._counters.add("network_thread_deaths")
                connection.start()
            elif connection.stalled(_STALLED_KEEPALIVES * connection.link.keepalive_s):
                self._log.error("connection_stalled", connection=connection.link.name)
                connection.start()
        for problem in self._sensing.take_problems()[:_MAX_PROBLEMS]:
            self._log.warning("sensor_message", problem=problem)
        for command in self._sensing.take_commands():
            sent = self._sensors.publish(command.topic, command.payload, text=False) is not None
            self._log.info("rebirth_asked", topic=command.topic, sent=sent)
        if not self._service.ready:
            self._tell_loading()
            return
        self._notifier.status(self._describe())
        moving = {"inference": self._worker.moved_within(self._watchdog_s)}
        for connection in self._connections:
            moving[connection.link.name] = connection.moved_within(self._watchdog_s)
        stuck = sorted(name for name, moves in moving.items() if not moves)
        if stuck and stuck != self._stuck:
            self._log.error("stuck", threads=stuck, seconds=self._watchdog_s)
        self._stuck = stuck
        if not stuck:
            self._notifier.alive()

    def _tell_loading(self) -> None:
        """The first start takes a minute: say why, and how far it is."""
        done, total = compiled()
        if not done:
            return
        if not self._compiling:
            self._compiling = True
            self._log.info("compiling", kernels=total)
        self._notifier.status(f"compiling kernels, {done} of {total} (at the first start only)")

    def _describe(self) -> str:
        lost = self._service.lost
        where = "connected" if self._prompts.connected else "no connection to the broker"
        if lost and not self._prompts.connected:
            where += f" ({lost})"
        state = "paused" if self._inbox.paused else "answering" if self._worker.busy else "ready"
        return f"{state}, {where}, {len(self._inbox)} waiting"

    def _stop(self) -> None:
        """The running answer ends with what it has and goes out; the rest stays with the broker."""
        end = time.monotonic() + STOP_WITHIN_S
        self._notifier.stopping()
        self._service.desk.stop()
        self._alerts.stop()
        self._worker.stop()
        # Loading can't be interrupted, and has no answer to wait for.
        while self._service.ready and time.monotonic() < end and not self._worker.join(0.0):
            self._service.handle(self._events.next(0.05))
        self._drain(end, lambda: self._service.desk.unconfirmed == 0)
        self._service.set_status(b"offline" if self._service.failure else b"stopped")
        if self._service.group is not None:
            self._service.group.leave()
        self._drain(end, lambda: self._service.all_confirmed)
        for connection in self._connections:
            connection.stop()
        self._keeper.stop()
        self._log.info("stopped")

    @property
    def ended(self) -> bool:
        """Whether all threads that run native code have ended, so that the interpreter may."""
        return self._worker.join(0.0)

    def _drain(self, end: float, done: Callable[[], bool]) -> None:
        """Handle what has been posted, and go on until `done`, the end, or a lost connection."""
        while True:
            event = self._events.next(0.0)
            if event is None:
                if done() or time.monotonic() >= end or not self._prompts.connected:
                    return
                event = self._events.next(0.05)
            self._service.handle(event)

    def _hear(self, message: Incoming) -> None:
        now = time.time()
        self._sensing.ingest(message.topic, message.payload, now, retained=message.retain)

    def _publish_metrics(self, facts: Mapping[str, Any]) -> bool:
        """Publish them; whether there was a connection to do so."""
        settings = self._service.settings
        if self._exposition is not None:
            self._exposition(facts)
        # At QoS 1, so that a connection that has silently stopped working is found out.
        # Retained, so that whoever comes to look sees something at once.
        payload = json.dumps(facts, ensure_ascii=False).encode()
        message = self._prompts.publish(settings.topic("metrics"), payload, qos=1, retain=True)
        return message is not None

    def _on_stop(self, number: int, _frame: FrameType | None) -> None:
        # Whoever presses Ctrl-C again means now; a manager that repeats SIGTERM means no more than
        # it did.
        if self._stop_asked and number == signal.SIGINT:
            os._exit(128 + number)
        if not self._stop_asked:
            self._stop_asked = True
            self._events.post(Stop(number))

    def _on_reload(self, _number: int, _frame: FrameType | None) -> None:
        self._events.post(Reload())

    def _on_thread_death(self, death: threading.ExceptHookArgs) -> None:
        self._log.error(
            "thread_died",
            thread=death.thread.name if death.thread else None,
            exc_info=death.exc_value,
        )
        if death.thread is not None and death.thread.name == "inference":
            self._service.failure = InternalError("the inference thread died; see the log")


def _open_journal(settings: Config, log: structlog.typing.FilteringBoundLogger) -> Journal:
    bounds = Bounds(undelivered_s=settings.broker.session_expiry_s + 86400.0)
    journal = Journal(settings.state_dir / f"{settings.node}.journal", bounds)
    if journal.moved_aside is not None:
        log.error("journal_damaged", moved_to=str(journal.moved_aside))
    return journal


def _exposition(
    settings: Config, log: structlog.typing.FilteringBoundLogger
) -> Callable[[Mapping[str, Any]], None] | None:
    """What takes the metrics for Prometheus, if that is wanted."""
    endpoint = settings.prometheus.endpoint
    if endpoint is None:
        return None
    from edgespike.agent.prometheus import Exposition, page

    exposition = Exposition(endpoint)
    exposition.start()
    log.info("prometheus", port=exposition.port)
    return lambda facts: exposition.update(page(settings.node, facts))


def _prompt_link(settings: Config) -> mqtt.Link:
    status = mqtt.Subscription(f"{settings.homeassistant.prefix}/status")
    births = (status,) if settings.homeassistant.enabled else ()
    # Commands come at QoS 0: they must not wait until a prompt is acknowledged.
    return mqtt.Link(
        name="prompts",
        client_id=f"{settings.client_id}-prompts",
        subscriptions=(
            mqtt.Subscription(settings.topic("prompt"), qos=1),
            mqtt.Subscription(settings.topic("ask"), qos=1),
            mqtt.Subscription(settings.topic("cancel")),
            mqtt.Subscription(settings.topic("control")),
            *births,
        ),
        keepalive_s=settings.keepalive_s,
        session_expiry_s=settings.broker.session_expiry_s,
        manual_ack=True,
        receive_maximum=settings.prompts.inbox + _SLACK,
        maximum_packet=_MAX_PROMPT_PACKET,
        will=mqtt.Will(settings.topic("status"), b"offline"),
    )


def _sensor_link(settings: Config, topics: tuple[str, ...]) -> mqtt.Link:
    return mqtt.Link(
        name="sensors",
        client_id=f"{settings.client_id}-sensors",
        subscriptions=tuple(mqtt.Subscription(topic, retained=True) for topic in topics),
        keepalive_s=settings.keepalive_s,
        maximum_packet=_MAX_SENSOR_PACKET,
    )
