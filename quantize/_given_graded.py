"""Graded neurons whose weights come quantised: messages get scales that leave the weights' own steps whole.

A port sums weights times messages. Where every message that enters it has one scale, and these are powers of two of one
another, the port's unit is the weights' step times that scale, and the mantissas are the weights' own. So the sources
of such ports give up scales by neuron, and theirs is raised to the next power of two (less than one bit of 16).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ndeploy.ir.lowered import FloatArray, Held, Lowered, RealPopulation, RealProjection
from ndeploy.passes.codings import passes_on, rescales
from ndeploy.passes.graded import thresholds
from ndeploy.passes.graded_units import (
    LARGEST_EXPONENT,
    LOWEST_EXPONENT,
    REACH,
    port_key,
    port_units,
    source_coding,
    weighted_ports,
)
from ndeploy.quantizer import Choices, Coding, Request

from ._given import Given
from ._given_units import Misfit, Port, joint_grid, port_of, shaped, split, why, width
from ._grid import Grid, signed_bits


def trained_ports(lowered: Lowered) -> dict[str, tuple[RealPopulation, tuple[RealProjection, ...]]]:
    """Ports of graded populations that weights end on, by key: the population and the projections."""
    found = {}
    for population in lowered.populations:
        for port in weighted_ports(population):
            into = tuple(p for p in lowered.into(population.name) if p.port == port)
            if any(not p.unit and p.integer is None for p in into):
                found[port_key(population.name, port)] = (population, into)
    return found


def misfits(request: Request) -> dict[str, Misfit]:
    """Ports whose weights cannot be taken over, whatever the scales of their messages."""
    found: dict[str, Misfit] = {}
    for key, (population, into) in trained_ports(request.lowered).items():
        if any(p.unit for p in into):
            name = next(p.name for p in into if not p.unit)
            found[key] = Misfit("ND311", f"layer '{name}': its sum takes sums of changes too, whose unit is its own")
            continue
        for p in into:
            port = port_of(request.lowered, population, (p,), {p.source: 1.0})
            if joint_grid(port, width(request), False)[1] is None:
                found[key] = why(port, width(request), False, False)
                break
    for p in request.lowered.projections:  # sums of weighed changes (sigma-delta coding)
        target = request.lowered.population(p.target)
        if isinstance(target.model, Held) and not p.unit and p.integer is None:
            found[p.target] = Misfit("ND311", f"layer '{p.name}': sigma-delta coding gives its sum a unit of its own")
    return found


def even_messages(request: Request, choices: Choices, misfit: Mapping[str, Misfit]) -> Choices:
    """The choices with one scale for each population that feeds a port of given weights, powers of two apart."""
    lowered = request.lowered
    given = {k: v for k, v in trained_ports(lowered).items() if k not in misfit}
    together = _together(lowered)
    wanted = {together[p.source] for _, into in given.values() for p in into if p.source in together}
    if not wanted:
        return choices
    fed = {p.source for _, into in given.values() for p in into if p.source in choices.inputs}
    base = choices.inputs[min(fed)].scale if fed else 1.0
    fixed = {
        together[p.target]
        for p in lowered.projections
        if p.source in choices.inputs and p.target in together and passes_on(lowered, lowered.population(p.target))
    }
    largest: dict[str, float] = {}
    for name, group in together.items():
        largest[group] = max(largest.get(group, 0.0), float(np.max(choices.message[name].scale)))
    message: dict[str, Coding] = {}
    for name, group in together.items():
        coding = choices.message[name]
        if group in wanted and group not in fixed:
            even = base * 2.0 ** math.ceil(math.log2(largest[group] / base) - 1e-12)
            coding = replace(coding, scale=np.asarray(even))
        message[name] = coding
    units = port_units(lowered, message, choices.inputs, choices.bits)
    share = 0.0 if request.threshold is None else request.threshold
    return replace(
        choices,
        unit=units.unit,
        own_exponent=units.exponent,
        message={**message, **units.message},
        thresholds=thresholds(lowered, message, request.observed, share),
    )


def _together(lowered: Lowered) -> dict[str, str]:
    """By population whose messages have a scale of their choosing, the name of those that share it: registers pass on
    what they are fed."""
    group = {p.name: p.name for p in lowered.populations if rescales(lowered, p) or passes_on(lowered, p)}

    def root(name: str) -> str:
        while group[name] != name:
            name = group[name]
        return name

    for p in lowered.projections:
        if p.unit and p.source in group and p.target in group and passes_on(lowered, lowered.population(p.target)):
            a, b = sorted((root(p.source), root(p.target)))
            group[b] = a
    return {name: root(name) for name in group}


def given_port(
    request: Request, choices: Choices, key: str, population: RealPopulation, into: tuple[RealProjection, ...]
) -> tuple[Given, int] | Misfit:
    """What the weights that end on a port say of its unit, and by how many powers of two their sum is shifted down."""
    units: dict[str, float] = {}
    for p in into:
        scale, _ = source_coding(request.lowered, p.source, choices.message, choices.inputs)
        if (scale != scale.flat[0]).any():
            return Misfit("ND311", f"layer '{p.name}': the messages of '{p.source}' have scales of their own")
        units[p.source] = float(scale.flat[0])
    port = port_of(request.lowered, population, into, units)
    own, grid = joint_grid(port, width(request), False)
    if grid is None:
        return why(port, width(request), False, False)
    name = key.partition(".")[2] or "in"
    bias = population.bias if name == "in" else population.biases.get(name)
    reach = _reach(request, choices, port, own, grid)
    constant = np.zeros(port.count)
    if bias is not None:
        constant = np.abs(np.broadcast_to(bias, population.shape)).reshape(port.count, -1).max(axis=1)
    live = reach > 0
    total = reach + constant / grid.step
    shift = math.ceil(math.log2(float(total[live].max()) / REACH)) if live.any() else 0
    shift = max(shift, max(own.values(), default=0) - LARGEST_EXPONENT)
    if shift - min(own.values(), default=0) > -LOWEST_EXPONENT:
        return Misfit("ND311", f"layer '{into[0].name}': with its weights as they are its sum outgrows the state")
    # a row without weights takes any step: one that holds its bias
    step = np.where(live | grid.shared, grid.step, np.maximum(grid.step, constant / (REACH * 2.0**shift)))
    mantissas = split(port, grid)
    bits = {p: signed_bits(value) for p, value in mantissas.items()}
    scale_of = "per population" if grid.shared else port.scale
    return Given(shaped(population, step, port, grid.shared), mantissas, bits, own, 0, scale_of), shift


def _reach(request: Request, choices: Choices, port: Port, own: Mapping[str, int], grid: Grid) -> FloatArray:
    """The largest sum of every group, in steps."""
    total = np.zeros(port.count)
    mantissas = split(port, grid)
    for p, group in zip(port.projections, port.groups, strict=True):
        _, top = source_coding(request.lowered, p.source, choices.message, choices.inputs)
        size = np.abs(mantissas[p.name].reshape(-1)).astype(np.float64) * top * 2.0 ** own.get(p.name, 0)
        # groups of several neurons share their weights: the sum of one of them
        neurons = math.prod(request.lowered.population(p.target).shape) // port.count
        shared = 1 if p.synapses.weight.ndim == 4 else neurons
        total += np.bincount(group, weights=size, minlength=port.count) / shared
    return total


def with_ports(
    request: Request, choices: Choices, misfit: Mapping[str, Misfit]
) -> tuple[Choices, dict[str, Given], dict[str, Misfit]]:
    """The choices with mantissas, units and exponents of every given port, what was given, and what does not fit."""
    weights, bits, unit = dict(choices.weights), dict(choices.bits), dict(choices.unit)
    exponent, bias = dict(choices.own_exponent), dict(choices.bias)
    given: dict[str, Given] = {}
    refused: dict[str, Misfit] = {}
    for key, (population, into) in trained_ports(request.lowered).items():
        if key in misfit:
            continue
        found = given_port(request, choices, key, population, into)
        if isinstance(found, Misfit):
            refused[key] = found
            continue
        given[key], shift = found
        unit[key] = np.asarray(given[key].step * 2.0**shift)
        weights |= given[key].mantissas
        bits |= given[key].bits
        exponent |= {p.name: given[key].own.get(p.name, 0) - shift for p in into}
        bias.pop(key, None)
    made = replace(choices, weights=weights, bits=bits, unit=unit, own_exponent=exponent, bias=bias)
    return made, given, refused
