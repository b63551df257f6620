"""The daemon's event loop: every decision is made here, by one thread, in the order of the events.

Network threads and the inference thread only post events.
"""

from __future__ import annotations

import json
import queue
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import cast

import structlog

from edgespike import telemetry
from edgespike.agent import mqtt, worker
from edgespike.agent.desk import Desk
from edgespike.agent.events import (
    Connected,
    ConnectionEvent,
    Incoming,
    Lost,
    Oversized,
    Published,
    RetainUnavailable,
    SubscriptionRefused,
)
from edgespike.agent.homeassistant import HomeAssistant
from edgespike.agent.inbox import Inbox
from edgespike.agent.journal import Journal
from edgespike.agent.sharing import Group, Heard
from edgespike.config import Config, GroundingMode, LogLevel
from edgespike.errors import EdgespikeError, UnavailableError
from edgespike.messages import BadPrompt, parse_cancel
from edgespike.telemetry import Counters

MAX_EVENTS = 1000
"""QoS 0 prompts are dropped while so many events are unread: nobody was promised an answer."""

UNSTABLE = 3
"""So many connections in a row that ended right away are worth a hint: not every broker says that
another client took the session."""

MAX_TOO_LARGE = 16
"""Topics of which is said that the broker didn't take a message."""

_CONTROLS = (
    *("pause", "resume", "reload", "cancel", "grounding enforce", "grounding report"),
    *(f"log {level}" for level in telemetry.LEVELS),
)


@dataclass(frozen=True, slots=True)
class Stop:
    """A signal asks to stop."""

    signal: int


@dataclass(frozen=True, slots=True)
class Reload:
    """The configuration is to be read again."""


Event = ConnectionEvent | Incoming | Heard | worker.Event | Stop | Reload


class Events:
    """What happened and wasn't handled yet. `post` may be called from anywhere, signal handlers
    included.
    """

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._queue: queue.SimpleQueue[Event] = queue.SimpleQueue()

    def post(self, event: Event) -> None:
        """Add an event."""
        message = event.message if isinstance(event, Heard) else event
        promised = not isinstance(message, Incoming) or message.packet > 0
        if promised or self._queue.qsize() < MAX_EVENTS:
            self._queue.put(event)
        else:
            self._counters.add("prompts_dropped")

    def next(self, timeout: float) -> Event | None:
        """The next event, or None after `timeout` seconds."""
        try:
            return self._queue.get(timeout=timeout)
        except queue.Empty:
            return None


