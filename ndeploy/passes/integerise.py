"""Lowered + schedule + choices -> Program: every real number becomes an integer of the chip's width.

Let s be the real value of one unit of a neuron's synaptic input and G = input_gain * gain the factor from its input to
its membrane. A state unit is then worth G s / 2^shift, and a threshold theta is 2^shift theta / (G s) state units. A
quantiser that picks s = theta / (G k) with k an integer makes the threshold exactly 2^shift k.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ndeploy.errors import RefusedError
from ndeploy.fixed import DECAY_ONE, STATE_MAX, STATE_SHIFT, IntArray
from ndeploy.graph.discrete import DiscreteNeuron
from ndeploy.ir import program as ir
from ndeploy.ir.lowered import (
    GRADED,
    Accumulate,
    Compare,
    FloatArray,
    Join,
    Lowered,
    Or,
    RealPopulation,
    Source,
)
from ndeploy.neurons import Compare as CompareNeuron
from ndeploy.neurons import CubaLi, CubaLif, Input, Neuron, Parameter, Relay
from ndeploy.passes import graded
from ndeploy.passes.intervals import Intervals
from ndeploy.passes.message_units import EMIT_BITS, message_units
from ndeploy.passes.order import topological
from ndeploy.passes.schedule import Schedule, as_product
from ndeploy.passes.weights import integer_projection
from ndeploy.quantizer import Choices

RESETS = {
    "zero": "zero",
    "subtract": "subtract",
    "delayed-zero": "zero-next",
    "delayed-subtract": "subtract-next",
    "none": "none",
}
INPUT_MAX = (1 << (23 - STATE_SHIFT)) - 1
"""Largest synaptic input whose shift by 6 stays inside the 24-bit current."""


def integer(value: npt.ArrayLike) -> Parameter:
    """To nearest, ties to even; a number where the array holds one value only."""
    array = np.rint(np.asarray(value, dtype=np.float64)).astype(np.int64)
    return int(array.flat[0]) if (array == array.flat[0]).all() else array


def decays(model: DiscreteNeuron) -> tuple[Parameter, Parameter]:
    """du and dv: alpha = (4095 - du) / 4096, beta = (4096 - dv) / 4096, to nearest, within 12 bits."""
    du = integer(np.clip(DECAY_ONE - 1 - np.rint(model.alpha * DECAY_ONE), 0, DECAY_ONE - 1))
    dv = integer(np.clip(DECAY_ONE - np.rint(model.beta * DECAY_ONE), 0, DECAY_ONE - 1))
    return du, dv


def threshold(real: FloatArray, ge: bool) -> IntArray:
    """Largest integer state that does not spike: v > t for "gt", v >= t for "ge" with integer v.

    Values within 1e-9 of an integer are that integer: they are ties by construction.
    """
    near = np.rint(real)
    exact = np.abs(real - near) <= 1e-9 * np.maximum(1.0, np.abs(near))
    value = np.where(exact, near - ge, np.where(ge, np.ceil(real) - 1, np.floor(real)))
    return np.asarray(value, dtype=np.int64)


def tie_bias_is_exact(dv: Parameter, du: Parameter, steps: int, shift: int) -> bool:
    """Whether a bias of one unit turns > into >= without touching other comparisons.

    Measured in facts/spiking-transformers.md for dv = 2048 and shift 6 (exact for T <= 6: currents are multiples of
    2^shift and halve at most T - 1 times); without a leak the bias grows to T, which must stay below 2^shift. The
    current must have no memory (du = 4095).
    """
    if not isinstance(du, int) or not isinstance(dv, int) or du != DECAY_ONE - 1:
        return False
    return (dv == 2048 and steps <= shift) or (dv == 0 and steps < 1 << shift)


def _check_width(name: str, what: str, value: Parameter, limit: int, remedy: str) -> None:
    worst = int(np.abs(np.asarray(value)).max())
    if worst > limit:
        raise RefusedError(
            "ND301", f"population '{name}': {what} is {worst} state units, more than {limit}", help=remedy
        )


def lif(
    population: RealPopulation, model: DiscreteNeuron, unit: FloatArray, steps: int, shift: int
) -> tuple[Neuron, FloatArray]:
    """The integer neuron and the real value of its state unit."""
    gain = np.asarray(model.input_gain * model.gain, dtype=np.float64)
    state = np.asarray(gain * unit / (1 << shift))
    bias = np.zeros(()) if population.bias is None else population.bias
    du, dv = decays(model)
    memoryless = isinstance(du, int) and du == DECAY_ONE - 1
    leak = np.asarray(model.bias / state)
    if memoryless:
        state_bias = integer(bias * gain / state + leak)
        input_bias: Parameter = 0
    else:
        state_bias, input_bias = integer(leak), integer(bias / unit)
    remedy = "the synaptic weights are tiny beside it: lower --bits, or rescale the layer"
    _check_width(population.name, "the bias", state_bias, STATE_MAX, remedy)
    if not model.spiking:
        return CubaLi(du, dv, state_bias, input_bias, shift), state
    real = np.asarray(model.threshold) / state
    ge = model.compare == "ge"
    if (np.asarray(model.beta) == 0).all() and memoryless and model.reset in ("none", "zero") and not model.refractory:
        neuron = CompareNeuron(integer(threshold(real / (1 << shift) - np.asarray(state_bias) / (1 << shift), ge)))
        return neuron, np.asarray(unit)
    exact_tie = ge and tie_bias_is_exact(dv, du, steps, shift) and (np.rint(real) % (1 << shift) == 0).all()
    if exact_tie:
        vth = integer(real)
        state_bias = integer(np.asarray(state_bias) + 1)
    else:
        vth = integer(threshold(real, ge))
    _check_width(population.name, "the threshold", vth, STATE_MAX, remedy)
    neuron_ = CubaLif(
        du=du,
        dv=dv,
        vth=vth,
        bias=state_bias,
        input_bias=input_bias,
        shift=shift,
        reset=RESETS[model.reset],
        reset_amount=integer(np.asarray(model.reset_amount) / state) if "subtract" in model.reset else 0,
        reset_value=integer(np.asarray(model.v_reset) / state) if model.v_reset is not None else 0,
        refractory=model.refractory,
    )
    return neuron_, state


def integerise(lowered: Lowered, schedule: Schedule, choices: Choices, name: str) -> ir.Program:
    """The program. Raises RefusedError ND301 and ND304."""
    units = message_units(lowered, choices)
    heard = {p.source for p in lowered.projections} | {name for q in lowered.products for name in (q.left, q.right)}
    populations: list[ir.Population] = []
    projections = tuple(integer_projection(lowered, schedule, choices, units, p) for p in lowered.projections)
    products = tuple(
        as_product(p, schedule.realisation, schedule.delay[p.name], _exponent(lowered, choices, units, p.name))
        for p in lowered.products
    )
    ranges = Intervals({p.name: p.shape for p in lowered.populations}, projections, products)
    for population in topological(lowered):
        neuron, scale = _neuron(lowered, choices, units, population, population.name in heard, ranges)
        ranges.add(population.name, neuron)
        populations.append(
            ir.Population(
                population.name,
                population.shape,
                neuron,
                schedule.offset[population.name],
                scale,
                population.name,
                population.updates,
            )
        )
    return ir.Program(
        name=name,
        populations=tuple(populations),
        projections=projections,
        inputs=tuple(ir.InputPort(i, choices.inputs[i].scale) for i in lowered.inputs),
        outputs=tuple(_output(lowered, choices, population, variable) for population, variable in lowered.outputs),
        steps=lowered.steps,
        products=products,
        period=schedule.period,
        mode=schedule.mode,
    )


def _output(lowered: Lowered, choices: Choices, population: str, variable: str) -> ir.OutputPort:
    if population in choices.message:
        scale = float(choices.message[population].scale.flat[0])
        return ir.OutputPort(population, variable, lowered.decode, lowered.answer, scale)
    # an accumulating readout already holds the sum over the steps
    accumulates = isinstance(lowered.population(population).model, Accumulate)
    decode = "last" if accumulates and lowered.decode == "sum" else lowered.decode
    return ir.OutputPort(population, variable, decode)


def _exponent(lowered: Lowered, choices: Choices, units: Mapping[str, Any], name: str) -> int:
    """0, or the right shift that brings a product to the unit of its target's input."""
    product = next(p for p in lowered.products if p.name == name)
    if name in choices.own_exponent:
        return choices.own_exponent[name]
    unit = choices.unit.get(product.target)
    if unit is None:
        return 0
    ratio = float(np.max(unit)) / (units[product.left] * units[product.right] * product.scale)
    exponent = round(float(np.log2(ratio)))
    if exponent < 0 or abs(ratio - 2.0**exponent) > 1e-9 * ratio:
        raise RefusedError(
            "ND301",
            f"product '{name}' is worth {1 / ratio:g} units of its target's input, which no shift makes whole",
            help="let the product be the only input of its target",
        )
    return exponent


