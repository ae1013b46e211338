"""Energy of additions and multiplications in 45 nm by width, after Horowitz.

M. Horowitz, "Computing's energy problem (and what we can do about it)", ISSCC 2014, doi 10.1109/ISSCC.2014.6757323, at
0.9 V. The values are those that public tools carry (spikingjelly 2.0.0 `op_counter/simple_energy.py`, and for int32
`analytical_energy.py`): fp32 multiply-accumulate 4.6 pJ and accumulate 0.9; int8 0.23 and 0.03; int32 add 0.1 and
multiply 3.1. Widths between are interpolated: an adder's energy is linear in its width, a multiplier's a power of the
product of its operands' widths. No spread of these figures is published. The bounds here span one thing only, the
width of the accumulator: low and nominal that of the operands, as the figures for int8 are, high 32 bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ndeploy.energy.ranges import Range

SOURCE = "Horowitz, ISSCC 2014, 45 nm, 0.9 V, as in spikingjelly 2.0.0 op_counter; other widths interpolated"
STATUS = "code"
PJ = 1e-12
FLOAT_ADD, FLOAT_MAC = 0.9 * PJ, 4.6 * PJ
ADD_8, ADD_32 = 0.03 * PJ, 0.1 * PJ
MULTIPLY_8, MULTIPLY_32 = 0.2 * PJ, 3.1 * PJ
WIDEST = 32
POWER = math.log(MULTIPLY_32 / MULTIPLY_8) / math.log(16)
"""Of the product of the operands' widths: from 8 x 8 to 32 x 32 bits that product grows sixteenfold."""


@dataclass(frozen=True)
class Arithmetic:
    """Joules of one operation: a multiply-accumulation, an accumulation, and a multiplication and an addition of
    addresses, which are 32-bit integers whatever the data are."""

    mac: Range
    add: Range
    address_add: float = ADD_32
    address_mac: float = ADD_32 + MULTIPLY_32


def add(bits: int) -> float:
    """J of an integer addition; below 8 bits in proportion to the width."""
    if bits <= 8:
        return ADD_8 * bits / 8
    return ADD_8 + (ADD_32 - ADD_8) * (min(bits, WIDEST) - 8) / (WIDEST - 8)


def multiply(left: int, right: int) -> float:
    """J of an integer multiplication; by a single bit it is a selection and costs nothing beyond its addition."""
    if min(left, right) <= 1:
        return 0.0
    return MULTIPLY_8 * math.pow(min(left, WIDEST) * min(right, WIDEST) / 64, POWER)


def integers(weight_bits: int, activation_bits: int) -> Arithmetic:
    """Operations on weights and activations of these widths."""
    product, wide = multiply(weight_bits, activation_bits), add(WIDEST)
    operands = add(max(weight_bits, activation_bits))
    single = add(weight_bits)
    return Arithmetic(
        Range(product + operands, product + operands, product + wide),
        Range(single, single, wide),
    )


def floats() -> Arithmetic:
    """Operations in float32."""
    return Arithmetic(Range(FLOAT_MAC, FLOAT_MAC, FLOAT_MAC), Range(FLOAT_ADD, FLOAT_ADD, FLOAT_ADD))
