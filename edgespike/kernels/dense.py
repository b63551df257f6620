"""Dense projections: every weight is read, once for all positions of a step."""

from __future__ import annotations

import numpy as np

from edgespike.kernels.compiler import inlined
from edgespike.kernels.simd import (
    TILE_COLUMNS,
    TILE_ROWS,
    float_block,
    float_row,
    int_block,
    int_row,
    int_row4,
)
from edgespike.model.arrays import INT8

LIMIT = 32767  # activations enter integer products as int16
# Rows that stay in the L1 cache while every block of four positions passes over them.
ROW_BLOCK = 8
_ROUND = np.float32(12582912.0)  # 1.5 * 2**23: adding and subtracting it rounds half to even


@inlined
def quantise(x, row, n, q, scales):
    """q[row, :n] = rint(x[row, :n] / scale) with scale = max|x| / 32767; zeros stay zeros."""
    largest = np.float32(0.0)
    for i in range(n):
        largest = max(largest, abs(x[row, i]))
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


@inlined
def _rows_int(weights, offset, scale_offset, first, last, n, q, q_scale, m, out, cells):
    w, scale = weights.bytes8, weights.floats
    flat = q.reshape(q.size)
    stride = q.shape[1]
    for block in range(first, last, ROW_BLOCK):
        end = min(block + ROW_BLOCK, last)
        p = 0
        while p < m:
            columns = min(TILE_COLUMNS, m - p)
            # The first positions to pass over a block fetch the next one.
            ahead = ROW_BLOCK * n if p == 0 else 0
            r = block
            while r < end:
                rows = TILE_ROWS if m > TILE_COLUMNS and columns > 1 and r + TILE_ROWS <= end else 1
                at = offset + r * n
                if rows > 1:
                    int_block(w, at, n, flat, p * stride, stride, n, cells, 0, ahead)
                elif columns > 1:
                    int_row4(w, at, n, flat, p * stride, stride, n, cells, 0, 0)
                else:
                    for c in range(columns):
                        int_row(w, at, n, flat, (p + c) * stride, stride, n, cells, c, 0)
                for i in range(rows):
                    row_scale = scale[scale_offset + r + i]
                    for c in range(columns):
                        total = np.float32(cells[i * TILE_COLUMNS + c])
                        out[p + c, r + i] = total * q_scale[p + c] * row_scale
                r += rows
            p += columns


@inlined
def _rows_float(weights, offset, first, last, n, x, m, out, cells):
    w = weights.floats
    flat = x.reshape(x.size)
    stride = x.shape[1]
    for block in range(first, last, ROW_BLOCK):
        end = min(block + ROW_BLOCK, last)
        p = 0
        while p < m:
            columns = min(TILE_COLUMNS, m - p)
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
                        out[p + c, r + i] = cells[i * TILE_COLUMNS + c]
                r += rows
            p += columns


@inlined
def project(weights, offset, scale_offset, first, last, n, x, q, q_scale, m, out, scratch, thread):
    """out[:m, first:last] = W[first:last] x for an output-major matrix W of n inputs.

    Integer models read the quantised `q` and `q_scale`, float models `x`; both have a multiple of
    four rows, because a block of positions may read past m. The result for a position depends
    neither on m nor on which rows a thread takes.
    """
    if weights.precision == INT8:
        cells = scratch.tile_int[thread]
        _rows_int(weights, offset, scale_offset, first, last, n, q, q_scale, m, out, cells)
    else:
        _rows_float(weights, offset, first, last, n, x, m, out, scratch.tile_float[thread])
