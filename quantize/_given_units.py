"""Units of neurons whose weights come quantised: mantissas and steps are the weights' own.

The unit of a neuron's synaptic input is the step of its weights over 2^fine. The threshold, in units of state (64 to a
unit of input), is not a whole number then; with integer states a comparison with it is still exact, and what is lost is
the rounding of biases and of states that leak by anything but halves. `fine` makes both small.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ndeploy.fixed import IntArray
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
    RealProjection,
    Source,
)
from ndeploy.passes.graded_choices import graded_input
from ndeploy.passes.integerise import INPUT_MAX
from ndeploy.quantizer import Request

from ._given import Given
from ._grid import Grid, find, misfit, signed_bits
from ._settling import LARGEST_EXPONENT, LOWEST_EXPONENT

MOST_BITS = 8
"""Widest grid that is looked for: what no target's synapses exceed and every step up to is tried."""
FINE_BITS = 12
"""Bits of the smallest threshold, in units of input."""


@dataclass(frozen=True)
class Misfit:
    """Why a population's weights cannot be taken over: code, what is wrong with which layer."""

    code: str
    why: str


@dataclass(frozen=True, eq=False)
class Port:
    """The weights that end on a population, flat, one projection after another. group: which step each has; scale: what
    a group is, in words."""

    projections: tuple[RealProjection, ...]
    weights: tuple[FloatArray, ...]
    groups: tuple[IntArray, ...]
    count: int
    scale: str


def width(request: Request) -> int:
    """Bits of the widest weights that are taken over."""
    stored = request.target.widths.weight.value
    return MOST_BITS if stored is None else min(MOST_BITS, stored)


def given_units(request: Request, population: RealPopulation, units: Mapping[str, Any]) -> Given | Misfit | None:
    """What the population's weights say of its unit; None where none of them was trained.

    units: what a message of every source is worth.
    """
    lowered = request.lowered
    into = lowered.into(population.name)
    trained = [p for p in into if not p.unit]
    if not trained or any(p.integer is not None for p in into):
        return None
    first = trained[0].name
    if any(q.target == population.name for q in lowered.products):
        return Misfit("ND311", f"layer '{first}': its sum takes a product too, which has a unit of its own")
    for p in into:
        value = np.asarray(units[p.source])
        if (value != value.flat[0]).any():
            return Misfit("ND311", f"layer '{p.name}': the messages of '{p.source}' have scales of their own")
    port = port_of(lowered, population, into, units)
    model = population.model
    readout = isinstance(model, Accumulate | Join) or (isinstance(model, DiscreteNeuron) and not model.spiking)
    limit = request.target.core.threshold_configurations.value
    shared = readout or (limit is not None and port.count > limit)
    own, grid = joint_grid(port, width(request), shared)
    if grid is None:
        return why(port, width(request), shared, readout)
    return _given(request, population, port, own, grid)


def alone(request: Request, projection: RealProjection) -> Misfit | None:
    """Whether one projection's weights lie on a grid, whatever else ends on its target."""
    population = request.lowered.population(projection.target)
    port = port_of(request.lowered, population, (projection,), {projection.source: 1.0})
    return None if joint_grid(port, width(request), False)[1] is not None else why(port, width(request), False, False)