def _require_binary(lowered: Lowered, name: str, ranges: Intervals) -> None:
    for p in lowered.into(name):
        low, high = ranges.messages[p.source]
        if low < 0 or high > 1:
            raise RefusedError(
                "ND201",
                f"maximum pool '{name}': the values of '{p.source}' range from {low} to {high}; only binary spikes "
                "have an exact maximum on neurocores (any of them is one)",
                help="put the pool after a spiking neuron, or use sum or average pooling",
            )


def _neuron(
    lowered: Lowered,
    choices: Choices,
    units: Mapping[str, Any],
    population: RealPopulation,
    heard: bool,
    ranges: Intervals,
) -> tuple[Neuron, float | FloatArray]:
    model, name = population.model, population.name
    if isinstance(model, Neuron):
        return model, 1.0
    if isinstance(model, GRADED):
        return graded.neuron(lowered, choices, population)
    if isinstance(model, Source):
        coding = choices.inputs[name]
        return Input(coding.bits, coding.signed), coding.scale
    if isinstance(model, Join):
        lows, highs = ranges.input(name)
        low, high = int(lows.min()), int(highs.max())
        signed = low < 0
        bits = max(int(high).bit_length(), int(-low - 1).bit_length() if signed else 0) + signed
        return Relay(max(1, bits), signed), units[name]
    if isinstance(model, Or):
        _require_binary(lowered, name, ranges)
        return CompareNeuron(0), 1.0
    unit = choices.unit[name]
    shift = choices.shift.get(name, STATE_SHIFT)
    bias = np.zeros(()) if population.bias is None else population.bias
    if name in choices.bias:
        bias = np.asarray(bias + choices.bias[name])
        population = replace(population, bias=bias)
    if isinstance(model, Compare):
        real = model.threshold / unit
        return CompareNeuron(integer(threshold(real, model.ge)), integer(bias / unit)), 1.0
    if isinstance(model, Accumulate):
        state = unit / (1 << shift)
        return CubaLi(bias=integer(bias / state), shift=shift), np.asarray(state)
    neuron, state = lif(population, model, unit, lowered.steps, shift)
    if isinstance(neuron, CubaLi) and heard:
        neuron = replace(neuron, emit_bits=EMIT_BITS, emit_shift=24 - EMIT_BITS)
    return neuron, np.asarray(state)
