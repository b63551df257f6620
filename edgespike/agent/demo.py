"""The whole path in one command: broker, sensors and daemon as real processes, and a question."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgespike.agent.broker import EmbeddedBroker
from edgespike.agent.client import Client, Question, broker_from_url, displayed
from edgespike.agent.simulate import SETTINGS, Simulator
from edgespike.config import load_config
from edgespike.errors import EdgespikeError, UnavailableError, error_of
from edgespike.messages import Answer, Chunk, Reply
from edgespike.prompting import clean
from edgespike.sensing import Sensing
from edgespike.sensing.picture import ChannelView, Picture

QUESTION = "What is the kitchen temperature?"
NODE = "demo"
START_WITHIN_S = 180.0
"""Compiling all kernels on a slow board, before they are cached."""

_SETTLE_S = 5.0


class Demo:
    """A running demo. Use as a context manager: all processes and files are gone afterwards."""

    def __init__(self, model: Path | None = None, port: int = 0) -> None:
        """`model` None is the bundled one; `port` 0 any free one."""
        self._model = model
        self._port = port
        self._stack = ExitStack()

    def __enter__(self) -> Demo:
        with ExitStack() as stack:
            directory = Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="edgespike-demo-"))
            )
            self.broker = stack.enter_context(EmbeddedBroker(self._port))
            path = directory / "edgespike.yaml"
            path.write_text(_settings(self.broker.port, self._model, directory))
            settings = load_config(path)
            self._sensing = Sensing(settings)
            self._log = directory / "daemon.log"
            self._daemon = stack.enter_context(_daemon(path, self._log))
            self._simulator = stack.enter_context(Simulator(settings.broker, self._hear))
            self._client = stack.enter_context(Client(broker_from_url(self.broker.url), NODE))
            self._client.connect(10.0)
            self._wait_online()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stack.close()

    def picture(self) -> Picture:
        """What the simulated sensors say now, through the same profiles as in the daemon."""
        self._simulator.heard.wait(_SETTLE_S)
        return self._sensing.picture(time.time())

    def ask(self, text: str, console: Console) -> Answer:
        """Ask the daemon; prints the answer as it comes."""
        printed = False

        def show(reply: Reply) -> None:
            nonlocal printed
            if isinstance(reply, Chunk):
                printed = True
                console.print(Text(displayed(reply.text)), end="", soft_wrap=True)

        answer = self._client.ask(Question(text, NODE, timeout_s=60.0), show)
        console.print(Text("" if printed else displayed(answer.text)), soft_wrap=True)
        return answer

    def _hear(self, topic: str, payload: bytes) -> None:
        self._sensing.ingest(topic, payload, time.time())

    def _wait_online(self) -> None:
        online = self._client.wait_for(
            "online", START_WITHIN_S, alive=lambda: self._daemon.poll() is None
        )
        if online:
            return
        lines = self._log.read_text(errors="replace").splitlines() or ["it said nothing"]
        problem = lines[-1].removeprefix("edgespike: ")
        kind = error_of(self._daemon.poll()) or UnavailableError
        raise kind(f"the daemon did not start: {problem}")


def run(
    model: Path | None, question: str | None, port: int, console: Console, *, as_json: bool = False
) -> None:
    """Start everything, show the sensors, ask `question` or whatever is typed, and clean up.
    `as_json`: one JSON object on standard output; `console` gets the rest."""
    began = time.monotonic()
    console.print("Starting; the very first start compiles the kernels, for a minute or so ...")
    with Demo(model, port) as demo:
        console.print(
            f"Broker, simulated sensors and the daemon run"
            f" ({demo.broker.url}, {time.monotonic() - began:.1f} s to start)."
        )
        if as_json:
            _report(demo, question or QUESTION, console, time.monotonic() - began)
            return
        console.print(table(demo.picture()))
        if question is None and sys.stdin.isatty():
            _converse(demo, console)
        else:
            _question_and_answer(demo, question or QUESTION, console)


def _report(demo: Demo, question: str, console: Console, start_s: float) -> None:
    channels = [asdict(channel) for channel in demo.picture().channels]
    answer = json.loads(demo.ask(question, console).to_bytes())
    report = {
        "broker": demo.broker.url,
        "start_s": round(start_s, 3),
        "channels": channels,
        "question": question,
        "answer": answer,
    }
    print(json.dumps(report, ensure_ascii=False))


def _converse(demo: Demo, console: Console) -> None:
    console.print(f'Ask about the sensors, for example "{QUESTION}". An empty line ends.')
    while True:
        try:
            text = console.input("[bold]> [/bold]").strip()
        except (EOFError, KeyboardInterrupt):
            text = ""
        if not text:
            return
        try:
            _question_and_answer(demo, text, console, echo=False)
        except EdgespikeError as error:
            console.print(Text(f"error: {error}", style="red"))


def _question_and_answer(demo: Demo, text: str, console: Console, echo: bool = True) -> None:
    if echo:
        console.print(Text.assemble(("Question: ", "bold"), clean(text)), soft_wrap=True)
    console.print(Text("Answer: ", style="bold"), end="")
    answer = demo.ask(text, console)
    timing = answer.timing
    facts = [f"{answer.usage.prompt_tokens} tokens read, {answer.usage.completion_tokens} written"]
    if timing.first_token_ms is not None:
        facts.append(f"first token after {timing.first_token_ms:.0f} ms")
    if timing.tokens_per_s is not None:
        facts.append(f"{timing.tokens_per_s:.0f} tokens/s")
    facts.append(f"{timing.total_ms:.0f} ms in all ({answer.finish_reason})")
    console.print(Text(", ".join(facts), style="dim"), soft_wrap=True)


def table(picture: Picture) -> Table:
    """The sensor picture for people."""
    result = Table(title="Sensor picture", title_justify="left")
    for name in ("channel", "value", "trend", "limits", "age"):
        result.add_column(name, justify="right" if name in ("value", "age") else "left")
    for channel in picture.channels:
        result.add_row(*_row(channel), style="red" if channel.limit in ("low", "high") else "")
    return result


def _row(channel: ChannelView) -> Iterator[Text]:
    value = "-" if channel.text is None else f"{clean(channel.text)} {clean(channel.unit)}".strip()
    yield Text(clean(channel.name))
    yield Text(value)
    yield Text(channel.trend or "")
    bounds = [f"from {channel.low}"] if channel.low else []
    bounds += [f"to {channel.high}"] if channel.high else []
    alarm = f" {channel.limit.upper()}" if channel.limit in ("low", "high") else ""
    yield Text(" ".join(bounds) + alarm)
    yield Text("" if channel.age_s is None else f"{channel.age_s:.0f} s")


def _settings(port: int, model: Path | None, directory: Path) -> str:
    # JSON strings are YAML strings.
    chosen = "" if model is None else f"model: {{path: {json.dumps(str(model.resolve()))}}}\n"
    return (
        f"node: {NODE}\nbroker: {{host: 127.0.0.1, port: {port}}}\n{chosen}"
        f"state_dir: {json.dumps(str(directory))}\nlogging: {{format: json}}\n{SETTINGS}"
    )


@contextmanager
def _daemon(settings: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "edgespike", "run", "--config", str(settings)],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            # A Ctrl-C in the terminal is the demo's to handle.
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
