"""Compiled bookkeeping of activity: a bit for each sample, so that one operation serves all samples of a word.

Words are uint8, uint32 or uint64, (W, R, N): bit b of word w stands for sample w * (bits of a word) + b.
"""

# mypy: disable-error-code="untyped-decorator,no-untyped-def,no-untyped-call"
from __future__ import annotations

import numba
import numpy as np

_u1 = np.uint8
_u8 = np.uint64
BLOCK = 1024
"""Neurons whose words and messages stay in the first-level cache while the samples are gone through."""


@numba.njit(nogil=True, cache=True)
def pack(messages, steps_first, words, start, part):
    """words (W, T, N) from step `start` on = which messages are not zero; messages (t, B, N) if steps_first, else
    (B, t, N), contiguous. part: BLOCK unsigned integers as wide as a message, so that no lane changes its width."""
    samples, steps = messages.shape[:2]
    if steps_first:
        samples, steps = steps, samples
    lanes = words.itemsize * 8
    group = min(lanes, part.itemsize * 8)
    for t in range(steps):
        for first in range(0, words.shape[2], BLOCK):
            end = min(words.shape[2], first + BLOCK)
            bits = part[: end - first]
            for w in range(words.shape[0]):
                out = words[w, start + t, first:end]
                for n in range(out.shape[0]):
                    out[n] = 0
                for b in range(w * lanes, min(samples, (w + 1) * lanes), group):
                    _gather(messages, steps_first, b, min(samples, b + group), t, first, bits)
                    shift = _u8(b - w * lanes)
                    for n in range(out.shape[0]):
                        out[n] = words.dtype.type(_u8(out[n]) | (_u8(bits[n]) << shift))


@numba.njit(inline="always")
def _row(messages, steps_first, b, t, first, size):
    return messages[t, b, first : first + size] if steps_first else messages[b, t, first : first + size]


@numba.njit(inline="always")
def _eight(kind, m0, m1, m2, m3, m4, m5, m6, m7):
    """Bits of eight messages; the masks are constants, which is what makes it fast."""
    a = kind(kind(m0 != 0) | kind(kind(m1 != 0) * kind(2)))
    b = kind(kind(kind(m2 != 0) * kind(4)) | kind(kind(m3 != 0) * kind(8)))
    c = kind(kind(kind(m4 != 0) * kind(16)) | kind(kind(m5 != 0) * kind(32)))
    d = kind(kind(kind(m6 != 0) * kind(64)) | kind(kind(m7 != 0) * kind(128)))
    return kind(kind(a | b) | kind(c | d))


@numba.njit(nogil=True, cache=True)
def _first_eight(messages, steps_first, b, t, first, bits):
    """bits (N,) = a bit for each of eight samples from b on."""
    size = bits.shape[0]
    kind = bits.dtype.type
    r0 = _row(messages, steps_first, b, t, first, size)
    r1 = _row(messages, steps_first, b + 1, t, first, size)
    r2 = _row(messages, steps_first, b + 2, t, first, size)
    r3 = _row(messages, steps_first, b + 3, t, first, size)
    r4 = _row(messages, steps_first, b + 4, t, first, size)
    r5 = _row(messages, steps_first, b + 5, t, first, size)
    r6 = _row(messages, steps_first, b + 6, t, first, size)
    r7 = _row(messages, steps_first, b + 7, t, first, size)
    for n in range(size):
        bits[n] = _eight(kind, r0[n], r1[n], r2[n], r3[n], r4[n], r5[n], r6[n], r7[n])


@numba.njit(nogil=True, cache=True)
def _next_eight(messages, steps_first, b, t, first, k, bits):
    """As `_first_eight`, from bit k on; apart from it because bytes have no shift and would take twice the time."""
    size = bits.shape[0]
    kind = bits.dtype.type
    r0 = _row(messages, steps_first, b, t, first, size)
    r1 = _row(messages, steps_first, b + 1, t, first, size)
    r2 = _row(messages, steps_first, b + 2, t, first, size)
    r3 = _row(messages, steps_first, b + 3, t, first, size)
    r4 = _row(messages, steps_first, b + 4, t, first, size)
    r5 = _row(messages, steps_first, b + 5, t, first, size)
    r6 = _row(messages, steps_first, b + 6, t, first, size)
    r7 = _row(messages, steps_first, b + 7, t, first, size)
    for n in range(size):
        eight = _eight(kind, r0[n], r1[n], r2[n], r3[n], r4[n], r5[n], r6[n], r7[n])
        bits[n] = kind(bits[n] | kind(eight << kind(k)))


