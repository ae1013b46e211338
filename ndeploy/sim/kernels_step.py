"""Compiled sums of one model step: what a link or product adds to rows of inputs.

With `first` the rows (R, N), int32 or int64, are set, else they are added to. `exponent` shifts each link's sum (<< or
floor >>). Callers prove that nothing leaves the type of the rows or of the weights.
"""

# mypy: disable-error-code="untyped-decorator,no-untyped-def,no-untyped-call"
from __future__ import annotations

import numba
import numpy as np

_i8 = np.int64


@numba.njit(inline="always")
def _store(into, n, value, first):
    into[n] = value if first else into[n] + value


@numba.njit(nogil=True, cache=True)
def add_columns(sums, offset, exponent, into, first):
    """Columns from `offset` of sums (R, C), float or integer; into (R, N)."""
    size = into.shape[1]
    for r in range(into.shape[0]):
        source = sums[r, offset : offset + size]
        row = into[r]
        if exponent == 0:
            if first:
                for n in range(size):
                    row[n] = into.dtype.type(source[n])
            else:
                for n in range(size):
                    row[n] += into.dtype.type(source[n])
        else:
            for n in range(size):
                x = _i8(source[n])
                x = x << exponent if exponent > 0 else x >> -exponent
                _store(row, n, x, first)


@numba.njit(nogil=True, cache=True)
def add_blocks(messages, weight, exponent, into, first):
    """Groups that each map their K messages to their O sums: messages (R, K * G), weight (O, K, G), into (R, O * G)."""
    outputs, inputs, groups = weight.shape
    sums = np.empty(groups, dtype=weight.dtype)
    for r in range(messages.shape[0]):
        for o in range(outputs):
            for g in range(groups):
                sums[g] = 0
            k = 0
            while k + 4 <= inputs:
                f = k * groups
                m0 = messages[r, f : f + groups]
                m1 = messages[r, f + groups : f + 2 * groups]
                m2 = messages[r, f + 2 * groups : f + 3 * groups]
                m3 = messages[r, f + 3 * groups : f + 4 * groups]
                w0, w1, w2, w3 = weight[o, k], weight[o, k + 1], weight[o, k + 2], weight[o, k + 3]
                for g in range(groups):
                    sums[g] += m0[g] * w0[g] + m1[g] * w1[g] + m2[g] * w2[g] + m3[g] * w3[g]
                k += 4
            while k < inputs:
                f = k * groups
                m0 = messages[r, f : f + groups]
                w0 = weight[o, k]
                for g in range(groups):
                    sums[g] += m0[g] * w0[g]
                k += 1
            row = into[r, o * groups : (o + 1) * groups]
            if exponent > 0:
                for g in range(groups):
                    sums[g] <<= exponent
            elif exponent < 0:
                for g in range(groups):
                    sums[g] >>= -exponent
            if first:
                for g in range(groups):
                    row[g] = sums[g]
            else:
                for g in range(groups):
                    row[g] += sums[g]


@numba.njit(nogil=True, cache=True)
def add_runs(messages, target, source, length, weight, exponent, into, first):
    """Runs of neighbours, each with its weight: into[target[i] + j] gets messages[source[i] + j], j < length[i]."""
    for r in range(messages.shape[0]):
        for i in range(target.shape[0]):
            out = into[r, target[i] : target[i] + length[i]]
            have = messages[r, source[i] : source[i] + length[i]]
            w = weight[i]
            if w == 1 and exponent == 0:
                if first:
                    for n in range(out.shape[0]):
                        out[n] = have[n]
                else:
                    for n in range(out.shape[0]):
                        out[n] += have[n]
            else:
                for n in range(out.shape[0]):
                    x = _i8(have[n]) * w
                    x = x << exponent if exponent >= 0 else x >> -exponent
                    _store(out, n, x, first)


@numba.njit(nogil=True, cache=True)
def add_selected(messages, target, source, weight, exponent, into, first):
    """into[target[i]] gets weight[i] * messages[source[i]]; no target twice."""
    for r in range(messages.shape[0]):
        out = into[r]
        have = messages[r]
        for i in range(target.shape[0]):
            x = _i8(have[source[i]]) * weight[i]
            x = x << exponent if exponent >= 0 else x >> -exponent
            _store(out, target[i], x, first)


@numba.njit(nogil=True, cache=True)
def add_latched(left, right, exponent, into, first):
    """Vectors times matrices that stay: left (R, P * C), right (R, P, C, F), into (R, P * F).

    right's type holds every sum.
    """
    samples, parts, common, free = right.shape
    sums = np.empty(free, dtype=right.dtype)
    for r in range(samples):
        for p in range(parts):
            for f in range(free):
                sums[f] = 0
            c = 0
            while c + 4 <= common:
                at = p * common + c
                m0, m1, m2, m3 = left[r, at], left[r, at + 1], left[r, at + 2], left[r, at + 3]
                w0, w1, w2, w3 = right[r, p, c], right[r, p, c + 1], right[r, p, c + 2], right[r, p, c + 3]
                for f in range(free):
                    sums[f] += m0 * w0[f] + m1 * w1[f] + m2 * w2[f] + m3 * w3[f]
                c += 4
            while c < common:
                m0 = left[r, p * common + c]
                w0 = right[r, p, c]
                for f in range(free):
                    sums[f] += m0 * w0[f]
                c += 1
            out = into[r, p * free : (p + 1) * free]
            for f in range(free):
                _store(out, f, sums[f] >> exponent, first)
