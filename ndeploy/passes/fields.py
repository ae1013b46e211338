"""Thresholds and biases as the target's registers hold them: mantissa times a power of two, to nearest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ndeploy.fixed import IntArray
from ndeploy.ir.program import Population, Program
from ndeploy.neurons import Compare, CubaLi, CubaLif, Parameter
from ndeploy.target import Target

LAVA_BIAS = (15, 16)
"""Bits and largest exponent of a bias where the chip takes any: Lava's LIF keeps the mantissa as int16, and a relative
error of 2^-16 is worth having the same numbers on every execution."""


def to_mantissa(value: IntArray, bits: int, exponent: int) -> IntArray:
    """The nearest m * 2^e with |m| < 2^bits and the smallest 0 <= e <= exponent that can hold the magnitude.

    Values beyond the largest are left as they are, for the fit check to refuse by name.
    """
    magnitude = np.abs(value)
    e = np.zeros_like(value)
    for _ in range(exponent):
        rounded = (magnitude + ((1 << e) >> 1)) >> e
        e = np.where(rounded >= 1 << bits, e + 1, e)
    held = ((magnitude + ((1 << e) >> 1)) >> e) << e
    return np.where((held >> e) < 1 << bits, np.sign(value) * held, value)


def _plain(value: IntArray) -> Parameter:
    return int(value.flat[0]) if (value == value.flat[0]).all() else value


def fit_fields(program: Program, target: Target) -> Program:
    """The program with biases and thresholds rounded to what the target stores; a bias that needs more than
    16 bits is rounded everywhere.

    A threshold becomes the nearest multiple of 2^shift, at least one: spikes on `>` keep their meaning. A bias gets the
    mantissa and exponent that are nearest.
    """
    widths = target.widths
    bits, exponent = widths.bias_mantissa.value, widths.bias_exponent.value
    if "any-bias" in target.features or bits is None or exponent is None:
        bits, exponent = LAVA_BIAS
    aligned = widths.threshold_shift.value
    free_threshold = "any-threshold" in target.features or aligned is None

    def fit(population: Population) -> Population:
        neuron = population.neuron
        if isinstance(neuron, CubaLif | CubaLi):
            value = np.asarray(neuron.bias, dtype=np.int64)
            neuron = replace(neuron, bias=_plain(to_mantissa(value, bits, exponent)))
        if isinstance(neuron, CubaLif) and not free_threshold:
            vth = np.asarray(neuron.vth, dtype=np.int64)
            steps = np.maximum(1, (vth + ((1 << (aligned or 0)) >> 1)) >> (aligned or 0))
            neuron = replace(neuron, vth=_plain(steps << (aligned or 0)))
        if isinstance(neuron, Compare) and not free_threshold:
            # the chip folds the constant into its one threshold
            level = np.asarray(neuron.vth, dtype=np.int64) - np.asarray(neuron.bias, dtype=np.int64)
            neuron = Compare(_plain(level), 0)
        return replace(population, neuron=neuron)

    return replace(program, populations=tuple(fit(p) for p in program.populations))
