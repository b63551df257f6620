"""Every kernel against its slow, obvious NumPy twin, at shapes that are multiples of nothing.

The instruction set is that of the environment variable EDGESPIKE_TEST_ISA; the last test runs this
file once more for each of the others.
"""

from __future__ import annotations

import os
import subprocess
import sys

import numba
import numpy as np
import pytest

from edgespike.kernels import compiler

ISA = os.environ.get("EDGESPIKE_TEST_ISA", "native")
compiler.configure(ISA)

import reference  # noqa: E402  (kernels are imported after the instruction set is chosen)

from edgespike.convert.quantise import pack  # noqa: E402
from edgespike.kernels import (  # noqa: E402
    attention,
    compact,
    dense,
    extremes,
    int_tiles,
    norm,
    simd,
    sparse,
    step,
    sync,
)
from edgespike.model import arrays  # noqa: E402

SIZES = [1, 2, 7, 31, 32, 33, 63, 127, 128, 129, 160, 200, 1000]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


def jit(function):  # type: ignore[no-untyped-def]
    return numba.njit(error_model="numpy")(function)


def integer_tile(tile):  # type: ignore[no-untyped-def]
    """A call of it whose results begin in column 1 of `out` [positions, 20]."""

    @jit
    def call(w, x, n, row_scale, column_scale, out):  # type: ignore[no-untyped-def]
        tile(w, 0, n, x, 0, x.shape[1], n, row_scale, 0, column_scale, 0, out, 1, 20)

    return call


APART, FEW = int_tiles.ROWS_APART, int_tiles.TILE_ROWS
# bits, call, rows, columns
INTEGER_TILES = [
    (8, integer_tile(int_tiles.int_rows), APART, 1),
    (8, integer_tile(int_tiles.int_pair), FEW, 2),
    (8, integer_tile(int_tiles.int_block), FEW, int_tiles.TILE_COLUMNS),
    (4, integer_tile(int_tiles.int4_rows), APART, 1),
    (4, integer_tile(int_tiles.int4_pair), FEW, 2),
    (4, integer_tile(int_tiles.int4_block), FEW, int_tiles.TILE_COLUMNS),
]


@jit
def float_row(w, x, n, out):  # type: ignore[no-untyped-def]
    simd.float_row(w, 0, n, x, 0, n, n, out, 1)


@jit
def float_block(w, x, n, out):  # type: ignore[no-untyped-def]
    simd.float_block(w, 0, n, x, 0, n, n, out, 1)


