"""How cost grows with what is asked: sensors and their events."""

from __future__ import annotations

import json
import tempfile
import threading
import time
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.engine import memory
from edgespike.config import load_config
from edgespike.model.bundled import bundled_model
from edgespike.model.container import open_container
from edgespike.prompting import Prompt, PromptTemplate, default_template
from edgespike.prompting import render as render_prompt
from edgespike.sensing import Sensing
from edgespike.sensing.picture import Picture
from edgespike.tokenizer import Tokenizer

_EPOCH = 1_700_000_000.0
_QUESTION = "Which sensors are outside their limits?"
_TICK_S = 0.001


def new_sensing(channels: int) -> Sensing:
    """A window for that many channels of Zigbee2MQTT devices, all with a limit."""
    settings = {
        "broker": {"host": "127.0.0.1"},
        "sensors": [
            {"profile": "zigbee2mqtt", "channels": {"* temperature": {"low": 10, "high": 30}}}
        ],
        "context": {"max_channels": channels},
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "edgespike.yaml"
        path.write_text(json.dumps(settings))
        return Sensing(load_config(path))


def message(device: int, turn: int) -> tuple[str, bytes]:
    """Topic and payload of a device: two channels in one JSON object."""
    value = 20 + (device + turn) % 100 / 10
    payload = b'{"temperature": %.2f, "humidity": %.1f}' % (value, 2 * value)
    return f"zigbee2mqtt/room {device // 10} sensor {device % 10}", payload


def fill(sensing: Sensing, channels: int) -> None:
    """Let every device speak once."""
    for device in range(channels // 2):
        sensing.ingest(*message(device, 0), _EPOCH)


@cache
def _bundled() -> tuple[Tokenizer, PromptTemplate]:
    container = open_container(bundled_model(), verify=False)
    vocabulary, template = container.tokenizer, container.metadata.get("edgespike.prompt_template")
    if vocabulary is None:
        raise ValueError("the bundled model has no tokenizer")
    tokenizer = Tokenizer(vocabulary)
    return tokenizer, (
        PromptTemplate.from_json(template) if template else default_template(tokenizer)
    )


def bundled_tokenizer() -> Tokenizer:
    """The bundled model's."""
    return _bundled()[0]


def look(sensing: Sensing) -> Picture:
    """The picture a minute later."""
    return sensing.picture(_EPOCH + 60)


def render(picture: Picture, budget: int) -> Prompt:
    """The prompt that the bundled model would get."""
    tokenizer, template = _bundled()
    return render_prompt(picture, _QUESTION, tokenizer=tokenizer, template=template, budget=budget)


def sensors(channels: int, messages: int, budget: int, repeats: int) -> dict[str, Any]:
    """What a message, a picture and a prompt cost among that many channels."""
    _bundled()
    before = memory()["private_bytes"]
    sensing = new_sensing(channels)
    fill(sensing, channels)
    devices = max(channels // 2, 1)
    sent = [message(n % devices, n // devices) for n in range(messages)]
    start = time.perf_counter()
    for n, (topic, payload) in enumerate(sent):
        sensing.ingest(topic, payload, _EPOCH + n / 1000)
    ingested = time.perf_counter() - start
    del sent
    grown = memory()["private_bytes"] - before
    pictures, renders = [], []
    for _ in range(repeats):
        start = time.perf_counter()
        picture = look(sensing)
        middle = time.perf_counter()
        render(picture, budget)
        end = time.perf_counter()
        pictures.append(middle - start)
        renders.append(end - middle)
    return {
        "channels": sensing.counts()["channels"],
        "message_us": 1e6 * ingested / messages,
        "events_per_s": 2 * messages / ingested,
        "picture_ms": 1000 * median(pictures),
        "render_ms": 1000 * median(renders),
        "grown_bytes": grown,
    }


def events(
    model: str, rates: list[int], seconds: float, channels: int, repeats: int
) -> dict[str, Any]:
    """Decode on one thread while another takes in sensor messages at each rate, in turns.

    Rates are messages per second, spread evenly over ticks of a millisecond. Each rate has a
    neighbour without messages to compare with.
    """
    import edgespike

    engine = edgespike.load(model, verify=False)
    sensing = new_sensing(channels)
    fill(sensing, channels)
    ids = np.random.default_rng(0).integers(0, engine.config.active_vocab, 4096)
    session = engine.session()
    for token in ids[:16]:
        session.advance([token])
    slowdown: dict[int, list[float]] = {rate: [] for rate in rates}
    achieved: dict[int, list[float]] = {rate: [] for rate in rates}
    for _ in range(repeats):
        for rate in rates:
            alone, _ = _decode_beside(session, ids, sensing, 0, seconds)
            beside, heard = _decode_beside(session, ids, sensing, rate, seconds)
            slowdown[rate].append(1 - beside / alone)
            achieved[rate].append(heard)
    return {
        "slowdown": {str(rate): median(found) for rate, found in slowdown.items()},
        "achieved_per_s": {str(rate): median(found) for rate, found in achieved.items()},
    }


def _decode_beside(
    session: Any, ids: Any, sensing: Sensing, rate: int, seconds: float
) -> tuple[float, float]:
    """Tokens per second, and messages per second that the other thread managed to take in."""
    stop = threading.Event()
    heard = [0]

    def listen() -> None:
        sent = [message(n % 50, n // 50) for n in range(1000)]
        start = time.perf_counter()
        while not stop.is_set():
            due = int((time.perf_counter() - start) * rate)
            # When it falls behind, it takes a bounded number at a time, as a socket would give.
            for n in range(heard[0], min(due, heard[0] + 1000)):
                sensing.ingest(*sent[n % 1000], _EPOCH + n / rate)
                heard[0] = n + 1
            stop.wait(_TICK_S)

    thread = threading.Thread(target=listen)
    if rate:
        thread.start()
    tokens, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        session.advance(ids[tokens % ids.size : tokens % ids.size + 1])
        tokens += 1
    stop.set()
    if rate:
        thread.join()
    return tokens / elapsed, heard[0] / elapsed
