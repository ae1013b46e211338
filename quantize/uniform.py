"""Uniform quantisation: the same number of weight bits everywhere, scales tied to thresholds.

Weights are symmetric, rounded to nearest. The unit s of a spiking neuron's synaptic input is the smallest that holds
its largest weight, enlarged to s = theta / (G k) with k an integer: the threshold is then exactly 64 k and comparisons
with it are exact (facts: Spikformer, 0 of 4e6 mismatches). Units are per channel (convolutions) or per neuron (dense)
where the target can hold that many thresholds, per population otherwise, and always per population for readouts, whose
neurons are compared with one another. Where a range is exceeded, by proof for inputs of known width, on calibration
data with a margin of two otherwise, room is made for that population: by a smaller exponent, by a smaller shift of its
input to its state where the target leaves that free, and by coarser weights last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ndeploy.errors import RefusedError
from ndeploy.graph.discrete import DiscreteNeuron
from ndeploy.ir.lowered import (
    Accumulate,
    Compare,
    FloatArray,
    Join,
    Lowered,
    RealConv,
    RealDense,
    RealPopulation,
    RealSparse,
    Source,
)
from ndeploy.passes.along import columns
from ndeploy.passes.codings import top
from ndeploy.passes.graded_choices import graded_choices, graded_input
from ndeploy.passes.integerise import INPUT_MAX
from ndeploy.passes.message_units import message_units
from ndeploy.passes.order import topological
from ndeploy.passes.second_order import second_order
from ndeploy.quantizer import Choices, Quantised, Request

from ._given import Given, Taking
from ._settling import LARGEST_EXPONENT, LOWEST_EXPONENT, settle
from ._spiking import Memo, channels_first, rounded_spiking, searched_steps

NAME = "uniform"
PASSES = 6
"""Over units that depend on themselves; each pass brings them closer by the gain of the loop."""
FINE_BITS = 12
TIED_BITS = 7


def _weighted(lowered: Lowered, population: RealPopulation) -> bool:
    """Whether a unit of synaptic input has to be chosen for it."""
    if isinstance(population.model, Join):
        return any(not p.unit for p in lowered.into(population.name))
    return isinstance(population.model, DiscreteNeuron | Compare | Accumulate)


def smallest_units(
    lowered: Lowered, population: RealPopulation, units: Mapping[str, Any], bits: Mapping[str, int]
) -> FloatArray:
    """The least unit in which every weight fits its bits, by group of neurons that can share one; broadcasts to shape.

    bits: by projection; a weight is worth its value times its message's unit.
    """
    shape = population.shape
    size = int(np.prod(shape))
    into = lowered.into(population.name)
    by_channel = any(isinstance(p.synapses, RealConv) for p in into)
    if by_channel and not channels_first(population, into):
        largest = [
            (np.abs(p.synapses.weight) * columns(p.synapses, units[p.source], lowered.population(p.source).shape)).max(
                initial=0.0
            )
            / 2.0 ** own_exponents(lowered, population, units, bits).get(p.name, 0)
            / top(bits.get(p.name, 8), True)
            for p in into
        ]
        return np.asarray(max(largest) or 1.0)
    channels = shape[0]
    result = np.zeros(channels if by_channel else size)
    own = own_exponents(lowered, population, units, bits)
    for p in into:
        source = columns(p.synapses, units[p.source], lowered.population(p.source).shape)
        weight = np.abs(p.synapses.weight) * source / 2.0 ** own.get(p.name, 0) / top(bits.get(p.name, 8), True)
        if isinstance(p.synapses, RealConv):
            rows = weight.reshape(channels, -1).max(axis=1)
        elif isinstance(p.synapses, RealDense):
            rows = weight.max(axis=1)
        else:
            rows = _sparse_rows(p.synapses, weight, size)
        if by_channel and rows.size != channels:
            rows = rows.reshape(channels, -1).max(axis=1)
        result = np.maximum(result, rows)
    fallback = result.max() or 1.0
    result = np.where(result > 0, result, fallback)
    return result.reshape(channels, *(1,) * (len(shape) - 1)) if by_channel else result.reshape(shape)


def own_exponents(
    lowered: Lowered, population: RealPopulation, units: Mapping[str, Any], bits: Mapping[str, int]
) -> dict[str, int]:
    """By which power of two the mantissas of each projection into the population are worth more than the finest one's.

    A message of a graded input may be worth 1/255 and a spike 1: with one exponent for both, the input's weights would
    keep one bit or two. Projections with constant or integer weights, and sums with products, have one unit.
    """
    into = lowered.into(population.name)
    if any(p.unit or p.integer is not None for p in into) or any(q.target == population.name for q in lowered.products):
        return {}
    reach = {
        p.name: float(
            (np.abs(p.synapses.weight) * columns(p.synapses, units[p.source], lowered.population(p.source).shape)).max(
                initial=0.0
            )
        )
        / top(bits[p.name], True)
        for p in into
    }
    least, finest = min(((r, name) for name, r in reach.items() if r > 0), default=(1.0, ""))
    # below 0 a sum loses low bits: sums of integers have them to spare, sums of spikes do not
    source = next((lowered.population(p.source).model for p in into if p.name == finest), None)
    graded = isinstance(source, Source | Join) or (isinstance(source, DiscreteNeuron) and not source.spiking)
    limit = LARGEST_EXPONENT - LOWEST_EXPONENT if graded else LARGEST_EXPONENT
    return {name: min(limit, int(np.log2(r / least))) for name, r in reach.items() if r >= 2 * least}


def _sparse_rows(synapses: RealSparse, weight: FloatArray, size: int) -> FloatArray:
    rows = np.zeros(size)
    np.maximum.at(rows, synapses.target, weight)
    return rows


def choose_unit(
    request: Request,
    population: RealPopulation,
    units: Mapping[str, Any],
    bits: Mapping[str, int],
    factor: float,
    readout: bool,
    memo: Memo,
) -> FloatArray:
    """Real value of one unit of the population's synaptic input; `factor` >= 1 coarsens it."""
    lowered, model = request.lowered, population.model
    products = [units[q.left] * units[q.right] * q.scale for q in lowered.products if q.target == population.name]
    smallest = smallest_units(lowered, population, units, bits)
    if products:
        unit = np.asarray(min(products) * 2.0 ** np.ceil(np.log2(factor)))
        if lowered.into(population.name) and (smallest > unit).any():
            raise RefusedError(
                "ND301",
                f"population '{population.name}' sums a product worth {min(products):g} a unit and weights that need "
                f"{float(smallest.max()):g} a unit to fit their bits",
                help="raise --bits, or let the product have a neuron of its own",
            )
        return unit
    many = _many_thresholds(request, smallest.size)
    if population.name in request.moments:
        smallest = searched_steps(
            request, population, units, bits, own_exponents(lowered, population, units, bits), many, memo
        )
    smallest = smallest * factor
    if isinstance(model, DiscreteNeuron) and not model.spiking:
        return _common_state_unit(model, smallest, population.shape)
    if isinstance(model, Accumulate | Join) or not many:
        smallest = np.asarray(smallest.max())
    if isinstance(model, DiscreteNeuron):
        level = np.asarray(model.threshold / np.abs(model.input_gain * model.gain))
    elif isinstance(model, Compare):
        level = np.asarray(model.threshold)
    else:
        return smallest
    highest = -_grouped(-level, smallest, population.shape)
    level = _grouped(level, smallest, population.shape)
    smallest = np.maximum(smallest, highest / INPUT_MAX)  # every threshold must fit the state
    level = np.where(level > 0, level, 0)
    if population.name in request.moments:  # the step is chosen: the threshold is a whole number of finer units
        fine = 2.0 ** fine_exponent(request, population, smallest)
        return np.asarray(
            np.divide(
                level, np.maximum(np.rint(level / smallest * fine), 1), out=np.array(smallest / fine), where=level > 0
            )
            * fine
        )
    k = np.floor(level / smallest * (1 + 1e-12))
    tied = np.divide(level, k, out=np.array(smallest, dtype=np.float64), where=k >= 1)
    return np.asarray(tied)