@pytest.mark.parametrize("n", [*SIZES, 8192, 8193, 20_000])
@pytest.mark.parametrize("extreme", [False, True], ids=["random", "largest"])
def test_integer_tiles_are_exact(n: int, extreme: bool, rng: np.random.Generator) -> None:
    """Even where every product is the largest there is, past what 32 bits hold."""
    x = np.zeros((int_tiles.TILE_COLUMNS, -(-n // 64) * 64), np.int16)
    x[:, :n] = 32767 if extreme else rng.integers(-32767, 32768, (len(x), n), np.int16)
    row_scale, column_scale = rng.random(APART, np.float32), rng.random(len(x), np.float32)
    for bits, tile, rows, columns in INTEGER_TILES:
        most = 127 if bits == 8 else 7
        w = rng.integers(-most, most + 1, (rows, n), np.int8)
        if extreme:
            w[:] = -most
        exact = (x[:columns, :n].astype(np.int64) @ w.T.astype(np.int64)).astype(np.float32)
        expected = exact * column_scale[:columns, None] * row_scale[:rows]
        stored = w if bits == 8 else pack(w).view(np.int8)
        # What lies behind the weights must not count.
        followed = np.append(stored.reshape(-1), np.full(64, 77, np.int8))
        out = np.full((len(x), 20), -7, np.float32)
        tile(followed, x, stored.shape[1], row_scale, column_scale, out)
        np.testing.assert_array_equal(out[:columns, 1 : 1 + rows], expected)
        out[:columns, 1 : 1 + rows] = -7
        assert (out == -7).all()


@pytest.mark.parametrize("n", SIZES)
def test_float_tiles_add_sixteen_lanes_in_one_order(n: int, rng: np.random.Generator) -> None:
    """Bit for bit: lanes in steps of 16, folded in halves, then the rest one by one."""
    w, x = rng.standard_normal((2, n), np.float32), rng.standard_normal((4, n), np.float32)

    def twin(a: np.ndarray, b: np.ndarray) -> np.float32:
        lanes = np.zeros(16, np.float32)
        whole = n // 16 * 16
        for at in range(0, whole, 16):
            lanes += a[at : at + 16] * b[at : at + 16]
        while lanes.size > 1:
            lanes = lanes[: lanes.size // 2] + lanes[lanes.size // 2 :]
        total = lanes[0]
        for i in range(whole, n):
            total += a[i] * b[i]
        return total

    out = np.zeros(10, np.float32)
    float_block(w.reshape(-1), x.reshape(-1), n, out)
    assert out.tolist() == [0, *(twin(a, b) for a in w for b in x), 0]
    float_row(w[1], x[3], n, out)
    assert out[1] == twin(w[1], x[3])


@pytest.mark.parametrize("n", SIZES)
def test_quantise_is_exact_and_keeps_zeros(n: int, rng: np.random.Generator) -> None:
    x = np.stack([rng.standard_normal(n), np.zeros(n)]).astype(np.float32)
    q, scale = np.ones((2, n), np.int16), np.ones(2, np.float32)
    for row in range(2):
        dense.quantise(x, row, n, q, scale)
    peak = np.abs(x[0]).max()
    assert scale.tolist() == [peak / np.float32(32767), 0]
    np.testing.assert_array_equal(q[0], np.rint(x[0] * (np.float32(32767) / peak)))
    np.testing.assert_array_equal(q[1], 0)


def scratch_for(m: int, width: int) -> arrays.Scratch:
    from edgespike.model.config import ModelConfig
    from edgespike.model.state import new_scratch

    config = ModelConfig(
        vocab_size=8, embed_dim=width, n_layers=1, n_heads=1, head_dim=width,
        intermediate_dim=width, window=1, anchors=0, active_vocab=8,
    )  # fmt: skip
    return new_scratch(config, m, 1)


def weights_of(data: np.ndarray, precision: int) -> arrays.Weights:
    image = np.frombuffer(data.tobytes() + bytes(-data.nbytes % 4), np.uint8)
    return arrays.Weights(
        bytes8=image.view(np.int8),
        floats=image.view(np.float32),
        layers=np.zeros((1, arrays.LAYER_COLUMNS), np.int64),
        ends=np.zeros(arrays.END_ENTRIES, np.int64),
        decay=np.zeros((1, 1), np.float32),
        gate=np.zeros(1, np.float32),
        inverse_frequency=np.zeros(1),
        precision=precision,
    )


@pytest.mark.parametrize("m", [1, 2, 3, 4, 5, 8, 9, 32])
@pytest.mark.parametrize(("rows", "n"), [(1, 1), (3, 33), (17, 50), (40, 64), (9, 200)])
@pytest.mark.parametrize("precision", [arrays.INT8, arrays.INT4], ids=["int8", "int4"])
def test_project_is_exact_for_any_rows_and_positions(
    precision: int, m: int, rows: int, n: int, rng: np.random.Generator
) -> None:
    most = 127 if precision == arrays.INT8 else 7
    numbers = rng.integers(-most, most + 1, (rows, n), np.int8)
    w = numbers if precision == arrays.INT8 else pack(numbers)
    scale = rng.random(rows, np.float32)
    start = -(-w.nbytes // 4) * 4 + 64
    data = w.tobytes() + b"M" * (start - w.nbytes) + scale.tobytes()
    weights = weights_of(np.frombuffer(data, np.uint8), precision)
    x = rng.standard_normal((m, n)).astype(np.float32)
    q, q_scale = np.zeros((m + 3, -(-n // 64) * 64), np.int16), np.zeros(m + 3, np.float32)
    for p in range(m):
        dense.quantise(x, p, n, q, q_scale)
    out = np.full((m, rows), np.nan, np.float32)
    first, last = rows // 3, rows
    scratch = scratch_for(m, n + n % 2)
    dense.project(weights, 0, start // 4, first, last, n, x, q, q_scale, m, out, scratch, 0)
    total = (q[:m, :n].astype(np.int64) @ numbers.T.astype(np.int64)).astype(np.float32)
    expected = total * q_scale[:m, None] * scale
    np.testing.assert_array_equal(out[:, first:], expected[:, first:])
    assert np.isnan(out[:, :first]).all()
    for r in range(rows):
        whole = dense.exact_product(weights, 0, r, n, x[0])
        assert whole == pytest.approx(numbers[r].astype(np.float64) @ x[0], rel=1e-12, abs=1e-9)


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 255, 256, 257, 600])
@pytest.mark.parametrize("extreme", [False, True], ids=["random", "largest"])
def test_accumulate_int8_is_exact(count: int, extreme: bool, rng: np.random.Generator) -> None:
    inputs, outputs = 700, 37
    w = rng.integers(-127, 128, (inputs, outputs), np.int8)
    if extreme:
        w[:] = -127
    fired = np.sort(rng.choice(inputs, count, replace=False)).astype(np.int32)
    weights, scratch = weights_of(w, arrays.INT8), scratch_for(1, 64)
    for first, last in [(0, outputs), (5, 20), (36, 37), (4, 4)]:
        sparse.clear(weights, first, last, scratch, 0)
        sparse.accumulate(weights, 0, inputs, outputs, fired, count, first, last, scratch, 0)
        expected = w[fired, first:last].astype(np.int64).sum(0)
        np.testing.assert_array_equal(scratch.sum32[0, first:last], expected)


@pytest.mark.parametrize("count", [0, 1, 4, 90])
def test_accumulate_float_adds_in_one_order_in_both_layouts(
    count: int, rng: np.random.Generator
) -> None:
    inputs, outputs = 100, 37
    w = rng.standard_normal((inputs, outputs), np.float32)
    fired = np.sort(rng.choice(inputs, count, replace=False)).astype(np.int32)
    expected = np.zeros(outputs, np.float32)
    for row in fired:
        expected += w[row]
    scratch = scratch_for(1, 64)
    for data, precision in [(w, arrays.FP32), (w.T.copy(), arrays.FP32_ROWMAJOR)]:
        weights = weights_of(data, precision)
        sparse.clear(weights, 3, outputs, scratch, 0)
        sparse.accumulate(weights, 0, inputs, outputs, fired, count, 3, outputs, scratch, 0)
        result = sparse.finish(weights, 0, 3, outputs, scratch, 0)
        np.testing.assert_array_equal(result, expected[3:])


@pytest.mark.parametrize("n", SIZES[1:])
def test_layer_norm_matches_the_twin(n: int, rng: np.random.Generator) -> None:
    x = (3 + 2 * rng.standard_normal(n)).astype(np.float32)
    weight, bias = rng.standard_normal((2, n), np.float32)
    floats = np.concatenate([weight, bias])
    out, cell = np.zeros(n, np.float32), np.zeros(8, np.float32)
    norm.layer_norm(x, out, n, floats, 0, n, np.ones(n, np.float32), cell)
    np.testing.assert_allclose(out, reference.layer_norm(x, weight, bias), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("n", [1, 63, 64, 65, 301])
def test_fire_lists_the_indices_at_or_above_the_threshold(n: int, rng: np.random.Generator) -> None:
    for shift in (-9, 0, 9):
        x = (rng.standard_normal(n) + shift).astype(np.float32)
        x[[0, n - 1]] = 1.0
        index = np.zeros(n, np.int32)
        count = norm.fire(x, n, np.float32(1.0), index)
        np.testing.assert_array_equal(index[:count], np.flatnonzero(x >= 1.0))


def test_exp_is_accurate_and_vanishes_far_below_zero() -> None:
    x = np.concatenate([-np.logspace(-8, np.log10(86.9), 5000), [0.0]]).astype(np.float32)
    ours = np.array([attention.exp32(v) for v in x])
    np.testing.assert_allclose(ours, np.exp(x.astype(np.float64)), rtol=4e-7)
    assert attention.exp32(np.float32(-88)) == 0
    assert attention.exp32(np.float32(-1e30)) == 0


def visible_slots(position: int, window: int, anchors: int) -> list[int]:
    parts = [attention.visible_part(part, position, window, anchors) for part in range(3)]
    return [slot for first, last in parts for slot in range(first, last)]


@pytest.mark.parametrize("position", [0, 1, 3, 17, 63, 70, 300])
@pytest.mark.parametrize(("window", "anchors"), [(0, 0), (5, 2), (40, 4), (63, 0)])
@pytest.mark.parametrize("dim", [2, 6, 16, 63, 64])
def test_attend_matches_softmax_over_the_unmasked_slots(
    position: int, window: int, anchors: int, dim: int, rng: np.random.Generator
) -> None:
    keys, values = rng.standard_normal((2, 96, dim), np.float32)
    q = rng.standard_normal(dim, np.float32) * 3
    cache, slots = np.zeros(96 * dim * 8, np.int8), np.full((2, 96), -1, np.float32)
    own = attention.slot_of(position, window, anchors)
    fired = [slot for slot in range(96) if slot == own or rng.random() < 0.6]
    for slot in fired:
        attention.keep(cache, slots, slot, keys[slot], values[slot])
    seen = [slot for slot in visible_slots(position, window, anchors) if slot in fired]
    scores = keys[seen].astype(np.float64) @ q / np.sqrt(dim)
    p = np.exp(scores - scores.max())
    expected = (p / p.sum()) @ values[seen]
    out = q.copy()
    scratch = attention_scratch(dim)
    attention.attend(out, cache, slots, position, window, anchors, scratch, 0)
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-6)


def attention_scratch(dim: int) -> arrays.Scratch:
    """For heads of that many dimensions and 96 slots."""
    from edgespike.model.config import ModelConfig
    from edgespike.model.state import new_scratch

    config = ModelConfig(
        vocab_size=8, embed_dim=dim, n_layers=1, n_heads=1, head_dim=dim,
        intermediate_dim=8, window=80, anchors=4, active_vocab=8,
    )  # fmt: skip
    return new_scratch(config, 1, 1)


@pytest.mark.parametrize(("kv", "bits"), [(arrays.KV_INT16, 16), (arrays.KV_INT8, 8)])
@pytest.mark.parametrize("position", [0, 1, 17, 63, 70, 300])
@pytest.mark.parametrize(("window", "anchors"), [(0, 0), (5, 2), (40, 4)])
@pytest.mark.parametrize("dim", [2, 6, 10, 64, 70, 130])
def test_attend_compact_matches_softmax_over_the_rounded_keys_and_values(
    kv: int, bits: int, position: int, window: int, anchors: int, dim: int, rng: np.random.Generator
) -> None:
    limit = 2 ** (bits - 1) - 1
    keys, values = rng.standard_normal((2, 96, dim), np.float32)
    keys[7], values[8] = 0, 0
    q = rng.standard_normal(dim, np.float32) * 3
    across, down = -(-dim // 8) * 8, -(-dim // 64) * 64
    cache = np.zeros(96 * (across + down) * bits // 8, np.int8)
    slots = np.full((2, 96), -1, np.float32)
    own = attention.slot_of(position, window, anchors)
    fired = [slot for slot in range(96) if slot == own or rng.random() < 0.6]
    scratch = attention_scratch(dim)
    for slot in fired:
        compact.keep_compact(kv, cache, slots, slot, keys[slot], values[slot], scratch, 0)
    kept = cache.view(f"i{bits // 8}")
    k = kept[: 96 * across].reshape(6, across // 2, 16, 2).transpose(0, 2, 1, 3)
    v = kept[96 * across :].reshape(down // 64, 48, 64, 2).transpose(1, 3, 0, 2)
    k = k.reshape(96, across)[:, :dim] * slots[0, :, None].astype(np.float64)
    v = v.reshape(96, down)[:, :dim] * slots[1, :, None].astype(np.float64)
    for exact, rounded in ((keys, k), (values, v)):
        step = np.abs(exact[fired]).max(axis=1, keepdims=True) / limit
        assert (np.abs(exact[fired] - rounded[fired]) <= step * 0.51).all()
    seen = [slot for slot in visible_slots(position, window, anchors) if slot in fired]
    scores = k[seen] @ q / np.sqrt(dim)
    p = np.exp(scores - scores.max())
    p /= p.sum()
    out = q.copy()
    compact.attend_compact(kv, out, cache, slots, position, window, anchors, scratch, 0)
    # Query and weights are rounded to 16 bits.
    near = 2e-4 * np.abs(v[seen]).max()
    np.testing.assert_allclose(out, p @ v[seen], rtol=0, atol=near + 1e-9)


@pytest.mark.parametrize("n", SIZES)
def test_the_largest_is_found_wherever_it_is(n: int, rng: np.random.Generator) -> None:
    @jit
    def both(x, least):  # type: ignore[no-untyped-def]
        peak = extremes.largest_magnitude(x, x.size, least)
        return extremes.largest(x, x.size, least), peak

    for at in {0, n // 2, n - 1}:
        x = rng.random(n, np.float32)
        x[at] = 2
        assert both(x, np.float32(0)) == (2, 2)
        assert both(x, np.float32(3)) == (3, 3)
        assert both(-x, np.float32(-9)) == (-x.min(), 2)


@pytest.mark.parametrize("position", [0, 1, 5, 1000])
def test_rotation_matches_the_twin(position: int, rng: np.random.Generator) -> None:
    vector = rng.standard_normal(10).astype(np.float32)
    frequency = 10000.0 ** (-2.0 * np.arange(5) / 10)
    cosine, sine = np.zeros((2, 5), np.float32)
    attention.rotary(frequency, position, cosine, sine)
    expected = reference.rotate(vector[None], position, 10000.0)[0]
    attention.rotate(vector, 5, cosine, sine)
    np.testing.assert_allclose(vector, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("window", "anchors"), [(0, 0), (3, 0), (3, 2), (2, 9), (7, 4)])
def test_a_position_sees_the_anchors_and_the_window_and_nothing_else(
    window: int, anchors: int
) -> None:
    """Also after positions were taken back: what they overwrote was out of sight."""
    held: dict[int, int] = {}
    for position in range(60):
        for ahead in range(position, position + arrays.LOOKAHEAD + 1):
            held[attention.slot_of(ahead, window, anchors)] = ahead
        seen = [held[slot] for slot in visible_slots(position, window, anchors)]
        expected = [k for k in range(position + 1) if position - k <= window or k < anchors]
        assert sorted(seen) == expected
        assert max(held) < anchors + window + 1 + arrays.LOOKAHEAD


def test_what_is_compiled_is_counted() -> None:
    def more(number: int) -> int:
        return number + 1

    before = compiler.compiled()
    part = compiler.inlined(more)
    assert compiler.compiled() == (before[0], before[1] + 1)
    assert part(1) == 2
    assert compiler.compiled() == (before[0] + 1, before[1] + 1)


def test_threads_meet_at_the_barrier() -> None:
    """Each of three threads sees what the others wrote before the barrier, a thousand times."""
    from edgespike.engine.workers import Workers

    @numba.njit(nogil=True)
    def meet(board, thread, threads, counter):  # type: ignore[no-untyped-def]
        wrong = 0
        for turn in range(1, 1001):
            board[thread] = turn
            sync.wait(counter, threads)
            for other in range(threads):
                wrong += board[other] != turn
            sync.wait(counter, threads)
        return wrong

    board, wrong = np.zeros(3, np.int64), np.full(3, -1)

    def work(thread: int, threads: int, counter: np.ndarray) -> None:
        wrong[thread] = meet(board, thread, threads, counter)

    workers = Workers(3)
    workers.run(work)
    workers.close()
    assert wrong.tolist() == [0, 0, 0]


def test_shares_cover_everything_once() -> None:
    for n in (1, 15, 16, 17, 100):
        for grain in (1, 16):
            for threads in (1, 2, 3, 7):
                shares = [step._share(n, grain, t, threads) for t in range(threads)]
                covered = [i for first, last in shares for i in range(first, last)]
                assert covered == list(range(n))


@pytest.mark.skipif("EDGESPIKE_TEST_ISA" in os.environ, reason="this is one of the runs it starts")
@pytest.mark.parametrize("isa", ["avx2", "generic"])
def test_the_other_instruction_sets_pass_all_of_the_above(isa: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__],
        env=os.environ | {"EDGESPIKE_TEST_ISA": isa},
        capture_output=True,
        text=True,
        check=False,
    )
    if "no AVX2" in run.stdout:
        pytest.skip("this CPU has no AVX2 instructions")
    assert run.returncode == 0, run.stdout[-3000:]
