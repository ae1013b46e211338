"""Graded populations as integer neurons: every real factor becomes a 16-bit multiplier and a shift.

With U the real value of one unit of synaptic input and o that of one unit of the message, a sum is rescaled by U / o.
Nonlinear functions take their argument in units of 1/4096 (`fixed.FRACTION_BITS`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ndeploy.errors import RefusedError
from ndeploy.fixed import DECAY_ONE, FRACTION_BITS, MULTIPLIER_BITS, STATE_MAX, IntArray
from ndeploy.ir.lowered import (
    DeltaCoded,
    FloatArray,
    Gated,
    Graded,
    Held,
    Lowered,
    Normed,
    RealPopulation,
    RealProjection,
    Registered,
    Softmaxed,
    Synchronised,
)
from ndeploy.neurons import Affine, Delta, Gate, LayerNorm, Neuron, Parameter, Register, Sigma, Silu, Softmax, Synchrony
from ndeploy.neurons.layer_norm import ALIGNED_BITS
from ndeploy.passes.codings import selection
from ndeploy.passes.graded_units import REACH, port_key, source_coding
from ndeploy.quantizer import Choices, Coding, Observed

MAX_SHIFT = 40
ONE = 1 << FRACTION_BITS
ALIGNED_ROOM = 1.0 + 2.0**-12
"""What the largest sum may gain by being rounded to a bias and a multiplier."""
NARROW_BITS, NARROW_ROOM = 6, 1.625
"""The same where weights of fewer bits end: rounding them alone makes sums grow (`second_order.GROWTH`)."""
PRODUCT_BITS = 8
"""What must be left of a product of two messages when room is made for its sum over the ticks."""


def parameter(value: npt.ArrayLike) -> Parameter:
    """To nearest; a number where the array holds one value only."""
    array = np.rint(np.asarray(value, dtype=np.float64)).astype(np.int64)
    return int(array.flat[0]) if (array == array.flat[0]).all() else array


def multiplier(name: str, ratio: npt.ArrayLike) -> tuple[Parameter, Parameter]:
    """(m, s) with m / 2^s the real ratio >= 0 to within 2^-16 of itself, m of 16 bits; a ratio below 2^-24 to within
    2^-41, which no sum of 24 bits tells apart. Raises RefusedError ND301 for a ratio of 2^16 and more."""
    real = np.asarray(ratio, dtype=np.float64)
    _, exponent = np.frexp(real)  # real = f 2^exponent, 0.5 <= f < 1
    shift = np.minimum(MULTIPLIER_BITS - exponent, MAX_SHIFT).astype(np.int64)
    value = np.rint(np.ldexp(real, shift)).astype(np.int64)
    shift = np.where(value >= 1 << MULTIPLIER_BITS, shift - 1, shift)
    value = np.rint(np.ldexp(real, shift)).astype(np.int64)
    if shift.min() < 0:
        raise RefusedError(
            "ND301",
            f"population '{name}': one unit of its sum is worth {float(real.max()):g} units of its message, more than "
            f"{1 << MULTIPLIER_BITS}",
            help="the weights are large beside the values they make: rescale the layer, or calibrate with other data",
        )
    return parameter(value), parameter(shift)


def _argument(name: str, unit: FloatArray) -> tuple[Parameter, Parameter]:
    """`multiplier` that brings a sum, one unit of which is worth `unit`, to the argument of a nonlinear function.

    A unit worth 16 or more has the function at its end for any sum but 0: it is no more then.
    """
    return multiplier(name, np.minimum(unit * ONE, (1 << MULTIPLIER_BITS) - 1))


def neuron(lowered: Lowered, choices: Choices, population: RealPopulation) -> tuple[Neuron, float | FloatArray]:
    """The integer neuron of a graded population and the real value of one unit of its message.

    Raises RefusedError ND301 (a value that fits no width), ND302 (a state that could leave 24 bits).
    """
    coding = choices.message[population.name]
    model = population.model
    if isinstance(model, Graded):
        made = _affine(choices, population, coding, model.function)
    elif isinstance(model, Gated):
        made = _gate(choices, population, coding)
    elif isinstance(model, Normed):
        narrow = any(choices.bits.get(p.name, NARROW_BITS) < NARROW_BITS for p in _weighed(lowered, population))
        made = _norm(choices, population, model, coding, NARROW_ROOM if narrow else ALIGNED_ROOM)
    elif isinstance(model, Softmaxed):
        value, shift = _argument(population.name, _unit(choices, population) * math.log2(math.e))
        made = Softmax(coding.bits, model.view, value, shift)
    elif isinstance(model, Synchronised):
        made = _synchrony(lowered, choices, population, model, coding)
    elif isinstance(model, Registered):
        made = Register(coding.bits, parameter(model.start / coding.scale))
    elif isinstance(model, Held):
        made = Sigma(coding.bits, parameter(np.broadcast_to(model.start, population.shape) / coding.scale))
    elif isinstance(model, DeltaCoded):
        start = parameter(np.broadcast_to(model.start, population.shape) / coding.scale)
        made = Delta(choices.thresholds.get(population.name, 0), bits=coding.bits, start=start)
    else:
        raise TypeError(f"'{population.name}' is no graded population")
    return made, float(coding.scale) if coding.scale.ndim == 0 else coding.scale


def _unit(choices: Choices, population: RealPopulation, port: str = "in") -> FloatArray:
    return np.asarray(choices.unit[port_key(population.name, port)], dtype=np.float64)


def _bias(choices: Choices, population: RealPopulation, unit: FloatArray, port: str = "in") -> Parameter:
    bias = population.bias if port == "in" else population.biases.get(port)
    correction = choices.bias.get(port_key(population.name, port))
    if bias is None and correction is None:
        return 0
    return parameter(((0.0 if bias is None else bias) + (0.0 if correction is None else correction)) / unit)


def _affine(choices: Choices, population: RealPopulation, coding: Coding, function: str) -> Neuron:
    unit = _unit(choices, population)
    value, shift = multiplier(population.name, unit / coding.scale)
    bias = _bias(choices, population, unit)
    if function != "silu":
        return Affine(coding.bits, coding.signed, value, shift, bias)
    gate_value, gate_shift = _argument(population.name, unit)
    return Silu(coding.bits, True, bias, gate_value, gate_shift, value, shift)


def _gate(choices: Choices, population: RealPopulation, coding: Coding) -> Neuron:
    unit, gate = _unit(choices, population), _unit(choices, population, "gate")
    value, shift = multiplier(population.name, unit / coding.scale)
    gate_value, gate_shift = _argument(population.name, gate)
    return Gate(
        coding.bits,
        coding.signed,
        _bias(choices, population, unit),
        _bias(choices, population, gate, "gate"),
        gate_value,
        gate_shift,
        value,
        shift,
    )


def _weighed(lowered: Lowered, population: RealPopulation) -> list[RealProjection]:
    """Projections into the population, and those behind sums of weighed changes."""
    into = lowered.into(population.name)
    return [*into, *(x for p in into if p.unit for x in lowered.into(p.source))]


def _norm(choices: Choices, population: RealPopulation, model: Normed, coding: Coding, room: float) -> Neuron:
    unit = _unit(choices, population)
    # sums stay below REACH units, so the largest unit of a group decides what an aligned one is worth
    aligned = float(unit.max()) * REACH / (1 << ALIGNED_BITS) * room
    # sums that are tiny beside epsilon need no finer unit: epsilon itself takes 40 bits at most
    aligned = max(aligned, math.sqrt(model.epsilon) * 2.0**-19)
    value, shift = multiplier(population.name, unit / aligned)
    along = (1,) * model.axis + (-1,) + (1,) * (len(model.view) - model.axis - 1)

    def spread(real: FloatArray) -> FloatArray:
        return np.broadcast_to(real.reshape(along), model.view).reshape(population.shape)

    gain = spread(model.gain) / coding.scale / ONE
    offset = spread(model.offset) / coding.scale
    size = np.maximum(np.maximum(np.abs(gain), np.abs(offset) / (1 << 24)), 2.0**-MAX_SHIFT)
    _, exponent = np.frexp(size)
    gain_shift = np.clip(MULTIPLIER_BITS - exponent, 0, MAX_SHIFT).astype(np.int64)
    limit = (1 << MULTIPLIER_BITS) - 1
    if np.abs(gain).max() > limit:
        raise RefusedError(
            "ND301",
            f"layer norm '{population.name}': its gain is {float(np.abs(gain).max()):g} units of its message a unit",
            help="calibrate with data that show the range of its output",
        )
    return LayerNorm(
        coding.bits,
        model.view,
        model.axis,
        max(1, round(model.epsilon / aligned**2)),
        _bias(choices, population, unit),
        value,
        shift,
        parameter(np.clip(np.ldexp(gain, gain_shift), -limit, limit)),
        parameter(np.ldexp(offset, gain_shift)),
        parameter(gain_shift),
    )


def _selected(lowered: Lowered, choices: Choices, population: RealPopulation, port: str) -> tuple[FloatArray, int]:
    """Scale by neuron and largest message of what a unit projection brings to a port."""
    projection = next(p for p in lowered.into(population.name) if p.port == port)
    own, largest = source_coding(lowered, projection.source, choices.message, choices.inputs)
    source, target = selection(projection.synapses)
    full = np.broadcast_to(own, lowered.population(projection.source).shape).reshape(-1)
    scale = np.ones(math.prod(population.shape))
    scale[target] = full[source]
    return scale, largest


def _synchrony(
    lowered: Lowered, choices: Choices, population: RealPopulation, model: Synchronised, coding: Coding
) -> Neuron:
    left, top_left = _selected(lowered, choices, population, "left")
    right, top_right = _selected(lowered, choices, population, "right")
    factor = np.clip(np.rint(model.decay * DECAY_ONE), 0, DECAY_ONE).astype(np.int64)
    product = top_left * top_right
    first = max(product, math.ceil(float(np.abs(model.alpha / (left * right)).max(initial=0.0))))
    exponent = accumulator_exponent(population.name, product, factor, lowered.steps, first)
    unit = left * right * 2.0**exponent
    kept = factor / DECAY_ONE
    beta, rows = model.beta.astype(np.float64), []
    for _ in range(lowered.steps):
        beta = kept * beta + 1.0
        rows.append(unit / np.sqrt(beta) / np.broadcast_to(coding.scale, population.shape).reshape(-1))
    table = np.stack(rows)
    _, size = np.frexp(table.max(axis=0))
    shift = np.minimum(MULTIPLIER_BITS - size, MAX_SHIFT).astype(np.int64)
    shift = np.where(np.rint(np.ldexp(table.max(axis=0), shift)) >= 1 << MULTIPLIER_BITS, shift - 1, shift)
    if shift.min() < 0:
        raise RefusedError(
            "ND301",
            f"synchronisation '{population.name}': a product is worth {float(table.max()):g} units of its message",
            help="calibrate with data that show the range of the synchronisation",
        )
    entries: IntArray = np.rint(np.ldexp(table, shift)).astype(np.int64)
    start = np.rint(model.alpha / unit).astype(np.int64)
    return Synchrony(coding.bits, parameter(factor), entries, exponent, parameter(start), parameter(shift))


def accumulator_exponent(name: str, product: int, factor: IntArray, steps: int, first: int | None = None) -> int:
    """The right shift of each product so that its leaky sum over all ticks stays inside 24 bits.

    product: the largest magnitude of a product of two messages; first: that of the start value in the same units, None
    where it is a product itself. The sum is at most product times the geometric series of the largest factor, and the
    start value. Raises RefusedError ND302 where making room would leave less than `PRODUCT_BITS` of the product.
    """
    kept = float(factor.max(initial=0)) / DECAY_ONE
    series = float(steps) if kept >= 1.0 else (1.0 - kept**steps) / (1.0 - kept)
    bound = product * series + (product if first is None else first)
    exponent = max(0, math.ceil(math.log2(bound / STATE_MAX)))
    left = product.bit_length() - 1 - exponent
    if exponent and left < PRODUCT_BITS:
        raise RefusedError(
            "ND302",
            f"synchronisation '{name}': over {steps} ticks its sum could reach {bound:.3g}, {bound / STATE_MAX:.3g} "
            f"times the 24-bit state ({STATE_MAX}); making room would leave {max(0, left)} bits of each product, less "
            f"than {PRODUCT_BITS}",
            help="use fewer ticks (--steps), or train with a shorter memory (larger decay)",
        )
    return exponent


def check_accumulators(lowered: Lowered, bits: int) -> None:
    """Refuse a number of ticks over which a synchronisation of messages of `bits` could leave its state, before any
    time is spent on calibration. Raises RefusedError ND302."""
    for population in lowered.populations:
        if isinstance(population.model, Synchronised):
            factor = np.clip(np.rint(population.model.decay * DECAY_ONE), 0, DECAY_ONE).astype(np.int64)
            accumulator_exponent(population.name, 1 << (2 * (bits - 1)), factor, lowered.steps)


def thresholds(
    lowered: Lowered, message: Mapping[str, Coding], observed: Mapping[str, Observed], share: float
) -> dict[str, Parameter]:
    """Of every delta-coded population, the threshold in units of each neuron's message.

    share: of the largest value that any of its neurons takes on calibration data: one real threshold for all, so that
    quiet neurons stay quiet.
    """
    result = {}
    for population in lowered.populations:
        if isinstance(population.model, DeltaCoded):
            source = next(p.source for p in lowered.into(population.name))
            seen = observed[source]
            largest = float(np.maximum(np.abs(seen.low), np.abs(seen.high)).max())
            # a neuron so quiet that its threshold leaves the state never sends, with the largest threshold as well
            level = np.minimum(share * largest / message[population.name].scale, STATE_MAX)
            result[population.name] = parameter(level)
    return result
