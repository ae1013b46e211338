"""What depends on the sample alone is computed once: at the first model step, and held where others need it later."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ndeploy.ir.lowered import (
    Compare,
    Gated,
    Graded,
    Held,
    Join,
    Lowered,
    Normed,
    Or,
    RealPopulation,
    RealProjection,
    Softmaxed,
)
from ndeploy.passes.order import topological
from ndeploy.passes.walk import identity

STATELESS = (Join, Or, Compare, Graded, Gated, Normed, Softmaxed)
"""Models whose message follows from what arrives in the same model step."""


def hold_static(lowered: Lowered, inputs: Sequence[str]) -> Lowered:
    """The same network where every population that depends on the static `inputs` alone updates once.

    Where such a population feeds one that updates every model step, a population `<source>.held` keeps its message,
    before the synapses. Products latch their operands by themselves. What the host reads updates every model step.
    """
    if not inputs:
        return lowered
    static = static_populations(lowered, inputs)
    populations: list[RealPopulation] = []
    held: dict[str, str] = {}
    taken = {p.name for p in lowered.populations}
    leaving = {p.source for p in lowered.projections if p.source in static and p.target not in static}
    for population in lowered.populations:
        if population.name not in static:
            populations.append(population)
            continue
        populations.append(replace(population, updates=1))
        if population.name in leaving:
            name = f"{population.name}.held"
            while name in taken:
                name += "'"
            held[population.name] = name
            populations.append(RealPopulation(name, population.shape, Held(np.zeros(population.shape))))
    projections = [
        RealProjection(
            f"{source}->{name}", source, name, identity(math.prod(lowered.population(source).shape)), unit=True
        )
        for source, name in held.items()
    ]
    projections += [
        replace(p, source=held[p.source]) if p.source in held and p.target not in static else p
        for p in lowered.projections
    ]
    added = tuple(
        (name, f"'{source}' is sent once a sample and used in every model step") for source, name in held.items()
    )
    return replace(lowered, populations=tuple(populations), projections=tuple(projections), added=lowered.added + added)


def static_populations(lowered: Lowered, inputs: Sequence[str]) -> frozenset[str]:
    """Populations whose message is the same at every model step: stateless, fed by static ones alone and at once."""
    read = {name for name, _ in lowered.outputs}
    static: set[str] = set()
    for population in topological(lowered):
        name = population.name
        if name in lowered.inputs:
            if name in inputs and name not in read:
                static.add(name)
            continue
        if name in read or not isinstance(population.model, STATELESS):
            continue
        projections = lowered.into(name)
        operands = {o for q in lowered.products if q.target == name for o in (q.left, q.right)}
        at_once = all(p.lag == 0 and p.delays is None and p.source in static for p in projections)
        if at_once and operands <= static and (projections or operands):
            static.add(name)
    return frozenset(static)
