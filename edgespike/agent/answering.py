"""One prompt from request to answer: picture, prompt text, generation. Knows no transport."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol
from zlib import crc32

from edgespike.agent.grounding import ungrounded
from edgespike.agent.inbox import Job
from edgespike.config import Config
from edgespike.errors import DataError
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
from edgespike.prompting import PromptTemplate, render
from edgespike.sensing.picture import Picture
from edgespike.tokenizer import Tokenizer

PROGRESS_EVERY_S = 0.25
"""Least time between two `progress` replies."""


class Piece(Protocol):
    """What generation yields; see `edgespike.engine.generate.Piece`."""

    @property
    def text(self) -> str: ...

    @property
    def token(self) -> int | None: ...

    @property
    def finish_reason(self) -> str | None: ...


SpikeRates = Mapping[str, Any]
"""Shares of neurons that fired: `encoder`, `layers`, `feed_forward`; see `Session.spike_rates`."""


class Generate(Protocol):
    """`Model.generate`, as far as it is used here."""

    def __call__(
        self,
        prompt: Sequence[int],
        *,
        max_tokens: int,
        temperature: float,
        seed: int,
        stop_tokens: Sequence[int],
        interrupt: Callable[[], str | None],
        on_prefill: Callable[[int, int], None],
    ) -> Iterator[Piece]: ...


class Answerer:
    """Answers jobs, one at a time, with one model and the live sensor picture."""

    def __init__(
        self,
        generate: Generate,
        tokenizer: Tokenizer,
        template: PromptTemplate,
        picture: Callable[[float], Picture],
        settings: Callable[[], Config],
        spike_rates: Callable[[], SpikeRates | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`picture` takes seconds since the epoch; `settings` is asked for each job, so that a
        reload counts; `spike_rates` are those of the latest generation; `clock` is monotonic
        seconds.
        """
        self._generate = generate
        self._tokenizer = tokenizer
        self._template = template
        self._picture = picture
        self._settings = settings
        self._clock = clock
        self.spike_rates = spike_rates
        # Any control piece ends an answer: what follows one is no longer the answer.
        controls = (tokenizer.control(name) for name in template.controls())
        self._stop = (*controls, tokenizer.eos_id)

    def answer(
        self,
        job: Job,
        interrupt: Callable[[], FinishReason | None],
        send: Callable[[Job, Reply], None],
    ) -> Answer | ErrorReply:
        """The final reply to `job`; those before it, if they were asked for, go to `send`.

        `interrupt` is asked between chunks of the prefill and between tokens; what it says ends
        the answer.
        """
        started = self._clock()
        settings = self._settings()
        request = job.request
        try:
            prompt = render(
                self._picture(time.time()),
                request.prompt,
                tokenizer=self._tokenizer,
                template=self._template,
                budget=min(settings.context.budget_tokens, self._template.budget),
            )
        except DataError as error:
            return ErrorReply(request.id, job.next_seq(), "too_large", str(error))

        text: list[str] = []
        tokens = 0
        first = last = None
        reason: FinishReason = "stop"
        for piece in self._generate(
            prompt.ids,
            max_tokens=request.max_tokens or settings.prompts.default_max_tokens,
            temperature=request.temperature or 0.0,
            seed=crc32(request.id.encode()),
            stop_tokens=self._stop,
            interrupt=interrupt,
            on_prefill=self._progress(job, send),
        ):
            if piece.token is not None:
                tokens += 1
                last = self._clock()
                first = first or last
            shown = piece.text if text else piece.text.lstrip()
            if shown:
                text.append(shown)
                if request.stream:
                    send(job, Chunk(request.id, job.next_seq(), shown))
            if piece.finish_reason is not None:
                reason = _finish_reason(piece.finish_reason)

        ended = self._clock()
        answer = "".join(text)
        return Answer(
            id=request.id,
            seq=job.next_seq(),
            text=answer,
            finish_reason=reason,
            usage=Usage(len(prompt.ids), tokens),
            timing=Timing(
                queue_ms=_ms(started - job.arrived),
                first_token_ms=None if first is None else _ms(first - job.arrived),
                total_ms=_ms(ended - job.arrived),
                tokens_per_s=_rate(tokens, first, last),
            ),
            context=ContextUse(prompt.used, len(prompt.ids), prompt.left_out),
            grounding={"ungrounded_numbers": list(ungrounded(answer, prompt.text))},
        )

    def _progress(self, job: Job, send: Callable[[Job, Reply], None]) -> Callable[[int, int], None]:
        due = self._clock() + PROGRESS_EVERY_S

        def report(done: int, total: int) -> None:
            nonlocal due
            now = self._clock()
            if job.request.stream and done < total and now >= due:
                due = now + PROGRESS_EVERY_S
                send(job, Progress(job.request.id, job.next_seq(), done, total))

        return report


def _finish_reason(reason: str) -> FinishReason:
    match reason:
        case "stop" | "length" | "deadline" | "cancelled":
            return reason
    raise AssertionError(f"unknown finish reason {reason!r}")


def _ms(seconds: float) -> float:
    return round(seconds * 1000.0, 1)


def _rate(tokens: int, first: float | None, last: float | None) -> float | None:
    """Decoded tokens per second: the first token belongs to the prefill."""
    if first is None or last is None or last <= first:
        return None
    return round((tokens - 1) / (last - first), 1)
