"""What the daemon says about itself: structured log events and counters.

One event is one line, whatever was in the message that caused it: characters that could forge a
line or drive a terminal are escaped, long texts are cut, and fields that hold secrets are hidden.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator, MutableMapping
from typing import Any, Literal, TextIO, cast


@contextlib.contextmanager
def _without(name: str) -> Iterator[None]:
    """As if the package `name` were not installed, unless it is imported already."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]


# For tracebacks, which the daemon doesn't draw, structlog imports rich: half of its own time.
with _without("rich"):
    import structlog

MAX_TEXT = 2000
"""Characters of one field that reach the log."""

_SECRET_FIELDS = frozenset({"password", "secret", "token", "credentials", "authorization"})
LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
"""What may be asked for, and what the standard module calls it."""
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3}
"""What syslog(3) calls it."""


def printable(text: str) -> str:
    """`text` with control, bidirectional and other unprintable characters escaped, and cut."""
    cut = text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "..."
    if cut.isprintable():
        return cut
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode()
        for c in cut
    )


def _harmless(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, bool | int | float) or value is None:
        return value
    if isinstance(value, list | tuple):
        return [_harmless(item) for item in value]
    if isinstance(value, dict):
        return {printable(str(key)): _harmless(item) for key, item in value.items()}
    return printable(str(value))


def escape_fields(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """structlog processor: make every field harmless to print, and hide secrets."""
    return {
        key: "***" if key in _SECRET_FIELDS else _harmless(value) for key, value in event.items()
    }


def _is_journal(stream: TextIO) -> bool:
    """Whether systemd reads this stream into its journal: systemd.exec(5), $JOURNAL_STREAM."""
    try:
        here = os.fstat(stream.fileno())
    except OSError:  # nothing but memory, in tests
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{here.st_dev}:{here.st_ino}"


def _with_priority(render: structlog.typing.Processor) -> structlog.typing.Processor:
    """Lines as the journal takes them, sd-daemon(3), so that `journalctl -p warning` finds what it
    should. It takes the prefix away again.
    """

    def rendered(logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
        priority = _PRIORITIES.get(str(event.get("level")), _PRIORITIES["error"])
        return f"<{priority}>{render(logger, method, event)!s}"

    return rendered


class _Output:
    """A stream that a full disk or a reader who left can't turn into a failure of the daemon."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, or lose the line: there is nobody left to tell."""
        try:
            return self._stream.write(text)
        except OSError:
            return 0

    def flush(self) -> None:
        """Flush, or lose what was written."""
        with contextlib.suppress(OSError):
            self._stream.flush()


class _Forward(logging.Handler):
    """Sends what libraries log with the standard module into our events."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger(source=record.name)
        log.log(record.levelno, "library", message=record.getMessage())


def configure(
    level: Literal["debug", "info", "warning", "error"] = "info",
    format: Literal["auto", "json", "console"] = "auto",
    stream: TextIO | None = None,
) -> None:
    """Set up logging for this process, to `stream` (standard error when None)."""
    out = stream or sys.stderr
    console = format == "console" or (format == "auto" and out.isatty())
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=out.isatty())
        if console
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            escape_fields,
            _with_priority(renderer) if _is_journal(out) else renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, _Output(out))),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(
        handlers=[_Forward()], level=max(LEVELS[level], logging.WARNING), force=True
    )


class Counters:
    """Counts that several threads add to; a snapshot is what the metrics topic carries."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def add(self, name: str, count: int = 1) -> None:
        """Add `count` to `name`."""
        with self._lock:
            self._counts[name] += count

    def snapshot(self) -> dict[str, int]:
        """All counts, by name."""
        with self._lock:
            return dict(sorted(self._counts.items()))
