"""Checkpoint in, container out: the same weights, in bounded memory, all of it or nothing."""

from __future__ import annotations

import io
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from model_files import (
    CASES,
    GOLDEN,
    ODD,
    OFFICIAL,
    state_dict,
    unpacked,
    write_checkpoint,
    write_container,
)
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

import edgespike
from edgespike.convert import convert
from edgespike.convert.checkpoint import open_checkpoint
from edgespike.convert.quantise import pack, quantise_rows, quantise_rows_int4
from edgespike.errors import DataError, MissingInputError, UsageError
from edgespike.model.config import PRECISIONS, ModelConfig, Precision
from edgespike.model.container import Container, open_container
from edgespike.model.tensors import EMBEDDING, PRIOR_WEIGHT, checkpoint_shapes, scale_name

UP = "blocks.0.ffn.up.weight"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SentencePiece model of 20 pieces."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["abcabc abd", "dcba acbd"] * 20),
        model_writer=model,
        vocab_size=20,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    path = tmp_path_factory.mktemp("tokenizer") / "sp.model"
    path.write_bytes(model.getvalue())
    return path


def _plain(container: Container, name: str) -> NDArray[Any]:
    """A tensor as the checkpoint would have it: [out, in], dequantised."""
    info = container.tensors[name]
    values = container.array(name)
    if info.layout == "input-major":
        values = values.T
    if info.layout == "output-major-int4":
        values = unpacked(values, checkpoint_shapes(container.config)[name][1])
    if scale_name(name) in container.tensors and name != scale_name(name):
        return values * container.array(scale_name(name)).astype(np.float64)[:, None]
    return values


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("case", CASES)
def test_golden_weights_survive(tmp_path: Path, case: str, precision: Precision) -> None:
    """fp32 exactly, integers within half a step; and the safetensors package opens the result."""
    source = GOLDEN / case / "checkpoint.pt"
    target = tmp_path / "m.safetensors"
    made = convert(source, target, precision=precision)
    assert made.nbytes == target.stat().st_size
    assert made.ignored == ()
    container = open_container(target)
    checkpoint = open_checkpoint(source)
    for name, tensor in checkpoint.tensors.items():
        due = checkpoint.read(name, tensor.shape or (1,))
        found = _plain(container, name)
        if precision in ("int8", "int4") and due.ndim == 2:
            scale = container.array(scale_name(name))[:, None]
            if container.tensors[name].layout == "output-major-int4":
                due = np.clip(due, -7 * scale, 7 * scale)  # tops may be cut
            assert (abs(found - due) <= scale / 2 * (1 + 1e-5)).all(), name
        else:
            np.testing.assert_array_equal(found, due)
    assert set(container.tensors) <= set(load_file(target))
    expected = json.loads((GOLDEN / case / "info.json").read_text())["config"]
    config = container.config
    assert (config.vocab_size, config.embed_dim) == (512, 64)
    assert (config.window, config.anchors, config.context) == (16, 4, 64)
    assert config.attention == expected["enable_sparse_attn"]
    assert config.dynamic_prior == expected["enable_dynamic_prior"]
    if PRIOR_WEIGHT not in checkpoint.tensors:
        assert container.array(PRIOR_WEIGHT) == np.float32(0.1)


def test_one_source_gives_one_file(tmp_path: Path) -> None:
    source = GOLDEN / "small-08b" / "checkpoint.pt"
    for name in "ab":
        convert(source, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_function_is_reached_however_it_is_imported(tmp_path: Path) -> None:
    for _ in range(2):
        edgespike.convert(GOLDEN / "small-08b" / "checkpoint.pt", tmp_path / "m")


@settings(max_examples=100, deadline=None)
@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=9),
        elements=st.floats(-(2.0**99), 2.0**99, width=32).filter(
            lambda v: v == 0 or abs(v) > 1e-30
        ),
    )
)
def test_quantised_rows_stay_within_half_a_step(weights: NDArray[np.float32]) -> None:
    q, scale = quantise_rows(weights)
    assert abs(q.astype(int)).max() <= 127
    error = abs(weights.astype(np.float64) - q * scale.astype(np.float64)[:, None])
    assert (error <= scale.astype(np.float64)[:, None] * (0.5 + 1e-5)).all()
    np.testing.assert_allclose(scale, abs(weights).max(1) / 127, rtol=1e-6)


