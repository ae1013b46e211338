"""Compiled event-driven accumulation: work only for messages that are not zero."""

# mypy: disable-error-code="untyped-decorator,no-untyped-def,no-untyped-call"
from __future__ import annotations

import numba
import numpy as np

_i2 = np.int16
_i4 = np.int32
FLUSH = 252
"""Rows of int8 that fit a 16-bit sum whatever they hold: 252 * 128 < 2^15."""


@numba.njit(nogil=True, cache=True)
def gather_rows(messages, weight, sums):
    """sums (R, N) int32 = binary messages (R, K) int8 times weight (K, N) int8: adds up the rows of the spikes."""
    rows, inputs = messages.shape
    size = weight.shape[1]
    index = np.empty(inputs + 1, dtype=np.int32)
    narrow = np.empty(size, dtype=np.int16)
    for r in range(rows):
        message = messages[r]
        events = 0
        for k in range(inputs):
            index[events] = k
            events += message[k] != 0
        out = sums[r]
        for n in range(size):
            out[n] = 0
        e = 0
        while e < events:
            end = min(events, e + FLUSH)
            for n in range(size):
                narrow[n] = 0
            while e + 4 <= end:
                w0 = weight[index[e]]
                w1 = weight[index[e + 1]]
                w2 = weight[index[e + 2]]
                w3 = weight[index[e + 3]]
                for n in range(size):
                    narrow[n] = _i2(narrow[n] + _i2(_i2(w0[n]) + _i2(w1[n])) + _i2(_i2(w2[n]) + _i2(w3[n])))
                e += 4
            while e < end:
                w0 = weight[index[e]]
                for n in range(size):
                    narrow[n] = _i2(narrow[n] + _i2(w0[n]))
                e += 1
            for n in range(size):
                out[n] = _i4(out[n] + _i4(narrow[n]))


@numba.njit(nogil=True, cache=True, fastmath=True)
def weigh(counts, fan, sums):
    """sums (R,) int64 = counts (R, N) int32 times fan (N,), in float64: exact below 2^53, in whatever order."""
    for r in range(counts.shape[0]):
        row = counts[r]
        total = 0.0
        for n in range(row.shape[0]):
            total += np.float64(row[n]) * np.float64(fan[n])
        sums[r] = np.int64(total)


@numba.njit(nogil=True, cache=True)
def count_live(left, right, left_key, right_key, keys, steps, found):
    """found (B,) += pairs of messages (B, rows, N), neither zero, that have the same key, over model steps.

    Beyond its last row an operand stays as it was.
    """
    one = np.zeros(keys, dtype=np.int64)
    other = np.zeros(keys, dtype=np.int64)
    for b in range(left.shape[0]):
        for t in range(steps):
            if t < left.shape[1]:
                one[:] = 0
                row = left[b, t]
                for n in range(row.shape[0]):
                    one[left_key[n]] += row[n] != 0
            if t < right.shape[1]:
                other[:] = 0
                row = right[b, t]
                for n in range(row.shape[0]):
                    other[right_key[n]] += row[n] != 0
            total = 0
            for k in range(keys):
                total += one[k] * other[k]
            found[b] += total


@numba.njit(nogil=True, cache=True)
def scatter_lists(messages, start, target, weight, sums):
    """sums (R, N) += messages (R, K) over lists of synapses by source: k owns start[k] .. start[k + 1]."""
    for r in range(messages.shape[0]):
        out = sums[r]
        for k in range(messages.shape[1]):
            m = messages[r, k]
            if m != 0:
                for s in range(start[k], start[k + 1]):
                    out[target[s]] += weight[s] * m


@numba.njit(nogil=True, cache=True)
def blocks_of_planes(images, first, blocks):
    """blocks (R, Y, X, C * s) of images (R, C, H, X'): s rows of one element (s pixels) from each channel, for every
    block; block 0 is `first` (y, x), in blocks of the image, and what lies outside it stays as it is."""
    rows, channels, height, width = images.shape
    per_block = blocks.shape[3] // channels
    for r in range(rows):
        for y in range(blocks.shape[1]):
            for c in range(channels):
                for i in range(per_block):
                    line = (y + first[0]) * per_block + i
                    if line < 0 or line >= height:
                        continue
                    start = max(0, first[1])
                    end = min(width, blocks.shape[2] + first[1])
                    source = images[r, c, line, start:end]
                    into = blocks[r, y, start - first[1] : end - first[1], c * per_block + i]
                    for x in range(source.shape[0]):
                        into[x] = source[x]


@numba.njit(nogil=True, cache=True)
def blocks_of_pixels(images, first, per_block, blocks):
    """blocks (R, Y, X, s, U) of images (R, H, X', U), U being s pixels with all their channels; else as above."""
    rows, height, width, unit = images.shape
    for r in range(rows):
        for y in range(blocks.shape[1]):
            for i in range(per_block):
                line = (y + first[0]) * per_block + i
                if line < 0 or line >= height:
                    continue
                start = max(0, first[1])
                end = min(width, blocks.shape[2] + first[1])
                for x in range(start, end):
                    source = images[r, line, x]
                    into = blocks[r, y, x - first[1], i]
                    for u in range(unit):
                        into[u] = source[u]


@numba.njit(nogil=True, cache=True)
def channel_conv(messages, height, width, out_height, out_width, stride, padding, dilation, weight, sums):
    """sums (R, H_out * W_out * C) += a kernel of its own for each channel, channels last; weight (kh, kw, C)."""
    kernel_h, kernel_w, channels = weight.shape
    for r in range(messages.shape[0]):
        for y in range(out_height):
            for i in range(kernel_h):
                row = y * stride[0] - padding[0] + i * dilation[0]
                if row < 0 or row >= height:
                    continue
                for x in range(out_width):
                    base = (y * out_width + x) * channels
                    into = sums[r, base : base + channels]
                    for j in range(kernel_w):
                        col = x * stride[1] - padding[1] + j * dilation[1]
                        if col < 0 or col >= width:
                            continue
                        first = (row * width + col) * channels
                        have = messages[r, first : first + channels]
                        taps = weight[i, j]
                        for c in range(channels):
                            into[c] += taps[c] * have[c]


@numba.njit(nogil=True, cache=True)
def scatter_conv(messages, height, width, groups, out_height, out_width, stride, padding, dilation, weight, sums):
    """sums (R, H_out * W_out * C_out) += convolution of messages (R, H * W * C), channels last.

    weight (C, kh, kw, C_out / groups): what a message of channel c adds at each tap.
    """
    channels, kernel_h, kernel_w, per_group = weight.shape
    c_out = per_group * groups
    in_group = channels // groups
    for r in range(messages.shape[0]):
        out = sums[r]
        source = 0
        for y in range(height):
            for x in range(width):
                for c in range(channels):
                    m = messages[r, source]
                    source += 1
                    if m == 0:
                        continue
                    offset = (c // in_group) * per_group
                    for i in range(kernel_h):
                        row = y + padding[0] - i * dilation[0]
                        if row < 0 or row % stride[0] != 0 or row // stride[0] >= out_height:
                            continue
                        for j in range(kernel_w):
                            col = x + padding[1] - j * dilation[1]
                            if col < 0 or col % stride[1] != 0 or col // stride[1] >= out_width:
                                continue
                            base = ((row // stride[0]) * out_width + col // stride[1]) * c_out + offset
                            into = out[base : base + per_group]
                            taps = weight[c, i, j]
                            for o in range(per_group):
                                into[o] += taps[o] * m
