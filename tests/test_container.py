"""The container: what is written can be read by anyone, and any damage is found and named."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_files import ODD, data_start, rewrite_header, write_container
from safetensors import safe_open
from safetensors.numpy import load_file

from edgespike.errors import DataError, InternalError, MissingInputError
from edgespike.model.config import PRECISIONS, Precision
from edgespike.model.container import ContainerWriter, open_container
from edgespike.model.tensors import EMBEDDING, TOKENIZER, expected_tensors

DOWN = "blocks.1.ffn.down.weight"


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a whole int8 container with a tokenizer."""
    path = tmp_path_factory.mktemp("pristine") / "model.safetensors"
    return write_container(path, tokenizer=b"not read here").read_bytes()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_tensor_comes_back_as_written(tmp_path: Path, precision: Precision) -> None:
    path = tmp_path / "m.safetensors"
    rng = np.random.default_rng(3)
    written = {}
    with ContainerWriter(path, ODD, precision) as writer:
        for name, info in reversed(writer.tensors.items()):  # any order will do
            kind = {"I8": np.int8, "U8": np.uint8, "F32": np.float32}[info.dtype]
            written[name] = (rng.random(info.shape) * 7).astype(kind)
            writer.write(name, written[name])
    container = open_container(path)
    assert container.config == ODD
    assert container.precision == precision
    assert list(container.tensors) == list(expected_tensors(ODD, precision))
    for name, values in written.items():
        np.testing.assert_array_equal(container.array(name), values)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_safetensors_package_reads_the_same_arrays(
    tmp_path: Path, precision: Precision
) -> None:
    path = write_container(tmp_path / "m.safetensors", precision, tokenizer=b"piece")
    container = open_container(path)
    theirs = load_file(path)
    for name in container.tensors:
        np.testing.assert_array_equal(theirs[name], container.array(name))
    with safe_open(path, "numpy") as file:
        assert file.metadata() == container.metadata


def test_spike_fed_matrices_lie_input_major_except_in_rowmajor(tmp_path: Path) -> None:
    shapes = {p: expected_tensors(ODD, p)[DOWN] for p in PRECISIONS}
    assert shapes["int8"] == ("I8", (21, 18), "input-major")
    assert shapes["fp32"] == ("F32", (21, 18), "input-major")
    assert shapes["fp32-rowmajor"] == ("F32", (18, 21), "output-major")


def test_every_tensor_starts_on_a_64_byte_boundary_of_file_and_memory(tmp_path: Path) -> None:
    path = write_container(tmp_path / "m.safetensors", tokenizer=b"x")
    container = open_container(path)
    start = data_start(path)
    assert start % 64 == 0
    for name, info in container.tensors.items():
        assert (start + info.offset) % 64 == 0, name
        assert container.array(name).ctypes.data % 64 == 0, name


def test_arrays_are_views_that_cannot_be_written(tmp_path: Path) -> None:
    container = open_container(write_container(tmp_path / "m.safetensors"))
    array = container.array(EMBEDDING)
    assert np.shares_memory(array, container.image)
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 0


def test_metadata_and_tokenizer_come_back(tmp_path: Path) -> None:
    container = open_container(write_container(tmp_path / "m.safetensors", tokenizer=b"sp"))
    assert container.json("training") == {"note": "by a test"}
    assert container.json("prompt_template") is None
    assert container.tokenizer == b"sp"
    without = open_container(write_container(tmp_path / "n.safetensors"))
    assert without.tokenizer is None
    with pytest.raises(DataError, match=r"has no tensor tokenizer\.model"):
        without.array(TOKENIZER)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_one_changed_byte_anywhere_is_found(
    tmp_path_factory: pytest.TempPathFactory, pristine: bytes, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(pristine) - 1))
    changed = bytearray(pristine)
    changed[at] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.getbasetemp() / "changed.safetensors"
    path.write_bytes(changed)
    with pytest.raises(DataError):
        open_container(path)


