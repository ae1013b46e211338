"""Compiled updates of graded neurons: the same integers as `step` in ndeploy/neurons, with their overflow counted.

Arithmetic is in 64 bits; callers prove that no intermediate leaves them (ndeploy/sim/graded.py). Sums (R, N) are int32
or int64, messages (R, N) int8, int32 or int64, parameters (N,) int64, all in simulator order; events are added to.
Loops read and write few arrays each: LLVM vectorises a loop only where it can test in few comparisons that they do not
overlap. Divisions are made in float64: floor(a / b) is exact for |a| < 2^53, since a quotient that is no integer lies
at least 1 / b from one and its rounding error is below |a| / (b 2^53). Indices are unsigned: numba does not test them.
"""

# mypy: disable-error-code="untyped-decorator,no-untyped-def,no-untyped-call"
from __future__ import annotations

import math

import numba
import numpy as np

from ndeploy import fixed

_i8 = np.int64
_u4 = np.uint32
_u8 = np.uint64
_STATE = fixed.STATE_MAX
_LIMIT = 16 << fixed.FRACTION_BITS
_STEP = 8
_EXP2_STEP = 6
_ONE = (1 << fixed.FRACTION_BITS) - 1
_ALIGNED = (1 << 20) - 1


def _packed(table, bits):
    """An entry and its distance to the next in one word, so that a look-up is one load."""
    return ((table[:-1] << bits) | np.abs(np.diff(table))).astype(np.uint32 if bits == 16 else np.uint64)


SIGMOID = _packed(fixed.sigmoid((np.arange(514) << _STEP) - _LIMIT), 16)
EXP2 = _packed(np.append(fixed.exp2_negative(np.arange(64) << _EXP2_STEP), 1 << 15), 32)


@numba.njit(inline="always")
def _rescale(x, multiplier, shift):
    return (x * multiplier + ((_i8(1) << shift) >> _i8(1))) >> shift


@numba.njit(nogil=True, cache=True)
def affine(sums, bias, multiplier, shift, low, high, floor, events, messages):
    """messages = rescale(sums + bias) within low .. high; events: below `floor` or above high, input beyond 24 bits."""
    for r in range(sums.shape[0]):
        a, out = sums[r], messages[r]
        clipped = _i8(0)
        beyond = _i8(0)
        for n in range(a.shape[0]):
            x = _i8(a[n]) + bias[n]
            y = _rescale(x, multiplier[n], shift[n])
            clipped += _i8((y < floor) | (y > high))
            beyond += _i8((x > _STATE) | (x < -_STATE))
            out[n] = min(max(y, low), high)
        events[0] += clipped
        events[1] += beyond


@numba.njit(nogil=True, cache=True)
def gate(
    sums, gates, table, bias, gate_bias, gate_multiplier, gate_shift, multiplier, shift, low, high, floor, events,
    messages,
):  # fmt: skip
    """messages = (sums + bias) sigmoid(gates + gate_bias), scaled; events: clipped, input and gate beyond 24 bits."""
    size = sums.shape[1]
    position = np.empty(size, dtype=np.uint32)
    entry = np.empty(size, dtype=np.uint32)
    for r in range(sums.shape[0]):
        a, b, out = sums[r], gates[r], messages[r]
        gate_beyond = _i8(0)
        for n in range(size):
            g = _i8(b[n]) + gate_bias[n]
            y = _rescale(g, gate_multiplier[n], gate_shift[n])
            position[n] = _u4(min(max(y, _i8(-_LIMIT)), _i8(_LIMIT)) + _i8(_LIMIT))
            gate_beyond += _i8((g > _STATE) | (g < -_STATE))
        for n in range(size):
            entry[n] = table[position[n] >> _u4(_STEP)]
        clipped = _i8(0)
        beyond = _i8(0)
        for n in range(size):
            part = _u4(position[n] & _u4((1 << _STEP) - 1))
            rise = _u4(_u4(_u4(_u4(entry[n] & _u4(65535)) * part) + _u4(1 << (_STEP - 1))) >> _u4(_STEP))
            x = _i8(a[n]) + bias[n]
            v = (x * _i8(_u4(_u4(entry[n] >> _u4(16)) + rise)) + _i8(1 << 14)) >> _i8(15)
            y = _rescale(v, multiplier[n], shift[n])
            clipped += _i8((y < floor) | (y > high))
            beyond += _i8((x > _STATE) | (x < -_STATE))
            out[n] = min(max(y, low), high)
        events[0] += clipped
        events[1] += beyond
        events[2] += gate_beyond


