"""Sigma-delta coding of what registers hold: weights read changes, and the chip adds them up behind the weights.

A register's value that changes little from step to step costs its synapses anew at every step. Coded, the population
`post` that feeds the register `z` sends its changes through `post.delta`; the weights of z stand behind post.delta, one
step late, and `synapse.z` holds their sum: W z(k) = W z(0) + sum of W delta(j) for j < k. Whoever takes post or z as
it is reads `post.sum`, what the receivers know of post, so all of them see the same value.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ndeploy.errors import RefusedError
from ndeploy.ir.lowered import (
    GRADED,
    DeltaCoded,
    Gated,
    Graded,
    Held,
    Lowered,
    Normed,
    RealPopulation,
    RealProjection,
    Registered,
    Softmaxed,
)
from ndeploy.passes import compose
from ndeploy.passes.walk import identity

_SUMMING = (Graded, Gated, Normed, Softmaxed)
"""Models that weigh what they sum: a held sum may end on their ports."""


def delta_coded(lowered: Lowered) -> Lowered:
    """The same network, but for the threshold, where registers that feed weights send their changes.

    Raises RefusedError ND210 where there is no such register.
    """
    found: dict[str, str] = {}
    for population in lowered.populations:
        source = _fed_by(lowered, population)
        if source is not None and source not in found.values() and _weights(lowered, population.name):
            found[population.name] = source
    if not found:
        raise RefusedError(
            "ND210",
            "no register of this network feeds weights, so there is nothing to send the changes of",
            help="use --coding none; sigma-delta coding is for networks that think in ticks",
        )
    for register, source in found.items():
        lowered = _coded(lowered, register, source)
    return lowered


def _fed_by(lowered: Lowered, population: RealPopulation) -> str | None:
    """The graded population whose message of the step before a register holds; None for other populations."""
    into = lowered.into(population.name)
    if not isinstance(population.model, Registered) or len(into) != 1:
        return None
    (wire,) = into
    same = math.prod(lowered.population(wire.source).shape) == math.prod(population.shape)
    plain = wire.lag == 1 and wire.source != population.name and same
    return wire.source if plain and isinstance(lowered.population(wire.source).model, GRADED) else None


def _weights(lowered: Lowered, register: str) -> list[RealProjection]:
    """The projections of a register that may read its changes instead."""
    return [
        p
        for p in lowered.projections
        if p.source == register
        and p.lag == 0
        and p.delays is None
        and not p.unit
        and isinstance(lowered.population(p.target).model, _SUMMING)
    ]


def _coded(lowered: Lowered, register: str, source: str) -> Lowered:
    taken = {p.name for p in lowered.populations}
    model = lowered.population(register).model
    if not isinstance(model, Registered):
        return lowered
    known = lowered.population(source)
    delta, total = _free(f"{source}.delta", taken), _free(f"{source}.sum", taken)
    start = model.start.reshape(known.shape)
    after: dict[str, list[RealPopulation]] = {
        source: [
            RealPopulation(delta, known.shape, DeltaCoded(start)),
            RealPopulation(total, known.shape, Held(start)),
        ]
    }
    wires = [_unit(source, delta, known.shape), _unit(delta, total, known.shape)]
    added = [(delta, f"sends the changes of '{source}'"), (total, f"adds up what '{delta}' has sent")]
    moved: dict[str, RealProjection] = {}
    ports: dict[tuple[str, str], list[RealProjection]] = {}
    for p in _weights(lowered, register):
        ports.setdefault((p.target, p.port), []).append(p)
    for (target, port), weighed in ports.items():
        shape = lowered.population(target).shape
        held = _free(f"{target}.{register}" + ("" if port == "in" else f".{port}"), taken)
        first = np.sum([compose.apply(p.synapses, model.start) for p in weighed], axis=0).reshape(shape)
        after.setdefault(register, []).append(RealPopulation(held, shape, Held(first)))
        wires.append(replace(_unit(held, target, shape), port=port))
        moved |= {p.name: replace(p, source=delta, target=held, lag=1, port="in") for p in weighed}
        added.append((held, f"adds up the weighed changes of '{source}' for '{target}'"))
    projections = [
        moved.get(p.name, replace(p, source=total) if p.source == source else p) for p in lowered.projections
    ]
    products = [
        replace(q, left=total if q.left == source else q.left, right=total if q.right == source else q.right)
        for q in lowered.products
    ]
    populations = [x for p in lowered.populations for x in (p, *after.get(p.name, ()))]
    return replace(
        lowered,
        populations=tuple(populations),
        projections=(*projections, *wires),
        products=tuple(products),
        added=(*lowered.added, *added),
    )


def _unit(source: str, target: str, shape: tuple[int, ...]) -> RealProjection:
    return RealProjection(f"{source}->{target}", source, target, identity(math.prod(shape)), unit=True)


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "'"
    taken.add(name)
    return name
