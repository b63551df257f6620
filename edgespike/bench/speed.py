"""Speed of a model on this machine: decode and prefill, against the bandwidth of its memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgespike.engine.model import Model
from edgespike.engine.session import Session
from edgespike.engine.workers import Workers
from edgespike.model.tensors import EMBEDDING, TOKENIZER, scale_name

_BANDWIDTH_BYTES = 256 << 20  # well beyond the last-level cache of the devices in question

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class SpeedReport:
    """What `measure` found. Rates are tokens per second, traffic bytes per decoded token."""

    precision: str
    threads: int
    isa: str
    decode_tokens_per_s: float
    prefill_tokens_per_s: float
    prefill_tokens: int
    decode_tokens: int
    weight_bytes_per_token: int
    read_bandwidth_bytes_per_s: float
    bandwidth_share: float
    spike_rates: dict[str, Any]
    resident_bytes: int
    peak_resident_bytes: int


def measure(
    model: Model,
    *,
    decode: int = 64,
    prefill: int = 512,
    seed: int = 0,
    report: Report | None = None,
) -> SpeedReport:
    """Decode `decode` and prefill `prefill` random tokens, and read memory as fast as it goes.

    Random tokens are as good as text: the time depends on bytes and firing rates, not on values.
    Compilation happens before the clocks start. Best of three for the bandwidth.
    """
    say = report or (lambda _: None)
    random = np.random.default_rng(seed)
    vocab = model.config.active_vocab
    say("loading kernels")
    model.session().advance(random.integers(0, vocab, model.step_positions))
    say(f"prefill of {prefill} tokens")
    session = model.session()
    prompt = random.integers(0, vocab, prefill)
    start = time.perf_counter()
    session.advance(prompt)
    prefill_seconds = time.perf_counter() - start
    say(f"decoding {decode} tokens")
    session = model.session()
    tokens = random.integers(0, vocab, decode + 4)
    for token in tokens[:4]:
        session.advance([token])
    start = time.perf_counter()
    for token in tokens[4:]:
        session.advance([token])
    decode_seconds = time.perf_counter() - start
    say("reading memory")
    bandwidth = read_bandwidth(model.threads)
    traffic = weight_bytes_per_token(session)
    resident, peak = resident_bytes()
    return SpeedReport(
        precision=model.container.precision,
        threads=model.threads,
        isa=model.isa,
        decode_tokens_per_s=decode / decode_seconds,
        prefill_tokens_per_s=prefill / prefill_seconds,
        prefill_tokens=prefill,
        decode_tokens=decode,
        weight_bytes_per_token=traffic,
        read_bandwidth_bytes_per_s=bandwidth,
        bandwidth_share=traffic * decode / decode_seconds / bandwidth,
        spike_rates=session.spike_rates,
        resident_bytes=resident,
        peak_resident_bytes=peak,
    )


def read_bandwidth(threads: int) -> float:
    """Bytes per second that `threads` threads read from memory in sequence, best of three."""
    from edgespike.kernels.bandwidth import read_all

    data = np.ones(_BANDWIDTH_BYTES // 8, np.int64)
    workers = Workers(threads)

    def read(thread: int, count: int, _: NDArray[np.int64]) -> None:
        read_all(data[data.size * thread // count : data.size * (thread + 1) // count])

    try:
        workers.run(read)
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            workers.run(read)
            seconds.append(time.perf_counter() - start)
    finally:
        workers.close()
    return data.nbytes / min(seconds)


def weight_bytes_per_token(session: Session) -> int:
    """Bytes of weights that one decoded token of `session` read on average.

    Dense-fed matrices whole, spike-fed ones in proportion to the firing of their inputs, one row of
    the embedding. `fp32-rowmajor` fetches single elements of its spike-fed matrices, so that nearly
    all of their cache lines are read: it counts them whole.
    """
    container, rates = session.model.container, session.spike_rates
    fed = [rates["encoder"], *rates["layers"][:-1]]
    shares = {f"blocks.{i}.tcam.tcam_proj.weight": rate for i, rate in enumerate(fed)}
    for i, rate in enumerate(rates["feed_forward"]):
        shares[f"blocks.{i}.ffn.down.weight"] = rate
    if container.precision == "fp32-rowmajor":
        shares = {}
    shares[EMBEDDING] = 1 / session.model.config.vocab_size
    shares[scale_name(EMBEDDING)] = shares[TOKENIZER] = 0.0
    return int(sum(shares.get(t.name, 1.0) * t.nbytes for t in container.tensors.values()))


def resident_bytes() -> tuple[int, int]:
    """Resident memory of this process now and at its peak, in bytes, the mapped model included."""
    values = {"VmRSS": 0, "VmHWM": 0}
    with open("/proc/self/status", encoding="ascii") as file:
        for line in file:
            name, _, rest = line.partition(":")
            if name in values:
                values[name] = int(rest.split()[0]) * 1024
    return values["VmRSS"], values["VmHWM"]
