"""Checkpoints are read without PyTorch, whatever views they hold, and can't run anything."""

from __future__ import annotations

import contextlib
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_files import CASES, GOLDEN, View, pickled, state_dict, whole, write_checkpoint, write_zip

from edgespike.convert.checkpoint import Checkpoint, open_checkpoint
from edgespike.convert.unpickle import MAX_PICKLE_BYTES, unpickle
from edgespike.errors import DataError, MissingInputError

X = "blocks.0.ffn.down.weight"
Y = "blocks.0.ffn.up.weight"


def _one(path: Path, view: View, data: bytes) -> Checkpoint:
    return open_checkpoint(write_zip(path / "c.pt", pickled({"model": {X: view}}), {"0": data}))


@pytest.mark.parametrize(
    ("kind", "encode"),
    [
        ("FloatStorage", lambda v: v.astype("<f4").tobytes()),
        ("HalfStorage", lambda v: v.astype("<f2").tobytes()),
        ("DoubleStorage", lambda v: v.astype("<f8").tobytes()),
        ("BFloat16Storage", lambda v: (v.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()),
    ],
)
def test_every_floating_storage_becomes_the_same_float32(
    tmp_path: Path, kind: str, encode: Any
) -> None:
    """The values are exact in eight bits of mantissa, so nothing may differ."""
    values = np.arange(-12, 12, dtype=np.float32).reshape(4, 6) / 4
    checkpoint = _one(tmp_path, whole("0", kind, (4, 6)), encode(values))
    read = checkpoint.read(X, (4, 6))
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, values)


@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [
        ((4, 6), (6, 1), 0),
        ((6, 4), (1, 6), 0),  # transposed
        ((2, 3), (12, 2), 1),  # every other row and column, not from the start
        ((6,), (1,), 18),  # the last row
        ((3, 5), (0, 1), 2),  # one row repeated
        ((), (), 7),  # a scalar
    ],
)
def test_views_are_followed(
    tmp_path: Path, shape: tuple[int, ...], strides: tuple[int, ...], offset: int
) -> None:
    store = np.arange(24, dtype="<f4")
    view = View("0", "FloatStorage", 24, offset, shape, strides)
    due = np.lib.stride_tricks.as_strided(store[offset:], shape, [4 * s for s in strides])
    read = _one(tmp_path, view, store.tobytes()).read(X, shape or (1,))
    np.testing.assert_array_equal(read, due.reshape(shape or (1,)))


def test_tensors_may_share_a_storage_and_be_parameters(tmp_path: Path) -> None:
    store = np.arange(12, dtype="<f4")
    state = {
        X: View("0", "FloatStorage", 12, 0, (2, 3), (3, 1), parameter=True),
        Y: View("0", "FloatStorage", 12, 6, (2, 3), (3, 1)),
    }
    path = write_zip(tmp_path / "c.pt", pickled({"model": state}), {"0": store.tobytes()})
    checkpoint = open_checkpoint(path)
    np.testing.assert_array_equal(checkpoint.read(X, (2, 3)), store[:6].reshape(2, 3))
    np.testing.assert_array_equal(checkpoint.read(Y, (2, 3)), store[6:].reshape(2, 3))


@pytest.mark.parametrize("key", ["model", "model_state_dict", "state_dict", ""])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_wrappings_of_names_and_dicts_are_seen_through(
    tmp_path: Path, key: str, prefix: str
) -> None:
    path = write_checkpoint(tmp_path / "c.pt", {X: np.ones((2, 2))}, key=key, prefix=prefix)
    checkpoint = open_checkpoint(path)
    assert checkpoint.shapes == {X: (2, 2)}
    assert bool(checkpoint.raw_config) == bool(key)


def test_recomputed_entries_are_left_out_and_doubles_refused(tmp_path: Path) -> None:
    tensors = dict.fromkeys((X, "a.rope.inv_freq", "a._cached_mask", "spike_encoder.v_mem"))
    path = write_checkpoint(tmp_path / "c.pt", {n: np.ones(2) for n in tensors})
    assert list(open_checkpoint(path).tensors) == [X]
    path = write_checkpoint(tmp_path / "d.pt", {X: np.ones(2), "module." + X: np.ones(2)})
    with pytest.raises(DataError, match=f"tensor {X}: occurs twice"):
        open_checkpoint(path)


