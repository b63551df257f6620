"""Prompts as they arrive: every field has a type and a limit."""

from __future__ import annotations

import codecs
import difflib
import hashlib
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgespike.errors import DataError
from edgespike.messages.checks import encodes, json_object, short
from edgespike.messages.replies import ErrorCode

MAX_ID_BYTES = 64
MAX_SESSION_BYTES = 64
MAX_PRIORITY = 9
DEFAULT_PRIORITY = 4

_ID = re.compile(rb'"id"\s*:\s*(?:"([^"\\]{1,64})"|(\d{1,20})\b)')
"""The id in a JSON object that isn't parsed. Inside a text its quotes would be escaped."""


@dataclass(frozen=True, slots=True)
class PromptRequest:
    """A question, checked. None means "as this node is configured".

    `id` is safe as one level of a topic. `given_id` tells whether the sender chose it (in the JSON
    or as correlation data); if not it is random, and differs when the message is parsed again.
    `priority` runs from 0 (last) to 9 (first). `temperature` 0 is greedy.
    """

    id: str
    prompt: str
    max_tokens: int | None = None
    stream: bool = False
    deadline_ms: int | None = None
    priority: int = DEFAULT_PRIORITY
    session: str | None = None
    reset: bool = False
    temperature: float | None = None
    given_id: bool = True


class BadPrompt(DataError):  # noqa: N818  (it is the prompt that is bad)
    """A prompt that can't be served. `code` goes into the error reply; `id` if it could be read."""

    def __init__(self, code: ErrorCode, message: str, id: str) -> None:
        super().__init__(message)
        self.code: ErrorCode = code
        self.id = id


def new_id() -> str:
    """A fresh request id: 16 hexadecimal digits."""
    return uuid.uuid4().hex[:16]


def topic_safe_id(text: str) -> bool:
    """Whether `text` can be a request id: one topic level, printable, at most 64 bytes of UTF-8."""
    if not text or not text.isprintable() or any(c in "+#/" for c in text):
        return False
    return encodes(text) and len(text.encode()) <= MAX_ID_BYTES


def correlation_id(correlation: bytes) -> str:
    """The id that stands for MQTT 5 correlation data: its text if that is a valid id, else hex.

    Deterministic, so that a redelivered prompt keeps its id.
    """
    try:
        text = correlation.decode()
    except UnicodeDecodeError:
        text = ""
    if topic_safe_id(text):
        return text
    if len(correlation) <= MAX_ID_BYTES // 2:
        return correlation.hex()
    return hashlib.sha256(correlation).hexdigest()[:MAX_ID_BYTES]


def parse_prompt(
    payload: bytes,
    *,
    correlation: bytes | None = None,
    max_bytes: int = 16384,
    max_tokens: int = 4096,
    max_deadline_ms: int = 3_600_000,
    make_id: Callable[[], str] = new_id,
) -> PromptRequest:
    """Read a prompt message: UTF-8 text, or a JSON object when its first character is `{`.

    The id is the JSON `id`, else the correlation data, else made by `make_id`. `max_bytes`,
    `max_tokens` and `max_deadline_ms` are this node's limits.

    A text that starts with `{` but isn't JSON is refused rather than asked: it is far more often a
    broken client than a question, and the refusal says how to send it as text.

    Raises BadPrompt (`too_large` or `bad_request`); its `id` is the best that could be read.
    """
    given = correlation_id(correlation) if correlation else None
    fallback = given or make_id()
    if len(payload) > max_bytes:
        raise BadPrompt(
            "too_large",
            f"a prompt may have {max_bytes} bytes, this has {len(payload)}",
            _glimpsed_id(payload) or fallback,
        )
    try:
        text = payload.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"the prompt isn't UTF-8 (byte {error.start})"
        raise BadPrompt("bad_request", message, _glimpsed_id(payload) or fallback) from None
    if not text.lstrip().startswith("{"):
        problem = _text_problem("the prompt", text)
        if problem:
            raise BadPrompt("bad_request", problem, fallback)
        return PromptRequest(id=fallback, prompt=text.strip(), given_id=given is not None)
    return _parse_prompt_object(text, given, fallback, max_tokens, max_deadline_ms)


