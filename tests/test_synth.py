"""Synthetic models have the released shapes and the published firing rates."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from engine_models import dequantised
from numpy.typing import NDArray
from reference import ReferenceModel

import edgespike
from edgespike.convert.synth import SHAPES, encoder_gain, layer_rates, synth
from edgespike.errors import UsageError
from edgespike.model.config import PRECISIONS, ModelConfig, Precision
from edgespike.model.container import Container, open_container
from edgespike.model.tensors import checkpoint_shapes, expected_tensors

POINT = 0.01


def _reference(container: Container) -> ReferenceModel:
    """The NumPy model over the container's dequantised weights."""
    return ReferenceModel(container.config, dequantised(container))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_tiny_model_fires_as_published(tmp_path: Path, precision: Precision, seed: int) -> None:
    """Encoder 4.6 %, layers 3.6 to 7.9 %, the last 33 %, feed-forward 10 %: within a point."""
    synth(tmp_path / "m", "tiny", precision, seed)
    model = _reference(open_container(tmp_path / "m"))
    up: list[float] = []

    def project(name: str, x: NDArray[np.float32]) -> NDArray[np.float32]:
        y: NDArray[np.float32] = model.weights[name] @ x
        if name.endswith("ffn.up.weight"):
            up.append(float((y >= 1.0).mean()))
        return y

    model.project = project
    model.run(np.random.default_rng(seed + 10).integers(0, 512, 256).tolist())
    rates = [float(np.mean(spikes)) for spikes in model.spikes]
    due = [0.046, *layer_rates(3)]
    np.testing.assert_allclose(rates, due, atol=POINT)
    assert np.mean(up) == pytest.approx(0.10, abs=POINT)


def test_the_194m_model_fires_as_published_in_the_engine(tmp_path: Path) -> None:
    synth(tmp_path / "m", "194m")
    model = edgespike.load(tmp_path / "m")
    session = model.session()
    session.advance(np.random.default_rng(5).integers(0, 48000, 256).tolist())
    rates = session.spike_rates
    firing = model.container.json("firing")
    assert rates["encoder"] == pytest.approx(firing["encoder"], abs=POINT)
    np.testing.assert_allclose(rates["layers"], firing["layers"], atol=POINT)


def test_the_rates_lie_in_the_published_band() -> None:
    for layers in (1, 2, 12, 22):
        *band, last = layer_rates(layers)
        assert len(band) == layers - 1
        assert all(0.036 <= rate <= 0.079 for rate in band)
        assert last == 0.33


def test_the_encoder_gain_is_where_the_membrane_fires_as_asked() -> None:
    """More drive, more spikes; and a leak of 0 leaves the tail of a Gaussian."""
    config = ModelConfig()
    assert encoder_gain(0.02, config) < encoder_gain(0.046, config) < encoder_gain(0.3, config)
    forgetful = dataclasses.replace(config, leak=0.0)
    assert encoder_gain(0.1586553, forgetful) == pytest.approx(1.0, abs=0.005)


def test_released_shapes_have_the_released_number_of_parameters() -> None:
    def count(config: ModelConfig) -> int:
        return sum(int(np.prod(shape)) for shape in checkpoint_shapes(config).values())

    assert count(SHAPES["0.8b"]) == 873_668_135
    assert round(count(SHAPES["194m"]) / 1e6) == 194
    assert SHAPES["0.8b"].active_vocab == 55_296


@pytest.mark.parametrize("precision", PRECISIONS)
def test_one_seed_is_one_file_and_another_seed_another(
    tmp_path: Path, precision: Precision
) -> None:
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        synth(tmp_path / name, "tiny", precision, seed)
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b
    assert a != c
    container = open_container(tmp_path / "a")
    assert list(container.tensors) == list(expected_tensors(SHAPES["tiny"], precision))
    assert container.json("training") == {"synthetic": "tiny", "seed": 7}


@pytest.mark.parametrize(
    ("shape", "precision", "seed"), [("7b", "int8", 0), ("tiny", "int2", 0), ("tiny", "int8", -1)]
)
def test_wrong_requests_are_usage_errors(
    tmp_path: Path, shape: str, precision: str, seed: int
) -> None:
    with pytest.raises(UsageError):
        synth(tmp_path / "m", shape, precision, seed)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