@pytest.mark.parametrize("case", CASES)
def test_golden_checkpoints_agree_with_pytorch(case: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is only needed for training")
    path = GOLDEN / case / "checkpoint.pt"
    theirs = torch.load(path, weights_only=True)
    ours = open_checkpoint(path)
    assert ours.raw_config == theirs["config"]
    for name, tensor in ours.tensors.items():
        due = theirs["model"][name]
        np.testing.assert_array_equal(ours.read(name, tensor.shape or (1,)).ravel(), due.ravel())


def test_what_pytorch_saves_today_is_read(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is only needed for training")
    base = torch.arange(60, dtype=torch.float32).reshape(6, 10)
    module = torch.nn.Linear(3, 2)
    state = {
        "rows": base[2:4],
        "columns": base[:, 3:7],
        "turned": base.t(),
        "half": base.half(),
        "brain": base.bfloat16(),
        "parameter": torch.nn.Parameter(base),
        "scalar": torch.tensor(2.5),
        **module.state_dict(),
    }
    torch.save(
        {"model": state, "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}}},
        tmp_path / "c.pt",
    )
    ordered = module.state_dict()  # an OrderedDict with a _metadata attribute
    torch.save(ordered, tmp_path / "bare.pt")
    checkpoint = open_checkpoint(tmp_path / "c.pt")
    for name, due in state.items():
        read = checkpoint.read(name, tuple(due.shape) or (1,))
        np.testing.assert_array_equal(read.ravel(), due.detach().float().reshape(-1).numpy())
    assert open_checkpoint(tmp_path / "bare.pt").shapes == {"weight": (2, 3), "bias": (2,)}


# --- hostile pickles ---


class Reduce:
    def __init__(self, *reduced: Any) -> None:
        self.reduced = reduced

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reduced


class Plain:
    def __init__(self) -> None:
        self.x = 1


def _attacks(marker: str) -> dict[str, bytes]:
    command = f"touch {marker}"
    tensor = _tensor_pickle()
    return {
        "os.system": pickle.dumps({"model": Reduce(os.system, (command,))}, 2),
        "os.system, protocol 0": pickle.dumps({"model": Reduce(os.system, (command,))}, 0),
        "os.system, protocol 5": pickle.dumps({"model": Reduce(os.system, (command,))}, 5),
        "eval": pickle.dumps(Reduce(eval, (f"__import__('os').system('{command}')",))),
        "getattr chain": pickle.dumps(Reduce(getattr, (Reduce(__import__, ("os",)), "system"))),
        "an instance": pickle.dumps({"model": Plain()}),
        "INST": b"(S'" + command.encode() + b"'\nios\nsystem\n.",
        "OBJ": b"(ccollections\nOrderedDict\no.",
        "NEWOBJ": b"\x80\x02ccollections\nOrderedDict\n)\x81.",
        "torch.load": b"\x80\x02ctorch\nload\nX\x01\x00\x00\x00a\x85R.",
        "torch internals": b"\x80\x02ctorch._utils\n_rebuild_device_tensor_from_numpy\n)R.",
        "dotted name": b"\x80\x04\x8c\x0ctorch._utils"
        b"\x8c\x22_rebuild_tensor_v2.__globals__.get\x93.",
        "a list for a name": b"\x80\x04X\x05\x00\x00\x00torch]\x93.",
        "storage class called": b"\x80\x02ctorch\nFloatStorage\nK\x05\x85R.",
        "OrderedDict with arguments": b"\x80\x02ccollections\nOrderedDict\n]\x85R.",
        "tensor called": b"\x80\x02" + tensor + b")R.",
        "BUILD on a tensor": b"\x80\x02" + tensor + b"}b.",
        "BUILD on a class": b"\x80\x02ccollections\nOrderedDict\n}b.",
        "extension registry": b"\x80\x02\x82\x01.",
        "persistent id of text": b"Pos.system\n.",
        "persistent id of a number": b"\x80\x02K\x05Q.",
        "storage of OrderedDict": b"\x80\x02(X\x07\x00\x00\x00storage"
        b"ccollections\nOrderedDict\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01tQ.",
        "negative storage": pickled({"model": {X: whole("0", "FloatStorage", (1,))}}).replace(
            b"cpuK\x01t", b"cpuJ\xff\xff\xff\xfft"
        ),
        "stack underflow": b"\x80\x02ttt.",
        "no mark": b"\x80\x02K\x01t.",
        "no end": b"\x80\x02}",
        "empty": b"",
        "memo never set": b"\x80\x02h\x05.",
        "string longer than the pickle": b"\x80\x02\x8d\xff\xff\xff\xff\xff\xff\xff\x7fa.",
        "negative long": b"\x80\x02\x8b\xff\xff\xff\xff.",
        "number of a million digits": b"I" + b"9" * 1_000_000 + b"\n.",
        "append to a dict": b"\x80\x02}K\x01a.",
        "item into a list": b"\x80\x02]K\x01K\x02s.",
        "key without a value": b"\x80\x02}(K\x01u.",
        "deep tuple for a key": b"\x80\x02})" + b"\x85" * 100_000 + b"Ns.",
        "deep tuple for a size": pickled({"model": {X: whole("0", "FloatStorage", (1,))}}).replace(
            b"(K\x01t(K\x01t", b")" + b"\x85" * 100_000 + b"(K\x01t"
        ),
        "deep tuple for a storage": b"\x80\x02)" + b"\x85" * 100_000 + b"Q.",
        "only numbers": pickled({"model": {"a": 1}}),
        "a list": pickled([1, 2]),
        "too long": b"\x80\x02X"
        + struct.pack("<I", MAX_PICKLE_BYTES)
        + b"a" * MAX_PICKLE_BYTES
        + b".",
    }


def _tensor_pickle() -> bytes:
    return pickled(whole("0", "FloatStorage", (1,)))[2:-1]


@pytest.mark.parametrize("attack", _attacks("x"))
def test_a_hostile_pickle_is_one_line_and_runs_nothing(tmp_path: Path, attack: str) -> None:
    marker = tmp_path / "marker"
    data = _attacks(str(marker))[attack]
    path = write_zip(tmp_path / "c.pt", data, {"0": bytes(4)})
    with pytest.raises(DataError) as raised:
        open_checkpoint(path)
    message = str(raised.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    assert len(message) < 400
    assert not marker.exists()


def test_the_attack_would_work_on_pickle_itself(tmp_path: Path) -> None:
    """So the test above can fail."""
    marker = tmp_path / "marker"
    pickle.loads(_attacks(str(marker))["os.system"])
    assert marker.exists()


def test_a_huge_memo_index_costs_nothing() -> None:
    """CPython's own unpickler allocates a table of that length."""
    assert unpickle(b"\x80\x02K\x05r\xff\xff\xff\xff0j\xff\xff\xff\xff.") == 5


def test_deep_nesting_is_no_recursion() -> None:
    value = unpickle(b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".")
    assert len(value) == 1


@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")
@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_a_value_or_a_data_error(data: bytes) -> None:
    with contextlib.suppress(DataError):
        unpickle(b"\x80\x02" + data)


@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")
@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_mutated_pickle_is_a_value_or_a_data_error(data: st.DataObject) -> None:
    with zipfile.ZipFile(GOLDEN / "decay-only" / "checkpoint.pt") as archive:
        changed = bytearray(archive.read("checkpoint/data.pkl"))
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(DataError):
        unpickle(bytes(changed))


# --- hostile views and archives ---


@pytest.mark.parametrize(
    ("view", "message"),
    [
        (View("0", "FloatStorage", 24, 1, (4, 6), (6, 1)), "reaches element 24 of 24"),
        (View("0", "FloatStorage", 24, 0, (4, 6), (7, 1)), "reaches element 26 of 24"),
        (View("0", "FloatStorage", 24, 1 << 60, (1,), (1,)), "out of bounds"),
        (View("0", "FloatStorage", 25, 0, (4, 6), (6, 1)), "says 25 elements and has 96 bytes"),
        (View("0", "FloatStorage", 24, 0, (1 << 25,), (0,)), "more elements than its storage"),
        (View("0", "FloatStorage", 24, 0, (4, 6), (6,)), "2 sizes and 1 strides"),
        (View("0", "FloatStorage", 24, 0, (1,) * 9, (1,) * 9), "9 sizes and 9 strides"),
        (View("../0", "FloatStorage", 24, 0, (4, 6), (6, 1)), "not in the file"),
        (View("0", "ComplexFloatStorage", 24, 0, (4, 6), (6, 1)), "torch.ComplexFloatStorage"),
    ],
)
def test_a_view_past_its_storage_is_refused(tmp_path: Path, view: View, message: str) -> None:
    with pytest.raises(DataError, match=message):
        _one(tmp_path, view, bytes(96))


def test_whole_numbers_are_not_weights(tmp_path: Path) -> None:
    checkpoint = _one(tmp_path, whole("0", "LongStorage", (3,)), bytes(24))
    with pytest.raises(DataError, match=f"tensor {X}: I64 is not a floating-point type"):
        checkpoint.read(X, (3,))


def test_a_wrong_shape_names_the_tensor(tmp_path: Path) -> None:
    checkpoint = _one(tmp_path, whole("0", "FloatStorage", (2, 3)), bytes(24))
    with pytest.raises(DataError, match=rf"tensor {X}: shape \[2, 3\] .* \[3, 2\]"):
        checkpoint.read(X, (3, 2))
    with pytest.raises(DataError, match=f"tensor {Y}: missing"):
        checkpoint.read(Y, (3, 2))


def test_a_compressed_archive_is_refused_and_says_what_to_do(tmp_path: Path) -> None:
    pickle_ = pickled({"model": {X: whole("0", "FloatStorage", (1 << 20,))}})
    path = write_zip(
        tmp_path / "bomb.pt", pickle_, {"0": bytes(4 << 20)}, compression=zipfile.ZIP_DEFLATED
    )
    with pytest.raises(DataError, match=r"compressed; .* save it by torch\.save"):
        open_checkpoint(path)


def test_a_zip64_archive_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What torch.save writes past 4 GiB, here by lowering the limit of the writer."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 0)
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 0)
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    path = write_checkpoint(tmp_path / "c.pt", {X: values})
    assert b"PK\x06\x06" in path.read_bytes()
    np.testing.assert_array_equal(open_checkpoint(path).read(X, (2, 3)), values)


def test_other_archives_are_refused(tmp_path: Path) -> None:
    good = pickled({"model": {X: whole("0", "FloatStorage", (1,))}})
    path = write_zip(tmp_path / "c.pt", good, {"0": bytes(4)}, byteorder=b"big")
    with pytest.raises(DataError, match="byteorder is not little"):
        open_checkpoint(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(DataError, match=r"holds 0 data\.pkl"):
        open_checkpoint(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", good)
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a/data.pkl", good)
    with pytest.raises(DataError, match="occurs twice"):
        open_checkpoint(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    path.write_bytes(pickle.dumps(119547037146038801333356, 2) + bytes(50))  # before PyTorch 1.6
    with pytest.raises(DataError, match=r"before version 1\.6; load it and save it again"):
        open_checkpoint(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match="neither a PyTorch checkpoint"):
        open_checkpoint(path)
    with pytest.raises(MissingInputError, match="No such file"):
        open_checkpoint(tmp_path / "absent.pt")


@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_cut_or_changed_archive_is_read_or_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """PyTorch zips have no digests, so a changed weight can't be noticed; a crash would be."""
    path = tmp_path_factory.getbasetemp() / "mutated.pt"
    write_checkpoint(path, {X: np.ones((2, 2), np.float32)})
    raw = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        del raw[data.draw(st.integers(0, len(raw) - 1)) :]
    for _ in range(data.draw(st.integers(0, 3))):
        if raw:
            raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(raw)
    with contextlib.suppress(DataError):
        checkpoint = open_checkpoint(path)
        for name, tensor in checkpoint.tensors.items():
            checkpoint.read(name, tensor.shape or (1,))


def test_one_flipped_byte_anywhere_in_a_tensor_is_found(tmp_path: Path) -> None:
    source = write_checkpoint(tmp_path / "c.pt", state_dict())
    intact = source.read_bytes()
    with zipfile.ZipFile(source) as archive:
        entries = [e for e in archive.infolist() if "/data" in e.filename and e.file_size]
    for entry in entries:
        start = intact.index(entry.filename.encode(), entry.header_offset) + len(entry.filename)
        at = start + entry.file_size // 2
        source.write_bytes(intact[:at] + bytes([intact[at] ^ 1]) + intact[at + 1 :])
        with pytest.raises(DataError, match="checksum"):
            open_checkpoint(source)