def test_padding_and_length_bytes_are_covered(tmp_path: Path, pristine: bytes) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(pristine)
    start = data_start(path)
    header = json.loads(pristine[8:start])
    gaps = [fact["data_offsets"] for name, fact in header.items() if name.startswith("__pad.")]
    assert gaps
    for at in [*range(8), *(start + i for low, high in gaps for i in (low, high - 1))]:
        changed = bytearray(pristine)
        changed[at] ^= 1
        path.write_bytes(changed)
        with pytest.raises(DataError):
            open_container(path)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_file_cut_off_anywhere_is_found_without_reading_the_data(
    tmp_path_factory: pytest.TempPathFactory, pristine: bytes, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.safetensors"
    path.write_bytes(pristine[: data.draw(st.integers(0, len(pristine) - 1))])
    with pytest.raises(DataError, match=r"truncated|too few|JSON"):
        open_container(path, verify=False)


def test_bytes_after_the_end_are_found(tmp_path: Path, pristine: bytes) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(pristine + b"\0")
    with pytest.raises(DataError, match="bytes follow the last tensor"):
        open_container(path, verify=False)


def test_a_damaged_tensor_is_named(tmp_path: Path, pristine: bytes) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(pristine)
    container = open_container(path)
    for name, info in container.tensors.items():
        changed = bytearray(pristine)
        changed[data_start(path) + info.offset + info.nbytes // 2] ^= 1
        other = tmp_path / "other.safetensors"
        other.write_bytes(changed)
        with pytest.raises(DataError, match=rf"tensor {name.replace('.', r'[.]')}: SHA-256"):
            open_container(other)


def _shift(header: dict[str, Any], name: str, by: int) -> None:
    low, high = header[name]["data_offsets"]
    header[name]["data_offsets"] = [low + by, high + by]


def _meta(key: str, value: str) -> Callable[[dict[str, Any]], object]:
    return lambda header: header["__metadata__"].update({f"edgespike.{key}": value})


def _config(**changes: object) -> Callable[[dict[str, Any]], object]:
    def edit(header: dict[str, Any]) -> None:
        meta = header["__metadata__"]
        meta["edgespike.config"] = json.dumps(json.loads(meta["edgespike.config"]) | changes)

    return edit


def _layout(name: str, value: str) -> Callable[[dict[str, Any]], object]:
    def edit(header: dict[str, Any]) -> None:
        meta = header["__metadata__"]
        layouts = json.loads(meta["edgespike.layouts"]) | {name: value}
        meta["edgespike.layouts"] = json.dumps(layouts)

    return edit


FORGERIES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "version": (_meta("version", "2"), "edgespike.version '2'"),
    "no version": (lambda h: h["__metadata__"].pop("edgespike.version"), "no edgespike.version"),
    "precision": (_meta("precision", "int3"), "edgespike.precision 'int3'"),
    "other precision": (_meta("precision", "fp32"), "dtype I8 where F32"),
    "config gone": (lambda h: h["__metadata__"].pop("edgespike.config"), "no edgespike.config"),
    "config no JSON": (_meta("config", "{"), "edgespike.config: not valid JSON"),
    "config duplicate key": (_meta("config", '{"leak":1,"leak":2}'), "'leak' occurs twice"),
    "config too deep": (_meta("config", "[" * 200_000), "edgespike.config: nested too deeply"),
    "config unknown key": (_config(colour=1), "wrong or missing: colour"),
    "config vocabulary": (_config(vocab_size=24, active_vocab=24), f"tensor {EMBEDDING}: shape"),
    "config layers": (_config(n_layers=3), "tensor blocks.2.tcam.decay_raw: missing"),
    "config fewer layers": (_config(n_layers=1), "tensor blocks.1.tcam.decay_raw: not part"),
    "config absurd layers": (_config(n_layers=10**9), "n_layers is 1000000000"),
    "config heads": (_config(n_heads=4), "n_heads 4 times head_dim 6"),
    "config bool": (_config(n_layers=True), "n_layers is True"),
    "config NaN": (_config(leak=float("nan")), "NaN is not JSON"),
    "config infinite": (_meta("config", '{"leak":1e999}'), "wrong or missing"),
    "config leak": (_config(leak=1.5), "leak 1.5 is not from 0 to 1"),
    "config threshold": (_config(threshold="1"), "threshold is '1'; it must be a number"),
    "config active": (_config(active_vocab=24), "active_vocab 24 is not within"),
    "layout": (_layout(DOWN, "output-major"), f"layouts: tensor {DOWN}: 'output-major'"),
    "layout of nothing": (_layout("ghost", "input-major"), "layouts: tensor ghost"),
    "layouts no map": (_meta("layouts", "[]"), "edgespike.layouts: not a map"),
    "digests": (_meta("sha256", "{}"), "edgespike.sha256: doesn't name each tensor"),
    "missing tensor": (lambda h: h.pop(DOWN), "leaves a hole"),
    "overlap": (lambda h: _shift(h, DOWN, -64), f"tensor {DOWN}: data_offsets.*overlaps"),
    "hole": (lambda h: _shift(h, DOWN, 64), f"tensor {DOWN}: data_offsets.*hole"),
    "negative offset": (lambda h: _shift(h, EMBEDDING, -1), f"tensor {EMBEDDING}: data_offsets"),
    "huge offset": (lambda h: _shift(h, DOWN, 1 << 62), f"tensor {DOWN}: data_offsets"),
    "backward range": (
        lambda h: h[DOWN].update(data_offsets=[10, 5]),
        f"tensor {DOWN}: data_offsets",
    ),
    "dtype": (lambda h: h[DOWN].update(dtype="U8"), f"tensor {DOWN}: dtype U8 where I8"),
    "no dtype": (lambda h: h[DOWN].update(dtype="Q4"), f"tensor {DOWN}: unknown dtype 'Q4'"),
    "dtype of a list": (lambda h: h[DOWN].update(dtype=["I8"]), f"tensor {DOWN}: unknown dtype"),
    "shape": (lambda h: h[DOWN].update(shape=[18, 21]), f"tensor {DOWN}: shape .18, 21."),
    "shape too small": (lambda h: h[DOWN].update(shape=[3]), f"tensor {DOWN}: I8 of shape"),
    "shape of floats": (lambda h: h[DOWN].update(shape=[21.0, 18]), f"tensor {DOWN}: shape"),
    "shape overflow": (
        lambda h: h[DOWN].update(shape=[1 << 61, 1 << 61]),
        f"tensor {DOWN}: I8 of shape",
    ),
    "extra field": (lambda h: h[DOWN].update(more=1), f"tensor {DOWN}: must have dtype"),
    "no table": (lambda h: h.update({DOWN: 3}), f"tensor {DOWN}: must have dtype"),
    "metadata of numbers": (lambda h: h["__metadata__"].update(n=1), "not a map of strings"),
}


@pytest.mark.parametrize("case", FORGERIES)
def test_a_forged_header_is_refused_with_the_field_or_tensor(tmp_path: Path, case: str) -> None:
    """Digests are right here: the checks themselves have to notice."""
    edit, message = FORGERIES[case]
    path = write_container(tmp_path / "m.safetensors")
    rewrite_header(path, edit)
    with pytest.raises(DataError, match=message) as raised:
        open_container(path)
    assert "\n" not in str(raised.value)


def test_an_untouched_header_survives_the_forger(tmp_path: Path) -> None:
    path = write_container(tmp_path / "m.safetensors")
    rewrite_header(path, lambda header: None)
    open_container(path)


def test_a_tensor_off_its_boundary_is_refused(tmp_path: Path) -> None:
    """Two neighbours change places, so nothing else is wrong but where one of them starts."""
    path = write_container(tmp_path / "m.safetensors")

    def swap(header: dict[str, Any]) -> None:
        after = sorted(header, key=lambda n: header[n].get("data_offsets", [-1])[0])
        first = after.index(DOWN)
        pad = after[first + 1]
        start = header[DOWN]["data_offsets"][0]
        gap = header[pad]["shape"][0]
        header[pad]["data_offsets"] = [start, start + gap]
        header[DOWN]["data_offsets"] = [start + gap, start + gap + 21 * 18]

    rewrite_header(path, swap)
    with pytest.raises(DataError, match=rf"tensor {DOWN}: starts at \d+, not on a 64-byte"):
        open_container(path)


def test_a_matrix_at_the_very_end_is_refused(tmp_path: Path) -> None:
    """Kernels read a little past a matrix: a file may not make them read past the map."""
    path = write_container(tmp_path / "m.safetensors")
    matrix, scale = "output_head.prior_net.2.weight", "output_head.prior_net.2.scale"

    def swap(header: dict[str, Any]) -> None:
        first, last = header[matrix], header[scale]
        assert first["data_offsets"][1] - first["data_offsets"][0] == 23 * 4
        first["data_offsets"], last["data_offsets"] = last["data_offsets"], first["data_offsets"]

    rewrite_header(path, swap)
    with pytest.raises(DataError, match=f"tensor {matrix}: nothing lies behind it"):
        open_container(path)


@pytest.mark.parametrize("name", ["output_head.prior_weight", "spike_encoder.norm.bias", "scale"])
def test_nan_in_a_vector_is_refused_even_unverified(tmp_path: Path, name: str) -> None:
    name = "blocks.0.ffn.up.scale" if name == "scale" else name
    path = write_container(tmp_path / "m.safetensors")
    at = data_start(path) + open_container(path).tensors[name].offset
    with path.open("r+b") as file:
        file.seek(at)
        file.write(struct.pack("<f", float("nan")))
    with pytest.raises(DataError, match=f"tensor {name}: holds NaN or infinity"):
        open_container(path, verify=False)


def test_a_negative_scale_is_refused(tmp_path: Path) -> None:
    name = "blocks.0.ffn.up.scale"
    path = write_container(tmp_path / "m.safetensors")
    at = data_start(path) + open_container(path).tensors[name].offset
    with path.open("r+b") as file:
        file.seek(at)
        file.write(struct.pack("<f", -1.0))
    with pytest.raises(DataError, match=f"tensor {name}: holds a negative scale"):
        open_container(path, verify=False)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "too few"),
        (struct.pack("<Q", 1 << 63) + b"{}", "header length 9223372036854775808"),
        (struct.pack("<Q", 100) + b"{}", "reaches past the end"),
        (struct.pack("<Q", 2) + b"{}", "no edgespike.version"),
        (struct.pack("<Q", 2) + b"[]", "not a JSON object"),
        (struct.pack("<Q", 4) + b'"\xff\xff"', "not valid JSON"),
        (struct.pack("<Q", 13) + b'{"a":1,"a":2}', "'a' occurs twice"),
        (struct.pack("<Q", 100_000) + b'{"a":' * 20_000, "nested too deeply"),
        (struct.pack("<Q", 20) + b'{"__metadata__":NaN}', "NaN is not JSON"),
        (struct.pack("<Q", 9_000) + b'{"a":' + b"9" * 8_994 + b"}", "not valid JSON"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path: Path, raw: bytes, message: str) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(raw)
    with pytest.raises(DataError, match=message) as raised:
        open_container(path)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize("what", ["absent", "directory", "fifo"])