@numba.njit(nogil=True, cache=True)
def _one(row, k, bits):
    """Bit k of bits (N,) for one sample's messages."""
    kind = bits.dtype.type
    mask = kind(kind(1) << kind(k))
    for n in range(bits.shape[0]):
        bits[n] = kind(bits[n] | (mask if row[n] != 0 else kind(0)))


@numba.njit(nogil=True, cache=True)
def _gather(messages, steps_first, b, end, t, first, bits):
    """bits (N,) = a bit for each of the samples b .. end - 1."""
    size = bits.shape[0]
    k = 0
    if b + 8 <= end:
        _first_eight(messages, steps_first, b, t, first, bits)
        k = 8
    else:
        for n in range(size):
            bits[n] = 0
    while b + k + 8 <= end:
        _next_eight(messages, steps_first, b + k, t, first, k, bits)
        k += 8
    while b + k < end:
        _one(_row(messages, steps_first, b + k, t, first, size), k, bits)
        k += 1


@numba.njit(inline="always")
def _bits(x):
    """How many bits are set (Warren, Hacker's Delight, figure 5-2)."""
    x = x - ((x >> _u8(1)) & _u8(0x5555555555555555))
    x = (x & _u8(0x3333333333333333)) + ((x >> _u8(2)) & _u8(0x3333333333333333))
    x = (x + (x >> _u8(4))) & _u8(0x0F0F0F0F0F0F0F0F)
    return (x * _u8(0x0101010101010101)) >> _u8(56)


@numba.njit(nogil=True, cache=True)
def add_bits(words, sums):
    """sums (R, N) int32 grow by the bits of words (W, R, N)."""
    for w in range(words.shape[0]):
        for r in range(words.shape[1]):
            have, into = words[w, r], sums[r]
            for n in range(have.shape[0]):
                into[n] = np.int32(into[n] + np.int32(_bits(_u8(have[n]))))


@numba.njit(nogil=True, cache=True)
def any_heard(words, heard):
    """heard (R, 1) = words (R, N) of all neurons together."""
    for r in range(words.shape[0]):
        row = words[r]
        found = row[0]
        for n in range(row.shape[0]):
            found |= row[n]
        heard[r, 0] = found


