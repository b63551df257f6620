"""The engine computes the model: golden data, the NumPy twin, the same bits however it is run."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from engine_models import (
    CASES,
    dequantised_model,
    golden,
    golden_arrays,
    random_weights,
    spikes_of_every_stage,
    write_model,
)
from reference import ReferenceModel

import edgespike
from edgespike.engine.session import Session
from edgespike.model.config import PRECISIONS, KeyValuePrecision, ModelConfig, Precision

# Nothing here is a multiple of 16; the windows wrap several times in 40 positions.
SHAPES = {
    "odd": ModelConfig(
        vocab_size=131, embed_dim=50, n_layers=2, n_heads=5, head_dim=10, intermediate_dim=77,
        window=7, anchors=2, active_vocab=131,
    ),
    "no-anchors": ModelConfig(
        vocab_size=97, embed_dim=48, n_layers=3, n_heads=3, head_dim=16, intermediate_dim=100,
        window=5, anchors=0, active_vocab=97,
    ),
    "only-itself": ModelConfig(
        vocab_size=64, embed_dim=32, n_layers=2, n_heads=1, head_dim=32, intermediate_dim=33,
        window=0, anchors=0, active_vocab=64,
    ),
    "anchors-beyond-window": ModelConfig(
        vocab_size=70, embed_dim=24, n_layers=2, n_heads=2, head_dim=12, intermediate_dim=40,
        window=3, anchors=9, active_vocab=70,
    ),
    "no-attention-log-prior": ModelConfig(
        vocab_size=51, embed_dim=36, n_layers=2, n_heads=3, head_dim=12, intermediate_dim=50,
        window=4, anchors=1, active_vocab=51, attention=False, dynamic_prior=False,
    ),
    "wide": ModelConfig(
        vocab_size=300, embed_dim=320, n_layers=2, n_heads=5, head_dim=64, intermediate_dim=1100,
        window=16, anchors=4, active_vocab=300,
    ),
}  # fmt: skip

CHUNKS = {"at once": [1000], "uneven": [1, 5, 2, 33, 3, 4, 7], "token by token": [1]}


def feed(session: Session, tokens: np.ndarray, sizes: list[int]) -> np.ndarray:
    """Logits of all positions, the tokens cut into pieces of the given sizes, over and over."""
    parts, start, turn = [], 0, 0
    while start < len(tokens):
        size = sizes[turn % len(sizes)]
        parts.append(session.advance(tokens[start : start + size], all_logits=True))
        start, turn = start + size, turn + 1
    return np.concatenate(parts)


def kl_divergence(p_logits: np.ndarray, q_logits: np.ndarray) -> float:
    """Mean KL(p || q) of next-token distributions, in nats."""

    def log_softmax(z: np.ndarray) -> np.ndarray:
        z = z.astype(np.float64) - z.max(axis=1, keepdims=True)
        return z - np.log(np.exp(z).sum(axis=1, keepdims=True))

    p, q = log_softmax(p_logits), log_softmax(q_logits)
    return float((np.exp(p) * (p - q)).sum(axis=1).mean())


@pytest.mark.parametrize("chunks", CHUNKS)
@pytest.mark.parametrize("precision", ["fp32", "fp32-rowmajor"])
@pytest.mark.parametrize("case", CASES)
def test_float_engine_reproduces_the_public_implementation(
    case: str, precision: Precision, chunks: str, tmp_path: Path
) -> None:
    expected = golden_arrays(case)
    session = edgespike.load(golden(case, precision, tmp_path)).session()
    logits = feed(session, expected["tokens"], CHUNKS[chunks])
    np.testing.assert_allclose(logits, expected["full_logits"], rtol=0, atol=1e-4)
    last = logits[-1]
    for step, token in enumerate(expected["greedy_tokens"]):
        np.testing.assert_allclose(last, expected["greedy_logits"][step], rtol=0, atol=1e-4)
        assert int(last.argmax()) == token
        last = session.advance([int(token)])


@pytest.mark.parametrize("precision", ["fp32", "fp32-rowmajor"])
@pytest.mark.parametrize("case", CASES)
def test_every_spike_is_that_of_the_public_implementation(
    case: str, precision: Precision, tmp_path: Path
) -> None:
    expected = golden_arrays(case)
    path = golden(case, precision, tmp_path)
    stages = spikes_of_every_stage(path, expected["tokens"], tmp_path)
    names = ["spikes_encoder", *(f"spikes_block{i}" for i in range(len(stages) - 1))]
    for fired, name in zip(stages, names, strict=True):
        np.testing.assert_array_equal(np.packbits(fired, axis=-1), expected[name], err_msg=name)
    session = edgespike.load(path).session()
    session.advance(expected["tokens"])
    rates = session.spike_rates
    assert [rates["encoder"], *rates["layers"]] == pytest.approx([s.mean() for s in stages])


@pytest.mark.skipif(
    "EDGESPIKE_REFERENCE" not in os.environ,
    reason="EDGESPIKE_REFERENCE names no folder with the large golden case",
)
@pytest.mark.parametrize("precision", ["fp32", "fp32-rowmajor"])
def test_float_engine_reproduces_the_large_golden_case(
    precision: Precision, tmp_path: Path
) -> None:
    folder = Path(os.environ["EDGESPIKE_REFERENCE"]) / "golden" / "medium-08b"
    edgespike.convert(folder / "checkpoint.pt", tmp_path / "m", precision=precision)
    with np.load(folder / "expected.npz") as expected:
        logits = edgespike.load(tmp_path / "m").session().advance(expected["tokens"], True)
        np.testing.assert_allclose(logits, expected["full_logits"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("gain", [0.62, 0.3], ids=["firing", "nearly-silent"])
@pytest.mark.parametrize("shape", SHAPES)
def test_float_engine_agrees_with_the_twin_on_any_shape(
    shape: str, gain: float, tmp_path: Path
) -> None:
    config, weights = SHAPES[shape], random_weights(SHAPES[shape], gain=gain)
    tokens = np.random.default_rng(5).integers(0, config.vocab_size, 40)
    twin = ReferenceModel(config, weights)
    expected = twin.run(tokens)
    for precision in ("fp32", "fp32-rowmajor"):
        path = write_model(tmp_path / precision, config, weights, precision)
        session = edgespike.load(path).session()
        np.testing.assert_allclose(feed(session, tokens, [3, 1]), expected, rtol=0, atol=1e-4)
        counts = [sum(s.sum() for s in stage) for stage in twin.spikes]
        size = len(tokens) * config.embed_dim
        rates = session.spike_rates
        assert [round(r * size) for r in [rates["encoder"], *rates["layers"]]] == counts


@pytest.mark.parametrize("precision", ["int8", "int4"])
@pytest.mark.parametrize("case", CASES)
def test_integer_engine_stays_with_fp32_on_the_same_weights(
    case: str, precision: Precision, tmp_path: Path
) -> None:
    """Measured far inside the bounds: KL is below 2e-4 in the worst case, 1e-7 in the others."""
    tokens = golden_arrays(case)["tokens"]
    integers = golden(case, precision, tmp_path)
    floats = dequantised_model(integers, tmp_path / "float")
    both = [spikes_of_every_stage(path, tokens, tmp_path) for path in (integers, floats)]
    for ours, exact in zip(*both, strict=True):
        assert (ours == exact).mean() >= 0.999
    logits = [edgespike.load(path).session().advance(tokens, True) for path in (floats, integers)]
    assert kl_divergence(*logits) < 1e-3


@pytest.mark.parametrize(
    ("precision", "kv"),
    [
        ("int8", "int16"),
        ("int8", "int8"),
        ("int4", "int16"),
        ("fp32", "fp32"),
        ("fp32-rowmajor", "fp32"),
    ],
)
@pytest.mark.parametrize("shape", SHAPES)
def test_logits_have_the_same_bits_for_every_chunking_and_thread_count(
    shape: str, precision: Precision, kv: KeyValuePrecision, tmp_path: Path
) -> None:
    config = SHAPES[shape]
    path = write_model(tmp_path / "m", config, random_weights(config), precision)
    tokens = np.random.default_rng(6).integers(0, config.vocab_size, 70)
    results = [
        feed(edgespike.load(path, threads=threads, kv=kv).session(), tokens, sizes).tobytes()
        for threads, sizes in [(1, [1]), (1, [1000]), (1, [4, 9, 1]), (2, [1]), (2, [6]), (3, [64])]
    ]
    assert len(set(results)) == 1


def test_each_precision_takes_the_keys_and_values_that_keep_its_accuracy(tmp_path: Path) -> None:
    config, weights = SHAPES["odd"], random_weights(SHAPES["odd"])
    paths = {p: write_model(tmp_path / p, config, weights, p) for p in PRECISIONS}
    assert {p: edgespike.load(path).kv for p, path in paths.items()} == {
        p: "fp32" if p.startswith("fp32") else "int16" for p in PRECISIONS
    }
    tokens = list(range(40))
    exact, near, far = (
        edgespike.load(paths["fp32"], kv=kv).session().advance(tokens, True)
        for kv in ("fp32", "int16", "int8")
    )
    assert 0 < kl_divergence(exact, near) < 1e-6
    assert kl_divergence(exact, near) < kl_divergence(exact, far) < 0.1


def test_float_layouts_have_the_same_bits(tmp_path: Path) -> None:
    config, weights = SHAPES["wide"], random_weights(SHAPES["wide"])
    tokens = list(range(30))
    mixed, rows = (
        edgespike.load(write_model(tmp_path / p, config, weights, p))
        .session()
        .advance(tokens, True)
        for p in ("fp32", "fp32-rowmajor")
    )
    assert mixed.tobytes() == rows.tobytes()


def test_logits_have_the_same_bits_for_every_instruction_set(tmp_path: Path) -> None:
    script = (
        "import sys, hashlib, numpy as np, edgespike\n"
        "tokens = np.random.default_rng(7).integers(0, 300, 40)\n"
        "for path in sys.argv[2:]:\n"
        "    logits = edgespike.load(path, isa=sys.argv[1]).session().advance(tokens, True)\n"
        "    print(hashlib.sha256(logits.tobytes()).hexdigest())\n"
        "    model = edgespike.load(path, isa=sys.argv[1])\n"
        "    pool = model.pool(2)\n"
        "    work = [(pool.session(), tokens[:9]), (pool.session(), tokens)]\n"
        "    logits = model.advance_together(work, all_logits=True)[1]\n"
        "    print(hashlib.sha256(logits.tobytes()).hexdigest())\n"
    )
    config = SHAPES["wide"]
    paths = [
        str(write_model(tmp_path / p, config, random_weights(config), p))
        for p in ("int8", "int4", "fp32")
    ]
    tokens = np.random.default_rng(7).integers(0, 300, 40)
    here = [
        hashlib.sha256(edgespike.load(p).session().advance(tokens, True).tobytes()).hexdigest()
        for p in paths
        for _alone_and_together in range(2)
    ]
    for isa in ("avx2", "generic"):
        run = subprocess.run(
            [sys.executable, "-c", script, isa, *paths], capture_output=True, text=True, check=False
        )
        if "no AVX2" in run.stderr:
            pytest.skip("this CPU has no AVX2 instructions")
        assert run.stdout.split() == here, run.stderr


def test_ids_beyond_the_tokenizer_are_never_sampled(tmp_path: Path) -> None:
    from dataclasses import replace

    config = replace(SHAPES["odd"], active_vocab=3)
    path = write_model(tmp_path / "m", config, random_weights(config), "int8")
    model = edgespike.load(path)
    for temperature in (0.0, 5.0):
        pieces = model.generate([1, 2], max_tokens=60, temperature=temperature)
        tokens = [piece.token for piece in pieces if piece.token is not None]
        assert len(tokens) == 60
        assert max(tokens) < 3
