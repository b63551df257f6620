"""How long it takes until there is an answer: from a new process to its first token."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any


def import_time() -> dict[str, Any]:
    """Seconds of `import edgespike`, the process being there already."""
    start = time.perf_counter()
    import edgespike  # noqa: F401

    return {"seconds": time.perf_counter() - start, "modules": len(sys.modules)}


def first_token(model: str | None, verify: bool, started: float) -> dict[str, Any]:
    """From the start of the process to the logits of one token. None: the bundled model."""
    import edgespike
    from edgespike.model.bundled import bundled_model

    engine = edgespike.load(model or bundled_model(), verify=verify)
    engine.session().advance([1])
    return {"seconds": time.monotonic() - started}


def prompt(model: str, channels: int, tokens: int) -> dict[str, Any]:
    """The first token of an answer about that many sensors, with nothing read in advance."""
    import edgespike
    from benchmarks.growth import fill, look, new_sensing, render

    engine = edgespike.load(model, verify=False)
    engine.session().advance(list(range(1, 1 + engine.step_positions)))
    session = engine.session()
    session.restore(session.snapshot())
    sensing = new_sensing(channels)
    fill(sensing, channels)
    start = time.perf_counter()
    ids = [i % engine.config.vocab_size for i in render(look(sensing), tokens).ids]
    rendered = time.perf_counter()
    session.advance(ids)
    end = time.perf_counter()
    return {
        "milliseconds": 1000 * (end - start),
        "render_ms": 1000 * (rendered - start),
        "prompt_tokens": len(ids),
    }


def warm_prompt(model: str, channels: int, questions: int) -> dict[str, Any]:
    """The first token of answers about that many sensors, the picture read in advance: with nothing
    new, and right after a sensor changed. As in the daemon, without its connections."""
    import edgespike
    from benchmarks.growth import bundled_tokenizer, fill, message, new_sensing
    from edgespike.agent.answering import Answerer, Answering
    from edgespike.agent.contexts import Contexts
    from edgespike.agent.inbox import Job
    from edgespike.agent.journal import Key
    from edgespike.config import Config, ContextSettings, PromptSettings
    from edgespike.messages import PromptRequest
    from edgespike.profiles import BoardProfile
    from edgespike.prompting import default_template

    engine = edgespike.load(model, verify=False)
    if not engine.has_tokenizer:  # a random model has no words of its own
        engine.__dict__["tokenizer"] = bundled_tokenizer()
    template = default_template(engine.tokenizer)
    sensing = new_sensing(channels)
    fill(sensing, channels)
    with tempfile.TemporaryDirectory(prefix="edgespike-bench-") as folder:
        config = Config(
            node="bench",
            state_dir=Path(folder),
            board=BoardProfile(idle_cpu_share=1.0),
            context=ContextSettings(mode="warm"),
            prompts=PromptSettings(grounding="report"),
        )
        contexts = Contexts(engine, template, sensing, lambda: config)
        answerer = Answerer(engine, template, contexts, lambda: config)

        def ask() -> tuple[float, Answering]:
            request = PromptRequest("bench", "What is the room 0 sensor 3 temperature?", 1)
            start, end = time.monotonic(), float("inf")
            job = Job(request, Key("bench", "r"), b"", None, start, end, end)
            begun = answerer.begin(job, lambda *_: None)
            assert isinstance(begun, Answering)
            while begun.reply is None:
                answerer.step([begun])
            took = time.monotonic() - start
            answerer.finish(begun)
            return took, begun

        start = time.monotonic()
        while contexts.idle() < 0.5:
            pass
        absorbed = time.monotonic() - start
        ask()
        still = [ask() for _ in range(questions)]
        news = []
        for turn in range(1, 1 + questions):
            sensing.ingest(*message(2, 30 * turn), time.time())
            news.append(ask())
    prepared = still[0][1].prepared
    return {
        "milliseconds": 1000 * median(took for took, _ in still),
        "changed_ms": 1000 * median(took for took, _ in news),
        "prompt_tokens": len(prepared.ids),
        "absorbed_tokens": prepared.absorbed,
        "key_frame_s": absorbed,
    }


def daemon(idle_s: float) -> dict[str, Any]:
    """Seconds from starting the daemon with the bundled model until it reports READY, and the share
    of a core that it uses while nothing happens."""
    from edgespike.agent.broker import EmbeddedBroker

    with tempfile.TemporaryDirectory(prefix="edgespike-bench-") as folder, EmbeddedBroker() as mqtt:
        settings = Path(folder) / "edgespike.yaml"
        settings.write_text(
            json.dumps(
                {
                    "node": "bench",
                    "broker": {"host": "127.0.0.1", "port": mqtt.port},
                    "state_dir": folder,
                    "logging": {"level": "error"},
                }
            )
        )
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
            notices.bind(f"{folder}/notify")
            notices.settimeout(120)
            start = time.perf_counter()
            process = subprocess.Popen(
                [sys.executable, "-m", "edgespike", "run", "--config", str(settings)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "NOTIFY_SOCKET": f"{folder}/notify"},
            )
            try:
                while b"READY=1" not in notices.recv(4096):
                    pass
                ready = time.perf_counter() - start
                time.sleep(0.5)
                before = _cpu_seconds(process.pid)
                time.sleep(idle_s)
                idle = (_cpu_seconds(process.pid) - before) / idle_s
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(30)
    return {"ready_s": ready, "idle_core_share": idle}


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / float(os.sysconf("SC_CLK_TCK"))