class Service:
    """Handles events, in one thread."""

    def __init__(
        self,
        settings: Config,
        connection: mqtt.Connection,
        inbox: Inbox,
        journal: Journal,
        counters: Counters,
        reload: Callable[[], Config],
    ) -> None:
        """`connection` is the one for prompts; `reload` reads the configuration again."""
        self.settings = settings
        self.status = b"init"
        self.ready = False
        self.stopping = False
        self.failure: EdgespikeError | None = None
        self.lost: str | None = None
        self.group: Group | None = None
        self.desk = Desk(lambda: self.settings, inbox, journal, connection, counters)
        self.homeassistant = HomeAssistant(settings, connection)
        self.desk.told = self.homeassistant.tell
        self._connection = connection
        self._inbox = inbox
        self._counters = counters
        self._reload = reload
        self._log = structlog.get_logger()
        self._status_message: int | None = None
        self._too_large: set[str] = set()
        self._commands = {
            settings.topic("prompt"): self.desk.arrived,
            settings.topic("ask"): self._ask,
            settings.topic("cancel"): self._cancel,
            settings.topic("control"): self._control,
            f"{settings.homeassistant.prefix}/status": self._birth,
        }

    @property
    def all_confirmed(self) -> bool:
        """Whether the broker has the status as it is now, and what the group must know."""
        return self._status_message is None and (self.group is None or self.group.confirmed)

    def handle(self, event: Event | None) -> None:
        """Handle an event, and what time has brought."""
        match event:
            case None:
                pass
            case Incoming():
                handler = self._commands.get(event.topic)
                if handler is not None:
                    handler(event)
            case Heard():
                self._heard(event)
            case Connected():
                self._connected(event)
            case Lost():
                self._lost(event)
            case Published():
                self._published(event)
            case SubscriptionRefused():
                self._log.error(
                    "subscription_refused",
                    connection=event.connection,
                    topics=event.topics,
                    reason=event.reason,
                )
            case RetainUnavailable():
                if event.connection == self._connection.link.name:
                    self._log.warning(
                        "retain_unavailable",
                        hint="status, last and metrics are seen only when they change;"
                        " Home Assistant and groups need a broker that retains",
                    )
            case Oversized():
                self._oversized(event)
            case worker.Ready():
                self.ready = True
                self._log.info("ready", seconds=round(event.seconds, 3))
                self.set_status(b"online")
            case worker.Failed():
                self.failure = event.error
            case worker.Started():
                self.desk.started(event.job)
            case worker.Done():
                self.desk.done(event.job, event.reply)
            case Stop():
                self._log.info("stopping", signal=event.signal)
                self.stopping = True
            case Reload():
                self._reread()
        self.homeassistant.step()
        if self.group is not None:
            self.group.step()
        self.desk.expire()

    def set_status(self, status: bytes) -> None:
        """Publish what this node is now, and again on every connection."""
        self.status = status
        topic = self.settings.topic("status")
        self._status_message = self._connection.publish(topic, status, qos=1, retain=True)

    def _connected(self, event: Connected) -> None:
        self._log.info("connected", to=event.connection, session_present=event.session_present)
        self._counters.add("connections")
        if event.connection == self._connection.link.name:
            self.set_status(self.status)
            self.homeassistant.connected()
            self.desk.connected(event.session_present)
        elif self.group is not None and event.connection == self.group.name:
            self.group.connected(event)

    def _lost(self, event: Lost) -> None:
        self._log.warning("disconnected", connection=event.connection, reason=event.reason)
        if event.connection == self._connection.link.name:
            self.lost = event.reason
        if event.short_lived == UNSTABLE:
            self._log.error(
                "unstable_connection",
                connection=event.connection,
                hint=f"is another daemon running as node {self.settings.node!r} at this broker?",
            )
        if event.taken_over:
            self.failure = UnavailableError(
                f"another client took over the MQTT session of node {self.settings.node!r}: "
                "stop the other daemon, or give one of the two another `node`"
            )

    def _oversized(self, event: Oversized) -> None:
        """Say so once for each topic: much of what we send comes again and again."""
        if event.topic not in self._too_large and len(self._too_large) < MAX_TOO_LARGE:
            self._too_large.add(event.topic)
            self._log.warning(
                "too_large_for_broker",
                topic=event.topic,
                size=event.size,
                hint="not sent: raise the broker's largest packet (Mosquitto: max_packet_size)",
            )

    def _published(self, event: Published) -> None:
        if self.group is not None and event.connection == self.group.name:
            self.group.published(event)
        if event.connection != self._connection.link.name:
            return
        if event.message == self._status_message:
            self._status_message = None
        self.homeassistant.confirmed(event.message)
        self.desk.confirmed(event.message, event.refused)

    def _heard(self, heard: Heard) -> None:
        """A message for the group: a cancel is for all members."""
        if heard.message.topic.endswith("/cancel"):
            self._cancel(heard.message)
        elif self.group is not None:
            self.group.heard(heard)

    def _birth(self, message: Incoming) -> None:
        if not message.retain:
            self.homeassistant.heard(message.payload)

    def _ask(self, message: Incoming) -> None:
        """A prompt that is nothing but text, also where it looks like JSON."""
        try:
            payload = json.dumps({"prompt": message.payload.decode()}, ensure_ascii=False).encode()
        except UnicodeDecodeError:
            payload = message.payload  # refused for what it is
        self.desk.arrived(replace(message, payload=payload))

    def _cancel(self, message: Incoming) -> None:
        try:
            id = parse_cancel(message.payload)
        except BadPrompt as bad:
            self._log.warning("bad_cancel", message=str(bad))
        else:
            self._log.info("cancel", id=id)
            self.desk.cancel(id)

    def _control(self, message: Incoming) -> None:
        command = message.payload[:32].decode(errors="replace").strip()
        self._log.info("control", command=command)
        match command:
            case "pause":
                self._inbox.pause(True)
            case "resume":
                self._inbox.pause(False)
            case "reload":
                self._reread()
            case "cancel":
                self.desk.cancel_running()
            case "log debug" | "log info" | "log warning" | "log error":
                level = cast(LogLevel, command.removeprefix("log "))
                self.settings = replace(
                    self.settings, logging=replace(self.settings.logging, level=level)
                )
                telemetry.configure(level, self.settings.logging.format)
            case "grounding enforce" | "grounding report":
                mode = cast(GroundingMode, command.removeprefix("grounding "))
                self.settings = replace(
                    self.settings, prompts=replace(self.settings.prompts, grounding=mode)
                )
            case _:
                self._log.warning("unknown_control", known=_CONTROLS)

    def _reread(self) -> None:
        """`prompts` but for `parallel`, `logging` and `context.budget_tokens` count at once; the
        rest at a restart.
        """
        try:
            new = self._reload()
        except EdgespikeError as error:
            self._log.error("reload_failed", message=str(error))
            return
        old = self.settings
        self.settings = replace(
            old,
            prompts=replace(new.prompts, parallel=old.prompts.parallel),
            logging=new.logging,
            context=replace(old.context, budget_tokens=new.context.budget_tokens),
        )
        waits = [
            field.name
            for field in fields(Config)
            if getattr(new, field.name) != getattr(self.settings, field.name)
        ]
        self._inbox.bound = new.prompts.inbox
        telemetry.configure(new.logging.level, new.logging.format)
        self._log.info("reloaded", needs_restart=waits)