@numba.njit(inline="always")
def _normalise(a, x, bias, multiplier, shift, gain, offset, gain_shift, epsilon, high, out, events):
    """One group: a, out and the parameters (n,), x (n,) scratch."""
    n = a.shape[0]
    total = _i8(0)
    beyond = _i8(0)
    outside = _i8(0)
    for i in range(n):
        s = _i8(a[i]) + bias[i]
        y = _rescale(s, multiplier[i], shift[i])
        beyond += _i8((s > _STATE) | (s < -_STATE))
        outside += _i8((y > _ALIGNED) | (y < -_ALIGNED))
        y = min(max(y, _i8(-_ALIGNED)), _i8(_ALIGNED))
        x[i] = y
        total += y
    events[1] += beyond
    events[2] += outside
    mean = (_i8(2) * total + n) // (_i8(2) * n)
    square = _i8(0)
    for i in range(n):
        c = x[i] - mean
        x[i] = c
        square += c * c
    spread = (square // n + epsilon) << _i8(16)
    root = _i8(math.sqrt(np.float64(spread)))
    if root * root > spread:
        root -= _i8(1)
    if (root + _i8(1)) * (root + _i8(1)) <= spread:
        root += _i8(1)
    root = max(root, _i8(1))
    below = np.float64(_i8(2) * root)
    clipped = _i8(0)
    for i in range(n):
        y = _i8(math.floor(np.float64((x[i] << _i8(21)) + root) / below))
        z = (y * gain[i] + offset[i] + ((_i8(1) << gain_shift[i]) >> _i8(1))) >> gain_shift[i]
        clipped += _i8((z > high) | (z < -high - _i8(1)))
        out[i] = min(max(z, -high - _i8(1)), high)
    events[0] += clipped


@numba.njit(nogil=True, cache=True)
def layer_norm(
    sums, outer, n, inner, bias, multiplier, shift, gain, offset, gain_shift, epsilon, high, events, messages
):
    """Over the middle of rows viewed as (outer, n, inner); events: clipped, input beyond 24 bits, aligned beyond 20."""
    x = np.empty(n, dtype=np.int64)
    for r in range(sums.shape[0]):
        a, out = sums[r], messages[r]
        for o in range(outer):
            f = o * n * inner
            if inner == 1:
                e = f + n
                _normalise(
                    a[f:e], x, bias[f:e], multiplier[f:e], shift[f:e], gain[f:e], offset[f:e], gain_shift[f:e],
                    epsilon, high, out[f:e], events,
                )  # fmt: skip
            else:
                for j in range(f, f + inner):
                    e = f + n * inner
                    _normalise(
                        a[j:e:inner], x, bias[j:e:inner], multiplier[j:e:inner], shift[j:e:inner], gain[j:e:inner],
                        offset[j:e:inner], gain_shift[j:e:inner], epsilon, high, out[j:e:inner], events,
                    )  # fmt: skip


@numba.njit(nogil=True, cache=True)
def softmax(sums, n, table, multiplier, shift, high, events, messages):
    """Over each n neighbours of a row; events[0]: input beyond 24 bits."""
    x = np.empty(n, dtype=np.int64)
    for r in range(sums.shape[0]):
        beyond = _i8(0)
        for f in range(0, sums.shape[1], n):
            a, out = sums[r, f : f + n], messages[r, f : f + n]
            by, right = multiplier[f : f + n], shift[f : f + n]
            top = _i8(-(2**62))
            for i in range(n):
                s = _i8(a[i])
                beyond += _i8((s > _STATE) | (s < -_STATE))
                x[i] = _rescale(s, by[i], right[i])
                top = max(top, x[i])
            total = _i8(0)
            for i in range(n):
                d = top - x[i]
                whole = min(d >> _i8(fixed.FRACTION_BITS), _i8(40))
                part = d & _i8(_ONE)
                entry = table[_u8(part >> _i8(_EXP2_STEP))]
                rest = part & _i8((1 << _EXP2_STEP) - 1)
                down = (-_i8(entry & _u8(2**32 - 1)) * rest + _i8(1 << (_EXP2_STEP - 1))) >> _i8(_EXP2_STEP)
                e = (_i8(entry >> _u8(32)) + down) >> whole
                x[i] = e
                total += e
            for i in range(n):
                out[i] = _i8(math.floor(np.float64(_i8(2) * x[i] * high + total) / np.float64(_i8(2) * total)))
        events[0] += beyond


@numba.njit(nogil=True, cache=True)
def synchrony(left, right, exponent, alpha, tick, factor, table, shift, high, messages, trace, events):
    """left, right, messages (B, T, N); alpha (B, N) int64 is changed; the first step is number `tick`; trace (B, T, N)
    of alpha or an empty array; events: clipped, alpha beyond 24 bits."""
    traced = trace.shape[0] > 0
    half = (_i8(1) << exponent) >> _i8(1)
    for b in range(left.shape[0]):
        state = alpha[b]
        for t in range(left.shape[1]):
            one, other, out = left[b, t], right[b, t], messages[b, t]
            row = table[min(tick + t, table.shape[0] - 1)]
            clipped = _i8(0)
            beyond = _i8(0)
            for n in range(one.shape[0]):
                kept = state[n] * factor[n]
                kept = (kept + ((kept >> _i8(63)) & _i8(4095))) >> _i8(12)
                x = kept + ((_i8(one[n]) * _i8(other[n]) + half) >> exponent)
                beyond += _i8((x > _STATE) | (x < -_STATE))
                x = min(max(x, _i8(-_STATE)), _i8(_STATE))
                state[n] = x
            for n in range(one.shape[0]):
                y = _rescale(state[n], row[n], shift[n])
                clipped += _i8((y > high) | (y < -high - _i8(1)))
                out[n] = min(max(y, -high - _i8(1)), high)
            events[0] += clipped
            events[1] += beyond
            if traced:
                trace[b, t] = state


@numba.njit(nogil=True, cache=True)
def count_rows(messages, columns):
    """columns (R, N) int32 grow by one where messages (R, N) are not zero."""
    for r in range(messages.shape[0]):
        row, count = messages[r], columns[r]
        for n in range(row.shape[0]):
            count[n] += np.int32(row[n] != 0)


@numba.njit(nogil=True, cache=True)
def register(sums, low, high, messages):
    """messages = sums (R, N); how many lie outside low .. high."""
    outside = 0
    for r in range(sums.shape[0]):
        a, out = sums[r], messages[r]
        beyond = np.int32(0)
        for n in range(a.shape[0]):
            beyond += np.int32((a[n] < low) | (a[n] > high))
            out[n] = a[n]
        outside += beyond
    return outside


@numba.njit(nogil=True, cache=True)
def count_register(messages, low, high, columns):
    """As count_rows; how many messages lie outside low .. high."""
    outside = 0
    for r in range(messages.shape[0]):
        row, count = messages[r], columns[r]
        beyond = np.int32(0)
        for n in range(row.shape[0]):
            beyond += np.int32((row[n] < low) | (row[n] > high))
            count[n] += np.int32(row[n] != 0)
        outside += beyond
    return outside
