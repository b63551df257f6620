"""One step: every position through the encoder, all layers and the head, in one compiled call.

Each thread of a step runs this same function on its share: of the positions where a whole vector
is needed (norms, quantising), of the heads in the attention, of the output rows elsewhere. `wait`
divides the phases. How the work is shared never changes a result, because every output element is
computed by one thread in a fixed order.
"""

from __future__ import annotations

import math

import numpy as np

from edgespike.kernels.attention import attend, keep, rotary, rotate, slot_of
from edgespike.kernels.compact import attend_compact, keep_compact
from edgespike.kernels.compiler import inlined, kernel
from edgespike.kernels.dense import exact_product, largest_weight, project, quantise
from edgespike.kernels.extremes import largest
from edgespike.kernels.norm import fire, layer_norm
from edgespike.kernels.sparse import accumulate, clear, finish
from edgespike.kernels.sync import wait
from edgespike.model import arrays as a

_LEFT, _RIGHT = np.float32(-3.0), np.float32(3.0)
_ONE, _HALF, _ZERO = np.float32(1.0), np.float32(0.5), np.float32(0.0)
_ROOT_HALF = np.float32(math.sqrt(0.5))


@inlined
def _share(n, grain, thread, threads):
    """This thread's part [first, last) of n elements, cut at multiples of `grain`."""
    units = (n + grain - 1) // grain
    first = units * thread // threads * grain
    last = units * (thread + 1) // threads * grain
    return min(first, n), min(last, n)


@inlined
def _encode(weights, shape, state, trail, scratch, step, thread, threads, counter):
    """Embedding, norm, leaky membrane, spikes (definition, step 1)."""
    dim, m = shape.dim, step.tokens.size
    floats, bytes8 = weights.floats, weights.bytes8
    table, scales = weights.ends[a.EMBED], weights.ends[a.END_SCALES + a.EMBED]
    for p in range(thread, m, threads):
        token = step.tokens[p]
        x = scratch.x[p]
        if weights.precision >= a.INT8:
            scale = floats[scales + token]
            for i in range(dim):
                x[i] = np.float32(bytes8[table + token * dim + i]) * scale
        else:
            for i in range(dim):
                x[i] = floats[table + token * dim + i]
        norm, bias = weights.ends[a.EMBED_NORM], weights.ends[a.EMBED_BIAS]
        layer_norm(x, x, dim, floats, norm, bias, scratch.ones, scratch.tile_float[thread])
        if weights.precision >= a.INT8:
            quantise(scratch.x, p, dim, scratch.q, scratch.q_scale)
        rotary(weights.inverse_frequency, step.positions[p], scratch.cosine[p], scratch.sine[p])
    wait(counter, threads)
    if thread == 0:  # a scan over positions: one thread does it
        for p in range(m):
            membrane = state.membrane[step.owners[p]]
            x, index = scratch.x[p], scratch.spike_index[p]
            for i in range(dim):
                membrane[i] = min(max(shape.leak * membrane[i] + x[i], _LEFT), _RIGHT)
            count = fire(membrane, dim, shape.threshold, index)
            for k in range(count):
                membrane[index[k]] = _ZERO
            scratch.spike_count[p] = count
            spikes = state.spikes[step.owners[p]]
            spikes[0] += count
            row = step.trail_row[p]
            if row >= 0:
                trail.spikes[step.owners[p], row, 0] = spikes[0]
                trail.membrane[step.owners[p], row, :] = membrane
    wait(counter, threads)


