"""What becomes of each prompt: taken, refused, recognised, cancelled, answered, acknowledged.

Used from one thread, so that journal, inbox, replies and acknowledgements always agree. The order
that makes an answer survive: begin in the journal, generate, record in the journal, send at QoS 1,
wait for the broker's confirmation, mark as delivered, acknowledge the prompt.
"""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Callable
from typing import TypeVar

import structlog

from edgespike.agent.deliveries import Deliveries, Delivery
from edgespike.agent.edge_ai import Inferences
from edgespike.agent.events import Incoming
from edgespike.agent.inbox import Inbox, Job
from edgespike.agent.journal import Entry, Journal, JournalError, Key
from edgespike.agent.mqtt import Connection
from edgespike.agent.outbox import Final, Outbox
from edgespike.agent.requesters import Allowances, dialogue_name, requester
from edgespike.agent.vitals import RECENT_ANSWERS
from edgespike.config import Config
from edgespike.messages import (
    Accepted,
    Answer,
    BadPrompt,
    ErrorCode,
    ErrorReply,
    Reply,
    Timing,
    new_id,
    parse_prompt,
)
from edgespike.telemetry import Counters

MAX_STARTS = 3
"""A prompt whose answer ended the process this often isn't tried again."""

MAX_UNCONFIRMED = 2000
"""Final replies that wait; refusals of QoS 0 prompts beyond these aren't sent."""

MAX_RESPONSE_TOPIC = 512
T = TypeVar("T")

_OURS_TO_READ = ("prompt", "ask", "cancel", "control", "member", "work")
_OURS = frozenset((*_OURS_TO_READ, "status", "metrics", "last", "alert", "event"))

_FIRST_ANSWER_MS = 1000.0
"""How long an answer takes, before there was one."""
_SOONEST_RETRY_S = 0.1