def _glimpsed_id(payload: bytes) -> str | None:
    """The id of a prompt that is too large or too broken to be parsed: who sent it listens for
    that one.
    """
    if not payload[:64].removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"{"):
        return None
    found = _ID.search(payload)
    text = found[found.lastindex or 0].decode(errors="replace") if found else ""
    return text if topic_safe_id(text) else None


def parse_cancel(payload: bytes) -> str:
    """The id named by a cancel message: the bare id, or `{"id": ...}`.

    Raises BadPrompt (`bad_request`) if there is none.
    """
    try:
        text = payload[: MAX_ID_BYTES * 16].decode("utf-8-sig").strip()
        if text.startswith("{"):
            value = json_object(text).get("id")
            text = str(value) if isinstance(value, str | int) else ""
    except ValueError:
        text = ""
    if not topic_safe_id(text):
        raise BadPrompt("bad_request", "a cancel message is the id of a prompt", "")
    return text


def _parse_prompt_object(
    text: str, given: str | None, fallback: str, max_tokens: int, max_deadline_ms: int
) -> PromptRequest:
    try:
        body = json_object(text)
    except ValueError as error:
        raise BadPrompt(
            "bad_request",
            f"the prompt starts with {{ but isn't a JSON object ({error}); "
            'to ask a text that starts with {, send {"prompt": "..."}',
            _glimpsed_id(text.encode()) or fallback,
        ) from None
    id = fallback
    raw_id = body.get("id")
    if isinstance(raw_id, int) and not isinstance(raw_id, bool):
        raw_id = str(raw_id)
    if isinstance(raw_id, str) and topic_safe_id(raw_id):
        id = given = raw_id
    elif raw_id is not None:
        message = f"id must be 1 to {MAX_ID_BYTES} printable bytes without +, # and /"
        raise BadPrompt("bad_request", message, fallback)
    try:
        return PromptRequest(
            id=id,
            given_id=given is not None,
            **_prompt_fields(body, max_tokens, max_deadline_ms),
        )
    except ValueError as error:
        raise BadPrompt("bad_request", str(error), id) from None


_PROMPT_FIELDS = (
    "prompt",
    "id",
    "max_tokens",
    "stream",
    "deadline_ms",
    "priority",
    "session",
    "reset",
    "temperature",
)


def _prompt_fields(
    body: Mapping[str, Any], max_tokens: int, max_deadline_ms: int
) -> dict[str, Any]:
    for key in body:
        if key not in _PROMPT_FIELDS:
            near = difflib.get_close_matches(key, _PROMPT_FIELDS, 1)
            hint = (
                f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(_PROMPT_FIELDS)}"
            )
            raise ValueError(f"unknown field {short(key)}{hint}")
    prompt = body.get("prompt")
    if not isinstance(prompt, str):
        raise ValueError("the field 'prompt' must be a text")
    problem = _text_problem("prompt", prompt)
    if problem:
        raise ValueError(problem)
    fields: dict[str, Any] = {"prompt": prompt.strip()}
    whole = {
        "max_tokens": (1, max_tokens),
        "deadline_ms": (1, max_deadline_ms),
        "priority": (0, MAX_PRIORITY),
    }
    for key, (low, high) in whole.items():
        value = body.get(key)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"{key} must be a whole number from {low} to {high}")
        fields[key] = value
    for key in ("stream", "reset"):
        switch = body.get(key)
        if switch is not None:
            if not isinstance(switch, bool):
                raise ValueError(f"{key} must be true or false")
            fields[key] = switch
    session = body.get("session")
    if session is not None:
        if not isinstance(session, str) or not topic_safe_id(session):
            raise ValueError(
                f"session must be 1 to {MAX_SESSION_BYTES} printable bytes without +, # and /"
            )
        fields["session"] = session
    temperature = body.get("temperature")
    if temperature is not None:
        if isinstance(temperature, bool) or not isinstance(temperature, int | float):
            raise ValueError("temperature must be a number from 0 to 2")
        if not 0 <= temperature <= 2:
            raise ValueError("temperature must be a number from 0 to 2")
        fields["temperature"] = float(temperature)
    return fields


def _text_problem(what: str, text: str) -> str | None:
    if not text.strip():
        return f"{what} is empty"
    if not encodes(text):
        return f"{what} has half a surrogate pair in it, which is no character"
    for character in text:
        if ord(character) < 32 and character not in "\t\n\r":
            return f"{what} has the control character U+{ord(character):04X} in it"
    return None
