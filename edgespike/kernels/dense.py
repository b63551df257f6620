"""Dense projections: every weight is read, once for all positions of a step."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgespike.kernels.compiler import inlined
from edgespike.kernels.extremes import largest_magnitude
from edgespike.kernels.int_tiles import (
    ROWS_APART,
    TILE_COLUMNS,
    TILE_ROWS,
    int4_block,
    int4_pair,
    int4_rows,
    int_block,
    int_pair,
    int_rows,
)
from edgespike.kernels.simd import FLOAT_COLUMNS, float_block, float_row
from edgespike.model.arrays import INT4, INT8
from edgespike.model.tensors import CHUNK, CHUNK_BYTES

LIMIT = 32767  # activations enter integer products as int16
# Rows that stay in the L1 cache while every block of four positions passes over them.
ROW_BLOCK = 8
_ROUND = np.float32(12582912.0)  # 1.5 * 2**23: adding and subtracting it rounds half to even


@inlined
def quantise(x, row, n, q, scales):
    """q[row, :n] = rint(x[row, :n] / scale) with scale = max|x| / 32767; zeros stay zeros."""
    largest = largest_magnitude(x[row], n, np.float32(0.0))
    if largest == np.float32(0.0):
        scales[row] = np.float32(0.0)
        for i in range(n):
            q[row, i] = 0
        return
    inverse = np.float32(LIMIT) / largest
    scales[row] = largest / np.float32(LIMIT)
    for i in range(n):
        rounded = (x[row, i] * inverse + _ROUND) - _ROUND
        q[row, i] = np.int16(rounded)


def _rows_int(rows_tile: Any, pair_tile: Any, block_tile: Any) -> Any:
    """The projection of some rows of n bytes each by tiles for 1, 2, and 3 or 4 positions."""

    @inlined
    def project_rows(weights, offset, scale_offset, first, last, n, q, q_scale, m, out, cells):
        w, scale = weights.bytes8, weights.floats
        stride, outputs = q.shape[1], out.shape[1]
        for block in range(first, last, ROW_BLOCK):
            end = min(block + ROW_BLOCK, last)
            for p in range(0, m, TILE_COLUMNS):
                columns = min(TILE_COLUMNS, m - p)
                x = p * stride
                r = block
                while columns == 1 and r + ROWS_APART <= end:
                    at, s, to = offset + r * n, scale_offset + r, p * outputs + r
                    rows_tile(w, at, n, q, x, stride, n, scale, s, q_scale, p, out, to, outputs)
                    r += ROWS_APART
                while columns > 1 and r + TILE_ROWS <= end:
                    at, s, to = offset + r * n, scale_offset + r, p * outputs + r
                    if columns == TILE_COLUMNS:
                        block_tile(
                            w, at, n, q, x, stride, n, scale, s, q_scale, p, out, to, outputs
                        )
                    elif columns == 2:
                        pair_tile(w, at, n, q, x, stride, n, scale, s, q_scale, p, out, to, outputs)
                    else:
                        block_tile(
                            w, at, n, q, x, stride, n, scale, s, q_scale, p, cells, 0, TILE_ROWS
                        )
                        for c in range(columns):
                            for i in range(TILE_ROWS):
                                out[p + c, r + i] = cells[c * TILE_ROWS + i]
                    r += TILE_ROWS
                while r < end:  # too few for a tile: the same row several times
                    at, s = offset + r * n, scale_offset + r
                    for c in range(columns):
                        y = x + c * stride
                        rows_tile(w, at, 0, q, y, stride, n, scale, s, q_scale, p + c, cells, 0, 0)
                        out[p + c, r] = cells[0]
                    r += 1

    return project_rows


_rows_int8 = _rows_int(int_rows, int_pair, int_block)
_rows_int4 = _rows_int(int4_rows, int4_pair, int4_block)


@inlined
def _rows_float(weights, offset, first, last, n, x, m, out, cells):
    w = weights.floats
    flat = x.reshape(x.size)
    stride = x.shape[1]
    for block in range(first, last, ROW_BLOCK):
        end = min(block + ROW_BLOCK, last)
        p = 0
        while p < m:
            columns = min(FLOAT_COLUMNS, m - p)
            r = block
            while r < end:
                rows = 2 if columns > 1 and r + 2 <= end else 1
                at = offset + r * n
                if rows == 2:
                    float_block(w, at, n, flat, p * stride, stride, n, cells, 0)
                else:
                    for c in range(columns):
                        float_row(w, at, n, flat, (p + c) * stride, stride, n, cells, c)
                for i in range(rows):
                    for c in range(columns):
                        out[p + c, r + i] = cells[i * FLOAT_COLUMNS + c]
                r += rows
            p += columns


@inlined
def project(weights, offset, scale_offset, first, last, n, x, q, q_scale, m, out, scratch, thread):
    """out[:m, first:last] = W[first:last] x for an output-major matrix W of n inputs.

    Integer models read the quantised `q` and `q_scale`, float models `x`; both have a multiple of
    four rows, because a block of positions may read past m. The result for a position depends
    neither on m nor on which rows a thread takes.
    """
    cells = scratch.tile_float[thread]
    if weights.precision == INT8:
        _rows_int8(weights, offset, scale_offset, first, last, n, q, q_scale, m, out, cells)
    elif weights.precision == INT4:
        n = _row_bytes(n)
        _rows_int4(weights, offset, scale_offset, first, last, n, q, q_scale, m, out, cells)
    else:
        _rows_float(weights, offset, first, last, n, x, m, out, cells)


@inlined
def _row_bytes(n):
    """Bytes of a row of n 4-bit weights."""
    return (n + CHUNK - 1) // CHUNK * CHUNK_BYTES


@inlined
def largest_weight(precision):
    """The largest whole number that a dense-fed weight of an integer model is."""
    return 7 if precision == INT4 else 127


@inlined
def exact_product(weights, offset, r, n, x):
    """Row r of an integer matrix times x[:n] in float64, before the scale of the row."""
    w = weights.bytes8
    total = 0.0
    if weights.precision == INT8:
        row = w[offset + r * n : offset + (r + 1) * n]
        for i in range(n):
            total += np.float64(row[i]) * x[i]
        return total
    row = w[offset + r * _row_bytes(n) : offset + (r + 1) * _row_bytes(n)]
    for i in range(n):
        place = i % CHUNK
        byte = row[i // CHUNK * CHUNK_BYTES + place % CHUNK_BYTES]
        weight = byte >> 4 if place >= CHUNK_BYTES else np.int8(byte << 4) >> 4
        total += np.float64(weight) * x[i]
    return total
