"""Model files with random weights and the published firing rates, to measure speed with.

The time of a token depends on how many bytes are read, so on shapes and firing rates, not on what
the weights say. The rates follow from the LayerNorms: whatever random projections come before, a
LayerNorm hands out elements of mean 0 and variance 1 times its gain, near enough Gaussian, so the
gain alone sets the share at or above the threshold. Only the encoder integrates over time; its
gain is found by simulating the membrane.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from edgespike.convert.export import Conversion, Progress, read_tokenizer
from edgespike.convert.quantise import store
from edgespike.errors import DataError, UsageError
from edgespike.model.config import PRECISIONS, ModelConfig, Precision
from edgespike.model.container import ContainerWriter
from edgespike.model.tensors import EMBEDDING, checkpoint_shapes

SHAPES: Mapping[str, ModelConfig] = {
    "0.8b": ModelConfig(active_vocab=55296),
    "194m": ModelConfig(
        vocab_size=48000,
        embed_dim=768,
        n_layers=12,
        n_heads=12,
        intermediate_dim=4096,
        window=256,
        active_vocab=48000,
    ),
    "tiny": ModelConfig(
        vocab_size=512,
        embed_dim=64,
        n_layers=3,
        n_heads=4,
        head_dim=16,
        intermediate_dim=192,
        window=16,
        active_vocab=512,
        context=64,
    ),
}

# Published for the 186k-step 0.8B checkpoint (arXiv 2606.03026); ffn.up by the project's design.
_ENCODER_RATE, _LAST_RATE, _UP_RATE = 0.046, 0.33, 0.10
_LAYER_RATES = (0.042, 0.073)  # first and last but one, within the published 3.6 to 7.9 %

_BRANCH = 0.5  # a branch's share of the residual stream, in standard deviations
_CALIBRATION_STEPS = 256
_CALIBRATION_CELLS = 4096


def synth(
    target: str | os.PathLike[str],
    shape: str,
    precision: Precision = "int8",
    seed: int = 0,
    *,
    tokenizer: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Conversion:
    """Write a model file of the released shape `0.8b` or `194m`, or `tiny`, with random weights.

    One `seed` gives one file. The rates it was made for are in its metadata, `edgespike.firing`.
    Raises UsageError, MissingInputError, DataError (tokenizer), UnavailableError (disk).
    """
    if shape not in SHAPES:
        raise UsageError(f"shape {shape!r} is none of {', '.join(SHAPES)}")
    if precision not in PRECISIONS:
        raise UsageError(f"precision {precision!r} is none of {', '.join(PRECISIONS)}")
    if seed < 0:
        raise UsageError(f"seed {seed} is below 0")
    config, vocabulary = SHAPES[shape], None
    if tokenizer is not None:
        vocabulary, pieces = read_tokenizer(Path(tokenizer))
        if pieces > config.vocab_size:
            raise DataError(f"{tokenizer}: has {pieces} pieces, the model {config.vocab_size}")
        config = replace(config, active_vocab=pieces)
    rates = layer_rates(config.n_layers)
    metadata = {
        "firing": {"encoder": _ENCODER_RATE, "layers": rates, "ffn_up": _UP_RATE},
        "training": {"synthetic": shape, "seed": seed},
    }
    target = Path(target)
    with ContainerWriter(
        target, config, precision, tokenizer=vocabulary, metadata=metadata
    ) as writer:
        shapes = checkpoint_shapes(config)
        total, done = sum(int(np.prod(s, dtype=np.int64)) for s in shapes.values()), 0
        for name, values in _weights(config, rates, seed):
            store(writer, name, values)
            done += values.size
            if progress is not None:
                progress(name, done, total)
    return Conversion(target, config, precision, target.stat().st_size, ())


def layer_rates(layers: int) -> list[float]:
    """Shares of spikes leaving each layer: rising within the published band, the last 0.33."""
    band = np.linspace(*_LAYER_RATES, max(layers - 1, 0))
    return [round(float(rate), 4) for rate in band] + [_LAST_RATE]


def _weights(
    config: ModelConfig, rates: list[float], seed: int
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Every tensor of the checkpoint in turn, each from a stream of its own."""
    deviations = _deviations(config, rates)
    for index, (name, shape) in enumerate(checkpoint_shapes(config).items()):
        rng = np.random.default_rng([seed, index])
        if len(shape) == 1:
            yield name, _vector(name, shape[0], config, rates)
        else:
            yield name, rng.standard_normal(shape, np.float32) * np.float32(deviations[name])