def _common_state_unit(model: DiscreteNeuron, smallest: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """Units of input that give every membrane of the population the same unit: membranes are compared with one another
    (readouts) or sent as they are to weights that know one unit."""
    gain = np.asarray(model.input_gain * model.gain, dtype=np.float64)
    state = float(np.max(gain * smallest))
    if gain.ndim == 0 or bool((gain == gain.flat[0]).all()):
        return np.asarray(state / gain.flat[0])
    rows = np.broadcast_to(gain, shape).reshape(shape[0], -1)
    by_channel = bool((rows == rows[:, :1]).all())
    return np.asarray(state / (rows[:, 0].reshape(-1, *(1,) * (len(shape) - 1)) if by_channel else gain))


def _grouped(level: FloatArray, like: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """One level per group of `like` (the smallest where a group's neurons differ)."""
    full = np.broadcast_to(level, shape)
    if like.ndim == 0:
        return np.asarray(full.min())
    if like.shape == shape:
        return np.asarray(full)
    return np.asarray(full.reshape(shape[0], -1).min(axis=1).reshape(like.shape))


def fine_exponent(request: Request, population: RealPopulation, unit: FloatArray) -> int:
    """By which power of two the unit of the population's input is made finer than its weights.

    A neuron whose current or membrane leaks by anything but halves rounds its state at every step, and a bias on its
    current is a whole number of units: both want a threshold of about 2^12 units. Where the state is exact, 0.
    """
    model = population.model
    if not isinstance(model, DiscreteNeuron) or not model.spiking:
        return 0
    exact = not model.has_current and bool(np.isin(np.asarray(model.beta), (0.0, 0.5, 1.0)).all())
    if any(q.target == population.name for q in request.lowered.products):
        return 0
    if exact and population.name not in request.moments:
        return 0
    level = np.asarray(model.threshold / np.abs(model.input_gain * model.gain)) / unit
    high = request.target.widths.weight_exponent_high.value
    room = 6 if high is None else high - 1
    if exact:  # steps that are chosen are not tied to the threshold: one of 2^7 units bends them by 0.4 %
        return max(0, min(TIED_BITS - int(np.floor(np.log2(max(2.0**-8, float(level.min()))))), room))
    return max(0, min(FINE_BITS - int(np.ceil(np.log2(max(1.0, float(level.max()))))), room))


def _many_thresholds(request: Request, wanted: int) -> bool:
    limit = request.target.core.threshold_configurations
    return limit.value is None or wanted <= limit.value


def choices(
    request: Request,
    factors: Mapping[str, float],
    shifts: Mapping[str, int],
    coarser: Mapping[str, int],
    memo: Memo,
    taking: Taking | None = None,
) -> Choices:
    """The choices of a round of `settle`.

    taking: finds units and weights that come with the network.
    """
    lowered = request.lowered
    inputs = {name: graded_input(request, name) for name in lowered.inputs}
    readouts = {name for name, _ in lowered.outputs}
    bits = {
        p.name: request.bits_of.get(p.name, request.bits)
        for p in lowered.projections
        if not p.unit and p.integer is None
    }
    graded = graded_choices(request, inputs, bits)
    if taking is not None:
        graded = taking.messages(graded)
    graded = second_order(lowered, graded, request.moments, memo)
    if taking is not None:
        graded = taking.ports(graded)
        bits |= graded.bits
    made = replace(graded, shift=shifts)
    for _ in range(PASSES if _sends_itself_membranes(lowered) else 1):
        unit: dict[str, FloatArray] = {}
        exponent: dict[str, int] = {}
        projections: dict[str, int] = {}
        weights: dict[str, npt.NDArray[np.int16]] = {}
        for population in topological(lowered):
            if not _weighted(lowered, population):
                continue
            # what closes a loop has the unit of the pass before
            units = message_units(lowered, replace(made, unit={**made.unit, **unit}))
            given = None if taking is None else taking.units(population, units)
            if given is not None:
                fine = _room_for(request, population, given, factors) - coarser.get(population.name, 0)
                unit[population.name] = np.asarray(given.step / 2.0**fine)
                exponent |= {population.name: fine} if fine else {}
                projections |= given.own
                weights |= given.mantissas
                bits |= given.bits
                continue
            factor = factors.get(population.name, 1.0)
            readout = population.name in readouts
            chosen = choose_unit(request, population, units, bits, factor, readout, memo)
            own = own_exponents(lowered, population, units, bits)
            projections |= own
            fine = fine_exponent(request, population, chosen) - coarser.get(population.name, 0)
            high = request.target.widths.weight_exponent_high.value
            fine = min(fine, (LARGEST_EXPONENT if high is None else high) - max(own.values(), default=0))
            if fine < 0:  # the weights keep their bits: what is coarser is the unit that their sum is shifted to
                chosen = choose_unit(request, population, units, bits, factor * 2.0**-fine, readout, memo)
            if fine:
                exponent[population.name] = fine
            unit[population.name] = np.asarray(chosen / 2.0 ** max(0, fine))
        made = replace(
            made,
            unit={**graded.unit, **unit},
            bits=bits,
            weights={**graded.weights, **weights},
            exponent=exponent,
            own_exponent={**graded.own_exponent, **projections},
        )
    return rounded_spiking(request, made, memo)


def _room_for(request: Request, population: RealPopulation, given: Given, factors: Mapping[str, float]) -> int:
    """The exponent of units that are given. Raises RefusedError ND302 where only coarser weights would make room."""
    if population.name in factors:
        raise RefusedError(
            "ND302",
            f"population '{population.name}' overflows with its weights as they came, up to "
            f"{max(given.bits.values())} bits of steps {float(np.min(given.step)):.3g}",
            help="--method uniform makes its weights coarser; or check its threshold and the calibration data",
        )
    return given.fine


def _sends_itself_membranes(lowered: Lowered) -> bool:
    """Whether a message whose unit is chosen here travels around a loop, so that the choice depends on itself."""
    sources = [lowered.population(p.source).model for p in lowered.projections if p.lag]
    return any(isinstance(m, Join) or (isinstance(m, DiscreteNeuron) and not m.spiking) for m in sources)


def quantize(request: Request, progress: Callable[[str], None], memo: Memo | None = None) -> Quantised:
    """The program at `request.bits` weight bits, or those of `request.bits_of`.

    Weights of populations that `request.moments` covers are rounded together, the others to nearest. memo: kept between
    calls for the same network and moments, it saves rounding a layer again.

    Raises UsageError ND305 (input range unknown), RefusedError ND301 (a value that fits no width) and ND302 (ranges
    that calibration data exceed however coarse the weights).
    """
    if not 2 <= request.bits <= 16:
        raise RefusedError("ND301", f"{request.bits} weight bits", help="choose --bits between 2 and 16")
    memo = {} if memo is None else memo
    return settle(request, progress, lambda factors, shifts, coarser: choices(request, factors, shifts, coarser, memo))
