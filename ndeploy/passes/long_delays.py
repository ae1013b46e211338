"""Projections with more delay than the chip stores get relays on their way."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ndeploy.graph.discrete import DiscreteNeuron
from ndeploy.ir.lowered import (
    GRADED,
    Compare,
    Join,
    Lowered,
    Model,
    Or,
    RealPopulation,
    RealProjection,
    RealSparse,
    Registered,
)
from ndeploy.passes.schedule import Schedule


def _relay_model(model: Model, shape: tuple[int, ...]) -> Model:
    """A relay of binary spikes needs no graded messages; what the host or an integer neuron sends may be anything.

    What has a scale for every neuron is passed on by a register, which takes over the scale of its source.
    """
    if isinstance(model, GRADED):
        return Registered(np.zeros(shape))
    binary = isinstance(model, Or | Compare) or (isinstance(model, DiscreteNeuron) and model.spiking)
    return Or() if binary else Join()


def relay_long_delays(lowered: Lowered, planned: Schedule, limit: int | None) -> tuple[Lowered, Schedule]:
    """Split every projection whose delay exceeds `limit` chip steps (None: no limit).

    The first leg is a unit-weight projection of at most `limit` chip steps to a relay of the source's size, which
    updates when the message arrives; the weights stay on the last leg. Relays of one source and moment are shared.
    """
    if limit is None:
        return lowered, planned
    populations = {p.name: p for p in lowered.populations}
    offset, delay = dict(planned.offset), dict(planned.delay)
    projections: list[RealProjection] = []
    added: list[tuple[str, str]] = []
    for p in lowered.projections:
        extra = 0 if p.delays is None else int(p.delays.max()) * planned.period
        while delay[p.name] + extra > limit and delay[p.name] > 1:
            leg = min(limit, delay[p.name] - 1)
            source = populations[p.source]
            name = f"{p.source}.relay{offset[p.source] + leg}"
            if name not in populations:
                size = math.prod(source.shape)
                index = np.arange(size, dtype=np.int64)
                identity = RealSparse(np.ones(size), index, index, size, size)
                populations[name] = RealPopulation(
                    name, source.shape, _relay_model(source.model, source.shape), updates=source.updates
                )
                projections.append(RealProjection(f"{p.source}->{name}", p.source, name, identity, unit=True))
                offset[name] = offset[p.source] + leg
                delay[f"{p.source}->{name}"] = leg
                added.append((name, f"'{p.name}' waits {delay[p.name]} chip steps, the chip stores {limit}"))
            delay[p.name] -= leg
            p = replace(p, source=name)
        projections.append(p)
    if not added:
        return lowered, planned
    extended = replace(
        lowered,
        populations=tuple(populations.values()),
        projections=tuple(projections),
        added=lowered.added + tuple(added),
    )
    return extended, replace(planned, offset=offset, delay=delay)
