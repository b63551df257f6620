"""Alerts: rules that fire have the model asked, and the answer published.

An alert is never lost to a busy model. Its bare facts are in the journal from the moment that its
rule fires; the model's words replace them if they come within `answer_within`, else the facts go
out as they are. One alert at a time stands in the inbox, so that they can't crowd out prompts; the
others wait here, a bounded number.
"""

from __future__ import annotations

import json
import re
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import structlog

from edgespike.agent.desk import MAX_UNCONFIRMED, Desk
from edgespike.agent.inbox import Inbox, Job
from edgespike.agent.journal import Key
from edgespike.agent.rules_file import load_rules, save_rules
from edgespike.config import Config
from edgespike.errors import DataError
from edgespike.messages import Answer, ErrorReply, PromptRequest, new_id
from edgespike.sensing import Sensing
from edgespike.sensing.memory import Clock
from edgespike.sensing.triggers import Firing, Triggers, duration, facts
from edgespike.telemetry import Counters

MAX_WAITING = 32
"""Alerts that wait to be asked; further ones go out with their facts."""

_PLACEHOLDER = re.compile(r"\{(\w+)\}")


class Alerts:
    """Watches the sensors by the configured rules. Used from the service's thread."""

    def __init__(
        self,
        settings: Config,
        sensing: Sensing,
        inbox: Inbox,
        desk: Desk,
        counters: Counters,
        tell: Callable[[Mapping[str, Any]], None],
    ) -> None:
        """`tell` hears of each alert that goes out."""
        self._sensing = sensing
        self._inbox = inbox
        self._desk = desk
        self._counters = counters
        self._tell = tell
        self._max_tokens = settings.prompts.default_max_tokens
        self._topic = settings.topic("alert")
        self._triggers = Triggers(settings.triggers)
        self._waiting: deque[Job] = deque()
        self._asked: Job | None = None
        self._revision = 0
        self._unsaved = False
        self._log = structlog.get_logger()
        self._path = settings.state_dir / f"{settings.node}.rules"
        self._active = bool(settings.triggers)
        if self._active:
            sensing.follow(self._triggers.wants)
            self._recall()
        desk.resend(self._topic)

    def __len__(self) -> int:
        return len(self._waiting) + (self._asked is not None)

    def step(self) -> None:
        """Look at what changed, and at what time has brought."""
        now = time.monotonic()
        for view in self._sensing.take_news():
            self._take(self._triggers.see(view, now))
        # These tell what no message does: what goes stale or offline, what an earlier process knew.
        self._revision, changed = self._sensing.changes_since(self._revision, time.time())
        names = [name for name in changed if self._triggers.wants(name)]
        if names:
            for view in self._sensing.picture(time.time(), names).channels:
                self._take(self._triggers.see(view, now))
        self._take(self._triggers.elapse(now))
        if self._unsaved:
            self._save()
        while self._waiting and self._waiting[0].start_by <= now:
            self._desk.give_up(self._waiting.popleft())
        if self._waiting and self._asked is None and not self._inbox.full:
            self._asked = self._waiting.popleft()
            self._desk.ask(self._asked)

    def stop(self) -> None:
        """Let those that wait go out with their facts."""
        while self._waiting:
            self._desk.give_up(self._waiting.popleft())
        if self._active:
            self._save()

    def _recall(self) -> None:
        try:
            self._triggers.recall(load_rules(self._path, Clock.now()), time.monotonic())
        except DataError as error:
            self._log.warning("rules_not_recalled", reason=str(error))

    def _save(self) -> None:
        self._unsaved = False
        try:
            save_rules(self._path, self._triggers.remembered(time.monotonic()), Clock.now())
        except OSError as error:
            self._log.warning("rules_not_saved", reason=str(error))

    def _take(self, firings: list[Firing]) -> None:
        for firing in firings:
            self._counters.add("alerts")
            self._unsaved = True
            if self._desk.unconfirmed >= MAX_UNCONFIRMED:
                self._counters.add("alerts_dropped")
                self._log.error("alert_dropped", rule=firing.rule.name, channel=firing.view.name)
                continue
            job = self._promised(firing)
            self._log.info("trigger", id=job.request.id, rule=firing.rule.name)
            if len(self._waiting) >= MAX_WAITING:
                self._desk.give_up(job)
            else:
                self._waiting.append(job)

    def _promised(self, firing: Firing) -> Job:
        """The question to ask; from here on its alert goes out, whatever comes."""
        rule, view = firing.rule, firing.view
        words = {
            "name": view.name,
            "value": view.text or "",
            "unit": view.unit,
            "rule": rule.name,
            "condition": firing.condition,
            "held": duration(firing.at - firing.since),
        }
        question = _PLACEHOLDER.sub(lambda found: words[found[1]], rule.ask)
        id = f"alert-{new_id()}"
        now, wall = time.monotonic(), time.time()
        said = facts(firing)
        body = {
            "type": "alert",
            "id": id,
            "rule": rule.name,
            "channel": view.name,
            "value": view.text,
            "unit": view.unit,
            "condition": firing.condition,
            "since": _timestamp(wall - (now - firing.since)),
            "at": _timestamp(wall - (now - firing.at)),
            "facts": said,
            "question": " ".join(question.split()),
            "answered": False,
            "text": said,
        }
        end = firing.at + rule.answer_within
        job = Job(
            request=PromptRequest(
                id, question, rule.max_tokens or self._max_tokens, priority=rule.priority
            ),
            key=Key(id, self._topic),
            fingerprint=id.encode(),
            correlation=None,
            arrived=now,
            start_by=end,
            deadline=end,
        )
        job.own = lambda reply: self._finished(job, body, reply)
        self._desk.promise(job, _encoded(body))
        return job

    def _finished(self, job: Job, known: Mapping[str, Any], reply: Answer | ErrorReply) -> bytes:
        """The alert with what the model said, if that is worth having."""
        if job is self._asked:
            self._asked = None
        body = dict(known)
        if isinstance(reply, ErrorReply):
            body["error"] = reply.code
        else:
            said = {k: v for k, v in asdict(reply).items() if k not in ("id", "seq", "text")}
            body |= said
            if reply.text.strip() and reply.finish_reason in ("stop", "length"):
                body |= {"answered": True, "text": reply.text}
        self._counters.add("alerts_answered" if body["answered"] else "alerts_unanswered")
        self._log.warning(
            "alert",
            id=body["id"],
            rule=body["rule"],
            facts=body["facts"],
            answered=body["answered"],
        )
        self._tell(body)
        return _encoded(body)


def _encoded(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _timestamp(seconds: float) -> str:
    """Seconds since the epoch by ISO 8601, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
