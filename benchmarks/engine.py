"""The engine, measured from inside a process of its own: each function here is one task."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist, median
from typing import Any

import numpy as np
from numpy.typing import NDArray

import edgespike
from benchmarks.energy import Meter
from edgespike.bench.speed import read_bandwidth, weight_bytes_per_token
from edgespike.engine.model import Model
from edgespike.engine.session import Session

_WARM = 16
"""Tokens after which practically every page of the map has been touched."""


def synth(path: str, shape: str, precision: str) -> dict[str, Any]:
    """Write a model of a released shape with random weights and the published firing rates."""
    from edgespike.convert.synth import synth as write

    write(path, shape, precision)  # type: ignore[arg-type]
    return {"bytes": Path(path).stat().st_size}


def compile_kernels(isa: str) -> dict[str, Any]:
    """Fill the kernel cache, so that no measurement compiles."""
    from edgespike.engine.warmup import warm_up

    return {"seconds": warm_up(isa)[1]}


def bandwidth(threads: int) -> dict[str, Any]:
    """The physical limit: bytes per second that memory gives to this many threads."""
    return {"bytes_per_s": read_bandwidth(threads)}


def decode(
    model: str,
    threads: int,
    tokens: int,
    isa: str = "native",
    depth: int = 0,
    verify: bool = False,
    started: float | None = None,
) -> dict[str, Any]:
    """Decode `tokens` random tokens one by one behind `depth` others, without sampling.

    At least a few tokens always come before.
    """
    engine = edgespike.load(model, threads=threads, isa=isa, verify=verify)
    ids = random_ids(engine, max(depth, _WARM) + tokens)
    session = engine.session()
    session.advance(ids[:1])
    first = None if started is None else time.monotonic() - started
    for token in ids[1:_WARM]:
        session.advance([token])
    if depth > _WARM:
        session.advance(ids[_WARM:depth])
    meter = Meter()
    start = time.perf_counter()
    for token in ids[-tokens:]:
        session.advance([token])
    seconds = time.perf_counter() - start
    joules = meter.per_token(tokens)
    return {
        "tokens_per_s": tokens / seconds,
        "bytes_per_token": weight_bytes_per_token(session),
        "joules_per_token": joules,
        "rates": session.spike_rates,
        "first_token_s": first,
        **memory(),
    }


def prefill(
    model: str, threads: int, lengths: list[int], isa: str = "native", tail: int = 0
) -> dict[str, Any]:
    """Read prompts of those lengths, the logits of the last position only.

    `tail` more tokens follow the last of them one by one, to see the memory after a full window.
    """
    engine = edgespike.load(model, threads=threads, isa=isa, verify=False)
    ids = random_ids(engine, max(lengths))
    session = engine.session()
    empty = session.snapshot()
    session.advance(ids[: engine.step_positions])
    rates = {}
    for length in lengths:
        session.restore(empty)
        start = time.perf_counter()
        session.advance(ids[:length])
        rates[str(length)] = length / (time.perf_counter() - start)
    del empty
    for token in ids[:tail]:
        session.advance([token])
    return {"tokens_per_s": rates, "position": session.position, **memory()}


def depth(model: str, depths: list[int], tokens: int, repeats: int) -> dict[str, Any]:
    """Decode behind contexts of growing length, in turns: the median of `repeats` at each.

    One session grows to each depth in turn and is kept there as a snapshot.
    """
    engine = edgespike.load(model, verify=False)
    ids = random_ids(engine, max(depths) + _WARM + 2 * tokens)
    session = engine.session()
    for token in ids[:_WARM]:
        session.advance([token])
    session = engine.session()
    kept = {}
    for place in sorted(depths):
        if place > session.position:
            session.advance(ids[session.position : place])
        kept[place] = session.snapshot()
    seconds: dict[int, list[float]] = {place: [] for place in kept}
    for _ in range(repeats):
        for place, snapshot in kept.items():
            session.restore(snapshot)
            for token in ids[:2]:
                session.advance([token])
            start = time.perf_counter()
            for token in ids[2 : 2 + tokens]:
                session.advance([token])
            seconds[place].append(time.perf_counter() - start)
    return {
        "tokens_per_s": {str(p): tokens / median(s) for p, s in seconds.items()},
        "bytes_per_token": {
            str(p): weight_bytes_per_token(session) + _state_bytes(session, p) for p in seconds
        },
        "session_bytes": session.nbytes,
    }


def steps(model: str, sizes: list[int], repeats: int, threads: int = 1) -> dict[str, Any]:
    """Milliseconds of one step of that many positions with the logits of all of them, in turns."""
    engine = edgespike.load(model, threads=threads, verify=False)
    session = engine.session()
    ids = random_ids(engine, max(sizes))
    for size in sizes:
        session.advance(ids[:size], all_logits=True)
    seconds: dict[int, list[float]] = {size: [] for size in sizes}
    for _ in range(repeats):
        for size in sizes:
            start = time.perf_counter()
            session.advance(ids[:size], all_logits=True)
            seconds[size].append(time.perf_counter() - start)
    return {"milliseconds": {str(size): 1000 * median(s) for size, s in seconds.items()}}


def sessions(model: str, count: int, repeats: int, threads: int = 1) -> dict[str, Any]:
    """One token of each of `count` sessions in one step, every session at a full window."""
    engine = edgespike.load(model, threads=threads, verify=False)
    config = engine.config
    pool = engine.pool(count)
    first = pool.session()
    first.advance(random_ids(engine, config.anchors + config.window + 1))
    all_of_them = [first, *(first.fork(pool) for _ in range(count - 1))]
    ids = random_ids(engine, (repeats + 2) * count).reshape(-1, count, 1)
    for turn, tokens in enumerate(ids):
        if turn == 2:
            start = time.perf_counter()
        engine.advance_together(list(zip(all_of_them, tokens, strict=True)))
    seconds = (time.perf_counter() - start) / repeats
    return {
        "tokens_per_s": count / seconds,
        "milliseconds": 1000 * seconds,
        "bytes_each": first.nbytes,
    }


def firing(model: str, rate: float, tokens: int) -> dict[str, Any]:
    """Decode an INT8 model whose neurons fire at `rate` everywhere.

    LayerNorm gains set the rates (edgespike.convert.synth says why). They are changed in a private
    copy of the few pages that hold them, so the file stays as it is and is shared as ever.
    """
    from edgespike.convert.synth import encoder_gain
    from edgespike.model.container import open_container

    container = open_container(model, verify=False)
    data_start = container.path.stat().st_size - container.image.size
    image = np.asarray(np.memmap(container.path, np.uint8, mode="c", offset=data_start))
    container = replace(container, image=image)
    config, before = container.config, container.json("firing")

    def gain(share: float) -> float:
        return config.threshold / NormalDist().inv_cdf(1 - share)

    container.array("spike_encoder.norm.weight")[:] = encoder_gain(rate, config)
    for i in range(config.n_layers):
        container.array(f"blocks.{i}.ffn.norm.weight")[:] = gain(rate)
        container.array(f"blocks.{i}.ffn.up.scale")[:] *= gain(rate) / gain(before["ffn_up"])
    image.flags.writeable = False  # as a file's map is: kernels are compiled for those
    engine = Model(replace(container, image=image))
    ids = random_ids(engine, _WARM + tokens)
    warm = engine.session()
    for token in ids[:_WARM]:
        warm.advance([token])
    session = engine.session()
    session.advance(ids[:4])
    start = time.perf_counter()
    for token in ids[_WARM:]:
        session.advance([token])
    seconds = time.perf_counter() - start
    fired = session.spike_rates
    shares = [fired["encoder"], *fired["layers"][:-1], *fired["feed_forward"]]
    return {
        "rate": float(np.mean(shares)),
        "tokens_per_s": tokens / seconds,
        "bytes_per_token": weight_bytes_per_token(session),
    }


def memory() -> dict[str, int]:
    """Resident bytes of this process: all, and those that are no file (the map can be dropped)."""
    sizes = {}
    with open("/proc/self/status", encoding="ascii") as file:
        for line in file:
            name, _, rest = line.partition(":")
            if name in ("VmRSS", "RssAnon", "VmHWM"):
                sizes[name] = int(rest.split()[0]) * 1024
    return {
        "resident_bytes": sizes["VmRSS"],
        "private_bytes": sizes["RssAnon"],
        "peak_bytes": sizes["VmHWM"],
    }


def _state_bytes(session: Session, position: int) -> int:
    """Bytes of keys and values that a token at `position` reads: nearly all of a session."""
    config = session.model.config
    slots = config.anchors + config.window + 1
    return session.nbytes * min(position + 1, slots) // slots


def random_ids(model: Model, count: int) -> NDArray[np.int64]:
    """Tokens [count], the same every time."""
    return np.random.default_rng(0).integers(0, model.config.active_vocab, count)
