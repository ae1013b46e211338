"""Compiled neuron updates, many steps of many samples at a time.

All arithmetic is in 32 bits, four to eight times as many lanes as in 64: callers prove that no intermediate leaves
int32 (ndeploy/sim/evaluators.py). Every operation is cast back to int32 because numba widens int32 sums to int64.
Optional parts of `lif` are None: numba drops their branches, and each combination is compiled (and cached on disk)
when it is first needed; what is rare goes through `lif_any`, compiled once. The inner loops run over one-dimensional
slices, which LLVM vectorises.
"""

# mypy: disable-error-code="untyped-decorator,no-untyped-def,no-untyped-call"
from __future__ import annotations

import numba
import numpy as np

_i4 = np.int32
_TOP = _i4(2**23)
_SPAN = _i4(2**24)
_MAX = _i4(2**23 - 1)
BLOCK = 4096
"""Neurons whose state stays in the first-level cache while all steps are scanned."""


@numba.njit(inline="always")
def _decay(x, factor):
    """sign(x) (|x| factor >> 12) without leaving 32 bits: x = 4096 high + low, so only low's product is rounded."""
    low = _i4(x & _i4(4095))
    high = _i4(x >> _i4(12))
    toward_zero = _i4(_i4(x >> _i4(31)) & _i4(4095))
    return _i4(_i4(high * factor) + _i4(_i4(_i4(low * factor) + toward_zero) >> _i4(12)))


@numba.njit(inline="always")
def _wrap(raw):
    current = _i4(raw - _SPAN) if raw > _TOP else raw
    return _i4(current + _SPAN) if raw <= -_TOP else current


@numba.njit(inline="always")
def _clip(x):
    y = _MAX if x > _MAX else x
    return -_MAX if x < -_MAX else y


@numba.njit(nogil=True, cache=True)
def lif(sums, scale, may_wrap, u, u_keep, v, v_keep, bias, threshold, amount, spikes, trace_v, events):
    """The common case: integrate, compare, reset at once to zero or by an amount.

    sums (B, T, N), int32 or float32 of exact integers: the summed synaptic input; the current grows by sums * scale,
    scale of the same type. may_wrap: None where the current cannot leave its 24 bits, else anything. u, v (B, N)
    int32: state, changed in place; u_keep, v_keep (N,): decay factors in 1/4096; u_keep None: the current is forgotten;
    v_keep None: no leak. threshold (N,). amount (N,): subtracted at a reset, None: reset to zero. spikes (B, T, N) int8
    and trace_v (B, T, N) int32 (or None) are written. events[0] counts currents that wrapped, events[1] saturated
    membranes.
    """
    samples, steps, size = sums.shape
    for b in range(samples):
        for first in range(0, size, BLOCK):
            end = min(size, first + BLOCK)
            u_b = u[b, first:end]
            v_b = v[b, first:end]
            bias_b = bias[first:end]
            threshold_b = threshold[first:end]
            if u_keep is not None:
                u_keep_b = u_keep[first:end]
            if v_keep is not None:
                v_keep_b = v_keep[first:end]
            if amount is not None:
                amount_b = amount[first:end]
            for t in range(steps):
                sums_b = sums[b, t, first:end]
                spikes_b = spikes[b, t, first:end]
                if trace_v is not None:
                    trace_v_b = trace_v[b, t, first:end]
                wrapped = _i4(0)
                saturated = _i4(0)
                for n in range(sums_b.shape[0]):
                    raw = _i4(sums_b[n] * scale)
                    if u_keep is not None:
                        raw = _i4(raw + _decay(u_b[n], u_keep_b[n]))
                    current = raw
                    if may_wrap is not None:
                        current = _wrap(raw)
                        wrapped = _i4(wrapped + _i4(current != raw))
                    if u_keep is not None:
                        u_b[n] = current
                    x = v_b[n]
                    if v_keep is not None:
                        x = _decay(x, v_keep_b[n])
                    x = _i4(_i4(x + current) + bias_b[n])
                    y = _clip(x)
                    saturated = _i4(saturated + _i4(y != x))
                    spike = y > threshold_b[n]
                    if amount is None:  # noqa: SIM108 (numba drops one of the branches)
                        y = _i4(0) if spike else y
                    else:
                        y = _i4(y - amount_b[n]) if spike else y
                    v_b[n] = y
                    spikes_b[n] = spike
                    if trace_v is not None:
                        trace_v_b[n] = y
                events[0] += wrapped
                events[1] += saturated


@numba.njit(nogil=True, cache=True)
def lif_any(
    sums, scale, add, u, u_keep, v, v_keep, bias, high, low, amount, rest, subtract, delayed, at_once,
    spiked, wait, refractory, spikes, trace_u, trace_v, trace_wait, events,
):  # fmt: skip
    """Every variant of `lif` in one kernel, so that only one is compiled: nothing is left out.

    sums (B, T, N) int32. add (N,): joins the input after scaling. high, low (N,): spike +1 above high, -1 below low.
    A reset subtracts amount (N,) where `subtract` is 1, else it goes to rest (N,); it comes with the spike where
    `at_once` is 1, in the next step's result where `delayed` is 1. spiked (B, N): the last step's spikes; wait (B, N):
    refractory steps left, `refractory` after a spike.
    """
    samples, steps, size = sums.shape
    for b in range(samples):
        u_b, v_b, spiked_b, wait_b = u[b], v[b], spiked[b], wait[b]
        for t in range(steps):
            sums_b, spikes_b = sums[b, t], spikes[b, t]
            u_t, v_t, wait_t = trace_u[b, t], trace_v[b, t], trace_wait[b, t]
            wrapped = _i4(0)
            saturated = _i4(0)
            for n in range(size):
                raw = _i4(_i4(_i4(sums_b[n] * scale) + add[n]) + _decay(u_b[n], u_keep[n]))
                current = _wrap(raw)
                wrapped = _i4(wrapped + _i4(current != raw))
                x = _i4(_i4(_decay(v_b[n], v_keep[n]) + current) + bias[n])
                lowered = _i4(x - amount[n]) if subtract > 0 else rest[n]
                x = lowered if (delayed > 0 and spiked_b[n] != 0) else x
                y = _clip(x)
                saturated = _i4(saturated + _i4(y != x))
                y = rest[n] if wait_b[n] > 0 else y
                above = y > high[n]
                below = y < low[n]
                fired = above or below
                lowered = _i4(y - amount[n]) if subtract > 0 else rest[n]
                y = lowered if (at_once > 0 and fired) else y
                left = _i4(wait_b[n] - _i4(1)) if wait_b[n] > 0 else _i4(0)
                left = refractory if fired else left
                u_b[n] = current
                v_b[n] = y
                wait_b[n] = left
                spiked_b[n] = _i4(fired)
                spikes_b[n] = np.int8(np.int8(above) - np.int8(below))
                u_t[n] = current
                v_t[n] = y
                wait_t[n] = left
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
    """counts (B, N) int32 grow by how many of messages (B, T, N) are not zero, over T."""
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
