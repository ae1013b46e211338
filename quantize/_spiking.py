"""Spiking layers whose inputs' moments are known: steps by search, weights rounded together, biases corrected."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ndeploy.graph.discrete import DiscreteNeuron
from ndeploy.ir.lowered import GRADED, Accumulate, FloatArray, Join, Lowered, RealConv, RealPopulation, RealProjection
from ndeploy.passes.along import columns
from ndeploy.passes.message_units import message_units
from ndeploy.passes.spiking_steps import Port, apart, mantissas, row_steps, side_by_side
from ndeploy.quantizer import Choices, Request

Memo = dict[Any, Any]
"""What has been rounded before, by population, widths and steps: a search asks for the same layer many times."""


def _projections(request: Request, name: str) -> list[RealProjection]:
    into = {p.name: p for p in request.lowered.into(name)}
    return [into[p] for p in request.moments[name].projections]


def _port(
    request: Request,
    population: RealPopulation,
    units: Mapping[str, Any],
    bits: Mapping[str, int],
    own: Mapping[str, int],
) -> Port:
    lowered, moments = request.lowered, request.moments[population.name]
    into = _projections(request, population.name)
    weight = side_by_side(into, [p.synapses.weight for p in into])
    groups = weight.shape[0]
    wide = [p.synapses.weight.size // (groups * weight.shape[1]) for p in into]
    # moments are those of real values: a step counts messages
    scale = np.concatenate(
        [_by_column(p, units[p.source], lowered.population(p.source).shape, groups) for p in into], axis=1
    )
    if len(moments.mean) != groups:  # every row has its own moments
        scale = np.repeat(scale, weight.shape[1], axis=0)
        weight = weight.reshape(-1, 1, weight.shape[2])
    return Port(
        weight * scale[:, None, :],
        moments.mean / scale,
        moments.covariance / scale[:, :, None] / scale[:, None, :],
        np.repeat([bits[p.name] for p in into], wide),
        np.repeat([2.0 ** own.get(p.name, 0) for p in into], wide),
    )


def channels_first(population: RealPopulation, into: Iterable[RealProjection]) -> bool:
    """Whether the channels of convolutions that end there are the population's first axis: not behind a flattening,
    where one unit for all of it serves."""
    return all(p.synapses.weight.shape[0] == population.shape[0] for p in into if isinstance(p.synapses, RealConv))


def _by_column(p: RealProjection, unit: Any, shape: tuple[int, ...], groups: int) -> FloatArray:
    """(groups, columns): the real value of one message."""
    wide = math.prod(p.synapses.weight.shape[1:])
    laid = columns(p.synapses, unit, shape)
    if isinstance(p.synapses, RealConv) and laid.ndim:
        by_group = laid.reshape(groups, -1, laid.shape[1])[:, 0]
        return np.repeat(by_group, wide // laid.shape[1], axis=1)
    return np.broadcast_to(laid.reshape(1, -1), (groups, wide))


def searched_steps(
    request: Request,
    population: RealPopulation,
    units: Mapping[str, Any],
    bits: Mapping[str, int],
    own: Mapping[str, int],
    many: bool,
    memo: Memo,
) -> FloatArray:
    """The step of every group of neurons that can have its own, broadcasting to the population's shape.

    many: whether neurons may differ in their threshold, and so in their unit.
    """
    into = _projections(request, population.name)
    widths = tuple(bits[p.name] for p in into)
    key = ("steps", population.name, widths, tuple(sorted(own.items())), many, _unit_key(into, units))
    if key not in memo:
        port = _port(request, population, units, bits, own)
        model = population.model
        common = not many or isinstance(model, Accumulate | Join) or not channels_first(population, into)
        common = common or (isinstance(model, DiscreteNeuron) and not model.spiking)
        label: npt.NDArray[np.int64] | None = np.zeros(port.weight.shape[:2], dtype=np.int64) if common else None
        memo[key] = row_steps(port, label).reshape(-1)
    step = memo[key]
    step = np.where(step > 0, step, step.max() or 1.0)
    if not channels_first(population, into):
        return np.asarray(step.max())
    if isinstance(into[0].synapses, RealConv):
        return np.asarray(step.reshape(population.shape[0], *(1,) * (len(population.shape) - 1)))
    return np.asarray(step.reshape(population.shape))


def rounded_spiking(request: Request, choices: Choices, memo: Memo) -> Choices:
    """The choices with mantissas and bias corrections of every population whose moments are known."""
    lowered = request.lowered
    weights, bias = dict(choices.weights), dict(choices.bias)
    units = message_units(lowered, choices)
    for population in lowered.populations:
        name = population.name
        if name not in request.moments or isinstance(population.model, GRADED) or name not in choices.unit:
            continue
        into = _projections(request, name)
        own = {p.name: choices.own_exponent.get(p.name, 0) for p in into}
        step = np.asarray(choices.unit[name] * 2.0 ** choices.exponent.get(name, 0))
        widths = tuple(choices.bits[p.name] for p in into)
        key = ("weights", name, widths, tuple(sorted(own.items())), step.tobytes(), _unit_key(into, units))
        if key not in memo:
            port = _port(request, population, units, choices.bits, own)
            rows = _rows(lowered, population, into[0], step, port.weight.shape[:2])
            memo[key] = mantissas(port, rows)
        rounded, lost = memo[key]
        weights |= apart(into, rounded)
        bias[name] = _spread(population, into[0], lost.reshape(-1))
    return replace(choices, weights=weights, bias=bias)


def _rows(
    lowered: Lowered, population: RealPopulation, p: RealProjection, step: FloatArray, shape: tuple[int, ...]
) -> FloatArray:
    full = np.broadcast_to(step, population.shape)
    if isinstance(p.synapses, RealConv):
        return full.reshape(p.synapses.weight.shape[0], -1)[:, 0].reshape(shape)
    return full.reshape(shape)


def _spread(population: RealPopulation, p: RealProjection, row: FloatArray) -> FloatArray:
    if isinstance(p.synapses, RealConv):
        per = math.prod(population.shape) // row.size
        return np.repeat(row, per).reshape(population.shape)
    return row.reshape(population.shape)


def _unit_key(into: list[RealProjection], units: Mapping[str, Any]) -> tuple[bytes, ...]:
    return tuple(np.asarray(units[p.source], dtype=np.float64).tobytes() for p in into)
