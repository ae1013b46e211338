"""Compiled neuron updates, many steps of many samples at a time.

All arithmetic is in 32 bits, four to eight times as many lanes as in 64: callers prove that no intermediate leaves
int32 (ndeploy/sim/evaluators.py). Every operation is cast back to int32 because numba widens int32 sums to int64.
Optional parts are None: numba drops their branches, so that one source serves every variant, each compiled (and cached
on disk) when it is first needed. The inner loops run over one-dimensional slices, which LLVM vectorises.
"""

# mypy: disable-error-code="untyped-decorator,no-untyped-def,no-untyped-call"
from __future__ import annotations

import numba
import numpy as np

_i4 = np.int32
_TOP = _i4(2**23)
_SPAN = _i4(2**24)
_MAX = _i4(2**23 - 1)
BLOCK = 512
"""Neurons whose state stays in the first-level cache while all steps are scanned."""


@numba.njit(inline="always")
def _decay(x, factor):
    """sign(x) (|x| factor >> 12) without leaving 32 bits: x = 4096 high + low, so only low's product is rounded."""
    low = _i4(x & _i4(4095))
    high = _i4(x >> _i4(12))
    toward_zero = _i4(_i4(x >> _i4(31)) & _i4(4095))
    return _i4(_i4(high * factor) + _i4(_i4(_i4(low * factor) + toward_zero) >> _i4(12)))


@numba.njit(nogil=True, cache=True)
def lif(
    sums, scale, add, u, u_keep, v, v_keep, bias, high, low, amount, spiked, wait, refractory,
    spikes, trace_u, trace_v, trace_wait, events,
):  # fmt: skip
    """Integrate, compare and reset.

    sums (B, T, N), int32 or float32 of exact integers: the summed synaptic input; the current grows by
    sums * scale + add[n] (add None: nothing). u, v (B, N): state, changed in place; u_keep, v_keep (N,): decay
    factors in 1/4096; u_keep None: the current is forgotten; v_keep None: no leak. high: threshold (N,); low: the
    ternary neuron's lower threshold or None. amount: subtracted at a reset, None: reset to zero. spiked (B, N): last
    spikes, for resets in the step after; wait (B, N): refractory steps left. spikes (B, T, N) int8 and the trace arrays
    (B, T, N) int32 (or None) are written. events[0] counts currents that wrapped, events[1] saturated membranes.
    """
    samples, steps, size = sums.shape
    for b in range(samples):
        for first in range(0, size, BLOCK):
            end = min(size, first + BLOCK)
            u_b = u[b, first:end]
            v_b = v[b, first:end]
            high_b = high[first:end]
            if add is not None:
                add_b = add[first:end]
            if u_keep is not None:
                u_keep_b = u_keep[first:end]
            if v_keep is not None:
                v_keep_b = v_keep[first:end]
            if bias is not None:
                bias_b = bias[first:end]
            if low is not None:
                low_b = low[first:end]
            if amount is not None:
                amount_b = amount[first:end]
            if spiked is not None:
                spiked_b = spiked[b, first:end]
            if wait is not None:
                wait_b = wait[b, first:end]
            for t in range(steps):
                sums_b = sums[b, t, first:end]
                spikes_b = spikes[b, t, first:end]
                if trace_u is not None:
                    trace_u_b = trace_u[b, t, first:end]
                if trace_v is not None:
                    trace_v_b = trace_v[b, t, first:end]
                wrapped = _i4(0)
                saturated = _i4(0)
                for n in range(sums_b.shape[0]):
                    raw = _i4(_i4(sums_b[n]) * scale)
                    if add is not None:
                        raw = _i4(raw + add_b[n])
                    if u_keep is not None:
                        raw = _i4(raw + _decay(u_b[n], u_keep_b[n]))
                    current = _i4(raw - _SPAN) if raw > _TOP else raw
                    current = _i4(current + _SPAN) if raw <= -_TOP else current
                    wrapped = _i4(wrapped + _i4(current != raw))
                    if u_keep is not None:
                        u_b[n] = current
                    x = v_b[n]
                    if v_keep is not None:
                        x = _decay(x, v_keep_b[n])
                    x = _i4(x + current)
                    if bias is not None:
                        x = _i4(x + bias_b[n])
                    if spiked is not None:
                        if amount is None:
                            x = _i4(0) if spiked_b[n] > 0 else x
                        else:
                            x = _i4(x - amount_b[n]) if spiked_b[n] > 0 else x
                    y = _MAX if x > _MAX else x
                    y = -_MAX if x < -_MAX else y
                    saturated = _i4(saturated + _i4(y != x))
                    if wait is not None:
                        y = _i4(0) if wait_b[n] > 0 else y
                    spike = y > high_b[n]
                    if low is not None:
                        below = y < low_b[n]
                        y = _i4(0) if (spike or below) else y
                        spikes_b[n] = np.int8(np.int8(spike) - np.int8(below))
                    else:
                        if spiked is not None:
                            spiked_b[n] = spike
                        elif amount is None:
                            y = _i4(0) if spike else y
                        else:
                            y = _i4(y - amount_b[n]) if spike else y
                        if wait is not None:
                            left = _i4(wait_b[n] - _i4(1)) if wait_b[n] > 0 else _i4(0)
                            wait_b[n] = refractory if spike else left
                        spikes_b[n] = spike
                    v_b[n] = y
                    if trace_u is not None:
                        trace_u_b[n] = current
                    if trace_v is not None:
                        trace_v_b[n] = y
                if trace_wait is not None:
                    trace_wait[b, t, first:end] = wait_b
                events[0] += wrapped
                events[1] += saturated


@numba.njit(nogil=True, cache=True)
def relay(sums, scale, vth, low, high, messages, events):
    """messages = sums * scale where its magnitude exceeds vth; events[0] counts values outside low .. high.

    sums (R, N) int32 or float32; messages (R, N) int8 or int32, wide enough (the caller knows the bound).
    """
    for r in range(sums.shape[0]):
        sums_r = sums[r]
        messages_r = messages[r]
        outside = _i4(0)
        for n in range(sums_r.shape[0]):
            x = _i4(_i4(sums_r[n]) * scale)
            outside = _i4(outside + _i4(_i4(x < low) | _i4(x > high)))
            messages_r[n] = x if (x > vth or x < -vth) else _i4(0)
        events[0] += outside


@numba.njit(nogil=True, cache=True)
def compare(sums, scale, threshold, messages):
    """messages = 1 where sums * scale > threshold[n]; sums (R, N) int32 or float32; messages (R, N) int8."""
    for r in range(sums.shape[0]):
        sums_r = sums[r]
        messages_r = messages[r]
        for n in range(sums_r.shape[0]):
            messages_r[n] = _i4(_i4(sums_r[n]) * scale) > threshold[n]


@numba.njit(nogil=True, cache=True)
def count_messages(messages, counts):
    """counts (B, N) int32: how many of messages (B, T, N) int8 are not zero, over T."""
    samples, steps, size = messages.shape
    partial = np.empty(size, dtype=np.uint8)
    for b in range(samples):
        for first in range(0, steps, 255):
            partial[:] = 0
            for t in range(first, min(steps, first + 255)):
                row = messages[b, t]
                for n in range(row.shape[0]):
                    partial[n] = np.uint8(partial[n] + np.uint8(row[n] != 0))
            counts_b = counts[b]
            for n in range(size):
                counts_b[n] = _i4(counts_b[n] + _i4(partial[n]))