@inlined
def _attend_head(shape, state, scratch, step, layer, head, thread):
    """Step 2.3 for one head: all positions one after the other, while the second-level cache holds
    its keys and values.
    """
    d = shape.head_dim
    at = head * d
    window, anchors = shape.window, shape.anchors
    for p in range(step.tokens.size):
        owner, position = step.owners[p], step.positions[p]
        cache, slots = state.cache[owner, layer, head], state.slots[owner, layer, head]
        q, k = scratch.mixed[p, at : at + d], scratch.k[p, at : at + d]
        slot = slot_of(position, window, anchors)
        if scratch.spike_count[p] == 0:
            slots[a.KEY, slot] = -_ONE
            for i in range(d):
                q[i] = _ZERO
            continue
        rotate(q, d // 2, scratch.cosine[p], scratch.sine[p])
        rotate(k, d // 2, scratch.cosine[p], scratch.sine[p])
        if shape.kv == a.KV_FP32:
            keep(cache, slots, slot, k, scratch.v[p, at : at + d])
            attend(q, cache, slots, position, window, anchors, scratch, thread)
        else:
            v = scratch.v[p, at : at + d]
            keep_compact(shape.kv, cache, slots, slot, k, v, scratch, thread)
            attend_compact(shape.kv, q, cache, slots, position, window, anchors, scratch, thread)


@inlined
def _mix_heads(weights, shape, state, trail, scratch, step, layer, thread, threads):
    """Steps 2.1 to 2.4 for this thread's heads; leaves m in scratch.mixed."""
    m, dim, d = step.tokens.size, shape.dim, shape.head_dim
    table = weights.layers[layer]
    first_head, last_head = _share(shape.heads, 1, thread, threads)
    first, last = first_head * d, last_head * d
    if first == last:
        return
    any_fired = False
    for p in range(m):
        any_fired = any_fired or scratch.spike_count[p] > 0
    if shape.attention and any_fired:
        for which in range(3):
            out = scratch.mixed if which == 0 else scratch.k if which == 1 else scratch.v
            column = a.QUERY + which
            project(
                weights,
                table[column],
                table[a.MATRICES + column],
                first,
                last,
                dim,
                scratch.x,
                scratch.q,
                scratch.q_scale,
                m,
                out,
                scratch,
                thread,
            )
    if shape.attention:
        for head in range(first_head, last_head):
            _attend_head(shape, state, scratch, step, layer, head, thread)
    gate = weights.gate[layer]
    for p in range(m):
        owner, count, mixed = step.owners[p], scratch.spike_count[p], scratch.mixed[p]
        clear(weights, first, last, scratch, thread)
        index = scratch.spike_index[p]
        offset = table[a.TCAM]
        accumulate(weights, offset, dim, dim, index, count, first, last, scratch, thread)
        t = finish(weights, table[a.MATRICES + a.TCAM], first, last, scratch, thread)
        memory = state.memory[owner, layer, first:last]
        for head in range(last_head - first_head):
            decay = weights.decay[layer, first_head + head]
            h, new = memory[head * d : head * d + d], t[head * d : head * d + d]
            for i in range(d):
                h[i] = decay * h[i] + (_ONE - decay) * new[i]
        row = step.trail_row[p]
        if row >= 0:
            trail.memory[owner, row, layer, first:last] = memory
        out = mixed[first:last]
        if shape.attention:
            for i in range(last - first):
                out[i] = gate * out[i] + (_ONE - gate) * memory[i]
        else:
            for i in range(last - first):
                out[i] = memory[i]


@inlined
def _threshold_up(weights, shape, scratch, m, layer, first, last, thread):
    """u = (W_up x >= threshold) for rows [first, last) as a list of indices per position.

    Rounding x to 16 bits would decide some rows wrongly that lie next to the threshold, and a wrong
    spike changes everything after it. Where the rounding could matter the row is computed again, in
    float64 on the unrounded x: about one row in ten thousand. The bound is three standard
    deviations of the rounding error at the largest possible weights, ten at ordinary ones.
    """
    dim = shape.dim
    table = weights.layers[layer]
    scale, offset = table[a.MATRICES + a.UP], table[a.UP]
    spread = np.float32(largest_weight(weights.precision) * math.sqrt(dim))
    for p in range(m):
        up, index, x = scratch.up[p, first:last], scratch.up_index[p, first:last], scratch.x[p]
        slack = _ZERO
        if weights.precision >= a.INT8:
            row_scales = weights.floats[scale + first : scale + last]
            slack = largest(row_scales, row_scales.size, _ZERO) * scratch.q_scale[p] * spread
        likely = fire(up, last - first, shape.threshold - slack, index)
        count = 0
        for k in range(likely):
            r = np.int64(index[k])
            fires = up[r] >= shape.threshold
            if weights.precision >= a.INT8:
                row_scale = weights.floats[scale + first + r]
                if abs(up[r] - shape.threshold) <= row_scale * scratch.q_scale[p] * spread:
                    exact = exact_product(weights, offset, first + r, dim, x)
                    fires = exact * row_scale >= shape.threshold
            index[count] = first + r
            count += np.int64(fires)
        scratch.up_count[thread, p] = count


@inlined
def _feed_forward(weights, shape, scratch, m, layer, thread, threads, counter):
    """Step 2.6 up to the sum: y = x + W_down u."""
    dim, hidden = shape.dim, shape.hidden
    table = weights.layers[layer]
    first, last = _share(hidden, 16, thread, threads)
    project(
        weights,
        table[a.UP],
        table[a.MATRICES + a.UP],
        first,
        last,
        dim,
        scratch.x,
        scratch.q,
        scratch.q_scale,
        m,
        scratch.up,
        scratch,
        thread,
    )
    _threshold_up(weights, shape, scratch, m, layer, first, last, thread)
    wait(counter, threads)
    first, last = _share(dim, 16, thread, threads)
    # All positions over 256 or 128 columns at a time, whose rows the second-level cache holds:
    # prefill 8 or 16 % slower.
    for p in range(m):
        clear(weights, first, last, scratch, thread)
        for other in range(threads):
            start, _ = _share(hidden, 16, other, threads)
            index, count = scratch.up_index[p, start:], scratch.up_count[other, p]
            offset = table[a.DOWN]
            accumulate(weights, offset, hidden, dim, index, count, first, last, scratch, thread)
        total = finish(weights, table[a.MATRICES + a.DOWN], first, last, scratch, thread)
        x, y = scratch.x[p, first:last], scratch.y[p, first:last]
        for i in range(last - first):
            y[i] = x[i] + total[i]
    wait(counter, threads)


@inlined
def _layer(weights, shape, state, trail, scratch, step, layer, thread, threads, counter):
    m, dim = step.tokens.size, shape.dim
    table = weights.layers[layer]
    integer = weights.precision >= a.INT8
    _mix_heads(weights, shape, state, trail, scratch, step, layer, thread, threads)
    wait(counter, threads)
    if integer:
        for p in range(thread, m, threads):
            quantise(scratch.mixed, p, dim, scratch.q, scratch.q_scale)
        wait(counter, threads)
    first, last = _share(dim, 16, thread, threads)
    project(
        weights,
        table[a.OUT],
        table[a.MATRICES + a.OUT],
        first,
        last,
        dim,
        scratch.mixed,
        scratch.q,
        scratch.q_scale,
        m,
        scratch.y,
        scratch,
        thread,
    )
    for p in range(m):
        x, y = scratch.x[p, first:last], scratch.y[p, first:last]
        for i in range(last - first):
            y[i] += x[i]
    wait(counter, threads)
    cell = scratch.tile_float[thread]
    for p in range(thread, m, threads):
        norm, bias = table[a.TCAM_NORM], table[a.TCAM_BIAS]
        layer_norm(scratch.y[p], scratch.x[p], dim, weights.floats, norm, bias, scratch.ones, cell)
        if integer:
            quantise(scratch.x, p, dim, scratch.q, scratch.q_scale)
    wait(counter, threads)
    _feed_forward(weights, shape, scratch, m, layer, thread, threads, counter)
    for p in range(thread, m, threads):
        norm, bias = table[a.FFN_NORM], table[a.FFN_BIAS]
        x = scratch.x[p]
        layer_norm(scratch.y[p], x, dim, weights.floats, norm, bias, scratch.ones, cell)
        scratch.spike_count[p] = fire(x, dim, shape.threshold, scratch.spike_index[p])
        if integer:
            quantise(scratch.x, p, dim, scratch.q, scratch.q_scale)
    wait(counter, threads)
    if thread == 0:
        for p in range(m):
            spikes = state.spikes[step.owners[p]]
            spikes[1 + layer] += scratch.spike_count[p]
            for other in range(threads):
                spikes[1 + shape.layers + layer] += scratch.up_count[other, p]
            row = step.trail_row[p]
            if row >= 0:
                for stage in (1 + layer, 1 + shape.layers + layer):
                    trail.spikes[step.owners[p], row, stage] = spikes[stage]


@inlined
def _head(weights, shape, scratch, step, thread, threads, counter):
    """Step 3 for the positions whose logits are wanted."""
    dim, prior, rows = shape.dim, shape.prior, step.logits.shape[0]
    integer = weights.precision >= a.INT8
    for p in range(thread, step.tokens.size, threads):
        row = step.logit_row[p]
        if row >= 0:
            scratch.head_x[row] = scratch.x[p]
    wait(counter, threads)
    if integer:
        for row in range(thread, rows, threads):
            quantise(scratch.head_x, row, dim, scratch.q, scratch.q_scale)
        wait(counter, threads)
    if shape.dynamic_prior:
        first, last = _share(prior, 16, thread, threads)
        project(
            weights,
            weights.ends[a.PRIOR_IN],
            weights.ends[a.END_SCALES + a.PRIOR_IN],
            first,
            last,
            dim,
            scratch.head_x,
            scratch.q,
            scratch.q_scale,
            rows,
            scratch.prior,
            scratch,
            thread,
        )
        for row in range(rows):
            hidden = scratch.prior[row, first:last]
            for i in range(last - first):
                hidden[i] = (
                    _HALF * hidden[i] * (_ONE + np.float32(math.erf(hidden[i] * _ROOT_HALF)))
                )
        wait(counter, threads)
        if integer:
            for row in range(thread, rows, threads):
                quantise(scratch.prior, row, prior, scratch.q_prior, scratch.q_prior_scale)
            wait(counter, threads)
    first, last = _share(shape.vocab, 16, thread, threads)
    ends, logits, prior_logits = weights.ends, step.logits, step.prior_logits
    project(
        weights,
        ends[a.HEAD],
        ends[a.END_SCALES + a.HEAD],
        first,
        last,
        dim,
        scratch.head_x,
        scratch.q,
        scratch.q_scale,
        rows,
        logits,
        scratch,
        thread,
    )
    if shape.dynamic_prior:
        project(
            weights,
            ends[a.PRIOR_OUT],
            ends[a.END_SCALES + a.PRIOR_OUT],
            first,
            last,
            prior,
            scratch.prior,
            scratch.q_prior,
            scratch.q_prior_scale,
            rows,
            prior_logits,
            scratch,
            thread,
        )
    for row in range(rows):
        out = logits[row, first:last]
        if shape.dynamic_prior:
            other = prior_logits[row, first:last]
            for r in range(last - first):
                out[r] += shape.prior_weight * other[r]
        else:
            log_prior = weights.floats[ends[a.LOG_PRIOR] + first : ends[a.LOG_PRIOR] + last]
            for r in range(last - first):
                out[r] += shape.prior_weight * log_prior[r]


@kernel
def advance(weights, shape, state, trail, scratch, step, thread, threads, counter):
    """Advance sessions by the positions of `step`, as thread `thread` of `threads`.

    All threads must call it with the same arguments. Positions of one session follow each other.
    Fills `step.logits`, updates `state` and, where asked to, `trail`.
    """
    _encode(weights, shape, state, trail, scratch, step, thread, threads, counter)
    for layer in range(shape.layers):
        _layer(weights, shape, state, trail, scratch, step, layer, thread, threads, counter)
    if step.logits.shape[0] > 0:
        _head(weights, shape, scratch, step, thread, threads, counter)
    wait(counter, threads)