def test_blocks_of_rows_make_no_difference() -> None:
    """The second block begins past 4 Mi elements."""
    weights = np.random.default_rng(0).standard_normal((9, 1 << 20), np.float32)
    q, scale = quantise_rows(weights)
    np.testing.assert_array_equal(quantise_rows(weights[5:6])[0], q[5:6])
    assert quantise_rows(weights[8:])[1] == scale[8]


@pytest.mark.parametrize("row", [np.zeros(4), np.full(4, 1e-44), np.full(4, np.finfo("f4").max)])
def test_extreme_rows_quantise_without_a_warning(row: NDArray[Any]) -> None:
    with np.errstate(all="raise", under="ignore"):
        q, scale = quantise_rows(row[None].astype(np.float32))
    assert np.isfinite(scale).all()
    assert abs(q.astype(int)).max() <= 127


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(np.int8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=150),
                  elements=st.integers(-7, 7)))  # fmt: skip
def test_packed_rows_hold_what_was_put_in_and_then_zeros(weights: NDArray[np.int8]) -> None:
    packed = pack(weights)
    outputs, inputs = weights.shape
    assert packed.shape == (outputs, -(-inputs // 64) * 32)
    whole = unpacked(packed, 2 * packed.shape[1])
    np.testing.assert_array_equal(whole[:, :inputs], weights)
    assert not whole[:, inputs:].any()


def test_four_bits_are_scaled_for_the_least_error() -> None:
    """No scale on a fine grid is better by much, for rows with and without outliers."""
    rng = np.random.default_rng(1)
    weights = rng.standard_normal((6, 300)).astype(np.float32) ** np.array([[1], [3]] * 3, "f4")
    weights[4:] = [[0.0], [1e-44]]
    packed, scale = quantise_rows_int4(weights)
    found = unpacked(packed, 300) * scale[:, None]
    for row, ours in zip(weights[:4], found[:4], strict=True):
        scales = np.linspace(0.1, 1, 200)[:, None] * abs(row).max() / 7
        others = np.square(row - np.clip(np.rint(row / scales), -7, 7) * scales).sum(1)
        assert np.square(row - ours).sum() <= 1.1 * others.min()
    assert not found[4].any()
    assert np.isfinite(found).all()


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_with_its_tensor(
    tmp_path: Path, precision: Precision, poison: float
) -> None:
    tensors = state_dict()
    tensors[UP][3, 4] = poison
    source = write_checkpoint(tmp_path / "c.pt", tensors)
    with pytest.raises(DataError, match=rf"c\.pt: tensor {UP}: .*holds NaN or infinity"):
        convert(source, tmp_path / "m", precision=precision)
    assert list(tmp_path.iterdir()) == [source]


# --- configuration ---


def _convert(tmp_path: Path, config: dict[str, Any] | None, **kwargs: Any) -> ModelConfig:
    source = write_checkpoint(tmp_path / "c.pt", state_dict(), config=config)
    return convert(source, tmp_path / "m", **kwargs).config


def test_the_configuration_is_read(tmp_path: Path) -> None:
    assert _convert(tmp_path, OFFICIAL) == ODD


def test_without_a_configuration_shapes_speak_then_the_release(tmp_path: Path) -> None:
    config = _convert(tmp_path, None)
    assert (config.vocab_size, config.embed_dim, config.n_layers) == (23, 18, 2)
    assert (config.n_heads, config.head_dim, config.intermediate_dim) == (3, 6, 21)
    assert (config.active_vocab, config.attention, config.dynamic_prior) == (23, True, True)
    assert (config.window, config.anchors, config.leak) == (512, 4, 0.95)


def test_unknown_keys_are_ignored(tmp_path: Path) -> None:
    assert _convert(tmp_path, {**OFFICIAL, "colour": "red", "nested": {"a": [1]}}) == ODD


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"embed_dim": 19}, "config embed_dim is 19; the tensors say 18"),
        ({"n_layers": 3}, "config n_layers is 3; the tensors say 2"),
        ({"n_heads": "3"}, "config n_heads is '3'; it must be of type int"),
        ({"n_heads": True}, "config n_heads is True; it must be of type int"),
        ({"vocab_size": 10**5000}, "config vocab_size is a number of"),
        ({"leak_factor": float("nan")}, "leak is nan"),
        ({"rope_theta": None}, "config rope_theta is None"),
        ({"rope_theta": [[[]]]}, "config rope_theta is a list"),
        ({"sparse_attn_window": -1}, "window is -1"),
        ({"enable_sparse_attn": 1}, "config enable_sparse_attn is 1; it must be of type bool"),
        ({"enable_dynamic_prior": False}, "tensor output_head.log_prior: missing"),
    ],
)
def test_a_wrong_configuration_names_the_key(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message) as raised:
        _convert(tmp_path, {**OFFICIAL, **change})
    assert str(raised.value).isprintable()


