"""What a target's registers make of trained thresholds and biases (ndeploy/passes/fields.py says how)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ndeploy.fixed import STATE_MAX, IntArray
from ndeploy.neurons import Parameter
from ndeploy.passes.fields import LAVA_BIAS, to_mantissa
from ndeploy.target import Target

Fit = Callable[[IntArray], IntArray]


@dataclass(frozen=True)
class Field:
    """Integers low .. high, of which `fit` gives the nearest that the register holds; None: it holds all."""

    low: int
    high: int
    fit: Fit | None


def _field(start: Parameter, low: int, high: int, fit: Fit | None) -> Field:
    """The field, widened so that the start lies in it: training begins with the program as it is."""
    value = np.asarray(start, dtype=np.int64)
    if fit is not None and not (fit(value) == value).all():
        fit = None
    return Field(min(low, int(value.min(initial=low))), max(high, int(value.max(initial=high))), fit)


def bias_field(start: Parameter, target: Target | None) -> Field:
    """The bias register: a mantissa times a power of two, of Lava's 15 bits where the target takes any."""
    bits, exponent = LAVA_BIAS
    if target is not None and "any-bias" not in target.features:
        stated = target.widths.bias_mantissa.value, target.widths.bias_exponent.value
        if stated[0] is not None and stated[1] is not None:
            bits, exponent = int(stated[0]), int(stated[1])
    top = min(STATE_MAX, ((1 << bits) - 1) << exponent)
    return _field(start, -top, top, lambda value: to_mantissa(value, bits, exponent))


def threshold_field(start: Parameter, target: Target | None) -> Field:
    """The threshold register: positive; a multiple of 2^shift where the target does not take any."""
    if target is None or "any-threshold" in target.features:
        return _field(start, 1, STATE_MAX, None)
    aligned, bits = target.widths.threshold_shift.value or 0, target.widths.threshold_mantissa.value
    step = 1 << aligned
    top = STATE_MAX // step * step if bits is None else ((1 << bits) - 1) << aligned
    return _field(start, step, top, lambda value: (value + step // 2) // step * step)