def port_of(
    lowered: Lowered, population: RealPopulation, into: tuple[RealProjection, ...], units: Mapping[str, Any]
) -> Port:
    """The weights of `into`, times what a message of their source is worth (a number each)."""
    size = math.prod(population.shape)
    channels = [p.synapses.weight.shape[0] for p in into if isinstance(p.synapses, RealConv)]
    by_channel = bool(channels)
    count = min(channels, default=size)
    gain = _gains(population)
    weights, groups = [], []
    for p in into:
        synapses = p.synapses
        if isinstance(synapses, RealConv):
            rows = np.repeat(np.arange(synapses.weight.shape[0]), synapses.weight[0].size)
            rows = rows * count // synapses.weight.shape[0]
            neuron = rows * (size // count)
        elif isinstance(synapses, RealDense):
            neuron = np.repeat(np.arange(size), synapses.weight.shape[1])
            rows = neuron * count // size
        else:
            neuron = synapses.target
            rows = neuron * count // size
        scale = float(np.asarray(units[p.source]).flat[0])
        weights.append(np.asarray(synapses.weight.reshape(-1) * scale * gain[neuron], dtype=np.float64))
        groups.append(rows.astype(np.int64))
    return Port(into, tuple(weights), tuple(groups), count, "per channel" if by_channel else "per neuron")


def _gains(population: RealPopulation) -> FloatArray:
    """By neuron, what its weights are multiplied by before they are compared: membranes that are read have one unit."""
    model = population.model
    gain = np.ones(())
    if isinstance(model, DiscreteNeuron) and not model.spiking:
        gain = np.asarray(model.input_gain * model.gain, dtype=np.float64)
    return np.array(np.broadcast_to(gain, population.shape).reshape(-1))


def joint_grid(port: Port, bits: int, shared: bool) -> tuple[Mapping[str, int], Grid | None]:
    """The projections' own exponents and the grid of all their weights together; of the two ways to align them the one
    with fewer bits."""
    group = np.concatenate(port.groups)
    best: tuple[Mapping[str, int], Grid | None] = ({}, None)
    for own in (dict.fromkeys((p.name for p in port.projections), 0), _aligned(port, bits, shared)):
        if own is None:
            continue
        weight = np.concatenate([w / 2.0 ** own[p.name] for p, w in zip(port.projections, port.weights, strict=True)])
        grid = find(weight, group, port.count, bits, shared=shared)
        if grid is not None and (best[1] is None or grid.bits < best[1].bits):
            best = own, grid
    return best


def _aligned(port: Port, bits: int, shared: bool) -> dict[str, int] | None:
    """Exponents that bring the projections' own steps nearest to one another; None for a single projection, or where
    one of them has no step."""
    if len(port.projections) == 1:
        return None
    steps = []
    for weight, group in zip(port.weights, port.groups, strict=True):
        grid = find(weight, group, port.count, bits, shared=shared)
        if grid is None:
            return None
        steps.append(grid.step)
    wanted = [round(float(np.median(np.log2(step / steps[0])))) for step in steps]
    exponents = {p.name: e - min(wanted) for p, e in zip(port.projections, wanted, strict=True)}
    return exponents if max(exponents.values()) <= LARGEST_EXPONENT else None


def why(port: Port, bits: int, shared: bool, readout: bool) -> Misfit:
    """What is in the way: the first projection that lies on no grid and how far off it is, else how steps differ."""
    kind = port.scale.split()[-1]
    for p, weight, group in zip(port.projections, port.weights, port.groups, strict=True):
        if find(weight, group, port.count, bits) is None:
            worst, off = misfit(weight, group, port.count, bits)
            where = f"{kind} {worst}: on the best step its worst weight is {off:.2f} steps from a whole number"
            if off == 0.0:  # there are steps: it is the width that fails
                most = 1 << (bits - 1)
                where = (
                    f"a mantissa is {most}: batch norm's negative factor has turned the -{most} of its training around"
                )
            return Misfit("ND310", f"layer '{p.name}': its weights lie on no grid of at most {bits} bits ({where})")
    name = port.projections[0].name
    if shared:
        what = "a readout compares them" if readout else "the target has one threshold for all of them"
        return Misfit("ND311", f"layer '{name}': every {kind} has a step of its own, and {what}")
    names = ", ".join(f"'{p.name}'" for p in port.projections)
    return Misfit("ND311", f"layers {names} end on the same neurons, with steps that are no multiples of one another")


def _given(request: Request, population: RealPopulation, port: Port, own: Mapping[str, int], grid: Grid) -> Given:
    step = grid.step.copy()
    used = np.zeros(port.count, dtype=np.bool_)
    used[np.concatenate(port.groups)[grid.mantissas != 0]] = True
    reach = _reach(population, port.count)
    if not grid.shared:  # a group without weights takes any step: one that its threshold fits
        step = np.where(used | (reach == 0), step, np.maximum(step, reach / INPUT_MAX))
    ratio = reach / step
    # where messages are graded, a sum that is finer than the state is shifted down
    down = -LOWEST_EXPONENT if _graded(request, port) else 0
    held = ratio <= INPUT_MAX * 2.0**down
    fine = 0
    if down and (held & used).any():
        fine = min(0, -math.ceil(math.log2(max(1.0, float(ratio[held & used].max())) / INPUT_MAX)))
    if fine == 0 and not _exact(request, population):
        fine = _fine(request, ratio[held & used], max(own.values(), default=0))
    beyond = ratio * 2.0 ** min(fine, 0) / INPUT_MAX
    coarser = np.ceil(np.log2(np.maximum(beyond, 1.0))).astype(np.int64)
    coarser = coarser if not grid.shared else np.full(port.count, coarser.max())
    step = step * 2.0**coarser
    whole = np.rint(grid.mantissas / 2.0 ** coarser[np.concatenate(port.groups)]).astype(np.int64)
    mantissas = split(port, replace(grid, mantissas=whole))
    return Given(
        shaped(population, step, port, grid.shared),
        mantissas,
        {name: signed_bits(value) for name, value in mantissas.items()},
        {name: e for name, e in own.items() if e},
        fine,
        "per population" if grid.shared else port.scale,
        int((coarser > 0).sum()),
    )


def split(port: Port, grid: Grid) -> dict[str, npt.NDArray[np.int16]]:
    """The grid's mantissas by projection, in the layout of its weights."""
    mantissas: dict[str, npt.NDArray[np.int16]] = {}
    first = 0
    for p, group in zip(port.projections, port.groups, strict=True):
        part = grid.mantissas[first : first + group.size]
        first += group.size
        mantissas[p.name] = part.astype(np.int16).reshape(p.synapses.weight.shape)
    return mantissas


def _graded(request: Request, port: Port) -> bool:
    """Whether every message that enters can carry more than one bit."""

    def graded(name: str) -> bool:
        model = request.lowered.population(name).model
        if isinstance(model, Source):
            return graded_input(request, name).bits > 1
        return isinstance(model, Join) or (isinstance(model, DiscreteNeuron) and not model.spiking)

    return all(graded(p.source) for p in port.projections)


def _reach(population: RealPopulation, count: int) -> FloatArray:
    """The largest real input by group that state must hold whatever the weights: threshold and bias."""
    model = population.model
    level = np.zeros(())
    if isinstance(model, DiscreteNeuron) and model.spiking:
        level = np.abs(np.asarray(model.threshold) / (model.input_gain * model.gain))
    elif isinstance(model, Compare):
        level = np.abs(np.asarray(model.threshold))
    if population.bias is not None and isinstance(model, DiscreteNeuron) and model.spiking:
        level = np.maximum(level, np.abs(population.bias))
    return np.asarray(np.broadcast_to(level, population.shape).reshape(count, -1).max(axis=1), dtype=np.float64)


def _exact(request: Request, population: RealPopulation) -> bool:
    """Whether nothing is rounded but the threshold, and that to a state, with which integers compare exactly."""
    if "any-threshold" not in request.target.features and request.target.widths.threshold_shift.value is not None:
        return False
    model = population.model
    if not isinstance(model, DiscreteNeuron) or not model.spiking:
        return True
    leaks = not model.has_current and bool(np.isin(np.asarray(model.beta), (0.0, 0.5, 1.0)).all())
    free = population.bias is None or not np.any(population.bias)
    plain = model.reset in ("none", "zero", "delayed-zero") and not np.any(model.bias)
    return leaks and free and plain and (model.v_reset is None or not np.any(model.v_reset))


def _fine(request: Request, ratio: FloatArray, own: int) -> int:
    """ratio: reach over step, of the groups that have both."""
    live = ratio[ratio > 0]
    if not live.size:
        return 0
    high = request.target.widths.weight_exponent_high.value
    room = math.floor(math.log2(INPUT_MAX / float(live.max())))
    wanted = FINE_BITS - math.floor(math.log2(float(live.min())))
    return max(0, min(wanted, room, (LARGEST_EXPONENT if high is None else high) - own))


def shaped(population: RealPopulation, step: FloatArray, port: Port, shared: bool) -> FloatArray:
    """Groups' steps as an array that broadcasts to the population's shape; membranes' gains taken out again."""
    if shared:
        result = np.asarray(step.flat[0])
    elif port.scale == "per channel":
        size = math.prod(population.shape)
        whole = step.size == population.shape[0]
        result = step if whole else np.repeat(step, size // step.size).reshape(population.shape)
        result = result.reshape(-1, *(1,) * (len(population.shape) - 1)) if whole else result
    else:
        result = step.reshape(population.shape)
    gain = _gains(population)
    if (gain == gain[0]).all():
        return np.asarray(result / gain[0])
    return np.asarray(result / gain.reshape(population.shape))