def test_what_is_no_file_is_missing_input(tmp_path: Path, what: str) -> None:
    path = tmp_path / "m.safetensors"
    if what == "directory":
        path.mkdir()
    if what == "fifo":
        os.mkfifo(path)
    with pytest.raises(MissingInputError):
        open_container(path)


def test_an_unfinished_file_never_appears(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"the old one")
    with pytest.raises(KeyboardInterrupt), ContainerWriter(path, ODD, "int8"):
        raise KeyboardInterrupt
    with pytest.raises(InternalError, match="never written"), ContainerWriter(path, ODD, "int8"):
        pass
    assert path.read_bytes() == b"the old one"
    assert list(tmp_path.iterdir()) == [path]


def test_the_writer_refuses_nan(tmp_path: Path) -> None:
    name = "spike_encoder.norm.weight"
    with (
        pytest.raises(DataError, match=f"tensor {name}: holds NaN"),
        ContainerWriter(tmp_path / "m", ODD, "int8") as writer,
    ):
        writer.write(name, np.full(18, np.nan, np.float32))
    assert not list(tmp_path.iterdir())


def test_the_file_has_the_permissions_that_the_umask_asks_for(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        path = write_container(tmp_path / "m.safetensors")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_folder_that_is_not_there_is_an_error_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="can't be written: No such file"):
        write_container(tmp_path / "absent" / "m.safetensors")
