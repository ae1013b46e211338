"""All integer arithmetic with declared widths.

Every function works on int64 numpy arrays and is the definition of its operation; kernels elsewhere are checked
against these. Sources: lava-nc 0.10.0 `lava/proc/lif/models.py`, Loihi's 24-bit state and 12-bit decays.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]

STATE_BITS = 24
STATE_MAX = 2**23 - 1
"""Largest membrane potential: Lava clips v to +-(2^23 - 1)."""
DECAY_BITS = 12
DECAY_ONE = 1 << DECAY_BITS
STATE_SHIFT = 6
"""Synaptic input, thresholds and NetX biases are aligned to the state by this left shift in Lava's LIF."""


def shift_toward_zero(x: IntArray, bits: int) -> IntArray:
    """sign(x) * (|x| >> bits): the rounding of Lava's decays."""
    return np.asarray(np.sign(x) * (np.abs(x) >> bits), dtype=np.int64)


def decay(x: IntArray, factor: IntArray) -> IntArray:
    """x * factor / 4096 rounded toward zero; `factor` in 0..4096."""
    return shift_toward_zero(x * factor, DECAY_BITS)


def shift(x: IntArray, exponent: int) -> IntArray:
    """x << exponent, or the arithmetic x >> -exponent (floor) for a negative exponent."""
    return x << exponent if exponent >= 0 else x >> -exponent


def wrap_state(x: IntArray) -> IntArray:
    """Lava's single wrap of the synaptic current into (-2^23, 2^23].

    Lava casts to int32 first, then adds or subtracts 2^24 once; both are reproduced.
    """
    x = ((x + 2**31) % 2**32) - 2**31
    x = np.where(x > 2**23, x - 2**24, x)
    return np.where(x < -(2**23) + 1, x + 2**24, x)


def clip_state(x: IntArray) -> IntArray:
    """Saturate to +-(2^23 - 1)."""
    return np.clip(x, -STATE_MAX, STATE_MAX)


def wrap_bits(x: IntArray, bits: int) -> IntArray:
    """Two's complement wrap to `bits` bits: [-2^(bits-1), 2^(bits-1) - 1]."""
    half = 1 << (bits - 1)
    return ((x + half) % (1 << bits)) - half
