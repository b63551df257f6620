"""From settings to an answerer that is ready: the board's CPUs, the model, the warm-up."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import structlog

from edgespike.agent.answering import Answerer
from edgespike.agent.contexts import Contexts
from edgespike.config import Config
from edgespike.model.bundled import bundled_model
from edgespike.prompting import PromptTemplate, default_template
from edgespike.sensing import Sensing

_WARM_TOKENS = 33
"""Enough to run the kernel for a full chunk of prefill and for one token."""


def pin(settings: Config) -> None:
    """Keep this process on the board's CPUs. A refusal (a container, systemd's CPUAffinity) only
    costs speed: it is logged.
    """
    cpus = settings.board.pin
    # Where systemd's CPUAffinity did it, it forbids doing it again.
    if not cpus or os.sched_getaffinity(0) == set(cpus):
        return
    try:
        os.sched_setaffinity(0, cpus)
    except OSError as error:
        structlog.get_logger().warning("not_pinned", cpus=cpus, reason=error.strerror)


def load_answerer(
    settings: Config,
    current: Callable[[], Config],
    sensing: Sensing,
    catch_up: Callable[[], None],
) -> Answerer:
    """Map the model, check and warm it. `current` gives the settings after a reload; `catch_up`
    waits for sensor messages that have arrived and aren't in `sensing` yet.

    Raises MissingInputError, DataError or UnavailableError.
    """
    from edgespike.engine.model import load

    log = structlog.get_logger()
    path = bundled_model() if settings.model.path == "bundled" else Path(settings.model.path)
    model = load(
        path,
        threads=settings.threads,
        isa=settings.isa,
        kv=settings.kv,
        verify=settings.model.verify,
        budget=settings.board.memory_mb << 20,
        lock=settings.board.lock_memory,
        huge_pages=settings.board.huge_pages,
    )
    precision = model.container.precision
    if precision != settings.board.precision:
        log.warning("precision", model=precision, board=settings.board.precision)
    tokenizer = model.tokenizer
    facts = model.container.metadata.get("edgespike.prompt_template")
    template = PromptTemplate.from_json(facts) if facts else default_template(tokenizer)
    if settings.model.warmup:
        warm = [tokenizer.bos_id] * _WARM_TOKENS
        for _piece in model.generate(warm, max_tokens=2):
            pass
    log.info("model", path=str(path), precision=precision, kv=model.kv, threads=settings.threads)
    contexts = Contexts(model, template, sensing, current, catch_up)
    return Answerer(model, template, contexts, current)
