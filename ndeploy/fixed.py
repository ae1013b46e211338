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


def round_shift(x: IntArray, bits: int | IntArray) -> IntArray:
    """x / 2^bits to nearest, halves up: (x + 2^(bits-1)) >> bits. `bits` >= 0, a number or by neuron."""
    half = (1 << np.asarray(bits, dtype=np.int64)) >> 1
    return np.asarray((x + half) >> bits, dtype=np.int64)


MULTIPLIER_BITS = 16
"""Constants that rescale a sum: 0 .. 2^16 - 1."""


def rescale(x: IntArray, multiplier: int | IntArray, shift: int | IntArray) -> IntArray:
    """x * multiplier / 2^shift to nearest. |x| < 2^24 and a 16-bit multiplier need 40 bits between the two."""
    return round_shift(np.asarray(x * multiplier, dtype=np.int64), shift)


FRACTION_BITS = 12
"""Fraction of what enters a nonlinear function: 1.0 is 4096."""
SIGMOID_BITS = 15
"""sigmoid is 0 .. 2^15."""
_SIGMOID_STEP = 8  # a table entry every 2^8 / 2^12 = 1/16
_SIGMOID_LIMIT = 16 << FRACTION_BITS
_SIGMOID = np.rint(2.0**SIGMOID_BITS / (1.0 + np.exp(-np.arange(-256, 258) / 16.0))).astype(np.int64)


def sigmoid(x: IntArray) -> IntArray:
    """2^15 / (1 + exp(-x / 4096)) by a table of 513 entries and linear interpolation.

    Error against the real function, in units of 2^-15: table rounding 0.5, interpolation h^2/8 max|s''| = 1.54 for
    h = 1/16 (max|s''| = 0.0962), rounding of the result 0.5, beyond +-16: s(-16) 2^15 = 0.004; below 2.6 in all. Over
    every argument the largest is 2.2 units, that is 6.8e-5 (tests/test_fixed.py tries them all). Never decreasing.
    """
    x = np.clip(x, -_SIGMOID_LIMIT, _SIGMOID_LIMIT) + _SIGMOID_LIMIT
    at, part = x >> _SIGMOID_STEP, x & ((1 << _SIGMOID_STEP) - 1)
    low = _SIGMOID[at]
    return np.asarray(low + round_shift((_SIGMOID[at + 1] - low) * part, _SIGMOID_STEP), dtype=np.int64)


EXP2_BITS = 16
"""exp2 is 0 .. 2^16."""
_EXP2_STEP = 6  # a table entry every 2^6 / 2^12 = 1/64
_EXP2 = np.rint(2.0 ** (EXP2_BITS - np.arange(66) / 64.0)).astype(np.int64)


def exp2_negative(x: IntArray) -> IntArray:
    """2^16 * 2^(-x / 4096) for x >= 0, by a table of 65 entries, linear interpolation and a shift.

    Error in units of 2^-16: of the mantissa table 0.5, interpolation h^2/8 ln(2)^2 2^16 = 0.97 for h = 1/64, rounding
    0.5; the shift truncates by less than one unit more. Over every argument it lies in -1 .. 1.65 units, that is below
    2.6e-5 of 1 (tests/test_fixed.py tries them all). Never increasing.
    """
    whole, part = x >> FRACTION_BITS, x & ((1 << FRACTION_BITS) - 1)
    at, rest = part >> _EXP2_STEP, part & ((1 << _EXP2_STEP) - 1)
    low = _EXP2[at]
    value = low + round_shift((_EXP2[at + 1] - low) * rest, _EXP2_STEP)
    return np.asarray(value >> np.minimum(whole, 40), dtype=np.int64)


def square_root(x: IntArray) -> IntArray:
    """floor(sqrt(x)) for 0 <= x < 2^62, exactly."""
    root = np.sqrt(x.astype(np.float64)).astype(np.int64)
    root = np.where(root * root > x, root - 1, root)
    return np.where((root + 1) * (root + 1) <= x, root + 1, root)


def divide(x: IntArray, y: IntArray) -> IntArray:
    """x / y to nearest, halves up, for y > 0 and 2 |x| + y < 2^63."""
    return np.asarray((2 * x + y) // (2 * y), dtype=np.int64)