@pytest.mark.parametrize(
    "name", [EMBEDDING, UP, "blocks.0.tcam.decay_raw", "blocks.1.tcam.norm.bias"]
)
def test_a_missing_tensor_is_named(tmp_path: Path, name: str) -> None:
    tensors = state_dict()
    del tensors[name]
    source = write_checkpoint(tmp_path / "c.pt", tensors)
    with pytest.raises(DataError, match=f"tensor {name}: missing"):
        convert(source, tmp_path / "m")


def test_a_block_with_a_huge_number_costs_nothing(tmp_path: Path) -> None:
    tensors = {**state_dict(), "blocks.999999.ffn.up.weight": np.ones((1, 1))}
    source = write_checkpoint(tmp_path / "c.pt", tensors, config=None)
    with pytest.raises(DataError, match="n_layers is 1000000"):
        convert(source, tmp_path / "m")


def test_tensors_without_a_use_are_reported(tmp_path: Path) -> None:
    source = write_checkpoint(tmp_path / "c.pt", {**state_dict(), "image.\x1b[2J": np.ones(3)})
    assert convert(source, tmp_path / "m").ignored == ("image.?[2J",)


# --- safetensors checkpoints ---


def test_a_safetensors_checkpoint_gives_the_same_file(tmp_path: Path) -> None:
    tensors = state_dict()
    convert(write_checkpoint(tmp_path / "c.pt", tensors), tmp_path / "from-pt")
    inside = tmp_path / "inside.safetensors"
    save_file(tensors, inside, metadata={"config": json.dumps(OFFICIAL)})
    convert(inside, tmp_path / "from-inside")
    folder = tmp_path / "beside"
    folder.mkdir()
    save_file({f"module.{n}": v for n, v in tensors.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(OFFICIAL))
    convert(folder / "model.safetensors", tmp_path / "from-beside")
    due = (tmp_path / "from-pt").read_bytes()
    assert (tmp_path / "from-inside").read_bytes() == due
    assert (tmp_path / "from-beside").read_bytes() == due


def test_half_precision_safetensors_are_read(tmp_path: Path) -> None:
    tensors = {name: values.astype(np.float16) for name, values in state_dict().items()}
    source = tmp_path / "half.safetensors"
    save_file(tensors, source)
    convert(source, tmp_path / "m", precision="fp32")
    container = open_container(tmp_path / "m")
    np.testing.assert_array_equal(container.array(UP), tensors[UP].astype(np.float32))


def test_a_model_file_is_no_checkpoint(tmp_path: Path) -> None:
    source = write_container(tmp_path / "m.safetensors")
    with pytest.raises(DataError, match="is a model file already"):
        convert(source, tmp_path / "n")


@pytest.mark.parametrize(
    ("config", "message"),
    [("[1]", "not a JSON object"), ("{", "metadata config: not valid JSON"), ('{"a":NaN}', "NaN")],
)
def test_a_broken_configuration_is_named(tmp_path: Path, config: str, message: str) -> None:
    source = tmp_path / "c.safetensors"
    save_file(state_dict(), source, metadata={"config": config})
    with pytest.raises(DataError, match=message):
        convert(source, tmp_path / "m")


# --- tokenizer and metadata ---


def test_the_tokenizer_is_embedded_and_limits_what_is_sampled(
    tmp_path: Path, tokenizer: Path
) -> None:
    config = _convert(tmp_path, OFFICIAL, tokenizer=tokenizer)
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer)).vocab_size()
    assert pieces < 23
    assert config.active_vocab == pieces
    assert open_container(tmp_path / "m").tokenizer == tokenizer.read_bytes()


