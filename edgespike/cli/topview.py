"""What `edgespike top` draws."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgespike.agent.watch import View
from edgespike.messages import Answer
from edgespike.telemetry import printable

_COLOURS = {"online": "green", "init": "yellow", "stopped": "yellow", "offline": "red"}
_BARS = "▁▂▃▄▅▆▇█"
_FULL_BAR = 0.5
"""Firing rate of the highest bar: spiking layers stay far below it."""
_MAX_LAYERS = 64
_MAX_ANSWER = 400
_MAX_COUNTS = 40
_MAX_NAME = 40


def facts(view: View) -> dict[str, Any]:
    """The view as a JSON object."""
    return {
        "node": view.node,
        "status": view.status,
        "connected": view.lost is None,
        "metrics": view.metrics,
        "metrics_age_s": None if view.heard is None else round(time.monotonic() - view.heard, 1),
        "last": [dataclasses.asdict(answer) for answer in view.answers],
    }


def draw(view: View) -> RenderableType:
    """The view for a screen of any width."""
    metrics = view.metrics or {}
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for name, value in _rows(metrics):
        table.add_row(name, value)
    return Group(_heading(view), Text(""), table, Text(""), *map(_answer, view.answers))


def _heading(view: View) -> Text:
    status = printable(view.status or "unknown")
    line = Text.assemble(
        (f"edgespike {printable(view.node)} ", "bold"), (status, _COLOURS.get(status, "magenta"))
    )
    if view.lost is not None:
        line.append(f"  no connection: {printable(view.lost)}", "red")
    elif view.metrics is None:
        line.append("  no metrics yet", "dim")
    elif view.heard is None:
        line.append("  metrics that the broker kept", "dim")
    else:
        line.append(f"  metrics {time.monotonic() - view.heard:.0f} s ago", "dim")
    return line


def _rows(metrics: Mapping[str, Any]) -> Iterator[tuple[str, RenderableType]]:
    for name, words in _facts(metrics):
        yield name, Text(words)
    for name in ("sensors", "counters"):
        yield name, _counts(_object(metrics, name))


def _facts(metrics: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    timing, recent = _object(metrics, "last_timing"), _object(metrics, "recent")
    state = "paused" if metrics.get("paused") is True else "idle"
    if metrics.get("busy") is True:
        state = "answering"
    yield "up", f"{_duration(_number(metrics, 'uptime_s'))}, {state}"
    waiting, unconfirmed = _show(metrics, "waiting"), _show(metrics, "unconfirmed")
    yield "queue", f"{waiting} waiting, {unconfirmed} answers unconfirmed"
    context = _object(metrics, "context")
    if context.get("mode") == "warm":
        sensors, behind = _show(context, "sensors"), _show(context, "behind")
        yield (
            "context",
            f"warm: {sensors} sensors in {_show(context, 'tokens')} tokens, {behind} new",
        )
    count = _show(recent, "answers")
    for label, key, unit in (
        ("tokens/s", "tokens_per_s", ""),
        ("first token", "first_token_ms", " ms"),
    ):
        last, mean = _show(timing, key, unit, 1), _show(recent, key, unit, 1)
        yield label, f"{last} last, {mean} mean of {count}"
    yield "memory", f"{_show(metrics, 'rss_mb', ' MiB')}, {_show(metrics, 'max_rss_mb')} at most"
    heat = _show(metrics, "temperature_c", " °C", 1)  # not every board has a thermometer
    yield "processor", _spent(metrics) if heat == "-" else f"{heat}, {_spent(metrics)}"
    yield "firing", _firing(_object(metrics, "spike_rates"))


def _answer(answer: Answer) -> Text:
    shown = " ".join(answer.text.split())
    cut = shown if len(shown) <= _MAX_ANSWER else shown[:_MAX_ANSWER] + "..."
    return Text.assemble(
        (f"{printable(answer.id)} ", "cyan"),
        printable(cut),
        (f"  {answer.finish_reason}, {answer.timing.total_ms:.0f} ms", "dim"),
    )


def _firing(rates: Mapping[str, Any]) -> str:
    layers = rates.get("layers")
    known = [r for r in layers[:_MAX_LAYERS] if _is_number(r)] if isinstance(layers, list) else []
    if not known:
        return "-"
    bars = "".join(_BARS[_step(rate)] for rate in known)
    mean = 100 * sum(known) / len(known)
    return f"{bars}  layers {mean:.1f} % in the mean, encoder {_percent(rates.get('encoder'))}"


def _step(rate: float) -> int:
    return max(0, min(len(_BARS) - 1, int(rate / _FULL_BAR * len(_BARS))))


def _percent(value: object) -> str:
    return f"{100 * float(value):.1f} %" if _is_number(value) else "-"


def _counts(counts: Mapping[str, Any]) -> RenderableType:
    """In columns, so that no line breaks between a name and its number."""
    shown = [(str(k)[:_MAX_NAME], v) for k, v in counts.items() if _is_number(v)][:_MAX_COUNTS]
    each = [Text(f"{printable(name)} {_whole(value)}") for name, value in shown]
    return Columns(each, padding=(0, 2)) if each else Text("-")


def _whole(value: float) -> str:
    """All digits of a number that counts something."""
    return f"{value:.0f}" if value == int(value) else f"{value:g}"


def _spent(metrics: Mapping[str, Any]) -> str:
    spent, up = _number(metrics, "cpu_s"), _number(metrics, "uptime_s")
    return "-" if spent is None or not up else f"{100 * spent / up:.0f} % of a core since the start"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return (
        f"{days} d {hours:02}:{minutes:02}:{rest:02}" if days else f"{hours}:{minutes:02}:{rest:02}"
    )


def _show(source: Mapping[str, Any], key: str, unit: str = "", digits: int = 0) -> str:
    value = _number(source, key)
    return "-" if value is None else f"{value:.{digits}f}{unit}"


def _number(source: Mapping[str, Any], key: str) -> float | None:
    value = source.get(key)
    return float(value) if _is_number(value) else None


def _is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value from the network can be shown as a number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 1e15 and math.isfinite(value)


def _object(source: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = source.get(key)
    return value if isinstance(value, dict) else {}
