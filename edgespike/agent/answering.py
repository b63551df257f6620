"""Prompts from request to answer: context, prompt text, generation. Knows no transport."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from zlib import crc32

import structlog

from edgespike.agent.contexts import Contexts, Prepared
from edgespike.agent.dialogues import Exchange
from edgespike.agent.inbox import Job
from edgespike.config import Config
from edgespike.engine.generate import Generation, Request
from edgespike.engine.sample import Sampling
from edgespike.engine.together import step
from edgespike.errors import DataError
from edgespike.grounding import Grounds, Vocabulary, enforcing
from edgespike.messages import (
    Answer,
    Chunk,
    ContextUse,
    ErrorReply,
    FinishReason,
    Progress,
    Reply,
    Timing,
    Usage,
)
from edgespike.prompting import PromptTemplate, load

if TYPE_CHECKING:
    from edgespike.engine.generate import Piece
    from edgespike.engine.model import Model

PROGRESS_EVERY_S = 0.25
"""Least time between two `progress` replies."""

SpikeRates = Mapping[str, Any]
"""Shares of neurons that fired: `encoder`, `layers`, `feed_forward`; see `Session.spike_rates`."""

Send = Callable[[Job, Reply], None]


class Answering:
    """One answer in the making. `reply` is its final reply, once there is one."""

    def __init__(
        self,
        job: Job,
        prepared: Prepared,
        grounds: Grounds,
        generation: Generation,
        send: Send,
        clock: Callable[[], float],
        model_name: str,
        started: float,
    ) -> None:
        """`send` publishes the replies before the last, if they were asked for. `started` is when
        the prompt no longer waited.
        """
        self._model_name = model_name
        self.job = job
        self.prepared = prepared
        self.grounds = grounds
        self.generation = generation
        self.reply: Answer | ErrorReply | None = None
        self.tokens = 0
        self._send = send
        self._clock = clock
        self._started = started
        self._progress_due = started + PROGRESS_EVERY_S
        self._text: list[str] = []
        self._first: float | None = None
        self._opening = 0
        self._last: float | None = None

    def proceed(self) -> None:
        """Take what the latest step brought, up to where the next one is needed."""
        if self.generation.reading:
            self._tell_progress()
        pieces = []
        while not self.generation.hungry:
            pieces.append(self.generation.next())
            if pieces[-1].finish_reason is not None:
                break
        self._take(pieces)

    def end(self, reason: FinishReason) -> None:
        """Finish with what there is."""
        self._take([self.generation.end(reason)])

    def fail(self, message: str) -> None:
        """Give up: something is wrong with this node, not with the prompt."""
        self.reply = ErrorReply(self.job.request.id, self.job.next_seq(), "internal", message)

    def _take(self, pieces: Sequence[Piece]) -> None:
        """What one step brought: several pieces where they were settled by what came before."""
        tokens = sum(piece.token is not None for piece in pieces)
        if tokens:
            self.tokens += tokens
            self._last = self._clock()
            if self._first is None:
                self._first, self._opening = self._last, tokens
        shown = "".join(piece.text for piece in pieces)
        shown = shown if self._text else shown.lstrip()
        if shown:
            self._text.append(shown)
            if self.job.request.stream:
                self._send(self.job, Chunk(self.job.request.id, self.job.next_seq(), shown))
        if pieces and pieces[-1].finish_reason is not None:
            self.reply = self._answer(_finish_reason(pieces[-1].finish_reason))

    def _answer(self, reason: FinishReason) -> Answer:
        job, prepared, ended = self.job, self.prepared, self._clock()
        text = "".join(self._text)
        return Answer(
            id=job.request.id,
            seq=job.next_seq(),
            text=text,
            finish_reason=reason,
            usage=Usage(prepared.absorbed + len(prepared.ids), self.tokens),
            timing=Timing(
                queue_ms=_ms(self._started - job.arrived),
                first_token_ms=None if self._first is None else _ms(self._first - job.arrived),
                total_ms=_ms(ended - job.arrived),
                tokens_per_s=_rate(self.tokens - self._opening, self._first, self._last),
            ),
            context=_use(prepared),
            grounding=asdict(self.grounds.check(text)),
            model=self._model_name,
        )

    def _tell_progress(self) -> None:
        now = self._clock()
        if self.job.request.stream and now >= self._progress_due:
            self._progress_due = now + PROGRESS_EVERY_S
            done, total = self.generation.read, len(self.prepared.ids)
            self._send(self.job, Progress(self.job.request.id, self.job.next_seq(), done, total))


class Answerer:
    """Answers several jobs at a time, a step of the model at a time. Used from one thread."""

    def __init__(
        self,
        model: Model,
        template: PromptTemplate,
        contexts: Contexts,
        settings: Callable[[], Config],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`settings` is asked for each job, so that a reload counts; `clock` is monotonic
        seconds.
        """
        self.parallel = settings().parallel
        self.spike_rates: SpikeRates | None = None
        # A name that says which weights: another training, another precision, another name.
        self.model_name = f"{model.container.path.stem}@{model.fingerprint[:12]}"
        self._model = model
        self._contexts = contexts
        load()
        self._settings = settings
        self._clock = clock
        # Any control piece ends an answer: what follows one is no longer the answer.
        tokenizer = model.tokenizer
        controls = (tokenizer.control(name) for name in template.controls())
        self._stop = frozenset((*controls, tokenizer.eos_id))
        self._vocabulary = Vocabulary(tokenizer, self._stop)

    def begin(self, job: Job, send: Send) -> Answering | Answer | ErrorReply:
        """Take up a job, while fewer than `parallel` are in the making. The answer is empty when it
        was cancelled meanwhile, or its deadline passed: a long question takes a while to prepare.
        """
        request, started = job.request, self._clock()
        tokens = request.max_tokens or self._settings().prompts.default_max_tokens
        try:
            prepared = self._contexts.prepare(request, job.dialogue, tokens)
        except DataError as error:
            return ErrorReply(request.id, job.next_seq(), "too_large", str(error))
        if reason := job.given_up(self._clock()):
            self._contexts.finish(prepared, None, ())
            waited, took = started - job.arrived, self._clock() - job.arrived
            timing = Timing(queue_ms=_ms(waited), total_ms=_ms(took))
            context = _use(prepared)
            return Answer(request.id, job.next_seq(), "", reason, timing=timing, context=context)
        try:
            return self._answering(job, prepared, tokens, send, started)
        except Exception:
            self._contexts.finish(prepared, None, ())
            raise

    def step(self, answerings: Sequence[Answering]) -> None:
        """Bring all of them forward by one step of the model. Those with a `reply` are finished."""
        try:
            step(self._model, [each.generation for each in answerings])
        except Exception:
            structlog.get_logger().exception("step_failed")
            for each in answerings:
                each.fail("the model failed; see the node's log")
        for each in answerings:
            if each.reply is None:
                try:
                    each.proceed()
                except Exception:
                    # Whatever is wrong with this prompt, the others deserve their answers.
                    structlog.get_logger(id=each.job.request.id).exception("answer_failed")
                    each.fail("the answer failed; see the node's log")

    def idle(self) -> float:
        """Do a little of what makes the next answer come sooner; only while none is in the making.
        Seconds until there may be more to do.
        """
        return self._contexts.idle()

    @property
    def context(self) -> Mapping[str, Any]:
        """What is read ahead, for the metrics."""
        return self._contexts.facts()

    def finish(self, answering: Answering) -> None:
        """Let go of an answering, whether it has a reply or not."""
        if answering.prepared.session.position:
            self.spike_rates = answering.prepared.session.spike_rates
        reply, exchange = answering.reply, None
        if isinstance(reply, Answer) and not answering.generation.reading:
            exchange = Exchange(answering.job.request.prompt, reply.text)
        self._contexts.finish(answering.prepared, exchange, answering.generation.unfed)

    def _answering(
        self, job: Job, prepared: Prepared, tokens: int, send: Send, started: float
    ) -> Answering:
        request, prompts = job.request, self._settings().prompts
        statements = prepared.statements
        grounds = Grounds((*prepared.texts, *statements), prepared.used, prepared.left_out)
        enforced = prompts.grounding == "enforce"
        generation = Generation(
            self._model,
            prepared.session,
            Request(
                prompt=prepared.ids,
                max_tokens=tokens,
                sampling=Sampling(
                    temperature=request.temperature or 0.0, seed=crc32(request.id.encode())
                ),
                stop_tokens=self._stop,
                lookup=True,
                seen=prepared.seen,
                constraint=enforcing(self._vocabulary, grounds, statements) if enforced else None,
            ),
        )
        name = self.model_name
        return Answering(job, prepared, grounds, generation, send, self._clock, name, started)


def _use(prepared: Prepared) -> ContextUse:
    return ContextUse(
        sensors=prepared.used,
        tokens=prepared.absorbed + len(prepared.ids),
        left_out=prepared.left_out,
        mode=prepared.mode,
        absorbed=prepared.absorbed,
        turns=prepared.turns,
        refused=prepared.refused,
        forgotten=0 if prepared.dialogue is None else prepared.dialogue.forgotten,
    )


def _finish_reason(reason: str) -> FinishReason:
    match reason:
        case "stop" | "length" | "deadline" | "cancelled":
            return reason
    raise AssertionError(f"unknown finish reason {reason!r}")


def _ms(seconds: float) -> float:
    return round(seconds * 1000.0, 1)


def _rate(tokens: int, first: float | None, last: float | None) -> float | None:
    """Decoded tokens per second: those that came with the first belong to the prefill."""
    if first is None or last is None or last <= first:
        return None
    return round(tokens / (last - first), 1)