def _vector(name: str, size: int, config: ModelConfig, rates: list[float]) -> NDArray[np.float32]:
    """Norms carry the rates; gates stand at one half, decays spread over the heads."""
    if name == "spike_encoder.norm.weight":
        return np.full(size, encoder_gain(_ENCODER_RATE, config), np.float32)
    if name.endswith(".ffn.norm.weight"):
        return np.full(size, _gain(rates[int(name.split(".")[1])], config), np.float32)
    if name.endswith(".tcam.norm.weight"):
        return np.ones(size, np.float32)
    if name.endswith(".decay_raw"):
        return np.linspace(0.0, 3.0, size, dtype=np.float32)
    if name == "output_head.prior_weight":
        return np.full(size, 0.1, np.float32)
    return np.zeros(size, np.float32)


def _deviations(config: ModelConfig, rates: list[float]) -> dict[str, float]:
    """Standard deviation of each matrix's elements, from the power of what it is applied to."""
    D, F = config.embed_dim, config.intermediate_dim
    deviations = {EMBEDDING: 1.0}
    stream, fired = encoder_gain(_ENCODER_RATE, config), _ENCODER_RATE
    for i, rate in enumerate(rates):
        tcam, ffn = f"blocks.{i}.tcam.", f"blocks.{i}.ffn."
        deviations[tcam + "tcam_proj.weight"] = (fired * D) ** -0.5
        for projection in "qkv":
            deviations[f"{tcam}sparse_attn.{projection}_proj.weight"] = 1 / (stream * D**0.5)
        deviations[tcam + "out_proj.weight"] = _BRANCH * stream * D**-0.5
        # tcam.norm hands out unit variance, so the gain for a rate is the deviation for that rate.
        deviations[ffn + "up.weight"] = _gain(_UP_RATE, config) * D**-0.5
        deviations[ffn + "down.weight"] = _BRANCH * (_UP_RATE * F) ** -0.5
        stream, fired = _gain(rate, config), rate
    deviations["output_head.output_proj.weight"] = 2 / (stream * D**0.5)
    deviations["output_head.prior_net.0.weight"] = 1 / (stream * D**0.5)
    deviations["output_head.prior_net.2.weight"] = config.prior_dim**-0.5
    return deviations


def _gain(rate: float, config: ModelConfig) -> float:
    """Deviation of a Gaussian of which the share `rate` lies at or above the threshold."""
    return config.threshold / NormalDist().inv_cdf(1 - rate)


def encoder_gain(rate: float, config: ModelConfig) -> float:
    """Gain of the encoder's norm at which its membrane fires at `rate` over the first 256 tokens.

    Simulates v = clip(leak v + x, -3, 3), v = 0 after a spike, for Gaussian x, and bisects.
    """
    noise = np.random.default_rng(0).standard_normal(
        (_CALIBRATION_STEPS, _CALIBRATION_CELLS), np.float32
    )
    low, high = 0.0, 1.0
    for _ in range(14):
        gain = (low + high) / 2
        membrane, spikes = np.zeros(_CALIBRATION_CELLS, np.float32), 0
        for step in noise:
            membrane = np.clip(config.leak * membrane + gain * step, -3, 3)
            fired = membrane >= config.threshold
            spikes += int(fired.sum())
            membrane[fired] = 0
        low, high = (gain, high) if spikes < rate * noise.size else (low, gain)
    return gain
