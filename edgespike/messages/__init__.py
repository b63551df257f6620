"""What travels: prompt requests and replies, and how each becomes bytes.

Knows no transport. Everything that arrives is untrusted: each field has a type and a limit,
and what is wrong is said in one line that a person at the other end of a topic can act on.
"""

from __future__ import annotations

from edgespike.messages.prompts import (
    DEFAULT_PRIORITY,
    MAX_ID_BYTES,
    MAX_PRIORITY,
    MAX_SESSION_BYTES,
    BadPrompt,
    PromptRequest,
    correlation_id,
    new_id,
    parse_cancel,
    parse_prompt,
    topic_safe_id,
)
from edgespike.messages.replies import (
    Accepted,
    Answer,
    Chunk,
    ContextUse,
    ErrorCode,
    ErrorReply,
    FinishReason,
    Progress,
    Reply,
    Timing,
    Usage,
    parse_reply,
    shortened,
)

__all__ = [
    "DEFAULT_PRIORITY",
    "MAX_ID_BYTES",
    "MAX_PRIORITY",
    "MAX_SESSION_BYTES",
    "Accepted",
    "Answer",
    "BadPrompt",
    "Chunk",
    "ContextUse",
    "ErrorCode",
    "ErrorReply",
    "FinishReason",
    "Progress",
    "PromptRequest",
    "Reply",
    "Timing",
    "Usage",
    "correlation_id",
    "new_id",
    "parse_cancel",
    "parse_prompt",
    "parse_reply",
    "shortened",
    "topic_safe_id",
]