@numba.njit(nogil=True, cache=True)
def conv_heard(words, last, channels, groups, size, kernel, stride, padding, dilation, heard):
    """heard (R, groups, Y, X): what any tap of a convolution's window sees of words (R, N), channels last or first.

    size, kernel, stride, padding, dilation: (height, width) each.
    """
    height, width = size
    places = height * width
    group = channels // groups
    maps = np.empty((groups, places), dtype=words.dtype)
    line = np.empty(width, dtype=words.dtype)
    mixed = np.empty(groups, dtype=words.dtype)
    for r in range(words.shape[0]):
        row = words[r]
        if (
            last and group == 1 and groups > 1
        ):  # a kernel of its own for each channel: taps of all channels lie together
            for y in range(heard.shape[2]):
                for x in range(heard.shape[3]):
                    for g in range(groups):
                        mixed[g] = 0
                    for i in range(kernel[0]):
                        up = y * stride[0] - padding[0] + i * dilation[0]
                        for j in range(kernel[1]):
                            left = x * stride[1] - padding[1] + j * dilation[1]
                            if 0 <= up < height and 0 <= left < width:
                                p = up * width + left
                                here = row[p * groups : (p + 1) * groups]
                                for g in range(groups):
                                    mixed[g] |= here[g]
                    for g in range(groups):
                        heard[r, g, y, x] = mixed[g]
            continue
        if last:
            for p in range(places):
                for g in range(groups):
                    here = row[p * channels + g * group : p * channels + (g + 1) * group]
                    found = here[0]
                    for c in range(1, group):
                        found |= here[c]
                    maps[g, p] = found
        else:
            for g in range(groups):
                into = maps[g]
                for c in range(group):
                    first = (g * group + c) * places
                    here = row[first : first + places]
                    if c == 0:
                        for p in range(places):
                            into[p] = here[p]
                    else:
                        for p in range(places):
                            into[p] |= here[p]
        for g in range(groups):
            for y in range(heard.shape[2]):
                for x in range(width):
                    line[x] = 0
                for i in range(kernel[0]):
                    up = y * stride[0] - padding[0] + i * dilation[0]
                    if 0 <= up < height:
                        here = maps[g, up * width : (up + 1) * width]
                        for x in range(width):
                            line[x] |= here[x]
                out = heard[r, g, y]
                for x in range(out.shape[0]):
                    out[x] = 0
                for j in range(kernel[1]):
                    shift = j * dilation[1] - padding[1]
                    first = max(0, -(shift // stride[1]))  # the first window whose tap lies inside
                    end = min(out.shape[0], (width - 1 - shift) // stride[1] + 1)
                    if stride[1] == 1:
                        if end > first:
                            seen, into = line[first + shift : end + shift], out[first:end]
                            for x in range(into.shape[0]):
                                into[x] |= seen[x]
                    else:
                        for x in range(first, end):
                            out[x] |= line[x * stride[1] + shift]


@numba.njit(nogil=True, cache=True)
def lists_heard(words, in_start, in_source, out_start, out_target, heard):
    """heard (R, N_out) of words (R, N_in) over lists of synapses, by target and by source.

    Where few sources are active their synapses are followed; else each target asks its sources until it has heard of
    every sample in which any source is active, which with dense activity a few of them do.
    """
    for r in range(words.shape[0]):
        row, out = words[r], heard[r]
        full = words.dtype.type(0)
        active = 0
        for n in range(row.shape[0]):
            full |= row[n]
            active += row[n] != 0
        if active * 4 < row.shape[0]:
            for n in range(out.shape[0]):
                out[n] = 0
            for k in range(row.shape[0]):
                word = row[k]
                if word != 0:
                    for s in range(out_start[k], out_start[k + 1]):
                        out[out_target[s]] |= word
            continue
        for n in range(out.shape[0]):
            found = words.dtype.type(0)
            for s in range(in_start[n], in_start[n + 1]):
                found |= row[in_source[s]]
                if found == full:
                    break
            out[n] = found


@numba.njit(nogil=True, cache=True)
def products_heard(left, right, lag, sizes, left_steps, right_steps, out_steps, heard, live):
    """Scalar products of a contraction: heard (W, updates, N_out) |=, live (steps, n) int32 += those of two messages.

    left, right: words (W, rows, N); beyond the last row an operand stays as it was. sizes: of each index; *_steps: how
    far apart neighbours along it lie in the operands and the result. live has no columns where none are counted.
    """
    indices = len(sizes)
    inner = sizes[indices - 1]
    count = 1
    for i in range(indices - 1):
        count *= sizes[i]
    il, ir, io = left_steps[indices - 1], right_steps[indices - 1], out_steps[indices - 1]
    keep = live.shape[1] > 0
    place = np.zeros(indices, dtype=np.int64)
    for w in range(left.shape[0]):
        for step in range(live.shape[0]):
            a = left[w, min(step, left.shape[1] - 1)]
            b = right[w, min(step, right.shape[1] - 1)]
            taken = step + lag < heard.shape[1]
            if not taken and not keep:
                break
            out = heard[w, min(step + lag, heard.shape[1] - 1)]
            place[:] = 0
            for outer in range(count):
                al, bl, ol = 0, 0, 0
                for i in range(indices - 1):
                    al += place[i] * left_steps[i]
                    bl += place[i] * right_steps[i]
                    ol += place[i] * out_steps[i]
                for n in range(inner):
                    word = a[al + n * il] & b[bl + n * ir]
                    if keep:
                        live[step, outer * inner + n] += np.int32(_bits(_u8(word)))
                    if taken:
                        out[ol + n * io] |= word
                for i in range(indices - 2, -1, -1):
                    place[i] += 1
                    if place[i] < sizes[i]:
                        break
                    place[i] = 0