def test_a_tokenizer_that_does_not_fit_is_refused(tmp_path: Path, tokenizer: Path) -> None:
    tensors = state_dict()
    for name in (EMBEDDING, "output_head.output_proj.weight", "output_head.prior_net.2.weight"):
        tensors[name] = tensors[name][:5]
    source = write_checkpoint(tmp_path / "c.pt", tensors, config=None)
    with pytest.raises(DataError, match=r"pieces and the model only 5"):
        convert(source, tmp_path / "m", tokenizer=tokenizer)
    (tmp_path / "no.model").write_bytes(b"nonsense")
    with pytest.raises(DataError, match=r"no\.model: .*not a readable SentencePiece model"):
        convert(source, tmp_path / "m", tokenizer=tmp_path / "no.model")
    with pytest.raises(MissingInputError):
        convert(source, tmp_path / "m", tokenizer=tmp_path / "absent.model")


def test_template_and_facts_are_carried_and_can_be_overridden(tmp_path: Path) -> None:
    source = write_checkpoint(
        tmp_path / "c.pt", state_dict(), prompt_template={"v": 1}, training={"steps": 5}
    )
    convert(source, tmp_path / "m", metadata={"training": {"steps": 6}})
    container = open_container(tmp_path / "m")
    assert container.json("prompt_template") == {"v": 1}
    assert container.json("training") == {"steps": 6}
    source = write_checkpoint(tmp_path / "d.pt", state_dict(), training={"loss": float("nan")})
    with pytest.raises(DataError, match="training holds what JSON can't say"):
        convert(source, tmp_path / "m")


def test_an_unknown_precision_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="int3"):
        convert("c.pt", tmp_path / "m", precision="int3")  # type: ignore[arg-type]


# --- resources ---


def test_progress_reaches_all_parameters(tmp_path: Path) -> None:
    source = write_checkpoint(tmp_path / "c.pt", state_dict())
    seen: list[tuple[str, int, int]] = []
    convert(source, tmp_path / "m", progress=lambda *step: seen.append(step))
    total = sum(values.size for values in state_dict().values())
    assert [name for name, _, _ in seen] == list(state_dict())
    assert seen[-1][1:] == (total, total)


def test_an_interrupted_conversion_leaves_the_old_target(tmp_path: Path) -> None:
    source = write_checkpoint(tmp_path / "c.pt", state_dict())
    target = tmp_path / "m"
    target.write_bytes(b"old")

    def interrupt(name: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(source, target, progress=interrupt)
    assert target.read_bytes() == b"old"
    assert sorted(tmp_path.iterdir()) == [source, target]


_MAIN = "import sys; from edgespike.cli import main; sys.exit(main())"


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    source = GOLDEN / "small-08b" / "checkpoint.pt"
    target = tmp_path / "m.safetensors"
    target.write_bytes(b"old")
    done = subprocess.run(
        [sys.executable, "-c", _MAIN, "convert", source, target],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )
    assert done.returncode == 69
    due = f"edgespike: {target}: can't be written: File too large; 0.2 MB are needed\n"
    assert done.stderr == due
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


_MEASURE = """
import sys
from edgespike.convert.export import convert

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

before = peak()
convert(sys.argv[1], sys.argv[2], precision=sys.argv[3])
print(peak() - before)
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of 86 MB, no tensor of which takes more than 1 MB."""
    config = ModelConfig(
        vocab_size=500, embed_dim=256, n_layers=25, n_heads=4, intermediate_dim=1024
    )
    path = tmp_path_factory.mktemp("large") / "c.pt"
    return write_checkpoint(path, state_dict(config), config=None)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_memory_does_not_grow_with_the_checkpoint(
    tmp_path: Path, large: Path, precision: str
) -> None:
    assert large.stat().st_size > 80_000_000
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, large, tmp_path / "m", precision],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 20_000  # kB


def test_a_target_that_is_no_file_or_the_source_itself_is_refused(tmp_path: Path) -> None:
    source = write_checkpoint(tmp_path / "c.pt", state_dict())
    before = source.read_bytes()
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for target, message in [
        ("folder", "not a regular file"),
        ("pipe", "not a regular file"),
        ("c.pt", "the checkpoint itself"),
    ]:
        with pytest.raises(UsageError, match=message):
            convert(source, tmp_path / target)
    assert source.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["c.pt", "folder", "pipe"]
