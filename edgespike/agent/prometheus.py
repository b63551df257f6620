"""Metrics for Prometheus: its text format 0.0.4, over just enough HTTP.

Source of the format: prometheus.io/docs/instrumenting/exposition_formats. The page is made by the
service whenever it has new figures; serving it touches nothing else, so that whatever clients do,
the daemon goes on. Their number, their time and what they may send are bounded.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from edgespike.config import Endpoint
from edgespike.errors import UnavailableError

MAX_CLIENTS = 16
MAX_REQUEST = 8192
CLIENT_S = 5.0
"""Within so many seconds a client has asked and read, or it is cut off."""

_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class _Family(NamedTuple):
    """A metric: where its value is in the facts, and what makes it one of a base unit."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    path: str
    scale: float = 1.0


_FAMILIES = (
    _Family("uptime_seconds", "gauge", "Time since the start.", "uptime_s"),
    _Family("cpu_seconds_total", "counter", "Processor time used.", "cpu_s"),
    _Family("resident_memory_bytes", "gauge", "Resident memory, with the model.", "rss_mb", 2**20),
    _Family(
        "resident_memory_max_bytes", "gauge", "Most resident memory so far.", "max_rss_mb", 2**20
    ),
    _Family("temperature_celsius", "gauge", "Temperature of the processor.", "temperature_c"),
    _Family("prompts_waiting", "gauge", "Prompts in the inbox.", "waiting"),
    _Family("alerts_waiting", "gauge", "Alerts that wait for their answer.", "alerts_waiting"),
    _Family("replies_unconfirmed", "gauge", "Replies the broker hasn't confirmed.", "unconfirmed"),
    _Family("paused", "gauge", "Whether prompts are kept waiting.", "paused"),
    _Family("busy", "gauge", "Whether an answer is being made.", "busy"),
    _Family(
        "recent_tokens_per_second", "gauge", "Mean over recent answers.", "recent.tokens_per_s"
    ),
    _Family("sensor_channels", "gauge", "Channels known.", "sensors.channels"),
    _Family("group_members_online", "gauge", "Daemons of the group.", "group.members_online"),
)
_QUANTILES = {"0.5": "first_token_p50_ms", "0.95": "first_token_p95_ms"}


def page(node: str, facts: Mapping[str, Any]) -> bytes:
    """The metrics of a node in the text format."""
    lines = [line for family in _samples(facts) for line in _lines(node, *family)]
    return ("\n".join(lines) + "\n").encode()


def _samples(facts: Mapping[str, Any]) -> Iterator[tuple[_Family, list[tuple[str, str, Any]]]]:
    """Each family, and its samples: label, label's value, value."""
    for family in _FAMILIES:
        yield family, [("", "", _at(facts, family.path))]
    recent = facts.get("recent") or {}
    yield (
        _Family(
            "recent_first_token_seconds", "gauge", "First-token time of recent answers.", "", 0.001
        ),
        [("quantile", quantile, recent.get(key)) for quantile, key in _QUANTILES.items()],
    )
    yield (
        _Family("events_total", "counter", "What happened since the start, by kind.", ""),
        [("event", name, count) for name, count in facts.get("counters", {}).items()],
    )
    sensors = {name: n for name, n in facts.get("sensors", {}).items() if name != "channels"}
    yield (
        _Family("sensor_messages_total", "counter", "What became of sensor messages.", ""),
        [("outcome", name, count) for name, count in sensors.items()],
    )
    rates = facts.get("spike_rates") or {"layers": []}
    yield (
        _Family("firing_rate", "gauge", "Share of neurons that fired in the latest answer.", ""),
        [
            ("layer", "encoder", rates.get("encoder")),
            *(("layer", str(number), rate) for number, rate in enumerate(rates["layers"])),
        ],
    )
    model = facts.get("model")
    yield (
        _Family("model_info", "gauge", "The model that answers.", ""),
        [("model", model, 1)] if model else [],
    )


def _lines(node: str, family: _Family, samples: list[tuple[str, str, Any]]) -> Iterator[str]:
    known = [sample for sample in samples if sample[2] is not None]
    if not known:
        return
    name = f"edgespike_{family.name}"
    yield f"# HELP {name} {family.help}"
    yield f"# TYPE {name} {family.kind}"
    for label, value, figure in known:
        more = f',{label}="{_escaped(value)}"' if label else ""
        yield f'{name}{{node="{_escaped(node)}"{more}}} {float(figure) * family.scale:.12g}'


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _at(facts: Mapping[str, Any], path: str) -> Any:
    value: Any = facts
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


class Exposition:
    """Serves the latest page, in a thread of its own."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Raises UnavailableError when the address can't be had."""
        family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
        try:
            self._socket = socket.create_server((endpoint.host, endpoint.port), family=family)
        except OSError as error:
            raise UnavailableError(
                f"prometheus.listen: {endpoint} can't be had: {error.strerror or error}"
            ) from error
        self.port: int = self._socket.getsockname()[1]
        self._page = b""
        self._clients = 0

    def start(self) -> None:
        """Begin to serve."""
        serve = threading.Thread(
            target=lambda: asyncio.run(self._serve()), name="prometheus", daemon=True
        )
        serve.start()

    def update(self, page: bytes) -> None:
        """Serve this page from now on."""
        self._page = page

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._client, sock=self._socket, limit=MAX_REQUEST)
        async with server:
            await server.serve_forever()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._clients >= MAX_CLIENTS:
            writer.transport.abort()
            return
        self._clients += 1
        try:
            async with asyncio.timeout(CLIENT_S):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._response(head))
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            writer.transport.abort()
        finally:
            self._clients -= 1

    def _response(self, head: bytes) -> bytes:
        method, _, rest = head.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        status, body, kind = "200 OK", self._page, _CONTENT_TYPE
        if method not in (b"GET", b"HEAD"):
            status, body, kind = "405 Method Not Allowed", b"GET only\n", "text/plain"
        elif path != b"/metrics":
            status, body, kind = "404 Not Found", b"/metrics is here\n", "text/plain"
        lines = (
            f"HTTP/1.1 {status}",
            f"Content-Type: {kind}",
            f"Content-Length: {len(body)}",
            "Connection: close",
        )
        return "\r\n".join((*lines, "", "")).encode() + (b"" if method == b"HEAD" else body)
