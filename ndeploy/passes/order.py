"""Populations in the order values reach them within a model step."""

from __future__ import annotations

from ndeploy.ir.lowered import Lowered, RealPopulation


def topological(lowered: Lowered) -> tuple[RealPopulation, ...]:
    """Sources before targets over projections of lag 0 and products; the network's own order otherwise."""
    before: dict[str, set[str]] = {p.name: set() for p in lowered.populations}
    for p in lowered.projections:
        if p.lag == 0:
            before[p.target].add(p.source)
    for q in lowered.products:
        before[q.target] |= {q.left, q.right}
    done: dict[str, RealPopulation] = {}
    waiting = list(lowered.populations)
    while waiting:
        ready = [p for p in waiting if before[p.name] <= done.keys()]
        if not ready:  # `schedule` has refused loops before this is reached
            ready = waiting[:1]
        for population in ready:
            done[population.name] = population
        waiting = [p for p in waiting if p.name not in done]
    return tuple(done.values())