class Desk:
    """All prompts that aren't finished."""

    def __init__(
        self,
        settings: Callable[[], Config],
        inbox: Inbox,
        journal: Journal,
        connection: Connection,
        counters: Counters,
    ) -> None:
        self._settings = settings
        self._inbox = inbox
        self._journal = journal
        self._connection = connection
        self._counters = counters
        self._outbox = Outbox(connection)
        self._inferences = Inferences(settings(), connection)
        self._deliveries = Deliveries()
        self._allowances = Allowances()
        self._jobs: dict[Key, Job] = {}
        self._running: set[Job] = set()
        self._generation = 0
        self._log = structlog.get_logger()
        self.stopping = False
        self.told: Callable[[Answer | ErrorReply], None] = lambda reply: None
        self.answered = 0
        self.timings: deque[Timing] = deque(maxlen=RECENT_ANSWERS)

    @property
    def unconfirmed(self) -> int:
        """Final replies that the broker hasn't confirmed."""
        return len(self._outbox)

    # Prompts

    def arrived(self, message: Incoming) -> None:
        """A prompt message came."""
        self._generation = message.generation
        fingerprint = _fingerprint(message)
        delivery, known = self._deliveries.arrive(message.packet, message.dup, fingerprint)
        if known:
            self._log.info("redelivered", packet=message.packet, settled=delivery.settled)
            self._settle()
        elif message.retain:
            # Asked before we were here, by someone who may be long gone, and again at every start.
            self._log.warning("retained_prompt_ignored", topic=message.topic)
            self._settle(delivery)
        elif self.stopping and message.packet:
            return  # it stays with the broker
        else:
            self._counters.add("prompts")
            self._read(message, fingerprint, delivery)

    def shared(self, message: Incoming, id: str, on_settled: Callable[[], None]) -> None:
        """A prompt came that any daemon of a group could have got. `id` is its id unless it brings
        one; `on_settled` is called when nothing more has to happen.
        """
        if self.stopping:
            return
        fingerprint = _fingerprint(message)
        self._counters.add("prompts")
        self._read(message, fingerprint, Delivery(0, fingerprint, on_settled=on_settled), id)

    def promise(self, job: Job, otherwise: bytes) -> None:
        """A prompt of this node's own is to be asked: `otherwise` goes out at the next start if
        this process dies before its answer.
        """
        self._jobs[job.key] = job
        now = time.time()
        self._journalled(lambda: self._journal.begin(job.key, job.fingerprint, 0, now))
        self._journalled(lambda: self._journal.record(job.key, otherwise, now))

    def ask(self, job: Job) -> None:
        """Ask a prompt that was promised."""
        if self.stopping:
            self.give_up(job)
        else:
            self._inbox.put(job)

    def give_up(self, job: Job) -> None:
        """A prompt that was promised can't be asked."""
        self._fail(job, "busy", "there is no room for this prompt")

    def resend(self, topic: str) -> None:
        """Send what the journal holds for `topic` and an earlier process couldn't deliver."""
        for key, payload in self._journalled(lambda: self._journal.undelivered(topic)) or ():
            self._outbox.send(Final(key.id, 0, key.reply_topic, payload, None, key))

    def cancel(self, id: str) -> None:
        """Someone doesn't want the answers to the prompts with this id any more."""
        for job in self._jobs.values():
            if job.request.id == id:
                job.cancelled = True
        for job in self._inbox.cancel(id):
            self._finish(job, Answer(id, job.next_seq(), "", "cancelled"))

    def cancel_running(self) -> None:
        """Whatever is being answered isn't wanted any more."""
        for job in self._running:
            job.cancelled = True

    def expire(self) -> None:
        """Say so to those whose prompts waited too long."""
        for job in self._inbox.expire():
            why = ": this node is paused" if self._inbox.paused else ""
            self._fail(job, "expired", f"the deadline passed while the prompt waited{why}")

    def started(self, job: Job) -> None:
        """The answer to `job` is being made."""
        self._running.add(job)
        self._journalled(lambda: self._journal.start(job.key))
        job.written.set()

    def done(self, job: Job, reply: Answer | ErrorReply | None) -> None:
        """The answer is made; None: given up before it had begun, for the next start to answer."""
        self._running.discard(job)
        if reply is None and job.own:
            self._fail(job, "busy", "this node is stopping")
        elif reply is None:
            self._journalled(lambda: self._journal.leave(job.key))
        else:
            self._finish(job, reply)

    def stop(self) -> None:
        """Take no more prompts. Those that wait stay with the broker; at QoS 0 they are refused."""
        self.stopping = True
        for job in self._inbox.clear():
            if not any(delivery.kept for delivery in job.deliveries):
                self._fail(job, "busy", "this node is stopping; ask again later")

    def prune(self) -> None:
        """Let the journal forget what is old."""
        self._journalled(lambda: self._journal.prune(time.time()))

    # The connection

    def connected(self, session_present: bool) -> None:
        """The connection for prompts was made."""
        self._deliveries.reconnected(session_present)
        self._outbox.flush()

    def confirmed(self, message: int, refused: str | None) -> None:
        """The broker answered for a QoS 1 message; `refused` says why it didn't take it."""
        final = self._outbox.confirmed(message)
        if final is None:
            self._inferences.confirmed(message, refused)
            return
        if refused:
            # Sending it again would be refused again, and would keep later prompts waiting.
            self._counters.add("replies_refused")
            self._log.error("reply_refused", id=final.id, topic=final.topic, reason=refused)
        key = final.key
        if key is not None:
            self._jobs.pop(key, None)
            self._journalled(lambda: self._journal.deliver(key, time.time()))
        self._settle(*final.deliveries)
        self._outbox.flush()

    # Parts of the above

    def _read(
        self, message: Incoming, fingerprint: bytes, delivery: Delivery, id: str | None = None
    ) -> None:
        limits = self._settings().prompts
        try:
            request = parse_prompt(
                message.payload,
                correlation=message.correlation,
                max_bytes=limits.max_prompt_bytes,
                max_tokens=limits.max_tokens,
                max_deadline_ms=limits.max_deadline_ms,
                make_id=lambda: id or self._known_id(message, fingerprint) or new_id(),
            )
        except BadPrompt as bad:
            self._refuse(message, delivery, bad.id, bad.code, str(bad))
            return
        now = time.monotonic()
        deadline = now + (request.deadline_ms or limits.default_deadline_ms) / 1000.0
        expiry = float("inf") if message.expiry_s is None else now + message.expiry_s
        job = Job(
            request=request,
            key=Key(request.id, self._reply_topic(message, request.id)),
            fingerprint=fingerprint,
            correlation=message.correlation,
            arrived=now,
            start_by=min(deadline, expiry),
            deadline=deadline,
            deliveries=[delivery],
            dialogue=request.session and dialogue_name(message, request.session),
            topic=message.topic,
        )
        earlier = self._jobs.get(job.key)
        if earlier is None:
            self._take(message, job)
        elif earlier.fingerprint == fingerprint:
            self._log.info("repeated", id=request.id)
            earlier.deliveries.append(delivery)
        else:
            problem = f"another prompt with id {request.id!r} isn't answered yet"
            self._refuse(message, delivery, request.id, "bad_request", problem)

    def _take(self, message: Incoming, job: Job) -> None:
        """A prompt that isn't in work: answered before, too many, or new."""
        now = time.time()
        entry = self._look_up(message, job)
        if entry is not None and entry.answer is not None:
            self._repeat(message, job, entry)
        elif self.stopping:
            self._busy(message, job, "this node is stopping")
        elif self._inbox.full:
            self._busy(message, job, "too many prompts are waiting", self._drained_in())
        elif entry is None and (wait := self._over_limit(message)):
            self._busy(message, job, "too many prompts from one requester", wait)
        else:
            self._enqueue(message, job, now)

    def _busy(self, message: Incoming, job: Job, why: str, wait: float | None = None) -> None:
        """Refuse a prompt; it may be asked again after `wait` seconds, None: nobody knows when."""
        when = "later" if wait is None else f"in {wait:.1f} s"
        retry_ms = None if wait is None else round(1000 * wait)
        problem = f"{why}; ask again {when}"
        self._refuse(message, job.deliveries[0], job.request.id, "busy", problem, retry_ms)

    def _drained_in(self) -> float | None:
        """Seconds until what waits now will be answered, as far as the latest answers tell; None
        while nothing is. Everyone who is refused comes back: room for one prompt would not do.
        """
        if self._inbox.paused:
            return None
        took = [t.total_ms - t.queue_ms for t in self.timings] or [_FIRST_ANSWER_MS]
        waiting = len(self._inbox) / self._settings().parallel
        return max(_SOONEST_RETRY_S, waiting * sum(took) / len(took) / 1000)

    def _over_limit(self, message: Incoming) -> float:
        """Seconds until whoever sent this may ask again; 0: now."""
        limits = self._settings().prompts
        if limits.per_minute is None:
            return 0.0
        return self._allowances.take(requester(message), limits.per_minute, limits.burst)

    def _repeat(self, message: Incoming, job: Job, entry: Entry) -> None:
        assert entry.answer is not None
        if entry.delivered and message.dup:
            self._log.info("already_answered", id=job.request.id)
            self._settle(*job.deliveries)
        else:
            self._log.info("answer_repeated", id=job.request.id)
            self._counters.add("answers_repeated")
            self._jobs[job.key] = job
            self._send(job, entry.answer)

    def _enqueue(self, message: Incoming, job: Job, now: float) -> None:
        self._jobs[job.key] = job
        entry = self._journalled(
            lambda: self._journal.begin(job.key, job.fingerprint, message.packet, now)
        )
        if entry is not None:
            if entry.starts >= MAX_STARTS:
                self._fail(job, "internal", f"answering it ended the daemon {entry.starts} times")
                return
            job.alone, job.again = entry.starts > 0, message.dup
            if message.dup:
                # A prompt that waited for a restart is as old as when it first came.
                waited = max(0.0, now - entry.begun)
                job.start_by -= waited
                job.deadline -= waited
        if job.request.stream:
            position = self._inbox.ahead(job) + len(self._running)
            self.send(job, Accepted(job.request.id, job.next_seq(), position))
        self._inbox.put(job)

    def send(self, job: Job, reply: Reply) -> None:
        """Publish a reply that isn't the last; lost without a connection. From any thread."""
        self._connection.publish(job.key.reply_topic, reply.to_bytes(), correlation=job.correlation)

    def _look_up(self, message: Incoming, job: Job) -> Entry | None:
        """What the journal knows of this prompt. One that was answered, with the answer at the
        broker, and that the broker doesn't call a repetition (DUP) is a new question in old words:
        clients use one id for ever, and the sensors move on.
        """
        entry = self._journalled(lambda: self._journal.look_up(job.key, job.fingerprint))
        if entry is None or not entry.delivered or message.dup:
            return entry
        self._journalled(lambda: self._journal.forget(job.key))
        return None

    def _known_id(self, message: Incoming, fingerprint: bytes) -> str | None:
        """The id that we made for this prompt when it was delivered to an earlier process."""
        if not (message.dup and message.packet):
            return None
        return self._journalled(lambda: self._journal.find(fingerprint, message.packet))

    def _fail(self, job: Job, code: ErrorCode, problem: str) -> None:
        self._finish(job, ErrorReply(job.request.id, job.next_seq(), code, problem))

    def _finish(self, job: Job, reply: Answer | ErrorReply) -> None:
        payload = job.own(reply) if job.own else reply.to_bytes()
        if not job.own:
            self._report(reply)
        self._journalled(lambda: self._journal.record(job.key, payload, time.time()))
        self._send(job, payload, reply.seq)
        if isinstance(reply, Answer) and not job.own:
            last = self._settings().topic("last")
            fitted = self._outbox.fitted(last, payload) or payload
            self._connection.publish(last, fitted, qos=1, retain=True)
            self._inferences.tell(job, reply)

    def _send(self, job: Job, payload: bytes, seq: int = 0) -> None:
        self._outbox.send(
            Final(
                job.request.id,
                seq,
                job.key.reply_topic,
                payload,
                job.correlation,
                job.key,
                job.deliveries,
            )
        )

    def _refuse(
        self,
        message: Incoming,
        delivery: Delivery,
        id: str,
        code: ErrorCode,
        problem: str,
        retry_ms: int | None = None,
    ) -> None:
        """A final reply to a prompt that wasn't taken. The journal doesn't hear of it: a flood of
        refusals must cost little.
        """
        reply = ErrorReply(id, 0, code, problem, retry_ms)
        self._report(reply)
        if not delivery.kept and self.unconfirmed >= MAX_UNCONFIRMED:
            return  # QoS 0 promises nothing, and a flood of it must not fill the memory
        self._outbox.send(
            Final(
                id,
                0,
                self._reply_topic(message, id),
                reply.to_bytes(),
                message.correlation,
                None,
                [delivery],
            )
        )

    def _report(self, reply: Answer | ErrorReply) -> None:
        """The one event of a prompt."""
        self.told(reply)
        if isinstance(reply, ErrorReply):
            self._counters.add(f"errors_{reply.code}")
            self._log.warning("prompt", id=reply.id, error=reply.code, message=reply.message)
            return
        self.answered += 1
        self.timings.append(reply.timing)
        self._counters.add("answers")
        self._counters.add("prompt_tokens", reply.usage.prompt_tokens)
        self._counters.add("completion_tokens", reply.usage.completion_tokens)
        self._log.info(
            "prompt",
            id=reply.id,
            finish_reason=reply.finish_reason,
            queue_ms=reply.timing.queue_ms,
            first_token_ms=reply.timing.first_token_ms,
            total_ms=reply.timing.total_ms,
            tokens_per_s=reply.timing.tokens_per_s,
            context=reply.context.mode,
            absorbed=reply.context.absorbed,
            prompt_tokens=reply.usage.prompt_tokens,
            completion_tokens=reply.usage.completion_tokens,
            sensors=len(reply.context.sensors),
            left_out=len(reply.context.left_out),
        )

    def _settle(self, *deliveries: Delivery) -> None:
        self._connection.ack(self._generation, self._deliveries.settle(*deliveries))

    def _reply_topic(self, message: Incoming, id: str) -> str:
        settings = self._settings()
        wanted = message.response_topic
        if wanted is not None:
            if allowed_response_topic(wanted, settings.prompts.response_prefixes):
                return wanted
            self._log.warning("response_topic_refused", topic=wanted)
        return f"{message.topic.rpartition('/')[0]}/response/{id}"

    def _journalled(self, act: Callable[[], T]) -> T | None:
        """Do something with the journal. Without it answers still go out, at least once each: a
        full disk must not silence the node.
        """
        try:
            return act()
        except JournalError as error:
            self._counters.add("journal_errors")
            self._log.error("journal_failed", message=str(error))
            return None


def allowed_response_topic(topic: str, prefixes: tuple[str, ...]) -> bool:
    """Whether replies may go to `topic`: under a prefix, no wildcard, and no topic of any node that
    means something else, so that no reply is ever taken for a prompt.
    """
    levels = topic.split("/")
    if len(topic) > MAX_RESPONSE_TOPIC or not topic.isprintable() or set(topic) & set("+#"):
        return False
    if levels[0] == "edgespike" and len(levels) > 2 and levels[2] in _OURS:
        return False
    return any(topic.startswith(prefix) for prefix in prefixes)


def _fingerprint(message: Incoming) -> bytes:
    """Digest of what makes a prompt message what it is."""
    digest = hashlib.sha256()
    for part in (
        message.topic.encode(),
        (message.response_topic or "").encode(),
        message.correlation or b"",
        message.payload,
    ):
        digest.update(len(part).to_bytes(4, "big") + part)
    return digest.digest()
