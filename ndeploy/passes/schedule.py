"""When every population updates: offsets, delays and the period, with skips delay-balanced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ndeploy.errors import RefusedError
from ndeploy.ir import program as ir
from ndeploy.ir.lowered import Lowered, Normed, RealProduct, Softmaxed
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


EMBEDDED = (Normed, Softmaxed)
"""Models mixed on the embedded processor: their messages leave it a chip step later."""


def schedule(lowered: Lowered, *, attention: str = "parallel", mode: str = "auto") -> Schedule:
    """Longest-path offsets over all projections; every delay is stretched to land in the right model step.

    The period is the least that lets every product finish and every loop close: a model step takes as many chip steps
    as its longest loop. A population that is fed from earlier model steps alone waits until what it feeds is ready.
    attention: realisation of all products. mode: "auto" is pipelined where nothing can cross from a sample to the next.
    Raises RefusedError ND206 (a loop within a model step), ND204 (pipelined asked for a program with memory in flight).
    """
    costs = {p.name: realise(as_product(p, attention)) for p in lowered.products}
    embedded = {p.name for p in lowered.populations if isinstance(p.model, EMBEDDED)}
    edges = [_Edge(p.source, p.target, 2 if p.source in embedded else 1, p.lag) for p in lowered.projections]
    for q in lowered.products:
        for operand in {q.left, q.right}:
            edges.append(_Edge(operand, q.target, costs[q.name].chip_steps + (operand in embedded)))
    names = [p.name for p in lowered.populations]
    least = max((c.busy for c in costs.values()), default=1)
    period, offset = _closed(names, edges, least)
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


@dataclass(frozen=True)
class _Edge:
    """target's update is at least `cost` chip steps after source's of `lag` model steps before."""

    source: str
    target: str
    cost: int
    lag: int = 0


def _closed(names: Sequence[str], edges: Sequence[_Edge], least: int) -> tuple[int, dict[str, int]]:
    """The least period, not below `least`, in which every loop closes, and the earliest offsets for it."""
    start = _longest_paths(names, [e for e in edges if e.lag == 0])
    late = [e for e in edges if e.lag]
    # in this period the earliest offsets within a model step close every loop
    high = max([least, *(-(-(e.cost + start[e.source] - start[e.target]) // e.lag) for e in late)])
    low = least
    while low < high:
        middle = (low + high) // 2
        if _settled(start, edges, middle) is None:
            low = middle + 1
        else:
            high = middle
    return low, _settled(start, edges, low) or start


def _settled(start: Mapping[str, int], edges: Sequence[_Edge], period: int) -> dict[str, int] | None:
    """Earliest offsets that satisfy every edge, None where a loop is longer than its model steps (Bellman-Ford)."""
    offset = dict(start)
    for _ in range(len(offset) + 1):
        moved = False
        for e in edges:
            needed = offset[e.source] + e.cost - e.lag * period
            if needed > offset[e.target]:
                offset[e.target] = needed
                moved = True
        if not moved:
            return offset
    return None


def _longest_paths(names: Sequence[str], forward: Sequence[_Edge]) -> dict[str, int]:
    """Longest path to every population, over edges that must be acyclic."""
    edges: dict[str, list[tuple[str, int]]] = {name: [] for name in names}
    for e in forward:
        edges[e.source].append((e.target, e.cost))
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
