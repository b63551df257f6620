"""Models for the tests of the engine: the golden ones converted, and random ones of any shape."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from model_files import unpacked
from numpy.typing import NDArray

import edgespike
from edgespike.convert.quantise import store
from edgespike.model.config import ModelConfig, Precision
from edgespike.model.container import Container, ContainerWriter, open_container
from edgespike.model.tensors import PRIOR_WEIGHT, TOKENIZER, checkpoint_shapes, scale_name

GOLDEN = Path(__file__).parent / "data" / "golden"
CASES = ("small-08b", "small-194m", "silent-positions", "static-prior", "decay-only")

Weights = dict[str, NDArray[np.float32]]


def golden(case: str, precision: Precision, folder: Path) -> Path:
    """The golden checkpoint `case`, converted."""
    path = folder / f"{case}-{precision}.safetensors"
    edgespike.convert(GOLDEN / case / "checkpoint.pt", path, precision=precision)
    return path


def golden_arrays(case: str) -> dict[str, NDArray[np.generic]]:
    """Inputs and outputs of the public implementation for `case`."""
    with np.load(GOLDEN / case / "expected.npz") as data:
        return dict(data)


def random_weights(config: ModelConfig, seed: int = 0, gain: float = 0.62) -> Weights:
    """A checkpoint that fires; `gain` scales the norms: 0.62 is about 5 %, 0.3 nearly silent."""
    rng = np.random.default_rng(seed)
    weights: Weights = {}
    for name, shape in checkpoint_shapes(config).items():
        if name == PRIOR_WEIGHT:
            values = np.full(shape, 0.3)
        elif name.endswith("norm.weight"):
            values = gain * (1 + 0.1 * rng.standard_normal(shape))
        elif len(shape) == 1:
            values = 0.1 * rng.standard_normal(shape)
        else:
            spread = 2.0 if ".up." in name else 1.0
            values = rng.standard_normal(shape) * spread / np.sqrt(shape[1])
        weights[name] = values.astype(np.float32)
    return weights


def write_model(
    path: Path,
    config: ModelConfig,
    weights: Weights,
    precision: Precision,
    tokenizer: bytes | None = None,
) -> Path:
    """A container of `weights`."""
    with ContainerWriter(path, config, precision, tokenizer=tokenizer) as writer:
        for name in checkpoint_shapes(config):
            store(writer, name, weights[name])
    return path


def truncated(container: Container, layers: int, target: Path) -> Path:
    """The first layers of a model, byte for byte, under its head."""
    config = replace(container.config, n_layers=layers)
    with ContainerWriter(target, config, container.precision) as writer:
        for name in writer.tensors:
            writer.write(name, container.array(name))
    return target


def spikes_of_every_stage(
    path: Path, tokens: NDArray[np.generic], folder: Path
) -> list[NDArray[np.bool_]]:
    """Which neurons fired, [S, D] for the encoder and for each layer.

    The engine keeps the spikes of the last layer only, so each layer is read off a model that ends
    with it. The encoder's are the neurons whose membrane was set back to exactly zero.
    """
    container = open_container(path)
    stages = [np.zeros((len(tokens), container.config.embed_dim), np.bool_)]
    for layers in range(1, container.config.n_layers + 1):
        model = edgespike.load(truncated(container, layers, folder / f"first-{layers}"))
        session = model.session()
        fired = np.zeros_like(stages[0])
        for position, token in enumerate(tokens):
            session.advance([int(token)])
            count = model._scratch.spike_count[0]
            fired[position, model._scratch.spike_index[0, :count]] = True
            stages[0][position] = session.snapshot().state.membrane[0] == 0
        stages.append(fired)
    return stages


def dequantised(container: Container) -> Weights:
    """The float weights that a container stands for, [out, in]."""
    weights: Weights = {}
    for name, info in container.tensors.items():
        if name == TOKENIZER or name.endswith(".scale"):
            continue
        values = container.array(name)
        if info.layout == "output-major-int4":
            values = unpacked(values, checkpoint_shapes(container.config)[name][1])
        if info.layout == "input-major":
            values = values.T
        if scale_name(name) in container.tensors:
            values = values.astype(np.float32) * container.array(scale_name(name))[:, None]
        weights[name] = np.array(values, np.float32)
    return weights


def dequantised_model(source: Path, target: Path) -> Path:
    """An fp32 container with the weights of the int8 or int4 container `source`."""
    container = open_container(source)
    return write_model(target, container.config, dequantised(container), "fp32")


def golden_info(case: str) -> dict[str, object]:
    """Configuration and firing rates of `case`."""
    info: dict[str, object] = json.loads((GOLDEN / case / "info.json").read_text())
    return info
