"""Compiled scans of leaky integrate-and-fire neurons over all steps of a sample, forward and backward.

All numbers are whole and below 2^53, held in float64 while they are worked on. Kernels take one-dimensional rows, which
LLVM vectorises, and release the interpreter's lock.
"""

# mypy: disable-error-code="untyped-decorator,no-untyped-def,no-untyped-call"
from __future__ import annotations

import numba
import numpy as np

_MAX = 2.0**23 - 1
ZERO, SUBTRACT, NONE = 0, 1, 2
"""Resets that act in the step of the spike."""


@numba.njit(inline="always")
def _decay(x, factor):
    """x * factor / 4096 toward zero; |x| <= 2^23, so the quotient fits 32 bits."""
    return np.float64(np.int32(x * factor * (1.0 / 4096.0)))


@numba.njit(inline="always")
def _wrap(x):
    """`fixed.wrap_state`."""
    y = np.int64(x)
    y = ((y + np.int64(2**31)) % np.int64(2**32)) - np.int64(2**31)
    if y > 2**23:
        y -= 2**24
    elif y < -(2**23) + 1:
        y += 2**24
    return np.float64(y)


@numba.njit(nogil=True, cache=True)
def forward(entering, steps, scale, forgets, wraps, keep_u, keep_v, bias, vth, reset, amount, to, above, clipped):
    """What lies above the threshold, and where the membrane was clipped.

    entering (B, steps or 1, N): synaptic input, input bias included; scale: what one unit adds to the current.
    forgets: the current is what entered; wraps: it may leave its width. All parameters (N,) float64; amount is
    subtracted at a spike, `to` what the membrane is set to. above (B, steps, N) float32: the clipped membrane less the
    threshold, before the reset; clipped (B, steps, N) int8.
    """
    samples, given, size = entering.shape
    u = np.empty(size)
    v = np.empty(size)
    for b in range(samples):
        u[:] = 0.0
        v[:] = 0.0
        for k in range(steps):
            row = entering[b, min(k, given - 1)]
            out = above[b, k]
            cut = clipped[b, k]
            if forgets:
                for i in range(size):
                    u[i] = row[i] * scale
            else:
                for i in range(size):
                    u[i] = _decay(u[i], keep_u[i]) + row[i] * scale
            if wraps:
                for i in range(size):
                    u[i] = _wrap(u[i])
            for i in range(size):
                raw = _decay(v[i], keep_v[i]) + u[i] + bias[i]
                x = min(max(raw, -_MAX), _MAX)
                over = x - vth[i]
                cut[i] = np.int8(x != raw)
                out[i] = np.float32(over)
                if reset == ZERO:
                    x = to[i] if over > 0.0 else x
                elif reset == SUBTRACT:
                    x = x - amount[i] if over > 0.0 else x
                v[i] = x


@numba.njit(nogil=True, cache=True)
def backward(slope, above, clipped, given, scale, forgets, keep_u, keep_v, reset, grad, entered, bias, vth):
    """Gradients of `forward`. slope (B, steps, N): of a spike by its membrane; given (B, steps, N): of the spikes.

    entered (B, steps or 1, N): of the synaptic input, written; bias, vth (N,) float64: added to. grad: room, (2, N).
    """
    samples, steps, size = above.shape
    room = entered.shape[1]
    gu, gv = grad[0], grad[1]
    for b in range(samples):
        gu[:] = 0.0
        gv[:] = 0.0
        if room < steps:
            entered[b, 0, :] = 0.0
        for k in range(steps - 1, -1, -1):
            over, cut, tilt, sent = above[b, k], clipped[b, k], slope[b, k], given[b, k]
            out = entered[b, min(k, room - 1)]
            for i in range(size):
                from_spike = np.float64(sent[i]) * np.float64(tilt[i])
                carried = gv[i]
                if reset == ZERO:
                    carried = 0.0 if over[i] > 0.0 else carried
                vth[i] -= from_spike
                total = 0.0 if cut[i] else carried + from_spike
                bias[i] += total
                gv[i] = total * keep_v[i] * (1.0 / 4096.0)
                gu[i] = gu[i] + total
            if room < steps:
                for i in range(size):
                    out[i] += gu[i] * scale
            else:
                for i in range(size):
                    out[i] = gu[i] * scale
            if forgets:
                gu[:] = 0.0
            else:
                for i in range(size):
                    gu[i] = gu[i] * keep_u[i] * (1.0 / 4096.0)
