"""When every population updates: offsets, delays and the period, with skips delay-balanced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ndeploy.errors import RefusedError
from ndeploy.ir import program as ir
from ndeploy.ir.lowered import Lowered, RealProduct
from ndeploy.realise import realise


@dataclass(frozen=True)
class Schedule:
    """Chip steps. offset: by population; delay: by projection and product (with the wait of balanced skips included).

    period: chip steps a model step; realisation: of the products; mode: "pipelined" or "fall-through".
    """

    offset: Mapping[str, int]
    delay: Mapping[str, int]
    period: int
    realisation: str
    mode: str


def as_product(product: RealProduct, realisation: str, delay: int = 0, exponent: int = 0) -> ir.Product:
    """The integer product of a lowered one."""
    return ir.Product(
        product.name,
        product.left,
        product.right,
        product.target,
        product.left_view,
        product.right_view,
        product.subscripts,
        exponent=exponent,
        delay=delay,
        realisation=realisation,
        stream=product.stream if realisation == "streamed" else "",
        origin=product.name,
    )


def schedule(lowered: Lowered, *, attention: str = "parallel", mode: str = "auto") -> Schedule:
    """Longest-path offsets over the projections of lag 0; every delay is stretched to land in the right model step.

    The period is the least that lets every product finish and every loop close. attention: realisation of all
    products. mode: "auto" is pipelined where nothing can cross from a sample to the next.
    Raises RefusedError ND206 (a loop within a model step), ND204 (pipelined asked for a program with memory in flight).
    """
    costs = {p.name: realise(as_product(p, attention)) for p in lowered.products}
    period = max((c.busy for c in costs.values()), default=1)
    edges: dict[str, list[tuple[str, int]]] = {p.name: [] for p in lowered.populations}
    for p in lowered.projections:
        if p.lag == 0:
            edges[p.source].append((p.target, 1))
    for q in lowered.products:
        for operand in {q.left, q.right}:
            edges[operand].append((q.target, costs[q.name].chip_steps))
    offset = _longest_paths(edges)
    # a model step takes as many chip steps as its longest loop
    for p in lowered.projections:
        if p.lag:
            period = max(period, -(-(1 + offset[p.source] - offset[p.target]) // p.lag))
    delay = {p.name: offset[p.target] - offset[p.source] + p.lag * period for p in lowered.projections}
    for q in lowered.products:
        delay[q.name] = offset[q.target] - max(offset[q.left], offset[q.right])
    remembers = any(p.lag or p.delays is not None for p in lowered.projections)
    if mode == "pipelined" and remembers:
        raise RefusedError(
            "ND204",
            "messages of this network outlive a model step (recurrence or delays), so samples need a gap",
            help="use --mode fall-through",
        )
    chosen = ("fall-through" if remembers else "pipelined") if mode == "auto" else mode
    return Schedule(offset, delay, period, attention, chosen)


def _longest_paths(edges: Mapping[str, list[tuple[str, int]]]) -> dict[str, int]:
    """Longest path to every node, over a graph that must be acyclic."""
    waiting = dict.fromkeys(edges, 0)
    for targets in edges.values():
        for target, _ in targets:
            waiting[target] += 1
    ready = [name for name, n in waiting.items() if n == 0]
    offset = dict.fromkeys(edges, 0)
    done = 0
    while ready:
        name = ready.pop()
        done += 1
        for target, cost in edges[name]:
            offset[target] = max(offset[target], offset[name] + cost)
            waiting[target] -= 1
            if waiting[target] == 0:
                ready.append(target)
    if done < len(edges):
        stuck = sorted(name for name, n in waiting.items() if n > 0)
        raise RefusedError(
            "ND206",
            f"populations {', '.join(stuck[:5])} form a loop within one model step",
            help="give the loop a delay of at least one model step (--set recurrent_delay=1)",
        )
    return offset
