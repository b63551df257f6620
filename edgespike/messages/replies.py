"""Replies as they leave, and as a client reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal, TypeAlias, get_args

from edgespike.errors import DataError
from edgespike.messages.checks import (
    json_object,
    number_of,
    object_of,
    text_of,
    texts_of,
    whole_of,
)

ErrorCode = Literal["bad_request", "busy", "too_large", "expired", "internal"]
FinishReason = Literal["stop", "length", "deadline", "cancelled"]


@dataclass(frozen=True, slots=True)
class _Reply:
    """What every reply can do."""

    type: ClassVar[str]

    def to_bytes(self) -> bytes:
        """The reply as a JSON object in UTF-8."""
        body = {"type": self.type, **asdict(self)}
        return json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


@dataclass(frozen=True, slots=True)
class Accepted(_Reply):
    """The prompt waits in the inbox; `position` prompts are before it."""

    type: ClassVar[str] = "accepted"
    id: str
    seq: int
    position: int = 0


@dataclass(frozen=True, slots=True)
class Progress(_Reply):
    """The prompt is being read: `done` of `total` tokens."""

    type: ClassVar[str] = "progress"
    id: str
    seq: int
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Chunk(_Reply):
    """A piece of the answer's text."""

    type: ClassVar[str] = "chunk"
    id: str
    seq: int
    text: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens read and written."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds waiting, to the first token, in all, from arrival; decoded tokens per second."""

    queue_ms: float = 0.0
    first_token_ms: float | None = None
    total_ms: float = 0.0
    tokens_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class ContextUse:
    """What the model was shown: channel names used, all tokens, channel names left out.

    `mode`: "warm", "on_demand", or "dialogue" where a dialogue went on. `absorbed` of the tokens
    had been read before the prompt came. `turns` of the dialogue were still in it, `forgotten` no
    longer. The node doesn't keep `refused` further channels, for lack of room.
    """

    sensors: tuple[str, ...] = ()
    tokens: int = 0
    left_out: tuple[str, ...] = ()
    mode: str = "on_demand"
    absorbed: int = 0
    turns: int = 0
    forgotten: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class Answer(_Reply):
    """The last reply to a prompt that was served. `grounding` is a JSON object or None; `model`
    says which one answered, as name@version.
    """

    type: ClassVar[str] = "answer"
    id: str
    seq: int
    text: str
    finish_reason: FinishReason
    usage: Usage = field(default_factory=Usage)
    timing: Timing = field(default_factory=Timing)
    context: ContextUse = field(default_factory=ContextUse)
    grounding: Mapping[str, Any] | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True)
class ErrorReply(_Reply):
    """The last reply to a prompt that wasn't served. `retry_ms`: when asking again makes sense."""

    type: ClassVar[str] = "error"
    id: str
    seq: int
    code: ErrorCode
    message: str
    retry_ms: int | None = None


Reply: TypeAlias = Accepted | Progress | Chunk | Answer | ErrorReply


def parse_reply(payload: bytes) -> Reply:
    """Read a reply. Fields that this version doesn't know are ignored: a newer node may send them.

    Raises DataError naming what is wrong.
    """
    try:
        body = json_object(payload.decode())
    except ValueError as error:
        raise DataError(f"a reply must be a JSON object: {error}") from None
    kind = body.get("type")
    try:
        if kind == "accepted":
            return Accepted(text_of(body, "id"), whole_of(body, "seq"), whole_of(body, "position"))
        if kind == "progress":
            numbers = (whole_of(body, key) for key in ("seq", "done", "total"))
            return Progress(text_of(body, "id"), *numbers)
        if kind == "chunk":
            return Chunk(text_of(body, "id"), whole_of(body, "seq"), text_of(body, "text"))
        if kind == "answer":
            return _parse_answer(body)
        if kind == "error":
            code = text_of(body, "code")
            if code not in get_args(ErrorCode):
                raise ValueError(f"unknown code {code!r}")
            return ErrorReply(
                text_of(body, "id"),
                whole_of(body, "seq"),
                code,  # type: ignore[arg-type]  # checked against the Literal above
                text_of(body, "message"),
                whole_of(body, "retry_ms") if body.get("retry_ms") is not None else None,
            )
    except ValueError as error:
        raise DataError(f"malformed {kind} reply: {error}") from None
    raise DataError(f"unknown reply type {kind!r}")


def shortened(payload: bytes) -> bytes:
    """An answer or alert in bytes without its lists of sensors' names, and with `shortened` in its
    `context`: most of its size, where there are many. Any other message as it is.
    """
    body = json_object(payload.decode())
    context = body.get("context")
    if not isinstance(context, dict):
        return payload
    body["context"] = {**context, "sensors": [], "left_out": [], "shortened": True}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _parse_answer(body: Mapping[str, Any]) -> Answer:
    reason = text_of(body, "finish_reason")
    if reason not in get_args(FinishReason):
        raise ValueError(f"unknown finish_reason {reason!r}")
    usage, timing, context = (object_of(body, key) for key in ("usage", "timing", "context"))
    grounding = body.get("grounding")
    return Answer(
        id=text_of(body, "id"),
        seq=whole_of(body, "seq"),
        text=text_of(body, "text"),
        finish_reason=reason,  # type: ignore[arg-type]  # checked against the Literal above
        usage=Usage(whole_of(usage, "prompt_tokens"), whole_of(usage, "completion_tokens")),
        timing=Timing(
            number_of(timing, "queue_ms") or 0.0,
            number_of(timing, "first_token_ms"),
            number_of(timing, "total_ms") or 0.0,
            number_of(timing, "tokens_per_s"),
        ),
        context=ContextUse(
            texts_of(context, "sensors"),
            whole_of(context, "tokens"),
            texts_of(context, "left_out"),
            text_of(context, "mode") if "mode" in context else "on_demand",
            *(whole_of(context, key) for key in ("absorbed", "turns", "forgotten", "refused")),
        ),
        grounding=grounding if isinstance(grounding, dict) else None,
        model=text_of(body, "model") if body.get("model") is not None else None,
    )
